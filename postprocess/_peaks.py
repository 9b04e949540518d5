"""Shared kernels: up-sampled (and smoothed) maps, and their peaks. Knows maps and pixels, not skeletons.

Up-sampling and smoothing are linear and separable, so both together are one sparse matrix per axis: `axis_taps`. A map
is never up-sampled where it cannot reach the threshold, and limb maps are read at single points (`value_at`).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from posert.postprocess._jit import jit, kernel

Taps = tuple[NDArray[np.int64], NDArray[np.float32]]


@lru_cache(maxsize=64)
def axis_taps(length: int, size: int, interpolation: str, smooth_taps: int) -> Taps:
    """First source cell i64 [S] and weights f32 [S,T] of every sample of one axis, up-sampled and then smoothed.

    Args:
        length: cells of the map. size: S, samples.
        interpolation: `area` (TensorFlow's resize_area: a sample averages the cells under it), `cubic` (Keys,
            a = -0.75, half-pixel centres, border repeated: OpenCV's) or `keys` (a = -0.5, the fraction measured from
            the clamped cell: CMU OpenPose's on CUDA).
        smooth_taps: length of the smoothing kernel in samples, zeros beyond the border; 1 = none. The kernel is
            tf-pose's: square roots of the normal distribution's mass in `smooth_taps` bins from -3.14 to 3.14.
    """
    matrix = _MATRICES[interpolation](length, size)
    if smooth_taps > 1:
        edges = [0.5 * (1 + math.erf(x / math.sqrt(2))) for x in np.linspace(-3.14, 3.14, smooth_taps + 1)]
        kernel_1d = np.sqrt(np.diff(edges))
        kernel_1d /= kernel_1d.sum()
        offset = np.arange(size)[:, None] - np.arange(size)[None, :] + smooth_taps // 2
        band = np.where((offset >= 0) & (offset < smooth_taps), kernel_1d[offset.clip(0, smooth_taps - 1)], 0)
        matrix = band @ matrix
    used = matrix != 0
    first = used.argmax(axis=1)
    last = length - 1 - used[:, ::-1].argmax(axis=1)
    count = int((last - first).max()) + 1
    first = np.minimum(first, length - count)
    weights = np.take_along_axis(matrix, first[:, None] + np.arange(count), axis=1)
    return np.ascontiguousarray(first, np.int64), np.ascontiguousarray(weights, np.float32)


def _area_matrix(length: int, size: int) -> NDArray[np.float64]:
    step = np.float32(length) / np.float32(size)  # float32, as TensorFlow places its samples
    edges = np.arange(size + 1, dtype=np.float32) * step
    cell = np.arange(length, dtype=np.float32)
    begin, end = edges[:-1, None], edges[1:, None]
    overlap = np.minimum(end, cell + 1) - np.maximum(begin, cell)
    overlap = np.where((cell < begin) & (cell + 1 > end), step, overlap)  # end - begin would lose digits
    matrix: NDArray[np.float64] = np.clip(overlap, 0, None).astype(np.float64) / step
    return matrix


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


_MATRICES = {"area": _area_matrix, "cubic": _cubic_matrix, "keys": _keys_matrix}


@jit
def value_at(field, y, x, first_y, weight_y, first_x, weight_x):
    """One up-sampled value (f32) of `field` f32 [h,w] at sample (y, x); taps as `axis_taps` gives them."""
    total = np.float32(0.0)
    for i in range(weight_y.shape[1]):
        line = np.float32(0.0)
        for j in range(weight_x.shape[1]):
            line += weight_x[x, j] * field[first_y[y] + i, first_x[x] + j]
        total += weight_y[y, i] * line
    return total


@jit
def _active_rows(field, floor, first_y, count, active):
    """active u8 [H] = 1 where a sample row has a cell above `floor` (f32) under its `count` taps; returns how many."""
    h, w = field.shape
    for y in range(active.shape[0]):
        active[y] = 0
    total = 0
    for r in range(h):
        row = field[r]
        above = 0
        for x in range(w):
            above += row[x] > floor
        if above == 0:
            continue
        for y in range(active.shape[0]):
            if first_y[y] <= r < first_y[y] + count and not active[y]:
                active[y] = 1
                total += 1
    return total


@jit
def _smooth_rows(field, first_y, weight_y, first_x, weight_x, active, across, smooth):
    """smooth f32 [H,W]: the up-sampled, smoothed field, in its active rows only; `across` f32 [h,W] is workspace."""
    h = field.shape[0]
    width, taps = weight_x.shape
    for r in range(h):
        for x in range(width):
            total = np.float32(0.0)
            for j in range(taps):
                total += weight_x[x, j] * field[r, first_x[x] + j]
            across[r, x] = total
    for y in range(active.shape[0]):
        if not active[y]:
            continue
        line = smooth[y]
        w0, row = weight_y[y, 0], across[first_y[y]]
        for x in range(width):
            line[x] = w0 * row[x]
        for i in range(1, weight_y.shape[1]):
            w0, row = weight_y[y, i], across[first_y[y] + i]
            for x in range(width):
                line[x] += w0 * row[x]


@jit
def _is_peak(smooth, active, y, x, radius):
    """Whether the value is the largest of its window; equal values all count, NaN never does."""
    value = smooth[y, x]
    for j in range(max(0, y - radius), min(smooth.shape[0], y + radius + 1)):
        if not active[j]:
            continue
        for i in range(max(0, x - radius), min(smooth.shape[1], x + radius + 1)):
            if smooth[j, i] > value:
                return False
    return True


@jit
def _keep(peaks, count, y, x, value, score):
    """Adds to peaks f32 [P,4] (x, y, score, smoothed value); when it is full, in place of a weaker one."""
    at = count
    if count == peaks.shape[0]:
        at = 0
        for p in range(1, count):
            if peaks[p, 3] < peaks[at, 3]:
                at = p
        if not value > peaks[at, 3]:
            return count
    peaks[at, 0], peaks[at, 1], peaks[at, 2], peaks[at, 3] = x, y, score, value
    return min(count + 1, peaks.shape[0])


@jit
def _sort_by_place(peaks, count):
    """Back to scan order (y, then x) after replacements; insertion sort of almost sorted rows."""
    for p in range(1, count):
        q = p
        while q > 0 and (
            peaks[q, 1] < peaks[q - 1, 1] or (peaks[q, 1] == peaks[q - 1, 1] and peaks[q, 0] < peaks[q - 1, 0])
        ):
            for c in range(4):
                held = peaks[q, c]
                peaks[q, c] = peaks[q - 1, c]
                peaks[q - 1, c] = held
            q -= 1


@kernel(
    "int64(float32[:,:,::1], int64, float64, float64, int64, int64[::1], float32[:,::1], int64[::1], float32[:,::1], "
    "int64[::1], float32[:,::1], int64[::1], float32[:,::1], uint8[::1], float32[:,::1], float32[:,::1], "
    "float32[:,:,::1], int64[::1])"
)
def find_peaks(
    maps, parts, threshold, floor, radius,
    smooth_y, smooth_wy, smooth_x, smooth_wx, plain_y, plain_wy, plain_x, plain_wx,
    active, across, smooth, peaks, counts,
):  # fmt: skip
    """Peaks of the first `parts` maps, by part, then y, then x.

    Args:
        maps: f32 [C,h,w]. threshold: a peak's smoothed value is above it. floor: no sample whose cells are all at or
            below it can be above the threshold. radius: of the window whose largest value a peak is, samples.
        smooth_*, plain_*: taps of both axes with and without smoothing; the score is the value without.
        active: u8 [H], across: f32 [h,W], smooth: f32 [H,W] are workspace.
        peaks: f32 [parts,P,4] out, x, y, score, smoothed value; at most P a part, the strongest ones.
        counts: i64 [parts] out. Returns the number of all peaks.
    """
    limit, low = np.float32(threshold), np.float32(floor)
    direct = smooth_wy.shape[1] == 1 and smooth_wx.shape[1] == 1 and smooth.shape == maps[0].shape
    total = 0
    for part in range(parts):
        counts[part] = 0
        if _active_rows(maps[part], low, smooth_y, smooth_wy.shape[1], active) == 0:
            continue
        field = maps[part]
        if not direct:
            _smooth_rows(field, smooth_y, smooth_wy, smooth_x, smooth_wx, active, across, smooth)
            field = smooth
        found, seen = 0, 0
        for y in range(active.shape[0]):
            if not active[y]:
                continue
            for x in range(field.shape[1]):
                value = field[y, x]
                if not (value > limit) or not _is_peak(field, active, y, x, radius) or not math.isfinite(value):
                    continue
                score = value
                if not direct:
                    score = value_at(maps[part], y, x, plain_y, plain_wy, plain_x, plain_wx)
                seen += 1
                found = _keep(peaks[part], found, y, x, value, score)
        if seen > found:
            _sort_by_place(peaks[part], found)
        counts[part] = found
        total += found
    return total
