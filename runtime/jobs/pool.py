"""Jobs one after the other, side by side, or in worker processes that each open the model once.

Owns processes. Knows jobs, nothing of what is in a frame.
"""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from posert.errors import PosertError
from posert.runtime.jobs.job import Job, OnFrame, Outcome, attempt
from posert.runtime.jobs.lanes import lane_count, side_by_side
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.jobs.spans import Found, Span, Unit, cut, work_done_by
from posert.runtime.jobs.todo import Todo
from posert.runtime.jobs.trial import choose_workers
from posert.runtime.media.read import frame_count
from posert.runtime.store.address import is_stored
from posert.runtime.store.scratch import fetched_ahead

_LOOK_S = 0.1
Progress = Callable[[str, int, str], AbstractContextManager[OnFrame]]
"""(title, how many or 0, of what) -> a context manager that gives what to call with the number done."""


def run_anywhere(
    recipe: Recipe,
    jobs: Sequence[Job],
    workers: int,
    on: str | None,
    progress: Progress,
    cluster: Any = None,
) -> Generator[Outcome, None, None]:
    """Runs the jobs where they are best run: here, in worker processes, on a cluster; yields outcomes as they come.

    Sources with addresses are fetched ahead here (`fetched_ahead`); on a cluster each worker fetches its own.

    Args:
        workers: processes; 0 = by measurement (`choose_workers`).
        on: a Ray cluster (see `on_ray`), None = this machine.
        cluster: `RayOptions`, for a cluster; None = their defaults.

    Raises:
        PosertError: the model cannot be opened, the cluster cannot be reached.
    """
    outcomes = _run_anywhere(recipe, jobs, workers, on, progress, cluster)
    if on is not None or not any(is_stored(job.source) for job in jobs):
        yield from outcomes
        return
    with fetched_ahead(job.source for job in jobs) as done, closing(outcomes):
        for outcome in outcomes:
            done(outcome.job.source)
            yield outcome


def _run_anywhere(
    recipe: Recipe,
    jobs: Sequence[Job],
    workers: int,
    on: str | None,
    progress: Progress,
    cluster: Any = None,
) -> Generator[Outcome, None, None]:
    if not jobs:
        return
    single, count, lanes = len(jobs) == 1, 1, 1
    spans: Mapping[int, list[Span]] = {}
    if on is None:
        if single or not jobs[0].to_terminal:
            count = workers or (1 if single else choose_workers(recipe, jobs))
            spans = cut(recipe, jobs, count)
        count = min(count, len(jobs) + sum(len(parts) - 1 for parts in spans.values()))
        lanes = lane_count(recipe, jobs) if count == 1 else 1
        if count == lanes == 1:
            yield from one_by_one(recipe, jobs, progress)
            return
    named, total = on or f"{max(count, lanes)} workers", frame_count(jobs[0].source) if single else len(jobs)
    with progress(named, total, "frames" if single else "sources") as tell:
        on_frame = tell if single else None
        if on is not None:
            from posert.runtime.jobs.on_ray import on_ray

            outcomes = on_ray(recipe, jobs, on, workers, on_frame, cluster)
        elif count > 1:
            outcomes = in_processes(recipe, jobs, count, spans, on_frame)
        else:
            outcomes = side_by_side(recipe, jobs, lanes)
        with closing(outcomes):
            for done, outcome in enumerate(outcomes, 1):
                if not single:
                    tell(done)
                yield outcome


def one_by_one(recipe: Recipe, jobs: Sequence[Job], progress: Progress) -> Iterator[Outcome]:
    """Runs the jobs in this process, in order."""
    with recipe.open() as model:
        for number, job in enumerate(jobs):
            title = f"{job.title} ({number + 1}/{len(jobs)})" if len(jobs) > 1 else job.title
            with progress(title, frame_count(job.source), "frames") as on_frame:
                outcome = attempt(model, job, recipe.settings, on_frame)
            yield outcome


def in_processes(
    recipe: Recipe,
    jobs: Sequence[Job],
    count: int,
    spans: Mapping[int, list[Span]] | None = None,
    on_frame: OnFrame | None = None,
) -> Generator[Outcome, None, None]:
    """Runs the jobs in `count` processes and yields outcomes as they come.

    A process that dies fails its job alone and is replaced. Workers end by themselves when this process is killed.

    Args:
        spans: of jobs that several share, by their place, see `cut`. on_frame: hears how many of their frames are done.

    Raises:
        PosertError: the model cannot be opened.
    """
    todo, pool = Todo(jobs, spans or {}, recipe.settings, on_frame), _Pool(recipe, count)
    try:
        while True:
            while pool.has_room() and (unit := todo.take()) is not None:
                pool.employ(unit)
            if not pool.busy and not todo.joining:
                return
            for unit, made in pool.made(_LOOK_S if todo.joining else None):
                outcome = todo.failed(unit, made) if isinstance(made, PosertError) else todo.done(unit, made)
                if outcome is not None:
                    yield outcome
            yield from todo.joined(0.0 if pool.busy else _LOOK_S)
    finally:
        pool.end()
        todo.close()


class _Pool:
    """The worker processes, each with the unit it is at, or free."""

    def __init__(self, recipe: Recipe, count: int) -> None:
        self.recipe, self.count, self.numbers = recipe, count, itertools.count()
        self.busy: dict[Connection, Unit] = {}
        self.free: list[Connection] = []
        self.processes: dict[Connection, Any] = {}

    def has_room(self) -> bool:
        return len(self.busy) < self.count

    def employ(self, unit: Unit) -> None:
        """A free worker, or a new one, gets this unit."""
        if self.free:
            worker = self.free.pop()
        else:
            worker, process = self.recipe.spawn(next(self.numbers), _work)
            self.processes[worker] = process
        self.busy[worker] = unit
        with suppress(OSError):  # it has died: `made` will see that
            worker.send(unit)

    def made(self, timeout_s: float | None) -> list[tuple[Unit, Outcome | Found | PosertError]]:
        """What has arrived; an error for who has died."""
        ready = wait(list(self.busy), timeout_s)
        return [self._made(worker) for worker in list(self.busy) if worker in ready]

    def _made(self, worker: Connection) -> tuple[Unit, Outcome | Found | PosertError]:
        unit = self.busy.pop(worker)
        try:
            made: Outcome | Found = worker.recv()
        except (EOFError, OSError):
            process = self.processes.pop(worker)
            process.join()
            title = (unit.job if isinstance(unit, Span) else unit).title
            what = f"{title}: its worker process died (exit code {process.exitcode})"
            return unit, PosertError(what, "it may have run out of memory; try fewer `workers`")
        self.free.append(worker)
        return unit, made

    def end(self) -> None:
        for worker, process in self.processes.items():
            if worker in self.busy:
                process.terminate()
            worker.close()
        for process in self.processes.values():
            process.join(timeout=10)
            if process.is_alive():
                process.kill()


def _work(pipe: Connection, recipe: Recipe) -> None:
    """A worker process: the model once, then unit after unit until nobody sends more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent tells us to stop
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(KeyboardInterrupt, EOFError, OSError):
        done = work_done_by(recipe)
        while True:
            pipe.send(done(pipe.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # the parent was killed: a half-written file keeps its temporary name
