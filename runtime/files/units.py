"""Keypoints in other units than pixels of the frame, numbered as OpenPose's `keypoint_scale`. Knows no files."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.runtime.spec import ModelSpec, body_stages
from posert.runtime.windows import place

Keypoints = NDArray[np.float64]
FRAME, NETWORK, OUTPUT, SHARE, CENTERED = range(5)
_FROM_THE_CORNER = ("corner", "corner_pixels", "stretch")


def in_units(unit: int, spec: ModelSpec) -> Callable[[Keypoints, tuple[int, int]], Keypoints]:
    """A function of keypoints f64 [N,K,3] in px of a frame and its width and height: the same in `unit`.

    Args:
        unit: 0 = px of the frame; 1 = px of the network input; 2 = px of the output, which has the frame's size;
            3 = 0..1 and 4 = -1..1, from the frame's left and upper edge to its right and lower.

    What was not found stays 0, 0, 0.

    Raises:
        PosertError: unit 1, and the frame does not begin in the corner of the input.
    """
    first, body = spec.stages[0], body_stages(spec)
    if unit == NETWORK and (len(body) > 1 or first.region != "frame" or first.input.fit not in _FROM_THE_CORNER):
        raise PosertError(
            f"{spec.model} does not see the whole frame from the corner of its input on",
            "take another `keypoint_scale` than 1",
        )

    def convert(keypoints: Keypoints, frame_wh: tuple[int, int]) -> Keypoints:
        scale, shift = np.ones(2), 0.0
        if unit == NETWORK:
            (window,), input_wh = place(frame_wh, first.input)
            scale = np.array(input_wh) / (window[2:] - window[:2])
        elif unit in (SHARE, CENTERED):
            scale, shift = (1 if unit == SHARE else 2) / np.array(frame_wh), 0.0 if unit == SHARE else -1.0
        found = keypoints[:, :, 2:] != 0
        return np.concatenate([np.where(found, keypoints[:, :, :2] * scale + shift, 0), keypoints[:, :, 2:]], axis=2)

    return convert
