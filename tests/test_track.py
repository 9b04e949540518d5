"""Ids: synthetic people with known truth; smoothing and features against formulas by hand."""

import math
from dataclasses import replace

import numpy as np
import people
import pytest

from posert.errors import PosertError
from posert.poses import Poses
from posert.runtime.after.clothes import clothes_apart, limb_colours
from posert.runtime.after.features import Featuring
from posert.runtime.after.options import SmoothOptions, TrackOptions
from posert.runtime.after.smooth import Smoother
from posert.runtime.after.track import Tracker
from posert.runtime.files.atomic import frame_record

pytest.importorskip("lap")


def chosen(poses: Poses, order: list[int]) -> Poses:
    return Poses(poses.keypoints[order], poses.scores[order], poses.boxes_xyxy[order])


def walk(fps: float, hidden: tuple[float, float], *, stride: int = 1, noise_px: float = 1.0) -> list[list[int]]:
    """Ids of two people who walk through each other in 4 s, in the truth's order, 0 while hidden.

    The order of the detections is shuffled; the second person is not seen between the two times.
    """
    rng, tracker, ids = np.random.default_rng(7), Tracker(people.SKELETON), []
    for index in range(0, int(4 * fps), stride):
        time_s = index / fps
        poses = people.standing((100 + 100 * time_s, 240), (500 - 100 * time_s, 246))
        poses.keypoints[:, :, :2] += rng.normal(0, noise_px, (2, 17, 2))
        seen = [0] if hidden[0] <= time_s < hidden[1] else [0, 1]
        order = rng.permutation(seen).tolist()
        found = tracker(chosen(poses, order), time_s).ids
        assert found is not None
        by_person = dict(zip(order, found.tolist(), strict=True))
        ids.append([by_person.get(0, 0), by_person.get(1, 0)])
    return ids


@pytest.mark.parametrize("stride", [1, 3, 5])
@pytest.mark.parametrize("hidden", [(9.0, 9.0), (1.9, 2.1), (1.6, 2.4), (1.6, 2.3)])
def test_two_people_cross(stride: int, hidden: tuple[float, float]) -> None:
    ids = walk(25, hidden, stride=stride)
    first, second = ids[0]
    assert {first, second} == {1, 2}
    assert all(one == first and two in (second, 0) for one, two in ids)


@pytest.mark.parametrize(("away_s", "same"), [(0.5, True), (0.96, True), (1.2, False)])
def test_a_person_may_be_away_for_a_second(away_s: float, same: bool) -> None:
    tracker = Tracker(people.SKELETON)
    for index in range(20):
        before = tracker(people.standing((100 + 4 * index, 200)), index / 25).ids
        nobody = tracker(people.standing(), index / 25 + 0.01)
        assert len(nobody) == 0
    after = tracker(people.standing((100 + 4 * (19 + 25 * away_s), 200)), 19 / 25 + away_s).ids
    assert before is not None
    assert after is not None
    assert (before.tolist(), after.tolist()) == ([1], [1] if same else [2])


@pytest.mark.parametrize(("memory", "ids"), [(0.5, [2]), (2.0, [1])])
def test_how_long_a_person_may_be_away_is_an_option(memory: float, ids: list[int]) -> None:
    tracker = Tracker(people.SKELETON, TrackOptions(memory=memory))
    assert [tracker(people.standing((100, 200)), index / 25).ids.tolist() for index in range(5)] == [[1]] * 5
    assert tracker(people.standing((100, 200)), 1.5).ids.tolist() == ids


@pytest.mark.parametrize("wrong", [{"memory": -1}, {"min_near": 2}, {"loosen": float("nan")}])
def test_an_option_out_of_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(PosertError, match=next(iter(wrong))):
        TrackOptions(**wrong)
    with pytest.raises(PosertError, match="cutoff_hz = 0, expected a finite number above 0"):
        SmoothOptions(cutoff_hz=0)


def test_a_stranger_gets_a_number_of_his_own() -> None:
    tracker = Tracker(people.SKELETON)
    assert tracker(people.standing((100, 200)), 0.0).ids.tolist() == [1]
    assert tracker(people.standing((400, 200), (102, 200)), 0.04).ids.tolist() == [2, 1]


def test_uneven_times_do_not_matter() -> None:
    """A person at constant speed in a video of variable frame rate stays one person."""
    tracker = Tracker(people.SKELETON)
    times = np.cumsum([0, 0.04, 0.04, 0.3, 0.02, 0.6, 0.04, 0.5])
    assert [tracker(people.standing((100 + 150 * t, 200)), t).ids.tolist() for t in times] == [[1]] * len(times)


def test_a_time_that_jumps_back_changes_nobody() -> None:
    """A stream began anew, or a clock was set: everybody got a new id, after a division by 0."""
    tracker = Tracker(people.SKELETON)
    times = [10.0, 10.04, 9.04, 9.08, 0.0, 0.04, 0.08]
    found = [tracker(people.standing((100 + 3 * n, 200), (400, 200)), t).ids.tolist() for n, t in enumerate(times)]
    assert found == [[1, 2]] * len(times)
    assert tracker(people.standing((121, 200)), 0.5).ids.tolist() == [1]
    assert tracker(people.standing((400, 200)), 1.2).ids.tolist() == [3]  # the second was away for longer than a second


def painted(poses: Poses, colours: list[tuple[int, int, int]]) -> np.ndarray:
    """A grey picture where each person is a box of their own colour."""
    picture = np.full((480, 640, 3), 128, np.uint8)
    for (left, top, right, bottom), colour in zip(poses.boxes_xyxy.round().astype(int), colours, strict=True):
        picture[max(top, 0) : bottom, max(left, 0) : right] = colour
    return picture


@pytest.mark.parametrize("looking", [True, False])
def test_clothes_tell_who_came_back(looking: bool) -> None:
    """Two people meet, are hidden for .4 s and turn round: motion takes each for the other, their clothes do not."""
    tracker, found = Tracker(people.SKELETON), []
    red, blue = (30, 30, 200), (200, 60, 30)
    for index in range(60):
        time_s = index / 25
        apart = abs(time_s - 1.2) * 120 + 10
        if apart < 34:
            tracker(people.standing(), time_s, painted(people.standing(), []))
            continue
        poses = people.standing((300 - apart, 240), (300 + apart, 240))
        found.append(tracker(poses, time_s, painted(poses, [red, blue]) if looking else None).ids.tolist())
    assert found[0] == [1, 2]
    assert found[-1] == ([1, 2] if looking else [2, 1])


def test_the_same_clothes_elsewhere_are_somebody_else() -> None:
    tracker = Tracker(people.SKELETON)
    for index, x in enumerate((100, 102, 400)):
        poses = people.standing((x, 240))
        ids = tracker(poses, index / 25, painted(poses, [(30, 30, 200)])).ids.tolist()
    assert ids == [2]


RED, BLUE, DARK = (30, 30, 200), (200, 60, 30), (10, 10, 120)
Scene = list[tuple[tuple[float, float], tuple[int, int, int]]]


def followed(scenes: list[tuple[float, float, Scene]], options: TrackOptions | None = None) -> list[list[int]]:
    """Ids of the last frame of each scene: from, to (seconds, 25 frames each), who stands where in which colour."""
    tracker, found = Tracker(people.SKELETON, options), []
    for begin, end, scene in scenes:
        for index in range(round(25 * begin), round(25 * end)):
            poses = people.standing(*(place for place, _ in scene))
            ids = tracker(poses, index / 25, painted(poses, [colour for _, colour in scene])).ids
        found.append(ids.tolist())
    return found


AWAY: Scene = [((100, 240), RED), ((300, 240), BLUE)]


@pytest.mark.parametrize(
    ("back_s", "scene", "ids", "options"),
    [
        (6, [((500, 240), RED)], [1], None),
        (6, [((100, 240), BLUE)], [2], None),
        (6, [((500, 240), BLUE), ((200, 240), RED)], [2, 1], None),
        (6, [((500, 240), (60, 170, 60))], [3], None),  # a stranger
        (6, [((500, 240), RED), ((200, 240), RED)], [3, 4], None),  # one of the two is, nobody knows which
        (75, [((500, 240), RED)], [3], None),
        (75, [((500, 240), RED)], [1], TrackOptions(recall=100)),
        (6, [((500, 240), RED)], [3], TrackOptions(recall=0)),
    ],
)
def test_who_comes_back_is_known_by_his_clothes(
    back_s: float, scene: Scene, ids: list[int], options: TrackOptions | None
) -> None:
    assert followed([(0, 1, AWAY), (back_s, back_s + 2, scene)], options) == [[1, 2], ids]


def test_a_dress_that_others_wear_makes_nobody_known() -> None:
    """Two in red, one of whom leaves; who comes in red is a stranger, whoever he is."""
    both: Scene = [((100, 240), RED), ((300, 240), RED)]
    assert followed([(0, 1, both), (1, 5, both[:1]), (5, 6, [both[0], ((500, 240), RED)])])[-1] == [1, 3]


def test_who_was_taken_for_the_other_gets_his_id_back() -> None:
    """Two people change places between two frames: motion takes each for the other, for less than half a second."""
    swapped: Scene = [((100, 240), BLUE), ((300, 240), RED)]
    assert followed([(0, 2, AWAY), (2, 2.04, swapped), (2.04, 2.6, swapped)]) == [[1, 2], [1, 2], [2, 1]]


def test_shade_changes_nobody() -> None:
    """All colours of somebody who walks into the shade change; after a while they are his."""
    assert followed([(0, 1, [((100, 240), RED)]), (1, 5, [((100, 240), DARK)]), (9, 10, [((400, 240), DARK)])]) == [
        [1], [1], [1]
    ]  # fmt: skip


def test_clothes_apart_by_hand() -> None:
    """Limbs count by length, those that both show; less than .6 of them is no comparison."""
    mine, length = np.array([[[10, 10, 10], [50, 50, 50], [0, 0, 0]]], float), np.array([[30, 10, 20]], float)
    other = np.array([[[20, 20, 20], [50, 50, 90], [np.nan] * 3]])
    apart = clothes_apart(mine, length, other, np.array([[30, 10, 0]], float))
    assert apart[0, 0] == pytest.approx((30 * 10 + 10 * 40 / 3) / 40)  # two thirds of all limbs
    assert clothes_apart(mine, length, other, np.array([[30, 0, 0]], float))[0, 0] == np.inf
    assert clothes_apart(mine, length, other, np.array([[30, 0, 0]], float), covered=0)[0, 0] == pytest.approx(10)


@pytest.mark.parametrize("left", [5, 4, 3])
def test_half_a_person_still_is_that_person(left: int) -> None:
    """Only some keypoints of the head are found behind somebody else, then all again."""
    tracker = Tracker(people.SKELETON)
    tracker(people.standing((200, 240)), 0.0)
    half = people.standing((202, 240))
    half.keypoints[0, left:] = 0
    found = half.keypoints[0, :left, :2]
    half.boxes_xyxy[0] = [*found.min(0), *found.max(0)]
    assert tracker(half, 0.04).ids.tolist() == [1]
    assert tracker(people.standing((204, 240)), 0.08).ids.tolist() == [1]


def test_a_fragment_does_not_take_over() -> None:
    """Once the legs are found as somebody of their own; what is whole again keeps its id, wherever the knees are."""
    tracker = Tracker(people.SKELETON)
    for index in range(10):
        tracker(people.standing((200 + index, 240)), index / 25)
    both = people.standing((210, 240), (210, 240))
    both.keypoints[0, 11:] = 0
    both.keypoints[1, :11] = 0
    assert tracker(both, 0.4).ids.tolist() == [1, 2]
    whole = people.standing((211, 240))
    whole.keypoints[0, :11, 0] += 10
    assert tracker(whole, 0.44).ids.tolist() == [1]


@pytest.mark.parametrize("first", [0, 1])
def test_the_larger_fragment_keeps_the_id(first: int) -> None:
    """A person found in two parts, the larger one a little off."""
    tracker = Tracker(people.SKELETON)
    for index in range(10):
        tracker(people.standing((200, 240)), index / 25)
    both = people.standing((200, 240), (200, 240))
    both.keypoints[first, :5] = 0
    both.keypoints[first, :, 0] += 2
    both.keypoints[1 - first, 5:] = 0
    ids = tracker(both, 0.4).ids.tolist()
    assert (ids[first], ids[1 - first]) == (1, 2)


def test_limb_colours_by_hand() -> None:
    """The middle of a limb, whatever lies at its ends; nothing for a limb without both."""
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[10, 10:31] = (1, 2, 3)
    keypoints = np.array([[[5, 10, 1], [35, 10, 1], [5, 0, 0]]], np.float64)
    colours, lengths = limb_colours(keypoints, np.array([[0, 1], [1, 2]]), picture)
    assert colours[0, 0].tolist() == [1, 2, 3]
    assert np.isnan(colours[0, 1]).all()
    assert lengths.tolist() == [[30, 0]]
    outside = keypoints + np.array([1000, -1000, 0])
    assert np.isfinite(limb_colours(outside, np.array([[0, 1]]), picture)[0]).all()


def test_smoothing_calms_and_does_not_drag() -> None:
    rng, smoother = np.random.default_rng(3), Smoother()
    rough, smooth = [], []
    for index in range(100):
        poses = people.standing((300, 200), ids=[1])
        poses.keypoints[:, :, :2] += rng.normal(0, 2, (1, 17, 2))
        rough.append(poses.keypoints[0, :, :2])
        smooth.append(smoother(poses, index / 25).keypoints[0, :, :2])
    assert np.std(smooth[20:], axis=0).mean() < 0.6 * np.std(rough[20:], axis=0).mean()
    for index in range(50):  # a second at 200 px/s: more than a body length
        moved = smoother(people.standing((300 + 8 * index, 200), ids=[1]), 4 + index / 25)
    assert np.abs(moved.keypoints[0, :, 0] - people.standing((300 + 8 * 49, 200)).keypoints[0, :, 0]).max() < 8


def test_smoothing_is_the_papers_formula() -> None:
    smoother, step = Smoother(SmoothOptions(cutoff_hz=2.0, beta=0.0)), 0.04
    smoother(people.standing((100, 200), ids=[1]), 0.0)
    after = smoother(people.standing((110, 200), ids=[1]), step).keypoints[0, 0, 0]
    tau = 1 / (2 * math.pi * 2.0)
    assert after == pytest.approx(100 + 10 / (1 + tau / step))


def test_a_lost_keypoint_starts_afresh() -> None:
    smoother = Smoother()
    smoother(people.standing((100, 200), ids=[1]), 0.0)
    lost = people.standing((100, 200), ids=[1])
    lost.keypoints[0, 0] = 0
    assert smoother(lost, 0.04).keypoints[0, 0].tolist() == [0, 0, 0]
    assert smoother(people.standing((200, 200), ids=[1]), 0.08).keypoints[0, 0, 0] == 200


def test_features_by_hand() -> None:
    featuring = Featuring(people.SKELETON)
    featuring(people.standing((100, 200), ids=[4]), 0.0, (640, 480))
    poses = people.standing((112, 200), (-5, 200), ids=[4, 5])
    found = featuring(poses, 0.1, (640, 480))
    assert found.normalised[0, 0].tolist() == [0, -1.5]  # torso 60 px, nose 90 px above the hips
    assert found.velocities[0, 0] == pytest.approx([12 / 60 / 0.1, 0])
    assert np.isnan(found.velocities[1]).all()
    assert found.visible[0].all()
    assert not found.visible[1, 5]
    assert found.visible[1, 6]
    arm, fore = people.STANDING[5] - people.STANDING[7], people.STANDING[9] - people.STANDING[7]
    bend = math.acos(arm @ fore / np.linalg.norm(arm) / np.linalg.norm(fore))
    assert found.angles[0, found.joints.index("left_elbow")] == pytest.approx(bend, abs=1e-5)


def test_features_do_not_change_with_place_and_size() -> None:
    near = Featuring(people.SKELETON)(people.standing((100, 200)), 0, (640, 480))
    far = Featuring(people.SKELETON)(people.standing((400, 300), size=0.5), 0, (640, 480))
    assert far.normalised == pytest.approx(near.normalised, abs=1e-5)
    assert far.angles == pytest.approx(near.angles, abs=1e-4)


def test_a_feature_of_a_missing_keypoint_is_null() -> None:
    poses = people.standing((100, 200))
    poses.keypoints[0, 11] = 0
    features = Featuring(people.SKELETON)(poses, 0, (640, 480))
    record = frame_record(replace(people.result(poses)[1], features=features))["people"][0]["features"]
    assert record["normalised"][0] == [None, None]
    assert record["angles"]["left_knee"] is None
    assert record["angles"]["right_knee"] is not None
    assert record["visible"][11] == 0


@pytest.mark.parametrize("time_s", [0.5, 0.4])
def test_no_velocity_when_time_stands_still_or_goes_back(time_s: float) -> None:
    """A stream that starts its clock again; the next step counts from there."""
    featuring = Featuring(people.SKELETON)
    featuring(people.standing((100, 200), ids=[4]), 0.5, (640, 480))
    again = featuring(people.standing((112, 200), ids=[4]), time_s, (640, 480))
    assert np.isnan(again.velocities).all()
    later = featuring(people.standing((118, 200), ids=[4]), time_s + 0.1, (640, 480))
    assert later.velocities[0, 0] == pytest.approx([6 / 60 / 0.1, 0])
