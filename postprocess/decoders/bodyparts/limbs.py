"""Shared kernels: every limb that two peaks could make, scored and sorted. Knows parts and limbs by index only."""

import math

import numpy as np

from posert.postprocess.decoders.bodyparts.centroids import value_at
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, I32x2, I64x1, I64x2, jit, kernel

_TINY = np.float32(1e-6)
_ONE = np.float32(1.0)


@jit
def _upsample(field, first_y, weight_y, first_x, weight_x, across, grid):
    """The whole field up-sampled into grid f32 [H,W], the bits of `value_at`; across f32 [h,W] is workspace."""
    for r in range(field.shape[0]):
        for x in range(grid.shape[1]):
            total = np.float32(0.0)
            for j in range(weight_x.shape[1]):
                total += weight_x[x, j] * field[r, first_x[x] + j]
            across[r, x] = total
    for y in range(grid.shape[0]):
        line = grid[y]
        line[:] = np.float32(0.0)
        for i in range(weight_y.shape[1]):
            weight, row = weight_y[y, i], across[first_y[y] + i]
            for x in range(line.shape[0]):
                line[x] += weight * row[x]


@jit
def _nearest(value, size):
    return min(max(int(value + np.float32(0.5)), 0), size - 1)


@jit
def _score(
    fx, fy, dense, grids, ax, ay, bx, by, inter, ratio, near, near_value, taps_y, taps_wy, taps_x, taps_wx
):  # fmt: skip
    """Mean alignment (f32) of the field with a -> b over the samples that count; 0 if the pair is refused.

    It stops at the sample with which too few can count: most pairs are refused at their first.
    """
    height, width = taps_y.shape[0], taps_x.shape[0]
    vx, vy = bx - ax, by - ay
    length = np.float32(math.sqrt(vx * vx + vy * vy))
    if not length > _TINY:
        return np.float32(0.0)
    samples = min(max(int(math.sqrt(np.float32(5.0) * max(abs(vx), abs(vy))) + np.float32(0.5)), 5), 25)
    parts = np.float32(samples)
    ux, uy = vx / length, vy / length
    total, missed = np.float32(0.0), 0
    for i in range(samples):
        x = _nearest(ax + np.float32(i) * vx / parts, width)
        y = _nearest(ay + np.float32(i) * vy / parts, height)
        if dense:
            t = ux * grids[0, y, x] + uy * grids[1, y, x]
        else:
            t = ux * value_at(fx, y, x, taps_y, taps_wy, taps_x, taps_wx, _ONE) + uy * value_at(
                fy, y, x, taps_y, taps_wy, taps_x, taps_wx, _ONE
            )
        if t > inter:
            total += t
        else:
            missed += 1
            if not np.float32(samples - missed) / parts > ratio:
                return near_value if length < near else np.float32(0.0)
    value = total / np.float32(samples - missed)
    return value if math.isfinite(value) else np.float32(0.0)


@jit
def _before(key, value, i, j):
    """The order of candidates: by key, then value, then place in the list, all descending."""
    if key[i] != key[j]:
        return key[i] > key[j]
    if value[i] != value[j]:
        return value[i] > value[j]
    return i > j


@jit
def _sift_down(key, value, order, root, end):
    """Restores the heap order[:end] below `root`, the last candidate on top."""
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and _before(key, value, order[child], order[child + 1]):
            child += 1
        if not _before(key, value, order[root], order[child]):
            return
        held = order[root]
        order[root] = order[child]
        order[child] = held
        root = child


@jit
def sort_candidates(key, value, order):
    """Sorts the candidate numbers in `order` i32 [C]: heap sort, no memory, n log n whatever comes."""
    count = order.shape[0]
    for root in range(count // 2 - 1, -1, -1):
        _sift_down(key, value, order, root, count)
    for end in range(count - 1, 0, -1):
        held = order[0]
        order[0] = order[end]
        order[end] = held
        _sift_down(key, value, order, 0, end)


@kernel
def score_candidates(
    pafs: F32x3,
    edges: I64x2,
    channels: I64x2,
    peaks: F32x3,
    counts: I64x1,
    bonus: float,
    inter: float,
    ratio: float,
    near: float,
    near_value: float,
    taps_y: I64x1,
    taps_wy: F32x2,
    taps_x: I64x1,
    taps_wx: F32x2,
    across: F32x2,
    grids: F32x3,
    key: F32x1,
    value: F32x1,
    index: I32x2,
    starts: I64x1,
) -> int:
    """Every pair of peaks that an edge could join, edge by edge.

    Args:
        pafs: f32 [2L,h,w]. edges: i64 [L,2] part indices. channels: i64 [L,2] x and y channel of each edge.
        peaks, counts: as `find_centroids` gives them. bonus: weight of both peaks' scores in `key`.
        inter: a sample above it counts. ratio: more than so much of the samples must. near, near_value: a refused pair
            closer than `near` (samples) gets this value.
        taps_*: of the up-sampling. across: f32 [h,W], grids: f32 [2,H,W] are workspace: an edge
            with so many pairs that they would read most samples has its field up-sampled at once, to the same bits.
        key, value: f32 [C] out. index: i32 [C,3] out, edge and the two peaks within their parts.
        starts: i64 [L+1] out, the first candidate of each edge. Returns the number of all candidates.
    """
    height, width, found = grids.shape[1], grids.shape[2], 0
    weight, low, least, close, instead = (
        np.float32(bonus), np.float32(inter), np.float32(ratio), np.float32(near), np.float32(near_value),
    )  # fmt: skip
    for edge in range(edges.shape[0]):
        starts[edge] = found
        a, b = edges[edge, 0], edges[edge, 1]
        fx, fy = pafs[channels[edge, 0]], pafs[channels[edge, 1]]
        dense = counts[a] * counts[b] * 64 > height * width
        if dense:
            _upsample(fx, taps_y, taps_wy, taps_x, taps_wx, across, grids[0])
            _upsample(fy, taps_y, taps_wy, taps_x, taps_wx, across, grids[1])
        for i in range(counts[a]):
            for j in range(counts[b]):
                v = _score(
                    fx, fy, dense, grids, peaks[a, i, 0], peaks[a, i, 1], peaks[b, j, 0], peaks[b, j, 1], low, least,
                    close, instead, taps_y, taps_wy, taps_x, taps_wx,
                )  # fmt: skip
                if v > _TINY:
                    key[found] = v + weight * peaks[a, i, 2] + weight * peaks[b, j, 2]
                    value[found], index[found, 0], index[found, 1], index[found, 2] = v, edge, i, j
                    found += 1
    starts[edges.shape[0]] = found
    return found
