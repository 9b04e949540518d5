"""Ten thousand clips as a million are: little memory for each, nothing done twice, and a summary at once."""

import sys
import tracemalloc
from pathlib import Path

import clips
import pytest

sys.path.append(str(Path(__file__).parent / "bench"))
import million
import tiny

from posert.runtime.jobs.ledger import Ledger
from posert.runtime.jobs.many import Jobs
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.recipe import Recipe, Settings
from posert.runtime.jobs.status import status_of

COUNT = 10_000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("pyarrow")
    return f"@{million.a_list(tmp_path_factory.mktemp('many'), COUNT)}"


def test_jobs_are_small(source: str, tmp_path: Path) -> None:
    """Each would take 500 bytes and more as an object."""
    plan([source], tmp_path, None, "parquet", dataset=True)  # imports
    tracemalloc.start()
    try:
        jobs = plan([source], tmp_path, None, "parquet", dataset=True)
        share = jobs[1::4]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(share, Jobs)
    assert used < 120 * COUNT
    assert (len(jobs), len(share)) == (COUNT, COUNT // 4)
    clip = share[100].clip
    assert clip is not None
    assert (clip.id, clip.start_s, clip.stop_s, clip.columns) == ("walk/0000401", 4.01, 4.51, ())


def test_what_is_finished_is_found(source: str, tmp_path: Path) -> None:
    model = str(tiny.bright_spot(tmp_path / "model.onnx"))
    million.finish(tmp_path, source)
    jobs = plan([source], tmp_path / "out", None, "parquet", dataset=True)
    ledger = Ledger(tmp_path / "out", Recipe(model, Settings(form="parquet")))
    todo = ledger.begin(jobs, resume=True)
    assert [job.rows for job in todo[:2]] == ["walk/0000099", "walk/0000199"]
    assert len(todo) == COUNT // 100
    ledger.end(jobs)
    found = status_of(tmp_path / "out")
    assert (found.total, found.done, found.failed) == (COUNT, COUNT - COUNT // 100, COUNT // 100)
    assert {row[0] for row in clips.table(tmp_path / "out")} == {f"walk/{n:07}" for n in range(0, COUNT, 10)}
