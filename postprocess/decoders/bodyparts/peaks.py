"""Maps up-sampled only where a peak can be, their peaks by centroid, and every limb that two peaks could make, scored.

Knows parts and limbs by index only.
The grid is cut into blocks of `BLOCK` x `BLOCK` samples. A block none of whose cells is far enough from zero cannot
exceed the threshold, so it is never computed.
"""

import math
from collections import namedtuple

import numpy as np

from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.resample import upsample, value_at

BLOCK = 8
_REACH = 3  # OpenPose refines a peak within 7 x 7 samples
_MOST_SAMPLES = 25  # of a limb
PAIR_COST = _MOST_SAMPLES + 5
"""Of a pair of peaks, in samples of the fields: to score it, and to sort it."""
_TINY, _ONE = np.float32(1e-6), np.float32(1.0)

Axis = namedtuple("Axis", "taps cells blocks")
"""One axis of the grid: the taps of its samples; cells i64 [blocks,2], the first cell that each block reads, and the
one past the last; blocks i64 [length,2], the first block that reads each cell, and the one past the last."""


@jit
def fill_blocks(axis):
    """Fills `cells` and `blocks` of an axis whose taps are there."""
    first, width, cells, blocks = axis.taps.first, axis.taps.width, axis.cells, axis.blocks
    for b in range(cells.shape[0]):
        cells[b, 0], cells[b, 1] = blocks.shape[0], 0
        for s in range(b * BLOCK, min(first.shape[0], b * BLOCK + BLOCK)):
            cells[b, 0], cells[b, 1] = min(cells[b, 0], first[s]), max(cells[b, 1], first[s] + width)
    for cell in range(blocks.shape[0]):
        begin, end = cells.shape[0], 0
        for b in range(cells.shape[0]):
            if cells[b, 0] <= cell < cells[b, 1]:
                begin, end = min(begin, b), b + 1
        blocks[cell, 0], blocks[cell, 1] = min(begin, end), end


@jit
def _mark(field, floor, blocks_y, blocks_x, active):
    """active u8 [blocks,blocks] = 1 where a block reads a cell that is further from 0 than `floor` (f32)."""
    active[:] = 0
    total = 0
    for r in range(field.shape[0]):
        for c in range(field.shape[1]):
            if not abs(field[r, c]) > floor:
                continue
            for by in range(blocks_y[r, 0], blocks_y[r, 1]):
                for bx in range(blocks_x[c, 0], blocks_x[c, 1]):
                    active[by, bx] = 1
                    total += 1
    return total


@jit
def _fill_block(field, by, bx, y_axis, taps_x, across, grid):
    """The samples of one block into grid f32 [H,W]; across f32 [cells,BLOCK] is workspace."""
    first_y, weight_y, width_y, cells_y = y_axis.taps.first, y_axis.taps.weight, y_axis.taps.width, y_axis.cells
    first_x, weight_x, width_x = taps_x.first, taps_x.weight, taps_x.width
    y0, y1 = by * BLOCK, min(grid.shape[0], by * BLOCK + BLOCK)
    x0, x1 = bx * BLOCK, min(grid.shape[1], bx * BLOCK + BLOCK)
    low = cells_y[by, 0]
    for r in range(low, cells_y[by, 1]):
        for x in range(x0, x1):
            total = np.float32(0.0)
            for j in range(width_x):
                total += weight_x[x, j] * field[r, first_x[x] + j]
            across[r - low, x - x0] = total
    for y in range(y0, y1):
        row = first_y[y] - low
        for x in range(x1 - x0):
            total = np.float32(0.0)
            for i in range(width_y):
                total += weight_y[y, i] * across[row + i, x]
            grid[y, x0 + x] = total


@jit
def _is_peak(grid, active, y, x, ring):
    """Whether sample (y, x), above the threshold, is a peak.

    It is strictly larger than its 8 neighbours, and not on the border. `ring`: the same two samples away from the
    border; on the ring one sample away, at least as large as those neighbours that exist.
    """
    height, width = grid.shape
    strict = 1 <= x <= width - 2 and 1 <= y <= height - 2
    if ring:
        strict = 2 <= x <= width - 3 and 2 <= y <= height - 3
        if not (strict or x == 1 or x == width - 2 or y == 1 or y == height - 2):
            return False
    elif not strict:
        return False
    value = grid[y, x]
    for j in range(max(0, y - 1), min(height, y + 2)):
        for i in range(max(0, x - 1), min(width, x + 2)):
            if (j == y and i == x) or not active[j // BLOCK, i // BLOCK]:
                continue  # a block that was not computed lies below the threshold
            other = grid[j, i]
            if not (value > other or (value == other and not strict)):
                return False
    return True


@jit
def _centroid(field, y, x, taps_y, taps_x, peak):
    """peak f32 [2+] = x, y of the centroid of the positive samples around (y, x)."""
    total, total_x, total_y = 0.0, 0.0, 0.0
    for j in range(max(0, y - _REACH), min(taps_y.first.shape[0], y + _REACH + 1)):
        for i in range(max(0, x - _REACH), min(taps_x.first.shape[0], x + _REACH + 1)):
            value = value_at(field, j, i, taps_y, taps_x, np.float32(1.0))
            if value > np.float32(0.0) and math.isfinite(value):
                total += value
                total_x += np.float64(value) * (i - x)
                total_y += np.float64(value) * (j - y)
    peak[0], peak[1] = x + total_x / total, y + total_y / total


@jit
def _scan(field, rules, work, peaks):
    """peaks f32 [P,3] out of one map whose active blocks are up-sampled, in scan order; returns how many."""
    grid, active, limit, offset = work.grids[0], work.active, np.float32(rules.peak_threshold), np.float32(rules.offset)
    found = 0
    for y in range(grid.shape[0]):
        for bx in range(active.shape[1]):
            if not active[y // BLOCK, bx]:
                continue
            for x in range(bx * BLOCK, min(grid.shape[1], bx * BLOCK + BLOCK)):
                value = grid[y, x]
                if not value > limit or found == peaks.shape[0] or not math.isfinite(value):
                    continue
                if _is_peak(grid, active, y, x, rules.ring):
                    _centroid(field, y, x, work.y.taps, work.x.taps, peaks[found])
                    peaks[found, 0] += offset
                    peaks[found, 1] += offset
                    peaks[found, 2] = value
                    found += 1
    return found


@jit
def find_peaks(maps, rules, work):
    """Peaks of the maps of all parts, by part, then y, then x.

    Args:
        maps: f32 [>=K,h,w]. rules: `peak_threshold`, `ring`, `offset`, see `Rules`.
        work: `y`, `x`: see `Axis`. `floor`: a sample all of whose cells are at most so far from 0 is not above the
            threshold. `active` u8 [blocks,blocks], `block` f32 [h,BLOCK], `grids` f32 [2,H,W] are workspace.
            Out: `peaks` f32 [K,P,3], x, y, score (the sample's value); the first P of a part in scan order; `counts`
            i64 [K].
    """
    low, active = np.float32(work.floor[0]), work.active
    for part in range(work.counts.shape[0]):
        work.counts[part] = 0
        field = maps[part]
        if _mark(field, low, work.y.blocks, work.x.blocks, active) == 0:
            continue
        for by in range(active.shape[0]):
            for bx in range(active.shape[1]):
                if active[by, bx]:
                    _fill_block(field, by, bx, work.y, work.x.taps, work.block, work.grids[0])
        work.counts[part] = _scan(field, rules, work, work.peaks[part])


@jit
def _nearest(value, size):
    return min(max(int(value + np.float32(0.5)), 0), size - 1)


@jit
def _score(fx, fy, dense, ax, ay, bx, by, rules, work):
    """Mean alignment (f32) of the field with a -> b over the samples that count; 0 if the pair is refused.

    It stops at the sample with which too few can count: most pairs are refused at their first.
    """
    taps_y, taps_x, grids = work.y.taps, work.x.taps, work.grids
    inter, ratio = np.float32(rules.limb_threshold), np.float32(rules.limb_ratio)
    height, width = grids.shape[1], grids.shape[2]
    vx, vy = bx - ax, by - ay
    length = np.float32(math.sqrt(vx * vx + vy * vy))
    if not length > _TINY:
        return np.float32(0.0)
    samples = min(max(int(math.sqrt(np.float32(5.0) * max(abs(vx), abs(vy))) + np.float32(0.5)), 5), _MOST_SAMPLES)
    parts = np.float32(samples)
    ux, uy = vx / length, vy / length
    total, missed = np.float32(0.0), 0
    for i in range(samples):
        x = _nearest(ax + np.float32(i) * vx / parts, width)
        y = _nearest(ay + np.float32(i) * vy / parts, height)
        if dense:
            t = ux * grids[0, y, x] + uy * grids[1, y, x]
        else:
            t = ux * value_at(fx, y, x, taps_y, taps_x, _ONE) + uy * value_at(fy, y, x, taps_y, taps_x, _ONE)
        if t > inter:
            total += t
        else:
            missed += 1
            if not np.float32(samples - missed) / parts > ratio:
                return np.float32(rules.near_value) if length < np.float32(rules.near) else np.float32(0.0)
    value = total / np.float32(samples - missed)
    return value if math.isfinite(value) else np.float32(0.0)


@jit
def score_candidates(pafs, edges, channels, rules, work):
    """Every pair of peaks that an edge could join, edge by edge; returns how many.

    Args:
        pafs: f32 [C,h,w]. edges: i64 [L,2] part indices. channels: i64 [L,2] x and y channel of each edge.
        rules: `limb_threshold`, `limb_ratio`, `near`, `near_value`, `key_bonus`, see `Rules`.
        work: as `find_peaks` leaves it. `across` f32 [h,W], `grids` f32 [2,H,W] are workspace: an edge with so many
            pairs that they would read most samples has its field up-sampled at once, to the same bits.
            Out: `key`, `value` f32 [C]; `index` i32 [C,3], edge and the two peaks within their parts; `starts` i64
            [L+1], the first candidate of each edge.
    """
    peaks, counts, grids, bonus, found = work.peaks, work.counts, work.grids, np.float32(rules.key_bonus), 0
    for edge in range(edges.shape[0]):
        work.starts[edge] = found
        a, b = edges[edge, 0], edges[edge, 1]
        fx, fy = pafs[channels[edge, 0]], pafs[channels[edge, 1]]
        dense = counts[a] * counts[b] * 64 > grids.shape[1] * grids.shape[2]
        if dense:
            upsample(fx, work.y.taps, work.x.taps, work.across, grids[0])
            upsample(fy, work.y.taps, work.x.taps, work.across, grids[1])
        for i in range(counts[a]):
            for j in range(counts[b]):
                v = _score(fx, fy, dense, peaks[a, i, 0], peaks[a, i, 1], peaks[b, j, 0], peaks[b, j, 1], rules, work)
                if v > _TINY:
                    work.key[found] = v + bonus * peaks[a, i, 2] + bonus * peaks[b, j, 2]
                    work.value[found] = v
                    work.index[found, 0], work.index[found, 1], work.index[found, 2] = edge, i, j
                    found += 1
    work.starts[edges.shape[0]] = found
    return found
