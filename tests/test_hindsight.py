"""Smoothing by what comes later: the zero-phase filter, gaps filled, and the wait."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import people
import pytest
import tiny_follow
from command import Run

from posert.errors import PosertError
from posert.poses import Poses, Result
from posert.runtime.after import post_chain
from posert.runtime.after.hindsight import settled_poses, wait_s, with_hindsight
from posert.runtime.after.lowpass import smoothed
from posert.runtime.after.options import SmoothOptions
from posert.runtime.files.arrays import npz
from posert.runtime.files.atomic import frame_record
from posert.runtime.files.results import read_results
from posert.runtime.jobs.job import people_of
from posert.runtime.jobs.recipe import Settings
from posert.runtime.session import open_model

ZERO_PHASE = SmoothOptions(method="filtfilt")


@pytest.mark.parametrize("cutoff_hz", [0.5, 6, 11])
@pytest.mark.parametrize("count", [10, 11, 40, 200])
def test_the_filter_is_scipys(count: int, cutoff_hz: float) -> None:
    """`filtfilt` of a Butterworth filter of second order, as movement analysis has it."""
    signal = pytest.importorskip("scipy.signal", reason="pip install scipy")
    walk = np.random.default_rng(count).normal(size=(count, 4)).cumsum(axis=0)
    expected = signal.filtfilt(*signal.butter(2, cutoff_hz / 12.5), walk, axis=0)
    assert smoothed(walk, np.arange(count) / 25, cutoff_hz) == pytest.approx(expected, abs=1e-9)


def test_a_turn_is_where_it_was() -> None:
    """Without delay: the filtered path of somebody who goes and comes back is symmetric about the turn."""
    path = 100.0 - np.abs(np.arange(-40.0, 41))[:, None]
    filtered = smoothed(path, np.arange(81) / 25, 3.0)
    assert filtered[20:-20] == pytest.approx(filtered[::-1][20:-20], abs=1e-3)  # the ends are extended, one by one
    assert filtered.argmax() == 40


@pytest.mark.parametrize(("count", "cutoff_hz"), [(2, 6.0), (1, 6.0), (50, 12.5), (50, 30.0)])
def test_what_cannot_be_filtered_stays(count: int, cutoff_hz: float) -> None:
    values = np.random.default_rng(1).normal(size=(count, 2))
    assert smoothed(values, np.arange(count) / 25, cutoff_hz) is values


def test_uneven_times_are_made_even() -> None:
    """Somebody at constant speed keeps the speed, whenever the frames came."""
    times = np.cumsum(np.random.default_rng(2).uniform(0.01, 0.09, 60))
    assert smoothed(100 * times[:, None], times, 3.0)[10:50] == pytest.approx(100 * times[10:50, None], abs=1.5)


def walkers(count: int, missing: dict[int, set[int]] | None = None) -> list[Result]:
    """Two who walk, with noise; `missing` frame -> ids that are not found there."""
    rng, out = np.random.default_rng(5), []
    for index in range(count):
        there = [key for key in (1, 2) if key not in (missing or {}).get(index, ())]
        poses = people.standing(*((100 * key + 2 * index, 200 + 20 * key) for key in there), ids=there)
        poses.keypoints[:, :, :2] += rng.normal(0, 2, (2, 17, 2))[: len(there)]
        out.append(people.result(poses, index)[1])
    return out


def test_waiting_changes_nothing() -> None:
    """A window that moves along gives what the filter gives over the whole source, and little is held back."""
    results, read = walkers(300, {90: {1}, 91: {1}, 200: {2}}), 0

    def counted() -> Iterator[tuple[int, Result]]:
        nonlocal read
        for result in results:
            read += 1
            yield result.frame_index, result

    options = SmoothOptions(method="filtfilt", fill=0.2)
    whole = settled_poses(results, 0, len(results), options)
    held = 0
    for number, (kept, result) in enumerate(with_hindsight(counted(), options)):
        held = max(held, read - number)
        assert kept == result.frame_index == number
        assert result.poses.ids.tolist() == whole[number].ids.tolist()
        assert result.poses.keypoints == pytest.approx(whole[number].keypoints, abs=2e-3)
        assert np.array_equal(result.poses.filled, whole[number].filled)
    assert number == 299
    assert held <= 25 * wait_s(options) + 10
    assert wait_s(SmoothOptions()) == 0


def test_a_source_that_breaks_off_loses_nothing() -> None:
    def broken() -> Iterator[tuple[None, Result]]:
        yield from ((None, result) for result in walkers(30))
        raise PosertError("it ends early")

    settled: list[int] = []
    with pytest.raises(PosertError, match="it ends early"):
        for _, result in with_hindsight(broken(), ZERO_PHASE):
            settled.append(result.frame_index)
    assert settled == list(range(30))


def test_the_path_is_calmer_and_not_late() -> None:
    results = walkers(120)
    calm = [result.poses for _, result in with_hindsight(((None, result) for result in results), ZERO_PHASE)]
    paths = [np.array([poses.keypoints[0, :, 0] for poses in each]) for each in ([r.poses for r in results], calm)]
    rough, smooth = (path - people.STANDING[:, 0] - 100 - 2 * np.arange(120)[:, None] for path in paths)
    assert smooth[10:-10].std() < 0.8 * rough[10:-10].std()
    assert abs(smooth[10:-10].mean() - rough[10:-10].mean()) < 0.05
    assert calm[0].filled is None


def test_gaps_by_hand() -> None:
    """A keypoint missing for three frames and one missing for longer; half a second is longer than `fill`."""
    results = [people.result(people.standing((100 + 4 * n, 200), ids=[7]), n)[1] for n in range(30)]
    for n in (5, 6, 7):
        results[n].poses.keypoints[0, 3] = 0
    for n in range(10, 22):
        results[n].poses.keypoints[0, 4] = 0
    results[8].poses.keypoints[0, 3, 2] = 0.5
    out = settled_poses(results, 0, 30, SmoothOptions(method="none", fill=0.4))
    assert [n for n in range(30) if out[n].filled.any()] == [5, 6, 7]
    for n in (5, 6, 7):
        assert np.flatnonzero(out[n].filled[0]).tolist() == [3]
        expected = (people.STANDING[3, 0] + 100 + 4 * n, people.STANDING[3, 1] + 200, 0.5)
        assert out[n].keypoints[0, 3] == pytest.approx(expected)
    assert not out[15].keypoints[0, 4].any()
    others = [result.poses.keypoints[0, :3] for result in results]
    assert all(np.array_equal(poses.keypoints[0, :3], given) for poses, given in zip(out, others, strict=True))


def test_somebody_not_found_for_a_moment_is_put_in() -> None:
    results = [people.result(people.standing((100 + 4 * n, 200), ids=[7]), n)[1] for n in range(10)]
    nobody = people.standing()
    results[4] = replace(results[4], poses=nobody)
    results[5] = replace(results[5], poses=replace(nobody, ids=np.zeros(0, np.int32)))
    results[6].poses.scores[0] = 0.3
    out = settled_poses(results, 0, 10, SmoothOptions(method="none", fill=0.4))
    for n in (4, 5):
        assert out[n].ids.tolist() == [7]
        assert out[n].filled.all()
        assert out[n].scores.tolist() == pytest.approx([0.3])
        assert out[n].keypoints[0, :, :2] == pytest.approx(people.STANDING + np.array([100 + 4 * n, 200]), abs=1e-3)
        assert out[n].boxes_xyxy == pytest.approx(people.standing((100 + 4 * n, 200)).boxes_xyxy, abs=1e-3)
    assert not out[3].filled.any()


def test_marks_in_files(tmp_path: Path) -> None:
    filled = np.zeros((1, 17), bool)
    filled[0, 2] = True
    poses: Poses = replace(people.standing((100, 200), ids=[1]), filled=filled)
    frame, result = people.result(poses)
    assert frame_record(result)["people"][0]["filled"] == [0, 0, 1] + [0] * 14
    with npz(tmp_path / "walk.npz", people.SPEC, "walk.mp4") as write:
        write(frame, result)
    with np.load(tmp_path / "walk.npz") as arrays:
        assert arrays["filled"].tolist() == [[[0, 0, 1] + [0] * 14]]
    (again,) = read_results(tmp_path / "walk.npz").results
    assert np.array_equal(again.poses.filled, filled)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Somebody who walks and is not found in four frames of 40, 10 frames per second."""
    writer = cv2.VideoWriter(str(tmp_path / "walk.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    for index in range(40):
        writer.write(tiny_follow.scene(*[] if 20 <= index < 23 else [(30 + index, 48)]).bgr)
    writer.release()
    return tmp_path / "walk.mp4"


def test_infer_fills_and_marks(run: Run, tmp_path: Path, video: Path) -> None:
    pytest.importorskip("lap")
    model = tiny_follow.pair(tmp_path)
    settings = [f"smooth.{text}" for text in ("method=filtfilt", "cutoff_hz=2", "fill=0.6")]
    more = [word for text in settings for word in ("--set", text)]
    forms = ["--format", "jsonl", "--format", "csv", "--format", "parquet"]
    code, _, err = run("infer", model, video, "--smooth", "--features", *more, *forms, "-o", tmp_path / "out")
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "out" / "walk.mp4.jsonl").read_text().splitlines()[1:]]
    assert [len(row["people"]) for row in rows] == [1] * 40
    assert {row["frame"] for row in rows if any(row["people"][0]["filled"])} == {20, 21, 22}
    path = [row["people"][0]["keypoints"][0][0] for row in rows[19:24]]
    assert all(before < after for before, after in pairwise(path))
    assert all(row["people"][0]["features"]["velocities"][0][0] > 0 for row in rows[20:23])
    header, *lines = (tmp_path / "out" / "walk.mp4.csv").read_text().splitlines()
    column = header.split(",").index(next(name for name in header.split(",") if name.endswith("_filled")))
    assert [line.split(",")[column] for line in lines].count("1") == 3


def test_what_does_not_wait_says_so(tmp_path: Path, video: Path) -> None:
    pytest.importorskip("lap")
    with pytest.raises(PosertError, match="nobody waits"):
        post_chain(people.SKELETON, smooth=True, smoothing=ZERO_PHASE)
    with open_model(tiny_follow.pair(tmp_path), device="cpu") as model:
        settings = Settings(smooth=True, smoothing=SmoothOptions(fill=1), live=True)
        with pytest.raises(PosertError, match="nobody waits"):
            next(people_of(model, str(video), settings))
