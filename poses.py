"""Skeletons and poses: the only shapes that leave a decoder. Knows keypoints and pixels, nothing of files or networks.

Axis letters, the same in the whole project: B batch, N people, K keypoints, L limbs (skeleton edges), C channels,
H height, W width, R regions (rows of one batch).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Names and topology of K keypoints; every index is 0-based.

    Attributes:
        names: K names in snake case, `left_hip`.
        edges: L pairs of keypoint indices, in the order the decoder wants them.
        sigmas: K object-keypoint-similarity constants, a fraction of the person's scale (COCO's k / 2); () if unknown.
        flip: K indices, `flip[k]` is keypoint k in the mirror image; () if unknown.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] = ()
    flip: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Poses:
    """N people, in pixels of the network input or of the frame (the caller knows which).

    Attributes:
        keypoints: f32 [N,K,3], x px, y px, score; a keypoint that was not found is 0, 0, 0.
        scores: f32 [N], one per person, higher is better; the range is the decoder's own.
        boxes_xyxy: f32 [N,4], left, top, right, bottom px.
        ids: i32 [N] from 1, stable over the frames of one video; None when nothing tracked them.
    """

    keypoints: Float32Array
    scores: Float32Array
    boxes_xyxy: Float32Array
    ids: Int32Array | None = None

    def __len__(self) -> int:
        return len(self.scores)


def no_poses(keypoint_count: int) -> Poses:
    """Nobody: N = 0, K = `keypoint_count`.

    >>> len(no_poses(17))
    0
    """
    return Poses(np.zeros((0, keypoint_count, 3), np.float32), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))


def keypoint_boxes(keypoints: Float32Array) -> Float32Array:
    """Boxes f32 [N,4] (xyxy px) around the found keypoints (score > 0) of f32 [N,K,3]; 0,0,0,0 where none is found.

    >>> keypoint_boxes(np.array([[[3, 4, 1], [5, 9, 1], [0, 0, 0]]], np.float32)).tolist()
    [[3.0, 4.0, 5.0, 9.0]]
    """
    found = keypoints[:, :, 2:3] > 0
    low = np.where(found, keypoints[:, :, :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(found, keypoints[:, :, :2], -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(boxes), boxes, 0).astype(np.float32)


def to_frame(poses: Poses, window_xyxy: Sequence[float] | NDArray[np.floating], input_wh: tuple[int, int]) -> Poses:
    """Poses in frame pixels from poses in network-input pixels.

    Args:
        poses: coordinates in pixels of the network input.
        window_xyxy: the frame rectangle that fills the input (f64 [4], px); it may reach beyond the frame.
        input_wh: width and height of the network input, px.

    Found keypoints (score != 0) move linearly, input 0 to the window's left/top edge and input W/H to its right/bottom.
    """
    x0, y0, x1, y1 = (float(value) for value in window_xyxy)
    scale = np.array([(x1 - x0) / input_wh[0], (y1 - y0) / input_wh[1]])
    shift = np.array([x0, y0])
    keypoints = poses.keypoints.copy()
    moved = keypoints[:, :, :2] * scale + shift
    keypoints[:, :, :2] = np.where(keypoints[:, :, 2:] != 0, moved, 0)
    boxes = (poses.boxes_xyxy.reshape(-1, 2, 2) * scale + shift).reshape(-1, 4).astype(np.float32)
    return Poses(keypoints, poses.scores, boxes, poses.ids)


def join(rows: Sequence[Poses], keypoint_count: int) -> Poses:
    """All people of several rows in row order; nobody (K = `keypoint_count`) when there is no row."""
    if not rows:
        return no_poses(keypoint_count)
    return Poses(
        np.concatenate([row.keypoints for row in rows]),
        np.concatenate([row.scores for row in rows]),
        np.concatenate([row.boxes_xyxy for row in rows]),
    )
