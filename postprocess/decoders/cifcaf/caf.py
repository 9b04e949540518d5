"""Shared kernels: composite association fields (CAF) -> scored connections, and the target of one. Knows no poses.

The connections of an edge and direction lie in buckets of their source's position, so that a look-up reads the
neighbourhood of a point and not the whole field.
"""

import math

import numpy as np

from posert.postprocess.decoders.cifcaf.cif import BLOCK, claim, clamp, finite, quiet
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, I32x1, I32x2, I64x1, I64x2, U8x2, jit, kernel

MAX_VISITS = 200_000_000
"""Connections read per image, at most; then poses stop growing. Bounds time on hostile fields (12 people: 24,000)."""


@jit
def _bucket(position, per_px, count):
    return clamp(position * per_px, 0, count - 1)


@kernel
def list_associations(
    caf: F32x3,
    ends: I64x2,
    stride: float,
    high: int,
    wide: int,
    threshold: float,
    rows: F32x2,
    spots: I32x2,
    firsts: I64x1,
    hr: F32x2,
    claimed: U8x2,
) -> int:
    """The number of cells whose confidence is not below `threshold` and whose values are finite.

    Args:
        caf: f32 [L,8,h*w]: unused, confidence, x1, y1, x2, y2, scale 1, scale 2, in cells. stride: px per cell.
        high, wide: sides of the maps, px.
        ends: i64 [2L,2], start and end keypoint of each direction; direction 2l is edge l forward, 2l+1 backward.
        rows: f32 [L*h*w,7] out: confidence, x1, y1, x2, y2, scale 1, scale 2, px, in edge, row, column order.
        spots: i32 [L*h*w,2] out, where the maps of both joints are read, or -1.
        firsts: i64 [L+1] out, each edge's first row.
        hr, claimed: as `list_intensities` has them.
    """
    size, step, least, count = caf.shape[2], np.float32(stride), np.float32(threshold), 0
    for edge in range(caf.shape[0]):
        field, a, b = caf[edge], ends[2 * edge, 0], ends[2 * edge, 1]
        confidence, firsts[edge] = field[1], count
        for begin in range(0, size, BLOCK):
            end = min(begin + BLOCK, size)
            if end - begin == BLOCK and quiet(confidence, begin, least):
                continue
            for i in range(begin, end):
                c = confidence[i]
                if not c >= least:
                    continue
                xa, ya, xb, yb = field[2, i] * step, field[3, i] * step, field[4, i] * step, field[5, i] * step
                sa, sb = field[6, i] * step, field[7, i] * step
                if not (finite(c, xa, ya, sa) and finite(xb, yb, sb, c)):
                    continue
                rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = c, xa, ya, xb
                rows[count, 4], rows[count, 5], rows[count, 6] = yb, sa, sb
                spots[count, 0] = claim(hr[a], claimed[a], high, wide, float(xa), float(ya))
                spots[count, 1] = claim(hr[b], claimed[b], high, wide, float(xb), float(yb))
                count += 1
    firsts[caf.shape[0]] = count
    return count


@jit
def _count(rows, spots, side, map_, least, grid, scores, buckets, starts):
    """Scores one edge's rows from joint `side` on (by the other joint's map); counts bucket b's in starts[b + 1]."""
    starts[:] = 0
    for i in range(len(rows)):
        spot = spots[i, 1 - side]
        scores[i] = np.float32(rows[i, 0] * (0.1 + 0.9 * (float(map_[spot]) if spot >= 0 else 0.0)))
        across = _bucket(float(rows[i, 1 + 2 * side]), grid[0], grid[1])
        bucket = _bucket(float(rows[i, 2 + 2 * side]), grid[0], grid[2]) * grid[1] + across
        kept = scores[i] > least
        buckets[i] = bucket if kept else -1
        starts[bucket + 1] += kept


@jit
def _scatter(rows, scores, buckets, side, base, starts, places, out):
    """The place after the last row, the rows from `base` on in the order of their buckets, stable.

    starts[b] becomes bucket b's first place, starts[-1] the end.
    """
    total = base
    for b in range(1, len(starts)):  # starts[b] runs from bucket b's first place to its end
        total, starts[b] = total + starts[b], total
    starts[0], number = base, 0
    for i in range(len(rows)):
        if buckets[i] < 0:
            continue
        place = starts[buckets[i] + 1]
        starts[buckets[i] + 1] = place + 1
        places[place] = number
        number += 1
        out[place, 0], out[place, 1], out[place, 2] = scores[i], rows[i, 1 + 2 * side], rows[i, 2 + 2 * side]
        out[place, 3], out[place, 4] = rows[i, 3 - 2 * side], rows[i, 4 - 2 * side]
        out[place, 5], out[place, 6] = rows[i, 5 + side], rows[i, 6 - side]
    return total


@kernel
def score_connections(
    rows: F32x2,
    spots: I32x2,
    firsts: I64x1,
    ends: I64x2,
    hr: F32x2,
    threshold: float,
    bucket_px: float,
    grid_w: int,
    grid_h: int,
    scores: F32x1,
    buckets: I32x1,
    starts: I32x2,
    places: I32x1,
    connections: F32x2,
) -> int:
    """The number of connections above `threshold`, of all edges and both directions.

    Args:
        rows, spots, firsts, ends: as `list_associations` has them. hr: the filled maps.
        threshold: least confidence after scoring. bucket_px, grid_w, grid_h: side and number of the buckets.
        scores: f32 [h*w], buckets: i32 [h*w] are workspace.
        starts: i32 [2L,grid_w*grid_h+1] out, where each direction's buckets start.
        places: i32 [2L*h*w] out, a connection's number in field order (within its direction).
        connections: f32 [2L*h*w,7] out: score, source x, y, target x, y, source scale, target scale, px.
    """
    least, total, grid = np.float32(threshold), 0, (1.0 / bucket_px, grid_w, grid_h)
    for edge in range(len(firsts) - 1):
        own, read = rows[firsts[edge] : firsts[edge + 1]], spots[firsts[edge] : firsts[edge + 1]]
        for side in range(2):  # the source is joint a, then joint b
            way = starts[2 * edge + side]
            _count(own, read, side, hr[ends[2 * edge + side, 1]], least, grid, scores, buckets, way)
            total = _scatter(own, scores, buckets, side, total, way, places, connections)
    return total


@jit
def _row_score(connections, i, x, y, width, half, least):
    """Confidence times a Gaussian of the distance from x, y; -1 outside the window, or if it is surely below `least`.

    exp(-z) <= 1 / (1 + z) saves most of the exponentials and divisions; the margin covers the rounding of both.
    """
    dx, dy = connections[i, 1] - x, connections[i, 2] - y
    if not (abs(dx) <= half and abs(dy) <= half):
        return -1.0
    half_d2, c = 0.5 * (dx * dx + dy * dy), float(connections[i, 0])
    if c * width * (1 + 1e-12) < least * (width + half_d2):
        return -1.0
    return math.exp(-half_d2 / width) * c


@jit
def _rows_of(starts, grid, gy, x, half):
    """First and last place (exclusive) of the buckets that the window touches in line `gy`: they lie in a row."""
    per_px, grid_w = grid[0], grid[1]
    line = gy * grid_w
    first = starts[line + _bucket(x - half, per_px, grid_w)]
    return first, starts[line + _bucket(x + half, per_px, grid_w) + 1]


@jit
def _second_of_ties(table, starts, grid, x, y, width, half, best, best_place, second):
    """The runner-up that reading in field order would keep: the last equal one before the best, else the first after.

    Only called when scores are equal; then two of them may both be the best.
    """
    connections, places = table
    before, after, found = -1, -1, -1
    lines = _bucket(y - half, grid[0], grid[2]), _bucket(y + half, grid[0], grid[2]) + 1
    for gy in range(lines[0], lines[1]):
        first, last = _rows_of(starts, grid, gy, x, half)
        for i in range(first, last):
            if places[i] == best_place or _row_score(connections, i, x, y, width, half, second) != second:
                continue
            if places[i] < best_place:
                if places[i] > before:
                    before, found = places[i], i
            elif before < 0 and (after < 0 or places[i] < after):
                after, found = places[i], i
    return found


@jit
def blend(table, starts, grid, x, y, s, factor, visits):
    """Score, x, y and scale (px) of the target that a direction's connections give a source; score 0: none.

    Args:
        table: (connections, places). starts: i32 of this direction. grid: (buckets per px, grid_w, grid_h).
        x, y, s: the source. factor: widens the window, 1 normally. visits: i64 [1], connections read so far.
    """
    connections, places = table
    s = max(s, 0.5)
    half, width = factor * s / 2, 0.25 * s * s
    best, second, a, b, tied = 0.0, 0.0, -1, -1, False
    lines = _bucket(y - half, grid[0], grid[2]), _bucket(y + half, grid[0], grid[2]) + 1
    for gy in range(lines[0], lines[1]):
        first, last = _rows_of(starts, grid, gy, x, half)
        visits[0] += last - first
        if visits[0] > MAX_VISITS:
            return 0.0, 0.0, 0.0, 0.0
        for i in range(first, last):
            score = _row_score(connections, i, x, y, width, half, second)
            if score <= 0 or score < second:
                continue
            if score in (second, best):
                tied = True
            if score > best or (score == best and places[i] > places[a]):
                best, second, a, b = score, best, i, a
            elif score > second:
                second, b = score, i
    if a < 0:
        return 0.0, 0.0, 0.0, 0.0
    if tied and second > 0:
        b = _second_of_ties(table, starts, grid, x, y, width, half, best, places[a], second)
    xa, ya, sa = float(connections[a, 3]), float(connections[a, 4]), max(0.0, float(connections[a, 6]))
    if second < 0.01 or second < 0.5 * best or b < 0:
        return 0.5 * best, xa, ya, sa
    xb, yb, sb = float(connections[b, 3]), float(connections[b, 4]), max(0.0, float(connections[b, 6]))
    if (xa - xb) * (xa - xb) + (ya - yb) * (ya - yb) > sa * sa / 4:
        return 0.5 * best, xa, ya, sa
    total = best + second
    return (
        0.5 * total,
        (best * xa + second * xb) / total,
        (best * ya + second * yb) / total,
        (best * sa + second * sb) / total,
    )
