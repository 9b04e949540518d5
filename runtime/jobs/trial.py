"""How many processes a job gets: both arrangements are tried on the first frames of its first readable source.

Owns that choice. Knows recipes and jobs, nothing of what is in a frame.
"""

import logging
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from multiprocessing.connection import Connection
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from posert.errors import PosertError
from posert.runtime.devices import cpu_cores
from posert.runtime.jobs.job import Job, run_job
from posert.runtime.jobs.recipe import Recipe, Settings
from posert.runtime.media.read import frame_count, frames
from posert.runtime.session import Model

_LOG = logging.getLogger("posert")
_TRIAL_S = 0.7
_WARM_FRAMES = 3  # they pay for what is made once
_START_S = 60.0
_WORTH_S = 15.0  # the trial and the start of the workers take some seconds
_GAIN = 1.15


def choose_workers(recipe: Recipe, jobs: Sequence[Job]) -> int:
    """How many processes to use: one per device if several are named, one on a GPU; on a CPU by measurement.

    One process with all threads in one pipeline is measured against one process per core with one thread each, all at
    work at once, since cores share caches and some are only half a core. Short work is not worth it.
    """
    count = min(recipe.options.threads or cpu_cores(), len(jobs))
    if "," in recipe.options.device:
        return min(len(recipe.options.device.split(",")), len(jobs))
    sample = next((job for job in jobs if _readable(job)), None)
    if count < 2 or sample is None:
        return 1
    with tempfile.TemporaryDirectory(prefix="posert-") as folder:
        with recipe.open() as model:
            if model.device != "cpu":
                return 1
            together = _rate(model, _moved(sample, Path(folder, "together")), recipe.settings)
        counts = accumulate(frame_count(job.source) for job in jobs)  # as many as it takes to be sure
        if not any(total >= together * _WORTH_S for total in counts):
            return 1
        apart = _rate_apart(recipe, [_moved(sample, Path(folder, str(number))) for number in range(count)])
    _LOG.info("one process %.1f frames/s, %d processes %.1f frames/s", together, count, apart)
    return count if apart > together * _GAIN else 1


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


def _rate_apart(recipe: Recipe, jobs: Sequence[Job]) -> float:
    """Frames per second of a process for each job, all together; 0 if one of them fails."""
    start = multiprocessing.get_context("spawn").Barrier(len(jobs))
    workers = [recipe.spawn(number, _try, start, job) for number, job in enumerate(jobs)]
    try:
        return sum(float(pipe.recv()) for pipe, _ in workers)
    except EOFError:
        return 0.0
    finally:
        for _, process in workers:
            process.terminate()
            process.join()


def _try(pipe: Connection, recipe: Recipe, start: Any, job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    with suppress(PosertError, BrokenBarrierError), recipe.open() as model:
        pipe.send(_rate(model, job, recipe.settings, lambda: start.wait(_START_S)))
