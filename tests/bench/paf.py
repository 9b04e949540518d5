"""The decoder `paf` against a plain C++ twin, and the whole decode with up-sampling and smoothing.

    PYTHONPATH=.typing python tests/bench/paf.py

One thread, synthetic people, calls interleaved. `ratio` is the twin's median time over ours (above 1: ours is faster).
The twin (paf.cpp) is compiled with g++ -O3 -march=x86-64-v2; `kernels` are our three kernels alone (called REPEAT
times from compiled code), `decode` is what `estimate` calls, with its checks, workspace and `Poses`.
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
from posert.postprocess.decoders.paf import limbs, peaks  # noqa: E402

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
    cpp, kernels, whole = interleaved(
        [
            lambda: run_twin(twin, heat, pafs),
            kernels_alone(heat, pafs, AS_THEY_ARE, REPEAT),
            lambda: decode(heat, pafs, AS_THEY_ARE),
        ]
    )
    kernels = [ms / REPEAT for ms in kernels]
    middle = [statistics.median(values) for values in (cpp, kernels, whole)]
    print(
        f"{count:2} people, 184x328 as is: C++ {spread(cpp)}, kernels {spread(kernels)}, decode {spread(whole)} ms; "
        f"ratio {middle[0] / middle[1]:.2f} kernels, {middle[0] / middle[2]:.2f} decode"
    )


def scene(count: int, width: int, height: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Maps of `count` people with a little noise, as a network leaves it."""
    heat, pafs = fields.maps(fields.people(count, width, height), width, height, sigma, sigma)
    return heat + np.random.default_rng(0).normal(0, 0.004, heat.shape).astype(np.float32), pafs


def decode(heat: np.ndarray, pafs: np.ndarray, params: paf.Params) -> Poses:
    input_wh = 8 * heat.shape[2], 8 * heat.shape[1]
    return paf.decode({"heatmaps": heat[None], "pafs": pafs[None]}, fields.BODY_18, params, input_wh)[0]


def all_kernels(times: int, find: tuple, connect: tuple, assemble: tuple) -> int:
    """The three kernels, `times` over, the crossings from Python included."""
    rows = 0
    for _ in range(times):
        peaks.find_peaks(*find)
        limbs.connect(*connect)
        rows = limbs.assemble(*assemble)
    return rows


def kernels_alone(heat: np.ndarray, pafs: np.ndarray, params: paf.Params, times: int) -> Callable[[], object]:
    plan = paf._plan(heat.shape[1:], fields.BODY_18, params)
    work = paf._Workspace(plan, params)
    find = (
        heat, 18, params.peak_threshold, plan.floor, params.peak_radius, 0, *plan.smooth, *plan.plain, work.hot,
        work.done, work.span, work.across, work.grid, work.peaks, work.counts,
    )  # fmt: skip
    connect = (
        pafs, plan.edges, plan.channels, work.peaks, work.counts, params.limb_samples, 0, params.limb_threshold,
        params.limb_least, *plan.plain, *work.pairs, work.used, work.links, work.link_counts,
    )  # fmt: skip
    assemble = (
        plan.edges, 17, work.peaks, work.counts, work.links, work.link_counts, 0, 0, work.people, work.scores,
        work.sizes,
    )  # fmt: skip
    return lambda: all_kernels(times, find, connect, assemble)


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
