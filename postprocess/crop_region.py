"""Where to look for the same person in the next frame. Knows keypoints and the frame's size, nothing of networks.

The rule is TensorFlow Hub's MoveNet tutorial's: a square around the hips that holds torso and body with a margin.
"""

import numpy as np
from numpy.typing import NDArray

from posert.poses import Poses, Skeleton
from posert.postprocess.kernels.registry import F32x2, F64x1, I64x1, kernel
from posert.postprocess.kernels.workspace import outside

MIN_SCORE = 0.2
TORSO_MARGIN = 1.9
BODY_MARGIN = 1.2


@kernel
def crop_window(keypoints: F32x2, torso: I64x1, width: float, height: float, window: F64x1) -> int:
    """1, and the next window (f64 [4], left, top, right, bottom px); 0 if the body is not seen well enough.

    Args:
        keypoints: f32 [K,3] x px, y px, score. torso: i64 [4], left and right hip, left and right shoulder.
        width, height: of the frame, px.
    """
    if outside(torso, keypoints.shape[0]):
        return 0
    left_hip, right_hip, left_shoulder, right_shoulder = torso[0], torso[1], torso[2], torso[3]
    hips = keypoints[left_hip, 2] > MIN_SCORE or keypoints[right_hip, 2] > MIN_SCORE
    shoulders = keypoints[left_shoulder, 2] > MIN_SCORE or keypoints[right_shoulder, 2] > MIN_SCORE
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
        if keypoints[k, 2] >= MIN_SCORE:
            body_range = max(body_range, abs(x - keypoints[k, 0]), abs(y - keypoints[k, 1]))
    half = max(np.float32(TORSO_MARGIN) * torso_range, np.float32(BODY_MARGIN) * body_range)
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
    names = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
    torso = np.array([skeleton.names.index(name) for name in names])
    window = np.empty(4)
    keypoints = np.ascontiguousarray(poses.keypoints[0], np.float32)
    seen = crop_window(keypoints, torso, float(frame_wh[0]), float(frame_wh[1]), window)
    return window if seen else None
