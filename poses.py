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


def join(rows: Sequence[Poses], keypoint_count: int) -> Poses:
    """All people of several rows in row order; nobody (K = `keypoint_count`) when there is no row."""
    if not rows:
        return no_poses(keypoint_count)
    return Poses(
        np.concatenate([row.keypoints for row in rows]),
        np.concatenate([row.scores for row in rows]),
        np.concatenate([row.boxes_xyxy for row in rows]),
    )
