"""From a camera's frame to its people: the middle and one of a hundred, for throughput and with `latency`.

    python tests/bench/latency.py [VIDEO] [--model FILE ...] [--frames N] [--rounds N]

A source gives decoded frames of VIDEO at 30 a second and does not wait (`estimate(..., live=True)`). The time is from
the moment that it has a frame until the caller has the result; frames that are left out because the model is slower do
not count, their share is printed. Interleaved rounds; processors' time is of the whole process. Without VIDEO the
repository's clip.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from posert.export.nano.clip import write_as
from posert.poses import Frame
from posert.runtime.devices import cpu_cores
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.loop import estimate
from posert.runtime.media.read import frames
from posert.runtime.options import ModelOptions
from posert.runtime.session import Model

FPS = 30


def camera(pictures: list[Frame], count: int, given: dict[int, float]) -> Iterator[Frame]:
    due = time.perf_counter()
    for index, picture in enumerate(islice(cycle(pictures), count)):
        due += 1 / FPS
        time.sleep(max(0.0, due - time.perf_counter()))
        given[index] = time.perf_counter()
        yield replace(picture, index=index, time_s=index / FPS)


def watch(model: Model, pictures: list[Frame], count: int) -> tuple[list[float], float]:
    """Milliseconds of each frame that was shown, and the processors' time as a share of the whole."""
    given: dict[int, float] = {}
    began, busy, taken = time.perf_counter(), time.process_time(), []
    for result in estimate(model, camera(pictures, count, given), live=True):
        taken.append((time.perf_counter() - given[result.frame_index]) * 1000)
    return taken, (time.process_time() - busy) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("video", nargs="?")
    parser.add_argument("--model", nargs="+", default=["nano"])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cpu_cores()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or str(write_as(Path(folder) / "clip.mp4", count=60))
        pictures = list(islice(frames(video), 60))
    for name in options.model:
        ways = {soon: Recipe(name, options=ModelOptions(device="cpu", latency=soon)).open() for soon in (False, True)}
        seen: dict[bool, list[tuple[list[float], float]]] = {soon: [] for soon in ways}
        for _ in range(options.rounds):
            for soon, model in ways.items():
                seen[soon].append(watch(model, pictures, options.frames))
        for soon, rounds in seen.items():
            taken = np.concatenate([each for each, _ in rounds])
            share = len(taken) / (options.rounds * options.frames)
            how, (middle, most) = "--latency" if soon else "throughput", np.quantile(taken, (0.5, 0.99))
            print(
                f"{Path(name).stem:28} {how:10} p50 {middle:6.1f} ms, p99 {most:6.1f} ms, {share:.2f} of the frames, "
                f"{np.mean([busy for _, busy in rounds]):.2f} processors"
            )


if __name__ == "__main__":
    main()
