"""Jobs side by side in this process: each in a thread of its own, the model shared.

Owns how many there are and their threads. Knows jobs, nothing of processes or of what is in a frame.
"""

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from heapq import heapreplace
from itertools import islice
from pathlib import Path

from posert.runtime.jobs.job import Job, Outcome, attempt
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.media import is_image

EVEN = 0.85
"""Of the time all lanes must be busy, or the last sources would run on a part of the threads alone."""
_LOOKED_AT = 1000
_END_S = 1.0  # for what has begun when the run is broken off


def lane_count(recipe: Recipe, jobs: Sequence[Job]) -> int:
    """How many jobs run side by side on the threads of one process: 1, or as many as there are threads or jobs.

    A picture is one frame, and a model that follows people must know one frame's before it looks at the next. One
    thread for each of several such sources does more than all threads for one after the other (MoveNet Thunder on two
    cores: 60 frames/s instead of 50), unless some sources are so long that they would run on alone. Sizes of files
    stand for lengths; of many jobs some are looked at.
    """
    most = min(recipe.threads, len(jobs))
    if most < 2 or recipe.options.latency or jobs[0].to_terminal:
        return 1
    jobs = jobs[:: -(-len(jobs) // _LOOKED_AT)]
    if not all(is_image(job.source) for job in jobs) and not recipe.in_turn():
        return 1
    sizes = [bytes_of(job) for job in jobs]
    return most if sum(sizes) >= EVEN * most * max(laid_out(sizes, most)) else 1


def laid_out(sizes: Sequence[int], count: int) -> list[int]:
    """How much each of so many lanes has to do, the largest first to whoever has least.

    >>> laid_out([5, 1, 3, 2], 2)
    [6, 5]
    """
    lanes = [0] * count
    for size in sorted(sizes, reverse=True):
        heapreplace(lanes, lanes[0] + size)
    return sorted(lanes, reverse=True)


def bytes_of(job: Job) -> int:
    """The size of a job's source, at least 1."""
    try:
        return max(1, Path(job.source).stat().st_size)
    except OSError:  # a camera, a stream, an address
        return 1


def side_by_side(recipe: Recipe, jobs: Sequence[Job], count: int) -> Generator[Outcome, None, None]:
    """Runs the jobs in `count` threads and yields outcomes as they come; raises PosertError as `Recipe.open` does."""
    stopped, todo = threading.Event(), iter(jobs)

    def go_on(_: int) -> None:
        if stopped.is_set():  # as Ctrl-C, which reaches the main thread alone
            raise KeyboardInterrupt

    with recipe.open(count) as model:
        pool = ThreadPoolExecutor(count, "posert-job")
        running = {pool.submit(attempt, model, job, recipe.settings, go_on) for job in islice(todo, 2 * count)}
        try:
            while running:
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {
                    pool.submit(attempt, model, job, recipe.settings, go_on) for job in islice(todo, len(ready))
                }
                for each in ready:
                    yield each.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            wait(running, _END_S)
