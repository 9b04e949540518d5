"""Where a network looks: the rectangle of the frame, in its px, that fills the input; it may reach beyond the frame.

Owns the rules (`InputSpec.fit`) and the input's size. Windows are float64, so that the float32 arithmetic of the
original programs can be repeated exactly. Never sees pixels or keypoints.
"""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from posert.postprocess.kernels.records import index_of, numbers_of, reader
from posert.postprocess.kernels.registry import F32x2, F64x1, F64x2, I64x1, jit, kernel
from posert.postprocess.kernels.workspace import of_axis
from posert.runtime.spec import InputSpec

# How much larger than its box a window is if nobody says: AlphaPose's convention; what MoveNet's tutorial leaves.
_BOX_MARGIN, _SQUARE_MARGIN = 1.25, 1.2
_STRETCH, _CORNER = index_of(InputSpec, "fit", "stretch"), index_of(InputSpec, "fit", "corner")
_CENTER, _LETTERBOX = index_of(InputSpec, "fit", "center"), index_of(InputSpec, "fit", "letterbox")
_SQUARE, _CORNER_PIXELS = index_of(InputSpec, "fit", "square"), index_of(InputSpec, "fit", "corner_pixels")

SPEC_NUMBERS = len(numbers_of(InputSpec("", "NCHW", "float32", "rgb", (0, 0), "stretch")))
"""How many numbers an `InputSpec` is."""
read_spec = reader(InputSpec)
"""A helper for kernels: numbers f64 [n] -> the fields of `InputSpec` but its name."""
spec_numbers = lru_cache(maxsize=64)(numbers_of)
"""`InputSpec` -> the numbers f64 [n] that kernels read with `read_spec`."""


def place(
    frame_wh: tuple[int, int], spec: InputSpec, boxes_xyxy: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Windows f64 [R,4] (left, top, right, bottom, px of the frame) and the width and height of the input.

    Args:
        frame_wh: width and height of the frame, px.
        spec: its `fit`, `size_wh` and `multiple_of` decide.
        boxes_xyxy: f32 [R,4]; one window around each box instead of one for the frame.
    """
    if boxes_xyxy is None:
        window, input_wh = np.empty((1, 4)), np.empty(2, np.int64)
        count = place_frame(spec_numbers(spec), *frame_wh, window[0], input_wh)
        return window[:count], (int(input_wh[0]), int(input_wh[1]))
    windows = np.empty((len(boxes_xyxy), 4))
    place_boxes(spec_numbers(spec), np.ascontiguousarray(boxes_xyxy, np.float32), windows)
    return windows, spec.size_wh


def scaled(spec: InputSpec, input_wh: tuple[int, int], scale: float) -> InputSpec:
    """`spec` for an input of one size: `scale` of `input_wh`, in whole steps, rounded as CMU OpenPose does."""
    unit, plus = max(1, spec.multiple_of), spec.multiple_plus
    wide, high = (max(1, (math.floor(side * scale + 0.5) - plus) // unit) * unit + plus for side in input_wh)
    return replace(spec, size_wh=(wide, high), multiple_of=0, multiple_plus=0)


@kernel
def place_frame(numbers: F64x1, width: int, height: int, window: F64x1, input_wh: I64x1) -> int:
    """The number of windows f64 [4] for the whole frame: 1, or 0 for the fit `boxes` and a frame without pixels.

    Args:
        numbers: see `spec_numbers`. width, height: of the frame, px.
        input_wh: i64 [2], gets width and height of the network's input, px.
    """
    spec, frame = read_spec(numbers), (width, height)
    input_wh[0], input_wh[1] = spec.size_wh
    if min(width, height) < 1:
        return 0
    if spec.fit == _STRETCH:
        _stretch(spec, frame, window, input_wh)
    elif spec.fit == _CORNER:
        _corner(spec, frame, window, input_wh)
    elif spec.fit == _CENTER:
        _center(spec, frame, window, input_wh)
    elif spec.fit == _LETTERBOX:
        _letterbox(spec, frame, window, input_wh)
    elif spec.fit == _SQUARE:
        _square(frame, window)
    elif spec.fit == _CORNER_PIXELS:
        _corner_pixels(spec, frame, window, input_wh)
    else:
        return 0
    return 1


@kernel
def place_boxes(numbers: F64x1, boxes: F32x2, windows: F64x2) -> int:
    """R; windows f64 [R,4] around boxes f32 [R,4], with a margin and the aspect of the input; [R,6]: not turned."""
    spec = read_spec(numbers)
    for row in range(boxes.shape[0]):
        left, top = np.float64(boxes[row, 0]), np.float64(boxes[row, 1])
        right, bottom = np.float64(boxes[row, 2]), np.float64(boxes[row, 3])
        half, half_high = widened(spec, right - left, bottom - top)
        x, y = (left + right) / 2, (top + bottom) / 2
        windows[row, 0], windows[row, 1] = x - half, y - half_high
        windows[row, 2], windows[row, 3] = x + half, y + half_high
        if windows.shape[1] == 6:
            windows[row, 4], windows[row, 5] = 1.0, 0.0
    return boxes.shape[0]


@jit
def widened(spec, across, down):
    """Half the width and half the height of the window around a box of these sides."""
    wide, high = spec.size_wh
    usual, aspect = _SQUARE_MARGIN if spec.fit == _SQUARE else _BOX_MARGIN, high / wide
    margin, own = spec.margin if spec.margin == spec.margin else usual, down * wide / high
    width = (own if own > across or own != own else across) * margin
    return width / 2, width * aspect / 2


@jit
def _ratio(spec, frame):
    """Frame px per input px that fit the frame into the sides of the input that are not free."""
    most = 0.0
    for axis in range(2):
        if of_axis(spec.size_wh, axis) != 0:
            most = max(most, of_axis(frame, axis) / of_axis(spec.size_wh, axis))
    return most if most > 0.0 else 1.0


@jit
def _multiple(side, spec):
    step = max(1, spec.multiple_of)
    return max(0, -(-(side - spec.multiple_plus) // step)) * step + spec.multiple_plus


@jit
def _input_side(content, spec, axis):
    if spec.multiple_of != 0:
        return _multiple(content, spec)
    return of_axis(spec.size_wh, axis) if of_axis(spec.size_wh, axis) != 0 else content


@jit
def _stretch(spec, frame, window, input_wh):
    for axis in range(2):
        content = max(1, round(of_axis(frame, axis) / _ratio(spec, frame)))
        input_wh[axis] = of_axis(spec.size_wh, axis) if of_axis(spec.size_wh, axis) != 0 else _multiple(content, spec)
        window[axis], window[2 + axis] = 0.0, of_axis(frame, axis)


@jit
def _corner(spec, frame, window, input_wh):
    for axis in range(2):
        content = max(1, round(of_axis(frame, axis) / _ratio(spec, frame)))
        input_wh[axis] = _input_side(content, spec, axis)
        window[axis], window[2 + axis] = 0.0, input_wh[axis] * of_axis(frame, axis) / content


@jit
def _center(spec, frame, window, input_wh):
    """TensorFlow's resize_with_pad: content rounded down, the padding too, but from the content's exact size.

    With `multiple_of`, where the input follows the content, the padding comes from the rounded size (OpenPifPaf).
    """
    for axis in range(2):
        exact = of_axis(frame, axis) / _ratio(spec, frame)
        content = max(1, math.floor(exact))
        input_wh[axis] = _input_side(content, spec, axis)
        filled = float(content) if spec.multiple_of != 0 else exact
        pad, step = math.floor(max(0.0, (input_wh[axis] - filled) / 2)), of_axis(frame, axis) / content
        window[axis], window[2 + axis] = -pad * step, (input_wh[axis] - pad) * step


@jit
def _letterbox(spec, frame, window, input_wh):
    """AlphaPose's YOLOv3: content rounded down, then centred, an odd pixel of padding right and below."""
    factor = math.inf
    for axis in range(2):
        if of_axis(spec.size_wh, axis) != 0:
            factor = min(factor, of_axis(spec.size_wh, axis) / of_axis(frame, axis))
    for axis in range(2):
        content = max(1, math.floor(of_axis(frame, axis) * (factor if factor < math.inf else 1.0)))
        input_wh[axis] = _input_side(content, spec, axis)
        step = of_axis(frame, axis) / content
        window[axis] = -((input_wh[axis] - content) // 2) * step
        window[2 + axis] = window[axis] + input_wh[axis] * step


@jit
def _square(frame, window):
    """The square around the whole frame, padded on two sides; TensorFlow Hub's MoveNet tutorial starts with it."""
    side = max(frame[0], frame[1])
    for axis in range(2):
        window[axis] = of_axis(frame, axis) / 2 - side / 2
        window[2 + axis] = window[axis] + side


@jit
def _nearest(side, unit):
    return max(1, math.floor(side / unit + 0.5)) * unit


@jit
def _corner_pixels(spec, frame, window, input_wh):
    """CMU OpenPose's: the frame's corner pixels lie on the input's, top left, and the rest is padding.

    A free side takes the frame's aspect (the width at most 16:9), two given ones are limits that the frame is fitted
    into; each in steps of `multiple_of`, without which both sides are as given. The window begins half a pixel of the
    frame after its corner and half a pixel of the input before that, so that sample i lies exactly i steps after the
    frame's first pixel.
    """
    (width, height), (wide, high), unit = frame, spec.size_wh, max(1, spec.multiple_of)
    if wide == 0 or high == 0:
        if wide == 0:
            input_wh[0] = _nearest(min(high * 16 / 9, high * width / height), unit)
        if high == 0:
            input_wh[1] = _nearest(wide * height / width, unit)
    elif spec.multiple_of != 0:
        factor = min(wide / width, high / height)
        input_wh[0], input_wh[1] = _nearest(width * factor, unit), _nearest(height * factor, unit)
    step = max((width - 1) / max(1, input_wh[0] - 1), (height - 1) / max(1, input_wh[1] - 1))
    step = step if step > 0.0 else 1.0
    for axis in range(2):
        window[axis] = 0.5 - 0.5 * step
        window[2 + axis] = window[axis] + input_wh[axis] * step
