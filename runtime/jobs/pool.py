"""Jobs one after the other, or in worker processes that each open the model once.

Owns processes. Knows jobs, nothing of what is in a frame.
"""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from posert.errors import PosertError
from posert.runtime.jobs.job import Job, OnFrame, Outcome, attempt, jobs_done_by
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.jobs.trial import choose_workers
from posert.runtime.media.read import frame_count

Progress = Callable[[str, int, str], AbstractContextManager[OnFrame]]
"""(title, how many or 0, of what) -> a context manager that gives what to call with the number done."""


def run_anywhere(
    recipe: Recipe, jobs: Sequence[Job], workers: int, on: str | None, progress: Progress
) -> Generator[Outcome, None, None]:
    """Runs the jobs where they are best run: here, in worker processes, on a cluster; yields outcomes as they come.

    Args:
        workers: processes; 0 = by measurement (`choose_workers`).
        on: a Ray cluster (see `on_ray`), None = this machine.

    Raises:
        PosertError: the model cannot be opened, the cluster cannot be reached.
    """
    count = 1
    if on is None and len(jobs) > 1 and jobs[0].output is not None:
        count = min(workers or choose_workers(recipe, jobs), len(jobs))
    if not jobs:
        return
    if on is None and count == 1:
        yield from one_by_one(recipe, jobs, progress)
        return
    if on is None:
        outcomes = in_processes(recipe, jobs, count)
    else:
        from posert.runtime.jobs.on_ray import on_ray

        outcomes = on_ray(recipe, jobs, on, workers)
    with closing(outcomes), progress(on or f"{count} workers", len(jobs), "sources") as on_source:
        for done, outcome in enumerate(outcomes, 1):
            on_source(done)
            yield outcome


def one_by_one(recipe: Recipe, jobs: Sequence[Job], progress: Progress) -> Iterator[Outcome]:
    """Runs the jobs in this process, in order."""
    with recipe.open() as model:
        for number, job in enumerate(jobs):
            title = f"{job.source} ({number + 1}/{len(jobs)})" if len(jobs) > 1 else job.source
            with progress(title, frame_count(job.source), "frames") as on_frame:
                outcome = attempt(model, job, recipe.settings, on_frame)
            yield outcome


def in_processes(recipe: Recipe, jobs: Sequence[Job], count: int) -> Generator[Outcome, None, None]:
    """Runs the jobs in `count` processes and yields outcomes as they come.

    A process that dies fails its job alone and is replaced. Workers end by themselves when this process is killed.
    Raises PosertError if the model cannot be opened.
    """
    pool = _Pool(recipe, jobs)
    try:
        for _ in range(min(count, len(jobs))):
            pool.employ()
        while pool.busy:
            ready = wait(list(pool.busy))
            for worker in [worker for worker in pool.busy if worker in ready]:
                outcome, free = pool.outcome(worker)
                yield outcome
                pool.employ(free)
    finally:
        pool.end()


class _Pool:
    """The worker processes, each with the job it is at."""

    def __init__(self, recipe: Recipe, jobs: Sequence[Job]) -> None:
        self.recipe, self.todo, self.numbers = recipe, iter(jobs), itertools.count()
        self.busy: dict[Connection, Job] = {}
        self.processes: dict[Connection, Any] = {}

    def employ(self, worker: Connection | None = None) -> None:
        """The next job for this worker, or for a new one; without a job left the worker ends."""
        job = next(self.todo, None)
        if worker is None:
            if job is None:
                return
            worker, process = self.recipe.spawn(next(self.numbers), _work)
            self.processes[worker] = process
        if job is not None:
            self.busy[worker] = job
        with suppress(OSError):  # it has died: `outcome` will see that
            worker.send(job)

    def outcome(self, worker: Connection) -> tuple[Outcome, Connection | None]:
        """What has arrived, and the worker that is free now; None if it has died."""
        job = self.busy.pop(worker)
        try:
            outcome: Outcome = worker.recv()
        except (EOFError, OSError):
            process = self.processes.pop(worker)
            process.join()
            what = f"{job.source}: its worker process died (exit code {process.exitcode})"
            return Outcome(job, error=PosertError(what, "it may have run out of memory; try fewer `workers`")), None
        if outcome.unusable and outcome.error is not None:
            raise outcome.error
        return outcome, worker

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
    """A worker process: the model once, then job after job until None comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent tells us to stop
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(KeyboardInterrupt, EOFError, OSError):
        done = jobs_done_by(recipe)
        while (job := pipe.recv()) is not None:
            pipe.send(done(job))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # the parent was killed: a half-written file keeps its temporary name
