"""`posert eval` of tracks: the layouts of truths, who goes with whom, and the figures, which are trackeval's."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import drawn_clips
import numpy as np
import people
import pytest
from command import Run

from posert.errors import PosertError
from posert.measure.tracks import Tracked, likeness, read_tracked, score
from posert.measure.truths import COUNTS, EXCUSED, IGNORED, read_truth
from posert.poses import Poses
from posert.runtime.files.atomic import json_lines

NAMES = people.SKELETON.names


def posetrack(path: Path, frames: list[dict[int, tuple[float, float]]], **image: object) -> Path:
    """A truth of standing people, frame by frame id -> place; `image` says more of every image."""
    images = [{"id": 10 + n, "file_name": f"{n:06d}.jpg", **image} for n in range(len(frames))]
    annotations = [
        {"image_id": 10 + n, "track_id": key, "keypoints": standing_row(place), "id": 100 * n + key}
        for n, frame in enumerate(frames)
        for key, place in frame.items()
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"keypoints": NAMES}]}))
    return path


def standing_row(place: tuple[float, float]) -> list[float]:
    points = people.standing(place).keypoints[0].astype(float)
    points[:, 2] = 1
    return points.ravel().tolist()


def found(frames: list[dict[int, tuple[float, float]]]) -> Tracked:
    """The same of people found."""
    return Tracked(NAMES, {n: people.standing(*frame.values(), ids=list(frame)) for n, frame in enumerate(frames)})


TWO = [{1: (100 + 3 * n, 200), 2: (400 - 3 * n, 200)} for n in range(10)]


@pytest.fixture
def trackeval() -> None:
    pytest.importorskip("trackeval", reason="pip install --no-deps trackeval scipy tabulate")


@pytest.mark.usefixtures("trackeval")
def test_right_ids_are_one_and_swapped_ids_by_hand(tmp_path: Path) -> None:
    truth = read_truth(posetrack(tmp_path / "truth.json", TWO))
    perfect = score([(truth, found(TWO))])
    assert (perfect.hota, perfect.idf1, perfect.mota) == pytest.approx((1, 1, 1))
    assert (perfect.switches, perfect.people, perfect.ids, perfect.frames) == (0, 2, 2, 10)
    swapped = score(
        [(truth, found([*TWO[:6], *({3 - key: place for key, place in frame.items()} for frame in TWO[6:])]))]
    )
    assert swapped.deta == pytest.approx(1)
    assert (swapped.idf1, swapped.switches) == (pytest.approx(0.6), 2)  # 6 of 10 frames under the better id
    assert swapped.assa == pytest.approx(0.6 * 6 / 14 + 0.4 * 4 / 16)  # matches over those of either id, by hand
    assert swapped.mota == pytest.approx(1 - 2 / 20)
    both = score([(truth, found(TWO)), (truth, found(TWO))])
    assert (both.people, both.ids, both.frames, both.hota) == (4, 4, 20, pytest.approx(1))


@pytest.mark.usefixtures("trackeval")
def test_who_is_excused_and_what_is_not_annotated(tmp_path: Path) -> None:
    """A crowd, a region nobody looked at and a frame without labels are held against nobody."""
    path = posetrack(tmp_path / "truth.json", TWO)
    given = json.loads(path.read_text())
    for person in given["annotations"]:
        person["iscrowd"] = int(person["track_id"] == 2)
    given["images"][9]["is_labeled"] = False
    for image in given["images"]:
        image |= {"ignore_regions_x": [[500, 640, 640, 500]], "ignore_regions_y": [[0, 0, 480, 480]]}
    path.write_text(json.dumps(given))
    more = [frame | {7: (560, 240)} for frame in TWO]
    more[9] = {8: (50, 50)}
    result = score([(read_truth(path), found(more))])
    assert (result.hota, result.mota, result.people, result.ids, result.frames) == (1, 1, 1, 1, 9)
    outside = [frame | {7: (460, 340)} for frame in TWO]
    assert score([(read_truth(path), found(outside))]).mota == pytest.approx(1 - 9 / 9)


def test_likeness_is_cocos_or_the_overlap_of_boxes(tmp_path: Path) -> None:
    truth = read_truth(posetrack(tmp_path / "truth.json", [{1: (100, 200)}]))
    there, poses = truth.frames[0], people.standing((106, 200))
    own = list(range(17))
    width, height = there.boxes_xyxy[0, 2:] - there.boxes_xyxy[0, :2]
    assert there.areas[0] == pytest.approx(0.53 * width * height)
    variance = (2 * np.array(people.SKELETON.sigmas)) ** 2
    oks = np.exp(-36 / (2 * there.areas[0] * variance)).mean()
    assert likeness(there, poses, own, NAMES)[0, 0] == pytest.approx(oks, rel=1e-5)
    assert likeness(there, poses, [-1] * 17, NAMES)[0, 0] == pytest.approx((width - 6) / (width + 6), rel=0.1)


def mot(path: Path, rows: list[tuple[float, ...]]) -> Path:
    path.write_text("".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows))
    return path


def test_rows_of_motchallenge(tmp_path: Path) -> None:
    rows = [(1, 5, 10, 20, 30, 60, 1, 1, 0.5), (1, 6, 0, 0, 5, 5, 0, 1, 1), (3, 7, 0, 0, 5, 5, 1, 8, 1)]
    truth = read_truth(mot(tmp_path / "gt.txt", rows))
    assert truth.frames[0].ids.tolist() == [5, 6]
    assert truth.frames[0].boxes_xyxy[0].tolist() == [10, 20, 40, 80]
    assert truth.frames[0].roles.tolist() == [COUNTS, IGNORED]
    assert truth.frames[2].roles.tolist() == [EXCUSED]
    assert truth.every


@pytest.mark.usefixtures("trackeval")
def test_figures_are_trackevals_own_for_motchallenge(tmp_path: Path) -> None:
    """Its own reader and preprocessing of a MOT17 sequence, against ours, on random tracks with every class."""
    import trackeval

    rng = np.random.default_rng(4)
    rows, answers = [], []
    for frame in range(1, 41):
        for key in range(1, 9):
            left = 40 * key + 2 * frame * (-1) ** key
            rows.append((frame, key, left, 50, 30, 80, int(key != 4), (1, 1, 1, 1, 7, 8, 3, 12)[key - 1], 1))
            if rng.random() < 0.9:
                name = key if rng.random() < 0.9 else 20 + key
                x, y = rng.normal(0, 3, 2)
                answers.append((frame, name, left + x, 50 + y, 30, 80, 1, -1, -1, -1))
    for place, text in (("gt/MOT17-train/A/gt/gt.txt", rows), ("trackers/MOT17-train/t/data/A.txt", answers)):
        file = tmp_path / place
        file.parent.mkdir(parents=True)
        mot(file, text)
    (tmp_path / "gt/MOT17-train/A/seqinfo.ini").write_text("[Sequence]\nname=A\nseqLength=40\n")
    dataset = trackeval.datasets.MotChallenge2DBox({
        "GT_FOLDER": str(tmp_path / "gt"), "TRACKERS_FOLDER": str(tmp_path / "trackers"), "BENCHMARK": "MOT17",
        "SEQ_INFO": {"A": 40}, "PRINT_CONFIG": False,
    })  # fmt: skip
    data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("t", "A"), "pedestrian")
    quiet = {"PRINT_CONFIG": False}
    hota = trackeval.metrics.HOTA().eval_sequence(data)["HOTA"].mean()
    idf1 = trackeval.metrics.Identity(quiet).eval_sequence(data)["IDF1"]
    clear = trackeval.metrics.CLEAR(quiet).eval_sequence(data)
    truth = read_truth(tmp_path / "gt/MOT17-train/A/gt/gt.txt")
    ours = score([(truth, read_tracked(tmp_path / "trackers/MOT17-train/t/data/A.txt"))])
    assert (ours.hota, ours.idf1, ours.mota) == pytest.approx((hota, idf1, clear["MOTA"]))
    assert ours.switches == clear["IDSW"] > 0
    assert ours.idf1 < 0.99


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("gt.txt", "1,2,3\n", "line 1 has no frame"),
        ("gt.txt", "a,b,c,d,e,f\n", "is no MOTChallenge file"),
        ("gt.txt", "0,1,0,0,5,5\n", "line 1 has no frame"),
        ("t.json", "{", "is no file of annotated tracks"),
        ("t.json", '{"images": [], "annotations": [{"image_id": 1, "track_id": 1}], "categories": []}',
                   "the id of an image"),
        ("t.json", '{"images": [{"id": 1, "file_name": "a"}], "categories": [{"keypoints": ["nose"]}], '
                   '"annotations": [{"image_id": 1, "track_id": 1, "keypoints": [1, 2]}]}', "expected 3 numbers"),
        ("t.json", '{"images": [{"id": 1, "file_name": "a", "ignore_regions_x": [[1, 2, 3]]}], "annotations": [], '
                   '"categories": []}', "ignore_regions"),
    ],
)  # fmt: skip
def test_a_broken_truth_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PosertError, match=said):
        read_truth(tmp_path / name)


def recorded(path: Path, frames: Tracked) -> Path:
    with json_lines(path, people.SPEC, "walk.mp4") as write:
        for index, poses in frames.frames.items():
            write(*people.result(poses, index))
    return path


@pytest.mark.usefixtures("trackeval")
def test_the_command(tmp_path: Path, run: Run) -> None:
    results = recorded(tmp_path / "walk.jsonl", found(TWO))
    truth = posetrack(tmp_path / "truth.json", TWO)
    code, out, _ = run("eval", results, "--tracks", truth)
    assert code == 0
    assert out.startswith("HOTA 1.000  DetA 1.000  AssA 1.000  IDF1 1.000  MOTA 1.000  (0 changes of id, 2 ids")


def test_results_without_ids_and_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = Tracked(NAMES, {0: replace(people.standing((100, 200)), ids=None)})
    with pytest.raises(PosertError, match="have no ids") as caught:
        read_tracked(recorded(tmp_path / "walk.jsonl", nameless))
    assert "`track`" in caught.value.hint
    monkeypatch.setitem(__import__("sys").modules, "trackeval.metrics", None)
    with pytest.raises(PosertError, match="need trackeval") as caught:
        score([])
    assert caught.value.hint == "pip install --no-deps trackeval scipy tabulate"


def test_one_id_twice_in_a_frame_is_said(tmp_path: Path) -> None:
    pytest.importorskip("trackeval", reason="pip install --no-deps trackeval scipy tabulate")
    twice: Poses = people.standing((100, 200), (300, 200), ids=[1, 1])
    truth = read_truth(posetrack(tmp_path / "truth.json", TWO))
    with pytest.raises(PosertError, match="stands twice"):
        score([(truth, Tracked(NAMES, {0: twice}))])


def test_the_command_wants_one_truth_and_pictures(tmp_path: Path, run: Run) -> None:
    code, _, err = run("eval", "nano")
    assert (code, "--coco and --tracks" in err) == (1, True)
    code, _, err = run("eval", "nano", "--tracks", posetrack(tmp_path / "truth.json", TWO))
    assert (code, "--images" in err) == (1, True)


@pytest.mark.usefixtures("trackeval")
def test_a_model_on_a_drawn_clip(tmp_path: Path, run: Run) -> None:
    """The embedded network and the tracker, on twenty pictures of a clip whose ids are known."""
    clip = drawn_clips.CLIPS["crossings"]
    frames = [clip.render(index) for index in range(0, clip.frames, 12)]
    truth = drawn_clips.truth_of(frames)
    for image, (picture, *_) in zip(truth["images"], frames, strict=True):
        cv2.imwrite(str(tmp_path / image["file_name"]), picture)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    code, out, _ = run(
        "eval", "nano", "--tracks", tmp_path / "truth.json", "--images", tmp_path, "--fps", 2, "--threads", 1
    )
    assert code == 0
    assert 0.3 < float(out.split()[1]) < 1
    assert "for 4 people, 24 frames" in out
