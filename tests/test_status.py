"""`posert jobs status`: how far a job is, while it runs and afterwards, and why clips failed."""

import json
import time
from pathlib import Path

import clips
import media
import pytest
import tiny
from command import Run

from posert.errors import PosertError
from posert.runtime.jobs.entries import kind_of
from posert.runtime.jobs.ledger import Ledger
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.jobs.status import Failures, status_of

IDS = [f"a/{number:04}" for number in range(7)]


def test_while_it_runs_and_afterwards(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("pyarrow")
    out, jobs = tmp_path / "out", clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    ledger = Ledger(out, Recipe(str(tiny.bright_spot(tmp_path / "model.onnx"))), flush_s=0.0)
    todo = ledger.begin(jobs, resume=False)
    assert (status_of(out).total, status_of(out).done, status_of(out).running) == (7, 0, 1)
    time.sleep(0.01)
    for job in todo[:4]:
        ledger.add(clips.failed(job) if job.rows == IDS[1] else clips.done(job))
    found = status_of(out)
    assert (found.total, found.done, found.failed, found.frames, found.people) == (7, 3, 1, 9, 9)
    assert found.left_s is not None
    assert found.left_s == pytest.approx(3 / found.rate)
    assert found.rate == pytest.approx(4 / found.seconds)
    source = tmp_path / "source.mp4"
    kind = "SOURCE: N of N frames can be read"
    assert found.failures == (Failures(kind, 1, f"{source}: 2 of 30 frames can be read"),)
    for job in todo[4:]:
        ledger.add(clips.done(job))
    ledger.end(jobs)
    found = status_of(out)
    assert (found.done, found.failed, found.running, found.left_s, found.parts) == (6, 1, 0, None, 1)
    code, said, _ = run("jobs", "status", out)
    assert code == 0
    assert said.startswith("not running: 6 of 7 done, 1 failed (100.0 %); 18 frames, 1.0 people a frame\n")
    assert f"dataset: 1 files, {found.bytes / 1000:.1f} kB\n      1 x {kind}\n" in said
    assert json.loads(run("jobs", "status", out, "--json")[1])["failures"][0]["count"] == 1


def test_the_name_of_a_clip_is_no_letter_of_an_error() -> None:
    """A list whose ids were letters counted "SOURCE cannot SOURCEe opened" and "SOURCE cannot be opened" apart."""
    errors = [(f"in/{clip}.mp4 cannot be opened as a video", f"in/{clip}.mp4", clip) for clip in ("a", "b", "op")]
    assert {kind_of(*each) for each in errors} == {"SOURCE cannot be opened as a video"}


def test_a_clip_that_failed_and_then_did_not_is_done(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out, jobs = tmp_path / "out", clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    for become in (clips.failed, clips.done):
        ledger = Ledger(out, Recipe(str(tiny.bright_spot(tmp_path / "model.onnx"))), parts=7, flush_s=0.0)
        for job in ledger.begin(jobs, resume=True):
            ledger.add(become(job))
        assert status_of(out).done == 7 * (become is clips.done)
        ledger.end(jobs)
    assert (status_of(out).done, status_of(out).failed, status_of(out).parts) == (7, 0, 7)


def test_shards_are_added_up(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out, jobs = tmp_path / "out", clips.jobs_of(clips.listed(tmp_path / "l.parquet", IDS), tmp_path)
    recipe = Recipe(str(tiny.bright_spot(tmp_path / "model.onnx")))
    ledgers = [Ledger(out, recipe, shard=(number, 2), flush_s=0.0) for number in (1, 2)]
    for number, ledger in enumerate(ledgers):
        for job in ledger.begin(jobs[number::2], resume=False):
            ledger.add(clips.done(job))
    found = status_of(out)
    assert (found.total, found.done, found.running) == (7, 7, 2)
    assert found.rate >= 0.999 * 7 / found.seconds  # each over its own time
    for ledger in ledgers:
        ledger.end(jobs)
    assert status_of(out).running == 0


def test_sources_with_files_of_their_own(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest in one file has the same summary."""
    monkeypatch.chdir(tmp_path)
    tiny.bright_spot(tmp_path / "model.onnx")
    Path("in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        media.video(Path("in", name), 5)
    Path("in/c.mp4").write_bytes(b"no video")
    assert run("infer", "model.onnx", "in", "-o", "out")[0] == 3
    found = status_of(Path("out"))
    assert (found.total, found.done, found.failed, found.frames, found.parts) == (3, 2, 1, 10, 0)
    assert found.rate > 0
    assert found.failures[0].kind.startswith("SOURCE")
    assert run("jobs", "status", "out")[1].startswith("not running: 2 of 3 done, 1 failed (100.0 %); 10 frames")


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(PosertError, match="no manifest in"):
        status_of(tmp_path)
