"""Boxes and places of keypoints: around them, from the network's input to the frame, where to look next.

Owns what makes a box usable. Knows keypoints, boxes and pixels, nothing of networks or files.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from posert.poses import Float32Array, Poses
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, jit, kernel

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_INFINITE = np.float32(np.inf)
_MARGIN = np.float32(0.1)  # of the longer side: the keypoints end at eyes and ankles, the person does not
_SURE = np.float32(0.4)  # keypoints with less than this part of the person's best score do not stretch the box


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


@kernel
def _keypoint_boxes(keypoints: F32x3, boxes: F32x2) -> int:
    """N; boxes f32 [N,4] around the found keypoints of each person, see `keypoint_boxes`."""
    for person in range(keypoints.shape[0]):
        box_of_keypoints(keypoints[person], boxes[person])
    return keypoints.shape[0]


def keypoint_boxes(keypoints: Float32Array) -> Float32Array:
    """Boxes f32 [N,4] (xyxy px) around the found keypoints (score > 0) of f32 [N,K,3]; 0,0,0,0 where none is found.

    >>> keypoint_boxes(np.array([[[3, 4, 1], [5, 9, 1], [0, 0, 0]]], np.float32)).tolist()
    [[3.0, 4.0, 5.0, 9.0]]
    """
    boxes = np.empty((len(keypoints), 4), np.float32)
    _keypoint_boxes(np.ascontiguousarray(keypoints, np.float32), boxes)
    return boxes


@kernel
def _to_frame(keypoints: F32x3, boxes: F32x2, window: F64x1, width: int, height: int) -> int:
    """N; keypoints f32 [N,K,3] and boxes f32 [N,4] of an input of width x height px move to the frame, in place."""
    for axis in range(2):
        shift, scale = window[axis], (window[2 + axis] - window[axis]) / (width if axis == 0 else height)
        for person in range(keypoints.shape[0]):
            for k in range(keypoints.shape[1]):
                moved = np.float32(keypoints[person, k, axis] * scale + shift)
                keypoints[person, k, axis] = moved if keypoints[person, k, 2] != 0 else _ZERO
            boxes[person, axis] = boxes[person, axis] * scale + shift
            boxes[person, 2 + axis] = boxes[person, 2 + axis] * scale + shift
    return keypoints.shape[0]


def to_frame(poses: Poses, window_xyxy: Sequence[float] | NDArray[np.floating], input_wh: tuple[int, int]) -> Poses:
    """Poses in frame pixels from poses in network-input pixels.

    Args:
        poses: coordinates in pixels of the network input.
        window_xyxy: the frame rectangle that fills the input (f64 [4], px); it may reach beyond the frame.
        input_wh: width and height of the network input, px.

    Found keypoints (score != 0) move linearly, input 0 to the window's left/top edge and input W/H to its right/bottom.
    """
    keypoints = np.array(poses.keypoints, np.float32, order="C")
    boxes = np.array(poses.boxes_xyxy, np.float32, order="C")
    _to_frame(keypoints, boxes, np.ascontiguousarray(window_xyxy, np.float64), *input_wh)
    return Poses(keypoints, poses.scores, boxes, poses.ids)


@jit
def _keep_usable(boxes, scores, width, height):
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
    return _keep_usable(boxes, scores, width, height)


def usable(regions: Poses, frame_wh: tuple[float, float] = (np.inf, np.inf)) -> Poses:
    """The regions that have an area; a box without one (or with a value that is no number) holds nobody.

    Args:
        regions: boxes and their scores; no keypoints come back.
        frame_wh: width and height of the frame, px, at whose borders the boxes are cut first.
    """
    boxes = np.array(regions.boxes_xyxy, np.float32, order="C")
    scores = np.array(regions.scores, np.float32, order="C")
    return _regions(_usable_regions(boxes, scores, float(frame_wh[0]), float(frame_wh[1])), boxes, scores)


def _regions(count: int, boxes: Float32Array, scores: Float32Array) -> Poses:
    return Poses(np.zeros((count, 0, 3), np.float32), scores[:count], boxes[:count])


@jit
def _region_of(keypoints, box):
    """The score 0..1 of the region around one person; box f32 [4] is the region; unsure keypoints lose their score."""
    best = total = _ZERO
    for k in range(keypoints.shape[0]):
        score = keypoints[k, 2]
        total += score
        if score > best or score != score:
            best = score
    for k in range(keypoints.shape[0]):
        if not keypoints[k, 2] >= _SURE * best:
            keypoints[k, 2] = _ZERO
    box_of_keypoints(keypoints, box)
    margin = _MARGIN * max(box[2] - box[0], box[3] - box[1], _ZERO)
    box[0], box[1], box[2], box[3] = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    mean = total / np.float32(keypoints.shape[0])
    return min(max(mean, _ZERO), _ONE) if mean == mean else mean


@kernel
def _next_regions(keypoints: F32x3, boxes: F32x2, scores: F32x1, width: float, height: float) -> int:
    """The number of regions around the people of the last frame; boxes f32 [N,4] and scores f32 [N] get them.

    keypoints: f32 [N,K,3], their scores change; without any, the scores stay. width, height: of the frame, px.
    """
    for person in range(keypoints.shape[0]):
        score = _region_of(keypoints[person], boxes[person])
        scores[person] = score if keypoints.shape[1] > 0 else scores[person]
    return _keep_usable(boxes, scores, width, height)


def next_regions(poses: Poses, frame_wh: tuple[int, int]) -> Poses:
    """Regions around the people of the last frame, with a margin, for a frame without detection; score 0..1."""
    boxes, scores = np.empty((len(poses), 4), np.float32), np.array(poses.scores, np.float32)
    keypoints = np.array(poses.keypoints, np.float32, order="C")
    return _regions(_next_regions(keypoints, boxes, scores, float(frame_wh[0]), float(frame_wh[1])), boxes, scores)
