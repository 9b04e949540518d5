"""What a job over many sources has done: one JSON line per source, and what a resumed run may skip.

Owns `manifest.jsonl`. Knows jobs and their reports, nothing of models' insides or processes.
"""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from posert import __version__
from posert.runtime.files.atomic import compact, remove_leftovers, whole_file, write_line
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.session import find_model, sha256_of


class Manifest:
    """The rows of a folder of results. A row is written as soon as its source is done; it counts as finished only if
    the output is there and the source, the model and the settings are the same, and posert's version but for its last
    number: a folder never mixes the results of two versions that may differ.

    Attributes:
        path: `manifest.jsonl`, or `manifest-I-of-N.jsonl` of a shard, so that no two shards write one file.
    """

    def __init__(self, folder: Path, recipe: Recipe, *, shard: tuple[int, int] | None = None) -> None:
        name = "manifest.jsonl" if shard is None else f"manifest-{shard[0]}-of-{shard[1]}.jsonl"
        self.folder, self.path = folder, folder / name
        digest = sha256_of(find_model(recipe.model))  # the file names the hashes of its companions itself
        self._model = {"model": recipe.model, "model_sha256": digest, "settings": recipe.record()}
        self._rows = {_key(row): row for row in _read(self.path)}
        self._known = dict(self._rows)  # what other shards and earlier whole runs have done counts too
        for other in sorted(folder.glob("manifest*.jsonl")):
            self._known = {_key(row): row for row in _read(other)} | self._known

    def finished(self, job: Job) -> bool:
        """Whether this job needs not be done again."""
        row = self._known.get(self._place(job))
        if row is None or row.get("status") != "done" or not all(path.exists() for path in job.files):
            return False
        expected = {**self._model, **_state(job.source)}
        same = all(row.get(name) == value for name, value in expected.items())
        return same and _results_of(row.get("posert")) == _results_of(__version__)

    def begin(self, jobs: Sequence[Job], *, resume: bool) -> list[Job]:
        """The jobs to do; removes what killed processes left of them, keeps the rows of the others.

        Raises PosertError if the folder cannot be written.
        """
        todo = [job for job in jobs if not (resume and self.finished(job))]
        waiting = {self._place(job) for job in todo}
        self._rows = {key: row for key, row in self._rows.items() if key not in waiting}
        self._rows |= {key: self._known[key] for job in jobs if (key := self._place(job)) not in waiting}
        self.save(jobs)
        self.tidy(todo)
        return todo

    def tidy(self, jobs: Iterable[Job]) -> None:
        """Removes what killed processes left of these jobs; none of them may be running."""
        remove_leftovers([self.path, *(path for job in jobs for path in job.files)])

    def add(self, outcome: Outcome) -> None:
        """One more row, on the disk before this returns."""
        job = outcome.job
        row = {
            "source": job.source,
            "output": self._place(job)[1],
            **_state(job.source),
            **self._model,
            "posert": __version__,
            "status": "done" if outcome.error is None else "failed",
            "frames": outcome.frames,
            "people": outcome.people,
            "seconds": round(outcome.seconds, 3),
            "error": None if outcome.error is None else outcome.error.what,
        }
        self._rows[_key(row)] = row
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            write_line(file, row)
            file.flush()
            os.fsync(file.fileno())

    def save(self, jobs: Iterable[Job]) -> None:
        """Rewrites the file at once: one row per source, in the order of the jobs, then those of other runs."""
        first = {self._place(job): number for number, job in enumerate(jobs)}
        rows = sorted(self._rows.items(), key=lambda item: (first.get(item[0], len(first)), item[0]))
        with whole_file(self.path) as temporary:
            temporary.write_text("".join(compact(row) + "\n" for _, row in rows), encoding="utf-8")

    def _place(self, job: Job) -> tuple[str, str]:
        return job.source, Path(os.path.relpath(job.output or job.source, self.folder)).as_posix()


def _results_of(version: object) -> str:
    """The part of a version that results depend on: the last number changes none.

    >>> _results_of("0.2.7")
    '0.2'
    """
    return str(version).rpartition(".")[0]


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return str(row.get("source")), str(row.get("output"))


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a manifest; a line that a crash cut off is as if it were not there."""
    rows = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def _state(source: str) -> dict[str, int | None]:
    """Size and modification time of a file; null for streams and webcams."""
    try:
        found = os.stat(source)
    except OSError:
        return {"bytes": None, "modified_ns": None}
    return {"bytes": found.st_size, "modified_ns": found.st_mtime_ns}
