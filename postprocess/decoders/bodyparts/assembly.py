"""People out of scored limbs, and which of them stay. Knows parts and limbs by index only.

Two rules: all limbs of all edges in one sorted list (`assemble_globally`), or edge by edge (`assemble_pairwise`).
"""

import numpy as np

from posert.postprocess.geometry import box_of_keypoints
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.sort import sort_by


@jit
def _merge(people, scores, sizes, owners, r, s):
    """Person s into person r, which it shares no part with; False, and nothing done, if it does."""
    for k in range(people.shape[1]):
        if people[r, k] >= 0 and people[s, k] >= 0:
            return False
    for k in range(people.shape[1]):
        if people[s, k] >= 0:
            people[r, k] = people[s, k]
            owners[k, people[s, k]] = r
    scores[r] += scores[s]
    sizes[r] += sizes[s]
    sizes[s] = -1
    return True


@jit
def assemble_globally(edges, candidates, work):
    """People out of the candidates of all edges, best key first; returns the number of rows, at most M.

    Args:
        edges: i64 [L,2]. candidates: their number.
        work: as `score_candidates` leaves it. `order` i32 [C], `owners` i32 [K,P] are workspace.
            Out: `people` i32 [M,K], peaks within their parts, -1 = missing; `scores` f64 [M], sums of peak scores and
            limb values; `sizes` i64 [M], parts of each person, -1 = merged away.
    """
    peaks, owners, people, scores, sizes = work.peaks, work.owners, work.people, work.scores, work.sizes
    for c in range(candidates):
        work.order[c] = c
    sort_by(work.key, work.value, work.order[:candidates], True)
    owners[:] = -1
    count = 0
    for rank in range(candidates):
        c = work.order[rank]
        edge, i, j, v = work.index[c, 0], work.index[c, 1], work.index[c, 2], work.value[c]
        a, b = edges[edge, 0], edges[edge, 1]
        r, s = owners[a, i], owners[b, j]
        if r < 0 and s < 0:
            if count == people.shape[0]:
                continue
            people[count] = -1
            people[count, a], people[count, b] = i, j
            owners[a, i], owners[b, j] = count, count
            scores[count], sizes[count] = peaks[a, i, 2] + peaks[b, j, 2] + v, 2
            count += 1
        elif r >= 0 and s >= 0:
            if r == s or _merge(people, scores, sizes, owners, min(r, s), max(r, s)):
                scores[min(r, s)] += v
        else:
            person, part, peak = (r, b, j) if r >= 0 else (s, a, i)
            if people[person, part] < 0:
                people[person, part], owners[part, peak] = peak, person
                scores[person] += peaks[part, peak, 2] + v
                sizes[person] += 1
    return count


@jit
def _add_single(people, scores, sizes, count, part, peaks, found):
    """A person of one part for each peak of the part that nobody has; returns the new number of rows."""
    held = count
    for peak in range(found):
        free = True
        for person in range(held):
            free = free and people[person, part] != peak
        if free and count < people.shape[0]:
            people[count] = -1
            people[count, part] = peak
            scores[count], sizes[count] = peaks[part, peak, 2], 1
            count += 1
    return count


@jit
def _complete(people, count, a, b, i, j):
    """Limb (i, j) to everybody who has one of its ends and lacks the other, at no gain."""
    for person in range(count):
        if people[person, a] == i and people[person, b] < 0:
            people[person, b] = j
        elif people[person, b] == j and people[person, a] < 0:
            people[person, a] = i


@jit
def _extend(people, scores, sizes, count, a, b, i, j, peaks, v):
    """Limb (i, j) to the first person who has its end a, over what is there, or a new one; the new number of rows."""
    for person in range(count):
        if people[person, a] == i:
            people[person, b] = j
            scores[person] += peaks[b, j, 2] + v
            sizes[person] += 1
            return count
    if count == people.shape[0]:
        return count
    people[count] = -1
    people[count, a], people[count, b] = i, j
    scores[count], sizes[count] = peaks[a, i, 2] + peaks[b, j, 2] + v, 2
    return count + 1


@jit
def assemble_pairwise(edges, work):
    """People edge by edge; each peak has at most one limb per edge, the best first; returns the number of rows, <= M.

    Args:
        edges: i64 [L,2].
        work: as `score_candidates` leaves it. `redundant` u8 [L]: 1 = an edge that only fills in parts of people who
            are there. `order` i32 [C], `used` u8 [2,P] are workspace. Out: see `assemble_globally`.
    """
    peaks, counts, people, scores, sizes = work.peaks, work.counts, work.people, work.scores, work.sizes
    count = 0
    for edge in range(edges.shape[0]):
        a, b = edges[edge, 0], edges[edge, 1]
        if counts[a] == 0 or counts[b] == 0:
            part = b if counts[a] == 0 else a
            count = _add_single(people, scores, sizes, count, part, peaks, counts[part])
            continue
        start = work.starts[edge]
        order = work.order[start : work.starts[edge + 1]]
        for rank in range(order.shape[0]):
            order[rank] = start + rank
        sort_by(work.key, work.value, order, True)
        work.used[:] = 0
        for rank in range(order.shape[0]):
            c = order[rank]
            i, j = work.index[c, 1], work.index[c, 2]
            if work.used[0, i] or work.used[1, j]:
                continue
            work.used[0, i] = 1
            work.used[1, j] = 1
            if work.redundant[edge]:
                _complete(people, count, a, b, i, j)
            else:
                # Edge 0 finds nobody yet: every limb of it is a person.
                count = _extend(people, scores, sizes, count, a, b, i, j, peaks, work.value[c])
    return count


@jit
def _is_kept(person, feet, feet_count, rules, work):
    """Whether somebody is whole enough: feet do not count, unless `feet_count`."""
    size, others = work.sizes[person], work.sizes[person]
    for part in feet:
        others -= work.people[person, part] >= 0
    if not feet_count and others != size and others <= 4:
        return False
    counted = size if feet_count else others
    return counted >= rules.min_parts and work.scores[person] >= rules.min_score * counted


@jit
def _report(person, edges, work, keypoints, box):
    """keypoints f32 [K,3] and box f32 [4] of somebody; returns the score (f64)."""
    for k in range(keypoints.shape[0]):
        peak = work.people[person, k]
        for column in range(3):
            keypoints[k, column] = work.peaks[k, peak, column] if peak >= 0 else np.float32(0.0)
    box_of_keypoints(keypoints, box)
    return work.scores[person] / (keypoints.shape[0] + edges)


@jit
def collect(rows, edges, feet, rules, work, keypoints, scores, boxes):
    """The people who are whole enough; when nobody is, those who are with the feet counted. Returns how many.

    Args:
        rows: of `work`, as assembled. edges: L. feet: i64 [n], parts. rules: `min_parts`, `min_score`.
        keypoints: f32 [M,K,3] out. scores: f32 [M] out. boxes: f32 [M,4] out.
    """
    count = 0
    for feet_count in range(2):
        for person in range(rows):
            if _is_kept(person, feet, feet_count, rules, work):
                scores[count] = _report(person, edges, work, keypoints[count], boxes[count])
                count += 1
        if count > 0:
            break
    return count
