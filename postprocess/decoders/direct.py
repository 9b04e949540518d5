"""Decoder `direct`: the network itself gives rows of (y, x, score). There is nothing to search.

Roles: `keypoints` f32 [R,1,K,3] (one person), or `people` f32 [R,P,K*3+5] (y, x, score per keypoint, then ymin, xmin,
ymax, xmax, score of the person), all normalised to the network input. Keypoints that are not finite are not found.
Person score 0..1.
"""

import math
from dataclasses import dataclass

import numpy as np

from posert.postprocess.decoding import HEIGHT, KEYPOINTS, WIDTH, DecoderKernels
from posert.postprocess.geometry import box_of_keypoints
from posert.postprocess.kernels.records import reader
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.sort import least_of_strongest
from posert.postprocess.kernels.workspace import shaped
from posert.typed import Count, Share, settle

_PROBLEMS = (
    "it needs keypoints or people",
    "keypoints must be [R,1,K,3] with the skeleton's K keypoints",
    "people must be [R,P,K*3+5] with the skeleton's K keypoints",
)
_LARGEST = np.float32(np.finfo(np.float32).max)
merge = None


@dataclass(frozen=True, slots=True)
class Params:
    """When a row is a person.

    Attributes:
        min_score: people with a lower score are left out: the mean keypoint score of a single person, the network's
            own score of one of several. The single-person network answers for an empty room too, with low scores.
        max_people: at most so many of `people` are given, the strongest, equal ones all or none; bounds what comes
            after.
    """

    min_score: Share = 0.1
    max_people: Count = 1024

    def __post_init__(self) -> None:
        settle(self)


_params = reader(Params)


def direct_workspace(shapes, size, numbers, table, needs):
    """0, or a problem; needs: no workspace, and the rows of `keypoints` or `people`. See `DecoderKernels`."""
    parts, single = size[KEYPOINTS], shapes[0, 0] > 0
    if not single and shapes[1, 0] == 0:
        return -1
    if single and (shapes[0, 1] != 1 or shapes[0, 2] != parts or shapes[0, 3] != 3 or shapes[0, 4] != 0):
        return -2
    if not single and (shapes[1, 2] != 3 * parts + 5 or shapes[1, 3] != 0):
        return -3
    needs[0], needs[1] = 0, 1 if single else min(shapes[1, 1], _params(numbers).max_people)
    return 0


@jit
def _finite(value):
    """The value, 0 for NaN, the largest float for infinity (numpy's nan_to_num)."""
    if math.isnan(value):
        return np.float32(0.0)
    return min(max(value, -_LARGEST), _LARGEST)


@jit
def _take_keypoints(yxs, width, height, keypoints):
    """keypoints f32 [K,3] (x px, y px, score) of a row that begins with y, x, score of each, 0..1."""
    for k in range(keypoints.shape[0]):
        x, y, score = yxs[3 * k + 1] * width, yxs[3 * k] * height, yxs[3 * k + 2]
        found = math.isfinite(x) and math.isfinite(y) and math.isfinite(score) and score > 0
        keypoints[k, 0] = x if found else np.float32(0.0)
        keypoints[k, 1] = y if found else np.float32(0.0)
        keypoints[k, 2] = score if found else np.float32(0.0)


@jit
def _mean_score(yxs, parts):
    total = np.float32(0.0)
    for k in range(parts):
        total += yxs[3 * k + 2]
    return total / np.float32(parts)


def direct_people(
    single, several, unused, unused_too, shapes, size, numbers, table, workspace, counts, keypoints, scores, boxes
):
    """The people of all rows of `keypoints` (single) or `people` (several). See `DecoderKernels`."""
    parts, params, found = size[KEYPOINTS], _params(numbers), 0
    width, height = np.float32(size[WIDTH]), np.float32(size[HEIGHT])
    alone = shapes[0, 0] > 0
    rows, each = (1, 3 * parts) if alone else (shapes[1, 1], 3 * parts + 5)
    for batch in range(counts.shape[0]):
        before, least = found, np.float32(params.min_score)
        if not alone:
            own = shaped(several, batch * rows * each, (rows, each))
            least = least_of_strongest(own[:, each - 1 :], least, params.max_people)
        for i in range(rows):
            begin = (batch * rows + i) * each
            row = single[begin : begin + each] if alone else several[begin : begin + each]
            score = _mean_score(row, parts) if alone else row[each - 1]
            if not score >= least:
                continue
            _take_keypoints(row, width, height, keypoints[found])
            if alone:
                box_of_keypoints(keypoints[found], boxes[found])
            else:
                for side in range(4):  # y, x, y, x in the row
                    unit = width if side % 2 == 0 else height
                    boxes[found, side] = _finite(row[3 * parts + (side ^ 1)]) * unit
            scores[found] = _finite(score)
            found += 1
        counts[batch] = found - before
    return found


KERNELS = DecoderKernels.of(("keypoints", "people"), _PROBLEMS, direct_workspace, direct_people)
decode = KERNELS.decode
