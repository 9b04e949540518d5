"""The maps of posert-nano: what each channel is of OpenPose-18, where a cell lies. numpy alone, no picture, no net."""

import numpy as np
from numpy.typing import NDArray

from posert.skeletons import COCO_17, OPENPOSE_18

# First of the two PAF channels of each limb, among the 38 (the order of the OpenPose COCO model; y is the next one).
PAF_X = (12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26)
SKELETON = OPENPOSE_18

KEYPOINTS = len(SKELETON.names)
CHANNELS = KEYPOINTS + 2 * len(SKELETON.edges)  # heatmaps without background, then PAFs: what training works on
STRIDE = 8  # input pixels per cell
CELL_CENTRE_PX = 3.5  # cell i is at input pixel STRIDE * i + CELL_CENTRE_PX


def mirrored_channels() -> NDArray[np.int64]:
    """Channel i64 [56] of the picture's maps that is channel c of the mirrored picture's maps."""
    limbs, flip = SKELETON.edges, SKELETON.flip
    pafs = [0] * (2 * len(limbs))
    for (a, b), x in zip(limbs, PAF_X, strict=True):
        other = PAF_X[limbs.index((flip[a], flip[b]))]
        pafs[x], pafs[x + 1] = KEYPOINTS + other, KEYPOINTS + other + 1
    return np.array([*flip, *pafs])


def unmirror(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps f32 [56,H,W] of a picture from the maps of its mirror image."""
    turned = maps[mirrored_channels(), :, ::-1].copy()
    turned[[KEYPOINTS + x for x in PAF_X]] *= -1
    return turned


def from_coco(keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keypoints f32 [18,3] (x px, y px, COCO visibility) from COCO's f32 [17,3]; the neck is between both shoulders."""
    points = np.zeros((KEYPOINTS, 3), np.float32)
    for there, name in enumerate(COCO_17.names):
        if keypoints[there, 2] > 0:
            points[SKELETON.names.index(name)] = keypoints[there]
    if points[2, 2] > 0 and points[5, 2] > 0:
        points[1] = (*((points[2, :2] + points[5, :2]) / 2), min(points[2, 2], points[5, 2]))
    return points
