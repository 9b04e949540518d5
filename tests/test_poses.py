"""The records of the ground floor, and what is computed of them alone."""

import numpy as np
from people import keypoint_boxes


def test_only_found_keypoints_stretch_a_box() -> None:
    """A score below 0 is not found either; whoever has no found keypoint has no box."""
    keypoints = np.array([[[3, 4, 1], [5, 9, 0.1], [90, 90, -0.5]], [[7, 7, -1], [8, 8, -0.1], [0, 0, 0]]], np.float32)
    assert keypoint_boxes(keypoints).tolist() == [[3, 4, 5, 9], [0, 0, 0, 0]]
