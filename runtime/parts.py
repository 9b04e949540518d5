"""Where parts of people are looked for: hands, faces, by the people's keypoints or by the parts' own in the last frame.

Owns that rule (`region_spec.Parts`) and how parts become keypoints of their person. Knows keypoints and windows, no
networks, no frames. A window is f64 [6] as of turned regions; a mirrored one has its left beyond its right or, if it
would be upright, its top below its bottom, and is turned half round: whatever is mirrored is turned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posert.poses import Poses, Skeleton
from posert.postprocess.geometry import box_of_keypoints
from posert.postprocess.kernels.records import numbers_of
from posert.postprocess.kernels.registry import (
    F32x1,
    F32x2,
    F32x3,
    F64x1,
    F64x2,
    I64x1,
    I64x2,
    U8x1,
    jit,
    kernel,
)  # fmt: skip
from posert.runtime.region_spec import Part, Parts, Place
from posert.runtime.spec import Stage
from posert.runtime.turned import read_turn, turned_place
from posert.runtime.windows import read_spec, spec_numbers, widened

_FIRST, _COUNT, _LEAST, _NEAR, _MIRRORED, _UP, _FROM, _TO, _PLACES, _HEAD = range(10)
"""A part as numbers: its first keypoint among the person's, and how many; `min_score`, `near`, `mirrored`; whether a
line points up, and its ends; how many places, and where they begin. A place: the number of its group, of which the
first that applies counts; whether its side is the sum; the numbers of shares, lines and absent ones; then those."""


@dataclass(frozen=True, slots=True)
class PartRules:
    """The parts that a stage looks at, as its kernels take them.

    Attributes:
        parts: f64 [n] of each. spec: of the stage's input. again: of `Parts.again`; without one empty.
        firsts: i64 [n], the first keypoint of each. count: of their keypoints. apart: see `Parts`.
    """

    parts: tuple[NDArray[np.float64], ...]
    spec: NDArray[np.float64]
    again: NDArray[np.float64]
    firsts: NDArray[np.int64]
    count: int
    apart: float


def part_rules(stage: Stage, skeleton: Skeleton) -> PartRules:
    """The rules of a stage that looks at parts of people with this skeleton, the parts' own keypoints among them."""
    assert stage.parts is not None, "such a stage has parts"
    again, each = stage.parts.again, stage.parts.each
    return PartRules(
        tuple(_numbers(part, stage.parts, skeleton.names) for part in each),
        spec_numbers(stage.input),
        np.zeros(0) if again is None else numbers_of(again),
        np.array([skeleton.names.index(part.names[0]) for part in each]),
        len(each[0].names),
        stage.parts.apart,
    )


def usable_places(part: Part, names: Sequence[str]) -> list[tuple[int, Place]]:
    """The places that speak of nothing but these keypoints, each with the number of its group."""
    found, group = [], 0
    for place in part.places:
        group += not place.otherwise
        if {*place.centre, *(end for line in place.lines for end in line[:2])} <= set(names):
            found.append((group, place))
    return found


def _numbers(part: Part, parts: Parts, names: tuple[str, ...]) -> NDArray[np.float64]:
    places, up = usable_places(part, names), part.up
    ends = (0, 0) if up is None else map(names.index, up)
    numbers: list[float] = [names.index(part.names[0]), len(part.names), parts.min_score, parts.near, part.mirrored]
    numbers += [up is not None, *ends, len(places)]
    for group, place in places:
        absent = [names.index(name) for name in place.without if name in names]
        numbers += [group, place.side == "sum", len(place.centre), len(place.lines), len(absent)]
        numbers += [number for name, share in place.centre.items() for number in (names.index(name), share)]
        numbers += [number for a, b, factor in place.lines for number in (names.index(a), names.index(b), factor)]
        numbers += absent
    return np.array(numbers, np.float64)


def part_windows(
    rules: PartRules, people: Poses, known: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Windows f64 [R,6] of the parts, those of the first part first, and i64 [R,2]: whose, and the first keypoint.

    Args:
        people: N, px of the frame, their keypoints f32 [N,K,3] with room for the parts'.
        known: f32 [M,K,3], the people of the last frame, parts included.
    """
    count = len(people)
    windows, owners = np.empty((len(rules.parts) * count, 6)), np.empty((len(rules.parts) * count, 2), np.int64)
    keypoints, taken, found = np.ascontiguousarray(people.keypoints), np.empty(len(known), np.uint8), 0
    for part in rules.parts:
        more = windows[found : found + count], owners[found : found + count]
        found += place_parts(part, rules.spec, rules.again, keypoints, known, taken, *more)
    return windows[:found], owners[:found]


@jit
def _found(rule, keypoints, k):
    at = int(k)
    return 0 <= at < keypoints.shape[0] and keypoints[at, 2] > 0 and keypoints[at, 2] >= rule[_LEAST]


@jit
def _distance(keypoints, a, b):
    x = np.float64(keypoints[int(b), 0]) - np.float64(keypoints[int(a), 0])
    y = np.float64(keypoints[int(b), 1]) - np.float64(keypoints[int(a), 1])
    return math.sqrt(x * x + y * y)


@jit
def _applies(rule, at, keypoints):
    """Whether the place that begins at `at` applies to a person."""
    shares, lines, absent = int(rule[at + 2]), int(rule[at + 3]), int(rule[at + 4])
    begin, good = at + 5, True
    for i in range(shares):
        good = good and _found(rule, keypoints, rule[begin + 2 * i])
    begin += 2 * shares
    for i in range(lines):
        for end in range(2):
            good = good and _found(rule, keypoints, rule[begin + 3 * i + end])
    begin += 3 * lines
    for i in range(absent):
        good = good and not _found(rule, keypoints, rule[begin + i])
    return good


@jit
def _square(rule, at, keypoints):
    """Centre x, y and side px of a place that applies."""
    shares, lines, x, y, side = int(rule[at + 2]), int(rule[at + 3]), 0.0, 0.0, 0.0
    begin = at + 5
    for i in range(shares):
        k, share = int(rule[begin + 2 * i]), rule[begin + 2 * i + 1]
        x, y = x + share * np.float64(keypoints[k, 0]), y + share * np.float64(keypoints[k, 1])
    begin += 2 * shares
    for i in range(lines):
        length = rule[begin + 3 * i + 2] * _distance(keypoints, rule[begin + 3 * i], rule[begin + 3 * i + 1])
        side = side + length if rule[at + 1] != 0 else max(side, length)
    return x, y, side


@jit
def _mean_square(rule, keypoints):
    """Mean centre x, y and mean side px of the places that apply; a side of 0 where none does."""
    at, group, count, x, y, side = _HEAD, -1.0, 0, 0.0, 0.0, 0.0
    for _ in range(int(rule[_PLACES])):
        if rule[at] != group and _applies(rule, at, keypoints):
            own_x, own_y, own_side = _square(rule, at, keypoints)
            group, count, x, y, side = rule[at], count + 1, x + own_x, y + own_y, side + own_side
        at += 5 + 2 * int(rule[at + 2]) + 3 * int(rule[at + 3]) + int(rule[at + 4])
    if count == 0 or not (side > 0.0 and abs(x) + abs(y) + side < math.inf):
        return 0.0, 0.0, 0.0
    return x / count, y / count, side / count


@jit
def _upwards(rule, keypoints):
    """Whether the crop has a direction, and cosine and sine of its turn."""
    if rule[_UP] == 0:
        return True, 1.0, 0.0
    first, last = int(rule[_FROM]), int(rule[_TO])
    if not (_found(rule, keypoints, first) and _found(rule, keypoints, last)):
        return False, 1.0, 0.0
    length = _distance(keypoints, first, last)
    if not 0.0 < length < math.inf:
        return False, 1.0, 0.0
    x = (np.float64(keypoints[last, 0]) - np.float64(keypoints[first, 0])) / length
    y = (np.float64(keypoints[last, 1]) - np.float64(keypoints[first, 1])) / length
    return True, -y, x


@jit
def _known_part(rule, again, known, taken, x, y, most):
    """Whose part of the last frame, the nearest not yet taken, has its centre within `most` px; -1 = nobody's."""
    nearest, at, count = -1, int(rule[_FIRST]), int(rule[_COUNT])
    for person in range(known.shape[0]):
        own = known[person, at : at + count]
        there_x, there_y, wide, high, _, _ = turned_place(again, own, rule)  # which takes no box
        apart = math.sqrt((there_x - x) * (there_x - x) + (there_y - y) * (there_y - y))
        if not taken[person] and 0.0 < wide + high < math.inf and apart <= most:
            nearest, most = person, apart
    return nearest


@kernel
def place_parts(
    rule: F64x1,
    numbers: F64x1,
    again: F64x1,
    keypoints: F32x3,
    known: F32x3,
    taken: U8x1,
    windows: F64x2,
    owners: I64x2,
) -> int:
    """How many of N people have the part; windows f64 [N,6] and owners i64 [N,2] get them.

    Args:
        rule: see `PartRules`. numbers: see `windows.spec_numbers`. again: `Turn` as numbers, or empty.
        keypoints: f32 [N,K,3]. known: f32 [M,K,3], the people of the last frame. taken: u8 [M], workspace.
        owners: whose a window is, and the first of its keypoints among the person's.
    """
    spec, count = read_spec(numbers), 0
    taken[:] = 0
    for person in range(keypoints.shape[0]):
        x, y, side = _mean_square(rule, keypoints[person])
        there, cosine, sine = _upwards(rule, keypoints[person])
        if not (there and side > 0.0):
            continue
        half = half_high = side / 2
        last = -1
        if again.shape[0] > 0:
            last = _known_part(rule, read_turn(again), known, taken, x, y, rule[_NEAR] * side)
        if last >= 0:
            own = known[last, int(rule[_FIRST]) : int(rule[_FIRST]) + int(rule[_COUNT])]
            x, y, wide, high, cosine, sine = turned_place(read_turn(again), own, rule)
            half, half_high = widened(spec, wide, high)
            taken[last] = 1
        if rule[_MIRRORED] != 0 and cosine == 1.0 and sine == 0.0:
            half_high, cosine = -half_high, -1.0
        elif rule[_MIRRORED] != 0:
            half = -half
        windows[count, 0], windows[count, 1] = x - half, y - half_high
        windows[count, 2], windows[count, 3] = x + half, y + half_high
        windows[count, 4], windows[count, 5] = cosine, sine
        owners[count, 0], owners[count, 1] = person, int(rule[_FIRST])
        count += 1
    return count


@kernel
def put_part(found: F32x3, scores: F32x1, person: F32x2, first: int) -> int:
    """The number of keypoints that a person f32 [K,3] gets from index `first` on: of the best of what a window shows.

    found: f32 [N,P,3]. scores: f32 [N]. Nothing found leaves the person as he is.
    """
    best, count = 0, found.shape[1]
    for i in range(1, found.shape[0]):
        if scores[i] > scores[best]:
            best = i
    if found.shape[0] == 0 or first < 0 or first + count > person.shape[0]:
        return 0
    for k in range(count):
        for axis in range(3):
            person[first + k, axis] = found[best, k, axis]
    return count


@jit
def _part_score(keypoints):
    total = np.float32(0.0)
    for k in range(keypoints.shape[0]):
        total += keypoints[k, 2]
    return total


@jit
def _same_place(one, other, apart, box):
    """Whether two parts f32 [P,3] that were found are the same one. box: f32 [4], workspace."""
    total, side = 0.0, 0.0
    for k in range(one.shape[0]):
        x, y = np.float64(one[k, 0]) - np.float64(other[k, 0]), np.float64(one[k, 1]) - np.float64(other[k, 1])
        total += math.sqrt(x * x + y * y)
    for part in (one, other):
        box_of_keypoints(part, box)
        side = max(side, np.float64(box[2]) - np.float64(box[0]), np.float64(box[3]) - np.float64(box[1]))
    return total <= apart * side * one.shape[0]


@kernel
def drop_doubles(people: F32x3, firsts: I64x1, count: int, apart: float, box: F32x1) -> int:
    """How many parts of people f32 [N,K,3] go, because they are another one of the same person; see `Parts.apart`.

    firsts: i64 [n], the first keypoint of each part. count: of its keypoints. box: f32 [4], workspace.
    """
    dropped = 0
    for person in range(people.shape[0]):
        for i in range(firsts.shape[0]):
            for j in range(i + 1, firsts.shape[0]):
                one = people[person, firsts[i] : firsts[i] + count]
                other = people[person, firsts[j] : firsts[j] + count]
                score, second = _part_score(one), _part_score(other)
                if score > 0 and second > 0 and _same_place(one, other, apart, box):
                    worse = one if second > score else other
                    worse[:] = np.float32(0.0)
                    dropped += 1
    return dropped


def without_doubles(rules: PartRules, people: Poses) -> None:
    """Takes parts that are another one of the same person out of the keypoints of the people."""
    if rules.apart > 0 and len(rules.firsts) > 1:
        drop_doubles(people.keypoints, rules.firsts, rules.count, rules.apart, np.empty(4, np.float32))


def with_room(people: Poses, count: int) -> Poses:
    """The same people with `count` keypoints, those beyond theirs not found."""
    keypoints = np.zeros((len(people), count, 3), np.float32)
    keypoints[:, : people.keypoints.shape[1]] = people.keypoints
    return Poses(keypoints, people.scores, people.boxes_xyxy, people.ids)
