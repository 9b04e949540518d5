"""How fast a model is on a video: each step alone, one frame at a time, the whole loop; and what the machine could do.

Owns these figures. Knows jobs, models and frames, nothing of the processes that measure or of whoever asks.
"""

import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posert.errors import PosertError
from posert.measure.calls import network_calls
from posert.poses import Result
from posert.runtime.devices import cpu_cores
from posert.runtime.files.formats import sinks_of
from posert.runtime.jobs.job import run_job
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.recipe import Recipe, Selection, Settings
from posert.runtime.loop import People, estimate
from posert.runtime.media.read import frames
from posert.runtime.options import ModelOptions
from posert.runtime.session import open_model

SAMPLED = 60
"""Of so many frames the network calls are repeated, and each is looked at alone."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is measured: a model, opened as `options` say, on the first `frames` frames of a video."""

    model: str
    source: str
    frames: int = 240
    options: ModelOptions = field(default_factory=ModelOptions)


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a model before the first round.

    Attributes:
        device: as its sessions really run. threads: of one frame alone, see `ModelOptions.latency`.
        people: found in a frame, a mean. memory_mb: the most that the process had in memory, its code included, when
            the whole loop had run; None where the system does not say.
        stages: of each its decoder, file, width and height of the input, and the decoder's parameters.
    """

    device: str
    threads: int
    people: float
    memory_mb: float | None
    stages: tuple[tuple[str, str, tuple[int, int], dict[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """Milliseconds a frame; None is not known.

    Attributes:
        read: the frames, and nothing else. prepare, network, decode: one frame at a time, all threads at its service.
        write: JSON lines. alone: frame in to people out, of each of the sampled frames.
        loop: all of it together, as `infer` runs it, JSON lines included. cpu: the processors' time of that.
        limit: the least that this machine could need for it: the larger of the networks' time on all cores, and of the
            processors' time of bare decoding and of the networks, shared out among the cores.
    """

    loop: float
    cpu: float
    read: float | None = None
    prepare: float | None = None
    network: float | None = None
    decode: float | None = None
    write: float | None = None
    limit: float | None = None
    alone: tuple[float, ...] = ()


class Bench:
    """A model with everything that its rounds need; the loop has run once."""

    def __init__(self, task: Task) -> None:
        """Raises PosertError if the model cannot be opened, or the source is no video."""
        self._source = task.source
        self._settings = Settings(selection=Selection(last=task.frames - 1))
        self._whole = Recipe(task.model, self._settings, task.options).open()
        decode_only(task.source, 1)
        people = self._infer().people
        memory = peak_mb()
        self._pictures = list(islice(frames(task.source), min(SAMPLED, task.frames)))
        self._alone = open_model(task.model, task.options, latency=True)
        self._bare = open_model(task.model, task.options, workers=1, threads=task.options.threads or cpu_cores())
        self._calls = network_calls(self._bare, self._pictures)
        self._results = list(estimate(self._bare, self._pictures))
        self._count = decode_only(task.source, task.frames)
        self._warm()
        self.about = About(
            self._whole.device, self._alone.threads, people / self._count, memory,
            tuple(
                (
                    stage.decoder, str(self._whole.files[stage.name]), stage.input.size_wh,
                    asdict(self._whole.params(stage.name)),
                )
                for stage in self._whole.spec.stages
            ),
        )  # fmt: skip

    def round(self) -> Round:
        """Everything once."""
        decode = measured(lambda: decode_only(self._source, self._count))
        read = measured(lambda: sum(1 for _ in self._settings.selection.of(self._source)))
        session = measured(self._sessions)
        steps, alone = self._one_by_one()
        loop = measured(lambda: self._infer().frames)
        limit = max(session[0], (decode[1] + session[1]) / cpu_cores())
        return Round(
            loop[0], loop[1], read[0], steps["prepare"], steps["run"], steps["decode"], self._written(), limit, alone
        )

    def _warm(self) -> None:
        self._sessions(), self._one_by_one()

    def _infer(self) -> Any:
        with tempfile.TemporaryDirectory(prefix="posert-") as folder:
            (job,) = plan([self._source], Path(folder) / "out.jsonl", None, "jsonl")
            return run_job(self._whole, job, self._settings)

    def _sessions(self) -> int:
        for stage, tensor in self._calls:
            self._bare.run(stage, tensor)
        return len(self._pictures)

    def _one_by_one(self) -> tuple[dict[str, float], tuple[float, ...]]:
        """Mean milliseconds of each step, and of each frame from here to its people."""
        people, taken, results = People(self._alone), [], list[Result]()
        for picture in self._pictures:
            began = time.perf_counter()
            ((_, result),) = people([picture])
            taken.append((time.perf_counter() - began) * 1000)
            results.append(result)
        steps = {step: statistics.mean(result.timings_ms[step] for result in results) for step in results[0].timings_ms}
        return steps, tuple(taken)

    def _written(self) -> float:
        (sink,) = sinks_of("jsonl")
        with (
            tempfile.TemporaryDirectory(prefix="posert-") as folder,
            sink(Path(folder) / "out.jsonl", self._bare.spec, self._source) as write,
        ):
            began = time.perf_counter()
            for frame, result in zip(self._pictures, self._results, strict=True):
                write(frame, result)
            return (time.perf_counter() - began) * 1000 / len(self._pictures)


def decode_only(video: str, most: int) -> int:
    """Decodes at most so many frames with OpenCV and nothing else; how many there were.

    Raises PosertError if there is none.
    """
    capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG)
    count = 0
    while count < most and capture.read()[0]:
        count += 1
    capture.release()
    if not count:
        raise PosertError(f"{video} is no video that OpenCV reads", "name another with `source`")
    return count


def measured(action: Callable[[], int]) -> tuple[float, float]:
    """Wall and processors' milliseconds a frame of an action that returns its number of frames."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = action()
    return (time.perf_counter() - wall) * 1000 / count, (time.process_time() - cpu) * 1000 / count


def peak_mb() -> float | None:
    """The most memory that this process has had, MB; None where the system does not say."""
    try:
        if sys.platform == "linux":  # `ru_maxrss` begins there with what the process had that started this one
            (line,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
            return int(line) * 1024 / 1e6
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    except (ImportError, OSError, ValueError):  # Windows
        return None


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the rounds, milliseconds a frame, see `Round`.

    Attributes:
        fps: of the whole loop; fps_spread: the least and the most.
        share: of what the machine could do at most. p50, p99: frame in to people out, over all rounds.
    """

    fps: float
    fps_spread: tuple[float, float]
    cpu: float
    read: float | None
    prepare: float | None
    network: float | None
    decode: float | None
    write: float | None
    share: float | None
    p50: float | None
    p99: float | None


def figures(rounds: Sequence[Round]) -> Figures:
    """What one or more rounds say together.

    >>> figures([Round(loop=10.0, cpu=18.0, limit=9.0), Round(loop=5.0, cpu=9.0, limit=4.5)]).share
    0.9
    """
    fps = [1000 / each.loop for each in rounds]
    steps = {name: _median([getattr(each, name) for each in rounds]) for name in _STEPS}
    share = _median([None if each.limit is None else each.limit / each.loop for each in rounds])
    alone = sorted(ms for each in rounds for ms in each.alone)
    p50, p99 = (float(np.quantile(alone, q)) for q in (0.5, 0.99)) if alone else (None, None)
    cpu = statistics.median(each.cpu for each in rounds)
    return Figures(statistics.median(fps), (min(fps), max(fps)), cpu, share=share, p50=p50, p99=p99, **steps)


_STEPS = ("read", "prepare", "network", "decode", "write")


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
