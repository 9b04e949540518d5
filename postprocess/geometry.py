"""Boxes and places of keypoints. Knows keypoints and pixels, nothing of networks or files."""

import numpy as np

from posert.postprocess.kernels.registry import jit


@jit
def box_of_keypoints(keypoints, box):
    """box f32 [4] (xyxy px): around the keypoints f32 [K,3] with a score above 0; 0, 0, 0, 0 where there is none.

    A coordinate that is not a number makes its side 0, and so does an infinite one.
    """
    box[0] = box[1] = np.float32(np.inf)
    box[2] = box[3] = np.float32(-np.inf)
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
        if not abs(box[side]) < np.float32(np.inf):
            box[side] = np.float32(0.0)
