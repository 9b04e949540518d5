"""What a job has done whose results are one dataset: which clips are finished, and which file has their rows.

Owns what counts as finished, and when which file is written. A run's only writer is this: workers give it the rows of
each clip with its outcome. What is finished goes every few seconds into a file in `manifest`, and from these into the
large files of the dataset; a file with the entries of its clips says that it counts, so that a run that dies leaves
every clip once or not at all. Knows jobs and their reports, nothing of processes.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert import __version__
from posert.errors import PosertError
from posert.runtime.files.atomic import workshop
from posert.runtime.files.partition import Part, check_columns, drop_rows
from posert.runtime.files.state import as_listed, sha256_of, unchanged
from posert.runtime.jobs.entries import (
    Sheet,
    as_table,
    entry_batches,
    kind_of,
    pyarrow,
    read_entries,
    sheets,
    write_sheet,
)  # fmt: skip
from posert.runtime.jobs.importer import imported
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.manifest import Manifest
from posert.runtime.jobs.many import Jobs, said_of
from posert.runtime.jobs.names import DATASET, MANIFEST
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.jobs.shelf import Shelf
from posert.runtime.jobs.terms import Terms
from posert.runtime.store.address import shown
from posert.runtime.store.lookup import looked_up
from posert.runtime.store.remote import Facts
from posert.runtime.store.scratch import file_of

_LOG = logging.getLogger("posert")
PART_BYTES = 2**27
"""Of a file of the dataset, unless their number is given; the next clip's rows may make it a little larger."""
_FLUSH_BYTES = 2**24  # of rows in memory
_FLUSH_S = 10.0  # what a killed run loses at most
_STATE = ("bytes", "modified_ns", "etag", "sha256")
_COMPARED = ["columns", "start_s", "stop_s", "source", "device", *_STATE]


class Ledger:
    """The clips of a dataset that are finished. One counts as finished if its rows are there, its source and what its
    list says of it are what they were, and the `Terms` are: a dataset never mixes results that may differ.

    Attributes:
        path: the folder with what is known of the dataset.
    """

    def __init__(
        self, folder: Path, recipe: Recipe, *, shard: tuple[int, int] | None = None, parts: int = 0,
        overwrite: bool = False, part_bytes: int = PART_BYTES, flush_s: float = _FLUSH_S,
        whole: Callable[[Path], Path] = lambda path: path,
    ) -> None:  # fmt: skip
        """
        Args:
            parts: files of the whole dataset, shared out among the shards; 0 = by `part_bytes`.
            overwrite: results that are there may go if nothing is resumed.
            part_bytes: of a file, about. flush_s: what a killed run loses at most, seconds of finished work.
            whole: as of `Shelf`.

        Raises:
            PosertError: pyarrow is missing, the model or the boxes cannot be read, a shard would have no file.
        """
        pyarrow()
        number, count = shard or (1, 1)
        self._shelf = Shelf(folder, shard, whole)
        self.folder, self.path = folder, self._shelf.path
        self._parts = parts * number // count - parts * (number - 1) // count
        if parts and not self._parts:
            raise PosertError(
                f"{parts} parts are too few for {count} shards", "make `partition` as large, or the word size"
            )
        self._recipe, self._terms = recipe, Terms(recipe)
        self._overwrite, self._part_bytes, self._flush_s = overwrite, part_bytes, flush_s
        self._columns: dict[str, str] = {}
        self._jobs = self._closed = self._closed_clips = self._pending_clips = 0
        self._pending: list[Sheet] = []
        self._without: dict[str, list[str]] = {}
        self._forget()

    def begin(self, jobs: Jobs, *, resume: bool, verify: bool = False) -> Jobs:
        """The jobs to do; from now on no other run has this manifest, until `end`.

        Raises:
            PosertError: the folder cannot be written, another run has the manifest, two clips have one name, there are
                results and nothing says what is to become of them, the list has a column of the dataset's.
        """
        self._shelf.take()
        try:
            _check_names(jobs)
            self._shelf.tidy()
            self._columns, self._jobs = jobs.media.columns, len(jobs)
            check_columns(self._columns)
            finished = self._finished(jobs, resume=resume, verify=verify)
            if resume:
                self._take_over(jobs, finished, verify)
            self._shelf.note(total=len(jobs), before=int(finished.sum()), began_s=time.time(), ended_s=None)
        except BaseException:
            self._shelf.release()
            raise
        return jobs.kept(jobs.chosen[~finished])

    def add(self, outcome: Outcome) -> None:
        """One more clip; on the disk before this returns, or a few seconds later if there are many."""
        job, known = outcome.job, (outcome.states or (None,))[0] or {}
        clip = job.clip
        self._rows.append({
            "clip": job.rows, "source": job.title, "columns": said_of(clip), "device": outcome.device,
            "start_s": None if clip is None else clip.start_s, "stop_s": None if clip is None else clip.stop_s,
            "status": "done" if outcome.error is None else "failed",
            "frames": outcome.frames, "people": outcome.people, "seconds": outcome.seconds, "ended_s": time.time(),
            "error": outcome.error and outcome.error.what,
            "kind": outcome.error and kind_of(outcome.error.what, job.title, job.rows),
            **known,
        })  # fmt: skip
        self._pending_clips += 1
        if outcome.rows:
            self._held.append(outcome)
            self._bytes += _FLUSH_BYTES if isinstance(outcome.rows, Path) else len(outcome.rows)
        full = self._full()
        if full or self._bytes >= _FLUSH_BYTES or time.monotonic() - self._flushed >= self._flush_s:
            self._flush()
        if full or self._full():
            self._seal(open=False)

    def end(self, jobs: Sequence[Job]) -> None:
        """Puts into the dataset whatever is finished, and gives the manifest free."""
        try:
            self._flush()
            self._seal(open=True)
            self._shelf.note(ended_s=time.time())
        finally:
            for outcome in self._held:
                drop_rows(outcome.rows)
            self._shelf.release()

    def _take_over(self, jobs: Jobs, finished: NDArray[np.bool_], verify: bool) -> None:
        """Adds what lies in files of its own; from then on it is finished."""
        left = np.flatnonzero(~finished)
        for place, outcome in imported(self.folder, self._recipe, jobs.kept(jobs.chosen[left]), verify=verify):
            self.add(outcome)
            finished[left[place]] = True

    def _finished(self, jobs: Jobs, *, resume: bool, verify: bool) -> NDArray[np.bool_]:
        """Which jobs need not be done again; sorts out what becomes of the files that hold rows of these jobs."""
        done = np.zeros(len(jobs), bool)
        found, again = sheets(self.folder), 0
        said: Mapping[str, Facts] | None = None
        for sheet, place in zip(found, _places(self.folder, found, jobs), strict=True):  # the newest first
            status = read_entries(self.folder, sheet, ["status"])["status"]
            finished = np.array(status.to_pylist(), object) == "done"
            ours, whole = finished & (place >= 0), self._whole(sheet, verify)
            if ours.any() and not (resume or self._overwrite):
                what = f"{self.folder} holds a dataset with {int(np.count_nonzero(ours))} of these clips, or more"
                raise PosertError(what, "say `resume` to go on with it, or `overwrite` to begin again")
            fresh = ours & ~done[np.maximum(place, 0)] & (resume and whole)
            if fresh.any():
                said = looked_up(map(file_of, jobs.sources())) if said is None else said
                fresh &= self._same(jobs, sheet, place, fresh, verify, said)
            done[place[fresh]] = True
            stale = ours & ~fresh
            again += int(np.count_nonzero(stale))
            self._sort_out(sheet, fresh, stale, others=whole and bool((place < 0).any()))
        if again and resume:
            _LOG.warning("%d clips of the dataset are done again: they, or the settings, have changed", again)
        self._pending.sort(key=lambda sheet: sheet.written_s)
        return done

    def _same(
        self, jobs: Jobs, sheet: Sheet, place: NDArray[np.int64], asked: NDArray[np.bool_], verify: bool,
        said: Mapping[str, Facts],
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Of each entry that is asked for, whether its job, the one at this place, would be done as it was."""
        if not self._terms.hold(sheet.terms | {"posert": sheet.posert}):
            return np.zeros(len(place), bool)
        good, begin = asked.copy(), 0
        times_s = jobs.media.times()

        @lru_cache(4096)  # many clips are of one file
        def same(number: int, title: str, device: str, *known: Any) -> bool:
            source = jobs.media.sources[number]  # with whatever secret it has now
            if title != shown(source) or not self._terms.allow(device):
                return False
            return _unchanged(source, known, said.get(file_of(source)), verify=verify)

        for batch in entry_batches(self.folder, sheet, _COMPARED):
            part = slice(begin, begin + batch.num_rows)
            begin = part.stop
            where = jobs.chosen[np.maximum(place[part], 0)]
            for name, times in zip(("start_s", "stop_s"), times_s, strict=True):
                known = batch[name].to_numpy(zero_copy_only=False).astype(np.float64)
                good[part] &= (times[where] == known) | (np.isnan(times[where]) & np.isnan(known))
            more = jobs.media.more.as_arrow(pyarrow()).take(pyarrow().array(where))
            good[part] &= np.array(more.to_pylist(), object) == np.array(batch["columns"].to_pylist(), object)
            media = jobs.media.which(where).tolist()
            columns = [batch[name].to_pylist() for name in ("source", "device", *_STATE)]
            known = zip(good[part].tolist(), zip(media, *columns, strict=True), strict=True)
            good[part] = [asked and same(*row) for asked, row in known]
        return good

    def _sort_out(self, sheet: Sheet, fresh: NDArray[np.bool_], stale: NDArray[np.bool_], others: bool) -> None:
        """Remembers whether more clips may come into the file, or some must leave it; removes what holds nothing.

        Args:
            others: it also tells of clips that are none of these jobs'.
        """
        if not self._shelf.owns(sheet):
            if stale.any():
                what = f"clips in {sheet.holder}, which another shard wrote, have to be done again"
                raise PosertError(what, "do it once without `shard`")
            return
        count = int(np.count_nonzero(fresh))
        if not count and not others:
            self._shelf.remove(sheet)
        elif stale.any() or (sheet.open and not count * self._parts >= self._jobs > 0):
            self._pending.append(sheet)
            if stale.any():
                clips = read_entries(self.folder, sheet, ["clip"])["clip"]
                self._without[sheet.name] = clips.filter(pyarrow().array(stale)).to_pylist()
            self._pending_clips += count
        elif sheet.holder:
            self._closed, self._closed_clips = self._closed + 1, self._closed_clips + count

    def _whole(self, sheet: Sheet, verify: bool) -> bool:
        """Whether the file that holds the rows of a sheet's clips is there, as it was written."""
        if not self._shelf.has(sheet):
            return False
        return not (verify and sheet.holder) or sha256_of(self._shelf.rows(sheet)) == sheet.sha256

    def _full(self) -> bool:
        """Whether what is finished makes a file of the dataset."""
        if self._parts:
            left = self._parts - self._closed
            quota = -(-(self._jobs - self._closed_clips) // max(1, left))
            return left > 1 and self._pending_clips >= quota
        return sum(sheet.bytes for sheet in self._pending) >= self._part_bytes

    def _flush(self) -> None:
        """Puts what is in memory on the disk."""
        if not self._rows:
            return

        def fill(part: Part) -> None:
            for outcome in self._held:
                clip = outcome.job.clip
                part.add(outcome.rows, outcome.job.rows, dict(clip.columns) if clip else {})

        table = as_table(self._rows)
        self._pending.append(self._recorded(table, self._written(f"{MANIFEST}/chunk", fill, table)))
        for outcome in self._held:
            drop_rows(outcome.rows)
        self._forget()

    def _seal(self, *, open: bool) -> None:
        """Brings all that is finished and in no full file of the dataset into one file of it.

        Args:
            open: more clips may come into that file.
        """
        merged = self._pending
        placed = len(merged) < 2 and all(sheet.holder.startswith(DATASET) for sheet in merged)
        if open and placed and not any(self._without.values()):
            return

        def fill(part: Part) -> None:
            for sheet in merged:
                if sheet.holder:
                    part.copy(self._shelf.rows(sheet), self._without.get(sheet.name, ()))

        table = _latest([_but_for(read_entries(self.folder, s), self._without.get(s.name, [])) for s in merged])
        held = self._written(f"{DATASET}/part", fill, table)
        names = tuple(sheet.name for sheet in merged)
        sheet = self._recorded(table, held, replaces=names, open=open)
        for old in merged:
            self._shelf.remove(old)
        self._without.clear()
        self._pending = [sheet] if open else []
        if not open:
            self._closed, self._closed_clips = self._closed + 1, self._closed_clips + self._pending_clips
            self._pending_clips = 0

    def _written(self, kind: str, fill: Callable[[Part], None], table: Any) -> dict[str, Any]:
        """Writes a file of rows; what a sheet says of it, nothing if there is no row."""
        with workshop(self.path) as folder:
            part = Part(folder / "rows.parquet", self._columns)
            fill(part)
            part.close(int(np.sum(table["frames"].to_numpy())))
            if not part.count:
                return {}
            held = {"bytes": part.path.stat().st_size, "sha256": sha256_of(part.path)}
            return {"holder": self._shelf.put(part.path, kind)} | held

    def _recorded(self, table: Any, held: dict[str, Any], **more: Any) -> Sheet:
        """Writes a file of entries."""
        sheet = Sheet(
            "", self._shelf.label, self._terms.record, __version__, clips=table.num_rows, written_s=time.time(),
            **held, **more,
        )  # fmt: skip
        with workshop(self.path) as folder:
            write_sheet(folder / "entries.parquet", sheet, table)
            return replace(sheet, name=self._shelf.put(folder / "entries.parquet", f"{MANIFEST}/rows"))

    def _forget(self) -> None:
        """Nothing is in memory any more."""
        self._rows: list[dict[str, Any]] = []
        self._held: list[Outcome] = []
        self._bytes, self._flushed = 0, time.monotonic()


Account = Manifest | Ledger
"""What keeps account of many jobs."""


def manifest_of(
    output: Path | None, jobs: Jobs, recipe: Recipe, shard: tuple[int, int] | None, partition: str | None, *,
    overwrite: bool, unchanged: Callable[..., bool] = unchanged, whole: Callable[[Path], Path] = lambda path: path,
) -> Account | None:  # fmt: skip
    """What keeps account of the jobs; nothing does of a single one with a file of its own.

    Args:
        unchanged: as of `Manifest`. whole: as of `Ledger`.
        partition: the number of files of a dataset, `size` = by their size; None = each job has files of its own.

    Raises PosertError as `Manifest` and `Ledger` do, or if `partition` is neither.
    """
    if output is None or not jobs[0].listed:
        return None
    if partition is None:
        return Manifest(output, recipe, shard=shard, unchanged=unchanged)
    if not re.fullmatch(r"size|[1-9]\d{0,5}", partition):
        raise PosertError(f"`partition` {partition!r} is no number of files", "write a number, or the word size")
    parts = int(partition.replace("size", "0"))
    return Ledger(output, recipe, shard=shard, parts=parts, overwrite=overwrite, whole=whole)


def _check_names(jobs: Jobs) -> None:
    """Raises PosertError if two jobs have one name, or one is not UTF-8."""
    import pyarrow.compute as compute

    names = jobs.names(pyarrow())
    try:
        names.validate(full=True)
    except pyarrow().ArrowInvalid:
        raise PosertError("a source's name is not UTF-8", "a dataset holds names as text: rename it") from None
    if len(names.unique()) < len(names):
        counts = names.value_counts()
        twice = counts.filter(compute.greater(counts.field("counts"), 1)).field("values")[0]
        raise PosertError(f"two clips are called {twice}", "give their common folder as the source, or an id to each")


def _places(folder: Path, found: Sequence[Sheet], jobs: Jobs) -> list[NDArray[np.int64]]:
    """For each sheet i64 [its entries], which job each is of; -1 = none of them."""
    import pyarrow.compute as compute

    tables = [read_entries(folder, sheet, ["clip"])["clip"].cast(pyarrow().large_string()) for sheet in found]
    clips = pyarrow().chunked_array([chunk for table in tables for chunk in table.chunks], pyarrow().large_string())
    where = compute.fill_null(compute.index_in(clips, value_set=jobs.names(pyarrow())), -1)
    ends = np.cumsum([len(table) for table in tables])[:-1]
    return np.split(where.to_numpy().astype(np.int64), ends) if found else []


def _but_for(table: Any, clips: Sequence[str]) -> Any:
    """The entries without those of clips that were finished and will be again."""
    import pyarrow.compute as compute

    left_out = compute.is_in(table["clip"], pyarrow().array(clips, pyarrow().string()))
    return table.filter(compute.invert(left_out)) if clips else table


def _latest(tables: Sequence[Any]) -> Any:
    """The entries together, of each clip the last one."""
    table = pyarrow().concat_tables(tables)
    last = {clip: number for number, clip in enumerate(table["clip"].to_pylist())}
    return table if len(last) == table.num_rows else table.take(list(last.values()))


def _unchanged(source: str, known: tuple[Any, ...], said: Facts | None, *, verify: bool) -> bool:
    was = {name: value for name, value in zip(_STATE, known, strict=True) if value is not None} or None
    return as_listed(was, said) or unchanged(source, was, verify=verify)
