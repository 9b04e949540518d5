"""What a job over many sources has done: one JSON line per source, and what a resumed run may skip.

Owns `manifest.jsonl`. Knows jobs and their reports, nothing of models' insides or processes.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn, TextIO

from posert import __version__
from posert.errors import PosertError
from posert.runtime.files.atomic import compact, remove_leftovers, whole_file, write_line
from posert.runtime.files.locks import release, take
from posert.runtime.files.state import as_listed, state, unchanged
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.names import manifests
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.jobs.terms import Terms
from posert.runtime.store.lookup import looked_up
from posert.runtime.store.remote import Facts
from posert.runtime.store.scratch import file_of

_LOG = logging.getLogger("posert")
Row = dict[str, Any]
_Key = tuple[str, str]
"""Source and output."""


class Manifest:
    """The rows of a folder of results. A row is written as soon as its source is done; it counts as finished only if
    the source and the outputs are what they were then (`unchanged`), and the `Terms` are: a folder never mixes results
    that may differ.

    Attributes:
        path: `manifest.jsonl`, or `manifest-I-of-N.jsonl` of a shard, so that no two shards write one file.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        *,
        shard: tuple[int, int] | None = None,
        unchanged: Callable[..., bool] = unchanged,
    ) -> None:
        """
        Args:
            unchanged: says of a source or a result whether it is what it was, see `files.state`.

        Raises:
            PosertError: the model or the boxes cannot be read, or the file is another program's.
        """
        name = "manifest.jsonl" if shard is None else f"manifest-{shard[0]}-of-{shard[1]}.jsonl"
        self.folder, self.path = folder, folder / name
        self._unchanged = unchanged
        self._terms = Terms(recipe)
        self._lock: TextIO | None = None
        self._began_s = 0.0
        self._rows: dict[_Key, Row] = {}
        self._known: dict[_Key, Row] = {}
        self._load()

    def named(self) -> set[Path]:
        """Where a manifest of this folder says that posert writes."""
        names = {file["path"] for row in self._known.values() for file in row.get("files", [{"path": row["output"]}])}
        return {Path(os.path.abspath(self.folder / name)) for name in names}

    def done(self, job: Job, *, verify: bool = False) -> Row | None:
        """The row of a job that needs not be done again."""
        return self._known[self._key(job)] if self.finished(job, verify=verify) else None

    def finished(self, job: Job, *, verify: bool = False, said: Facts | None = None) -> bool:
        """Whether this job needs not be done again.

        Args:
            verify: reads every file instead of asking for its time. said: what a listing says of the source, if that is
                in a store.
        """
        row = self._known.get(self._key(job), {})
        if row.get("status") != "done" or not self._terms.hold(row) or not self._terms.allow(row.get("device")):
            return False
        if row.get("pictures", "") != job.pictures:
            return False
        if row.get("clip") != (job.clip and job.clip.record()):
            return False
        source, files = _source_of(row), row.get("files", [])
        if not (as_listed(source, said) or self._unchanged(job.source, source, verify=verify)):
            return False
        return len(job.files) == len(files) and all(
            self._unchanged(path, known, verify=verify) for path, known in zip(job.files, files, strict=True)
        )

    def begin(self, jobs: Sequence[Job], *, resume: bool, verify: bool = False) -> list[Job]:
        """The jobs to do; from now on no other run has this manifest, until `end`. Keeps the rows of the other jobs.

        Raises PosertError if the folder cannot be written, or another run has the manifest.
        """
        self._take()
        self._began_s = round(time.time(), 3)
        try:
            if damaged := self._load():  # again: another run may have ended meanwhile
                _LOG.warning("%d damaged rows of the manifests in %s are left out", damaged, self.folder)
            said = looked_up(file_of(job.source) for job in jobs if resume and self._key(job) in self._known)
            done = (resume and self.finished(job, verify=verify, said=said.get(file_of(job.source))) for job in jobs)
            todo = [job for job, finished in zip(jobs, done, strict=True) if not finished]
            begun = {self._key(job): self._begun(job) for job in todo}
            outputs = {output for _, output in begun}
            others = [key for key in self._rows if key[1] in outputs and key not in begun]
            if others:
                _LOG.warning("results of %d other sources are replaced, for example of %s", len(others), others[0][0])
            self._rows = {key: row for key, row in self._rows.items() if key not in others} | begun
            self._rows |= {key: self._known[key] for job in jobs if (key := self._key(job)) not in begun}
            self._save(jobs)
            self._tidy(jobs)
        except BaseException:
            release(self._lock)
            raise
        return todo

    def add(self, outcome: Outcome) -> None:
        """One more row, on the disk before this returns."""
        row = self._begun(outcome.job) | {"status": "done" if outcome.error is None else "failed"}
        source, *files = outcome.states or [state(outcome.job.source)]
        row["files"] = [file | (known or {}) for file, known in zip_longest(row["files"], files)]
        row |= (
            (source or {})
            | self._terms.record
            | {
                "posert": __version__,
                "device": outcome.device,
                "frames": outcome.frames,
                "people": outcome.people,
                "seconds": round(outcome.seconds, 3),
                "ended_s": round(time.time(), 3),
                "error": None if outcome.error is None else outcome.error.what,
            }
        )
        self._rows[self._key(outcome.job)] = row
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            write_line(file, row)
            os.fsync(file.fileno())

    def end(self, jobs: Sequence[Job]) -> None:
        """Brings the rows in order, and gives the manifest free."""
        try:
            self._save(jobs)
            self._tidy(jobs)
        finally:
            release(self._lock)

    def _load(self) -> int:
        """Reads the manifest, and those of other shards and earlier whole runs, which count too; the damaged rows."""
        self._rows, damaged = _read(self.path)
        self._known = dict(self._rows)
        for other in manifests(self.folder):
            if other == self.path:
                continue
            rows, more = _read(other)
            self._known, damaged = rows | self._known, damaged + more
        return damaged

    def _save(self, jobs: Iterable[Job]) -> None:
        """Rewrites the file at once: one row per source, in the order of the jobs, then those of other runs."""
        first = {self._key(job): number for number, job in enumerate(jobs)}
        rows = sorted(self._rows.items(), key=lambda item: (first.get(item[0], len(first)), item[0]))
        with whole_file(self.path) as temporary:
            temporary.write_text("".join(compact(row) + "\n" for _, row in rows), encoding="utf-8")

    def _tidy(self, jobs: Iterable[Job]) -> None:
        remove_leftovers([self.folder, *(path.parent for job in jobs for path in job.files)])

    def _take(self) -> None:
        lock = self.path.with_name(f".{self.path.name}.lock")
        with suppress(NotADirectoryError, FileExistsError):  # whoever writes there says so
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = take(lock)
        except BlockingIOError:
            raise PosertError(
                f"another run is writing {self.path}",
                "wait for its end, give each run a folder of its own, or share the sources out with `shard`",
            ) from None
        except OSError:  # no locks there, or nothing can be written, which `_save` says
            _LOG.debug("%s cannot be locked", self.path, exc_info=True)

    def _begun(self, job: Job) -> Row:
        """The row of a job that is to be done; whatever lies at its files' names then, posert may have written."""
        files = [{"path": self._place(path)} for path in job.files]
        row: Row = {"source": job.title, "output": self._key(job)[1], "status": "begun", "files": files}
        row["began_s"] = self._began_s
        row |= {"pictures": job.pictures} if job.pictures else {}
        return row if job.clip is None else row | {"clip": job.clip.record()}

    def _key(self, job: Job) -> _Key:
        return job.title, self._place(job.output or Path(job.title))

    def _place(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()


def rows_below(folder: Path) -> list[Row]:
    """The rows of a folder's manifests, of shards too: `source`, `output`, `status` and what else they say."""
    found = [row for path in manifests(folder) for row in _read(path)[0].values()]
    return list({(row["source"], row["output"]): row for row in found}.values())


def _source_of(row: Row) -> Row | None:
    """What a row says of its source; None if that was no file."""
    return row if row.get("bytes") is not None else None


def _read(path: Path) -> tuple[dict[_Key, Row], int]:
    """The rows of a manifest, and how many more a crash cut off or something else damaged.

    Raises PosertError if the file cannot be read, or none of its lines is a row of posert's.
    """
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise PosertError(f"{path} cannot be read: {error}", "choose another folder with `output`") from None
    parsed = [row for line in lines if (row := _parsed(line)) is not None]
    rows = [row for row in parsed if _sound(row)]
    if parsed and not any({"source", "output"} <= row.keys() for row in parsed):
        raise PosertError(f"{path} is no manifest of posert's", "choose another folder with `output`")
    return {(row["source"], row["output"]): row for row in rows}, len(lines) - len(rows)


def _parsed(line: bytes) -> Row | None:
    with suppress(ValueError, RecursionError):
        row = json.loads(line, parse_constant=_refused, parse_float=_finite)
        return row if isinstance(row, dict) else None
    return None


def _sound(row: Row) -> bool:
    files = row.get("files", [])
    return (
        all(isinstance(row.get(name), str) for name in ("source", "output", "status"))
        and isinstance(files, list)
        and all(isinstance(file, dict) and isinstance(file.get("path"), str) for file in files)
    )


def _refused(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refused(text)
