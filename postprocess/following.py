"""Whom to look for in the next frame: around each of the last people, and who among the boxes found is new.

Owns the rules of following. Knows keypoints and boxes in pixels of the frame, nothing of networks or of time.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from posert.poses import TORSO, Poses, Skeleton
from posert.postprocess.geometry import box_of_keypoints, keep_usable, regions_of
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, F64x2, I64x1, U8x1, jit, kernel
from posert.postprocess.kernels.workspace import outside
from posert.typed import Count, Range, Share, settle

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_MARGIN = np.float32(0.1)  # of the longer side: the keypoints end at eyes and ankles, the person does not
_SURE = np.float32(0.4)  # keypoints with less than this part of the person's best score do not stretch the box
# TensorFlow Hub's MoveNet tutorial: a square around the hips that holds torso and body with a margin.
_SEEN, _TORSO_MARGIN, _BODY_MARGIN = 0.2, 1.9, 1.2
_UNSEEN, _LET_GO = np.float32(0.5), np.float32(0.1)  # whom the detector misses counts so much less; let go below


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """How people are followed from one frame to the next; all but the first are for the rule `steady`.

    Attributes:
        rule: `steady`, see `steadied`; or the one of TensorFlow Hub's MoveNet `tutorial`, see `next_window`.
        share: how much of the way to where the tutorial would look the smooth window goes in each frame.
        slack: of the window's side: the smooth window may be so far away before the one that is looked at moves there.
        patience: so many frames a window stays although hips or shoulders are seen badly, and limbs whose sides the
            network exchanges stay as they were.
        cut: a picture that differs this many times more from the last one than that did from the one before it begins
            anew, from the whole frame; 0 = none does.

    Raises:
        Misfit: a `PosertError` that names the first field with a wrong value.
    """

    rule: Literal["steady", "tutorial"] = "steady"
    share: Share = 0.5
    slack: Share = 0.02
    patience: Count = 3
    cut: Annotated[float, Range(0)] = 6.0

    def __post_init__(self) -> None:
        settle(self)


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
    return keep_usable(boxes, scores, width, height)


def next_regions(poses: Poses, frame_wh: tuple[int, int]) -> Poses:
    """Regions around the people of the last frame, with a margin, for a frame without detection; score 0..1."""
    boxes, scores = np.empty((len(poses), 4), np.float32), np.array(poses.scores, np.float32)
    keypoints = np.array(poses.keypoints, np.float32, order="C")
    return regions_of(_next_regions(keypoints, boxes, scores, float(frame_wh[0]), float(frame_wh[1])), boxes, scores)


@kernel
def crop_window(keypoints: F32x2, torso: I64x1, width: float, height: float, window: F64x1) -> int:
    """1 and the next window; 0 if the body is not seen well enough. See `window_around`."""
    return window_around(keypoints, torso, width, height, window)


@jit
def window_around(keypoints, torso, width, height, window):
    """1, and the next window (f64 [4], left, top, right, bottom px); 0 if the body is not seen well enough.

    Args:
        keypoints: f32 [K,3] x px, y px, score. torso: i64 [4], left and right hip, left and right shoulder.
        width, height: of the frame, px.
    """
    if outside(torso, keypoints.shape[0]):
        return 0
    left_hip, right_hip, left_shoulder, right_shoulder = torso[0], torso[1], torso[2], torso[3]
    hips = keypoints[left_hip, 2] > _SEEN or keypoints[right_hip, 2] > _SEEN
    shoulders = keypoints[left_shoulder, 2] > _SEEN or keypoints[right_shoulder, 2] > _SEEN
    if not (hips and shoulders):
        return 0
    # float32 all the way, as the tutorial computes: its regions and crops come out bit for bit
    x = (keypoints[left_hip, 0] + keypoints[right_hip, 0]) * np.float32(0.5)
    y = (keypoints[left_hip, 1] + keypoints[right_hip, 1]) * np.float32(0.5)
    torso_range = np.float32(0.0)
    for k in torso:
        torso_range = max(torso_range, abs(x - keypoints[k, 0]), abs(y - keypoints[k, 1]))
    body_range = np.float32(0.0)
    for k in range(keypoints.shape[0]):
        if keypoints[k, 2] >= _SEEN:
            body_range = max(body_range, abs(x - keypoints[k, 0]), abs(y - keypoints[k, 1]))
    half = max(np.float32(_TORSO_MARGIN) * torso_range, np.float32(_BODY_MARGIN) * body_range)
    half = min(half, max(x, np.float32(width) - x, y, np.float32(height) - y))
    if not half <= max(width, height) / 2:  # NaN too
        return 0
    left, top, side = x - half, y - half, np.float32(2.0) * half
    window[0], window[1] = left, top
    window[2], window[3] = left + side, top + side
    return 1


def next_window(poses: Poses, frame_wh: tuple[int, int], skeleton: Skeleton) -> NDArray[np.float64] | None:
    """The window f64 [4] (left, top, right, bottom px of the frame) to look at in the next frame.

    None = start again from the whole frame: nobody, or hips or shoulders not seen (score <= 0.2). The first person of
    `poses` (f32 [N,K,3], px of the frame) is followed; `skeleton` needs left and right hip and shoulder.
    """
    if not len(poses):
        return None
    torso = np.array([skeleton.names.index(name) for name in TORSO])
    window = np.empty(4)
    keypoints = np.ascontiguousarray(poses.keypoints[0], np.float32)
    seen = crop_window(keypoints, torso, float(frame_wh[0]), float(frame_wh[1]), window)
    return window if seen else None


@kernel
def _followed(
    keypoints: F32x3,
    scores: F32x1,
    torso: I64x1,
    width: float,
    height: float,
    memory: F64x2,
    boxes: F32x2,
    windows: F64x2,
) -> int:
    """The number of people who are looked for in the next frame; what they are given comes first, in order.

    Whose region's score would be less than 0.1 is not.

    Args:
        keypoints: f32 [N,K,3], their scores change.
        scores: f32 [N], of the people; become their regions': what is left of them over the mean keypoint score, 0..1.
        torso: see `crop_window`. width, height: of the frame, px, at whose borders the regions are cut.
        memory: f64 [N,4+], the windows that follow in the first four columns; [0,4+]: the tutorial's rule says which.
        boxes: f32 [N,4], get the regions around the people.
        windows: f64 [N,4], get the windows that follow, NaN where the body is not seen well enough; [N,6]: not turned.
    """
    kept = 0
    for person in range(keypoints.shape[0]):
        follows = 1
        if memory.shape[0] > 0:
            for side in range(4):
                windows[kept, side] = memory[person, side]
        else:
            follows = window_around(keypoints[person], torso, width, height, windows[kept])
        if not follows:
            windows[kept, :] = np.nan
        elif windows.shape[1] == 6:
            windows[kept, 4], windows[kept, 5] = 1.0, 0.0
        mean = _region_of(keypoints[person], boxes[kept])
        share = scores[person] / mean if mean > _ZERO else _ZERO
        scores[kept] = min(max(share, _ZERO), _ONE)
        if scores[kept] >= _LET_GO:
            kept += keep_usable(boxes[kept : kept + 1], scores[kept : kept + 1], width, height)
    return kept


def followed(
    people: Poses, frame_wh: tuple[int, int], skeleton: Skeleton, memory: NDArray[np.float64] | None = None
) -> tuple[Poses, NDArray[np.float64]]:
    """The regions of the people who are looked for in the next frame, and the windows f64 [N,4] that follow them.

    Whose region's score is less than 0.1 is let go: a detector that misses somebody several times is right.
    A window is NaN where hips or shoulders are not seen (`next_window`): the region alone says where to look then.
    With a `memory` (`steadied`) the windows are those in it.
    A region's score is the person's over the mean of the keypoints' scores, which is what the detector once said if the
    person's score is the product of both (suppression rule `oks`).
    """
    torso = np.array([skeleton.names.index(name) for name in TORSO])
    keypoints, scores = np.array(people.keypoints, np.float32, order="C"), np.array(people.scores, np.float32)
    boxes, windows = np.empty((len(people), 4), np.float32), np.empty((len(people), 4))
    kept = np.empty((0, 4)) if memory is None else memory
    count = _followed(keypoints, scores, torso, float(frame_wh[0]), float(frame_wh[1]), kept, boxes, windows)
    return regions_of(count, boxes, scores), windows[:count]


@jit
def _overlap(one, other):
    """Intersection over union of two boxes f32 [4] that have an area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= _ZERO or height <= _ZERO:
        return _ZERO
    shared = width * height
    return shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)


@kernel
def _newcomers(known: F32x2, known_scores: F32x1, boxes: F32x2, scores: F32x1, max_iou: float, taken: U8x1) -> int:
    """The number of boxes f32 [M,4] that are nobody's who is known; they and their scores f32 [M] come first, in order.

    Each box is that of the known person f32 [N,4] whom it overlaps most, by more than `max_iou`, and whose no earlier
    box is; that person gets it, and its score. The score of whom no box is halves. taken: u8 [N], gets 1 where one is.
    """
    kept = 0
    taken[:] = 0
    for i in range(boxes.shape[0]):
        most, at = np.float32(max_iou), -1
        for person in range(known.shape[0]):
            overlap = _overlap(known[person], boxes[i])
            if not taken[person] and overlap > most:
                most, at = overlap, person
        for side in range(4):
            if at < 0:
                boxes[kept, side] = boxes[i, side]
            else:
                known[at, side] = boxes[i, side]
        if at < 0:
            scores[kept] = scores[i]
            kept += 1
        else:
            known_scores[at] = scores[i]
            taken[at] = 1
    for person in range(known.shape[0]):
        if not taken[person]:
            known_scores[person] *= _UNSEEN
    return kept


def joined(known: Poses, found: Poses, max_iou: float) -> tuple[Poses, NDArray[np.bool_]]:
    """The regions `known`, then those of `found` that are nobody's among them, and bool [N], who of `known` was found.

    A found box is that of the known person whom it overlaps most, by more than `max_iou` (IoU) and if none before it
    is: that person's region is the box then, and the region's score the box's. Without one the score halves. All
    regions have an area.
    """
    own, own_scores = np.array(known.boxes_xyxy, np.float32), np.array(known.scores, np.float32)
    boxes, scores = np.array(found.boxes_xyxy, np.float32), np.array(found.scores, np.float32)
    taken = np.empty(len(own), np.uint8)
    count = _newcomers(own, own_scores, boxes, scores, max_iou, taken)
    boxes, scores = np.concatenate([own, boxes[:count]]), np.concatenate([own_scores, scores[:count]])
    return regions_of(len(boxes), boxes, scores), taken.astype(bool)
