"""Shared kernels: overlapping poses -> the best of them. Knows joints (score, x, y, scale), not how they were found."""

import numpy as np

from posert.postprocess.decoders.cifcaf.grow import free, is_occupied, mark
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, F64x3, I32x1, U8x3, jit, kernel
from posert.postprocess.kernels.sort import sort_descending

_SUPPRESSED = 1e-5  # factor on the score of a joint whose place is taken
_HEADS, _HEAD_WEIGHT = 3, 3.0  # the three most certain joints count three times in a person's score


@jit
def _rank(poses, count, value, order):
    """Order i32 [:count] of the poses by mean joint score, best first; means go to value f32."""
    for i in range(count):
        total = 0.0
        for joint in range(poses.shape[1]):
            total += poses[i, joint, 0]
        value[i] = np.float32(total / poses.shape[1])
    sort_descending(value, order, count)


@kernel
def suppress(
    poses: F64x3, count: int, least: float, least_mean: float, occupied: U8x3, value: F32x1, order: I32x1
) -> int:
    """The number of poses that stay; poses[order[0]] is the best one.

    Args:
        poses: f64 [P,K,4]: score, x px, y px, scale px; joints that fall away get score 0. count: of them.
        least: a joint's score must be larger. least_mean: least mean score over the K joints.
        occupied: u8 [K,H/2+1,W/2+1], all zeros, before and after. value: f32 [P] is workspace. order: i32 [P] out.
    """
    _rank(poses, count, value, order)
    for i in range(count):
        pose = poses[order[i]]
        for joint in range(pose.shape[0]):
            v, x, y, s = pose[joint, 0], pose[joint, 1], pose[joint, 2], pose[joint, 3]
            if v > 0:
                if is_occupied(occupied[joint], x, y):
                    pose[joint, 0] = v * _SUPPRESSED
                else:
                    mark(occupied[joint], x, y, s, 1)
    free(occupied, poses, count)
    for i in range(count):
        for joint in range(poses.shape[1]):
            if poses[i, joint, 0] <= least:
                poses[i, joint, 0] = 0.0
    _rank(poses, count, value, order)
    kept = 0
    while kept < count and value[order[kept]] >= np.float32(least_mean):
        kept += 1
    return kept


@jit
def _score(pose, ranked):
    """The mean joint score f64, in which the best `_HEADS` joints count `_HEAD_WEIGHT` times."""
    total, weights = 0.0, 0.0
    for joint in range(len(ranked)):
        at, v = joint, pose[joint, 0]
        while at > 0 and ranked[at - 1] < v:
            ranked[at] = ranked[at - 1]
            at -= 1
        ranked[at] = v
    for i in range(len(ranked)):
        weight = _HEAD_WEIGHT if i < _HEADS else 1.0
        total, weights = total + weight * ranked[i], weights + weight
    return total / weights


@kernel
def report_people(
    poses: F64x3, order: I32x1, count: int, ranked: F64x1, keypoints: F32x3, scores: F32x1, boxes: F32x2
) -> int:
    """`count`: so many people, the poses order[0], order[1] and so on.

    Args:
        poses, order: as `suppress` leaves them. ranked: f64 [K] workspace.
        keypoints: f32 [N,K,3] out: x px, y px, score, all 0 if not found. scores: f32 [N] out.
        boxes: f32 [N,4] out: left, top, right, bottom px around the joints found, each widened by its scale.
    """
    for i in range(count):
        pose, box, found = poses[order[i]], boxes[i], False
        box[:] = 0
        scores[i] = _score(pose, ranked)
        for joint in range(pose.shape[0]):
            v, x, y, s = pose[joint, 0], pose[joint, 1], pose[joint, 2], pose[joint, 3]
            if not v > 0:
                keypoints[i, joint, 0], keypoints[i, joint, 1], keypoints[i, joint, 2] = 0, 0, 0
                continue
            keypoints[i, joint, 0], keypoints[i, joint, 1], keypoints[i, joint, 2] = x, y, v
            left, top = np.float32(x - s), np.float32(y - s)
            right, bottom = np.float32(x + s), np.float32(y + s)
            box[0], box[1] = min(box[0], left) if found else left, min(box[1], top) if found else top
            box[2], box[3] = max(box[2], right) if found else right, max(box[3], bottom) if found else bottom
            found = True
    return count
