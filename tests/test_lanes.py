"""Sources side by side in one process: when, that they are, and that nothing changes by it."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import media
import pytest
import tiny
import tiny_follow
from command import Run, tree

from posert.runtime.jobs import lanes
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.lanes import lane_count, side_by_side
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.recipe import Recipe, Settings
from posert.runtime.loop import TopDown
from posert.runtime.options import ModelOptions

TWO, EVERY = ModelOptions(device="cpu", threads=2), Settings(top_down=TopDown(detect_every=2))


def videos(folder: Path, *counts: int) -> list[Job]:
    folder.mkdir()
    for number, count in enumerate(counts):
        media.video(folder / f"{number}.mp4", count=count)
    return plan([str(folder)], folder.parent / "out", None, "jsonl")


def pictures(folder: Path, count: int) -> list[Job]:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), media.numbered(number))
    return plan([str(folder)], folder.parent / "out", None, "jsonl")


def whole(path: Path) -> Path:
    return tiny.bright_spot(path, region="frame")


@pytest.mark.parametrize(
    ("make", "settings", "counts", "threads", "expected"),
    [
        (tiny.bright_spot, Settings(), (9, 9, 9, 9), 2, 2),
        (tiny.bright_spot, Settings(), (9, 9), 4, 2),
        (tiny.bright_spot, Settings(), (9, 9, 9), 2, 1),  # the third would be alone for half of the time
        (tiny.bright_spot, Settings(), (99, 9, 9), 2, 1),
        (tiny.bright_spot, Settings(), (9,), 2, 1),
        (tiny.bright_spot, Settings(), (9, 9), 1, 1),
        (tiny.bright_spot, Settings(boxes="boxes.json"), (9, 9), 2, 1),
        (whole, Settings(), (9, 9), 2, 1),  # has two frames of one source in flight
        (whole, EVERY, (9, 9), 2, 2),
    ],
)
def test_how_many_videos_run_side_by_side(
    tmp_path: Path,
    make: Callable[[Path], Path],
    settings: Settings,
    counts: tuple[int, ...],
    threads: int,
    expected: int,
) -> None:
    options = ModelOptions(device="cpu", threads=threads)
    recipe = Recipe(str(make(tmp_path / "m.onnx")), settings, options)
    assert lane_count(recipe, videos(tmp_path / "in", *counts)) == expected


def test_pictures_run_side_by_side_whatever_the_model(tmp_path: Path) -> None:
    """A folder of pictures kept one core busy, because each of them is a source with one frame in flight."""
    recipe = Recipe(str(whole(tmp_path / "m.onnx")), options=TWO)
    jobs = pictures(tmp_path / "in", 4)
    assert lane_count(recipe, jobs) == 2
    assert lane_count(recipe, plan([str(tmp_path / "in")], None, None, "jsonl")) == 1  # standard output has an order
    mixed = [*jobs, *videos(tmp_path / "more", 9)]
    assert lane_count(recipe, mixed) == 1


def test_two_jobs_are_under_way_at_once_on_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met, models = threading.Barrier(2), []

    def attempt(model: object, job: Job, *_: object) -> Outcome:
        models.append(model)
        met.wait(20)
        return Outcome(job)

    monkeypatch.setattr(lanes, "attempt", attempt)
    recipe, jobs = Recipe(str(tiny.bright_spot(tmp_path / "m.onnx")), options=TWO), videos(tmp_path / "in", 2, 2, 2, 2)
    assert {outcome.job.source for outcome in side_by_side(recipe, jobs, 2)} == {job.source for job in jobs}
    assert len(set(map(id, models))) == 1


@pytest.mark.parametrize("kind", ["pictures", "one person", "everybody"])
def test_the_same_files_as_one_after_the_other(run: Run, tmp_path: Path, kind: str) -> None:
    """And the same exit code with a source that fails."""
    model = tiny.bright_spot(tmp_path / "m.onnx", region="frame" if kind == "pictures" else "follow")
    more: list[object] = ["--workers", 1, "--format", "npz", "--format", "csv", "--track", "--smooth"]
    if kind == "everybody":
        more += ["--detector", tiny_follow.detector(tmp_path / "d.onnx"), "--detect-every", 2]
    jobs = pictures(tmp_path / "in", 6) if kind == "pictures" else videos(tmp_path / "in", 6, 6, 6, 6)
    broken = tmp_path / "in" / ("z.png" if kind == "pictures" else "z.mp4")
    broken.write_bytes(b"nothing")
    assert lane_count(Recipe(str(model), options=TWO), jobs) == 2
    for threads, out in ((1, "one"), (2, "two")):
        assert run("infer", model, tmp_path / "in", "-o", tmp_path / out, "--threads", threads, *more)[0] == 3
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert len(tree(tmp_path / "one")) > 2 * len(jobs)


def test_breaking_off_ends_what_is_under_way(tmp_path: Path) -> None:
    """As Ctrl-C in a single source: what was finished is kept, the rest is not called finished."""
    jobs = videos(tmp_path / "in", 2, 5000, 5000, 5000)
    recipe = Recipe(str(tiny.bright_spot(tmp_path / "m.onnx")), options=TWO)
    with closing(side_by_side(recipe, jobs, 2)) as outcomes:
        assert next(outcomes).frames == 2
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert [job.output.exists() for job in jobs if job.output] == [True, False, False, False]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("posert-job")]
