"""Boxes and places of keypoints: around them, the best of many, into the frame.

Owns what makes a box usable. Knows keypoints, boxes and pixels, nothing of networks or files.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from posert.poses import Float32Array, Poses
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, jit, kernel
from posert.postprocess.kernels.sort import least_of_strongest, sort_descending

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_INFINITE = np.float32(np.inf)


@jit
def box_of_keypoints(keypoints, box):
    """box f32 [4] (xyxy px): around the keypoints f32 [K,3] with a score above 0; 0, 0, 0, 0 where there is none.

    A coordinate that is not a number makes its side 0, and so does an infinite one.
    """
    box[0] = box[1] = _INFINITE
    box[2] = box[3] = -_INFINITE
    for k in range(keypoints.shape[0]):
        if not keypoints[k, 2] > 0:
            continue
        for axis in range(2):
            value = keypoints[k, axis]
            if value < box[axis] or value != value:
                box[axis] = value
            if value > box[2 + axis] or value != value:
                box[2 + axis] = value
    for side in range(4):
        if not abs(box[side]) < _INFINITE:
            box[side] = _ZERO


@jit
def box_nms(boxes, count, iou_threshold, extra_px, inclusive, alive, order):
    """Number of boxes kept of the first `count`; `order` i32 [N] gets their rows, highest score first.

    Args:
        boxes: f32 [N,5+], left, top, right, bottom px, score. alive: u8 [N], workspace.
        iou_threshold: overlap that a kept box allows; with `inclusive` less than that.
        extra_px: added to every width and height; 1 in the convention that counts pixels.
    """
    one, kept = np.float32(extra_px), 0
    sort_descending(boxes[:, 4], order, count)
    for i in range(count):
        alive[i] = 1
    for rank in range(count):
        best = order[rank]
        if not alive[best]:
            continue
        order[kept] = best
        kept += 1
        area = (boxes[best, 2] - boxes[best, 0] + one) * (boxes[best, 3] - boxes[best, 1] + one)
        for later in range(rank + 1, count):
            i = order[later]
            if not alive[i]:
                continue
            width = min(boxes[best, 2], boxes[i, 2]) - max(boxes[best, 0], boxes[i, 0]) + one
            height = min(boxes[best, 3], boxes[i, 3]) - max(boxes[best, 1], boxes[i, 1]) + one
            if width <= 0 or height <= 0:
                continue
            shared = width * height
            other = (boxes[i, 2] - boxes[i, 0] + one) * (boxes[i, 3] - boxes[i, 1] + one)
            iou = shared / (area + other - shared)
            if iou > iou_threshold or (inclusive and iou >= iou_threshold):
                alive[i] = 0
    return kept


@jit
def strongest(boxes, count, most):
    """The number of the first `count` boxes f32 [P,5+] that stay, moved to the front: the strongest `most`."""
    if count <= most:
        return count
    least, kept = least_of_strongest(boxes[:count, 4:5], _ZERO, most), 0
    for i in range(count):
        if boxes[i, 4] >= least:
            for column in range(boxes.shape[1]):
                boxes[kept, column] = boxes[i, column]
            kept += 1
    return kept


@kernel
def _to_frame(keypoints: F32x3, boxes: F32x2, window: F64x1, width: int, height: int) -> int:
    """N; keypoints f32 [N,K,3] and boxes f32 [N,4] of an input of width x height px move to the frame, in place.

    window: f64 [4], or [6], the last two the cosine and sine of its turn.
    """
    for axis in range(2):
        shift, scale = window[axis], (window[2 + axis] - window[axis]) / (width if axis == 0 else height)
        for person in range(keypoints.shape[0]):
            for k in range(keypoints.shape[1]):
                moved = np.float32(keypoints[person, k, axis] * scale + shift)
                keypoints[person, k, axis] = moved if keypoints[person, k, 2] != 0 else _ZERO
            boxes[person, axis] = boxes[person, axis] * scale + shift
            boxes[person, 2 + axis] = boxes[person, 2 + axis] * scale + shift
    if is_turned(window):
        _turn(keypoints, boxes, window)
    return keypoints.shape[0]


@jit
def is_turned(window):
    """Whether a window f64 [4] or [6] is turned at all."""
    return window.shape[0] == 6 and not (window[4] == 1.0 and window[5] == 0.0)


@jit
def _turn(keypoints, boxes, window):
    """Found keypoints turn around the window's centre; boxes become those around what they were, turned."""
    x, y = (window[0] + window[2]) / 2, (window[1] + window[3]) / 2
    cosine, sine = window[4], window[5]
    for person in range(keypoints.shape[0]):
        for k in range(keypoints.shape[1]):
            if keypoints[person, k, 2] != 0:
                across, down = keypoints[person, k, 0] - x, keypoints[person, k, 1] - y
                keypoints[person, k, 0] = x + cosine * across - sine * down
                keypoints[person, k, 1] = y + sine * across + cosine * down
        left, top = np.float64(boxes[person, 0]), np.float64(boxes[person, 1])
        right, bottom = np.float64(boxes[person, 2]), np.float64(boxes[person, 3])
        across, down = (left + right) / 2 - x, (top + bottom) / 2 - y
        wide = (abs(cosine) * (right - left) + abs(sine) * (bottom - top)) / 2
        high = (abs(sine) * (right - left) + abs(cosine) * (bottom - top)) / 2
        middle, level = x + cosine * across - sine * down, y + sine * across + cosine * down
        boxes[person, 0], boxes[person, 1] = middle - wide, level - high
        boxes[person, 2], boxes[person, 3] = middle + wide, level + high


def to_frame(poses: Poses, window_xyxy: Sequence[float] | NDArray[np.floating], input_wh: tuple[int, int]) -> Poses:
    """Poses in frame pixels from poses in network-input pixels.

    Args:
        poses: coordinates in pixels of the network input.
        window_xyxy: the frame rectangle that fills the input (f64 [4], px; it may reach beyond the frame); or [6], with
            cosine and sine of the angle by which it is turned around its centre, clockwise as one sees it.
        input_wh: width and height of the network input, px.

    Found keypoints (score != 0) move linearly, input 0 to the window's left/top edge and input W/H to its right/bottom;
    a box of a turned window becomes the upright one around it.
    """
    keypoints = np.array(poses.keypoints, np.float32, order="C")
    boxes = np.array(poses.boxes_xyxy, np.float32, order="C")
    _to_frame(keypoints, boxes, np.ascontiguousarray(window_xyxy, np.float64), *input_wh)
    return Poses(keypoints, poses.scores, boxes, poses.ids)


@jit
def keep_usable(boxes, scores, width, height):
    """The number of boxes that have an area, cut at the frame unless that is infinite; they come first, in order."""
    kept, cut = 0, width < np.inf
    for i in range(boxes.shape[0]):
        usable = True
        for side in range(4):
            value, limit = boxes[i, side], np.float32(width if side % 2 == 0 else height)
            if cut and value <= _ZERO:
                value = _ZERO
            elif cut and value > limit:
                value = limit
            usable = usable and abs(value) < _INFINITE  # false for what is not a number
            boxes[kept, side] = value
        if usable and boxes[kept, 2] > boxes[kept, 0] and boxes[kept, 3] > boxes[kept, 1]:
            scores[kept] = scores[i]
            kept += 1
    return kept


@kernel
def _usable_regions(boxes: F32x2, scores: F32x1, width: float, height: float) -> int:
    """How many of boxes f32 [N,4] have an area; they and their scores f32 [N] come first.

    width, height: of the frame, px, at whose borders the boxes are cut; infinity: they are not.
    """
    return keep_usable(boxes, scores, width, height)


def usable(regions: Poses, frame_wh: tuple[float, float] = (np.inf, np.inf)) -> Poses:
    """The regions that have an area; a box without one (or with a value that is no number) holds nobody.

    Args:
        regions: boxes and their scores; no keypoints come back.
        frame_wh: width and height of the frame, px, at whose borders the boxes are cut first.
    """
    boxes = np.array(regions.boxes_xyxy, np.float32, order="C")
    scores = np.array(regions.scores, np.float32, order="C")
    return regions_of(_usable_regions(boxes, scores, float(frame_wh[0]), float(frame_wh[1])), boxes, scores)


def regions_of(count: int, boxes: Float32Array, scores: Float32Array) -> Poses:
    """The first `count` boxes f32 [N,4] with their scores f32 [N], as people without keypoints."""
    return Poses(np.zeros((count, 0, 3), np.float32), scores[:count], boxes[:count])
