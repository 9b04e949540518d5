"""A model that follows one person, video to JSON lines, against its network alone and against the MoveNet tutorial.

    python tests/bench/tutorial.py MODEL.onnx VIDEO [--tfjs MODEL.json] [--frames N] [--rounds N]

All cores for everybody, interleaved rounds, medians. `network`: ONNX Runtime's session, threads as many as cores that
spin as long as they like, on the tensors that the video's first frames give. `posert`: `infer`'s loop with writing, by
the tutorial's rule. `tutorial`: TensorFlow Hub's MoveNet tutorial in TensorFlow, the same weights (MODEL.json, as
TensorFlow.js has them): OpenCV's reader, `crop_and_resize`, the network as a signature, the next region; nothing is
written. How far its keypoints are from ours is printed as well.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from posert.measure.bench import SAMPLED
from posert.measure.calls import network_calls
from posert.poses import Poses
from posert.postprocess.following import next_window
from posert.runtime.devices import cpu_cores
from posert.runtime.jobs.job import run_job
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.recipe import Recipe, Selection, Settings
from posert.runtime.media.read import frames
from posert.runtime.options import ModelOptions
from posert.runtime.session import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

Loop = Callable[[], list[np.ndarray]]
"""The person's keypoints in each frame, f64 [K,2] px."""


def network(model: Model, file: str, video: str) -> Callable[[], int]:
    """Runs the bare session on the tensors of the first frames; how many these are."""
    calls = network_calls(model, list(islice(frames(video), SAMPLED)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_cores()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run() -> int:
        for _, tensor in calls:
            session.run(None, {name: tensor})
        return len(calls)

    return run


def posert(model: Model, video: str, count: int) -> Loop:
    settings = Settings(selection=Selection(last=count - 1))

    def run() -> list[np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            (job,) = plan([video], Path(folder) / "out.jsonl", None, "jsonl")
            run_job(model, job, settings)
            rows = map(json.loads, (Path(folder) / "out.jsonl").read_text().splitlines()[1:])
            return [np.array(row["people"][0]["keypoints"])[:, :2] for row in rows]

    return run


def tutorial(model: Model, tfjs: Path, video: str, count: int) -> Loop:
    import tensorflow as tf
    import tensorflow_graphs

    graph = tensorflow_graphs.definition(tfjs)
    feed = next(node.name for node in graph.node if node.op == "Placeholder")
    read = tensorflow_graphs.tfjs.read(tfjs)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    signature = wrapped.prune(f"{feed}:0", [f"{name}:0" if ":" not in name else name for name in read.outputs])
    side, skeleton = model.spec.stages[0].input.size_wh[0], model.spec.skeleton

    def run() -> list[np.ndarray]:
        capture, window, found = cv2.VideoCapture(video, cv2.CAP_FFMPEG), None, []
        while len(found) < count and (picture := capture.read())[0]:
            image = cv2.cvtColor(picture[1], cv2.COLOR_BGR2RGB)
            high, wide = image.shape[:2]
            if window is None:  # the whole picture, as a square
                more = abs(wide - high) / 2
                window = np.array([-more, 0, wide + more, high] if high > wide else [0, -more, wide, high + more])
            left, top, right, bottom = window
            box = [[top / high, left / wide, bottom / high, right / wide]]
            crop = tf.image.crop_and_resize(image[None], box_indices=[0], boxes=box, crop_size=(side, side))
            (given,) = signature(tf.cast(crop, tf.int32))
            points = given.numpy().reshape(-1, 3)[:, [1, 0, 2]]
            points[:, :2] = points[:, :2] * (right - left) + (left, top)
            person = Poses(points[None].astype(np.float32), np.ones(1, np.float32), np.zeros((1, 4), np.float32))
            window = next_window(person, (wide, high), skeleton)
            found.append(points[:, :2].astype(np.float64))
        capture.release()
        return found

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("video")
    parser.add_argument("--tfjs", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = Recipe(options.model, options=ModelOptions(device="cpu", params={"follow.rule": "tutorial"})).open()
    alone, loops = (
        network(model, options.model, options.video),
        {"posert": posert(model, options.video, options.frames)},
    )
    if options.tfjs:
        loops["tutorial"] = tutorial(model, options.tfjs, options.video, options.frames)
    found = {name: loop() for name, loop in loops.items()}
    taken: dict[str, list[float]] = {name: [] for name in ("network", *loops)}
    for _ in range(options.rounds):
        began = time.perf_counter()
        count = alone()
        taken["network"].append((time.perf_counter() - began) * 1000 / count)
        for name, loop in loops.items():
            began = time.perf_counter()
            count = len(loop())
            taken[name].append((time.perf_counter() - began) * 1000 / count)
    print(f"{platform.processor() or platform.machine()}, {cpu_cores()} cores, medians of {options.rounds} rounds")
    for name, times in taken.items():
        ratios = [other / own for other, own in zip(times, taken["posert"], strict=True)]
        print(
            f"{name:9} {statistics.median(times):6.2f} ms a frame, {1000 / statistics.median(times):6.1f} frames/s; "
            f"its time over posert's {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    if options.tfjs:
        px = [np.hypot(*(a - b).T).max() for a, b in zip(*found.values(), strict=True)]
        print(f"keypoints are at most {max(px):.3f} px apart, in the median frame {statistics.median(px):.4f}")


if __name__ == "__main__":
    main()
