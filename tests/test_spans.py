"""Long videos in spans: where they are cut, and that nothing shows it."""

import logging
import multiprocessing
import threading
import time
from itertools import pairwise
from pathlib import Path

import media
import numpy as np
import pytest
import tiny
import tiny_many
from command import Run, found

from posert.errors import PosertError
from posert.runtime.jobs import spans, todo
from posert.runtime.jobs.clip import Clip
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.pool import in_processes
from posert.runtime.jobs.recipe import Recipe, Selection, Settings
from posert.runtime.jobs.spans import Found, Span, cut, find
from posert.runtime.jobs.todo import Todo
from posert.runtime.media.read import frames, shown_when

GROUP = 13  # at most so many frames from one key frame to the next


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A model that finds up to six people in every frame."""
    return tiny_many.rows(tmp_path / "many.onnx")


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video that is long enough for spans."""
    monkeypatch.setattr(spans, "LEAST", 2 * GROUP)
    return media.video(tmp_path / "long.mp4", count=200)


def spans_of(model: Path, video: Path, settings: Settings = Settings(), workers: int = 2) -> list[Span]:  # noqa: B008
    return cut(Recipe(str(model), settings), [Job(str(video), video.with_suffix(".jsonl"), None)], workers).get(0, [])


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(stride=3),
        Selection(start_s=2.05, stop_s=17.5),
        Selection(first=30, last=190, stride=2),
        Selection(start_s=1.0, first=20, mirror=True, rotate=90),
    ],
)
def test_spans_are_the_whole_in_order_and_begin_at_key_frames(many: Path, long: Path, selection: Selection) -> None:
    parts = spans_of(many, long, Settings(selection=selection))
    whole = list(selection.of(str(long)))
    assert len(parts) > 1
    assert np.concatenate([part.indices for part in parts]).tolist() == [frame.index for frame in whole]
    line = shown_when(str(long))
    keys = np.searchsorted(line.times_ms, line.keys_ms)
    for part in parts[1:]:
        assert 0 <= part.indices[0] - keys[keys <= part.indices[0]].max() < selection.stride
    pieces = [frame for part in parts for frame in part.selection.of(str(long))]
    assert [(f.index, f.time_s, f.bgr.tobytes()) for f in pieces] == [
        (f.index, f.time_s, f.bgr.tobytes()) for f in whole
    ]


def test_spans_begin_batches_too(many: Path, long: Path) -> None:
    parts = spans_of(many, long, Settings(batch=5))
    assert len(parts) > 1
    assert all(len(part.indices) % 5 == 0 for part in parts[:-1])


def test_spans_become_shorter_so_that_all_end_together(many: Path, long: Path) -> None:
    lengths = [len(part.indices) for part in spans_of(many, long)]
    assert len(lengths) > 3
    assert lengths[0] > 2 * lengths[-1] >= GROUP
    assert all(after < before + GROUP for before, after in pairwise(lengths))


def test_what_is_known_of_a_source_is_not_asked_again(many: Path, long: Path) -> None:
    """A span's own frames come from where they are, by what the planner knew of the file."""
    part = spans_of(many, long)[-1]
    selection = part.selection
    read = frames(str(long), start_s=selection.start_s, first=selection.first, known=part.known)
    assert [frame.index for frame in read] == part.indices.tolist()


def test_only_who_would_hold_up_the_others_is_cut(many: Path, long: Path, tmp_path: Path) -> None:
    small = [Job(str(media.video(tmp_path / f"{n}.mp4", count=12)), tmp_path / f"{n}.jsonl", None) for n in range(4)]
    large = Job(str(long), tmp_path / "long.jsonl", None)
    recipe = Recipe(str(many))
    assert list(cut(recipe, [*small[:2], large, *small[2:]], 2)) == [2]
    assert cut(recipe, [large] * 8, 2) == {}
    assert cut(recipe, small[:1], 2) == {}
    assert cut(recipe, [large], 1) == {}
    assert cut(recipe, [Job(str(long), tmp_path / "a.jsonl", None, clip=Clip("a", 1, 9))], 2) == {}
    (rest,) = cut(recipe, [Job(str(long), tmp_path / "a.jsonl", None, clip=Clip("a", 5.0))], 2).values()
    assert rest[0].indices[0] == 50


FORMATS = ("--format", "jsonl", "--format", "csv", "--format", "npz")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--track",),
        ("--features", "--smooth", "--stride", 2, "--start", 3),
        ("--smooth", "--set", "smooth.method=filtfilt", "--set", "smooth.fill=0.5"),
        ("--batch", 3, "--format", "trc"),
        ("--max-people", 2, "--track", "--rotate", 90),
    ],
)
def test_two_workers_write_what_one_pass_writes(
    run: Run, many: Path, long: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    for name, workers in (("one", 0), ("two", 2)):
        code, _, err = run("infer", many, long, "-o", tmp_path / name, *FORMATS, *options, "--workers", workers)
        assert code == 0, err
    for path in found(tmp_path / "one", "long*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path


def test_standard_output(run: Run, many: Path, long: Path) -> None:
    whole, joined = (run("infer", many, long, "--track", "--workers", workers)[1] for workers in (1, 2))
    assert joined == whole
    assert len(joined.splitlines()) == 201


@pytest.mark.parametrize(
    ("make", "options", "why"),
    [
        (tiny.bright_spot, (), "people of the frame before"),
        (tiny_many.rows, ("--format", "coco-dataset"), "pictures of the frames"),
        (tiny_many.rows, ("--overlay", "drawn.mp4"), ""),
        (tiny_many.rows, ("--live",), "for one pass"),
        (tiny_many.rows, ("--key-frames",), "for one pass"),
    ],
)
def test_what_needs_one_pass_is_not_cut(
    run: Run, long: Path, tmp_path: Path, make, options: tuple[str, ...], why: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING, "posert"):
        code, _, err = run("infer", make(tmp_path / "m.onnx"), long, "-o", "out", "--workers", 2, *options)
    assert code == 0, err
    assert ("is not shared out among the workers" in caplog.text) == bool(why)
    assert why in caplog.text


def test_a_damaged_video_is_said_as_in_one_pass(run: Run, many: Path, long: Path, tmp_path: Path) -> None:
    """Its spans are found, the last does not end well, and all of it is read again."""
    damaged = media.video(tmp_path / "damaged.mkv", count=200)
    damaged.write_bytes(damaged.read_bytes()[:-3000])
    assert spans_of(many, damaged)
    said = {}
    for workers in (1, 2):
        out = tmp_path / f"{workers}.jsonl"
        code, _, said[workers] = run("infer", many, damaged, "-o", out, "--track", "--workers", workers)
        assert code == 1
    assert said[1] == said[2] != ""
    kept = [(tmp_path / f"{workers}.jsonl.partial").read_bytes() for workers in (1, 2)]
    assert kept[0] == kept[1]


def results(todo: Todo, recipe: Recipe, most: int = 99) -> list[Outcome]:
    """What becomes of all units, done here, the last taken first."""
    outcomes: list[Outcome] = []
    with recipe.open() as model:
        while True:
            taken = [unit for _ in range(most) if (unit := todo.take()) is not None]
            for unit in reversed(taken):
                made = find(model, unit, recipe.settings) if isinstance(unit, Span) else Outcome(unit)
                if (outcome := todo.done(unit, made)) is not None:
                    outcomes.append(outcome)
            outcomes += todo.joined(0.1)
            if not taken and not todo.joining:
                return outcomes


@pytest.mark.parametrize("most_bytes", [1, 2**28])
def test_spans_in_any_order_and_in_bounded_memory(
    many: Path, long: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    """With room for nothing, the spans come one after the other: who waits for the one before never blocks that."""
    monkeypatch.setattr(todo, "_MOST_BYTES", most_bytes)
    recipe, job = Recipe(str(many), Settings(track=True)), Job(str(long), long.with_suffix(".jsonl"), None)
    parts = cut(recipe, [job], 2)
    work = Todo([job], parts, recipe.settings)
    first = work.take()
    assert isinstance(first, Span)
    work.again(first)
    outcomes = results(work, recipe)
    assert [(outcome.job, outcome.frames, outcome.error) for outcome in outcomes] == [(job, 200, None)]


def test_a_span_that_is_not_as_planned_makes_it_one_pass(many: Path, long: Path) -> None:
    recipe, job = Recipe(str(many)), Job(str(long), long.with_suffix(".jsonl"), None)
    work = Todo([job], cut(recipe, [job], 2), recipe.settings)
    taken = [work.take() for _ in range(3)]
    work.done(taken[1], Found(b""))
    while work.joining:
        assert not list(work.joined(1.0))
    assert work.take() is job
    assert not found(long.parent, "*.partial") + found(long.parent, "*.jsonl")


def test_an_interruption_keeps_what_is_joined(many: Path, long: Path) -> None:
    recipe, job = Recipe(str(many)), Job(str(long), long.with_suffix(".jsonl"), None)
    parts, seen = cut(recipe, [job], 2), threading.Event()
    count = len(parts[0][0].indices)
    work = Todo([job], parts, recipe.settings, lambda done: seen.set() if done == count else None)
    with recipe.open() as model:
        first, _ = work.take(), work.take()
        work.done(first, find(model, first, recipe.settings))
    assert seen.wait(30)
    work.close()
    assert len(long.with_suffix(".jsonl.partial").read_text().splitlines()) == 1 + count


def test_a_source_with_a_span_that_nobody_can_do_fails_alone(many: Path, long: Path) -> None:
    recipe, job = Recipe(str(many)), Job(str(long), long.with_suffix(".jsonl"), None)
    work = Todo([job], cut(recipe, [job], 2), recipe.settings)
    work.failed(work.take(), PosertError("its worker died"))
    (outcome,) = results(work, recipe)
    assert outcome.error is not None
    assert outcome.error.what == "its worker died"


def test_a_worker_that_dies_in_a_span(many: Path, long: Path, tmp_path: Path) -> None:
    other = Job(str(media.video(tmp_path / "other.mp4")), tmp_path / "other.jsonl", None)
    job = Job(str(long), tmp_path / "long.jsonl", None)
    recipe = Recipe(str(many))
    parts = cut(recipe, [job, other], 2)
    assert list(parts) == [0]

    def kill() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        children[0].kill()

    outcomes = in_processes(recipe, [job, other], 1, parts)
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    died, done = sorted(outcomes, key=lambda outcome: outcome.error is None)
    assert "its worker process died (exit code -9)" in str(died.error)
    assert (died.job, done.job, done.error) == (job, other, None)
