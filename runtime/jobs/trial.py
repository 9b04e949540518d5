"""How many processes a job gets: both arrangements are tried on the first frames of its first readable source.

Owns that choice. Knows recipes and jobs, nothing of what is in a frame.
"""

import logging
import math
import multiprocessing
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing.connection import Connection
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from posert.errors import PosertError
from posert.runtime.devices import on_cpu
from posert.runtime.jobs.job import Job, run_job
from posert.runtime.jobs.lanes import lane_count
from posert.runtime.jobs.recipe import Recipe, Settings
from posert.runtime.media.read import frame_count, frames
from posert.runtime.session import Model
from posert.runtime.store.address import is_stored

_LOG = logging.getLogger("posert")
_TRIAL_S = 0.7
_WARM_FRAMES = 3  # they pay for what is made once
_START_S = 60.0
_WORTH_S = 15.0  # the trial and the start of the workers take some seconds
_GAIN = 1.15
_BUSY = 0.85  # of a CPU: less is waiting for something else


def choose_workers(recipe: Recipe, jobs: Sequence[Job]) -> int:
    """How many processes to use: one per device if several are named, one on a GPU; on a CPU by measurement.

    One process with all threads in one pipeline, or in several (`lane_count`), is measured against one process per core
    with one thread each, all at work at once, since cores share caches and some are only half a core. Short work is not
    worth it.
    """
    count = min(recipe.threads, len(jobs))
    if "," in recipe.options.device:
        return min(len(recipe.options.device.split(",")), len(jobs))
    if count < 2 or recipe.options.latency:
        return 1
    together, apart, _ = _rates(recipe, jobs, count)
    return count if apart > together * _GAIN else 1


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker on a cluster gets: parts of CPUs and GPUs, and how many threads it has."""

    cpus: float = 1.0
    gpus: float = 0.0
    threads: int = 1


def choose_share(recipe: Recipe, jobs: Sequence[Job], *, gpu: bool) -> Share:
    """What makes most of the CPUs of this machine (`recipe.threads`), or of the one GPU that this process sees.

    On CPUs a process with one thread each, or one with all; of a CPU that it does not use up, a worker gets the part
    that it used. On a GPU the number of processes, up to four, that do more together, and the CPUs that one used.
    Without an answer one CPU or one whole GPU.
    """
    if gpu:
        return _share_of_gpu(recipe, jobs)
    together, apart, used = _rates(recipe, jobs, recipe.threads)
    if apart and together > apart * _GAIN:
        return Share(cpus=recipe.threads, threads=recipe.threads)
    return Share(cpus=_quarters(used) if 0 < used < _BUSY else 1.0)


def _share_of_gpu(recipe: Recipe, jobs: Sequence[Job]) -> Share:
    best, most = Share(gpus=1.0), 0.0
    sample = next((job for job in _at_hand(jobs) if _readable(job)), None)
    if sample is None:
        return best
    with tempfile.TemporaryDirectory(prefix="posert-") as folder:
        for count in (1, 2, 4):
            rate, used = _rate_apart(recipe, [_moved(sample, Path(folder, f"{count}-{n}")) for n in range(count)])
            if rate <= most * _GAIN:
                break
            best, most = Share(_quarters(used), 1 / count), rate
    return best


def _quarters(cpus: float) -> float:
    return max(1, math.ceil(4 * cpus)) / 4


def _rates(recipe: Recipe, jobs: Sequence[Job], count: int) -> tuple[float, float, float]:
    """Frames per second of one process and of `count` with a thread each, and the CPUs that one of these used.

    Zeros where the model is not on a CPU, and where the work is too short for an answer.
    """
    sample = next((job for job in _at_hand(jobs) if _readable(job)), None)
    if sample is None:
        return 0.0, 0.0, 0.0
    lanes = lane_count(recipe, jobs)
    with tempfile.TemporaryDirectory(prefix="posert-") as folder:
        with recipe.open(lanes) as model:
            if not on_cpu(model.device):
                return 0.0, 0.0, 0.0
            moved = [_moved(sample, Path(folder, f"together{number}")) for number in range(lanes)]
            together = _rate_together(model, moved, recipe.settings)
        # as many as it takes to be sure; what is not here yet may be as long as what is
        counts = accumulate(frame_count((sample if is_stored(job.source) else job).source) for job in jobs)
        if not together or not any(total >= together * _WORTH_S for total in counts):
            return 0.0, 0.0, 0.0
        apart, used = _rate_apart(recipe, [_moved(sample, Path(folder, str(number))) for number in range(count)])
    _LOG.info("one process %.1f frames/s, %d processes %.1f frames/s", together, count, apart)
    return together, apart, used


def _at_hand(jobs: Sequence[Job]) -> Iterator[Job]:
    """Those that can be looked at now: of stored sources the first, since the others may wait for its end."""
    first = next((job for job in jobs if is_stored(job.source)), None)
    return (job for job in jobs if job is first or not is_stored(job.source))


def _readable(job: Job) -> bool:
    try:
        return not Path(job.source).is_fifo() and next(iter(frames(job.source)), None) is not None
    except Exception:
        return False


def _moved(job: Job, folder: Path) -> Job:
    return job.moved(lambda path: folder / path.name)


class _Over(Exception):
    """The trial has lasted long enough."""


def _rate(model: Model, job: Job, settings: Settings, ready: Callable[[], object] = lambda: None) -> float:
    """Frames per second over the first part of a job; 0 if it has too few. `ready` is called when it is warm."""
    began, measured = 0.0, 0

    def on_frame(done: int) -> None:
        nonlocal began, measured
        if done == _WARM_FRAMES:
            ready()
            began = time.perf_counter()
        measured = done - _WARM_FRAMES
        if began and time.perf_counter() - began > _TRIAL_S:
            raise _Over

    with suppress(Exception):  # whatever is wrong, the job itself will say
        run_job(model, job, settings, on_frame=on_frame)
    return measured / (time.perf_counter() - began) if measured > 0 else 0.0


def _rate_together(model: Model, jobs: Sequence[Job], settings: Settings) -> float:
    """Frames per second of the jobs side by side on one model, all together; 0 if they have too few."""
    start = threading.Barrier(len(jobs))
    with ThreadPoolExecutor(len(jobs)) as pool:
        return sum(pool.map(lambda job: _rate(model, job, settings, lambda: start.wait(_START_S)), jobs))


def _rate_apart(recipe: Recipe, jobs: Sequence[Job]) -> tuple[float, float]:
    """Frames per second of a process for each job, all together, and the CPUs that one used; 0 if one of them fails."""
    start = multiprocessing.get_context("spawn").Barrier(len(jobs))
    workers = [recipe.spawn(number, _try, start, job) for number, job in enumerate(jobs)]
    try:
        rates, used = zip(*[pipe.recv() for pipe, _ in workers], strict=True)
        return sum(rates), sum(used) / len(used)
    except EOFError:
        return 0.0, 0.0
    finally:
        for _, process in workers:
            process.terminate()
            process.join()


def _try(pipe: Connection, recipe: Recipe, start: Any, job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    with suppress(PosertError, BrokenBarrierError), recipe.open() as model:
        clocks: list[float] = []

        def ready() -> None:
            start.wait(_START_S)
            clocks.extend((time.process_time(), time.perf_counter()))

        rate = _rate(model, job, recipe.settings, ready)
        used, passed = (time.process_time() - clocks[0], time.perf_counter() - clocks[1]) if clocks else (0.0, 1.0)
        pipe.send((rate, used / passed))
