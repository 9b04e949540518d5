"""Kernels that drop doubles: greedy box suppression, and AlphaPose's parametric pose suppression.

Tie rule: of equal scores the first counts as the highest.
"""

import math

import numpy as np

from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, I64x1, U8x1, jit, kernel

# Indices of the constants in `rule`, f64 [RULE_SIZE]; see postprocess/suppress_poses.py.
MU, DELTA1, DELTA2, GAMMA, MIN_SCORE, MIN_MATCHES, ALPHA, MIN_AREA = range(8)
RULE_SIZE = 8
_NEAR_PX, _MERGE_PX = 7.0, 15.0  # parity 1.8: caps of the reference distance for matching and for merging
_FACE, _HANDS = 1.9, 0.55  # parity 1.9: distances of face and hands count in other units


@kernel
def box_nms(
    boxes: F32x2, count: int, max_iou: float, extra_px: float, inclusive: int, alive: U8x1, picks: I64x1
) -> int:
    """Number of boxes kept; `picks` gets their rows, highest score first.

    Args:
        boxes: f32 [N,5+], left, top, right, bottom px, score; the first `count` rows.
        max_iou: overlap that a kept box allows; with `inclusive` less than that.
        extra_px: added to every width and height; 1 in the convention that counts pixels.
        alive: u8 [N], workspace.
        picks: i64 [N].
    """
    one = np.float32(extra_px)
    for i in range(count):
        alive[i] = 1
    kept = 0
    while True:
        best = -1
        for i in range(count):
            if alive[i] and (best < 0 or boxes[i, 4] > boxes[best, 4]):
                best = i
        if best < 0:
            return kept
        alive[best] = 0
        picks[kept] = best
        kept += 1
        area = (boxes[best, 2] - boxes[best, 0] + one) * (boxes[best, 3] - boxes[best, 1] + one)
        for i in range(count):
            if not alive[i]:
                continue
            width = min(boxes[best, 2], boxes[i, 2]) - max(boxes[best, 0], boxes[i, 0]) + one
            height = min(boxes[best, 3], boxes[i, 3]) - max(boxes[best, 1], boxes[i, 1]) + one
            if width <= 0 or height <= 0:
                continue
            shared = width * height
            other = (boxes[i, 2] - boxes[i, 0] + one) * (boxes[i, 3] - boxes[i, 1] + one)
            iou = shared / (area + other - shared)
            if iou > max_iou or (inclusive and iou >= max_iou):
                alive[i] = 0


@kernel
def pose_nms(
    keypoints: F32x3,
    boxes: F32x2,
    box_scores: F32x1,
    whole_body: int,
    rule: F64x1,
    alive: U8x1,
    means: F64x1,
    merged: F32x3,
    scores: F32x1,
    picks: I64x1,
) -> int:
    """Number of people kept (parity 1.8, 1.9).

    Args:
        keypoints: f32 [N,K,3], x px, y px, score; no score is 0.
        boxes, box_scores: f32 [N,4] xyxy px, f32 [N], of the detector.
        whole_body: the rule for body, face and hands (the last 110 keypoints: 68 face, 42 hands).
        rule: f64 [RULE_SIZE], the constants.
        alive, means: u8 [N], f64 [N], workspace. alive: 1 candidate, 2 in the cluster of this pick, 0 gone.
        merged: f32 [N,K,3], the people kept, each its cluster's weighted mean.
        scores: f32 [N], their final scores.
        picks: i64 [N], their rows in `keypoints`.
    """
    people, count = keypoints.shape[0], keypoints.shape[1]
    for i in range(people):
        alive[i] = 1
        means[i] = 0.0
        for k in range(count):
            means[i] += keypoints[i, k, 2] / count
    kept = 0
    left = people
    while left > 0:
        pick = -1
        for i in range(people):
            if alive[i] == 1 and (pick < 0 or means[i] > means[pick]):
                pick = i
        side = max(boxes[pick, 2] - boxes[pick, 0], boxes[pick, 3] - boxes[pick, 1])
        reach = rule[ALPHA] * side
        candidates = left
        for i in range(people):
            if alive[i] != 1:
                continue
            near = min(reach, _NEAR_PX)
            if whole_body:
                same = _same_whole_body(keypoints, pick, i, near, candidates, rule)
            else:
                same = _same_body(keypoints, pick, i, near, rule)
            if same or i == pick:
                alive[i] = 2
                left -= 1
        if _merge(keypoints, pick, min(reach, _MERGE_PX), rule, box_scores[pick], alive, merged, scores, kept):
            picks[kept] = pick
            kept += 1
        for i in range(people):
            if alive[i] == 2:
                alive[i] = 0
    return kept


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
            score += math.tanh(keypoints[p, k, 2] / rule[DELTA1]) * math.tanh(keypoints[i, k, 2] / rule[DELTA1])
        point += math.exp(-distance / rule[DELTA2])
        if distance <= near:
            matches += 1
    return score + rule[MU] * point > rule[GAMMA] or matches >= rule[MIN_MATCHES]


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
        low = keypoints[i, k, 2] < rule[MIN_SCORE]
        if low and distance <= 1.0:
            alike = math.tanh(keypoints[p, k, 2] / rule[DELTA1]) * math.tanh(keypoints[i, k, 2] / rule[DELTA1])
            score += weight_score * alike / size
        if not low:
            point += weight_point * math.exp(-distance / (unit * rule[DELTA2])) / size
        if keypoints[p, k, 2] > rule[MIN_SCORE] / 2:
            sure += 1
        allowed = 1.0 if k < 26 else (_FACE if k < 94 else _HANDS)
        if distance <= allowed * near:
            matches += 1
    found = 0.0
    if 2 * candidates * sure >= 2:
        found = matches * count / (4.0 * candidates * sure)
    return score + rule[MU] * point > rule[GAMMA] or found >= rule[MIN_MATCHES]


@jit
def _merge(keypoints, pick, reach, rule, box_score, alive, merged, scores, at):
    """Whether the cluster (alive == 2) around `pick` is a person; row `at` of merged and scores gets it."""
    count = keypoints.shape[1]
    highest = -math.inf
    for k in range(count):
        highest = max(highest, keypoints[pick, k, 2])
    if highest < rule[MIN_SCORE]:
        return False
    mean, best = 0.0, -math.inf
    low_x = low_y = math.inf
    high_x = high_y = -math.inf
    for k in range(count):
        weight = x = y = square = 0.0
        for i in range(keypoints.shape[0]):
            if alive[i] == 2 and _distance(keypoints, pick, i, k) <= reach:
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
    if best < rule[MIN_SCORE] or 2.25 * (high_x - low_x) * (high_y - low_y) < rule[MIN_AREA]:
        return False
    scores[at] = mean + box_score + 1.25 * best
    return True
