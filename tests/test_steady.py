"""The steady rule of following: noise comes to nothing, sides stay, a cut begins anew."""

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import naive_following as naive
import numpy as np
import pytest
import tiny_follow
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.poses import TORSO, Poses, Skeleton
from posert.postprocess.following import FollowOptions, next_window
from posert.postprocess.steady import memory_size, sides_of, steadied
from posert.runtime.cuts import MEMORY, scene_changed
from posert.runtime.loop import estimate
from posert.runtime.media.read import frames
from posert.runtime.session import open_model
from posert.skeletons import COCO_17_MOVENET

WH = (200, 150)
NAMES = (*TORSO, "left_ankle", "right_ankle", "nose", "left_knee", "right_knee")
EDGES = ((0, 7), (1, 8), (7, 4), (8, 5), (0, 2), (1, 3), (0, 1), (2, 3))
BODY = Skeleton(NAMES, EDGES, (), (1, 0, 3, 2, 5, 4, 6, 8, 7))
STANDING = np.array([[108, 75], [92, 75], [110, 45], [90, 45], [108, 115], [92, 115], [100, 30], [108, 95], [92, 95]])
ASIDE = np.array([60, 0])
HOW, NOBODY = FollowOptions(), np.empty((0, memory_size(9)))


def person(points: np.ndarray, score: float | np.ndarray = 0.9) -> Poses:
    scores = np.broadcast_to(score, (len(points),))
    keypoints = np.column_stack([points, scores]).astype(np.float32)[None]
    return Poses(keypoints, np.ones(1, np.float32), np.array([[0, 0, 1, 1]], np.float32))


def both(one: Poses, other: Poses) -> Poses:
    names = ("keypoints", "scores", "boxes_xyxy")
    return Poses(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))


def follow(clip: list[Poses], how: FollowOptions = HOW) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [F,K,3] and windows [F,4] of the first person of each frame."""
    memory, found = NOBODY, []
    for people in clip:
        people, memory = steadied(people, memory, WH, BODY, how)
        found.append((people.keypoints[0], memory[0, :4]))
    return np.array([k for k, _ in found]), np.array([w for _, w in found])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.5]), st.integers(1, 6))
def test_every_frame_is_as_the_slow_twin_has_it(seed: int, slack: float, patience: int) -> None:
    """People who move, come and go, change places in the list, and whose sides and scores jump."""
    rng, how = np.random.default_rng(seed), FollowOptions(share=0.4, slack=slack, patience=patience)
    memory, known = NOBODY, []
    places = rng.uniform(-60, 60, (4, 1, 2))
    for _ in range(12):
        places += rng.normal(0, rng.choice([0, 1, 10]), places.shape)
        points = STANDING + places + rng.normal(0, rng.choice([0, 2]), (4, 9, 2))
        for pair in ([0, 1], [4, 5], [4, 5, 7, 8]):
            turned = rng.random(4) < 0.3
            points[np.ix_(turned, pair)] = points[np.ix_(turned, [BODY.flip[k] for k in pair])]
        scores = rng.choice([0.05, 0.15, 0.9], (4, 1, 1), p=[0.1, 0.2, 0.7]) * rng.choice(
            [0.1, 1], (4, 9, 1), p=[0.1, 0.9]
        )
        rows = rng.permutation(4)[: rng.integers(0, 5)]
        keypoints = np.concatenate([points, scores], axis=2).astype(np.float32)[rows]
        people = Poses(keypoints, np.ones(len(rows), np.float32), np.zeros((len(rows), 4), np.float32))
        found, memory = steadied(people, memory, WH, BODY, how)
        expected, known = naive.steadied(people, known, WH, BODY, how)
        assert found.keypoints.tolist() == expected.tolist()
        for row, one in zip(memory, known, strict=True):
            assert row[:4] == pytest.approx(one.window or [np.nan] * 4, nan_ok=True, rel=1e-9)
            assert row[13::5] == pytest.approx(one.moves, nan_ok=True, rel=1e-9)


def test_noise_does_not_move_the_window() -> None:
    rng = np.random.default_rng(0)
    clip = [person(STANDING + rng.normal(0, 0.3, (9, 2))) for _ in range(30)]
    _, windows = follow(clip)
    assert len(np.unique(windows, axis=0)) == 1
    assert len({tuple(next_window(people, WH, BODY)) for people in clip}) == 30


def test_the_window_comes_along_and_grows() -> None:
    clip = [person((STANDING - [100, 75]) * (1 + i / 100) + [70 + i, 75]) for i in range(40)]
    _, windows = follow(clip)
    for people, window in zip(clip, windows, strict=True):
        assert naive.apart(window.tolist(), next_window(people, WH, BODY).tolist()) < 0.05


@pytest.mark.parametrize(("score", "stays"), [(0.15, 3), (0.05, 0)])
def test_a_torso_that_is_hardly_seen_keeps_its_window_for_a_while(score: float, stays: int) -> None:
    clip = [person(STANDING)] * 3 + [person(STANDING, score)] * 8
    assert next_window(clip[-1], WH, BODY) is None
    _, windows = follow(clip)
    assert np.isfinite(windows[:, 0]).tolist() == [True] * (3 + stays) + [False] * (8 - stays)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_legs_that_change_sides_change_back(count: int) -> None:
    """Unless the network insists."""
    exchanged = STANDING[[0, 1, 2, 3, 5, 4, 6, 8, 7]]
    after = STANDING if count <= HOW.patience else exchanged
    keypoints, _ = follow([person(STANDING)] * 20 + [person(exchanged)] * count + [person(after)] * 3)
    wrong = np.abs(keypoints[:, 4:6, :2] - STANDING[4:6]).max(axis=(1, 2)) > 1
    insists = range(20 + HOW.patience, 23 + count) if count > HOW.patience else ()
    assert np.flatnonzero(wrong).tolist() == list(insists)


def test_a_foot_alone_goes_where_it_is_seen() -> None:
    """A leg stays one: the ankle that crosses while its knee stays is not brought back."""
    exchanged, legs = STANDING[[0, 1, 2, 3, 5, 4, 6, 7, 8]], STANDING + np.array([[0, 0]] * 7 + [[30, 0], [-30, 0]])
    exchanged[7:] = legs[7:]
    keypoints, _ = follow([person(legs)] * 20 + [person(exchanged)] * 3)
    assert keypoints[-3:, :, :2].tolist() == [exchanged.tolist()] * 3


def test_limbs_are_what_edges_join_without_the_torso() -> None:
    assert sides_of(BODY)[:, 1].tolist() == [0, 0, 2, 2, 4, 4, 6, 4, 4]
    names = [COCO_17_MOVENET.names[limb] for limb in sides_of(COCO_17_MOVENET)[:, 1]]
    assert names == ["nose"] * 5 + ["left_shoulder"] * 2 + ["left_elbow"] * 4 + ["left_hip"] * 2 + ["left_knee"] * 4
    assert sides_of(replace(BODY, flip=())).shape == (0, 2)


def test_whoever_is_seen_seldom_steps_from_foot_to_foot() -> None:
    """At few frames a second a walker's feet change places in each of them; so they do in the result."""
    stride = np.array([[0, 0]] * 4 + [[20, 0], [-20, 0], [0, 0], [10, 0], [-10, 0]])
    clip = [person(STANDING + stride * (-1) ** i) for i in range(20)]
    keypoints, _ = follow(clip)
    assert all((found == people.keypoints[0]).all() for found, people in zip(keypoints, clip, strict=True))


def test_everybody_has_a_memory_of_his_own() -> None:
    """Two people, who come in another order each time; one of them leaves and is forgotten."""
    left, right = person(STANDING - ASIDE), person(STANDING + ASIDE)
    _, memory = steadied(both(left, right), NOBODY, WH, BODY, HOW)
    _, turned = steadied(both(right, left), memory, WH, BODY, HOW)
    assert turned[:, :4].tolist() == memory[::-1, :4].tolist()
    _, alone = steadied(right, turned, WH, BODY, HOW)
    assert alone[:, :4].tolist() == turned[:1, :4].tolist()


def test_without_mirror_images_there_are_no_sides() -> None:
    sideless = replace(BODY, flip=())
    memory, exchanged = NOBODY, person(STANDING[[0, 1, 2, 3, 5, 4, 6, 8, 7]])
    for people in [person(STANDING)] * 20 + [exchanged]:
        found, memory = steadied(people, memory, WH, sideless, HOW)
    assert found.keypoints.tolist() == exchanged.keypoints.tolist()


def changes(pictures: list[np.ndarray], limit: float = HOW.cut) -> list[int]:
    """The pictures that begin a new scene."""
    memory = np.zeros(MEMORY, np.float32)
    return [index for index, picture in enumerate(pictures) if scene_changed(picture, memory, limit)]


def scene(seed: int, step: int, noise: float = 2) -> np.ndarray:
    """A picture with a bright square that moves."""
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(20, 200, (6, 8, 3)), np.ones((20, 20, 1)))
    picture[30:80, 20 + 3 * step : 50 + 3 * step] = 250
    return np.clip(picture + np.random.default_rng(step).normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


def test_a_cut_is_where_another_scene_begins() -> None:
    clip = [scene(1, i) for i in range(10)] + [scene(2, i) for i in range(10)] + [scene(1, 0)] + [scene(3, 0)]
    assert changes(clip) == [10, 20, 21]
    assert changes(clip, 0) == []
    assert changes([picture[::3, ::3] for picture in clip]) == [10, 20, 21]


def test_what_moves_or_fades_is_no_cut() -> None:
    fade = [np.full((50, 70, 3), level, np.uint8) for level in range(0, 250, 10)]
    rng = np.random.default_rng(0)
    assert changes(fade) == changes([scene(1, 7 * i) for i in range(12)]) == []
    assert changes([rng.integers(0, 255, (40, 60, 3), np.uint8) for _ in range(9)]) == []
    assert changes([np.zeros((1, 1, 3), np.uint8), np.full((3, 2, 3), 255, np.uint8)]) == []


def test_the_whole_frame_again_at_a_cut(tmp_path: Path) -> None:
    """The toy sees nobody at the edge of the window, where by the tutorial's rule the other person is after a cut."""
    places = [(30, 40)] * 4 + [(88, 52)] * 3
    clip = [tiny_follow.scene(place, index=index) for index, place in enumerate(places)]
    for rule, seen in (("steady", 1), ("tutorial", 0)):
        params = {"follow.rule": rule}
        with open_model(tiny_follow.pose(tmp_path / "toy.onnx"), device="cpu", threads=1, params=params) as model:
            found = [result.poses.keypoints[:, :, 0].mean(axis=1) for result in estimate(model, clip)]
        assert [len(people) for people in found] == [1] * 4 + [seen] + [1] * 2
        assert np.concatenate(found) == pytest.approx([30] * 4 + [88] * (seen + 2), abs=3)


def test_lightning_finds_the_man_in_the_frame_of_the_cut(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At frame 90 he lies at the right no more but comes in at the left, in the same room."""
    pytest.importorskip("onnx")
    from posert.export.named import model_file

    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for file in ("movenet-lightning.json", "movenet-lightning.bin"):
        shutil.copy(assets / "models" / "movenet_tfjs" / file, mirror)
    monkeypatch.setenv("POSERT_MIRROR", str(mirror))
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "home"))
    clip = list(islice(frames(str(assets / "media" / "videos" / "staged_falls.mp4")), 84, 94))
    with open_model(model_file("movenet-lightning"), device="cpu", threads=1) as model:
        found = [result.poses.keypoints[0] for result in estimate(model, clip)]
    hips = [keypoints[11:13, 0].mean() for keypoints in found]
    assert min(hips[:6]) > 800
    assert max(hips[6:]) < 250
