"""Whose poses stay: by score, size and place; so many, or one; and over time, with ids and without."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import media
import numpy as np
import people
import pytest
from command import Run

from posert.errors import PosertError
from posert.poses import Features, Poses, Result, no_poses
from posert.runtime.after import post_chain
from posert.runtime.choose import Chooser, PeopleOptions, choose
from posert.runtime.loop import estimate_frames
from posert.runtime.media.read import frames
from posert.runtime.session import open_model

SCORES = [0.5, 0.9, 0.7]
BOXES = [[0, 0, 100, 200], [300, 220, 340, 260], [400, 100, 640, 400]]  # the middle of 640 x 480: (320, 240)


def found(ids: list[int] | None = None, *, scores: list[float] = SCORES, time_s: float = 0.0) -> Result:
    """As many of three people as there are scores: at the left, small in the middle, large at the right."""
    count = len(scores)
    keypoints = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)
    known = None if ids is None else np.array(ids, np.int32)
    poses = Poses(keypoints, np.array(scores, np.float32), np.array(BOXES[:count], np.float32).reshape(-1, 4), known)
    return Result(round(25 * time_s), time_s, (640, 480), "walk.mp4", poses, {})


def rows(result: Result) -> list[int]:
    """Which of `found` are there."""
    return (result.poses.keypoints[:, 0, 0] / 6).astype(int).tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"min_score": 0.7}, [1, 2]), ({"min_score": 0.91}, []),
        ({"min_box_area": 20_000}, [0, 2]), ({"min_box_area": 20_001}, [2]),
        ({"min_box_area": 0.2}, [2]), ({"min_box_area": 72_000 / (640 * 480)}, [2]),
        ({"roi": (0, 0, 320, 240)}, [0, 1]), ({"roi": (0, 0, 319, 240)}, [0]),
        ({"roi": (0.5, 0.5, 0.5, 0.5)}, [1, 2]), ({"roi": (0, 0, 1, 1)}, [0, 1, 2]),
        ({"roi": (640, 0, 640, 480, 0, 480)}, [1, 2]),  # the triangle below the diagonal, which the middle lies on
        ({"roi": (1, 0, 1, 1, 0, 1)}, [1, 2]),
        ({"max_people": 1}, [1]), ({"max_people": 2}, [1, 2]), ({"max_people": 5}, [0, 1, 2]),
        ({"person": "largest"}, [2]), ({"person": "central"}, [1]), ({"person": "best"}, [1]),
        ({"person": "first"}, [0]),
        ({"person": "largest", "max_people": 2}, [0, 2]),
        ({"person": "best", "min_box_area": 2000}, [2]), ({"person": "largest", "roi": (0, 0, 350, 480)}, [0]),
        ({"max_people": 1, "min_score": 1.0}, []),
    ],
)  # fmt: skip
def test_who_stays_in_one_frame(options, expected: list[int]) -> None:
    result = found()
    (left,) = choose([result], PeopleOptions(**options))
    assert rows(left) == expected
    assert left.poses.scores.tolist() == pytest.approx([SCORES[row] for row in expected])
    assert left.poses.boxes_xyxy.tolist() == [BOXES[row] for row in expected]
    assert (left.frame_index, left.time_s, left.size_wh) == (0, 0.0, (640, 480))
    (nobody,) = choose([replace(result, poses=no_poses(2))], PeopleOptions(**options))
    assert len(nobody.poses) == 0


@pytest.mark.parametrize(("person", "expected"), [("first", [2]), (4, [1]), (9, []), (2, [2])])
def test_ids_say_who_was_first_and_who_is_meant(person: str | int, expected: list[int]) -> None:
    result = found([7, 4, 2])
    (left,) = choose([result], PeopleOptions(person=person))
    assert rows(left) == expected
    assert left.poses.ids.tolist() == [[7, 4, 2][row] for row in expected]


def test_an_id_needs_ids() -> None:
    with pytest.raises(PosertError, match="person 3 is an id, and people have none") as error:
        list(choose([found()], PeopleOptions(person=3)))
    assert error.value.hint == "add `track`"
    assert len(next(choose([found(scores=[])], PeopleOptions(person=3))).poses) == 0


def test_features_go_with_their_people() -> None:
    numbers = np.arange(3, dtype=np.float32)
    features = Features(
        np.tile(numbers[:, None, None], (1, 2, 2)), np.tile(numbers[:, None, None], (1, 2, 2)),
        numbers[:, None], np.tile(numbers[:, None] > 0, (1, 2)), ("left_elbow",),
        numbers[:, None], numbers, ("torso",),
    )  # fmt: skip
    (left,) = choose([replace(found(), features=features)], PeopleOptions(max_people=2))
    assert left.features.angles.tolist() == [[1.0], [2.0]]
    assert left.features.normalised.shape == (2, 2, 2)
    assert left.features.joints == ("left_elbow",)


def over_time(options: PeopleOptions, frames: dict[float, Result], memory_s: float = 1.0) -> list[list[int]]:
    """Time -> people, as ids that stay."""
    chooser = Chooser(options, memory_s)
    return [chooser(replace(result, time_s=time_s)).poses.ids.tolist() for time_s, result in frames.items()]


def test_without_ids_each_frame_is_chosen_from_anew() -> None:
    frames = [found(), found(scores=[0.95, 0.9, 0.7])]
    assert [rows(left) for left in choose(frames, PeopleOptions(max_people=1))] == [[1], [0]]


@pytest.mark.parametrize("options", [{"person": "best"}, {"max_people": 1}])
def test_the_choice_stays_with_the_person(options) -> None:
    """Also while he is away or others are better, as long as the tracker would know him again."""
    frames = {
        0.0: found([1, 2, 3]), 0.1: found([1, 2, 3], scores=[0.99, 0.1, 0.98]),  # others are better
        0.2: found([1], scores=[0.9]), 1.0: found([1], scores=[0.9]),  # 2 is away
        1.1: found([2, 1], scores=[0.1, 0.9]),
        2.0: found([1], scores=[0.9]), 2.2: found([1], scores=[0.9]),
        2.3: found([1, 2], scores=[0.9, 1.0]),  # 1 has the place now
    }  # fmt: skip
    assert over_time(PeopleOptions(**options), frames) == [[2], [2], [], [], [2], [], [1], [1]]


def test_how_long_a_place_is_kept_is_the_trackers_memory() -> None:
    frames = {0.0: found([1, 2, 3]), 0.4: found([1], scores=[0.9]), 0.6: found([1], scores=[0.9])}
    assert over_time(PeopleOptions(person="best"), frames, 0.5) == [[2], [], [1]]
    assert over_time(PeopleOptions(person="best"), frames, 2.0) == [[2], [], []]


def test_who_does_not_fit_is_left_out_and_keeps_the_place() -> None:
    frames = {
        0.0: found([1, 2, 3]), 0.1: found([1, 2, 3], scores=[0.9, 0.1, 0.9]), 0.2: found([1, 2, 3]),
        1.3: found([1, 2, 3], scores=[0.95, 0.1, 0.9]), 1.4: found([1, 2, 3]),
    }  # fmt: skip
    assert over_time(PeopleOptions(person="best", min_score=0.4), frames) == [[2], [], [2], [1], [1]]


def test_several_places_are_kept_one_by_one() -> None:
    frames = {
        0.0: found([1, 2, 3]),  # 2 and 3 are better
        0.1: found([1, 2], scores=[0.9, 0.1]),  # 3 is away
        1.2: found([1, 2], scores=[0.9, 0.1]),
        1.3: found([1, 2, 3], scores=[0.1, 0.1, 0.9]),
    }
    assert over_time(PeopleOptions(max_people=2), frames) == [[2, 3], [2], [1, 2], [1, 2]]


def test_a_clock_that_is_set_back_takes_nobodys_place() -> None:
    frames = {100.0: found([1, 2, 3]), 3.0: found([1], scores=[0.9]), 3.9: found([1], scores=[0.9])}
    assert over_time(PeopleOptions(person="best"), frames) == [[2], [], []]


def test_the_first_person_is_the_one_who_came_first() -> None:
    frames = {0.0: found([], scores=[]), 0.1: found([1], scores=[0.2]), 0.2: found([2, 1], scores=[0.9, 0.2])}
    assert over_time(PeopleOptions(person="first"), frames) == [[], [1], [1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_people": -1}, "max_people = -1, expected a whole number at least 0"),
        ({"person": "tallest"}, "person = 'tallest', expected largest, central, best, first, or an id"),
        ({"person": 0}, "person = 0, expected"), ({"person": True}, "person = True"), ({"person": 1.5}, "person = 1.5"),
        ({"min_score": float("nan")}, "min_score = nan, expected a finite number"),
        ({"min_box_area": -1}, "min_box_area = -1, expected a finite number at least 0"),
        ({"roi": (1, 2, 3)}, r"roi = \[1.0, 2.0, 3.0\], expected x, y, width, height above 0, or x, y of three"),
        ({"roi": (0, 0, 0, 5)}, "roi"), ({"roi": (0, 0, 5, 5, 5)}, "roi"), ({"roi": (0, 0)}, "roi"),
        ({"roi": (0, 0, float("inf"), 5)}, "roi"), ({"roi": "0,0,5,5"}, "roi"),
    ],
)  # fmt: skip
def test_choices_that_say_nothing(options, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        PeopleOptions(**options)


def test_nothing_asked_for_changes_nothing() -> None:
    _, result = people.result(people.standing((100, 240), (500, 246), ids=[1, 2]))
    assert Chooser(PeopleOptions())(result) is result


def followed(video: Path, last: int) -> Callable[..., list[Poses]]:
    """A function of options: the people of a real video's frames up to `last`, found once and followed."""
    pytest.importorskip("lap")
    with open_model("nano", device="cpu") as model:
        found, skeleton = list(estimate_frames(model, frames(video, last=last))), model.spec.skeleton

    def tracked(**options: Any) -> list[Poses]:
        refine = post_chain(skeleton, track=True, people=PeopleOptions(**options))
        return [refine(result, frame.bgr).poses for frame, result in found]

    return tracked


def test_who_was_best_at_first_stays_though_another_is_better(assets: Path) -> None:
    tracked = followed(assets / "media" / "videos" / "pose2sim_single_cam01.mp4", 8)
    assert len({int(poses.ids[poses.scores.argmax()]) for poses in tracked()}) > 1
    assert {tuple(poses.ids.tolist()) for poses in tracked(person="best")} == {(1,)}


def test_people_of_a_real_video_who_stay_keep_ids_and_places(assets: Path) -> None:
    """Whoever is left out has been followed all the same, and whoever is chosen stays though others are better."""
    tracked = followed(assets / "media" / "videos" / "pose2sim_multi_cam02.mp4", 24)
    everybody = tracked()
    assert {tuple(sorted(poses.ids.tolist())) for poses in everybody} == {(1, 2, 3)}
    assert len({frozenset(poses.ids[poses.scores.argsort()[-2:]].tolist()) for poses in everybody}) > 1
    for options, expected in [
        ({"person": "best"}, {2}), ({"person": "largest"}, {1}), ({"person": 3}, {3}), ({"max_people": 2}, {1, 2}),
        ({"roi": (0, 0, 0.3, 1)}, {1}), ({"min_box_area": 60_000}, {1, 3}),
    ]:  # fmt: skip
        for left, poses in zip(tracked(**options), everybody, strict=True):
            assert set(left.ids.tolist()) == expected, options
            rows = [poses.ids.tolist().index(key) for key in left.ids]
            for name in ("keypoints", "scores", "boxes_xyxy"):
                np.testing.assert_array_equal(getattr(left, name), getattr(poses, name)[rows])


def test_the_command_line(run: Run, model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=3)
    people = {
        ("--max-people", "1"): 3, ("--min-score", ".95"): 0, ("--min-score", ".85"): 3, ("--person", "central"): 3,
        ("--person", "1", "--track"): 3, ("--person", "2", "--features"): 0, ("--roi", "0,0,1,1"): 3,
        ("--roi", "0,0,2,2,0,2"): 0, ("--min-box-area", "1"): 0,
    }  # fmt: skip
    for options, count in people.items():
        code, out, err = run("infer", model, video, *options)
        assert (code, sum(len(json.loads(line)["people"]) for line in out.splitlines()[1:])) == (0, count), options
    for options, message in {
        ("--person", "3"): "error: person 3 is an id, and people have none\nhint: add --track\n",
        ("--person", "me"): "error: person = 'me', expected largest, central, best, first, or an id\n",
        ("--roi", "0,0"): "error: roi = [0.0, 0.0], expected x, y, width, height above 0, or x, y of three or more",
        ("--roi", "a"): "error: --roi 'a' is no region\nhint: write it as X,Y,WIDTH,HEIGHT or X,Y,X,Y,X,Y\n",
    }.items():
        code, _, err = run("infer", model, video, *options)
        assert code == 1
        assert err.startswith(message)


def test_a_manifest_knows_who_was_wanted(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    media.video(tmp_path / "videos" / "a.mp4", count=3)
    command = ["infer", model, tmp_path / "videos", "-o", tmp_path / "out", "--resume"]
    kept = "1 sources were finished before"
    assert kept not in run(*command)[2]
    assert kept in run(*command)[2]
    for options in (["--max-people", "1"], ["--roi", "0,0,1,1"], ["--rotate", "90"], ["--last", "1"]):
        assert kept not in run(*command, *options)[2]
        assert kept in run(*command, *options)[2]
