"""The decoder `paf` against a plain C++ twin, and the whole decode with up-sampling and smoothing.

    PYTHONPATH=.typing python tests/bench/paf.py

One thread, synthetic people, calls interleaved. `ratio` is the twin's median time over ours (above 1: ours is faster).
The twin (paf.cpp) is compiled with g++ -O3 -march=x86-64-v2; `kernel` is our kernel alone (called
REPEAT times, with warm caches), `decode` is what `estimate` calls, with its checks and `Poses`.
"""

import ctypes
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import fields  # noqa: E402

from posert.poses import Poses  # noqa: E402
from posert.postprocess.decoders import paf  # noqa: E402
from posert.postprocess.decoding import packed  # noqa: E402

ROUNDS = 300
REPEAT = 4
AS_THEY_ARE = paf.Params(upsample=1, smooth_taps=1)


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, one thread, medians of {ROUNDS} (quartiles)")
    with tempfile.TemporaryDirectory() as folder:
        twin = compiled(Path(folder))
        for count in (1, 10):
            against_the_twin(twin, count)
    for count in (1, 10):
        heat, pafs = scene(count, 82, 46, 1.0)
        (ms,) = interleaved([partial(decode, heat, pafs, paf.Params())])
        print(f"{count:2} people, 46x82 up-sampled to 184x328 and smoothed (25 taps): decode {spread(ms)} ms")


def against_the_twin(twin: ctypes.CDLL, count: int) -> None:
    heat, pafs = scene(count, 328, 184, 2.0)
    ours, (keypoints, scores) = decode(heat, pafs, AS_THEY_ARE), run_twin(twin, heat, pafs)
    assert len(ours) == len(scores) == count
    assert np.abs(ours.keypoints - keypoints).max() < 1e-3
    assert np.abs(ours.scores - scores).max() < 1e-6
    cpp, alone, whole = interleaved(
        [
            lambda: run_twin(twin, heat, pafs),
            kernel_alone(heat, pafs, AS_THEY_ARE),
            lambda: decode(heat, pafs, AS_THEY_ARE),
        ]
    )
    alone = [ms / REPEAT for ms in alone]
    middle = [statistics.median(values) for values in (cpp, alone, whole)]
    print(
        f"{count:2} people, 184x328 as is: C++ {spread(cpp)}, kernel {spread(alone)}, decode {spread(whole)} ms; "
        f"ratio {middle[0] / middle[1]:.2f} kernel, {middle[0] / middle[2]:.2f} decode"
    )


def scene(count: int, width: int, height: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Maps of `count` people with a little noise, as a network leaves it."""
    heat, pafs = fields.maps(fields.people(count, width, height), width, height, sigma, sigma)
    return heat + np.random.default_rng(0).normal(0, 0.004, heat.shape).astype(np.float32), pafs


def decode(heat: np.ndarray, pafs: np.ndarray, params: paf.Params) -> Poses:
    input_wh = 8 * heat.shape[2], 8 * heat.shape[1]
    return paf.decode({"heatmaps": heat[None], "pafs": pafs[None]}, fields.BODY_18, params, input_wh)[0]


def kernel_alone(heat: np.ndarray, pafs: np.ndarray, params: paf.Params) -> Callable[[], object]:
    shapes, needs, none = np.zeros((4, 5), np.int64), np.zeros(2, np.int64), np.zeros(0, np.float32)
    shapes[:2, :4] = (1, *heat.shape), (1, *pafs.shape)
    size = np.array([8 * heat.shape[2], 8 * heat.shape[1], 18])
    given = shapes, size, *packed(fields.BODY_18, params)
    paf.KERNELS.workspace(*given, needs)
    most = int(needs[1])
    people = np.zeros((most, 18, 3), np.float32), np.zeros(most, np.float32), np.zeros((most, 4), np.float32)
    written = np.zeros(needs[0], np.uint8), np.zeros(1, np.int64), *people
    call = partial(paf.KERNELS.people, heat.ravel(), pafs.ravel(), none, none, *given, *written)
    return lambda: [call() for _ in range(REPEAT)]


def compiled(folder: Path) -> ctypes.CDLL:
    library = folder / "twin.so"
    command = ["g++", "-O3", "-march=x86-64-v2", "-shared", "-fPIC", "-o", library, HERE / "paf.cpp"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def run_twin(twin: ctypes.CDLL, heat: np.ndarray, pafs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keypoints, scores = np.empty((256, 18, 3), np.float32), np.empty(256, np.float32)
    edges, channels = np.array(fields.EDGES), np.array(paf.COCO_18_CHANNELS)
    arrays = [ctypes.c_void_p(array.ctypes.data) for array in (heat, pafs, edges, channels, keypoints, scores)]
    sizes = [ctypes.c_int64(n) for n in (18, 19, *heat.shape[1:])]
    count = twin.decode(*arrays[:2], *sizes, *arrays[2:])
    return keypoints[:count], scores[:count]


def interleaved(actions: list[Callable[[], object]]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in actions]
    for turn in range(ROUNDS + 20):
        for action, own in zip(actions, times, strict=True):
            began = time.perf_counter()
            action()
            if turn >= 20:
                own.append((time.perf_counter() - began) * 1000)
    return times


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
