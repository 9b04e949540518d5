"""Lists of clips, and what became of them, without a network: for whatever keeps account of many."""

from pathlib import Path
from typing import Any

import numpy as np
import people

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.files.partition import clip_rows, spooled
from posert.runtime.files.state import hashed, state
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.many import Jobs
from posert.runtime.jobs.planning import plan


def listed(path: Path, ids: list[str], **columns: list[Any]) -> Path:
    """A list in Parquet of clips of one file, each of one second, with further columns."""
    import pyarrow
    from pyarrow.parquet import write_table

    source = path.with_name("source.mp4")
    if not source.exists():
        source.write_bytes(b"a long video")
    begin = [float(number) for number in range(len(ids))]
    named = {"path": [str(source)] * len(ids), "start": begin, "stop": [s + 1 for s in begin], "id": ids}
    write_table(pyarrow.table(named | columns), path)
    return path


def jobs_of(path: Path, out: Path) -> Jobs:
    """The jobs of a list, whose results are one dataset."""
    return plan([f"@{path}"], out, None, "parquet", dataset=True)


def done(job: Job, frames: int = 3, *, shift_px: float = 0.0) -> Outcome:
    """What a worker says of a clip: in frame t there are t people, so that the first has none."""
    found = 0
    with spooled() as spool, clip_rows(spool, people.SPEC) as write:
        for index in range(frames):
            poses = people.standing(*((100.0 + shift_px + 50 * n, 200.0) for n in range(index)))
            write(Frame(np.zeros((1, 1, 3), np.uint8)), Result(index, index / 25, (640, 360), job.source, poses, {}))
            found += len(poses)
    states = (hashed(job.source, state(job.source)),)
    return Outcome(job, frames, found, 0.1, device="cpu", states=states, rows=spool.taken())


def failed(job: Job) -> Outcome:
    """A clip that could not be read."""
    return Outcome(job, error=PosertError(f"{job.source}: 2 of 30 frames can be read", "mend it"))


def table(out: Path) -> list[tuple[Any, ...]]:
    """The dataset's rows, in order of clip, frame and person: these three, an id, a score and a place."""
    from pyarrow.parquet import read_table

    names = ["clip", "frame", "person", "score", "nose_x"]
    rows = read_table(out / "dataset").select(names).to_pydict()
    return sorted(zip(*(rows[name] for name in names), strict=True))


def parts(out: Path) -> list[str]:
    """The names of the dataset's files."""
    return sorted(path.name for path in (out / "dataset").iterdir())
