"""The decoder `bodyparts` on BODY_25 maps of a 656x368 input, against the straightforward way.

    python tests/bench/cmu.py

Straightforward: cv2.resize of all 78 channels to the input's size, then the same decoder's kernels on the up-sampled
maps (taps of 1, nothing left to interpolate), so that only the up-sampling differs. One thread, interleaved, medians;
the ratio is the straightforward time over ours (above 1: ours is faster). Both must find the same people.
"""

import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from posert.poses import Poses
from posert.postprocess.decoders.bodyparts import Params, decode
from posert.skeletons import BODY_25

INPUT_WH, MAPS_WH = (656, 368), (82, 46)
ROUNDS = 15


def maps(people: int) -> tuple[np.ndarray, np.ndarray]:
    """heatmaps f32 [26,46,82] and pafs f32 [52,46,82]: the original program's test maps, `people` / 4 times over."""
    stored = np.load(Path(__file__).parent.parent / "golden" / "cmu_openpose.npz")["body25_net_out"]
    wide = np.concatenate([stored, stored[:, :, ::-1][:, :, : MAPS_WH[0] - stored.shape[2]] * 0], axis=2)
    if people > 4:
        wide[:, :, MAPS_WH[0] - stored.shape[2] :] = np.maximum(wide[:, :, MAPS_WH[0] - stored.shape[2] :], stored)
    return np.ascontiguousarray(wide[:26]), np.ascontiguousarray(wide[26:])


def straightforward(heat: np.ndarray, pafs: np.ndarray, params: Params) -> Poses:
    """Everything up-sampled first."""
    grids = np.stack([cv2.resize(field, INPUT_WH, interpolation=cv2.INTER_CUBIC) for field in (*heat, *pafs)])
    return decode({"heatmaps": grids[None, :26], "pafs": grids[None, 26:]}, BODY_25, params, INPUT_WH)[0]


def lazy(heat: np.ndarray, pafs: np.ndarray, params: Params) -> Poses:
    return decode({"heatmaps": heat[None], "pafs": pafs[None]}, BODY_25, params, INPUT_WH)[0]


def main() -> None:
    cv2.setNumThreads(1)
    print(f"{platform.processor() or platform.machine()}, one thread, OpenCV {cv2.__version__}, {ROUNDS} rounds")
    for people in (4, 8):
        heat, pafs = maps(people)
        for assembly in ("global_sort", "pairwise"):
            params = replace(Params(), interpolation="cubic", assembly=assembly)
            times: dict[str, list[float]] = {"straightforward": [], "lazy": []}
            found = {}
            for round_number in range(ROUNDS + 2):
                for way in (straightforward, lazy):
                    began = time.perf_counter()
                    found[way.__name__] = way(heat, pafs, params)
                    if round_number >= 2:
                        times[way.__name__].append((time.perf_counter() - began) * 1000)
            a, b = found["straightforward"], found["lazy"]
            assert len(a) == len(b) > 0
            assert np.abs(a.keypoints - b.keypoints).max() <= 1e-3
            assert np.abs(a.scores - b.scores).max() <= 1e-4
            medians = {name: statistics.median(values) for name, values in times.items()}
            spread = {name: f"{min(values):.1f}-{max(values):.1f}" for name, values in times.items()}
            line = ", ".join(f"{name} {medians[name]:.1f} ms ({spread[name]})" for name in times)
            print(f"{len(a)} people, {assembly}: {line}, ratio {medians['straightforward'] / medians['lazy']:.1f}")


if __name__ == "__main__":
    main()
