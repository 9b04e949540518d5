"""The C library's loop against Python's on the same frames, one thread each, and the bare network beside them.

    python tests/bench/c.py BUNDLE [--frames N] [--rounds N] [--source VIDEO_OR_FOLDER]

BUNDLE is a folder of `posert bundle`, after `make`. The frames lie in memory; both sides see the same, one after the
other, interleaved in rounds. Medians; the ratio above 1 means that C is faster.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

from posert import estimate, frames, open_model
from posert.export.embed.library import NativeModel, main_file
from posert.poses import Frame
from posert.runtime.prepare import prepare
from posert.runtime.windows import place


def timed(run: Callable[[], object], count: int) -> float:
    """Milliseconds per frame."""
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1000 / count


def pictures(source: str | None, count: int) -> list[Frame]:
    if source:
        return list(islice(frames(source), count))
    rng = np.random.default_rng(0)
    return [Frame(rng.integers(0, 255, (480, 640, 3), np.uint8), number, 0.0, "noise") for number in range(count)]


def main() -> None:
    """Prints the medians and their spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--source")
    options = parser.parse_args()
    seen = pictures(options.source, options.frames)
    file = options.bundle / main_file(options.bundle)
    with NativeModel(options.bundle) as native, open_model(file, device="cpu", threads=1) as model:
        stage = model.spec.stages[0]
        windows, input_wh = place(seen[0].size_wh, stage.input)
        tensor = prepare(seen[0].bgr, windows, stage.input, input_wh)
        loops = {
            "C": lambda: [native.estimate(frame.bgr) for frame in seen],
            "Python": lambda: list(estimate(model, seen)),
            "bare network": lambda: [model.run(stage.name, tensor) for _ in seen],
        }
        times: dict[str, list[float]] = {name: [] for name in loops}
        for turn in range(options.rounds + 1):
            for name, run in loops.items():
                took = timed(run, len(seen))
                if turn:  # the first round compiles and warms up
                    times[name].append(took)
    print(f"{platform.processor() or platform.machine()}, one thread, {len(seen)} frames, {options.rounds} rounds")
    for name, rows in times.items():
        print(f"{name:13} {statistics.median(rows):8.2f} ms/frame ({min(rows):.2f} to {max(rows):.2f})")
    ratios = [python / c for c, python in zip(times["C"], times["Python"], strict=True)]
    print(f"C is {statistics.median(ratios):.2f} times as fast as Python ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
