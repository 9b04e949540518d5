"""posert's top-down loop against rtmlib's, on the same detector file, pose file, frames and number of threads.

    python tests/bench/topdown.py POSE.onnx DETECTOR.onnx VIDEO [--rounds N] [--frames N]

From decoded frame to keypoints, without reading and writing. The pose file must be free in its batch axis and give
heatmaps. Both use all cores, and keep the same boxes (score >= 0.3, overlap <= 0.6, people only). rtmlib decodes
heatmaps with its class ViTPose, whose subpixel step is dear; `rtmlib, plain` replaces that step by the highest cell, so
that the figure shows the loop and not the step. Eight people: the first frames' person in 2 x 4 tiles. `every 4`:
the detector on every fourth frame. Medians of interleaved rounds; ratios within each round.

Then what both do outside the network's own run, one call for each picture (`estimate_image`, as rtmlib is called), with
synthetic networks of RTMPose's signature (`tests/tiny_mmpose.py`) and boxes that are given: the wall's clock without
ONNX Runtime's `run`. Without files it is
the only part: `python tests/bench/topdown.py`.
"""

import argparse
import contextlib
import io
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rtmlib

from posert.export import onnx_file
from posert.poses import Frame
from posert.runtime.devices import cpu_cores
from posert.runtime.loop import TopDown, estimate, estimate_image
from posert.runtime.media.read import frames
from posert.runtime.session import open_model
from posert.runtime.spec import InputSpec, ModelSpec, Stage
from posert.skeletons import COCO_17

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tiny_maps
import tiny_mmpose
from rtmlib_oracle import tool

MIN_SCORE, MAX_IOU = 0.3, 0.6
REST_S = 0.2
"""Before each measured loop: threads of ONNX Runtime's default session, as rtmlib opens it, spin up to .05 s after its
last call (measured), on a core that the next loop needs."""
Loop = Callable[[list[Frame]], int]
Outside = Callable[[np.ndarray, int], float]
"""Milliseconds outside the network's own run, of one picture shown so many times; a mean."""


def rtmo(path: Path, input_wh: tuple[int, int], keypoints: int) -> Path:
    """A network of RTMO's signature that says the same of every picture: eight people among a hundred rows."""
    rng, size = np.random.default_rng(0), np.array([80.0, 300.0])
    corners = np.stack([np.arange(100) % 8 * 70.0 + 10, np.full(100, 20.0)], 1)
    scores = np.where(np.arange(100) < 8, 0.9, 0.01)
    points = corners[:, None] + rng.uniform(0, 1, (100, keypoints, 2)) * size
    outputs = {
        "rows": np.concatenate([corners, corners + size, scores[:, None]], 1).astype(np.float32),
        "keypoints": np.concatenate([points, rng.uniform(0, 1, (100, keypoints, 1))], 2).astype(np.float32),
    }
    image = InputSpec("image", "NCHW", "float32", "bgr", input_wh, "corner", pad_value=(114.0, 114.0, 114.0))
    stage = Stage("pose", "frame", image, {role: role for role in outputs}, "rows", {"min_score": 0.7})
    return tiny_maps.shown(path, outputs, ModelSpec(1, "toy", "rtmo", COCO_17, (stage,)))


OUTSIDE = {
    "RTMPose 192x256, 17 keypoints": ("RTMPose", tiny_mmpose.simcc, (192, 256), 17),
    "RTMPose 288x384, 133 keypoints": ("RTMPose", tiny_mmpose.simcc, (288, 384), 133),
    "RTMO 640x640, 17 keypoints": ("RTMO", rtmo, (640, 640), 17),
}
"""Title -> rtmlib's class, what writes the network, width and height of its input, keypoints."""


class PlainViTPose(rtmlib.ViTPose):
    """The highest cell of each map, nothing finer."""

    def postprocess(self, outputs: list, center: Any, scale: Any, **_: Any) -> tuple[np.ndarray, np.ndarray]:
        count, width = outputs[0].shape[1], outputs[0].shape[3]
        flat = outputs[0].reshape(1, count, -1)
        at = flat.argmax(2)
        xy = np.stack([at % width, at // width], 2) / (np.array([width, outputs[0].shape[2]]) - 1)
        return xy * scale + center - scale / 2, flat.max(2)


class Solution:
    """What rtmlib's PoseTracker wants; finds people alone."""

    def __init__(self, detector: str, pose: str, pose_class: type) -> None:
        self.pose_model = pose_class(pose, model_input_size=(192, 256))
        self.det_model = rtmlib.YOLOX(
            detector, model_input_size=(416, 416), det_mode="multiclass", score_thr=MIN_SCORE, nms_thr=MAX_IOU
        )
        self.det_categories = [0]


def theirs(detector: str, pose: str, every: int, pose_class: type) -> Loop:
    def make(**_: Any) -> Solution:
        return Solution(detector, pose, pose_class)

    with contextlib.redirect_stdout(io.StringIO()):
        tracker = rtmlib.PoseTracker(make, det_frequency=every, tracking=False)

    def run(pictures: list[Frame]) -> int:
        tracker.reset()
        return sum(len(tracker(frame.bgr)[0]) for frame in pictures)

    return run


def ours(pose: str, detector: str, every: int) -> Loop:
    model = open_model(pose, device="cpu", detector=detector, workers=1 if every > 1 else cpu_cores())

    def run(pictures: list[Frame]) -> int:
        return sum(len(result.poses) for result in estimate(model, pictures, top_down=TopDown(detect_every=every)))

    return run


def networks_alone(pose: str, detector: str) -> Loop:
    """The limit: as many frames' detectors and crops as `posert` runs, on tensors that are ready, on all cores."""
    model = open_model(pose, device="cpu", detector=detector, workers=cpu_cores())
    first, second = model.spec.stages
    wide, high = first.input.size_wh
    crop_wide, crop_high = second.input.size_wh
    picture = np.zeros((1, 3, high, wide), np.float32)
    rows: dict[str, list[int]] = {}

    def run(pictures: list[Frame]) -> int:
        source = pictures[0].source + str(pictures[0].size_wh)
        if source not in rows:
            counted = estimate(model, pictures, top_down=TopDown())
            rows[source] = [len(result.poses) for result in counted]

        def one(people: int) -> int:
            model.run(first.name, picture)
            if people:
                model.run(second.name, np.zeros((people, 3, crop_high, crop_wide), np.float32))
            return people

        with ThreadPoolExecutor(cpu_cores()) as pool:
            return sum(pool.map(one, rows[source]))

    return run


def tiles(pictures: list[Frame]) -> list[Frame]:
    """Each picture 2 x 4 times on one of 1280 x 720."""
    made = []
    for frame in pictures:
        height, width = frame.bgr.shape[:2]
        middle = frame.bgr[:, max(0, (width - height) // 2) : (width + height) // 2]
        tile = cv2.resize(middle, (320, 360))
        made.append(replace(frame, bgr=np.ascontiguousarray(np.tile(tile, (2, 4, 1)))))
    return made


def tuned(detector: str, folder: Path) -> str:
    """The detector file with the bench's thresholds in its metadata."""
    spec = onnx_file.read_metadata(Path(detector))
    stage = replace(spec.stages[0], params={"min_score": MIN_SCORE, "max_iou": MAX_IOU})
    path = folder / "detector.onnx"
    onnx_file.save(onnx_file.Exported(onnx_file.load(Path(detector)), replace(spec, stages=(stage,))), path)
    return str(path)


def bench(name: str, pictures: list[Frame], loops: dict[str, Loop], rounds: int) -> None:
    people = {key: loop(pictures) / len(pictures) for key, loop in loops.items()}  # and warm up
    taken: dict[str, list[float]] = {key: [] for key in loops}
    for _ in range(rounds):
        for key, loop in loops.items():
            time.sleep(REST_S)
            began = time.perf_counter()
            loop(pictures)
            taken[key].append((time.perf_counter() - began) * 1000 / len(pictures))
    print(f"\n{name}, {len(pictures)} frames of {pictures[0].size_wh}, {rounds} rounds")
    for key, times in taken.items():
        print(
            f"  {key:24} {statistics.median(times):7.1f} ms a frame ({min(times):.1f} to {max(times):.1f}), "
            f"{1000 / statistics.median(times):.1f} frames/s, {people[key]:.1f} people a frame"
        )
    for our in ("posert", "posert, every 4"):
        for key in (key for key in loops if not key.startswith("posert")):
            ratios = [other / own for other, own in zip(taken[key], taken[our], strict=True)]
            print(f"  {our} / {key}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


class Timed:
    """ONNX Runtime's session, with the milliseconds that its `run` took."""

    def __init__(self, session: Any) -> None:
        self._session, self.ms = session, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *given: Any) -> Any:
        began = time.perf_counter()
        outputs = self._session.run(*given)
        self.ms += (time.perf_counter() - began) * 1000
        return outputs


def theirs_outside(kind: str, file: Path, input_wh: tuple[int, int], boxes: np.ndarray | None) -> Outside:
    found = tool(kind, file, input_wh)
    found.session = session = Timed(found.session)

    def run(picture: np.ndarray, times: int) -> float:
        session.ms, began = 0.0, time.perf_counter()
        for _ in range(times):
            found(picture) if boxes is None else found(picture, boxes)
        return ((time.perf_counter() - began) * 1000 - session.ms) / times

    return run


def ours_outside(file: Path, boxes: np.ndarray | None) -> Outside:
    model, given = open_model(file, device="cpu"), None if boxes is None else lambda _: boxes

    def run(picture: np.ndarray, times: int) -> float:
        network, began = 0.0, time.perf_counter()
        for _ in range(times):
            network += estimate_image(model, picture, boxes=given).timings_ms["run"]
        return ((time.perf_counter() - began) * 1000 - network) / times

    return run


def outside(folder: Path, rounds: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    left, top = (axis.ravel() for axis in np.meshgrid(np.arange(4) * 320.0, np.arange(2) * 360.0))
    eight = np.stack([left + 60, top + 10, left + 240, top + 350], 1).astype(np.float32)
    print(f"\noutside the network's own run, one after the other, frames of 1280 x 720, {rounds} rounds of 20")
    for title, (kind, make, input_wh, keypoints) in OUTSIDE.items():
        file = make(folder / f"{kind}.onnx", input_wh, keypoints)
        for boxes in (None,) if kind == "RTMO" else (eight[:1], eight):
            sides = {"posert": ours_outside(file, boxes), "rtmlib": theirs_outside(kind, file, input_wh, boxes)}
            taken: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(rounds + 1):  # the first one warms up
                for name, run in sides.items():
                    taken[name].append(run(picture, 20))
            own, other = (times[1:] for times in taken.values())
            ratios = [a / b for a, b in zip(own, other, strict=True)]
            count = 8 if boxes is None else len(boxes)
            print(
                f"  {title}, {count} people: posert {statistics.median(own):.2f} ms, rtmlib "
                f"{statistics.median(other):.2f} ms, ratio {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", metavar="POSE DETECTOR VIDEO")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=24)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cpu_cores()} cores, rtmlib {version('rtmlib')}")
    with tempfile.TemporaryDirectory() as folder:
        if options.files:
            pose, found, video = options.files
            pictures, detector = list(islice(frames(video), options.frames)), tuned(found, Path(folder))
            loops = {
                "posert": ours(pose, detector, 1),
                "networks alone": networks_alone(pose, detector),
                "rtmlib": theirs(detector, pose, 1, rtmlib.ViTPose),
                "rtmlib, plain": theirs(detector, pose, 1, PlainViTPose),
                "posert, every 4": ours(pose, detector, 4),
                "rtmlib, every 4": theirs(detector, pose, 4, rtmlib.ViTPose),
                "rtmlib, plain, every 4": theirs(detector, pose, 4, PlainViTPose),
            }
            bench("one person", pictures, loops, options.rounds)
            bench("eight people", tiles(pictures), loops, options.rounds)
        outside(Path(folder), options.rounds)


if __name__ == "__main__":
    main()
