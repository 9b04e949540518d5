"""Composite intensity fields (CIF) -> high-resolution confidence maps and seeds. Knows no skeleton.

A map is kept in tiles of `TILE` x `TILE` pixels, each of them contiguous; a pixel is its index there, -1 outside. Few
pixels are ever read: those that the seeds and the connections point at. They are claimed first, which gives their tile
a place, and then only claimed tiles are filled.
"""

from collections import namedtuple

import numpy as np

from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.sort import least_of_strongest
from posert.postprocess.kernels.workspace import take

WORK_PER_PIXEL, MAX_WORK = 32, 1 << 28
"""A map takes at most so many additions per pixel on average (12 people: 0.1), and all of them together so many;
bounds time on hostile fields, as the next two bound memory."""
MAX_CELLS = 3 << 19
"""At most so many cells count, those with the most confidence."""
MAX_TILES = 3 << 19
"""At most so many tiles are claimed; what is claimed later lies outside the maps."""
TILE = 8
_SHIFT = 3  # TILE is 2 to this power
_LINES = 4  # of a tile that are filled together, if a Gaussian reaches them; their number is known to the compiler
BLOCK = 32  # cells that are passed over at once if none of them is above the threshold
_FAR = 1e9  # px; a Gaussian as wide as this is flat on any map
_DIGITS, _RADIX = 3, 2048  # 11 bits each: a positive float's 31 bits, as an integer in the same order

Maps = namedtuple("Maps", "high wide values places claimed count")
"""The confidence maps of high x wide px, of which the claimed tiles are there: values f32 [T*TILE^2] 0..1.

places i32 [K*tiles]: the number of a tile among the claimed ones, from 1 on; 0 = nobody reads it. claimed i32 [T]: the
tiles; count i64 [1]: how many.
"""

Cells = namedtuple("Cells", "values pixels")
"""The cells that count, in keypoint, row, column order.

values f32 [K*h*w,5]: confidence, keypoint, x px, y px, scale px. pixels i32 [K*h*w]: where the map is read.
"""

Seeds = namedtuple("Seeds", "values order bits other counts")
"""Where poses may begin; order i32 [K*h*w] begins with the best, equal ones in the order of the cells.

values f32 [K*h*w,5]: value, keypoint, x px, y px, scale px. The others sort: bits i32 [K*h*w], the value's; other
i32 [K*h*w], counts i64 [2048].
"""


@jit
def take_maps(workspace, at, parts, high, wide, claims):
    """`Maps` at byte `at` of the workspace, for at most so many claims, and the place after them."""
    tiles = parts * ((high + TILE - 1) // TILE) * ((wide + TILE - 1) // TILE)
    most = min(tiles, claims, MAX_TILES)
    values, at = take(workspace, at, (most * TILE * TILE,), np.float32)
    places, at = take(workspace, at, (tiles,), np.int32)
    claimed, at = take(workspace, at, (most,), np.int32)
    count, at = take(workspace, at, (1,), np.int64)
    return Maps(high, wide, values, places, claimed, count), at


@jit
def take_seeds(workspace, at, count):
    """`Cells` and `Seeds` for `count` cells, and the place after them."""
    values, at = take(workspace, at, (count, 5), np.float32)
    pixels, at = take(workspace, at, (count,), np.int32)
    seeds, at = take(workspace, at, (count, 5), np.float32)
    order, at = take(workspace, at, (count,), np.int32)
    bits, at = take(workspace, at, (count,), np.int32)
    other, at = take(workspace, at, (count,), np.int32)
    counts, at = take(workspace, at, (_RADIX,), np.int64)
    return Cells(values, pixels), Seeds(seeds, order, bits, other, counts), at


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
def release(maps):
    """Nobody claims anything any more."""
    for i in range(maps.count[0]):
        maps.places[maps.claimed[i]] = 0
    maps.count[0] = 0


@jit
def first_tile(maps, k):
    """Where map `k` begins among the tiles."""
    return k * (((maps.high + TILE - 1) >> _SHIFT) * ((maps.wide + TILE - 1) >> _SHIFT))


@jit
def claim(maps, k, x, y):
    """The pixel nearest to x, y on map `k`, its tile claimed; -1 outside the map."""
    if x < -0.49 or y < -0.49 or x > maps.wide - 0.51 or y > maps.high - 0.51:
        return -1
    column, row = int(x + 0.5), int(y + 0.5)
    tile = first_tile(maps, k) + (row >> _SHIFT) * ((maps.wide + TILE - 1) >> _SHIFT) + (column >> _SHIFT)
    if maps.places[tile] == 0:
        count = maps.count[0]
        if count == maps.claimed.shape[0]:
            return -1
        maps.values[count * TILE * TILE : (count + 1) * TILE * TILE] = np.float32(0)
        maps.claimed[count], maps.places[tile], maps.count[0] = tile, count + 1, count + 1
    return (int(maps.places[tile]) - 1) * TILE * TILE + (row & (TILE - 1)) * TILE + (column & (TILE - 1))


@jit
def list_intensities(cif, stride, threshold, seed_threshold, cells, maps):
    """The number of cells whose confidence is not below `threshold` and whose values are finite; begins a frame.

    At most as many as there is room for, those with the most confidence; of equal ones all or none.
    cif f32 [K,5,h*w]: unused, confidence, x, y, scale, the last three in cells of `stride` px. The map is read at cells
    with at least `seed_threshold`.
    """
    size, step = cif.shape[2], np.float32(stride)
    least, seed, count = np.float32(threshold), np.float32(seed_threshold), 0
    least = least_of_strongest(cif[:, 1], least, cells.values.shape[0])
    release(maps)
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
                row = cells.values[count]
                row[0], row[1], row[2], row[3], row[4] = v, k, x, y, scale
                cells.pixels[count] = claim(maps, k, float(x), float(y)) if v >= seed else -1
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
def _add_gaussian(maps, first, x, y, sigma, peak):
    """Adds a truncated Gaussian to the claimed tiles of the map that begins at tile `first`.

    Returns how many pixels and tiles it looked at.
    """
    one, high, wide, values, places = np.float32(1), maps.high, maps.wide, maps.values, maps.places
    left, right = clamp(x - sigma, 0, wide - 1) // TILE, clamp(x + sigma + one, 1, wide)
    top, bottom = clamp(y - sigma, 0, high - 1), clamp(y + sigma + one, 1, high)
    right = (right + TILE - 1) // TILE
    sigma2, across, work = sigma * sigma, (wide + TILE - 1) // TILE, 0
    slope = np.float32(-0.0625) / sigma2
    for line in range(top // _LINES * _LINES, bottom, _LINES):
        row, inside = first + line // TILE * across, line % TILE * TILE
        for column in range(left, right):
            place = int(places[np.uint64(row + column)])
            if place:
                begin = np.uint64((place - 1) * TILE * TILE + inside)
                _add_lines(values, begin, column * TILE, line, x, y, sigma2, slope, peak)
                work += _LINES * TILE
            work += 1
    return work


@jit
def accumulate(cells, count, parts, threshold, neighbors, maps):
    """Fills the claimed tiles of `parts` maps, all zeros before, from those of `count` cells that reach `threshold`.

    A peak of `neighbors` full cells sums to 1.
    """
    least, part, budget, first = np.float32(threshold), -1, 0, 0
    for i in range(count):
        v, x, y = cells.values[i, 0], cells.values[i, 2], cells.values[i, 3]
        k = int(cells.values[i, 1])
        if k != part:
            part, first = k, first_tile(maps, k)
            budget = min(WORK_PER_PIXEL * maps.high * maps.wide, MAX_WORK // parts)
        if not v >= least or budget <= 0:
            continue
        sigma = min(max(np.float32(1), np.float32(0.5) * cells.values[i, 4]), np.float32(_FAR))
        budget -= _add_gaussian(maps, first, x, y, sigma, v / np.float32(neighbors))


@jit
def _sort_descending(seeds, count):
    """Orders the first `count` seeds by their bits (>= 0), the largest first, equal ones in index order.

    A radix sort: linear in time, whatever the values.
    """
    bits, counts = seeds.bits, seeds.counts
    for i in range(count):
        seeds.other[i] = i
    for digit in range(_DIGITS):
        shift = 11 * digit
        source, target = (seeds.order, seeds.other) if digit % 2 else (seeds.other, seeds.order)
        counts[:] = 0
        for i in range(count):
            counts[_RADIX - 1 - ((bits[i] >> shift) & (_RADIX - 1))] += 1
        begin = 0
        for bucket in range(_RADIX):
            begin, counts[bucket] = begin + counts[bucket], begin
        for i in range(count):
            bucket = _RADIX - 1 - ((bits[source[i]] >> shift) & (_RADIX - 1))
            target[counts[bucket]] = source[i]
            counts[bucket] += 1


@jit
def find_seeds(cells, count, threshold, maps, seeds):
    """The number of seeds among `count` cells; `threshold`: least confidence of a cell and least value of a seed."""
    least, found = np.float32(threshold), 0
    for i in range(count):
        c, pixel = cells.values[i, 0], cells.pixels[i]
        if not c >= least:
            continue
        v = np.float32(0.9 * (float(maps.values[pixel]) if pixel >= 0 else -1.0) + 0.1 * c)
        if v >= least:
            seeds.values[found, 0], seeds.bits[found] = v, v.view(np.int32)
            for j in range(1, 5):
                seeds.values[found, j] = cells.values[i, j]
            found += 1
    _sort_descending(seeds, found)
    return found
