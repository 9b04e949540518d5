"""Composite association fields (CAF) -> scored connections, and the target of a joint's. Knows no poses.

The connections of a directed edge lie in buckets of their source's position, so that a look-up reads the neighbourhood
of a point and not the whole field. Directed edge 2l is edge l as the skeleton has it, 2l+1 the way back.
"""

import math
from collections import namedtuple

import numpy as np

from posert.postprocess.decoders.cifcaf.cif import BLOCK, MAX_CELLS, claim, clamp, finite, quiet
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.sort import least_of_strongest
from posert.postprocess.kernels.workspace import take

MAX_READS = 200_000_000
"""Connections and lines of buckets read per image, at most; then poses stop growing. Bounds time on hostile fields (12
people: 24,000 connections)."""

Associations = namedtuple("Associations", "values pixels firsts")
"""The cells that count, in edge, row, column order.

values f32 [N,7]: confidence, x1, y1, x2, y2, scale 1, scale 2, px; N is at most `MAX_CELLS` of the L*h*w cells. pixels
i32 [N,2]: where the maps of both joints are read. firsts i64 [L+1]: each edge's first row.
"""

Connections = namedtuple("Connections", "per_px wide high starts places values scores buckets reads")
"""The connections of both directions of each edge, by the bucket of their source.

per_px, wide, high: buckets per px, and their numbers. reads i64 [1]: connections read in this image, see MAX_READS.
starts i32 [2L,wide*high+1]: where each directed edge's buckets start.
places i32 [2N]: a connection's number in field order (within its directed edge).
values f32 [2N,7]: score, source x, y, target x, y, source scale, target scale, px.
scores f32 [h*w], buckets i32 [h*w]: of one edge's cells while they are sorted.
"""


@jit
def take_connections(workspace, at, edges, h, w, stride):
    """`Associations` and `Connections` at byte `at` of the workspace, for fields of h x w cells, and the end."""
    wide, high, cells = w // 4 + 1, h // 4 + 1, h * w
    most = min(edges * cells, MAX_CELLS)
    rows, at = take(workspace, at, (most, 7), np.float32)
    pixels, at = take(workspace, at, (most, 2), np.int32)
    firsts, at = take(workspace, at, (edges + 1,), np.int64)
    starts, at = take(workspace, at, (2 * edges, wide * high + 1), np.int32)
    places, at = take(workspace, at, (2 * most,), np.int32)
    values, at = take(workspace, at, (2 * most, 7), np.float32)
    scores, at = take(workspace, at, (cells,), np.float32)
    buckets, at = take(workspace, at, (cells,), np.int32)
    reads, at = take(workspace, at, (1,), np.int64)
    connections = Connections(1.0 / (4.0 * stride), wide, high, starts, places, values, scores, buckets, reads)
    return Associations(rows, pixels, firsts), connections, at


@jit
def _bucket(position, per_px, count):
    return clamp(position * per_px, 0, count - 1)


@jit
def list_associations(caf, edges, stride, threshold, cells, maps):
    """Lists the cells whose confidence is not below `threshold` and whose values are finite, and claims their pixels.

    At most as many as there is room for, those with the most confidence; of equal ones all or none.
    caf f32 [L,8,h*w]: unused, confidence, x1, y1, x2, y2, scale 1, scale 2, in cells of `stride` px. edges i64 [L,2].
    """
    size, step, least, count = caf.shape[2], np.float32(stride), np.float32(threshold), 0
    least = least_of_strongest(caf[:, 1], least, cells.values.shape[0])
    for edge in range(caf.shape[0]):
        field, a, b = caf[edge], edges[edge, 0], edges[edge, 1]
        confidence, cells.firsts[edge] = field[1], count
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
                row = cells.values[count]
                row[0], row[1], row[2], row[3], row[4], row[5], row[6] = c, xa, ya, xb, yb, sa, sb
                cells.pixels[count, 0] = claim(maps, a, float(xa), float(ya))
                cells.pixels[count, 1] = claim(maps, b, float(xb), float(yb))
                count += 1
    cells.firsts[caf.shape[0]] = count


@jit
def _count(rows, pixels, side, map_, least, connections, starts):
    """Scores one edge's rows from joint `side` on (by the other joint's map); counts bucket b's in starts[b + 1]."""
    scores, buckets, per_px = connections.scores, connections.buckets, connections.per_px
    starts[:] = 0
    for i in range(len(rows)):
        pixel = pixels[i, 1 - side]
        scores[i] = np.float32(rows[i, 0] * (0.1 + 0.9 * (float(map_[pixel]) if pixel >= 0 else 0.0)))
        across = _bucket(float(rows[i, 1 + 2 * side]), per_px, connections.wide)
        bucket = _bucket(float(rows[i, 2 + 2 * side]), per_px, connections.high) * connections.wide + across
        kept = scores[i] > least
        buckets[i] = bucket if kept else -1
        starts[bucket + 1] += kept


@jit
def _scatter(rows, side, base, connections, starts):
    """The place after the last row, the rows from `base` on in the order of their buckets, stable.

    starts[b] becomes bucket b's first place, starts[-1] the end.
    """
    scores, buckets, places, out = connections.scores, connections.buckets, connections.places, connections.values
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


@jit
def score_connections(cells, edges, maps, threshold, connections):
    """Fills the connections with those above `threshold`, of all edges and both directions, from the filled maps."""
    least, total, firsts = np.float32(threshold), 0, cells.firsts
    for edge in range(len(edges)):
        rows, pixels = cells.values[firsts[edge] : firsts[edge + 1]], cells.pixels[firsts[edge] : firsts[edge + 1]]
        for side in range(2):  # the source is joint a, then joint b
            starts = connections.starts[2 * edge + side]
            _count(rows, pixels, side, maps.values, least, connections, starts)
            total = _scatter(rows, side, total, connections, starts)


@jit
def _row_score(rows, i, x, y, width, half, least):
    """Confidence times a Gaussian of the distance from x, y; -1 outside the window, or if it is surely below `least`.

    exp(-z) <= 1 / (1 + z) saves most of the exponentials and divisions; the margin covers the rounding of both.
    """
    dx, dy = rows[i, 1] - x, rows[i, 2] - y
    if not (abs(dx) <= half and abs(dy) <= half):
        return -1.0
    half_d2, c = 0.5 * (dx * dx + dy * dy), float(rows[i, 0])
    if c * width * (1 + 1e-12) < least * (width + half_d2):
        return -1.0
    return math.exp(-half_d2 / width) * c


@jit
def _rows_of(connections, starts, line, x, half):
    """First and last place (exclusive) of the buckets that the window touches in a line: they lie in a row."""
    per_px, wide = connections.per_px, connections.wide
    first = starts[line * wide + _bucket(x - half, per_px, wide)]
    return first, starts[line * wide + _bucket(x + half, per_px, wide) + 1]


@jit
def _lines_of(connections, y, half):
    """First and last line (exclusive) of buckets that the window touches."""
    per_px, high = connections.per_px, connections.high
    return _bucket(y - half, per_px, high), _bucket(y + half, per_px, high) + 1


@jit
def _second_of_ties(connections, starts, x, y, width, half, best, best_place, second):
    """The runner-up that reading in field order would keep: the last equal one before the best, else the first after.

    Only called when scores are equal; then two of them may both be the best.
    """
    places, rows = connections.places, connections.values
    before, after, found = -1, -1, -1
    top, bottom = _lines_of(connections, y, half)
    for line in range(top, bottom):
        first, last = _rows_of(connections, starts, line, x, half)
        for i in range(first, last):
            if places[i] == best_place or _row_score(rows, i, x, y, width, half, second) != second:
                continue
            if places[i] < best_place:
                if places[i] > before:
                    before, found = places[i], i
            elif before < 0 and (after < 0 or places[i] < after):
                after, found = places[i], i
    return found


@jit
def blend(connections, directed_edge, x, y, s, factor):
    """Score, x, y and scale (px) of the target that a directed edge's connections give a source; score 0: none.

    x, y, s: the source. factor: widens the window, 1 normally.
    """
    starts, places, rows = connections.starts[directed_edge], connections.places, connections.values
    s = max(s, 0.5)
    half, width = factor * s / 2, 0.25 * s * s
    best, second, a, b, tied = 0.0, 0.0, -1, -1, False
    top, bottom = _lines_of(connections, y, half)
    for line in range(top, bottom):
        first, last = _rows_of(connections, starts, line, x, half)
        connections.reads[0] += 1 + last - first
        if connections.reads[0] > MAX_READS:
            return 0.0, 0.0, 0.0, 0.0
        for i in range(first, last):
            score = _row_score(rows, i, x, y, width, half, second)
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
        b = _second_of_ties(connections, starts, x, y, width, half, best, places[a], second)
    xa, ya, sa = float(rows[a, 3]), float(rows[a, 4]), max(0.0, float(rows[a, 6]))
    if second < 0.01 or second < 0.5 * best or b < 0:
        return 0.5 * best, xa, ya, sa
    xb, yb, sb = float(rows[b, 3]), float(rows[b, 4]), max(0.0, float(rows[b, 6]))
    if (xa - xb) * (xa - xb) + (ya - yb) * (ya - yb) > sa * sa / 4:
        return 0.5 * best, xa, ya, sa
    total = best + second
    x, y = (best * xa + second * xb) / total, (best * ya + second * yb) / total
    return 0.5 * total, x, y, (best * sa + second * sb) / total
