"""Suppression rule `oks`: of people whose keypoints lie at the same places the best one stays, as it is.

Object keypoint similarity with one constant for all keypoints, so that every skeleton will do. Of equal scores the
first counts as the highest.

Person score: the mean of the keypoint scores times the region's score.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from posert.postprocess.kernels.records import reader
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, U8x1, jit, kernel
from posert.postprocess.kernels.sort import sort_descending
from posert.postprocess.kernels.workspace import take
from posert.postprocess.suppression import RuleKernels
from posert.typed import Count, Range, Share, settle

_PROBLEMS = ("each pose needs a region of its own", "there are too many people")
_MOST = 1 << 24  # people


@dataclass(frozen=True, slots=True)
class Params:
    """When two poses are one person.

    Attributes:
        max_oks: poses that are more alike are one person: the mean over the keypoints of exp(-d^2 / (8 s^2 sigma^2)),
            d the distance px, s^2 the area px^2 of the better pose's region; a keypoint that one of them lacks is not
            alike.
        sigma: the mean of COCO's constants for 17 keypoints.
        max_people: at most so many are compared, the best; bounds time.
    """

    max_oks: Share = 0.7
    sigma: Annotated[float, Range(above=0)] = 0.067
    max_people: Count = 768

    def __post_init__(self) -> None:
        settle(self)


_params = reader(Params)


@jit
def _take_order(workspace, people):
    """Of each pose its score f32 [N], and their order i32 [N]; and the bytes taken."""
    scores, at = take(workspace, 0, (people,), np.float32)
    order, at = take(workspace, at, (people,), np.int32)
    return scores, order, at


@kernel
def oks_nms_workspace(people: int, keypoints: int, numbers: F64x1) -> int:
    """Bytes of the workspace for so many people, or a problem."""
    if not 0 <= people <= _MOST:
        return -2
    _, _, end = _take_order(numbers[:0], people)
    return end


@kernel
def oks_nms(
    keypoints: F32x3,
    region_boxes: F32x2,
    region_scores: F32x1,
    numbers: F64x1,
    workspace: U8x1,
    kept: F32x3,
    scores: F32x1,
    boxes: F32x2,
) -> int:
    """Number of people kept, or a problem. See `RuleKernels`."""
    params, people = _params(numbers), keypoints.shape[0]
    if len(region_boxes) != people or len(region_scores) != people:
        return -1
    own, order, _ = _take_order(workspace, people)
    for i in range(people):
        own[i] = _mean_score(keypoints[i]) * region_scores[i]
    sort_descending(own, order, people)
    count = 0
    for rank in range(min(people, params.max_people)):
        i = order[rank]
        if _known(keypoints[i], kept, boxes, count, params):
            continue
        for k in range(keypoints.shape[1]):
            for axis in range(3):
                kept[count, k, axis] = keypoints[i, k, axis]
        for side in range(4):
            boxes[count, side] = region_boxes[i, side]
        scores[count] = own[i]
        count += 1
    return count


@jit
def _mean_score(keypoints):
    total = np.float32(0.0)
    for k in range(keypoints.shape[0]):
        total += keypoints[k, 2]
    return total / np.float32(keypoints.shape[0])


@jit
def _known(keypoints, kept, boxes, count, params):
    """Whether a pose f32 [K,3] is one of the first `count` kept people."""
    for person in range(count):
        box = boxes[person]
        area = float(box[2] - box[0]) * float(box[3] - box[1])
        if _oks(keypoints, kept[person], 8.0 * area * params.sigma * params.sigma) > params.max_oks:
            return True
    return False


@jit
def _oks(one, other, spread):
    """The similarity 0..1 of two poses f32 [K,3]; spread: px^2."""
    total = 0.0
    for k in range(one.shape[0]):
        if one[k, 2] > 0 and other[k, 2] > 0 and spread > 0:
            x, y = float(one[k, 0]) - float(other[k, 0]), float(one[k, 1]) - float(other[k, 1])
            total += math.exp(-(x * x + y * y) / spread)
    return total / one.shape[0]


KERNELS = RuleKernels(_PROBLEMS, oks_nms_workspace, oks_nms)
suppress = KERNELS.suppress
