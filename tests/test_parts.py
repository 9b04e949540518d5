"""Hands and faces beside the body: where they are looked for, what becomes of them, and what cannot be joined."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_parts
from command import Run
from hypothesis import given
from hypothesis import strategies as st
from naive_parts import square
from tiny_parts import AGAIN, BODY, BOTH, HAND, arm, hand, hand_of, scene

from posert import estimate, estimate_image, open_model
from posert.errors import PosertError
from posert.export.systems.openpose.parts import FACE, HANDS
from posert.flags import with_flags
from posert.poses import Poses, Skeleton
from posert.runtime.parts import part_rules, part_windows
from posert.runtime.region_spec import Parts
from posert.runtime.session import Model
from posert.runtime.spec import InputSpec, Stage, from_json, skeleton_of, to_json
from posert.skeletons import BODY_25, COCO_17, FACE_70, HAND_21, whole_body_hand

IMAGE = InputSpec("image", "NHWC", "float32", "rgb", (32, 32), "boxes", margin=2.0)
# An arm that hangs, its hand a bit beyond the wrist, and one that points to the right.
LEFT, RIGHT = arm(44 + 12j, 44 + 24j, 44 + 36j), arm(8 + 40j, 8 + 52j, 20 + 52j)
HANDS_OF_BOTH = [hand(44 + 37j, 3j), hand(21 + 52j, 3)]


@pytest.fixture
def joined(tmp_path: Path) -> Model:
    return opened(tmp_path)


def opened(folder: Path, parts: Parts = BOTH) -> Model:
    files = (tiny_parts.hands(folder / "hands.onnx", parts),)
    return open_model(tiny_parts.arms(folder / "arms.onnx"), device="cpu", threads=1, parts=files)


def near(model: Model, keypoints: np.ndarray, side: str, expected: np.ndarray, most_px: float = 0.7) -> None:
    first = model.spec.skeleton.names.index(f"{side}_root")
    assert np.abs(keypoints[first : first + 3, :2] - expected).max() < most_px
    assert keypoints[first : first + 3, 2].min() > 0.5


def test_hands_are_keypoints_of_their_people(joined: Model) -> None:
    """In one skeleton, behind the body's own keypoints; score and box are the body's."""
    names = joined.spec.skeleton.names
    assert names == (*BODY.names, *(f"{side}_{point}" for side in ("left", "right") for point in HAND.names))
    assert joined.spec.skeleton.edges == (*BODY.edges, (6, 7), (7, 8), (9, 10), (10, 11))
    assert joined.spec.skeleton.flip[6:] == (9, 10, 11, 6, 7, 8)
    assert len(joined.spec.skeleton.sigmas) == 12
    frame = scene([np.vstack([LEFT, RIGHT])], HANDS_OF_BOTH)
    poses = estimate_image(joined, frame).poses
    near(joined, poses.keypoints[0], "left", HANDS_OF_BOTH[0])
    near(joined, poses.keypoints[0], "right", HANDS_OF_BOTH[1])
    with open_model(joined.files["pose"], device="cpu", threads=1) as alone:
        body = estimate_image(alone, frame).poses
    assert poses.keypoints[:, :6].tobytes() == body.keypoints.tobytes()
    assert (poses.scores.tobytes(), poses.boxes_xyxy.tobytes()) == (body.scores.tobytes(), body.boxes_xyxy.tobytes())


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("mirrored", [True, False])
def test_turned_and_mirrored_crops_come_back_to_where_they_were(tmp_path: Path, turned: bool, mirrored: bool) -> None:
    each = tuple(hand_of(side, turned=turned, mirrored=mirrored) for side in ("left", "right"))
    with opened(tmp_path, Parts(each)) as model:
        for along in (3j, 2 + 2j, -2 + 2j):
            drawn = hand(44 + 36j, along)
            poses = estimate_image(model, scene([np.vstack([LEFT, RIGHT])], [drawn])).poses
            near(model, poses.keypoints[0], "left", drawn)
            assert not poses.keypoints[0, 9:].any()  # the network saw no hand there


def test_a_mirrored_crop_is_mirrored(tmp_path: Path) -> None:
    """Up stays up, and left becomes right, whichever way the arm points."""
    upright, mirror = (part_rules(stage(Parts((hand_of("left", mirrored=way),))), _joined()) for way in (False, True))
    people = Poses(np.zeros((1, 12, 3), np.float32), np.ones(1, np.float32), np.zeros((1, 4), np.float32))
    people.keypoints[0, :3] = arm(10 + 10j, 20 + 14j, 30 + 30j)
    (window,), (other,) = (part_windows(rules, people, people.keypoints[:0])[0] for rules in (upright, mirror))
    for x, y in ((0.1, 0.3), (0.7, 0.2)):
        assert _at(window, x, y) == pytest.approx(_at(other, 1 - x, y))


def _at(window: np.ndarray, x: float, y: float) -> complex:
    left, top, right, bottom, cosine, sine = window
    centre = complex(left + right, top + bottom) / 2
    return centre + complex((x - 0.5) * (right - left), (y - 0.5) * (bottom - top)) * complex(cosine, sine)


def _joined() -> Skeleton:
    return Skeleton((*BODY.names, *(f"{side}_{point}" for side in ("left", "right") for point in HAND.names)), ())


def stage(parts: Parts) -> Stage:
    return Stage("hands", "parts", IMAGE, {}, "direct", parts=parts)


def test_a_hand_is_followed_by_its_own_keypoints(tmp_path: Path) -> None:
    """It leaves the place that the arm says, a bit each frame; whoever asks the arm alone sees it cut."""
    arms, apart = np.vstack([LEFT, RIGHT]), {}
    drawn = [hand(44 + 1.25 * i + 36j, 2 + 2j) for i in range(5)]
    frames = [scene([arms], [places], i) for i, places in enumerate(drawn)]
    for again in (AGAIN, None):
        with opened(tmp_path, replace(BOTH, again=again, near=0.7)) as model:
            people = [result.poses.keypoints[0, 6:9] for result in estimate(model, frames)]
            apart[again] = np.abs(people[4][:, :2] - drawn[4]).max()
            anew = estimate_image(model, frames[4]).poses.keypoints[0, 6:9]
            assert np.array_equal(anew, people[4]) == (again is None)  # another call knows nothing
    assert apart[AGAIN] < 0.7 < apart[None]


def test_what_is_far_from_the_arm_is_not_followed() -> None:
    """Within half a side of where the arm says; the nearest hand, and each once."""
    rules = part_rules(stage(Parts((hand_of("left"),), AGAIN)), _joined())
    people = Poses(np.zeros((2, 12, 3), np.float32), np.ones(2, np.float32), np.zeros((2, 4), np.float32))
    known = np.zeros((2, 12, 3), np.float32)
    people.keypoints[:, :3] = arm(20 + 10j, 20 + 20j, 20 + 30j)
    arm_alone, _ = part_windows(rules, people, known)  # who has no hand there says nothing
    assert np.array_equal(arm_alone[0], arm_alone[1])
    known[0, 6:9] = [(*place, 0.9) for place in hand(21 + 32j, 3)]
    known[1, 6:9] = [(*place, 0.9) for place in hand(60 + 60j, 3)]
    windows, owners = part_windows(rules, people, known)
    assert owners.tolist() == [[0, 6], [1, 6]]
    assert not np.array_equal(windows[0], arm_alone[0])
    assert np.array_equal(windows[1], arm_alone[1])


def test_two_hands_in_one_place_are_one(tmp_path: Path) -> None:
    """A body network that puts both arms on one: the surer hand stays, the first of two alike."""
    frame = scene([np.vstack([LEFT, LEFT])], HANDS_OF_BOTH[:1])
    for apart, found in ((0.0, [True, True]), (0.2, [True, False])):
        with opened(tmp_path, replace(BOTH, apart=apart)) as model:
            keypoints = estimate_image(model, frame).poses.keypoints[0]
        assert [bool(keypoints[first : first + 3].any()) for first in (6, 9)] == found


def test_everybody_has_hands_of_his_own(joined: Model) -> None:
    other = np.vstack([arm(30 + 4j, 30 + 14j, 30 + 24j), arm(0j, 0j, 0j, 0.0)])
    drawn = [*HANDS_OF_BOTH, hand(30 + 25j, 2j)]
    poses = estimate_image(joined, scene([np.vstack([LEFT, RIGHT]), other], drawn)).poses
    near(joined, poses.keypoints[0], "left", drawn[0])
    near(joined, poses.keypoints[1], "left", drawn[2])
    assert not poses.keypoints[1, 9:].any()  # an arm that was not found has no hand


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.sampled_from([0.0, 0.04, 0.3, 0.9])),
             min_size=25, max_size=25),
    st.sampled_from(["face", "hands"]),
    st.sampled_from(["body_25", "coco_17"]),
)  # fmt: skip
def test_openposes_rectangles(points: list[tuple[int, int, float]], kind: str, body: str) -> None:
    """Against the slow twin: whichever joints there are, also without a neck."""
    skeleton = BODY_25 if body == "body_25" else COCO_17
    parts, count = FACE if kind == "face" else HANDS, len(skeleton.names)
    names = (*skeleton.names, *(name for part in parts.each for name in part.names))
    people = Poses(np.zeros((1, len(names), 3), np.float32), np.ones(1, np.float32), np.zeros((1, 4), np.float32))
    people.keypoints[0, :count] = points[:count]
    rules = part_rules(stage(parts), Skeleton(names, ()))
    windows, owners = part_windows(rules, people, people.keypoints[:0])
    joints = dict(zip(skeleton.names, people.keypoints[0, :count].astype(float), strict=True))
    expected = [found for part in parts.each if (found := square(part, joints, parts.min_score)) is not None]
    assert len(windows) == len(owners) == len(expected)
    for window, (centre, side) in zip(windows, expected, strict=True):
        assert complex(window[0] + window[2], window[1] + window[3]) / 2 == pytest.approx(centre, abs=1e-6)
        assert abs(window[3] - window[1]) == pytest.approx(side)


def test_openposes_rectangles_by_hand() -> None:
    """The figures of the rule: a hand of 1.5 forearms, a face of three eye distances and the like, their mean."""
    points = {"left_shoulder": 0j, "left_elbow": 10j, "left_wrist": 30j}
    joints = {name: np.array([point.real, point.imag, 1.0]) for name, point in points.items()}
    assert square(HANDS.each[0], joints, 0.05) == (pytest.approx(30j + 0.33 * 20j), 1.5 * 20)
    points = {
        "nose": 10j,
        "neck": 50j,
        "left_eye": 5 + 4j,
        "right_eye": -5 + 4j,
        "left_ear": 20 + 6j,
        "right_ear": -20 + 6j,
    }
    joints = {name: np.array([point.real, point.imag, 1.0]) for name, point in points.items()}
    centre, side = (30j + 4j + 6j) / 3, (2 * 40 + 3 * 10 + 2 * 40) / 3
    assert square(FACE.each[0], joints, 0.05) == (pytest.approx(centre), pytest.approx(side))
    for name in ("right_eye", "right_ear"):
        joints[name][2] = 0  # a profile
    centre, side = (10j + 5 + 4j + 20 + 6j) / 3, 0.85 * (abs(5 - 6j) + abs(20 - 4j) + 40)
    assert square(FACE.each[0], joints, 0.05) == (pytest.approx(centre), pytest.approx(side))


def test_what_a_file_says_of_parts_comes_back(tmp_path: Path) -> None:
    with open_model(tiny_parts.hands(tmp_path / "hands.onnx"), device="cpu") as model:
        assert model.spec.stages[0].parts == BOTH
        assert from_json(to_json(model.spec)) == model.spec
        assert json.loads(to_json(model.spec))["format"] == 2


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (Parts(()), "parts of 3 names"),
        (replace(BOTH, each=(replace(BOTH.each[0], names=("left_root",)),)), "parts of 3 names"),
        (replace(BOTH, each=(replace(BOTH.each[0], places=()),)), "a centre and a line for each place"),
        (replace(BOTH, each=(replace(BOTH.each[0], edges=((0, 3),)),)), "edges, 0..2"),
        (replace(BOTH, again=replace(AGAIN, around="box")), "around keypoints"),
        (replace(BOTH, again=replace(AGAIN, keypoints=(0, 3))), "around keypoints"),
    ],
)
def test_parts_that_cannot_be(tmp_path: Path, parts: Parts, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        open_model(tiny_parts.hands(tmp_path / "hands.onnx", parts), device="cpu")


def test_a_body_without_arms_has_no_hands(tmp_path: Path) -> None:
    hands = tiny_parts.hands(tmp_path / "hands.onnx")
    legs = tiny_parts.arms(tmp_path / "legs.onnx", Skeleton(("left_hip", "left_knee", "left_ankle"), ()))
    with pytest.raises(PosertError, match="arms does not say where to look for left_root") as error:
        open_model(legs, parts=(hands,))
    assert "left_wrist, left_elbow, left_shoulder; of these it finds none" in error.value.what
    assert with_flags(error.value.hint).endswith("or leave --parts FILE (--hands, --face) away")


def test_what_cannot_be_joined(tmp_path: Path, joined: Model) -> None:
    hands, arms = joined.files["hands"], joined.files["pose"]
    with pytest.raises(PosertError, match="arms does not say which parts it looks at"):
        open_model(arms, parts=(arms,))
    with pytest.raises(PosertError, match="arms finds left_root itself, hands would find it again"):
        open_model(arms, parts=(hands, hands))
    with open_model(hands, device="cpu") as alone, pytest.raises(PosertError, match="parts of people whom another"):
        estimate_image(alone, scene([], []))
    with pytest.raises(PosertError, match="there is no model file"):
        open_model(arms, parts=("nowhere.onnx",))


def test_hands_alone_look_at_boxes(joined: Model) -> None:
    """As any network for crops: a file says nothing that binds it to a body."""
    with open_model(joined.files["hands"], device="cpu", threads=1) as model:
        frame, drawn = scene([], HANDS_OF_BOTH[:1]), HANDS_OF_BOTH[0]
        box = np.array([[38, 32, 50, 48]], np.float32)
        poses = estimate_image(model, frame, boxes=lambda _: box).poses
    assert np.abs(poses.keypoints[0, :, :2] - drawn).max() < 0.7


def test_a_body_beside_its_parts_decodes_as_alone(joined: Model) -> None:
    body, parts = joined.spec.stages
    assert skeleton_of(joined.spec, body) == BODY
    assert skeleton_of(joined.spec, parts) == Skeleton(("0", "1", "2"), ())


def test_hands_on_the_command_line(tmp_path: Path, run: Run) -> None:
    """`--parts`: every format and a drawing take the joined skeleton; `--resume` knows the network by its hash."""
    model = tiny_parts.arms(tmp_path / "arms.onnx")
    hands = tiny_parts.hands(tmp_path / "hands.onnx")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    import cv2

    assert cv2.imwrite(str(pictures / "1.png"), scene([np.vstack([LEFT, RIGHT])], HANDS_OF_BOTH).bgr)
    words = ("infer", model, pictures, "--parts", hands, "-o", tmp_path / "out", "--overlay", tmp_path / "drawn")
    code, _, err = run(*words)
    assert code == 0, err
    header, line = map(json.loads, (tmp_path / "out" / "1.png.jsonl").read_text().splitlines())
    assert len(header["skeleton"]["names"]) == len(line["people"][0]["keypoints"]) == 12
    assert (tmp_path / "drawn" / "1.png").stat().st_size > 0
    assert "finished before" in run(*words, "--resume")[2]
    tiny_parts.hands(hands, replace(BOTH, near=0.4))
    assert "finished before" not in run(*words, "--resume")[2]


def test_a_face_and_hands_beside_one_body(tmp_path: Path) -> None:
    """CMU OpenPose's networks but for their weights, which are not at hand: its rule finds both hands and the face."""
    names = (*BODY.names, "nose", "neck", "left_eye", "right_eye")
    body = tiny_parts.arms(tmp_path / "body.onnx", Skeleton(names, ()))
    parts = tuple(tiny_parts.maps(tmp_path / f"{name}.onnx", name) for name in ("openpose-face", "openpose-hand"))
    head = np.array([[32, 14, 0.9], [32, 24, 0.9], [35, 12, 0.9], [29, 12, 0.9]])
    drawn = [hand(48.5 + 38.5j, 1 + 3j), hand(12.5 + 39.5j, -1 + 2j), np.array([[30, 14], [33, 16], [36, 12]]) + 0.5]
    arms = np.vstack([arm(44 + 20j, 46 + 28j, 48 + 36j), arm(20 + 20j, 16 + 28j, 12 + 36j)])
    with open_model(body, device="cpu", threads=1, parts=parts) as model:
        assert [one.name for one in model.spec.stages] == ["pose", "face", "hands"]
        skeleton = model.spec.skeleton
        assert skeleton.names == (*names, *FACE_70.names, *whole_body_hand("left"), *whole_body_hand("right"))
        assert len(skeleton.edges) == 2 * len(HAND_21.edges)
        keypoints = estimate_image(model, scene([np.vstack([arms, head])], drawn, size=1)).poses.keypoints[0]
    for first, places in ((10, drawn[2]), (80, drawn[0]), (101, drawn[1])):
        assert np.abs(keypoints[first : first + 3, :2] - places).max() < 0.7
        assert np.array_equal(keypoints[first + 3 : first + 6], keypoints[first : first + 3])
