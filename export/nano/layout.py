"""The keypoint layout of posert-nano: names, limbs and channels of OpenPose-18. numpy alone; no picture, no network."""

import numpy as np
from numpy.typing import NDArray

from posert.poses import Skeleton

NAMES = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17)),
)
# First of the two PAF channels of each limb, among the 38 (the order of the OpenPose COCO model; y is the next one).
PAF_X = (12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26)
FLIP = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
# COCO's constants; the neck, which COCO lacks, counts as a shoulder.
SIGMAS = (
    *(0.026, 0.079, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062),
    *(0.107, 0.087, 0.089, 0.107, 0.087, 0.089, 0.025, 0.025, 0.035, 0.035),
)
FROM_COCO = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)  # COCO-17 index of each keypoint, -1 = neck
TO_COCO = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)  # index here of each COCO-17 keypoint

KEYPOINTS = len(NAMES)
CHANNELS = KEYPOINTS + 2 * len(LIMBS)  # heatmaps without background, then PAFs: what training works on
STRIDE = 8  # input pixels per cell
CELL_CENTRE_PX = 3.5  # cell i is at input pixel STRIDE * i + CELL_CENTRE_PX

SKELETON = Skeleton(names=NAMES, edges=LIMBS, sigmas=SIGMAS, flip=FLIP)


def mirrored_channels() -> NDArray[np.int64]:
    """Channel i64 [56] of the picture's maps that is channel c of the mirrored picture's maps."""
    pafs = [0] * (2 * len(LIMBS))
    for (a, b), x in zip(LIMBS, PAF_X, strict=True):
        other = PAF_X[LIMBS.index((FLIP[a], FLIP[b]))]
        pafs[x], pafs[x + 1] = KEYPOINTS + other, KEYPOINTS + other + 1
    return np.array([*FLIP, *pafs])


def unmirror(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps f32 [56,H,W] of a picture from the maps of its mirror image."""
    turned = maps[mirrored_channels(), :, ::-1].copy()
    turned[[KEYPOINTS + x for x in PAF_X]] *= -1
    return turned


def from_coco(keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keypoints f32 [18,3] (x px, y px, COCO visibility) from COCO's f32 [17,3]; the neck is between both shoulders."""
    points = np.zeros((KEYPOINTS, 3), np.float32)
    for here, there in enumerate(FROM_COCO):
        if there >= 0 and keypoints[there, 2] > 0:
            points[here] = keypoints[there]
    if points[2, 2] > 0 and points[5, 2] > 0:
        points[1] = (*((points[2, :2] + points[5, :2]) / 2), min(points[2, 2], points[5, 2]))
    return points
