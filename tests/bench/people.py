"""Networks that find several people, on the same photos and the same video: AP and frames per second.

    python tests/bench/people.py COCO.json IMAGES/ VIDEO MODEL... [--rounds N] [--frames N]

MODEL: what `posert infer` takes, or MODEL@N for the detector on every n-th frame alone. AP as `posert eval` counts it,
without annotated boxes, the same for every N, because each photo is a source of its own. Frames per second from decoded
frames to keypoints, all cores, without reading and writing: medians of interleaved rounds, and the ratio to the first
model's within each round. The processors' time per frame depends less on what else the machine does.
"""

import argparse
import os
import platform
import statistics
import time
from itertools import islice
from pathlib import Path

from posert import ModelOptions, open_model
from posert.measure.evaluate import evaluate
from posert.poses import Frame
from posert.runtime.devices import cpu_cores
from posert.runtime.loop import TopDown, estimate
from posert.runtime.media.read import frames


def timed(name: str, pictures: list[Frame]) -> tuple[float, float, float]:
    """Frames per second, processors' ms per frame, and people per frame with at least a quarter of the best score."""
    model, _, every = name.partition("@")
    with open_model(model, ModelOptions(device="cpu", workers=1 if every else cpu_cores())) as opened:
        how = TopDown(detect_every=int(every or 1))
        next(iter(estimate(opened, pictures[:1], top_down=how)))
        began, busy = time.perf_counter(), time.process_time()
        people = [result.poses.scores for result in estimate(opened, pictures, top_down=how)]
        taken, busy = time.perf_counter() - began, time.process_time() - busy
    best = max(float(scores.max(initial=0)) for scores in people)
    count = len(pictures)
    return count / taken, busy * 1000 / count, sum(int((scores >= best / 4).sum()) for scores in people) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("annotations", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("video")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cpu_cores()} cores, load {os.getloadavg()[0]:.1f}")
    pictures = list(islice(frames(options.video), options.frames))
    score = {}
    for file in dict.fromkeys(name.partition("@")[0] for name in options.models):
        with open_model(file, device="cpu") as model:
            score[file] = evaluate(model, options.annotations, options.images).ap
    rounds = [{name: timed(name, pictures) for name in options.models} for _ in range(options.rounds)]
    first = options.models[0]
    for name in options.models:
        fps = [each[name][0] for each in rounds]
        ratio = statistics.median(each[name][0] / each[first][0] for each in rounds)
        busy = statistics.median(each[name][1] for each in rounds)
        print(
            f"{name}: AP {score[name.partition('@')[0]]:.3f}, {statistics.median(fps):.1f} frames/s ({min(fps):.1f} to "
            f"{max(fps):.1f}), {ratio:.2f} of the first, {busy:.0f} ms of processors, "
            f"{rounds[0][name][2]:.1f} people a frame"
        )
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
