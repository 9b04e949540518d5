"""Suppression rule `poses`: people found twice become one (AlphaPose's pose NMS, docs/parity.md 1.8 and 1.9).

It sees poses and the regions they were looked for in, both in pixels of the frame. Of equal scores the first counts as
the highest.

Person score: mean + 1.25 * maximum of the keypoint scores + the region's score, up to about 3.25.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from posert.postprocess.kernels.records import reader
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, U8x1, jit, kernel
from posert.postprocess.kernels.sort import least_of_strongest
from posert.postprocess.kernels.workspace import shaped, take
from posert.postprocess.suppression import RuleKernels
from posert.typed import Count, Range, settle

_PROBLEMS = (
    "a whole body has at least 111 keypoints",
    "each pose needs a region of its own",
    "there are too many people",
)
_MOST = 1 << 24  # people
_NEAR_PX, _MERGE_PX = 7.0, 15.0  # docs/parity.md 1.8: caps of the reference distance for matching and for merging
_FACE, _HANDS = 1.9, 0.55  # docs/parity.md 1.9: distances of face and hands count in other units
_CANDIDATE, _CLUSTER, _GONE = 1, 2, 0  # states of a pose; those of the cluster are one person with this pick


@dataclass(frozen=True, slots=True)
class Params:
    """When two poses are one person; the defaults are AlphaPose's for bodies.

    Attributes:
        whole_body: the last 110 keypoints are 68 of the face and 42 of the hands, weighed apart.
        delta1: unit of the keypoint scores.
        mu, delta2: weight and unit (px) of the distance between keypoints.
        gamma: more similarity than this is one person.
        matches: at least this many close keypoints are one person.
        alpha: keypoints are close within this fraction of the box's longer side (at most 7 px, 15 px for merging).
        min_score: people whose best keypoint has less are left out.
        min_area: people whose keypoints span less are left out, px².
        max_people: at most so many are compared, those with the highest mean score, equal ones all or none; bounds
            time.
    """

    whole_body: bool = False
    delta1: Annotated[float, Range(above=0)] = 1.0
    mu: float = 1.7
    delta2: Annotated[float, Range(above=0)] = 2.65
    gamma: float = 22.48
    matches: float = 5.0
    alpha: float = 0.1
    min_score: float = 0.3
    min_area: float = 0.0
    max_people: Count = 768

    def __post_init__(self) -> None:
        settle(self)


_params = reader(Params)


@jit
def _take_states(workspace, people):
    """Of each pose its state u8 [N] and mean keypoint score f64 [N]; and the bytes taken."""
    state, at = take(workspace, 0, (people,), np.uint8)
    mean, at = take(workspace, at, (people,), np.float64)
    return state, mean, at


@kernel
def pose_nms_workspace(people: int, keypoints: int, numbers: F64x1) -> int:
    """Bytes of the workspace for so many people of so many keypoints, or a problem."""
    if _params(numbers).whole_body and keypoints < 111:
        return -1
    if not 0 <= people <= _MOST:
        return -3
    _, _, end = _take_states(numbers[:0], people)
    return end


@kernel
def pose_nms(
    keypoints: F32x3,
    region_boxes: F32x2,
    region_scores: F32x1,
    numbers: F64x1,
    workspace: U8x1,
    merged: F32x3,
    scores: F32x1,
    boxes: F32x2,
) -> int:
    """Number of people kept (docs/parity.md 1.8, 1.9), or a problem.

    Args:
        keypoints: f32 [N,K,3], x px, y px, score; a score of 0 becomes 1e-5, AlphaPose's own way around a weight of 0.
        merged: f32 [N,K,3] out, the people kept, each its cluster's weighted mean. scores: f32 [N] out, their final
            scores. boxes: f32 [N,4] out, those of their regions. The others: see `RuleKernels`.
    """
    rule, people = _params(numbers), keypoints.shape[0]
    if len(region_boxes) != people or len(region_scores) != people:
        return -2
    state, mean, _ = _take_states(workspace, people)
    kept, left = 0, _begin(keypoints, state, mean, rule.max_people)
    while left > 0:
        pick = _best(state, mean)
        box = region_boxes[pick]
        reach = rule.alpha * max(box[2] - box[0], box[3] - box[1])
        left -= _gather(keypoints, pick, min(reach, _NEAR_PX), left, rule, state)
        if _merge(keypoints, pick, min(reach, _MERGE_PX), rule, region_scores[pick], state, merged, scores, kept):
            for side in range(4):
                boxes[kept, side] = box[side]
            kept += 1
        for i in range(people):
            if state[i] == _CLUSTER:
                state[i] = _GONE
    return kept


@jit
def _begin(keypoints, state, mean, most):
    """The number of candidates: every pose, or the strongest `most`."""
    people, count, _ = keypoints.shape
    for i in range(people):
        state[i], mean[i] = _CANDIDATE, 0.0
        for k in range(count):
            if keypoints[i, k, 2] == 0:
                keypoints[i, k, 2] = np.float32(1e-5)
            mean[i] += keypoints[i, k, 2] / count
    if people <= most:
        return people
    least, left = least_of_strongest(shaped(mean, 0, (1, people)), np.float32(0.0), most), 0
    for i in range(people):
        if mean[i] >= least:
            left += 1
        else:
            state[i] = _GONE
    return left


@jit
def _best(state, mean):
    """The candidate with the highest mean."""
    pick = -1
    for i in range(len(state)):
        if state[i] == _CANDIDATE and (pick < 0 or mean[i] > mean[pick]):
            pick = i
    return pick


@jit
def _gather(keypoints, pick, near, candidates, rule, state):
    """The number of poses in the cluster of this pick."""
    found = 0
    for i in range(len(state)):
        if state[i] != _CANDIDATE:
            continue
        if rule.whole_body:
            same = _same_whole_body(keypoints, pick, i, near, candidates, rule)
        else:
            same = _same_body(keypoints, pick, i, near, rule)
        if same or i == pick:
            state[i] = _CLUSTER
            found += 1
    return found


@jit
def _distance(keypoints, p, i, k):
    x = float(keypoints[p, k, 0]) - float(keypoints[i, k, 0])
    y = float(keypoints[p, k, 1]) - float(keypoints[i, k, 1])
    return math.sqrt(x * x + y * y)


@jit
def _same_body(keypoints, p, i, near, rule):
    """Whether poses p and i are one person, by closeness of all keypoints or by the number that match."""
    score = point = 0.0
    matches = 0
    for k in range(keypoints.shape[1]):
        distance = _distance(keypoints, p, i, k)
        if distance <= 1.0:
            score += math.tanh(keypoints[p, k, 2] / rule.delta1) * math.tanh(keypoints[i, k, 2] / rule.delta1)
        point += math.exp(-distance / rule.delta2)
        if distance <= near:
            matches += 1
    return score + rule.mu * point > rule.gamma or matches >= rule.matches


@jit
def _same_whole_body(keypoints, p, i, near, candidates, rule):
    """As `_same_body`, the parts weighed apart. Odd details (low scores count, indices of 136) are AlphaPose's."""
    count = keypoints.shape[1]
    score = point = 0.0
    matches = sure = 0
    for k in range(count):
        if k < count - 110:
            size, unit, weight_score, weight_point = count - 110, 1.0, 1.0, 1.0
        elif k < count - 42:
            size, unit, weight_score, weight_point = 68, _FACE, 1.0, 1.0
        else:
            size, unit, weight_score, weight_point = 42, _HANDS, 0.1, 1.5
        distance = _distance(keypoints, p, i, k)
        low = keypoints[i, k, 2] < rule.min_score
        if low and distance <= 1.0:
            alike = math.tanh(keypoints[p, k, 2] / rule.delta1) * math.tanh(keypoints[i, k, 2] / rule.delta1)
            score += weight_score * alike / size
        if not low:
            point += weight_point * math.exp(-distance / (unit * rule.delta2)) / size
        if keypoints[p, k, 2] > rule.min_score / 2:
            sure += 1
        allowed = 1.0 if k < 26 else (_FACE if k < 94 else _HANDS)
        if distance <= allowed * near:
            matches += 1
    found = 0.0
    if 2 * candidates * sure >= 2:
        found = matches * count / (4.0 * candidates * sure)
    return score + rule.mu * point > rule.gamma or found >= rule.matches


@jit
def _merge(keypoints, pick, reach, rule, box_score, state, merged, scores, at):
    """Whether the cluster around `pick` is a person; row `at` of merged and scores gets it."""
    count = keypoints.shape[1]
    highest = -math.inf
    for k in range(count):
        highest = max(highest, keypoints[pick, k, 2])
    if highest < rule.min_score:
        return False
    mean, best = 0.0, -math.inf
    low_x = low_y = math.inf
    high_x = high_y = -math.inf
    for k in range(count):
        weight = x = y = square = 0.0
        for i in range(keypoints.shape[0]):
            if state[i] == _CLUSTER and _distance(keypoints, pick, i, k) <= reach:
                own = float(keypoints[i, k, 2])
                weight += own
                square += own * own
                x += own * keypoints[i, k, 0]
                y += own * keypoints[i, k, 1]
        if weight == 0.0:
            weight, x, y = 1.0, float(keypoints[pick, k, 0]), float(keypoints[pick, k, 1])
        x, y, square = x / weight, y / weight, square / weight
        merged[at, k, 0] = x
        merged[at, k, 1] = y
        merged[at, k, 2] = square
        mean += square / count
        best = max(best, square)
        low_x, low_y, high_x, high_y = min(low_x, x), min(low_y, y), max(high_x, x), max(high_y, y)
    if best < rule.min_score or 2.25 * (high_x - low_x) * (high_y - low_y) < rule.min_area:
        return False
    scores[at] = mean + box_score + 1.25 * best
    return True


KERNELS = RuleKernels(_PROBLEMS, pose_nms_workspace, pose_nms, counts_keypoints=True)
suppress = KERNELS.suppress
