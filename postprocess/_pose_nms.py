"""Shared kernels: overlapping poses -> the best of them. Knows joints (score, x, y, scale), not how they were found."""

import numpy as np

from posert.postprocess._grow import is_occupied, mark
from posert.postprocess._jit import jit, kernel
from posert.postprocess._limbs import sort_descending

_SUPPRESSED = 1e-5  # factor on the score of a joint whose place is taken


@jit
def _rank(poses, count, value, order):
    """Order i32 [:count] of the poses by mean joint score, best first; means go to value f32."""
    for i in range(count):
        total = 0.0
        for joint in range(poses.shape[1]):
            total += poses[i, joint, 0]
        value[i] = np.float32(total / poses.shape[1])
    sort_descending(value, order, count)


@kernel("int64(float64[:,:,::1], int64, float64, float64, uint8[:,:,::1], float32[::1], int32[::1])")
def suppress(poses, count, least, least_mean, occupied, value, order):
    """The number of poses that stay; poses[order[0]] is the best one.

    Args:
        poses: f64 [P,K,4]: score, x px, y px, scale px; joints that fall away get score 0. count: of them.
        least: a joint's score must be larger. least_mean: least mean score over the K joints.
        occupied: u8 [K,H/2+1,W/2+1] and value f32 [P] are workspace. order: i32 [P] out.
    """
    occupied[:] = 0
    _rank(poses, count, value, order)
    for i in range(count):
        pose = poses[order[i]]
        for joint in range(pose.shape[0]):
            v, x, y, s = pose[joint, 0], pose[joint, 1], pose[joint, 2], pose[joint, 3]
            if v > 0:
                if is_occupied(occupied[joint], x, y):
                    pose[joint, 0] = v * _SUPPRESSED
                else:
                    mark(occupied[joint], x, y, s)
    for i in range(count):
        for joint in range(poses.shape[1]):
            if poses[i, joint, 0] <= least:
                poses[i, joint, 0] = 0.0
    _rank(poses, count, value, order)
    kept = 0
    while kept < count and value[order[kept]] >= np.float32(least_mean):
        kept += 1
    return kept
