"""What a job over many sources will cost, by a sample of them: time, machines, bytes, memory, and how sure that is.

Owns the estimate. The sample is done as the job would be, by the same workers; nothing of it is kept. Knows nothing of
the terminal.
"""

import math
import random
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.runtime.files.partition import Part, drop_rows
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.lanes import lane_count
from posert.runtime.jobs.many import Jobs
from posert.runtime.jobs.pool import Progress, run_anywhere
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.jobs.trial import choose_workers

_NORMAL = 1.959964  # 95 % of a normal distribution lie within so many deviations
_LEAST = 3  # of fewer sources no spread can be told


@dataclass(frozen=True, slots=True)
class Guess:
    """A sum over all sources, and between which it lies in 95 of 100 samples, if sources like these were drawn."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job will cost.

    Attributes:
        sources: in all. tried, failed: of the sample.
        by_length: the list says how long clips are, so that lengths, and not numbers of clips, are scaled up.
        workers: that work at once on this machine.
        frames_per_s: of all of them together.
        seconds: for all sources, on this machine. bytes: of all results.
        worker_bytes: memory of a worker at its peak; 0 where the system does not say.
    """

    sources: int
    tried: int
    failed: int
    by_length: bool
    workers: int
    frames_per_s: float
    seconds: Guess
    bytes: Guess
    worker_bytes: int

    def machines(self, hours: float) -> tuple[int, int]:
        """How many machines like this one end within so many hours, and how many even at the high end of the guess."""
        return tuple(max(1, math.ceil(each / (3600 * hours))) for each in (self.seconds.value, self.seconds.high))  # type: ignore[return-value]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def cost_of(recipe: Recipe, jobs: Jobs, sample: int, workers: int, progress: Progress, place: Path) -> Cost:
    """Does so many of the jobs, drawn at random, and scales what they took up to all.

    Args:
        jobs: whose results lie below `place`, which is the caller's to remove.
        workers: processes; 0 = by measurement, as the job itself would.

    Raises:
        PosertError: too few of them can be done; as `run_anywhere` raises.
    """
    numbers = sorted(random.Random(0).sample(range(len(jobs)), min(sample, len(jobs))))
    picked = [jobs[number] for number in numbers]
    count = min(workers or choose_workers(recipe, picked), len(picked))
    at_once = count if count > 1 else lane_count(recipe, picked)
    with closing(run_anywhere(recipe, picked, count, None, progress)) as outcomes:
        tried = list(outcomes)
    done = [outcome for outcome in tried if outcome.error is None]
    if len(done) < min(_LEAST, len(jobs)):
        error = next((outcome.error for outcome in tried if outcome.error is not None), None)
        why = f": {error.what}" if error else ""
        raise PosertError(f"{len(done)} of {len(tried)} sources can be done, which says nothing of others{why}",
                          "try more with `sample`, or mend these")  # fmt: skip
    lengths = _lengths(jobs)
    scaled = _Scaled(len(jobs), lengths, [_length(outcome.job) for outcome in done])
    took_s = np.array([outcome.seconds for outcome in done])
    return Cost(
        len(jobs), len(tried), len(tried) - len(done), lengths is not None, at_once,
        at_once * sum(outcome.frames for outcome in done) / max(1e-9, float(took_s.sum())),
        scaled.up(took_s / at_once), _bytes(done, jobs, scaled, place), _memory(count > 1),
    )  # fmt: skip


def _length(job: Job) -> float:
    clip = job.clip
    return math.nan if clip is None or clip.stop_s is None else clip.stop_s - clip.start_s


def _lengths(jobs: Jobs) -> float | None:
    """Of all clips together, seconds; None if the list does not say it of each."""
    begin_s, end_s = jobs.media.times()
    whole = float((end_s - begin_s)[jobs.chosen].sum())
    return None if math.isnan(whole) else whole


class _Scaled:
    """From a sample to the whole: by the number of sources, or as a ratio to their lengths where these are known."""

    def __init__(self, count: int, length: float | None, sampled: Sequence[float]) -> None:
        self.count, self.whole = count, count if length is None else length
        self.sampled = np.ones(len(sampled)) if length is None else np.array(sampled)

    def up(self, values: NDArray[np.floating]) -> Guess:
        """The sum over all sources of what these few have. The spread is that of the guesses without one of them each
        (the jackknife; for a mean that is the usual one), by Student's t, less what is known of a part.
        """
        tried, guess = len(values), self.whole * float(values.sum() / self.sampled.sum())
        if tried < 2 or tried >= self.count:
            return Guess(guess, guess, guess)
        without = self.whole * (values.sum() - values) / (self.sampled.sum() - self.sampled)
        deviation = math.sqrt((tried - 1) * float(without.var()) * (1 - tried / self.count))
        off = student(tried - 1) * deviation
        return Guess(guess, max(0.0, guess - off), guess + off)


def student(degrees: int) -> float:
    """95 % of Student's distribution lie within so many deviations; a series around the normal one, 2 % off for two.

    >>> round(student(3), 2), round(student(19), 3)
    (3.18, 2.093)
    """
    z, n = _NORMAL, degrees
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / n + second / n**2 + third / n**3 + fourth / n**4


def _bytes(done: Sequence[Outcome], jobs: Jobs, scaled: _Scaled, place: Path) -> Guess:
    """Of the results: files as they are, rows of a dataset as they are packed together."""
    if not done[0].job.rows:
        return scaled.up(
            np.array([sum(path.stat().st_size for path in each.job.files if path.is_file()) for each in done])
        )
    part = Part(place / "sample.parquet", jobs.media.columns)
    for outcome in done:
        part.add(outcome.rows, outcome.job.rows, dict(outcome.job.clip.columns) if outcome.job.clip else {})
        drop_rows(outcome.rows)
    part.close(0)
    size = part.path.stat().st_size if part.count else 0
    return scaled.up(np.array([outcome.people for outcome in done]) * size / max(1, part.count))


def _memory(apart: bool) -> int:
    """Bytes of the largest worker, or of this process if it did the work itself."""
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_CHILDREN if apart else resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
