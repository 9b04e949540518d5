"""Shared kernels: composite association fields (CAF) -> scored connections, and the target of one. Knows no poses.

The connections of an edge and direction lie in buckets of their source's position, so that a look-up reads the
neighbourhood of a point and not the whole field.
"""

import math

import numpy as np

from posert.postprocess._cifhr import clamp, finite, hr_value
from posert.postprocess._jit import jit, kernel

MAX_VISITS = 200_000_000
"""Connections read per image, at most; then poses stop growing. Bounds time on hostile fields (12 people: 24,000)."""


@jit
def _bucket(position, size_px, count):
    return clamp(position / size_px, 0, count - 1)


@jit
def _scored(caf, hr, joints, step, threshold, bucket_px, grid_wh, rows, buckets, counts):
    """Fills rows f32 [2,h*w,7] and their buckets from one edge's field f32 [8,h,w]; counts i64 [2]."""
    least = np.float32(threshold)
    counts[0], counts[1] = 0, 0
    for row in range(caf.shape[1]):
        for column in range(caf.shape[2]):
            c = caf[1, row, column]
            if not c >= least:
                continue
            xa, ya, sa = caf[2, row, column] * step, caf[3, row, column] * step, caf[6, row, column] * step
            xb, yb, sb = caf[4, row, column] * step, caf[5, row, column] * step, caf[7, row, column] * step
            if not (finite(c, xa, ya, sa) and finite(xb, yb, sb, c)):
                continue
            for side in range(2):  # the source first: joint a, then joint b
                if side == 1:
                    xa, ya, sa, xb, yb, sb = xb, yb, sb, xa, ya, sa
                score = np.float32(c * (0.1 + 0.9 * hr_value(hr[joints[1 - side]], xb, yb, 0.0)))
                if not score > least:
                    continue
                n = counts[side]
                rows[side, n, 0], rows[side, n, 1], rows[side, n, 2] = score, xa, ya
                rows[side, n, 3], rows[side, n, 4], rows[side, n, 5], rows[side, n, 6] = xb, yb, sa, sb
                across = _bucket(float(xa), bucket_px, grid_wh[0])
                buckets[side, n] = _bucket(float(ya), bucket_px, grid_wh[1]) * grid_wh[0] + across
                counts[side] = n + 1


@jit
def _scatter(rows, buckets, count, base, starts, places, out):
    """Sorts rows by bucket, stable: starts[b] becomes bucket b's first place in `out`, starts[-1] the end."""
    starts[:] = 0
    for i in range(count):
        starts[buckets[i] + 1] += 1
    starts[0] = base
    for b in range(1, len(starts)):
        starts[b] += starts[b - 1]
    for i in range(count):
        place = starts[buckets[i]]
        starts[buckets[i]] = place + 1
        places[place] = i
        for column in range(rows.shape[1]):
            out[place, column] = rows[i, column]
    for b in range(len(starts) - 1, 0, -1):  # every start has moved to its bucket's end
        starts[b] = starts[b - 1]
    starts[0] = base


@kernel(
    "int64(float32[:,:,:,::1], int64[:,::1], float32[:,:,::1], float64, float64, float64, int64, int64, "
    "float32[:,:,::1], int32[:,::1], int64[::1], int32[:,::1], int32[::1], float32[:,::1])"
)
def score_connections(
    caf, ends, hr, stride, threshold, bucket_px, grid_w, grid_h, rows, buckets, counts, starts, places, connections
):  # fmt: skip
    """The number of connections above `threshold`, of all edges and both directions.

    Args:
        caf: f32 [L,8,h,w]: unused, confidence, x1, y1, x2, y2, scale 1, scale 2, in cells.
        ends: i64 [2L,2], start and end keypoint of each direction; direction 2l is edge l forward, 2l+1 backward.
        hr: f32 [K,H,W] confidence maps. stride: px per cell. threshold: least confidence, before and after scoring.
        bucket_px, grid_w, grid_h: side and number of the buckets.
        rows: f32 [2,h*w,7], buckets: i32 [2,h*w], counts: i64 [2] are workspace.
        starts: i32 [2L,grid_w*grid_h+1] out, where each direction's buckets start.
        places: i32 [2L*h*w] out, a connection's number in field order (within its direction).
        connections: f32 [2L*h*w,7] out: score, source x, y, target x, y, source scale, target scale, px.
    """
    step, total = np.float32(stride), 0
    for edge in range(caf.shape[0]):
        _scored(
            caf[edge], hr, ends[2 * edge], step, threshold, bucket_px, (grid_w, grid_h), rows, buckets, counts
        )  # fmt: skip
        for side in range(2):
            way = starts[2 * edge + side]
            _scatter(rows[side], buckets[side], counts[side], total, way, places, connections)
            total += counts[side]
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
    bucket_px, grid_w = grid[0], grid[1]
    line = gy * grid_w
    first = starts[line + _bucket(x - half, bucket_px, grid_w)]
    return first, starts[line + _bucket(x + half, bucket_px, grid_w) + 1]


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
        table: (connections, places). starts: i32 of this direction. grid: (bucket_px, grid_w, grid_h).
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
