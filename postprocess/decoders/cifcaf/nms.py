"""Overlapping poses -> the best of them, as people. Knows joints (score, x, y, scale), not how they were found."""

from collections import namedtuple

import numpy as np

from posert.postprocess.decoders.cifcaf.grow import free, is_occupied, mark
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.sort import sort_descending
from posert.postprocess.kernels.workspace import take

MAX_POSES = 1024
"""At most so many poses are grown per image, before the overlapping ones fall away."""
_SUPPRESSED = 1e-5  # factor on the score of a joint whose place is taken
_HEADS, _HEAD_WEIGHT = 3, 3.0  # the three most certain joints count three times in a person's score

Candidates = namedtuple("Candidates", "joints order mean occupied ranked")
"""What grows: joints f64 [P,K,4]: score, x px, y px, scale px; order i32 [P], the best first, by mean f32 [P]; occupied
u8 [K,H/2+1,W/2+1], all zeros between calls; ranked i32 [K], the joints of one."""


@jit
def take_candidates(workspace, at, parts, high, wide):
    """`Candidates` for maps of high x wide px at byte `at` of the workspace, and the place after them."""
    joints, at = take(workspace, at, (MAX_POSES, parts, 4), np.float64)
    order, at = take(workspace, at, (MAX_POSES,), np.int32)
    mean, at = take(workspace, at, (MAX_POSES,), np.float32)
    occupied, at = take(workspace, at, (parts, high // 2 + 1, wide // 2 + 1), np.uint8)
    ranked, at = take(workspace, at, (parts,), np.int32)
    return Candidates(joints, order, mean, occupied, ranked), at


@jit
def _rank(poses, count):
    """Orders `count` poses by mean joint score, best first."""
    joints = poses.joints
    for i in range(count):
        total = 0.0
        for joint in range(joints.shape[1]):
            total += joints[i, joint, 0]
        poses.mean[i] = np.float32(total / joints.shape[1])
    sort_descending(poses.mean, poses.order, count)


@jit
def suppress(poses, count, least, least_mean):
    """The number of poses that stay; the first in their order is the best.

    Of `count` poses; joints that fall away get score 0. least: a joint's score must be larger. least_mean: least mean
    score over the K joints.
    """
    joints, order, occupied = poses.joints, poses.order, poses.occupied
    _rank(poses, count)
    for i in range(count):
        pose = joints[order[i]]
        for joint in range(pose.shape[0]):
            v, x, y, s = pose[joint, 0], pose[joint, 1], pose[joint, 2], pose[joint, 3]
            if v > 0:
                if is_occupied(occupied[joint], x, y):
                    pose[joint, 0] = v * _SUPPRESSED
                else:
                    mark(occupied[joint], x, y, s, 1)
    free(occupied, joints, count)
    for i in range(count):
        for joint in range(joints.shape[1]):
            if joints[i, joint, 0] <= least:
                joints[i, joint, 0] = 0.0
    _rank(poses, count)
    kept = 0
    while kept < count and poses.mean[order[kept]] >= np.float32(least_mean):
        kept += 1
    return kept


@jit
def _score(pose, ranked):
    """The mean joint score f64, in which the best `_HEADS` joints count `_HEAD_WEIGHT` times."""
    total, weights, values = 0.0, 0.0, pose[:, 0]
    sort_descending(values, ranked, len(ranked))
    for i in range(len(ranked)):
        weight = _HEAD_WEIGHT if i < _HEADS else 1.0
        total, weights = total + weight * values[ranked[i]], weights + weight
    return total / weights


@jit
def report_people(poses, count, keypoints, scores, boxes):
    """The first `count` poses of the order as people.

    keypoints f32 [N,K,3] out: x px, y px, score, all 0 if not found. scores f32 [N] out. boxes f32 [N,4] out: left,
    top, right, bottom px around the joints found, each widened by its scale.
    """
    for i in range(count):
        pose, box, found = poses.joints[poses.order[i]], boxes[i], False
        box[:] = 0
        scores[i] = _score(pose, poses.ranked)
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
