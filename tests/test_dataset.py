"""`--format parquet --partition N`: one dataset in so many files, with every clip once, whatever happens to runs."""

import os
import shutil
from pathlib import Path
from typing import Any

import clips
import media
import pytest
import tiny
from command import Run

from posert.errors import PosertError
from posert.runtime.jobs import shelf
from posert.runtime.jobs.job import Outcome
from posert.runtime.jobs.ledger import Ledger
from posert.runtime.jobs.many import Jobs
from posert.runtime.jobs.recipe import Recipe, Settings

parquet = pytest.importorskip("pyarrow.parquet")
IDS = [f"a/{number:04}" for number in range(7)]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(str(tiny.bright_spot(tmp_path / "model.onnx")))


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


def go(out: Path, recipe: Recipe, jobs: Jobs, *, become: Any = clips.done, resume: bool = True, **how: Any) -> int:
    """A run over the jobs; how many it did."""
    ledger = Ledger(out, recipe, **{"flush_s": 0.0, "part_bytes": 40_000, **how})
    try:
        todo = ledger.begin(jobs, resume=resume)
        for job in todo:
            ledger.add(become(job))
    except Killed:
        ledger._shelf.release()  # the system does
        raise
    ledger.end(jobs)
    return len(todo)


def test_rows_and_what_files_say(tmp_path: Path, recipe: Recipe) -> None:
    jobs = clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS, label=["x"] * 7, age=[*range(6), None]), tmp_path)
    assert go(tmp_path / "out", recipe, jobs, part_bytes=1 << 30) == 7
    (name,) = clips.parts(tmp_path / "out")
    found = parquet.read_table(tmp_path / "out" / "dataset" / name)
    columns = ["clip", "label", "age", "frame", "time_s", "width", "height", "person", "id", "score", "box_left"]
    assert found.schema.names[:11] == columns
    assert str(found.schema.field("age").type) == "int64"
    assert [row[:3] for row in clips.table(tmp_path / "out")[:3]] == [
        ("a/0000", 1, 0),
        ("a/0000", 2, 0),
        ("a/0000", 2, 1),
    ]
    said = parquet.read_metadata(tmp_path / "out" / "dataset" / name).metadata
    assert said[b"posert.frames"] == b"21"
    assert b'"skeleton"' in said[b"posert"]
    assert b'"stages"' in said[b"posert.model"]
    assert [path.name for path in (tmp_path / "out" / "manifest").glob("chunk*")] == []


@pytest.mark.parametrize("count", [1, 3, 7])
def test_so_many_files_as_were_asked_for(tmp_path: Path, recipe: Recipe, count: int) -> None:
    """Also after a second run has done what failed in the first."""
    out, jobs = tmp_path / "out", clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    wrong = lambda job: clips.failed(job) if job.rows in IDS[1:4:2] else clips.done(job)  # noqa: E731
    assert go(out, recipe, jobs, parts=count, become=wrong) == 7
    assert len({row[0] for row in clips.table(out)}) == 5
    assert go(out, recipe, jobs, parts=count) == 2
    assert len(clips.parts(out)) == count, clips.parts(out)
    assert {row[0] for row in clips.table(out)} == set(IDS)
    assert len(clips.table(out)) == 7 * 3


def test_files_of_that_size(tmp_path: Path, recipe: Recipe) -> None:
    """The last may be smaller, and takes what comes in another run."""
    out, jobs = tmp_path / "out", clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    go(out, recipe, jobs[:3], part_bytes=60_000)
    first = clips.parts(out)
    assert len(first) == 1
    assert go(out, recipe, jobs, part_bytes=60_000) == 4
    assert len(clips.parts(out)) == 2
    assert len(clips.table(out)) == 7 * 3
    assert go(out, recipe, jobs) == 0


def test_a_run_that_dies_at_any_step(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clip is in the dataset once, whether the run dies before or after a file has its place, or is removed."""
    jobs = clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    go(tmp_path / "undisturbed", recipe, jobs)
    whole, step, died = clips.table(tmp_path / "undisturbed"), 0, True
    while died:
        out, left, died = tmp_path / f"out{step}", step, False

        def one_step(what: Any, *args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return what(*args, **more)

        with monkeypatch.context() as patch:
            for owner, name in ((shelf.os, "replace"), (shelf.Path, "unlink")):
                real = getattr(owner, name)
                patch.setattr(owner, name, lambda *args, _real=real, **more: one_step(_real, *args, **more))
            try:
                go(out, recipe, jobs)
            except Killed:
                died = True
        before = {row[0] for row in clips.table(out)} if (out / "dataset").is_dir() and clips.parts(out) else set()
        assert before <= set(IDS)
        go(out, recipe, jobs)
        assert clips.table(out) == whole
        assert not [path for path in (out / "manifest").iterdir() if path.name.startswith(("chunk", "."))]
        step += 1
    assert step > 30


def test_what_has_changed_is_done_again(tmp_path: Path, recipe: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    out, path = tmp_path / "out", tmp_path / "l.parquet"
    assert go(out, recipe, clips.jobs_of(clips.listed(path, IDS, label=["x"] * 7), tmp_path), parts=3) == 7
    again = clips.jobs_of(clips.listed(path, IDS, label=["x", "y", *"xxxxx"]), tmp_path)
    assert go(out, recipe, again, parts=3, become=lambda job: clips.done(job, shift_px=7.0)) == 1
    assert "1 clips of the dataset are done again" in caplog.text
    assert [row[4] for row in clips.table(out) if row[1] == 1] == [100.0, 107.0, *[100.0] * 5]
    os.utime(tmp_path / "source.mp4", (1, 1))
    assert go(out, recipe, again, parts=3) == 0  # the same bytes
    (tmp_path / "source.mp4").write_bytes(b"another video")
    assert go(out, recipe, again, parts=3) == 7
    assert go(out, Recipe(recipe.model, Settings(track=True)), again, parts=3) == 7
    assert len(clips.table(out)) == 7 * 3
    assert len(clips.parts(out)) == 3


def test_a_file_that_is_gone_or_another(tmp_path: Path, recipe: Recipe) -> None:
    out, jobs = tmp_path / "out", clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    go(out, recipe, jobs, parts=7)
    (out / "dataset" / clips.parts(out)[0]).unlink()
    assert go(out, recipe, jobs, parts=7) == 1
    assert len(clips.table(out)) == 7 * 3
    spoilt = out / "dataset" / clips.parts(out)[0]
    data = spoilt.read_bytes()
    spoilt.write_bytes(data[:100] + b"?" + data[101:])
    ledger = Ledger(out, recipe, parts=7)
    assert len(ledger.begin(jobs, resume=True)) == 0
    ledger.end(jobs)
    assert len(ledger.begin(jobs, resume=True, verify=True)) == 1
    ledger.end(jobs)


def test_nothing_goes_without_being_asked(tmp_path: Path, recipe: Recipe) -> None:
    out, jobs = tmp_path / "out", clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    go(out, recipe, jobs)
    with pytest.raises(PosertError, match="holds a dataset with"):
        go(out, recipe, jobs, resume=False)
    assert go(out, recipe, jobs, resume=False, overwrite=True) == 7
    assert len(clips.table(out)) == 7 * 3
    shutil.copy(tmp_path / "l.parquet", out / "dataset" / "part-00001-00000000.parquet")
    with pytest.raises(PosertError, match=r"part-00001-00000000.parquet is no part of posert's"):
        go(out, recipe, jobs)


def test_shards_write_into_one_dataset(tmp_path: Path, recipe: Recipe) -> None:
    out, jobs = tmp_path / "out", clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    for number in (1, 2):
        assert go(out, recipe, jobs[number - 1 :: 2], shard=(number, 2), parts=4) == 5 - number
    assert len(clips.parts(out)) == 4
    assert go(out, recipe, jobs, parts=4) == 0
    assert len(clips.table(out)) == 7 * 3
    with pytest.raises(PosertError, match="1 parts are too few for 2 shards"):
        go(out, recipe, jobs, shard=(1, 2), parts=1)
    one, two = Ledger(out, recipe), Ledger(out, recipe, shard=(1, 2))
    one.begin(jobs, resume=True)
    with pytest.raises(PosertError, match="another run is writing"):
        two.begin(jobs, resume=True)
    one.end(jobs)


def test_names_and_columns_that_cannot_be(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(PosertError, match="two clips are called a/0000"):
        go(tmp_path / "out", recipe, clips.jobs_of(clips.listed(tmp_path / "l.parquet", [*IDS, IDS[0]]), tmp_path))
    for column in ("frame", "clip", "box_left"):  # a column `clip` took the place of the clips' names
        listed = clips.listed(tmp_path / "l.parquet", IDS, **{column: ["x"] * 7})
        with pytest.raises(PosertError, match=f"the list's column {column}"):
            Ledger(tmp_path / "out", recipe).begin(clips.jobs_of(listed, tmp_path), resume=False)


def test_many_rows_of_one_clip_go_through_a_file(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posert.runtime.files.partition._SPOOL_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    kept: list[Outcome] = []
    jobs = clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)

    def become(job: Any) -> Outcome:
        kept.append(clips.done(job))
        return kept[-1]

    elsewhere = clips.done(jobs[0]).carried()
    assert isinstance(elsewhere.rows, bytes)
    go(tmp_path / "out", recipe, jobs, become=become)
    assert all(isinstance(outcome.rows, Path) for outcome in kept)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert len(clips.table(tmp_path / "out")) == 7 * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """The same numbers as in the files that each source has without `--partition`."""
    monkeypatch.chdir(tmp_path)
    tiny.bright_spot(tmp_path / "model.onnx")
    Path("in/deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/b.mp4", "c.mp4"):
        media.video(Path("in", name), 5)
    args = ["infer", "model.onnx", "in", "--format", "parquet", "--features", "--workers", workers]
    assert run(*args, "-o", "each")[0] == 0
    code, _, err = run(*args, "-o", "out", "--partition", "2")
    assert (code, "3 of 3 sources" in err) == (0, True)
    assert len(clips.parts(Path("out"))) == 2
    whole = parquet.read_table("out/dataset").sort_by([("clip", "ascending"), ("frame", "ascending")])
    for clip in ("a.mp4", "c.mp4", "deep/b.mp4"):
        own = parquet.read_table(f"each/{clip}.parquet")
        mine = whole.filter([name == clip for name in whole["clip"].to_pylist()])
        assert mine.select(own.schema.names).equals(own)
    code, _, err = run(*args, "-o", "out", "--partition", "2", "--resume")
    assert (code, "3 sources were finished before" in err) == (0, True)


@pytest.mark.parametrize("more", [[], ["--features", "--rotate", 90]])
def test_files_of_their_own_are_taken_over(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, more: list[Any]
) -> None:
    """What a run without `--partition` has finished is not done again, and its files stay."""
    monkeypatch.chdir(tmp_path)
    tiny.bright_spot(tmp_path / "model.onnx")
    Path("in").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        media.video(Path("in", name), 5)
    Path("l.csv").write_text("path,id,label\nin/a.mp4,x=1/a,hot\nin/b.mp4,b,\nin/c.mp4,c,cold\n")
    args = ["infer", "model.onnx", "@l.csv", "--format", "parquet", *more]
    dataset = [*args, "--partition", 2]
    assert run(*dataset, "-o", "fresh")[0] == 0
    assert run(*args, "-o", "out")[0] == 0
    media.video(Path("in", "c.mp4"), 5)
    Path("out/b.parquet").unlink()
    _, _, err = run(*dataset, "-o", "out", "--resume")
    assert "2 sources were finished before" in err
    assert "2 clips of the dataset come from files of their own in out, which stay" in caplog.text
    assert Path("out/c.parquet").exists()
    order = [("clip", "ascending"), ("frame", "ascending"), ("person", "ascending")]
    found, fresh = (parquet.read_table(f"{out}/dataset").sort_by(order) for out in ("out", "fresh"))
    assert found.equals(fresh)
    assert found.schema.metadata[b"posert"] == fresh.schema.metadata[b"posert"]
    assert found.schema.metadata[b"posert.model"] == fresh.schema.metadata[b"posert.model"]
    _, _, err = run(*dataset, "-o", "out", "--resume")
    assert "3 sources were finished before" in err
    assert "3 of 3 done" in run("jobs", "status", "out")[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--format", "jsonl"], "--partition is for the format parquet, not jsonl"),
        (["--format", "parquet", "--overlay", "drawn"], "--overlay writes a file for each source"),
        (["--format", "parquet", "--partition", "0"], "--partition '0' is no number of files"),
    ],
)
def test_what_a_dataset_cannot_be(run: Run, tmp_path: Path, more: list[str], said: str) -> None:
    media.video(tmp_path / "a.mp4", 3)
    code, _, err = run("infer", "nano", tmp_path / "a.mp4", "-o", tmp_path / "out", "--partition", "2", *more)
    assert code == 1
    assert said in err
    assert not (tmp_path / "out").exists()
