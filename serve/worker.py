"""The threads of one model, and the queue before them: frames of all requests and streams, in batches.

Owns the order of work of one model. Knows frames and results, nothing of HTTP.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.jobs.job import finite_people
from posert.runtime.loop import People
from posert.runtime.session import Model
from posert.runtime.windows import place
from posert.serve.limits import Limits, Refused

_LOG = logging.getLogger("posert")


@dataclass(frozen=True, slots=True)
class Task:
    """A frame to come, and what becomes of its people.

    Attributes:
        load: gives the frame; finish: makes the answer of the result. Both run in a thread of the worker's.
        people: that remember this stream's last frame; None = the thread's own, for a picture alone.
    """

    load: Callable[[], Frame]
    finish: Callable[[Frame, Result], Any]
    people: People | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    task: Task
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Any]"
    since: float

    def settle(self, value: Any, error: Exception | None = None) -> None:
        self.loop.call_soon_threadsafe(self._settle, value, error)

    def _settle(self, value: Any, error: Exception | None) -> None:
        if self.answer.done():  # nobody waits any more
            return
        if error is None:
            self.answer.set_result(value)
        else:
            self.answer.set_exception(error)


class Worker:
    """A model at work; a context.

    Attributes:
        seen: called in a thread of the worker's with each batch's results.
    """

    def __init__(self, model: Model, limits: Limits, seen: Callable[[list[Result]], None]) -> None:
        """Raises PosertError if the model cannot do without boxes."""
        self.model, self._limits, self._seen = model, limits, seen
        first = People(model)
        self.follows, self._batch = first.gaze.in_turn, 1 if first.gaze.in_turn else limits.batch
        self._ended, self._spent_s = False, 0.05
        self._changed, self._waiting = threading.Condition(), deque[_Waiting]()
        self._threads = [
            threading.Thread(target=self._work, args=(each,), name=f"posert-{model.spec.model}", daemon=True)
            for each in [first, *(People(model) for _ in range(1, max(1, model.workers)))]
        ]

    def __enter__(self) -> "Worker":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Once what waits is done."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def alive(self) -> bool:
        """Whether all of its threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def waiting(self) -> int:
        """Frames in the queue."""
        return len(self._waiting)

    def submit(self, tasks: list[Task], *, reserved: bool = False) -> list["asyncio.Future[Any]"]:
        """An answer to come for each task; call it in the event loop.

        Args:
            reserved: the caller has a place of its own, as a stream has, which waits for its answer before it comes
                again.

        Raises:
            Refused: the queue has no place for all of them, or the server ends.
        """
        loop, now = asyncio.get_running_loop(), time.monotonic()
        most, new = self._limits.queue, [_Waiting(task, loop, loop.create_future(), now) for task in tasks]
        if len(new) > most:
            raise Refused(413, f"{len(new)} pictures at once, at most {most} are taken", "send them in parts")
        with self._changed:
            if self._ended:
                raise Refused(503, "the server is ending", "try again later", 5)
            if len(self._waiting) + len(new) > most and not reserved:
                raise Refused(429, f"{len(self._waiting)} pictures wait already", "try again later", self._busy_s())
            self._waiting.extend(new)
            self._changed.notify(len(new))
        return [each.answer for each in new]

    def _busy_s(self) -> int:
        """About how long the queue takes."""
        return max(1, math.ceil(len(self._waiting) * self._spent_s / len(self._threads)))

    def _take(self) -> list[_Waiting]:
        """The next batch, as soon as it is full or its first has waited; empty at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    return []
                left_s = self._waiting[0].since + self._limits.wait_ms / 1000 - time.monotonic()
                if len(self._waiting) >= self._batch or self._ended or left_s <= 0:
                    return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
                self._changed.wait(left_s)

    def _work(self, own: People) -> None:
        while self._work_once(own):
            pass  # nothing of a batch is held while the next is waited for

    def _work_once(self, own: People) -> int:
        """One batch; how many pictures it had."""
        taken, began = self._take(), time.monotonic()
        loaded = [(each, frame) for each in taken if (frame := self._loaded(each)) is not None]
        for people, group in self._alike(loaded, own):
            self._run(people, group)
        if taken:
            self._spent_s += 0.1 * ((time.monotonic() - began) / len(taken) - self._spent_s)
        return len(taken)

    def _loaded(self, waiting: _Waiting) -> Frame | None:
        if waiting.answer.cancelled():
            return None
        try:
            return waiting.task.load()
        except Exception as error:
            waiting.settle(None, error)
            return None

    def _alike(
        self, loaded: list[tuple[_Waiting, Frame]], own: People
    ) -> Iterator[tuple[People, list[tuple[_Waiting, Frame]]]]:
        """Those that can be in one network call: of one input size, and not of a stream that is followed."""
        put = self.model.spec.stages[0].input

        def kind(pair: tuple[_Waiting, Frame]) -> tuple[int, tuple[int, int]]:
            return id(pair[0].task.people or own), place(pair[1].size_wh, put)[1]

        for _, group in groupby(sorted(loaded, key=kind), kind):
            pairs = list(group)
            yield pairs[0][0].task.people or own, pairs

    def _run(self, people: People, group: list[tuple[_Waiting, Frame]]) -> None:
        try:
            results = [result for _, result in people([frame for _, frame in group])]
            self._seen(results)
        except Exception as error:
            if len(group) > 1:  # one odd picture must not cost the others theirs
                for pair in group:
                    self._run(people, [pair])
                return
            if not isinstance(error, PosertError):
                _LOG.exception("a picture failed")
            group[0][0].settle(None, error)
            return
        for (waiting, frame), result in zip(group, results, strict=True):
            try:
                waiting.settle(waiting.task.finish(frame, finite_people(result)))
            except Exception as error:
                _LOG.exception("a result failed")
                waiting.settle(None, error)
