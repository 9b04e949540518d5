"""posert-nano and its clip: the truth is sound, the network is what its metadata says, and it finds the people."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import video
from people import keypoint_boxes

from posert.export.nano import clip, layout
from posert.export.nano.figures import Pose, place, pose_body
from posert.export.nano.training import cache, crops, drawn, evaluate, lying, thunder
from posert.export.nano.training.evaluate import Truth, average_precision, similarity
from posert.export.systems.nano import spec
from posert.poses import Poses
from posert.runtime.media.read import frames
from posert.runtime.session import find_model, open_model
from posert.runtime.spec import ModelSpec

BONES = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13), (2, 5), (8, 11), (14, 15), (16, 17))
GOLDEN_FRAMES = (0, 60, 120, 239)
LYING = Path(__file__).parent / "lying.json"
CHECKPOINT = Path(__file__).parent.parent / "export" / "nano" / "training" / "checkpoint.pt"


@pytest.fixture(scope="module")
def nano():
    with open_model("nano", device="cpu", threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def bodies():
    return np.stack([[body.joints for body in clip.bodies(index)] for index in range(clip.FRAMES)])


def test_clip_is_the_same_everywhere(golden: Path) -> None:
    """The truth to 0.02 px; the pixels by their statistics (OpenCV's antialiasing may differ by a level)."""
    known = json.loads((golden / "clip.json").read_text())
    for index in GOLDEN_FRAMES:
        frame, keypoints, ids = clip.render(index)
        wanted = known[str(index)]
        assert frame.shape == (clip.HEIGHT, clip.WIDTH, 3)
        np.testing.assert_allclose(keypoints, wanted["keypoints"], atol=0.02)
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), wanted["mean"], atol=0.3)
        np.testing.assert_allclose(frame.std(axis=(0, 1)), wanted["std"], atol=0.3)
        assert ids.tolist() == list(clip.IDS)
        assert np.array_equal(frame, clip.render(index)[0])


def test_clip_bones_keep_their_length(bodies: np.ndarray) -> None:
    for a, b in BONES:
        lengths = np.linalg.norm(bodies[:, :, a] - bodies[:, :, b], axis=2)
        np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-9)


def test_clip_moves_smoothly(bodies: np.ndarray) -> None:
    """Nobody jumps: figure n is the same person in every frame."""
    steps = np.linalg.norm(np.diff(bodies[:, :, :, :2], axis=0), axis=3)
    assert steps.max() < 26  # px a frame: a hand that waves, a head that falls


def test_clip_people_cross_and_one_falls_and_gets_up(bodies: np.ndarray) -> None:
    order = bodies[:, 1, 1, 0] < bodies[:, 2, 1, 0]
    assert np.count_nonzero(np.diff(order)) >= 2
    height = bodies[:, 3, 11, 1] - bodies[:, 3, 1, 1]  # hip below neck, px
    stature = clip.STATURES[3]
    assert height[0] > 0.2 * stature
    assert height.min() < 0.05 * stature
    assert height[-1] > 0.2 * stature


@pytest.mark.parametrize("index", range(0, clip.FRAMES, 30))
def test_clip_flags_say_where_keypoints_are(index: int) -> None:
    _, keypoints, _ = clip.render(index)
    x, y, flag = np.moveaxis(keypoints, 2, 0)
    outside = (x < 0) | (y < 0) | (x > clip.WIDTH - 1) | (y > clip.HEIGHT - 1)
    assert set(np.unique(flag)) <= {0.0, 0.5, 1.0}
    assert np.array_equal(flag == 0, outside)
    assert (flag == 1).mean() > 0.5


def test_seen_from_behind_the_face_is_hidden() -> None:
    from posert.export.nano.figures import Clothes, draw, seen

    flags = []
    for heading in (0.0, 180.0):
        body = place(pose_body(Pose(heading=heading)), (150, 290), 260)
        owner = np.full((300, 300), -1, np.int32)
        draw(np.zeros((300, 300, 3), np.uint8), owner, body, Clothes(), 260, 0)
        flags.append(seen(owner, body.joints, 0))
    front, back = flags
    assert front[[0, 14, 15]].all()
    assert not back[[0, 14, 15]].any()
    assert front[2:14].all()


def test_left_and_right_are_the_figures_own() -> None:
    front = pose_body(Pose(heading=0)).joints
    assert front[5, 0] > front[2, 0]  # facing the viewer, its left is on the viewer's right
    waving = pose_body(Pose(arm_spread=(8, 90))).joints
    assert waving[7, 1] > waving[4, 1] + 0.2


def _poses(keypoints: np.ndarray, scores: list[float]) -> Poses:
    points = keypoints.astype(np.float32)
    return Poses(points, np.array(scores, np.float32), keypoint_boxes(points))


@pytest.mark.parametrize(
    ("people", "scores", "expected"),
    [([0, 1], [2.0, 1.0], 1.0), ([0], [1.0], 0.505), ([0, 1, -1], [3.0, 2.0, 1.0], 1.0), ([-1, 0], [2.0, 1.0], 0.2525)],
    ids=["both", "one missed", "late false", "early false"],
)
def test_average_precision(people: list[int], scores: list[float], expected: float) -> None:
    """Two figures; -1 is a person far from both. One of two: 51 of 101 recalls; behind a false one: half of that."""
    truth = Truth(clip.render(0)[1][:2], clip.areas(0)[:2])
    shown = np.concatenate([truth.keypoints, truth.keypoints[:1] + 300])
    shown[:, :, 2] = 1
    found = _poses(shown[people], scores)
    assert average_precision([truth], [found]) == pytest.approx(expected, abs=0.003)


def test_similarity_is_cocos() -> None:
    """exp(-d^2 / (2 s^2 k^2)), k twice the sigma, s^2 the area; averaged over the counted keypoints."""
    keypoints = np.zeros((1, 18, 3), np.float32)
    keypoints[0, :2] = (50, 60, 1)
    moved = keypoints.copy()
    moved[0, 0, 0] += 3
    alike = similarity(Truth(keypoints, np.array([900.0])), _poses(moved, [1.0]), hidden=False)
    expected = (np.exp(-9 / (2 * 900 * (2 * 0.026) ** 2)) + 1) / 2
    assert alike[0, 0] == pytest.approx(expected)


def test_unmirror_twice_is_the_same_picture() -> None:
    maps = np.random.default_rng(0).normal(size=(layout.CHANNELS, 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(layout.unmirror(layout.unmirror(maps)), maps)
    assert not np.array_equal(layout.unmirror(maps), maps[:, :, ::-1])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> crops.Photos:
    """Eight drawn pictures as a cache, whose teacher says what the labels say."""
    folder = tmp_path_factory.mktemp("cache")
    write_cache(folder)
    return crops.open_photos([folder])


def test_a_cache_with_other_records_than_pictures_is_refused(tmp_path: Path) -> None:
    write_cache(tmp_path)
    records = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps(records[1:]))
    with pytest.raises(ValueError, match="40 pictures, 39 records"):
        crops.open_photos([tmp_path])


def write_cache(folder: Path) -> None:
    """A cache of forty random scenes, the teacher asked about all: 36 to train on, 4 to validate with."""
    items = []
    for index in range(40):
        rng = np.random.default_rng([3, index])
        picture, record = drawn.scene(rng, (drawn.room(rng, (352, 264)), []))
        del record["maps"]
        items.append((picture, record | {"split": "val" if index % 10 == 9 else "train"}))
    cache.write(folder, items, cache.SIDE)
    cache.ask_all(folder, by_channel)


def by_channel(picture: np.ndarray) -> np.ndarray:
    """A teacher whose maps are the same everywhere, another value in each channel."""
    rows, columns = (side // layout.STRIDE for side in picture.shape[:2])
    channel = np.arange(layout.CHANNELS, dtype=np.float32)[:, None, None] / 100
    return np.broadcast_to(channel, (layout.CHANNELS, rows, columns))


def by_place(picture: np.ndarray) -> np.ndarray:
    """A teacher whose heatmaps say how far right a cell is, in shares of the picture, and its fields how far down."""
    rows, columns = (side // layout.STRIDE for side in picture.shape[:2])
    x = (np.arange(columns) * 8 + 4) / picture.shape[1]
    y = (np.arange(rows)[:, None] * 8 + 4) / picture.shape[0]
    maps = np.zeros((layout.CHANNELS, rows, columns), np.float32)
    maps[: layout.KEYPOINTS], maps[layout.KEYPOINTS + 1 :: 2] = x, y
    return maps


def write_photo(folder: Path, record: dict, side: int = cache.SIDE, teacher=None) -> crops.Photos:
    """A cache of one grey photo of 320 x 240 px."""
    cache.write(
        folder, [(np.full((240, 320, 3), 90, np.uint8), {"split": "train", "people": [], "crowd": []} | record)], side
    )
    if teacher:
        cache.ask_all(folder, teacher)
    return crops.open_photos([folder])


def test_asking_the_teacher_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_photo(tmp_path, {}, teacher=by_channel)
    cache.ask_all(tmp_path, None)  # nobody is left to ask about


@pytest.mark.parametrize("side", [cache.SIDE, 8 * cache.CELLS], ids=["as it is", "enlarged"])
def test_the_teachers_maps_lie_where_the_photo_lies(tmp_path: Path, side: int) -> None:
    """Of a crop turned by 90 degrees and scaled by .75 the maps say where in the photo each cell is."""
    photos = write_photo(tmp_path, {}, side, by_place)
    linear = 0.75 * np.array([[0.0, -1.0], [1.0, 0.0]])
    view = crops.View(linear, np.array([200.0, -10.0]), False)
    target = crops.crop(photos, 0, view, 160, crops.Mix())[1]
    inverse = np.linalg.inv(linear)
    for row, column in ((3, 6), (11, 14), (8, 9)):
        x, y = inverse @ (np.array([column, row]) * 8 + layout.CELL_CENTRE_PX - view.shift)
        assert target[row, column, 0] == pytest.approx((x + 0.5) / 320, abs=0.01)
        assert target[row, column, layout.KEYPOINTS] == pytest.approx(-(y + 0.5) / 240, abs=0.01)  # down is left now


def test_where_nobody_knows_the_target_is_nan(tmp_path: Path) -> None:
    """An unasked photo: people without labels are unknown, and the face of a person who is labelled without one."""
    points = np.zeros((layout.KEYPOINTS, 3))
    points[2] = (50, 60, 2)
    person = {"keypoints": points.tolist(), "box": [32, 32, 64, 160]}
    photos = write_photo(tmp_path, {"people": [person], "crowd": [[64, 0, 200, 100]]})
    target = crops.crop(photos, 0, crops.View(np.eye(2), np.zeros(2), False), cache.SIDE, crops.Mix())[1]
    unknown = np.isnan(target)
    assert unknown[6, 20].all()  # in the crowd alone
    assert unknown[6, 6, list(crops.FACE)].all()
    assert not unknown[6, 6, 2:14].any()
    assert not unknown[25, 35].any()


def test_an_unlabelled_photo_waits_for_the_teacher(tmp_path: Path) -> None:
    assert write_photo(tmp_path, {"unlabelled": True}).train[0].tolist() == []
    assert write_photo(tmp_path, {"unlabelled": True}, teacher=by_channel).train[0].tolist() == [0]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_people_are_turned_upright_with_their_photo(turns: int) -> None:
    """A torso that points up, down or aside points up afterwards, and its hips are where the picture is marked."""
    picture = np.zeros((100, 140, 3), np.uint8)
    points = np.zeros((layout.KEYPOINTS, 3))
    points[[1, 8, 11]] = [(60, 40, 2), (57, 60, 2), (63, 60, 2)]
    picture[60, 57] = 255
    lying, record = cache.turned(
        picture, {"people": [{"keypoints": points.tolist(), "box": [50, 30, 20, 40]}], "crowd": []}, turns
    )
    upright, again = cache.turned(lying, record, cache.upright_turns(record))
    neck, hip = (np.array(again["people"][0]["keypoints"][k][:2], int) for k in (1, 8))
    assert neck[1] < hip[1]
    assert abs(neck[0] - hip[0]) < 5
    assert upright[hip[1], hip[0], 0] == 255
    x, y, width, height = again["people"][0]["box"]
    assert x <= neck[0] <= x + width
    assert y <= hip[1] <= y + height


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_second_teacher_sees_the_person_turned(turns: int) -> None:
    """The window's middle is the box's, up in it is what the turns say, and its side has room for the box."""
    linear, shift = thunder.window([100, 50, 40, 80], turns)
    middle = np.array([120 - 0.5, 90 - 0.5])
    np.testing.assert_allclose(linear @ middle + shift, [127.5, 127.5])
    up = np.rot90(np.eye(2), 0)[1] * -1.0
    for _ in range(turns):  # anticlockwise: what is up goes left
        up = np.array([up[1], -up[0]])
    np.testing.assert_allclose(linear @ (0, -1), up * 256 / 100, atol=1e-9)


def test_the_second_teacher_fills_what_labels_lack() -> None:
    """A face for somebody labelled without one, a person for a box; whom it is not sure of stays a box."""
    points = np.zeros((layout.KEYPOINTS, 3))
    points[2:14] = (60, 90, 2)
    labelled = {"keypoints": points.tolist(), "box": [40, 40, 50, 100]}

    def ask(picture: np.ndarray, box: list[float], turns: int) -> np.ndarray:
        answer = np.full((17, 3), 0.9 if box[0] < 200 else 0.2)
        answer[:, 0], answer[:, 1], answer[3, 2] = box[0] + 5, box[1] + 5, 0.1
        return answer

    record = {"people": [labelled], "crowd": []}
    boxes = [[150.0, 20, 40, 90], [220.0, 20, 40, 90], [10.0, 10, 20, 30]]
    made = thunder.completed(record, np.zeros((240, 320, 3), np.uint8), boxes, ask)
    first, second = (np.array(person["keypoints"]) for person in made["people"])
    assert first[0].tolist() == [45, 45, 2]
    assert first[2:14].tolist() == points[2:14].tolist()
    assert second[[0, 1, 13], 2].tolist() == [2, 2, 2]
    assert second[17, 2] == 0  # the left ear, below the least score
    assert made["crowd"] == [list(box) for box in boxes[1:]]  # unsure, and too small to ask about


def test_turns_that_are_no_better_than_others_are_left_out(tmp_path: Path) -> None:
    table = tmp_path / "turns.tsv"
    table.write_text(
        "file\tturns\t0\t1\t2\t3\na.jpg\t1\t.2\t.5\t.1\t.1\nb.jpg\t2\t.4\t.1\t.45\t.1\nc.jpg\t3\t0\t0\t0\t.1\n"
    )
    assert cache.read_turns(table) == {"a.jpg": 1}


def test_batches_depend_on_their_number_alone(photos: crops.Photos) -> None:
    first, again, other = (crops.batch(photos, [1.0], number, crops.Mix(), 5) for number in (2, 2, 5))
    assert np.array_equal(first.pictures, again.pictures)
    assert np.array_equal(first.targets, again.targets)
    assert not np.array_equal(first.pictures, other.pictures)


@pytest.mark.parametrize("mirrored", [False, True])
def test_labels_turn_with_the_picture(photos: crops.Photos, mirrored: bool) -> None:
    """A crop of a drawn scene has each peak where its keypoint went, left and right exchanged in a mirror image."""
    index = next(i for i, r in enumerate(photos.records) if r["people"])
    record = photos.records[index]
    person = np.array(record["people"][0]["keypoints"])
    flip = -1.0 if mirrored else 1.0
    view = crops.View(np.diag([flip, 1.0]), np.array([351.0 if mirrored else 0.0, 0.0]), mirrored)
    target = crops.crop(photos, index, view, cache.SIDE, crops.Mix())[1]
    for k in range(layout.KEYPOINTS):
        x, y, known = person[layout.SKELETON.flip[k] if mirrored else k]
        column = int(np.rint(((351 - x if mirrored else x) - layout.CELL_CENTRE_PX) / layout.STRIDE))
        row = int(np.rint((y - layout.CELL_CENTRE_PX) / layout.STRIDE))
        if known and 0 <= row < target.shape[0] and 0 <= column < target.shape[1]:
            assert target[row, column, k] > 0.7


def test_nano_says_what_the_exporter_says(nano) -> None:
    own, wanted = nano.spec, spec()
    assert own.stages == wanted.stages or own.stages[0].params.keys() == wanted.stages[0].params.keys()
    assert own.skeleton == wanted.skeleton
    assert isinstance(own, ModelSpec)
    assert find_model("nano").stat().st_size <= 2_100_000


@pytest.mark.parametrize("size_hw", [(64, 64), (256, 320), (384, 192)])
def test_nano_takes_any_size(nano, size_hw: tuple[int, int]) -> None:
    tensor = np.full((2, 3, *size_hw), 110, np.float32)
    outputs = nano.run("pose", tensor)
    rows, columns = size_hw[0] // 8, size_hw[1] // 8
    assert outputs["heatmaps"].shape == (2, 19, rows, columns)
    assert outputs["pafs"].shape == (2, 38, rows, columns)
    assert np.isfinite(outputs["heatmaps"]).all()


def test_nano_rows_of_a_batch_do_not_mix(nano) -> None:
    frames = [clip.render(index)[0][:320].transpose(2, 0, 1).astype(np.float32) for index in (0, 100)]
    both = nano.run("pose", np.stack(frames))
    for row, frame in enumerate(frames):
        alone = nano.run("pose", frame[None])
        np.testing.assert_allclose(both["pafs"][row], alone["pafs"][0], atol=2e-4)


def test_nano_finds_nobody_where_nobody_is(nano) -> None:
    """Fewer than 0.1 false people a picture, on 100 drawn pictures that training never saw."""
    assert evaluate.false_people(evaluate.find_with(nano)) < 0.1


def test_nano_finds_the_people_of_the_clip(nano) -> None:
    """OKS AP through the whole runtime, hidden keypoints included: .83 as shipped."""
    assert evaluate.on_clip(evaluate.find_with(nano), step=8) >= 0.80


def test_ids_stay_with_the_people_of_the_clip(nano) -> None:
    """Two people cross three times, another falls: nobody gets another's id."""
    pytest.importorskip("lap")
    tracked = evaluate.tracked_clip(nano)
    assert evaluate.id_changes(evaluate.clip_truth(), tracked) == 0
    sightings = Counter(int(key) for poses in tracked for key in poses.ids)
    assert [key for key, frames in sightings.items() if frames > clip.FPS // 4] == [1, 2, 3, 4]  # others: fragments


def test_id_changes_by_hand() -> None:
    """Two figures, the first missed once, then both with each other's ids."""
    truth = Truth(clip.render(0)[1][:2], clip.areas(0)[:2])
    ids = [[1, 2], [0, 2], [1, 2], [2, 1]]
    tracked = [
        replace(
            _poses(truth.keypoints[[k for k in range(2) if row[k]]], [1.0] * sum(k > 0 for k in row)),
            ids=np.array([k for k in row if k], np.int32),
        )
        for row in ids
    ]
    assert evaluate.id_changes([truth] * 4, tracked) == 2
    assert evaluate.id_changes([truth] * 3, tracked[:3]) == 0


def test_people_who_lie_are_annotated_inside_their_pictures() -> None:
    """The test set of people who lie or fall; its pictures are not in the repository."""
    document = json.loads(LYING.read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in document["images"]}
    assert len(document["annotations"]) >= 50
    for person in document["annotations"]:
        points = np.array(person["keypoints"]).reshape(17, 3)
        seen = points[points[:, 2] > 0]
        assert len(seen) == person["num_keypoints"] >= 7
        assert (seen[:, :2] >= 0).all()
        assert (seen[:, :2] <= sizes[person["image_id"]]).all()


def test_pictures_of_the_test_set_are_made_anew(tmp_path: Path) -> None:
    """A photo as it is, a frame of the video at the size that its labels have, a drawn scene always the same."""
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"any")
    film = video(tmp_path / "v.avi", 3)
    sources = {"p.jpg": "a.jpg", "f.png": "v.avi, frame 2", "d.png": "drawn, scene 4"}
    images = [{"file_name": name, "source": source, "width": 32, "height": 24} for name, source in sources.items()]
    (tmp_path / "labels.json").write_text(json.dumps({"images": images}))
    lying.make(tmp_path / "labels.json", tmp_path, film, tmp_path / "out")
    assert (tmp_path / "out" / "p.jpg").read_bytes() == b"any"
    frame = [frame.bgr for frame in frames(film)][2]
    halved = cv2.resize(frame, (32, 24), interpolation=cv2.INTER_AREA)
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "f.png")), halved)
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "d.png")), lying.scene(4, (32, 24)))


def test_nano_finds_drawn_people_who_lie(nano, tmp_path: Path) -> None:
    """The drawn part of the test set: all eight, as shipped."""
    document = json.loads(LYING.read_text())
    document["images"] = [image for image in document["images"] if image["kind"] == "drawn"]
    (tmp_path / "drawn.json").write_text(json.dumps(document))
    lying.make(tmp_path / "drawn.json", tmp_path, tmp_path, tmp_path)
    shares = evaluate.share_found(evaluate.find_with(nano), tmp_path / "drawn.json", tmp_path)
    assert shares["drawn"][0] >= 7
    assert shares["drawn"][1] == 8


def test_the_share_of_people_found_by_hand(tmp_path: Path) -> None:
    """Of four people one is found exactly, one is moved away, one picture has no answer, one has two."""
    points = np.tile([10.0, 10.0, 2.0], (17, 1)) + np.arange(17)[:, None] * (3, 2, 0)
    images = [{"id": k, "file_name": f"{k}.png", "kind": "odd" if k % 2 else "even"} for k in range(4)]
    people = [{"image_id": k, "keypoints": points.ravel().tolist(), "area": 900.0} for k in range(4)]
    (tmp_path / "labels.json").write_text(json.dumps({"images": images, "annotations": people}))
    for k in range(4):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((50, 70, 3), k, np.uint8))
    there = layout.from_coco(points.astype(np.float32))[None]
    moved = there + np.array([40, 0, 0], np.float32)
    answers = [there, moved, there[:0], np.concatenate([moved, there])]

    def find(pictures):
        return [_poses(answers[picture[0, 0, 0]], [1.0] * len(answers[picture[0, 0, 0]])) for picture in pictures]

    shares = evaluate.share_found(find, tmp_path / "labels.json", tmp_path)
    assert shares == {"even": (1, 2), "odd": (1, 2)}


def test_crops_with_nobody_in_them_touch_no_box(tmp_path: Path) -> None:
    """A white person in a black photo: no crop has white in it, and what is found in the crops is counted."""
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[40:160, 20:80] = 255
    cv2.imwrite(str(tmp_path / "0.png"), picture)
    boxes = [{"image_id": 0, "bbox": [20, 40, 60, 120]}]
    labels = {"images": [{"id": 0, "file_name": "0.png"}], "annotations": boxes}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    crops_seen: list[np.ndarray] = []

    def find(pictures):
        crops_seen.extend(pictures)
        return [_poses(np.ones((2, 18, 3)), [1.0, 1.0]) for _ in crops_seen]

    assert evaluate.false_people_in_photos(find, tmp_path / "labels.json", tmp_path) == 2
    assert len(crops_seen) == 1
    assert crops_seen[0].max() == 0


def test_crowds_are_the_photos_with_enough_people_who_have_keypoints() -> None:
    """Two, one and a crowd's box, one without keypoints: only the first has two people."""
    people = [(0, 5, 0), (0, 17, 0), (1, 3, 0), (1, 9, 1), (2, 4, 0), (2, 0, 0)]
    annotations = [{"image_id": i, "num_keypoints": n, "iscrowd": c} for i, n, c in people]
    document = {"images": [{"id": k} for k in range(4)], "annotations": annotations, "categories": [7]}
    assert evaluate.crowds(document, 2) == {"images": [{"id": 0}], "annotations": annotations[:2], "categories": [7]}


@pytest.mark.export
class TestTraining:
    """The training code itself, on a cache of drawn scenes."""

    def test_muon_makes_updates_orthogonal(self) -> None:
        torch = pytest.importorskip("torch")
        from posert.export.nano.training.muon import orthogonal

        torch.manual_seed(0)
        values = torch.linalg.svdvals(orthogonal(torch.randn(40, 200)).float())
        assert values.min() > 0.5
        assert values.max() < 1.4

    @pytest.mark.parametrize("more", [[], ["--twice"]], ids=["once", "twice"])
    def test_a_resumed_run_ends_where_an_unbroken_one_does(self, tmp_path: Path, more: list[str]) -> None:
        torch = pytest.importorskip("torch")
        import sys

        from posert.export.nano.training import train

        write_cache(tmp_path / "cache")
        ends = []
        for name, parts in (("whole", ["4"]), ("parts", ["2", "4"])):
            for steps in parts:
                line = ["train", "--cache", f"{tmp_path / 'cache'}=1", "--out", str(tmp_path / name), "--steps", steps]
                sys.argv = [*line, *more, "--threads", "1", "--resume"]
                train.main()
            ends.append(torch.load(tmp_path / name / "state.pt", weights_only=True)["net"])
        assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))

    @pytest.mark.parametrize(
        "shape",
        [{"blocks": (2, 3), "dilations": (1, 2, 3), "more": 1}, {"widths": (48, 96, 160, 192)}],
        ids=["deeper", "wider"],
    )
    def test_a_larger_network_starts_as_the_one_it_continues(self, tmp_path: Path, shape: dict) -> None:
        torch = pytest.importorskip("torch")
        from posert.export.nano.graph import load
        from posert.export.nano.network import PoseNano
        from posert.export.nano.training.train import Training

        torch.manual_seed(0)
        small, image = PoseNano().eval(), torch.rand(1, 3, 64, 96) * 255
        torch.nn.init.normal_(small.r1.b[1].weight)
        torch.nn.init.normal_(small.s16[1].b[1].weight)
        training = Training(1e-3, 0.0, muon=True, net=PoseNano(**shape))
        training.load({"average": small.state_dict(), "crops": 7}, exactly=False)
        with torch.no_grad():
            for ours, wanted in zip(training.average(image), small(image), strict=True):
                torch.testing.assert_close(ours, wanted)
        assert (training.crops, training.step) == (7, 0)
        torch.save(training.state(), tmp_path / "deeper.pt")
        assert load(tmp_path / "deeper.pt").shape == training.net.shape

    def test_a_network_that_looks_twice_starts_as_the_mean_of_both(self) -> None:
        """And where the one it continues stands still, one step moves the new layers alone."""
        torch = pytest.importorskip("torch")
        from posert.export.nano.network import PoseNano, made
        from posert.export.nano.training.train import Training, stand_still

        torch.manual_seed(0)
        small, image = PoseNano().eval(), torch.rand(2, 3, 128, 192) * 255
        net = made(twice=True)
        stand_still(net, small.state_dict())
        training = Training(1e-2, 0.0, muon=True, net=net)
        training.load({"average": small.state_dict()}, exactly=False)
        with torch.no_grad():
            half = small(torch.nn.functional.avg_pool2d(image, 2))[1]
            half = torch.nn.functional.interpolate(half, scale_factor=2.0, mode="bilinear")
            wanted = (small(image)[1] + half) / 2
            for maps in training.average(image):
                torch.testing.assert_close(maps, wanted)
        training.learn((image.to(torch.uint8), torch.ones(2, layout.CHANNELS, 16, 24)), 1e-2, 0.5)
        moved = {name for name, value in net.state_dict().items() if name not in small.state_dict() and value.any()}
        assert "h2_both.weight" in moved
        for name, value in small.state_dict().items():
            assert torch.equal(value, net.state_dict()[name]), name

    @pytest.mark.parametrize("kind", ["fine", "offsets", "focal", "distilled", "int8"])
    def test_a_trial_starts_as_the_network_it_changes(self, tmp_path: Path, kind: str) -> None:
        """At a rate of 0 no trial moves a weight, and the two answers that all have are those of the start."""
        torch = pytest.importorskip("torch")
        from posert.export.nano.network import PoseNano
        from posert.export.nano.training import trials

        write_cache(tmp_path / "cache")
        torch.manual_seed(0)
        start = PoseNano()
        torch.save({"average": start.state_dict()}, tmp_path / "start.pt")
        trials.run(kind, tmp_path / "start.pt", {tmp_path / "cache": 1.0}, tmp_path / kind, 0.01, 0.0, 0)
        after = torch.load(tmp_path / kind / "net.pt", weights_only=True)["average"]
        for name, weight in start.named_parameters():
            torch.testing.assert_close(after[name], weight.detach())

    def test_fine_targets_and_offsets_point_at_the_joint(self) -> None:
        pytest.importorskip("torch")
        from posert.export.nano.training import trials

        people = np.zeros((1, layout.KEYPOINTS, 3), np.float32)
        people[0, 4] = (6.25, 9.75, 2)  # cells
        batch = crops.Batch(np.zeros((1, 160, 160, 3), np.uint8), np.zeros((1, 20, 20, 56), np.float32), [people])
        fine = trials.third_target("fine", batch)[0, 4].numpy()
        assert np.unravel_index(fine.argmax(), fine.shape) == (20, 13)  # cell c of the fine maps is at (c - .5) / 2
        assert fine.max() == pytest.approx(1.0)
        offsets = trials.third_target("offsets", batch)[0].numpy()
        assert offsets[[4, layout.KEYPOINTS + 4], 10, 7].tolist() == [-0.75, -0.25]
        assert np.isnan(offsets[4, 0, 0])

    def test_unknown_cells_cost_nothing(self) -> None:
        torch = pytest.importorskip("torch")
        from posert.export.nano.training.train import loss_of

        target = torch.zeros(1, layout.CHANNELS, 2, 2)
        maps = torch.ones_like(target, requires_grad=True)
        target[0, 3, 1, 1] = torch.nan
        loss = loss_of(maps, target)
        loss.backward()
        assert loss.item() == pytest.approx(layout.CHANNELS - 1 / 4)
        assert maps.grad[0, 3, 1, 1] == 0

    def test_the_teacher_says_what_onnx_runtime_says(self, assets: Path) -> None:
        pytest.importorskip("torch")
        ort = pytest.importorskip("onnxruntime")
        from posert.export.nano.training import teacher

        path = assets / "models" / "openvino_human_pose_estimation_0001_w8.onnx"
        picture = clip.render(30)[0][64:320, 64:320]
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        both = []
        for side in (picture, picture[:, ::-1]):
            tensor = side.transpose(2, 0, 1)[None].astype(np.float32)
            heat, pafs = session.run([teacher.HEATMAPS, teacher.PAFS], {"data": tensor})
            both.append(np.concatenate([heat[0, : layout.KEYPOINTS], pafs[0]]))
        wanted = (both[0] + layout.unmirror(both[1])) / 2
        assert np.abs(wanted).max() > 0.5
        np.testing.assert_allclose(teacher.open_teacher(path, 1)(picture), wanted, atol=0.05)

    def test_graph_computes_what_the_network_computes(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        ort = pytest.importorskip("onnxruntime")
        from posert.export.nano import graph
        from posert.export.nano.network import PoseNano

        torch.manual_seed(0)
        net = PoseNano().eval()
        image = torch.rand(1, 3, 64, 96) * 255
        with torch.no_grad():
            wanted = net(image)[1].numpy()
        model = graph.to_onnx(net, tmp_path / "scratch.onnx")
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        heatmaps, pafs = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(heatmaps[:, :18], wanted[:, :18], atol=0.02 * np.abs(wanted).max())
        np.testing.assert_allclose(pafs, wanted[:, 18:], atol=0.02 * np.abs(wanted).max())

    def test_checkpoint_of_the_repository_becomes_a_graph(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        from posert.export.convert import convert

        lines: list[str] = []
        out = convert("nano", tmp_path / "own.onnx", from_file=CHECKPOINT, report=lines.append)
        assert lines[1].startswith("verdict: differs from the original on 3 drawn scenes as its int8 weights do")
        assert out.stat().st_size <= 2_100_000
        with open_model(out, device="cpu", threads=1) as own, open_model("nano", device="cpu", threads=1) as shipped:
            tensor = clip.render(30)[0][:320].transpose(2, 0, 1)[None].astype(np.float32)
            np.testing.assert_allclose(own.run("pose", tensor)["pafs"], shipped.run("pose", tensor)["pafs"], atol=0.02)

    def test_the_mean_of_two_checkpoints(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        from posert.export.nano.graph import save_checkpoint

        for name, value in (("a", 1.0), ("b", 3.0)):
            part = {"w": torch.full((2,), value), "seen": torch.tensor(int(value))}
            torch.save({"average": part, "crops": int(value)}, tmp_path / name)
        save_checkpoint({tmp_path / "a": 0.75, tmp_path / "b": 0.25}, tmp_path / "mean.pt")
        mean = torch.load(tmp_path / "mean.pt", weights_only=True)
        assert mean["average"]["w"].tolist() == [1.5, 1.5]
        assert mean["average"]["w"].dtype == torch.float16
        assert (mean["average"]["seen"].item(), mean["crops"]) == (1, 3)

    def test_a_foreign_file_is_refused(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        from posert.errors import PosertError
        from posert.export.convert import convert

        (tmp_path / "zap.pt").write_bytes(b"zap")
        with pytest.raises(PosertError, match="no checkpoint of posert-nano"):
            convert("nano", tmp_path, from_file=tmp_path / "zap.pt")
