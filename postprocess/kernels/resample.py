"""Maps between their cells: which cells make a sample of an up-sampled map, with which weights. Knows maps only.

Up-sampling and smoothing are linear and separable, so both together are one sparse matrix per axis, of which `Taps`
keep the non-zero band. Weights have the bits of the originals' arithmetic, float32 where that is float32.
"""

import math
from collections import namedtuple

import numpy as np

from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.workspace import take

OVERLAP, AREA, CUBIC, KEYS = 0, 1, 2, 3
"""Rules. AREA: a sample averages the cells under it (TensorFlow's resize_area); OVERLAP: their sum, see `overlap_gain`.
CUBIC: Keys, a = -0.75, half-pixel centres, border repeated (OpenCV's). KEYS: a = -0.5, the fraction measured from the
clamped cell, so that it extrapolates at the left and upper border (CMU OpenPose's on CUDA)."""

Taps = namedtuple("Taps", "first weight width found")
"""Sample s of one axis is the sum of weight[s, t] * cell[first[s] + t] over t < width: first i64 [S], weight f32
[S,>=width]; found i64 [1], where `fill_taps` leaves the width."""


@jit
def widest(length, size, smoothing):
    """No sample has more taps: of `size` over `length` cells, smoothed by so many taps (1 = not)."""
    return min(length, smoothing * length // size + 6)


@jit
def take_taps(workspace, at, length, size, smoothing):
    """Room for the taps of one axis, filled if `fill_taps` was there before; and the place after it."""
    found, at = take(workspace, at, (1,), np.int64)
    first, at = take(workspace, at, (size,), np.int64)
    weight, at = take(workspace, at, (size, widest(length, size, smoothing)), np.float32)
    return Taps(first, weight, found[0] if len(workspace) > 0 else 0, found), at


@jit
def _cells(length, size, sample, smoothing):
    """The first cell and the one after the last that can have a weight in a sample."""
    first, last = max(0, sample - smoothing // 2), min(size - 1, sample + smoothing // 2)
    return max(0, first * length // size - 2), min(length, (last + 1) * length // size + 3)


@jit
def _overlap(length, size, sample, cell):
    """Length of a cell's overlap with a sample, f32, as TensorFlow places them."""
    step = np.float32(length) / np.float32(size)
    begin, end = np.float32(sample) * step, np.float32(sample + 1) * step
    low, high = np.float32(cell), np.float32(cell) + np.float32(1.0)
    if low <= begin and high > end:
        return step  # end - begin would lose digits
    return max(min(end, high) - max(begin, low), np.float32(0.0))


@jit
def cubic_weight(x):
    """Keys' weight, a = -0.75, of a cell so far from a sample, -2..2."""
    x = abs(x)
    if x <= 1.0:
        return (1.25 * x - 2.25) * x * x + 1.0
    return ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0


@jit
def _cubic(length, size, sample, cell):
    center, total = (sample + 0.5) * length / size - 0.5, 0.0
    for tap in range(-1, 3):
        at = math.floor(center) + tap
        if min(max(at, 0), length - 1) != cell:
            continue
        total += cubic_weight(center - at)
    return total


@jit
def _keys(length, size, sample, cell):
    """Cubic convolution of four cells as a polynomial in the fraction, which is below 0 left of the first cell."""
    center, total = (sample + 0.5) * length / size - 0.5, 0.0
    middle = min(max(math.floor(center), 0), length - 1)
    d = center - middle
    first, second = d * (-0.5 + d * (1 - 0.5 * d)), 1 + d * d * (-2.5 + 1.5 * d)
    third, fourth = d * (0.5 + d * (2 - 1.5 * d)), d * d * (-0.5 + 0.5 * d)
    for tap in range(4):
        if min(max(middle + tap - 1, 0), length - 1) == cell:  # not weights[tap]: a tuple's index may raise in numba
            total += first if tap == 0 else (second if tap == 1 else (third if tap == 2 else fourth))
    return total


@jit
def _weight(rule, length, size, sample, cell):
    """A cell's weight in a sample, f64."""
    if rule == CUBIC:
        return _cubic(length, size, sample, cell)
    if rule == KEYS:
        return _keys(length, size, sample, cell)
    overlap = np.float64(_overlap(length, size, sample, cell))
    return overlap / np.float64(np.float32(length) / np.float32(size)) if rule == AREA else overlap


@jit
def overlap_gain(rule, length, size):
    """What a sample is multiplied with in the end. TensorFlow sums the overlaps and divides last; so do we."""
    return np.float64(np.float32(1.0) / (np.float32(length) / np.float32(size))) if rule == OVERLAP else 1.0


@jit
def _fill_row(rule, length, sample, size, smoothing, low, row):
    """row f64 [cells]: the smoothed weights of the cells from `low` on; every product is rounded, in one order."""
    taps = smoothing.shape[0]
    row[:] = 0.0
    for tap in range(taps):
        source = sample + tap - taps // 2
        if not 0 <= source < size:  # beyond the border are zeros
            continue
        begin, end = _cells(length, size, source, 1)
        for cell in range(begin, end):
            row[cell - low] += smoothing[taps - 1 - tap] * _weight(rule, length, size, source, cell)


@jit
def fill_taps(rule, length, smoothing, row, taps):
    """Fills what `take_taps` gave, for a map of `length` cells.

    Args:
        smoothing: f64 [odd], `fill_smoothing`'s; 1.0 alone = none. row: f64 [>= widest] is workspace.
    """
    size, count = taps.first.shape[0], 1
    for sample in range(size):
        low, high = _cells(length, size, sample, smoothing.shape[0])
        _fill_row(rule, length, sample, size, smoothing, low, row[: high - low])
        begin, end = 0, high - low - 1
        while begin < end and row[begin] == 0.0:
            begin += 1
        while begin < end and row[end] == 0.0:
            end -= 1
        taps.first[sample] = low + begin
        count = max(count, end - begin + 1)
    for sample in range(size):
        low, high = _cells(length, size, sample, smoothing.shape[0])
        _fill_row(rule, length, sample, size, smoothing, low, row[: high - low])
        taps.first[sample] = min(taps.first[sample], length - count)
        for tap in range(count):
            at = taps.first[sample] + tap - low
            taps.weight[sample, tap] = row[at] if 0 <= at < high - low else 0.0
    taps.found[0] = count


@jit
def fill_smoothing(kernel):
    """kernel f64 [n]: square roots of the normal distribution's mass in n bins from -3.14 to 3.14, to a sum of 1."""
    count = kernel.shape[0]
    before = 0.5 * (1 + math.erf(-3.14 / math.sqrt(2.0)))
    for i in range(count):
        edge = (i + 1) * (6.28 / count) - 3.14 if i + 1 < count else 3.14
        after = 0.5 * (1 + math.erf(edge / math.sqrt(2.0)))
        kernel[i] = math.sqrt(after - before)
        before = after
    total = _sum(kernel)
    for i in range(count):
        kernel[i] /= total


@jit
def _sum(values):
    """The sum of at most 128 values f64, added in numpy's order."""
    whole = values.shape[0] // 8 * 8
    total = 0.0
    if whole > 0:
        total = (_two_of_8(values, 0, whole) + _two_of_8(values, 2, whole)) + (
            _two_of_8(values, 4, whole) + _two_of_8(values, 6, whole)
        )
    for i in range(whole, values.shape[0]):
        total += values[i]
    return total


@jit
def _two_of_8(values, begin, end):
    """Every 8th value from `begin` on, and from the one after it: the sum of both sums."""
    first, second = values[begin], values[begin + 1]
    for i in range(begin + 8, end, 8):
        first += values[i]
        second += values[i + 1]
    return first + second


@jit
def magnitude(taps):
    """The largest sum of the magnitudes of a sample's weights."""
    most = 0.0
    for s in range(taps.first.shape[0]):
        total = 0.0
        for t in range(taps.width):
            total += abs(np.float64(taps.weight[s, t]))
        most = max(most, total)
    return most


@jit
def value_at(field, y, x, taps_y, taps_x, gain):
    """One up-sampled value (f32) of `field` f32 [h,w] at sample (y, x), times the gain (f32)."""
    top, left = taps_y.first[y], taps_x.first[x]
    if taps_y.width == 1 and taps_x.width == 1:
        return taps_y.weight[y, 0] * (taps_x.weight[x, 0] * field[top, left]) * gain
    total = np.float32(0.0)
    for i in range(taps_y.width):
        line = np.float32(0.0)
        for j in range(taps_x.width):
            line += taps_x.weight[x, j] * field[top + i, left + j]
        total += taps_y.weight[y, i] * line
    return total * gain


@jit
def upsample(field, taps_y, taps_x, across, grid):
    """The whole field up-sampled into grid f32 [H,W], the bits of `value_at`; across f32 [h,W] is workspace."""
    for r in range(field.shape[0]):
        for x in range(grid.shape[1]):
            total = np.float32(0.0)
            for j in range(taps_x.width):
                total += taps_x.weight[x, j] * field[r, taps_x.first[x] + j]
            across[r, x] = total
    for y in range(grid.shape[0]):
        line = grid[y]
        line[:] = np.float32(0.0)
        for i in range(taps_y.width):
            weight, row = taps_y.weight[y, i], across[taps_y.first[y] + i]
            for x in range(line.shape[0]):
                line[x] += weight * row[x]
