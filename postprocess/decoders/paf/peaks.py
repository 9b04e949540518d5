"""Peaks of up-sampled and smoothed maps. Knows maps and samples, not skeletons.

Only samples that can reach the threshold are ever computed.
"""

import math

import numpy as np

from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.resample import value_at


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
def _spans(hot, taps_y, taps_x, span):
    """span i64 [H,2]: the columns (from, to) of each sample row that a hot cell reaches; empty elsewhere."""
    for y in range(span.shape[0]):
        low, high = np.int64(1 << 60), np.int64(-1)
        for r in range(taps_y.first[y], taps_y.first[y] + taps_y.width):
            if hot[r, 0] >= 0:
                low, high = min(low, hot[r, 0]), max(high, hot[r, 1])
        span[y, 0], span[y, 1] = 0, 0
        if high < 0:
            continue
        span[y, 0] = _first_above(taps_x.first, low - taps_x.width)
        span[y, 1] = _first_above(taps_x.first, high)


@jit
def _sum_along(source, taps, begin, end, target):
    """target f32 [W], begin..end: weighted sums of one row of cells.

    Unsigned indices spare numba's test for negative ones; it costs a third of this loop.
    """
    first, weight = taps.first, taps.weight
    for x in range(begin, end):
        left, total = np.uint64(first[x]), np.float32(0.0)
        for j in range(taps.width):
            total += weight[np.uint64(x), np.uint64(j)] * source[left + np.uint64(j)]
        target[x] = total


@jit
def _smooth_line(field, taps_y, y, taps_x, begin, end, done, across, line):
    """line f32 [W], begin..end: sample row y. Rows already summed along x are kept in `across` (`done`: columns)."""
    out = line[begin:end]  # loops over slices from 0 vectorise, loops from `begin` do not
    for i in range(taps_y.width):
        r = taps_y.first[y] + i
        if done[r, 0] > begin or done[r, 1] < end:
            done[r, 0], done[r, 1] = min(begin, done[r, 0]), max(end, done[r, 1])
            _sum_along(field[r], taps_x, done[r, 0], done[r, 1], across[r])
        weight, summed = taps_y.weight[y, i], across[r, begin:end]
        if i == 0:
            for x in range(out.shape[0]):
                out[x] = weight * summed[x]
        else:
            for x in range(out.shape[0]):
                out[x] += weight * summed[x]


@jit
def _smooth(field, taps_y, taps_x, span, done, across, grid):
    """grid f32 [H,W]: the up-sampled, smoothed field, only within `span`."""
    for r in range(done.shape[0]):
        done[r, 0], done[r, 1] = grid.shape[1], 0
    for y in range(span.shape[0]):
        if span[y, 0] < span[y, 1]:
            _smooth_line(field, taps_y, y, taps_x, span[y, 0], span[y, 1], done, across, grid[y])


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
    if math.isnan(shift):  # both neighbours are infinite
        return np.float32(0.0)
    return min(max(shift, np.float32(-0.5)), np.float32(0.5))


@jit
def _refine(field, taps_y, taps_x, peak):
    """Moves a peak (x, y, ...) to the top of the parabolas through its smoothed neighbours; at a border it stays.

    The neighbours are computed anew: they may lie where no sample can reach the threshold.
    """
    x, y, one = int(peak[0]), int(peak[1]), np.float32(1.0)
    at = value_at(field, y, x, taps_y, taps_x, one)
    if 0 < x < taps_x.first.shape[0] - 1:
        before = value_at(field, y, x - 1, taps_y, taps_x, one)
        peak[0] += _vertex(before, at, value_at(field, y, x + 1, taps_y, taps_x, one))
    if 0 < y < taps_y.first.shape[0] - 1:
        before = value_at(field, y - 1, x, taps_y, taps_x, one)
        peak[1] += _vertex(before, at, value_at(field, y + 1, x, taps_y, taps_x, one))


@jit
def find_peaks(maps, rules, work):
    """Peaks of the maps of all parts, by part, then y, then x.

    Args:
        maps: f32 [>=K,h,w]. rules: `peak_threshold`, `peak_radius`, `refine`, see `paf.Params`.
        work: taps `smooth_y`, `smooth_x` and `plain_y`, `plain_x` (the score is the value without smoothing) with their
            `gain`. `floor`: no sample whose cells all have a magnitude of at most this can be above the threshold.
            `hot`, `done` i64 [h,2], `span` i64 [H,2], `across` f32 [h,W], `grid` f32 [H,W] are workspace; where the
            maps are taken as they are (`as_is`) the last two are not touched.
            Out: `peaks` f32 [K,P,4], x, y, score, smoothed value; at most P a part, the strongest ones, of equal ones
            the first; `counts` i64 [K].
    """
    limit, low, gain = np.float32(rules.peak_threshold), np.float32(work.floor[0]), np.float32(work.gain[0])
    for part in range(work.counts.shape[0]):
        work.counts[part] = 0
        field, peaks = maps[part], work.peaks[part]
        if _hot_columns(field, low, work.hot) == 0:
            continue
        _spans(work.hot, work.smooth_y, work.smooth_x, work.span)
        if not work.as_is:
            _smooth(field, work.smooth_y, work.smooth_x, work.span, work.done, work.across, work.grid)
            field = work.grid
        found = _scan(field, work.span, limit, rules.peak_radius, peaks)
        for p in range(found):
            y, x = int(peaks[p, 1]), int(peaks[p, 0])
            peaks[p, 2] = value_at(maps[part], y, x, work.plain_y, work.plain_x, gain)
            if rules.refine:
                _refine(maps[part], work.smooth_y, work.smooth_x, peaks[p])
        work.counts[part] = found
