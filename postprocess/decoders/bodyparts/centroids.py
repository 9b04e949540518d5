"""Shared kernels: maps up-sampled only where a peak can be, and their peaks by centroid. Knows maps and pixels only.

The grid is cut into blocks of `BLOCK` x `BLOCK` samples. A block none of whose cells is far enough from zero cannot
exceed the threshold, so it is never computed; `axis_blocks` says which cells belong to which block.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from posert.postprocess.kernels.registry import F32x2, F32x3, I64x1, I64x2, U8x2, jit, kernel

BLOCK = 8
INTERIOR, RING = 0, 1
_REACH = 3  # OpenPose refines a peak within 7 x 7 samples

Axis = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def _banded(matrix: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The non-zero band of f64 [S,length] as first column and weights."""
    length = matrix.shape[1]
    used = matrix != 0
    first = used.argmax(axis=1)
    last = length - 1 - used[:, ::-1].argmax(axis=1)
    count = int((last - first).max()) + 1
    first = np.minimum(first, length - count)
    weights = np.take_along_axis(matrix, first[:, None] + np.arange(count), axis=1)
    return np.ascontiguousarray(first, np.int64), np.ascontiguousarray(weights, np.float32)


def _cubic_matrix(length: int, size: int) -> NDArray[np.float64]:
    center = (np.arange(size) + 0.5) * length / size - 0.5
    matrix = np.zeros((size, length))
    for tap in range(-1, 3):
        cell = np.floor(center) + tap
        x = np.abs(center - cell)
        near = (1.25 * x - 2.25) * x * x + 1
        far = ((-0.75 * x + 3.75) * x - 6) * x + 3
        np.add.at(matrix, (np.arange(size), cell.clip(0, length - 1).astype(int)), np.where(x <= 1, near, far))
    return matrix


@jit
def value_at(field, y, x, first_y, weight_y, first_x, weight_x, gain):
    """One up-sampled value (f32) of `field` f32 [h,w] at sample (y, x); taps and gain as `plain_taps` gives them."""
    top, left = first_y[y], first_x[x]
    if weight_y.shape[1] == 1 and weight_x.shape[1] == 1:
        return weight_y[y, 0] * (weight_x[x, 0] * field[top, left]) * gain
    total = np.float32(0.0)
    for i in range(weight_y.shape[1]):
        line = np.float32(0.0)
        for j in range(weight_x.shape[1]):
            line += weight_x[x, j] * field[top + i, left + j]
        total += weight_y[y, i] * line
    return total * gain


@lru_cache(maxsize=64)
def axis_blocks(length: int, size: int, interpolation: str) -> Axis:
    """First cell i64 [S] and weights f32 [S,T] of every sample of one axis, and who reads whom.

    Args:
        length: cells of the map. size: S, samples.
        interpolation: `cubic` (Keys, a = -0.75, half-pixel centres, border repeated: OpenCV's) or `keys` (a = -0.5, the
            fraction measured from the clamped cell: CMU OpenPose's on CUDA).

    The third array, i64 [blocks,2], has the first cell and the one past the last of each block; the fourth, i64
    [length,2], the first block and the one past the last that reads each cell.
    """
    first, weight = _banded(_cubic_matrix(length, size) if interpolation == "cubic" else _keys_matrix(length, size))
    starts = range(0, size, BLOCK)
    taps = weight.shape[1]
    cells = [(first[s : s + BLOCK].min(), first[s : s + BLOCK].max() + taps) for s in starts]
    blocks = [[b for b, (low, high) in enumerate(cells) if low <= cell < high] or [0, -1] for cell in range(length)]
    return first, weight, np.array(cells, np.int64), np.array([(b[0], b[-1] + 1) for b in blocks], np.int64)


def _keys_matrix(length: int, size: int) -> NDArray[np.float64]:
    """Cubic convolution of four cells as a polynomial in the fraction, which is below 0 left of the first cell."""
    center = (np.arange(size) + 0.5) * length / size - 0.5
    cell = np.floor(center).clip(0, length - 1)
    d = center - cell
    weights = (
        d * (-0.5 + d * (1 - 0.5 * d)),
        1 + d * d * (-2.5 + 1.5 * d),
        d * (0.5 + d * (2 - 1.5 * d)),
        d * d * (-0.5 + 0.5 * d),
    )
    matrix = np.zeros((size, length))
    for tap, weight in zip(range(-1, 3), weights, strict=True):
        np.add.at(matrix, (np.arange(size), (cell + tap).clip(0, length - 1).astype(int)), weight)
    return matrix


@jit
def _mark(field, floor, blocks_y, blocks_x, active):
    """active u8 [blocks,blocks] = 1 where a block reads a cell that is further from 0 than `floor` (f32)."""
    active[:] = 0
    total = 0
    for r in range(field.shape[0]):
        for c in range(field.shape[1]):
            if not abs(field[r, c]) > floor:
                continue
            for by in range(blocks_y[r, 0], blocks_y[r, 1]):
                for bx in range(blocks_x[c, 0], blocks_x[c, 1]):
                    active[by, bx] = 1
                    total += 1
    return total


@jit
def _fill_block(field, by, bx, first_y, weight_y, cells_y, first_x, weight_x, across, grid):
    """The samples of one block into grid f32 [H,W]; across f32 [cells,BLOCK] is workspace."""
    y0, y1 = by * BLOCK, min(grid.shape[0], by * BLOCK + BLOCK)
    x0, x1 = bx * BLOCK, min(grid.shape[1], bx * BLOCK + BLOCK)
    low = cells_y[by, 0]
    for r in range(low, cells_y[by, 1]):
        for x in range(x0, x1):
            total = np.float32(0.0)
            for j in range(weight_x.shape[1]):
                total += weight_x[x, j] * field[r, first_x[x] + j]
            across[r - low, x - x0] = total
    for y in range(y0, y1):
        row = first_y[y] - low
        for x in range(x1 - x0):
            total = np.float32(0.0)
            for i in range(weight_y.shape[1]):
                total += weight_y[y, i] * across[row + i, x]
            grid[y, x0 + x] = total


@jit
def _is_peak(grid, active, y, x, rule):
    """Whether sample (y, x), above the threshold, is a peak.

    INTERIOR: strictly larger than its 8 neighbours, none on the border. RING: the same two samples away from the
    border; on the ring one sample away, at least as large as those neighbours that exist.
    """
    height, width = grid.shape
    strict = 1 <= x <= width - 2 and 1 <= y <= height - 2
    if rule == RING:
        strict = 2 <= x <= width - 3 and 2 <= y <= height - 3
        if not (strict or x == 1 or x == width - 2 or y == 1 or y == height - 2):
            return False
    elif not strict:
        return False
    value = grid[y, x]
    for j in range(max(0, y - 1), min(height, y + 2)):
        for i in range(max(0, x - 1), min(width, x + 2)):
            if (j == y and i == x) or not active[j // BLOCK, i // BLOCK]:
                continue  # a block that was not computed lies below the threshold
            other = grid[j, i]
            if not (value > other or (value == other and not strict)):
                return False
    return True


@jit
def _centroid(field, y, x, first_y, weight_y, first_x, weight_x, peak):
    """peak f32 [2+] = x, y of the centroid of the positive samples around (y, x)."""
    total, total_x, total_y = 0.0, 0.0, 0.0
    for j in range(max(0, y - _REACH), min(first_y.shape[0], y + _REACH + 1)):
        for i in range(max(0, x - _REACH), min(first_x.shape[0], x + _REACH + 1)):
            value = value_at(field, j, i, first_y, weight_y, first_x, weight_x, np.float32(1.0))
            if value > np.float32(0.0) and math.isfinite(value):
                total += value
                total_x += float(value) * (i - x)
                total_y += float(value) * (j - y)
    peak[0], peak[1] = x + total_x / total, y + total_y / total


@kernel
def find_centroids(
    maps: F32x3,
    parts: int,
    threshold: float,
    floor: float,
    rule: int,
    offset: float,
    first_y: I64x1,
    weight_y: F32x2,
    cells_y: I64x2,
    blocks_y: I64x2,
    first_x: I64x1,
    weight_x: F32x2,
    blocks_x: I64x2,
    active: U8x2,
    across: F32x2,
    grid: F32x2,
    peaks: F32x3,
    counts: I64x1,
) -> int:
    """Peaks of the first `parts` maps, by part, then y, then x.

    Args:
        maps: f32 [C,h,w]. threshold: a peak's sample is above it. floor: a sample all of whose cells are at most so
            far from 0 is not. rule: INTERIOR or RING. offset: added to x and y.
        first_*, weight_*, cells_y, blocks_*: as `axis_blocks` gives them.
        active: u8 [H/BLOCK,W/BLOCK], across: f32 [cells of a block,BLOCK], grid: f32 [H,W] are workspace.
        peaks: f32 [parts,P,3] out, x, y, score (the sample's value); the first P of a part in scan order.
        counts: i64 [parts] out. Returns the number of all peaks.
    """
    limit, low, total = np.float32(threshold), np.float32(floor), 0
    for part in range(parts):
        counts[part] = 0
        field = maps[part]
        if _mark(field, low, blocks_y, blocks_x, active) == 0:
            continue
        for by in range(active.shape[0]):
            for bx in range(active.shape[1]):
                if active[by, bx]:
                    _fill_block(field, by, bx, first_y, weight_y, cells_y, first_x, weight_x, across, grid)
        found = 0
        for y in range(grid.shape[0]):
            for bx in range(active.shape[1]):
                if not active[y // BLOCK, bx]:
                    continue
                for x in range(bx * BLOCK, min(grid.shape[1], bx * BLOCK + BLOCK)):
                    value = grid[y, x]
                    if not value > limit or found == peaks.shape[1] or not math.isfinite(value):
                        continue
                    if _is_peak(grid, active, y, x, rule):
                        _centroid(field, y, x, first_y, weight_y, first_x, weight_x, peaks[part, found])
                        peaks[part, found, 0] += np.float32(offset)
                        peaks[part, found, 1] += np.float32(offset)
                        peaks[part, found, 2] = value
                        found += 1
        counts[part] = found
        total += found
    return total
