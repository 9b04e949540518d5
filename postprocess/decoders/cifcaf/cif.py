"""Shared kernels: composite intensity fields (CIF) -> high-resolution confidence maps and seeds. Knows no skeleton.

A map is kept in tiles of `TILE` x `TILE` pixels, each of them contiguous; a pixel's index there is its `spot`. Few
pixels are ever read: those that the seeds and the connections point at. They are claimed first (which zeroes their
tile), and then only claimed tiles are filled.
"""

import numpy as np

from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, I32x1, I64x1, U8x2, jit, kernel

WORK_PER_PIXEL = 32
"""A map takes at most so many additions per pixel on average; bounds time on hostile fields (12 people: 0.1)."""
TILE = 8
_SHIFT = 3  # TILE is 2 to this power
_LINES = 4  # of a tile that are filled together, if a Gaussian reaches them; their number is known to the compiler
BLOCK = 32  # cells that are passed over at once if none of them is above the threshold
_FAR = 1e9  # px; a Gaussian as wide as this is flat on any map


@jit
def clamp(value, low, high):
    """`value` cut to an integer (towards zero) in low..high."""
    return int(min(max(value, float(low)), float(high)))


@jit
def finite(a, b, c, d):
    """Whether four floats are all finite (x - x is not 0 for NaN and infinities)."""
    return (a - a) + (b - b) + (c - c) + (d - d) == 0


@jit
def quiet(confidence, begin, least):
    """Whether the `BLOCK` cells from `begin` on are all below `least`; no branch, so that it becomes vector code."""
    loud = np.int32(0)
    for i in range(BLOCK):
        loud |= np.int32(confidence[np.uint64(begin) + np.uint64(i)] >= least)
    return loud == 0


@jit
def claim(map_, claimed, high, wide, x, y):
    """The spot of the pixel nearest to x, y on a map of high x wide pixels, its tile claimed; -1 outside the map."""
    if x < -0.49 or y < -0.49 or x > wide - 0.51 or y > high - 0.51:
        return -1
    column, row = int(x + 0.5), int(y + 0.5)
    tile = (row >> _SHIFT) * ((wide + TILE - 1) >> _SHIFT) + (column >> _SHIFT)
    if claimed[tile] == 0:
        claimed[tile] = 1
        map_[tile * TILE * TILE : (tile + 1) * TILE * TILE] = np.float32(0)
    return tile * TILE * TILE + (row & (TILE - 1)) * TILE + (column & (TILE - 1))


@kernel
def list_intensities(
    cif: F32x3,
    stride: float,
    high: int,
    wide: int,
    threshold: float,
    seed_threshold: float,
    cells: F32x2,
    spots: I32x1,
    hr: F32x2,
    claimed: U8x2,
) -> int:
    """The number of cells whose confidence is not below `threshold` and whose values are finite.

    Args:
        cif: f32 [K,5,h*w]: unused, confidence, x, y, scale, the last three in cells. stride: px per cell.
        high, wide: sides of the maps, px. seed_threshold: the map is read at cells with at least this confidence.
        cells: f32 [K*h*w,5] out: confidence, keypoint, x px, y px, scale px, in keypoint, row, column order.
        spots: i32 [K*h*w] out, where the map is read, or -1.
        hr: f32 [K,tiles*TILE^2] the maps. claimed: u8 [K,tiles] out, 1 where a map is read; this call begins a frame.
    """
    size, step = cif.shape[2], np.float32(stride)
    least, seed, count = np.float32(threshold), np.float32(seed_threshold), 0
    claimed[:] = 0
    for k in range(cif.shape[0]):
        confidence, xs, ys, scales = cif[k, 1], cif[k, 2], cif[k, 3], cif[k, 4]
        for begin in range(0, size, BLOCK):
            end = min(begin + BLOCK, size)
            if end - begin == BLOCK and quiet(confidence, begin, least):
                continue
            for i in range(begin, end):
                v = confidence[i]
                if not v >= least:
                    continue
                x, y, scale = xs[i] * step, ys[i] * step, scales[i] * step
                if not finite(v, x, y, scale):
                    continue
                cells[count, 0], cells[count, 1], cells[count, 2] = v, k, x
                cells[count, 3], cells[count, 4], spots[count] = y, scale, -1
                if v >= seed:
                    spots[count] = claim(hr[k], claimed[k], high, wide, float(x), float(y))
                count += 1
    return count


@jit
def _add_lines(map_, begin, left, top, x, y, sigma2, slope, peak):
    """Adds a Gaussian, cut at one sigma, to `_LINES` of a tile from the pixel left, top at `begin` on, clamped at 1.

    The pixel nearest to the peak has all of it. No branch, unsigned indices (nothing to test for negative ones) and one
    array alone (nothing that might overlap), so that it becomes vector code.
    """
    one, zero, quarter = np.float32(1), np.float32(0), np.float32(0.25)
    first_x, first_y = np.float32(left), np.float32(top)
    for i in range(_LINES * TILE):
        dx = first_x + np.float32(np.int32(np.uint32(i) & np.uint32(TILE - 1))) - x
        dy = first_y + np.float32(np.int32(np.uint32(i) >> np.uint32(_SHIFT))) - y
        dx2, dy2 = dx * dx, dy * dy
        d2 = zero if (dx2 < quarter) & (dy2 < quarter) else dx2 + dy2
        e = one + d2 * slope  # exp(z) is (1 + z / 8)^8
        e *= e
        e *= e
        e *= e
        total = map_[begin + np.uint64(i)] + (peak * e if d2 <= sigma2 else zero)
        map_[begin + np.uint64(i)] = total if total < one else one


@jit
def _add_gaussian(map_, claimed, high, wide, x, y, sigma, peak):
    """Adds a truncated Gaussian to the claimed tiles of a map; returns how many pixels and tiles it looked at."""
    one = np.float32(1)
    left, right = clamp(x - sigma, 0, wide - 1) // TILE, clamp(x + sigma + one, 1, wide)
    top, bottom = clamp(y - sigma, 0, high - 1), clamp(y + sigma + one, 1, high)
    right = (right + TILE - 1) // TILE
    sigma2, across, work = sigma * sigma, (wide + TILE - 1) // TILE, 0
    slope = np.float32(-0.0625) / sigma2
    for line in range(top // _LINES * _LINES, bottom, _LINES):
        row, inside = line // TILE * across, line % TILE * TILE
        for column in range(left, right):
            if claimed[np.uint64(row + column)]:
                begin = np.uint64((row + column) * TILE * TILE + inside)
                _add_lines(map_, begin, column * TILE, line, x, y, sigma2, slope, peak)
                work += _LINES * TILE
            work += 1
    return work


@kernel
def accumulate(
    cells: F32x2, count: int, threshold: float, neighbors: int, high: int, wide: int, hr: F32x2, claimed: U8x2
) -> int:
    """Fills the claimed tiles of the high-resolution maps; returns the additions, counted in pixels.

    Args:
        cells: as `list_intensities` gives them, `count` of them. threshold: least confidence of a cell.
        neighbors: a peak of so many full cells sums to 1. high, wide: sides of the maps, px.
        hr: f32 [K,tiles*TILE^2] 0..1 out; claimed tiles are all zeros before. claimed: u8 [K,tiles].
    """
    least, total, part, budget = np.float32(threshold), 0, -1, 0
    for i in range(count):
        v, x, y = cells[i, 0], cells[i, 2], cells[i, 3]
        k = int(cells[i, 1])
        if k != part:
            part, budget = k, WORK_PER_PIXEL * high * wide
        if not v >= least or budget <= 0:
            continue
        sigma = min(max(np.float32(1), np.float32(0.5) * cells[i, 4]), np.float32(_FAR))
        work = _add_gaussian(hr[k], claimed[k], high, wide, x, y, sigma, v / np.float32(neighbors))
        budget -= work
        total += work
    return total


_DIGITS, RADIX = 3, 2048  # 11 bits each: a positive float's 31 bits, as an integer in the same order


@jit
def _sort_descending(bits, order, other, counts, count):
    """Fills order i32 [:count] from the largest of bits i32 (>= 0) to the smallest, equal ones in index order.

    A radix sort: linear in time, whatever the values. other i32 [:count], counts i64 [2048] are workspace.
    """
    for i in range(count):
        other[i] = i
    for digit in range(_DIGITS):
        shift = 11 * digit
        source, target = (order, other) if digit % 2 else (other, order)
        counts[:] = 0
        for i in range(count):
            counts[RADIX - 1 - ((bits[i] >> shift) & (RADIX - 1))] += 1
        begin = 0
        for bucket in range(RADIX):
            begin, counts[bucket] = begin + counts[bucket], begin
        for i in range(count):
            bucket = RADIX - 1 - ((bits[source[i]] >> shift) & (RADIX - 1))
            target[counts[bucket]] = source[i]
            counts[bucket] += 1


@kernel
def find_seeds(
    cells: F32x2,
    spots: I32x1,
    count: int,
    threshold: float,
    hr: F32x2,
    seeds: F32x2,
    value: F32x1,
    value_bits: I32x1,
    order: I32x1,
    other: I32x1,
    counts: I64x1,
) -> int:
    """The number of seeds; seeds[order[0]] is the best, equal ones stand in keypoint, row, column order.

    Args:
        cells, spots: as `list_intensities` gives them, `count` of them. threshold: least confidence of a cell and least
            value of a seed. hr: the filled maps. seeds: f32 [K*h*w,5] out: value, keypoint, x px, y px, scale px.
        value: f32 [K*h*w] workspace, value_bits: i32 [K*h*w], the same memory. other: i32 [K*h*w] and counts: i64
            [2048] are workspace too. order: i32 [K*h*w] out.
    """
    least, found = np.float32(threshold), 0
    for i in range(count):
        c, k, spot = cells[i, 0], int(cells[i, 1]), spots[i]
        if not c >= least:
            continue
        v = np.float32(0.9 * (float(hr[k, spot]) if spot >= 0 else -1.0) + 0.1 * c)
        if v >= least:
            seeds[found, 0], value[found] = v, v
            for j in range(1, 5):
                seeds[found, j] = cells[i, j]
            found += 1
    _sort_descending(value_bits, order, other, counts, found)
    return found
