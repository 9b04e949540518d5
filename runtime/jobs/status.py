"""How far a job is, while it runs and afterwards, by what its manifest says: progress, failures, rate, time left.

Owns that summary. Reads both kinds of manifest, writes nothing. Knows nothing of recipes or of what is in a frame.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posert.errors import PosertError
from posert.runtime.files.locks import take
from posert.runtime.jobs.entries import Sheet, kind_of, pyarrow, read_entries, sheets
from posert.runtime.jobs.manifest import rows_below
from posert.runtime.jobs.names import DATASET, MANIFEST

_READ = ["clip", "status", "frames", "people", "ended_s", "kind", "error"]


@dataclass(frozen=True, slots=True)
class Failures:
    """Errors that differ in names and numbers alone: how they read without these, how many, and one of them."""

    kind: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Status:
    """How far a job is.

    Attributes:
        total, done, failed: clips or sources. frames, people: of those that are done.
        running: runs, one of each shard, that are at work on this machine, or where locks are seen; None of one at
            an address, where nobody can tell.
        seconds: from the begin of the newest run to its end, or to now.
        rate: clips done or failed a second in that time; of several shards together. left_s: for the others, at this
            rate; None if nothing is running or done.
        parts, bytes: files of the dataset, and their size; 0 of a job whose sources have files of their own.
        failures: by kind, the most frequent first.
    """

    total: int
    done: int
    failed: int
    frames: int
    people: int
    running: int | None
    seconds: float
    rate: float
    left_s: float | None
    parts: int = 0
    bytes: int = 0
    failures: tuple[Failures, ...] = ()

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a job: of which shard, over how many clips, from when to when; one that is at work until now."""

    label: str
    total: int
    began_s: float
    ended_s: float | None
    running: bool
    count: int = 0

    @property
    def rate(self) -> float:
        return self.count / max(1e-9, self.seconds)

    @property
    def seconds(self) -> float:
        return 0.0 if self.ended_s is None else self.ended_s - self.began_s


def status_of(folder: Path) -> Status:
    """How far the job is whose results lie in this folder.

    Raises PosertError if there is no manifest, or one cannot be read.
    """
    if (folder / MANIFEST).is_dir():
        return _of_dataset(folder)
    if rows := rows_below(folder):
        return _of_rows(folder, rows)
    raise PosertError(f"there is no manifest in {folder}", "name the folder that `output` named")


def _of_dataset(folder: Path) -> Status:
    found = sheets(folder)
    tables = [read_entries(folder, sheet, _READ) for sheet in found]
    table = _first_of_each(pyarrow().concat_tables(tables)) if tables else None
    counts: dict[str, int] = Counter()
    if table is not None:
        counts = Counter({row["values"]: row["counts"] for row in table["status"].value_counts().to_pylist()})
    sums = {name: 0 if table is None else int(np.sum(table[name].to_numpy())) for name in ("frames", "people")}
    runs = [_counted(run, found, tables) for run in _runs(folder / MANIFEST)]
    files = [path for path in (folder / DATASET).glob("*.parquet")]
    return _status(
        runs, max(sum(run.total for run in runs), counts["done"] + counts["failed"]), counts["done"], counts["failed"],
        parts=len(files), bytes=sum(path.stat().st_size for path in files),
        failures=_failures(table), **sums,
    )  # fmt: skip


def _first_of_each(table: Any) -> Any:
    """The entries, of each clip the first one."""
    known = table["clip"].combine_chunks().dictionary_encode()
    if len(known.dictionary) == len(known):
        return table
    codes = known.indices.to_numpy(zero_copy_only=False)  # in the order in which they appear
    return table.take(np.flatnonzero(np.diff(np.maximum.accumulate(codes), prepend=-1)))


def _failures(table: Any) -> tuple[Failures, ...]:
    if table is None:
        return ()
    import pyarrow.compute as compute

    rows = table.filter(compute.equal(table["status"], "failed")).select(["kind", "error"]).to_pydict()
    return _by_kind(zip(rows["kind"], rows["error"], strict=True))


def _by_kind(errors: Iterable[tuple[str, str]]) -> tuple[Failures, ...]:
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for kind, error in errors:
        counts[kind] += 1
        examples.setdefault(kind, error)
    return tuple(Failures(kind, count, examples[kind]) for kind, count in counts.most_common())


def _runs(folder: Path) -> list[_Run]:
    """The newest run, and those of other shards that share the same sources with it."""
    found = []
    for path in folder.glob("run-*.json"):
        with suppress(ValueError, OSError, KeyError):
            label, said = path.stem.removeprefix("run-"), json.loads(path.read_text(encoding="utf-8"))
            running = said["ended_s"] is None and _taken(folder / f".{label}.lock")
            ended_s = time.time() if running else said["ended_s"]
            found.append(_Run(label, said["total"], said["began_s"], ended_s, running))
    if not found:
        return []
    together = max(found, key=lambda run: run.began_s).label.partition("of")[2]
    return [run for run in found if run.label.partition("of")[2] == together]


def _counted(run: _Run, found: Sequence[Sheet], tables: Sequence[Any]) -> _Run:
    """The run with the number of clips that it has dealt with; one that died ended with the last of them."""
    own = [t["ended_s"].to_numpy() for s, t in zip(found, tables, strict=True) if (s.shard or "all") == run.label]
    times_s = np.concatenate(own) if own else np.empty(0)
    times_s = times_s[times_s >= run.began_s]
    ended_s = float(times_s.max(initial=run.began_s)) if run.ended_s is None else run.ended_s
    return _Run(run.label, run.total, run.began_s, ended_s, run.running, len(times_s))


def _of_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> Status:
    counts = Counter(row["status"] for row in rows)
    done = [row for row in rows if row["status"] == "done"]
    failed = [
        (kind_of(row["error"] or "", row["source"], ""), row["error"]) for row in rows if row["status"] == "failed"
    ]
    running = any(_taken(path) for path in folder.glob(".manifest*.jsonl.lock"))
    began_s = max((row["began_s"] for row in rows if "began_s" in row), default=0.0)
    times_s = [row["ended_s"] for row in rows if row.get("began_s") == began_s and "ended_s" in row]
    ended_s = time.time() if running else max(times_s, default=began_s)
    runs = [_Run("", len(rows), began_s, ended_s, running, len(times_s))] if began_s else []
    frames, people = (sum(row.get(name) or 0 for row in done) for name in ("frames", "people"))
    return _status(
        runs, len(rows), counts["done"], counts["failed"], frames=frames, people=people, failures=_by_kind(failed)
    )


def _status(runs: Sequence[_Run], total: int, done: int, failed: int, **more: Any) -> Status:
    running = [run for run in runs if run.running]
    rate = sum(run.rate for run in running or runs)
    left = total - done - failed
    left_s = left / rate if running and rate else None
    seconds = max((run.seconds for run in running or runs), default=0.0)
    return Status(total, done, failed, running=len(running), seconds=seconds, rate=rate, left_s=left_s, **more)


def _taken(lock: Path) -> bool:
    """Whether a run has this lock."""
    if not lock.exists():
        return False
    try:
        with take(lock):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
