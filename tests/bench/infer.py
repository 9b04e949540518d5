"""How close `posert infer` comes to this machine's limit for the same work.

    python tests/bench/infer.py [VIDEO] [--model FILE ...] [--rounds N]

The limit per frame is the larger of (1) the bare ONNX Runtime sessions' time on all cores, for the tensors that the
first frames really give (a detector's picture and one batch of crops count as one frame), and (2) the CPU time of bare
video decoding plus the sessions' CPU time, over the cores. Whole loop = reading, preparing, running, decoding and
writing JSON lines. All of it is measured in this run, interleaved; medians. Without VIDEO a 1080p one is drawn. What it
measures is `posert.measure.bench`, as `posert bench` does; here on a longer video, in one process, on the CPU.
"""

import argparse
import platform
import tempfile
from pathlib import Path

from posert.export.nano.clip import write_as
from posert.measure.bench import Bench, Task, figures
from posert.runtime.devices import cpu_cores
from posert.runtime.options import ModelOptions

FRAMES = 480  # long enough that opening and closing the files does not count


def bench(model: str, video: str, rounds: int) -> None:
    measured = Bench(Task(model, video, FRAMES, ModelOptions(device="cpu")))
    rows = [measured.round() for _ in range(rounds)]
    found, shares = figures(rows), [figures([row]).share for row in rows]
    print(
        f"{Path(model).stem:32} infer {1000 / found.fps:5.1f} ms ({found.cpu:5.1f} CPU): "
        f"{found.share:.2f} of the limit ({min(shares):.2f}..{max(shares):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("video", nargs="?")
    parser.add_argument("--model", nargs="+", default=["nano"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cpu_cores()} cores, medians of {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or str(write_as(Path(folder) / "1080p.mp4", (1920, 1080), FRAMES))
        for model in options.model:
            bench(model, video, options.rounds)


if __name__ == "__main__":
    main()
