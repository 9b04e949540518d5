"""Jobs one after the other, or in worker processes that each open the model once.

Owns processes and how many of them pay. Knows jobs, nothing of what is in a frame. Processes are spawned, not forked:
ONNX Runtime and numba hold threads.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from posert.postprocess.errors import PosertError
from posert.runtime.batch import Job, Outcome, Report, Settings, parse_params, run_job
from posert.runtime.devices import cpu_cores
from posert.runtime.estimate import estimate
from posert.runtime.frames import frame_count, frames
from posert.runtime.session import Model, open_model

_LOG = logging.getLogger("posert")
_TRIAL_S = 0.4
_WORTH_S = 20.0  # a worker takes a second or two to start
_GAIN = 1.15
OnFrame = Callable[[int], None]
Progress = Callable[[str, int, str], AbstractContextManager[OnFrame]]
"""(title, how many or 0, of what) -> a context manager that gives what to call with the number done."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to open the model and what to do with it; small, so that it can be sent to another process.

    Attributes:
        device: as in `open_model`; several, separated by commas, are shared out among the workers.
        threads: CPU threads of one process; 0 = all cores.
    """

    model: str
    settings: Settings
    device: str = "auto"
    threads: int = 0

    def open(self) -> Model:
        """The open model; raises what `open_model` raises."""
        threads = self.threads or cpu_cores()
        in_flight = 1 if self.settings.top_down.detect_every > 1 else threads
        return open_model(
            self.model,
            device=self.device,
            threads=threads,
            workers=in_flight,
            long_edge=self.settings.long_edge,
            scale_number=self.settings.scale_number,
            scale_gap=self.settings.scale_gap,
            detector=self.settings.detector,
            params=parse_params(self.settings.params),
        )

    def for_worker(self, number: int) -> "Recipe":
        """The recipe of one worker process of many: a single thread, the next device in turn."""
        devices = self.device.split(",")
        return replace(self, threads=1, device=devices[number % len(devices)])


def attempt(model: Model, job: Job, settings: Settings, on_frame: OnFrame | None = None) -> Outcome:
    """What became of one job; a failure is a value, so that the next job can follow."""
    try:
        return Outcome(job, run_job(model, job, settings, on_frame=on_frame), None)
    except PosertError as error:
        return Outcome(job, None, error)
    except Exception as error:  # one odd file must not end a night's work
        _LOG.debug("unexpected failure in %s", job.source, exc_info=True)
        return Outcome(job, None, PosertError(f"{job.source}: {type(error).__name__}: {error}", "see --debug"))


def run_anywhere(
    recipe: Recipe, jobs: Sequence[Job], workers: int, on: str | None, progress: Progress
) -> Iterator[Outcome]:
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
        from posert.runtime.on_ray import on_ray

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


def choose_workers(recipe: Recipe, jobs: Sequence[Job]) -> int:
    """How many processes to use: one per device if several are named, one on a GPU; on a CPU by measurement.

    The first frames of the first readable source run with all threads in one pipeline, then with one thread; processes
    pay if one thread's rate times the cores beats the pipeline, and if there is work for more than some seconds.
    """
    cores = recipe.threads or cpu_cores()
    count = min(cores, len(jobs))
    if "," in recipe.device:
        return min(len(recipe.device.split(",")), len(jobs))
    if count < 2:
        return 1
    with recipe.open() as model:
        if model.device != "cpu":
            return 1
        sample = next((job for job in jobs if _readable(job)), None)
        if sample is None:
            return 1
        together = _rate(model, sample)
    if not _enough(jobs, together * _WORTH_S):
        return 1
    with recipe.for_worker(0).open() as model:
        alone = _rate(model, sample)
    _LOG.info("one process %.1f frames/s, one thread %.1f frames/s, %d cores", together, alone, cores)
    return count if alone * count > together * _GAIN else 1


def _readable(job: Job) -> bool:
    try:
        return next(iter(frames(job.source)), None) is not None
    except PosertError:
        return False


def _rate(model: Model, job: Job) -> float:
    """Frames per second over the first part of a source."""
    done, began = 0, 0.0
    with suppress(PosertError):
        for number, _ in enumerate(islice(estimate(model, frames(job.source)), 500)):
            if number == 1:
                done, began = 0, time.perf_counter()  # the first frames pay for what is made once
            done += 1
            if began and time.perf_counter() - began > _TRIAL_S:
                break
    return done / (time.perf_counter() - began) if began and done > 1 else 30.0


def _enough(jobs: Sequence[Job], least: float) -> bool:
    """Whether the jobs have at least so many frames; stops to count as soon as it is sure."""
    total = 0
    for job in jobs:
        total += frame_count(job.source)
        if total >= least:
            return True
    return False


def in_processes(recipe: Recipe, jobs: Sequence[Job], count: int) -> Generator[Outcome, None, None]:
    """Runs the jobs in `count` processes and yields outcomes as they come.

    A process that dies fails its job alone and is replaced. Workers end by themselves when this process is killed.

    Raises:
        PosertError: the model cannot be opened.
    """
    todo, pool = iter(jobs), _Pool(recipe)
    try:
        for _ in range(min(count, len(jobs))):
            pool.start(next(todo))
        while pool.busy:
            for outcome, free in pool.ready():
                yield outcome
                following = next(todo, None)
                if following is None:
                    pool.dismiss(free)
                elif free is None:
                    pool.start(following)
                else:
                    pool.send(free, following)
    finally:
        pool.end()


class _Pool:
    """The worker processes, each with the job it is at."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.started = 0
        self.busy: dict[Connection, Job] = {}
        self.processes: dict[Connection, Any] = {}

    def start(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self.recipe.for_worker(self.started))
        process = context.Process(target=_work, args=arguments, name=f"posert-{self.started}", daemon=True)
        process.start()
        theirs.close()
        self.started += 1
        self.processes[ours] = process
        self.send(ours, job)

    def send(self, worker: Connection, job: Job) -> None:
        self.busy[worker] = job
        with suppress(OSError):  # it has died: `ready` will see that
            worker.send(job)

    def ready(self) -> Iterator[tuple[Outcome, Connection | None]]:
        """Outcomes that have arrived, each with its free worker; None if the worker has died."""
        for worker in wait(list(self.busy)):
            assert isinstance(worker, Connection)
            job = self.busy.pop(worker)
            try:
                kind, value = worker.recv()
            except (EOFError, OSError):
                process = self.processes.pop(worker)
                process.join()
                what = f"{job.source}: its worker process died (exit code {process.exitcode})"
                yield Outcome(job, None, PosertError(what, "it may have run out of memory; try fewer --workers")), None
                continue
            if kind == "unusable":
                raise PosertError(*value)
            report = value if isinstance(value, Report) else None
            yield Outcome(job, report, None if report else PosertError(*value)), worker

    def dismiss(self, worker: Connection | None) -> None:
        if worker is not None:
            with suppress(OSError):
                worker.send(None)

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
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(KeyboardInterrupt, EOFError, OSError):
        try:
            model = recipe.open()
        except PosertError as error:
            pipe.recv()
            pipe.send(("unusable", (error.what, error.hint)))
            return
        with model:
            while (job := pipe.recv()) is not None:
                outcome = attempt(model, job, recipe.settings)
                failure = outcome.error
                pipe.send(("done", outcome.report if failure is None else (failure.what, failure.hint)))


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # the parent was killed: a half-written file keeps its temporary name
