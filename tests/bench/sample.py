"""The sampling kernel against OpenCV's resize followed by numpy's conversion, normalisation and transpose.

    python tests/bench/sample.py

One thread, one 1080p frame, interleaved, medians; the ratio is OpenCV's time over ours (above 1: ours is faster).
Processor time of the thread, not wall time: on a shared machine the longer action loses more to its neighbours.
"""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from posert.runtime.prepare import prepare
from posert.runtime.spec import InputSpec
from posert.runtime.windows import place

BASE = InputSpec("i", "NCHW", "float32", "rgb", (656, 368), "stretch", mean=(124, 116, 104), std=(58, 57, 57))
CASES = {
    "1080p -> 656x368 linear, NCHW f32": BASE,
    "1080p -> 432x368 cubic, NHWC f32": replace(
        BASE, size_wh=(432, 368), layout="NHWC", color="bgr", interpolation="cubic", rounding="round"
    ),
    "1080p -> 384x216 area, NCHW f32": replace(BASE, size_wh=(384, 216), interpolation="area", rounding="round"),
    "500 px, turned -> 256x256, NCHW f32": replace(BASE, size_wh=(256, 256), fit="boxes", align="origin"),
    "1080p -> 192x192 linear, NHWC u8": replace(
        BASE, size_wh=(192, 192), layout="NHWC", dtype="uint8", rounding="round", mean=(0, 0, 0), std=(1, 1, 1)
    ),
}
TURNED = np.array([[600, 300, 1100, 800, np.cos(0.5), np.sin(0.5)]])
WARP = cv2.getRotationMatrix2D((850, 550), np.degrees(0.5), 256 / 500)
WARP[:, 2] += 128 - 850, 128 - 550
"""The same crop: 500 px around (850, 550), turned by half a radian."""
RULES = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
ROUNDS = 60


def opencv(image: np.ndarray, spec: InputSpec) -> np.ndarray:
    """What people write without us."""
    if spec.fit == "boxes":
        resized = cv2.warpAffine(image, WARP, spec.size_wh)
    else:
        resized = cv2.resize(image, spec.size_wh, interpolation=RULES[spec.interpolation])
    if spec.color == "rgb":
        resized = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    if spec.dtype == "uint8":
        return resized[None]
    tensor = (resized.astype(np.float32) - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(tensor.transpose(2, 0, 1)[None]) if spec.layout == "NCHW" else tensor[None]


def milliseconds(action: Callable[[], object]) -> float:
    began = time.thread_time()
    action()
    return (time.thread_time() - began) * 1000


def main() -> None:
    cv2.setNumThreads(1)
    noise = np.random.default_rng(0).integers(0, 255, (135, 240, 3), np.uint8)
    image = cv2.resize(noise, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    print(f"{platform.processor() or platform.machine()}, one thread, processor time, medians of {ROUNDS} (quartiles)")
    for name, spec in CASES.items():
        print(f"{name:36} {compare(image, spec)}")


def compare(image: np.ndarray, spec: InputSpec) -> str:
    windows, input_wh = (TURNED, spec.size_wh) if spec.fit == "boxes" else place((1920, 1080), spec)
    out = prepare(image, windows, spec, input_wh)
    rows = [
        (milliseconds(lambda: prepare(image, windows, spec, input_wh, out)), milliseconds(lambda: opencv(image, spec)))
        for _ in range(ROUNDS)
    ]
    ours, theirs = (statistics.quantiles(column, n=4) for column in zip(*rows, strict=True))
    shown = [f"{q[1]:5.2f} ms ({q[0]:.2f}..{q[2]:.2f})" for q in (ours, theirs)]
    return f"ours {shown[0]}, OpenCV {shown[1]}, ratio {theirs[1] / ours[1]:.2f}"


if __name__ == "__main__":
    main()
