"""What there is to do: jobs, and spans of those that several workers share, which come back in any order.

Owns the order in which work is handed out, how much may wait in memory, and the joining: ids, smoothing and features
over all frames of a source, as in one pass. Knows no processes; whoever has some asks, and says what became of each.
"""

import logging
import pickle
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import cast

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.after.clothes import Clothes
from posert.runtime.files.state import state
from posert.runtime.jobs.job import Job, OnFrame, Outcome, refined, tried, write_job
from posert.runtime.jobs.recipe import Settings
from posert.runtime.jobs.spans import Found, Span, Unit

_LOG = logging.getLogger("posert")
_MOST_BYTES = 2**28
"""Of people who wait for those of a span before; more are not asked for meanwhile."""
_END_S = 1.0  # for what has begun when the run is broken off
_NO_PICTURE = np.zeros((1, 1, 3), np.uint8)


class _NotAsPlanned(Exception):
    """A span is not what it must be: the source is to be done in one pass."""


@dataclass(frozen=True, slots=True)
class _Joined(Frame):
    """A frame whose picture was left where its people were found."""

    clothes: Clothes | None = None


class Todo:
    """The units of work of a run, each to be done by somebody; not for several threads at once."""

    def __init__(
        self, jobs: Sequence[Job], spans: Mapping[int, list[Span]], settings: Settings, on_frame: OnFrame | None = None
    ) -> None:
        """`spans`: of some jobs, by their place; these are begun first. `on_frame` hears how many frames are joined."""
        self._again: deque[Unit] = deque()
        self._jobs = (job for number, job in enumerate(jobs) if number not in spans)
        self._untouched = len(jobs) - len(spans)
        self._pool = ThreadPoolExecutor(max(1, len(spans)), "posert-join")
        self._joins = {id(parts[0].job): _Join(parts, settings, on_frame) for parts in spans.values()}

    @property
    def joining(self) -> bool:
        """Whether a source in spans is not finished."""
        return bool(self._joins)

    @property
    def waiting(self) -> bool:
        """Whether `take` has a unit now."""
        unit = self.take()
        if unit is not None:
            self.again(unit)
        return unit is not None

    @property
    def left(self) -> int:
        """How many units nobody has taken, also those that must wait."""
        return self._untouched + len(self._again) + sum(join.left for join in self._joins.values())

    def take(self) -> Unit | None:
        """The next unit; None if there is none, or none now, because people of others wait for those of one before."""
        if self._again:
            return self._again.popleft()
        for join in self._joins.values():
            if (span := join.take(self._pool)) is not None:
                return span
        job = next(self._jobs, None)
        self._untouched -= job is not None
        return job

    def again(self, unit: Unit) -> None:
        """Nothing became of a unit that was taken: it is the next one."""
        self._again.appendleft(unit)

    def done(self, unit: Unit, made: Outcome | Found) -> Outcome | None:
        """What became of its job, if that is known now; raises PosertError if the model cannot be opened."""
        if isinstance(made, Outcome):
            if made.unusable and made.error is not None:
                raise made.error
            return made
        if isinstance(unit, Span) and (join := self._joins.get(id(unit.job))):
            join.put(unit, made)
        return None

    def failed(self, unit: Unit, error: PosertError) -> Outcome | None:
        """As `done`, for a unit that nobody can do."""
        if isinstance(unit, Job):
            return Outcome(unit, error=error)
        if join := self._joins.get(id(unit.job)):
            join.end(error)
        return None

    def joined(self, timeout_s: float = 0.0) -> Iterator[Outcome]:
        """What became of sources in spans since the last call; one that was not as planned is done in one pass."""
        futures = [join.outcome for join in self._joins.values() if join.outcome is not None]
        wait(futures, timeout_s, FIRST_COMPLETED)
        for key, join in list(self._joins.items()):
            if join.outcome is None or not join.outcome.done():
                continue
            del self._joins[key]
            outcome = join.outcome.result()
            if outcome is not None:
                yield outcome
            else:
                _LOG.info("%s is not what its packets say: it is read again, in one pass", join.job.title)
                self.again(join.job)

    def close(self) -> None:
        """Breaks off what is not finished."""
        for join in self._joins.values():
            join.end(KeyboardInterrupt())
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait([join.outcome for join in self._joins.values() if join.outcome is not None], _END_S)


class _Join:
    """A source in spans, which a thread of its own joins and writes; what is in `_given` is that thread's."""

    def __init__(self, spans: list[Span], settings: Settings, on_frame: OnFrame | None) -> None:
        self.job, self.outcome = spans[0].job, cast("Future[Outcome | None] | None", None)
        self._settings, self._on_frame, self._was = settings, on_frame, state(self.job.source)
        self._waiting, self._count = deque(spans), len(spans)
        self._early: dict[int, Found] = {}
        self._given: SimpleQueue[Found | BaseException | None] = SimpleQueue()
        self._next = self._in_flight = self._largest = self._bytes = self._written = 0
        self._ended = self._unfit = False

    @property
    def left(self) -> int:
        return 0 if self._ended else len(self._waiting)

    def take(self, pool: ThreadPoolExecutor) -> Span | None:
        waiting = self._bytes - self._written
        full = waiting + (self._in_flight + 1) * self._largest > _MOST_BYTES and (waiting or self._in_flight)
        if self._ended or full or not self._waiting:
            return None
        if self.outcome is None:
            self.outcome = pool.submit(self._join)
        self._in_flight += 1
        return self._waiting.popleft()

    def put(self, span: Span, found: Found) -> None:
        self._in_flight -= 1
        if not found.rows:
            self.end(_NotAsPlanned())
            return
        self._bytes, self._largest = self._bytes + len(found.rows), max(self._largest, len(found.rows))
        self._early[span.number] = found
        while (following := self._early.pop(self._next, None)) is not None:
            self._given.put(following)
            self._next += 1
        if self._next == self._count:
            self._given.put(None)

    def end(self, why: BaseException) -> None:
        self._ended = True
        self._given.put(why)

    def _join(self) -> Outcome | None:
        began = time.monotonic()
        outcome = tried(self.job, self._settings, self._write)
        return None if self._unfit else replace(outcome, seconds=time.monotonic() - began)

    def _write(self) -> Outcome:
        first = self._following()
        if first is None or first.spec is None or state(self.job.source) != self._was:
            self._unfit = True
            raise _NotAsPlanned
        people = refined(self._frames(first), first.spec.skeleton, self._settings, _worn)
        return write_job(self.job, self._settings, people, first.spec, first.device, self._on_frame)

    def _frames(self, first: Found) -> Generator[tuple[Frame, Result], None, None]:
        found: Found | None = first
        while found is not None:
            for result, clothes in pickle.loads(found.rows):
                yield _Joined(_NO_PICTURE, result.frame_index, result.time_s, result.source, clothes), result
            self._written += len(found.rows)
            found = self._following()

    def _following(self) -> Found | None:
        given = self._given.get()
        if isinstance(given, BaseException):
            self._unfit = isinstance(given, _NotAsPlanned)
            raise given
        return given


def _worn(frame: Frame) -> NDArray[np.uint8] | Clothes:
    return frame.clothes if isinstance(frame, _Joined) and frame.clothes is not None else frame.bgr
