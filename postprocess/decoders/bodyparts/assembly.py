"""Shared kernels: people out of scored limbs. Knows parts and limbs by index only.

Two rules: all limbs of all edges in one sorted list (`assemble_globally`), or edge by edge (`assemble_pairwise`).
"""

from posert.postprocess.decoders.bodyparts.limbs import sort_candidates
from posert.postprocess.kernels.registry import F32x1, F32x3, F64x1, I32x1, I32x2, I64x1, I64x2, U8x1, U8x2, jit, kernel


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


@kernel
def assemble_globally(
    edges: I64x2,
    peaks: F32x3,
    key: F32x1,
    value: F32x1,
    index: I32x2,
    order: I32x1,
    candidates: int,
    owners: I32x2,
    people: I32x2,
    scores: F64x1,
    sizes: I64x1,
) -> int:
    """People out of the candidates of all edges, best key first.

    Args:
        edges, peaks, key, value, index, candidates: as `score_candidates` takes and gives them.
        order: i32 [C], owners: i32 [K,P] are workspace.
        people: i32 [M,K] out, peaks within their parts, -1 = missing; M >= half of all peaks. scores: f64 [M], sums of
            peak scores and limb values. sizes: i64 [M], parts of each person, -1 = merged away.

    Returns the number of rows.
    """
    for c in range(candidates):
        order[c] = c
    sort_candidates(key, value, order[:candidates])
    owners[:] = -1
    count = 0
    for rank in range(candidates):
        c = order[rank]
        a, b = edges[index[c, 0], 0], edges[index[c, 0], 1]
        i, j, v = index[c, 1], index[c, 2], float(value[c])
        r, s = owners[a, i], owners[b, j]
        if r < 0 and s < 0:
            people[count] = -1
            people[count, a], people[count, b] = i, j
            owners[a, i], owners[b, j] = count, count
            scores[count], sizes[count] = float(peaks[a, i, 2]) + float(peaks[b, j, 2]) + v, 2
            count += 1
        elif r >= 0 and s >= 0:
            if r == s or _merge(people, scores, sizes, owners, min(r, s), max(r, s)):
                scores[min(r, s)] += v
        else:
            person, part, peak = (r, b, j) if r >= 0 else (s, a, i)
            if people[person, part] < 0:
                people[person, part], owners[part, peak] = peak, person
                scores[person] += float(peaks[part, peak, 2]) + v
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
        if free:
            people[count] = -1
            people[count, part] = peak
            scores[count], sizes[count] = float(peaks[part, peak, 2]), 1
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
            scores[person] += float(peaks[b, j, 2]) + v
            sizes[person] += 1
            return count
    people[count] = -1
    people[count, a], people[count, b] = i, j
    scores[count], sizes[count] = float(peaks[a, i, 2]) + float(peaks[b, j, 2]) + v, 2
    return count + 1


@kernel
def assemble_pairwise(
    edges: I64x2,
    redundant: U8x1,
    peaks: F32x3,
    counts: I64x1,
    key: F32x1,
    value: F32x1,
    index: I32x2,
    order: I32x1,
    starts: I64x1,
    used: U8x2,
    people: I32x2,
    scores: F64x1,
    sizes: I64x1,
) -> int:
    """People edge by edge; each peak has at most one limb per edge, the best first.

    Args:
        redundant: u8 [L], 1 = an edge that only fills in parts of people who are there. order: i32 [C], used: u8 [2,P]
            are workspace. The others: see `assemble_globally`; M >= P * L.

    Returns the number of rows.
    """
    count = 0
    for edge in range(edges.shape[0]):
        a, b = edges[edge, 0], edges[edge, 1]
        if counts[a] == 0 or counts[b] == 0:
            part = b if counts[a] == 0 else a
            count = _add_single(people, scores, sizes, count, part, peaks, counts[part])
            continue
        mine = order[starts[edge] : starts[edge + 1]]
        for c in range(mine.shape[0]):
            mine[c] = starts[edge] + c
        sort_candidates(key, value, mine)
        used[:] = 0
        for rank in range(mine.shape[0]):
            c = mine[rank]
            i, j = index[c, 1], index[c, 2]
            if used[0, i] or used[1, j]:
                continue
            used[0, i] = 1
            used[1, j] = 1
            if redundant[edge]:
                _complete(people, count, a, b, i, j)
            else:
                # Edge 0 finds nobody yet: every limb of it is a person.
                count = _extend(people, scores, sizes, count, a, b, i, j, peaks, float(value[c]))
    return count
