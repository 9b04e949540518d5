"""Regions turned by the line between two keypoints: where they lie.

Owns the rule (`spec.Turn`); what a crop shows, `turned_rows` knows. A turned window is f64 [6]: left, top, right,
bottom px before it is turned around its centre, then cosine and sine of the angle (clockwise as one sees the picture;
1 and 0 = upright). No angle is ever computed, so that the bits are the same everywhere.
"""

import math

import numpy as np
from numpy.typing import NDArray

from posert.poses import Poses
from posert.postprocess.kernels.records import index_of, numbers_of, reader
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, F64x2, jit, kernel
from posert.runtime.region_spec import Turn
from posert.runtime.spec import InputSpec
from posert.runtime.windows import read_spec, spec_numbers, widened

_KEYPOINTS, _LINE = index_of(Turn, "around", "keypoints"), index_of(Turn, "around", "line")
_RIGHT, _DOWN = index_of(Turn, "points", "right"), index_of(Turn, "points", "down")
_LEFT = index_of(Turn, "points", "left")
read_turn = reader(Turn)


def turned_regions(people: Poses, turn: Turn) -> Poses:
    """The people whose region has a place, as they are: both keypoints found and apart, the box longer than nothing."""
    boxes, scores, keypoints = (
        np.array(values, np.float32, order="C") for values in (people.boxes_xyxy, people.scores, people.keypoints)
    )
    count = _turned_regions(numbers_of(turn), keypoints, boxes, scores)
    return Poses(keypoints[:count], scores[:count], boxes[:count])


def turned_windows(regions: Poses, turn: Turn, spec: InputSpec) -> NDArray[np.float64]:
    """Windows f64 [N,6] of what `turned_regions` gave."""
    windows = np.empty((len(regions), 6))
    boxes, keypoints = (np.ascontiguousarray(values, np.float32) for values in (regions.boxes_xyxy, regions.keypoints))
    _place_turned(spec_numbers(spec), numbers_of(turn), keypoints, boxes, windows)
    return windows


@jit
def _direction(turn, keypoints):
    """Length of the line px, and cosine and sine of the turn that makes it point where it shall; 0 = there is none."""
    first, second = turn.keypoints
    count = keypoints.shape[0]
    if not (0 <= first < count and 0 <= second < count):
        return 0.0, 1.0, 0.0
    x = np.float64(keypoints[second, 0]) - np.float64(keypoints[first, 0])
    y = np.float64(keypoints[second, 1]) - np.float64(keypoints[first, 1])
    length = math.sqrt(x * x + y * y)
    found = keypoints[first, 2] > 0 and keypoints[second, 2] > 0
    if not (found and length > 0.0 and length < math.inf):
        return 0.0, 1.0, 0.0
    along, across = x / length, y / length
    if turn.points == _RIGHT:
        return length, along, across
    if turn.points == _DOWN:
        return length, across, -along
    if turn.points == _LEFT:
        return length, -along, -across
    return length, -across, along


@jit
def _bounds(keypoints, cosine, sine):
    """Centre and sides along the turned axes of the box around the found keypoints."""
    left, top, right, bottom = math.inf, math.inf, -math.inf, -math.inf
    for k in range(keypoints.shape[0]):
        if keypoints[k, 2] > 0:
            at_x, at_y = np.float64(keypoints[k, 0]), np.float64(keypoints[k, 1])
            across, down = cosine * at_x + sine * at_y, cosine * at_y - sine * at_x
            left, right = min(left, across), max(right, across)
            top, bottom = min(top, down), max(bottom, down)
    x, y = (left + right) / 2, (top + bottom) / 2
    return cosine * x - sine * y, sine * x + cosine * y, right - left, bottom - top


@jit
def turned_place(turn, keypoints, box):
    """Centre x, y and sides px, cosine and sine of one person's region; both are 0 where it has no place."""
    length, cosine, sine = _direction(turn, keypoints)
    x, y, wide, high = 0.0, 0.0, 0.0, 0.0
    if length > 0.0:
        if turn.around == _LINE:
            first = turn.keypoints[0]
            x, y = np.float64(keypoints[first, 0]), np.float64(keypoints[first, 1])
            wide, high = 2 * length, 2 * length
        elif turn.around == _KEYPOINTS:
            x, y, wide, high = _bounds(keypoints, cosine, sine)
        else:
            left, top = np.float64(box[0]), np.float64(box[1])
            right, bottom = np.float64(box[2]), np.float64(box[3])
            x, y, wide, high = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    right, down = turn.shift[0] * wide, turn.shift[1] * high
    return x + cosine * right - sine * down, y + sine * right + cosine * down, wide, high, cosine, sine


@kernel
def _turned_regions(turn: F64x1, keypoints: F32x3, boxes: F32x2, scores: F32x1) -> int:
    """How many of N people have a turned region; they come first: keypoints f32 [N,K,3], boxes [N,4], scores [N]."""
    kept, rule = 0, read_turn(turn)
    for person in range(keypoints.shape[0]):
        x, y, wide, high, _, _ = turned_place(rule, keypoints[person], boxes[person])
        sides = 0.0 <= wide < math.inf and 0.0 <= high < math.inf and wide + high > 0.0
        if sides and abs(x) < math.inf and abs(y) < math.inf:
            for k in range(keypoints.shape[1]):
                for axis in range(3):
                    keypoints[kept, k, axis] = keypoints[person, k, axis]
            for side in range(4):
                boxes[kept, side] = boxes[person, side]
            scores[kept] = scores[person]
            kept += 1
    return kept


@kernel
def _place_turned(numbers: F64x1, turn: F64x1, keypoints: F32x3, boxes: F32x2, windows: F64x2) -> int:
    """N; windows f64 [N,6] for people f32 [N,K,3] and their boxes f32 [N,4], with the margin and aspect of the input.

    numbers: see `windows.spec_numbers`. turn: `Turn` as numbers.
    """
    spec, rule = read_spec(numbers), read_turn(turn)
    for person in range(windows.shape[0]):
        x, y, wide, high, cosine, sine = turned_place(rule, keypoints[person], boxes[person])
        half, half_high = widened(spec, wide, high)
        windows[person, 0], windows[person, 1] = x - half, y - half_high
        windows[person, 2], windows[person, 3] = x + half, y + half_high
        windows[person, 4], windows[person, 5] = cosine, sine
    return windows.shape[0]
