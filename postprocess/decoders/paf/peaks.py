"""Shared kernels: up-sampled (and smoothed) maps, and their peaks. Knows maps and pixels, not skeletons.

Up-sampling and smoothing are linear and separable, so both together are one sparse matrix per axis (`smooth_taps`), and
only samples that can reach the threshold are ever computed. Limb maps are read at single points (`value_at`).
"""

import math

import numpy as np
from numpy.typing import NDArray

from posert.postprocess.kernels.registry import F32x2, F32x3, I64x1, I64x2, jit, kernel

Taps = tuple[NDArray[np.int64], NDArray[np.float32]]


def plain_taps(length: int, size: int, interpolation: str) -> tuple[NDArray[np.int64], NDArray[np.float32], float]:
    """First cell i64 [S], weights f32 [S,T] and their common gain, for every sample of one axis of a map.

    Args:
        length: cells of the map. size: S, samples.
        interpolation: `area` (TensorFlow's resize_area: a sample averages the cells under it) or `cubic` (Keys,
            a = -0.75, half-pixel centres, border repeated: OpenCV's).

    A sample is the weighted sum times the gain. TensorFlow sums the overlaps (float32) and divides last; to repeat
    its bits, so do we.
    """
    if interpolation == "area":
        step = np.float32(length) / np.float32(size)
        return *_banded(_overlaps(length, size)), float(1 / step)
    return *_banded(_cubic_matrix(length, size)), 1.0


def smooth_taps(length: int, size: int, interpolation: str, taps: int) -> Taps:
    """First cell i64 [S] and weights f32 [S,T] of every sample of one axis, up-sampled and then smoothed.

    Args:
        length, size, interpolation: as `plain_taps`.
        taps: length of the smoothing kernel in samples, zeros beyond the border; 1 = none. The kernel is tf-pose's:
            square roots of the normal distribution's mass in `taps` bins from -3.14 to 3.14.
    """
    if interpolation == "area":
        matrix = _overlaps(length, size) / (np.float32(length) / np.float32(size))
    else:
        matrix = _cubic_matrix(length, size)
    if taps > 1:
        # Summed in one order, with every product rounded: C repeats the bits, which a matrix product would not promise.
        padded, plain = np.zeros((size + taps - 1, length)), smoothing(taps)
        padded[taps // 2 : taps // 2 + size] = matrix
        matrix = np.zeros((size, length))
        for tap in range(taps):
            matrix += plain[taps - 1 - tap] * padded[tap : tap + size]
    return _banded(matrix)


def smoothing(taps: int) -> NDArray[np.float64]:
    """The smoothing kernel of `smooth_taps`, f64 [taps], its sum 1."""
    edges = [0.5 * (1 + math.erf(x / math.sqrt(2))) for x in np.linspace(-3.14, 3.14, taps + 1)]
    kernel_1d = np.sqrt(np.diff(edges))
    return np.asarray(kernel_1d / kernel_1d.sum())


def _banded(matrix: NDArray[np.float64]) -> Taps:
    """The non-zero band of f64 [S,length] as first column and weights."""
    length = matrix.shape[1]
    used = matrix != 0
    first = used.argmax(axis=1)
    last = length - 1 - used[:, ::-1].argmax(axis=1)
    count = int((last - first).max()) + 1
    first = np.minimum(first, length - count)
    weights = np.take_along_axis(matrix, first[:, None] + np.arange(count), axis=1)
    return np.ascontiguousarray(first, np.int64), np.ascontiguousarray(weights, np.float32)


def _overlaps(length: int, size: int) -> NDArray[np.float64]:
    """Length of every cell's overlap with every sample, f64 [S,length] of float32 values, as TensorFlow places them."""
    step = np.float32(length) / np.float32(size)
    edges = np.arange(size + 1, dtype=np.float32) * step
    cell = np.arange(length, dtype=np.float32)
    begin, end = edges[:-1, None], edges[1:, None]
    overlap = np.minimum(end, cell + 1) - np.maximum(begin, cell)
    overlap = np.where((cell <= begin) & (cell + 1 > end), step, overlap)  # end - begin would lose digits
    return np.clip(overlap, 0, None).astype(np.float64)


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


@jit
def _hot_columns(field, floor, hot):
    """hot i64 [h,2]: first and last column of each row whose magnitude is above `floor` (f32); -1 if none is."""
    found = 0
    for r in range(field.shape[0]):
        row = field[r]
        hot[r, 0], hot[r, 1] = -1, -1
        above = False
        for x in range(row.shape[0]):
            above |= abs(row[x]) > floor  # no early exit: this loop vectorises
        if not above:
            continue
        found += 1
        first, last = 0, row.shape[0] - 1
        while not abs(row[first]) > floor:
            first += 1
        while not abs(row[last]) > floor:
            last -= 1
        hot[r, 0], hot[r, 1] = first, last
    return found


@jit
def _first_above(ascending, value):
    """Index of the first element above `value`; the length if none is."""
    low, high = 0, ascending.shape[0]
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


@jit
def _spans(hot, first_y, taps_y, first_x, taps_x, span):
    """span i64 [H,2]: the columns (from, to) of each sample row that a hot cell reaches; empty elsewhere."""
    for y in range(first_y.shape[0]):
        low, high = np.int64(1 << 60), np.int64(-1)
        for r in range(first_y[y], first_y[y] + taps_y):
            if hot[r, 0] >= 0:
                low, high = min(low, hot[r, 0]), max(high, hot[r, 1])
        span[y, 0], span[y, 1] = 0, 0
        if high < 0:
            continue
        span[y, 0], span[y, 1] = _first_above(first_x, low - taps_x), _first_above(first_x, high)


@jit
def _sum_along(source, first, weight, begin, end, target):
    """target f32 [W], begin..end: weighted sums of one row of cells.

    Unsigned indices spare numba's test for negative ones; it costs a third of this loop.
    """
    taps = weight.shape[1]
    for x in range(begin, end):
        left, total = np.uint64(first[x]), np.float32(0.0)
        for j in range(taps):
            total += weight[np.uint64(x), np.uint64(j)] * source[left + np.uint64(j)]
        target[x] = total


@jit
def _smooth_line(field, first_y, weight_y, first_x, weight_x, begin, end, done, across, line):
    """line f32 [W], begin..end: one sample row. Rows already summed along x are kept in `across` (`done`: columns)."""
    out = line[begin:end]  # loops over slices from 0 vectorise, loops from `begin` do not
    for i in range(weight_y.shape[0]):
        r = first_y + i
        if done[r, 0] > begin or done[r, 1] < end:
            done[r, 0], done[r, 1] = min(begin, done[r, 0]), max(end, done[r, 1])
            _sum_along(field[r], first_x, weight_x, done[r, 0], done[r, 1], across[r])
        weight, own = weight_y[i], across[r, begin:end]
        if i == 0:
            for x in range(out.shape[0]):
                out[x] = weight * own[x]
        else:
            for x in range(out.shape[0]):
                out[x] += weight * own[x]


@jit
def _smooth(field, first_y, weight_y, first_x, weight_x, span, done, across, smooth):
    """smooth f32 [H,W]: the up-sampled, smoothed field, only within `span`."""
    width = smooth.shape[1]
    for r in range(done.shape[0]):
        done[r, 0], done[r, 1] = width, 0
    for y in range(span.shape[0]):
        if span[y, 0] < span[y, 1]:
            _smooth_line(
                field, first_y[y], weight_y[y], first_x, weight_x, span[y, 0], span[y, 1], done, across, smooth[y]
            )


@jit
def _largest(field, span, y, x, radius):
    """Whether the value is the largest of its window; equal values all count, NaN is never larger."""
    value = field[y, x]
    for j in range(max(0, y - radius), min(field.shape[0], y + radius + 1)):
        row = field[j]
        for i in range(max(span[j, 0], x - radius), min(span[j, 1], x + radius + 1)):
            if row[i] > value:
                return False
    return True


@jit
def _weakest(peaks, count):
    """The row with the smallest smoothed value, the last of equal ones."""
    at = 0
    for p in range(1, count):
        if peaks[p, 3] <= peaks[at, 3]:
            at = p
    return at


@jit
def _remove(peaks, count, at):
    """Takes row `at` out; the rows after it keep their order."""
    for p in range(at, count - 1):
        for c in range(peaks.shape[1]):
            peaks[p, c] = peaks[p + 1, c]


@jit
def _scan(field, span, limit, radius, peaks):
    """Peaks of one map in scan order; peaks f32 [P,4] out (x, y, -, value), the P strongest. Returns how many."""
    found, least = 0, limit
    for y in range(field.shape[0]):
        row, begin, end = field[y], span[y, 0], span[y, 1]
        for x in range(begin, end):
            value = row[np.uint64(x)]
            before, after = row[np.uint64(max(x - 1, begin))], row[np.uint64(min(x + 1, end - 1))]
            # `|` and not `or`: one branch that is nearly always taken instead of three that are not
            if (not value > least) | (before > value) | (after > value):
                continue
            if y + 1 < field.shape[0] and span[y + 1, 0] <= x < span[y + 1, 1] and field[y + 1, x] > value:
                continue
            if y > 0 and span[y - 1, 0] <= x < span[y - 1, 1] and field[y - 1, x] > value:
                continue
            if not math.isfinite(value) or not _largest(field, span, y, x, radius):
                continue
            if found == peaks.shape[0]:
                _remove(peaks, found, _weakest(peaks, found))
                found -= 1
            peaks[found, 0], peaks[found, 1], peaks[found, 3] = x, y, value
            found += 1
            if found == peaks.shape[0]:
                least = max(limit, peaks[_weakest(peaks, found), 3])
    return found


@jit
def _vertex(before, at, after):
    """Where between -0.5 and 0.5 the parabola through three equidistant values peaks (f32)."""
    bend = before - np.float32(2.0) * at + after
    if not bend < np.float32(-1e-9):
        return np.float32(0.0)
    shift = np.float32(0.5) * (before - after) / bend
    return min(max(shift, np.float32(-0.5)), np.float32(0.5))


@jit
def _refine(field, first_y, weight_y, first_x, weight_x, peak):
    """Moves a peak (x, y, ...) to the top of the parabolas through its smoothed neighbours; at a border it stays.

    The neighbours are computed anew: they may lie where no sample can reach the threshold.
    """
    x, y, one = int(peak[0]), int(peak[1]), np.float32(1.0)
    at = value_at(field, y, x, first_y, weight_y, first_x, weight_x, one)
    if 0 < x < first_x.shape[0] - 1:
        before = value_at(field, y, x - 1, first_y, weight_y, first_x, weight_x, one)
        after = value_at(field, y, x + 1, first_y, weight_y, first_x, weight_x, one)
        peak[0] += _vertex(before, at, after)
    if 0 < y < first_y.shape[0] - 1:
        before = value_at(field, y - 1, x, first_y, weight_y, first_x, weight_x, one)
        after = value_at(field, y + 1, x, first_y, weight_y, first_x, weight_x, one)
        peak[1] += _vertex(before, at, after)


@kernel
def find_peaks(
    maps: F32x3,
    parts: int,
    threshold: float,
    floor: float,
    radius: int,
    refine: int,
    smooth_y: I64x1,
    smooth_wy: F32x2,
    smooth_x: I64x1,
    smooth_wx: F32x2,
    plain_y: I64x1,
    plain_wy: F32x2,
    plain_x: I64x1,
    plain_wx: F32x2,
    plain_gain: float,
    hot: I64x2,
    done: I64x2,
    span: I64x2,
    across: F32x2,
    smooth: F32x2,
    peaks: F32x3,
    counts: I64x1,
) -> int:
    """Peaks of the first `parts` maps, by part, then y, then x.

    Args:
        maps: f32 [C,h,w]. threshold: a peak's smoothed value is above it. floor: no sample whose cells all have a
            magnitude of at most this can be above the threshold. radius: of the window whose largest value a peak is,
            samples. refine: 1 = peaks between samples.
        smooth_*, plain_*: taps of both axes with and without smoothing; the score is the value without.
        hot, done: i64 [h,2], span: i64 [H,2], across: f32 [h,W], smooth: f32 [H,W] are workspace; where the maps are
            taken as they are (H = h, W = w, single taps of 1) the last two are not touched.
        peaks: f32 [parts,P,4] out, x, y, score, smoothed value; at most P a part, the strongest ones, of equal ones
            the first.
        counts: i64 [parts] out. Returns the number of all peaks.
    """
    limit, low, gain = np.float32(threshold), np.float32(floor), np.float32(plain_gain)
    taps_y, taps_x = smooth_wy.shape[1], smooth_wx.shape[1]
    direct = taps_y == 1 and taps_x == 1 and span.shape[0] == maps.shape[1] and smooth_x.shape[0] == maps.shape[2]
    total = 0
    for part in range(parts):
        counts[part] = 0
        field, own = maps[part], peaks[part]
        if _hot_columns(field, low, hot) == 0:
            continue
        _spans(hot, smooth_y, taps_y, smooth_x, taps_x, span)
        if not direct:
            _smooth(field, smooth_y, smooth_wy, smooth_x, smooth_wx, span, done, across, smooth)
            field = smooth
        found = _scan(field, span, limit, radius, own)
        for p in range(found):
            y, x = int(own[p, 1]), int(own[p, 0])
            own[p, 2] = value_at(maps[part], y, x, plain_y, plain_wy, plain_x, plain_wx, gain)
            if refine:
                _refine(maps[part], smooth_y, smooth_wy, smooth_x, smooth_wx, own[p])
        counts[part] = found
        total += found
    return total
