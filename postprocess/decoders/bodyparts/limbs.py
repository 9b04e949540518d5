"""Every limb that two peaks could make, scored. Knows parts and limbs by index only."""

import math

import numpy as np

from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.resample import upsample, value_at

_MOST_SAMPLES = 25  # of a limb
PAIR_COST = _MOST_SAMPLES + 5
"""Of a pair of peaks, in samples of the fields: to score it, and to sort it."""
_TINY = np.float32(1e-6)
_ONE = np.float32(1.0)


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
