"""The mean of one batch's maps at several input sizes, up-sampled to one grid. Knows maps only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.poses import Float32Array
from posert.postprocess.kernels.registry import F32x3, U8x1, kernel
from posert.postprocess.kernels.resample import CUBIC, KEYS, fill_smoothing, fill_taps, take_taps, upsample, widest
from posert.postprocess.kernels.workspace import take


@kernel
def add_upsampled(maps: F32x3, rule: int, workspace: U8x1, sums: F32x3) -> int:
    """Adds maps f32 [C,h,w], up-sampled by a rule of `resample`, to sums f32 [C,H,W].

    Returns the bytes that the workspace must have; it has none: nothing is added.
    """
    h, w, high, wide = maps.shape[1], maps.shape[2], sums.shape[1], sums.shape[2]
    smoothing, at = take(workspace, 0, (1,), np.float64)
    row, at = take(workspace, at, (max(widest(h, high, 1), widest(w, wide, 1)),), np.float64)
    taps_y, after_y = take_taps(workspace, at, h, high, 1)
    taps_x, after_x = take_taps(workspace, after_y, w, wide, 1)
    across, end = take(workspace, after_x, (h, wide), np.float32)
    grid, end = take(workspace, end, (high, wide), np.float32)
    if len(workspace) == 0:
        return end
    fill_smoothing(smoothing)
    fill_taps(rule, h, smoothing, row, taps_y)
    fill_taps(rule, w, smoothing, row, taps_x)
    taps_y, _ = take_taps(workspace, at, h, high, 1)
    taps_x, _ = take_taps(workspace, after_y, w, wide, 1)
    for c in range(maps.shape[0]):
        upsample(maps[c], taps_y, taps_x, across, grid)
        for y in range(high):
            line, upsampled = sums[c, y], grid[y]
            for x in range(wide):
                line[x] += upsampled[x]
    return end


def merge(
    several: Sequence[Mapping[str, NDArray[Any]]], params: Any, input_wh: tuple[int, int]
) -> dict[str, Float32Array]:
    """The mean of one batch's outputs at several scales, each up-sampled to the network input: role -> f32 [R,C,H,W].

    Args:
        several: per scale role -> f32 [R,C,h,w], all of the whole frame.
        params: its interpolation.
        input_wh: W and H.
    """
    rule = CUBIC if params.interpolation == "cubic" else KEYS
    merged, nothing = {}, np.zeros(0, np.uint8)
    for role in several[0]:
        arrays = [np.ascontiguousarray(outputs[role], np.float32) for outputs in several]
        sums = np.zeros((arrays[0].shape[0] * arrays[0].shape[1], input_wh[1], input_wh[0]), np.float32)
        for array in arrays:
            maps = array.reshape(-1, *array.shape[2:])
            add_upsampled(maps, rule, np.zeros(add_upsampled(maps, rule, nothing, sums), np.uint8), sums)
        sums /= np.float32(len(several))
        merged[role] = sums.reshape(*arrays[0].shape[:2], *sums.shape[1:])
    return merged
