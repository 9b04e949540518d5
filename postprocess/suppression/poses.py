"""Suppression rule `poses`: people found twice become one (AlphaPose's parametric pose suppression, parity 1.8, 1.9).

A rule has two public names, `Params` and `suppress`. It sees poses and the regions they were looked for in, both in
pixels of the frame.
"""

from dataclasses import dataclass

import numpy as np

from posert.poses import Poses
from posert.postprocess import nms


@dataclass(frozen=True, slots=True)
class Params:
    """When two poses are one person; the defaults are AlphaPose's for bodies.

    Attributes:
        whole_body: the last 110 keypoints are 68 of the face and 42 of the hands, weighed apart.
        delta1: unit of the keypoint scores.
        mu, delta2: weight and unit (px) of the distance between keypoints.
        gamma: more similarity than this is one person.
        matches: at least this many close keypoints are one person.
        alpha: keypoints are close within this fraction of the box's longer side (at most 7 px, 15 px for merging).
        min_score: people whose best keypoint has less are left out.
        min_area: people whose keypoints span less are left out, px².
    """

    whole_body: bool = False
    delta1: float = 1.0
    mu: float = 1.7
    delta2: float = 2.65
    gamma: float = 22.48
    matches: float = 5.0
    alpha: float = 0.1
    min_score: float = 0.3
    min_area: float = 0.0

    def __post_init__(self) -> None:
        if self.delta1 <= 0 or self.delta2 <= 0:
            raise ValueError("delta1 and delta2 must be more than 0")


def suppress(poses: Poses, regions: Poses, params: Params) -> Poses:
    """The people of `poses` without doubles, best first; boxes are those of the regions they were found in.

    Args:
        poses: N people, px of the frame.
        regions: the N regions they were looked for in, in the same order; their boxes and scores are used.
        params: see `Params`.

    Person score: mean + 1.25 * maximum of the keypoint scores + the region's score, up to about 3.25.

    Raises:
        ValueError: the numbers of poses and regions differ, or a whole body has fewer than 111 keypoints.
    """
    people, count = poses.keypoints.shape[:2]
    if len(regions) != people:
        raise ValueError(f"{people} poses from {len(regions)} regions")
    if params.whole_body and count < 111:
        raise ValueError(f"a whole body has at least 111 keypoints, these have {count}")
    if not people or not count:
        return poses
    keypoints = np.ascontiguousarray(poses.keypoints, np.float32).copy()
    keypoints[:, :, 2][keypoints[:, :, 2] == 0] = 1e-5  # AlphaPose's own way around a weight of 0
    boxes = np.ascontiguousarray(regions.boxes_xyxy, np.float32)
    merged, scores = np.empty_like(keypoints), np.empty(people, np.float32)
    alive, means, picks = np.empty(people, np.uint8), np.empty(people), np.empty(people, np.int64)
    region_scores = np.ascontiguousarray(regions.scores, np.float32)
    kept = nms.pose_nms(
        keypoints, boxes, region_scores, int(params.whole_body), _rule(params), alive, means, merged, scores, picks
    )
    return Poses(merged[:kept], scores[:kept], boxes[picks[:kept]])


def _rule(params: Params) -> np.ndarray:
    rule = np.empty(nms.RULE_SIZE)
    rule[nms.MU], rule[nms.DELTA1], rule[nms.DELTA2] = params.mu, params.delta1, params.delta2
    rule[nms.GAMMA], rule[nms.MIN_SCORE], rule[nms.MIN_MATCHES] = params.gamma, params.min_score, params.matches
    rule[nms.ALPHA], rule[nms.MIN_AREA] = params.alpha, params.min_area
    return rule
