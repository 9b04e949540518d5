"""Made-up people for tests of what happens after the network: poses, frames, results."""

import numpy as np
import tiny

from posert.poses import Frame, Poses, Result, Skeleton
from posert.postprocess.geometry import box_of_keypoints
from posert.runtime.spec import ModelSpec

# COCO-17 of a standing person 180 px tall, the hips' middle at (0, 0).
STANDING = np.array(
    [[0, -90], [-4, -95], [4, -95], [-9, -92], [9, -92], [-20, -60], [20, -60], [-28, -30], [28, -30], [-30, 0],
     [30, 0], [-12, 0], [12, 0], [-13, 45], [13, 45], [-14, 88], [14, 88]], float
)  # fmt: skip
SPEC: ModelSpec = tiny.SPEC
SKELETON = Skeleton(
    tiny.NAMES,
    ((5, 6),),
    tuple(np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000),
)


def keypoint_boxes(keypoints: np.ndarray) -> np.ndarray:
    """Boxes f32 [N,4] (xyxy px) around the found keypoints of f32 [N,K,3]."""
    boxes = np.empty((len(keypoints), 4), np.float32)
    for person, box in zip(keypoints, boxes, strict=True):
        box_of_keypoints(person, box)
    return boxes


def standing(*centres_px: tuple[float, float], size: float = 1.0, ids: list[int] | None = None) -> Poses:
    """People with their hips at the given places."""
    points = np.array([STANDING * size + np.array(centre) for centre in centres_px]).reshape(-1, 17, 2)
    keypoints = np.concatenate([points, np.full((*points.shape[:2], 1), 0.9)], axis=2).astype(np.float32)
    scores = np.linspace(0.9, 0.8, len(keypoints), dtype=np.float32)
    return Poses(keypoints, scores, keypoint_boxes(keypoints), None if ids is None else np.array(ids, np.int32))


def result(poses: Poses, index: int = 0, *, fps: float = 25.0, source: str = "walk.mp4") -> tuple[Frame, Result]:
    """A 640 x 480 frame with these people."""
    frame = Frame(np.zeros((480, 640, 3), np.uint8), index, index / fps, source)
    return frame, Result(index, index / fps, (640, 480), source, poses, {})
