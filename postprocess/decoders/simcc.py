"""Decoder `simcc`: a row of bins across and one down per keypoint of one person, the highest bin of each.

Roles: `simcc_x` f32 [R,K,X] and `simcc_y` f32 [R,K,Y], one row per person; optionally `mirrored_simcc_x` and
`mirrored_simcc_y`, of the mirrored input, averaged in (they need the skeleton's `flip`). Scores are the network's own
and may be above 1; a keypoint whose score is not above 0 is not found. Person score: the mean of the keypoint scores.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from posert.postprocess.decoding import FLIP, KEYPOINTS, WIDTH, DecoderKernels
from posert.postprocess.geometry import box_of_keypoints
from posert.postprocess.kernels.highest import first_highest
from posert.postprocess.kernels.records import index_of, reader
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.workspace import listed, outside
from posert.typed import Range, settle

_PROBLEMS = (
    "it needs simcc_x and simcc_y",
    "simcc_x and simcc_y must be [R,K,X] and [R,K,Y] with the skeleton's K keypoints",
    "simcc_x and simcc_y must have split_ratio bins for each px of the input's width and height",
    "mirrored_simcc_x and mirrored_simcc_y must have the shapes of simcc_x and simcc_y",
    "the skeleton must say which keypoints swap sides in a mirrored picture (flip)",
)
_HALF, _ZERO = np.float32(0.5), np.float32(0.0)
merge = None


@dataclass(frozen=True, slots=True)
class Params:
    """How bins become a point.

    Attributes:
        split_ratio: bins for each px of the input.
        score: of a keypoint, from the highest bins across and down: the lower of both (MMPose, MMDeploy) or their
            mean (rtmlib).
    """

    split_ratio: Annotated[float, Range(above=0)] = 2.0
    score: Literal["lower", "mean"] = "lower"

    def __post_init__(self) -> None:
        settle(self)


_params = reader(Params)
_MEAN = index_of(Params, "score", "mean")


def simcc_workspace(shapes, size, numbers, table, needs):
    """0, or a problem; needs: no workspace, and one person of each row. See `DecoderKernels`."""
    ratio, mirrored = _params(numbers).split_ratio, max(shapes[2, 0], shapes[3, 0]) > 0
    if min(shapes[0, 0], shapes[1, 0]) == 0:
        return -1
    for axis in range(2):
        if shapes[axis, 0] != shapes[0, 0] or shapes[axis, 1] != size[KEYPOINTS] or shapes[axis, 3] != 0:
            return -2
        if shapes[axis, 2] < 1:
            return -2
        if not abs(shapes[axis, 2] - size[WIDTH + axis] * ratio) < 1.0:
            return -3
        for side in range(3):
            if mirrored and shapes[2 + axis, side] != shapes[axis, side]:
                return -4
    flip = listed(table, FLIP)
    if mirrored and (len(flip) != size[KEYPOINTS] or outside(flip, size[KEYPOINTS])):
        return -5
    needs[0], needs[1] = 0, 1
    return 0


def simcc_people(
    xs, ys, mirrored_xs, mirrored_ys, shapes, size, numbers, table, workspace, counts, keypoints, scores, boxes
):
    """One person of each row of both. See `DecoderKernels`."""
    params, parts, across, down = _params(numbers), size[KEYPOINTS], shapes[0, 2], shapes[1, 2]
    flip, mirrored = listed(table, FLIP), shapes[2, 0] > 0
    last = math.floor((size[WIDTH] - 1) * params.split_ratio + 0.5)  # the bin of the last px
    for row in range(counts.shape[0]):
        total = _ZERO
        for k in range(parts):
            one, other, point = row * parts + k, row * parts + (flip[k] if mirrored else k), keypoints[row, k]
            x, best_x = _highest(_bins(xs, one, across), _bins(mirrored_xs, other, across), last)
            y, best_y = _highest(_bins(ys, one, down), _bins(mirrored_ys, other, down), -1)
            score = (best_x + best_y) * _HALF if params.score == _MEAN else min(best_x, best_y)
            point[:] = _ZERO
            if score > _ZERO:
                point[0], point[1], point[2] = x / params.split_ratio, y / params.split_ratio, score
            total += point[2]
        scores[row] = total / np.float32(parts)
        box_of_keypoints(keypoints[row], boxes[row])
        counts[row] = 1
    return counts.shape[0]


@jit
def _bins(flat, number, count):
    """f32 [count], or nothing if the network has no such output."""
    return flat[number * count : (number + 1) * count]


@jit
def _highest(bins, mirrored, last):
    """The first highest of bins f32 [n], averaged with those of the mirrored input if there are any, and its value.

    0 and -infinity if no value is a number above that. last: which mirrored bin belongs to bin 0, -1: they are in
    order. A px lies at `split_ratio` times its index, so the last px, not the last bin, is the mirror image of the
    first; MMPose turns all bins round instead, which moves them by split_ratio - 1 bins.
    """
    if len(mirrored) == 0:
        return first_highest(bins)
    best, at = np.float32(-np.inf), 0
    for i in range(len(bins)):
        other = i if last < 0 else min(max(last - i, 0), len(bins) - 1)
        value = (bins[i] + mirrored[other]) * _HALF
        if value > best:
            best, at = value, i
    return at, best


KERNELS = DecoderKernels.of(
    ("simcc_x", "simcc_y", "mirrored_simcc_x", "mirrored_simcc_y"),
    _PROBLEMS,
    simcc_workspace,
    simcc_people,
)
decode = KERNELS.decode
