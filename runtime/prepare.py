"""Frame and windows -> the network's input tensor. Owns where a network looks; never sees keypoints.

A window is the rectangle of the frame, in its pixels, that fills the input; it may reach beyond the frame.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.runtime import sample
from posert.runtime.spec import InputSpec

Window = tuple[float, float, float, float]
_ALIGN = {
    "half_pixel": sample.HALF_PIXEL,
    "corners": sample.CORNERS,
    "origin": sample.ORIGIN,
    "half_pixel_blend": sample.ORIGIN,
}
_ROUNDING = {"none": 0, "round": 1, "truncate": 2}
_DTYPES = {"float32": (-math.inf, math.inf), "uint8": (0, 255), "int32": (-(2.0**31), 2.0**31 - 128)}
# How much larger than its box a window is: AlphaPose's convention, and what MoveNet's tutorial leaves around a body.
BOX_MARGIN = {"boxes": 1.25, "square": 1.2}


def place(
    frame_wh: tuple[int, int], spec: InputSpec, boxes_xyxy: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Windows f64 [R,4] (left, top, right, bottom, px of the frame) and the width and height of the input.

    Args:
        frame_wh: width and height of the frame, px.
        spec: its `fit`, `size_wh` and `multiple_of` decide.
        boxes_xyxy: f32 [R,4]; one window around each box instead of one for the frame.

    Windows are float64, so that the float32 arithmetic of the original programs can be repeated exactly.
    """
    if boxes_xyxy is None and spec.fit != "boxes":
        window, input_wh = FITS[spec.fit](frame_wh, spec)
        return np.array([window], np.float64), input_wh
    boxes = np.zeros((0, 4)) if boxes_xyxy is None else np.asarray(boxes_xyxy, np.float64)
    center, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    width = np.maximum(side[:, 0], side[:, 1] * spec.size_wh[0] / spec.size_wh[1])[:, None] * BOX_MARGIN.get(
        spec.fit, 1.25
    )
    half = width * np.array([1.0, spec.size_wh[1] / spec.size_wh[0]]) / 2
    return np.concatenate([center - half, center + half], axis=1), spec.size_wh


def _stretch(frame_wh: tuple[int, int], spec: InputSpec) -> tuple[Window, tuple[int, int]]:
    width, height = _scaled(frame_wh, spec)
    input_wh = (spec.size_wh[0] or _multiple(width, spec), spec.size_wh[1] or _multiple(height, spec))
    return (0.0, 0.0, float(frame_wh[0]), float(frame_wh[1])), input_wh


def _corner(frame_wh: tuple[int, int], spec: InputSpec) -> tuple[Window, tuple[int, int]]:
    content = _scaled(frame_wh, spec)
    input_wh = _input_wh(content, spec)
    return (0.0, 0.0, input_wh[0] * frame_wh[0] / content[0], input_wh[1] * frame_wh[1] / content[1]), input_wh


def _center(frame_wh: tuple[int, int], spec: InputSpec) -> tuple[Window, tuple[int, int]]:
    """TensorFlow's resize_with_pad: content rounded down, the padding too, but from the content's exact size.

    With `multiple_of`, where the input follows the content, the padding comes from the rounded size (OpenPifPaf).
    """
    ratio = _ratio(frame_wh, spec)
    content = max(1, math.floor(frame_wh[0] / ratio)), max(1, math.floor(frame_wh[1] / ratio))
    input_wh = _input_wh(content, spec)
    low, high = [], []
    for axis in range(2):
        filled = content[axis] if spec.multiple_of else frame_wh[axis] / ratio
        pad = math.floor(max(0.0, (input_wh[axis] - filled) / 2))
        step = frame_wh[axis] / content[axis]
        low.append(-pad * step)
        high.append((input_wh[axis] - pad) * step)
    return (low[0], low[1], high[0], high[1]), input_wh


def _letterbox(frame_wh: tuple[int, int], spec: InputSpec) -> tuple[Window, tuple[int, int]]:
    """AlphaPose's YOLOv3: content rounded down, then centred, an odd pixel of padding right and below."""
    factor = min((limit / side for side, limit in zip(frame_wh, spec.size_wh, strict=True) if limit), default=1.0)
    content = max(1, math.floor(frame_wh[0] * factor)), max(1, math.floor(frame_wh[1] * factor))
    input_wh = _input_wh(content, spec)
    step = frame_wh[0] / content[0], frame_wh[1] / content[1]
    left, top = -((input_wh[0] - content[0]) // 2) * step[0], -((input_wh[1] - content[1]) // 2) * step[1]
    return (left, top, left + input_wh[0] * step[0], top + input_wh[1] * step[1]), input_wh


def _square(frame_wh: tuple[int, int], spec: InputSpec) -> tuple[Window, tuple[int, int]]:
    """The square around the whole frame, padded on two sides; TensorFlow Hub's MoveNet tutorial starts with it."""
    width, height = frame_wh
    side = max(width, height)
    left, top = width / 2 - side / 2, height / 2 - side / 2
    return (left, top, left + side, top + side), spec.size_wh


def _corner_pixels(frame_wh: tuple[int, int], spec: InputSpec) -> tuple[Window, tuple[int, int]]:
    """CMU OpenPose's: the frame's corner pixels lie on the input's, top left, and the rest is padding.

    A free side takes the frame's aspect (the width at most 16:9), two given ones are limits that the frame is fitted
    into; each in steps of `multiple_of`, without which both sides are as given. The window begins half a pixel of the
    frame after its corner and half a pixel of the input before that, so that sample i lies exactly i steps after the
    frame's first pixel.
    """
    width, height = frame_wh
    wide, high = spec.size_wh
    unit = max(1, spec.multiple_of)
    if not (wide and high):
        wide, high = (
            wide or _nearest(min(high * 16 / 9, high * width / height), unit),
            high or _nearest(wide * height / width, unit),
        )
    elif spec.multiple_of:
        factor = min(wide / width, high / height)
        wide, high = _nearest(width * factor, unit), _nearest(height * factor, unit)
    step = max((width - 1) / max(1, wide - 1), (height - 1) / max(1, high - 1)) or 1.0
    low = 0.5 - 0.5 * step
    return (low, low, low + wide * step, low + high * step), (wide, high)


def scaled(spec: InputSpec, input_wh: tuple[int, int], scale: float) -> InputSpec:
    """`spec` for an input of one size: `scale` of `input_wh`, in whole steps, rounded as CMU OpenPose does."""
    unit, plus = max(1, spec.multiple_of), spec.multiple_plus
    wide, high = (max(1, (math.floor(side * scale + 0.5) - plus) // unit) * unit + plus for side in input_wh)
    return replace(spec, size_wh=(wide, high), multiple_of=0, multiple_plus=0)


def _nearest(side: float, unit: int) -> int:
    return max(1, math.floor(side / unit + 0.5)) * unit


FITS: dict[str, Callable[[tuple[int, int], InputSpec], tuple[Window, tuple[int, int]]]] = {
    "stretch": _stretch,
    "corner": _corner,
    "center": _center,
    "letterbox": _letterbox,
    "square": _square,
    "corner_pixels": _corner_pixels,
}
"""Rule -> (window of the whole frame, input size). A new fit is a function here."""


def _ratio(frame_wh: tuple[int, int], spec: InputSpec) -> float:
    """Frame px per input px that fit the frame into the sides of the input that are not free."""
    pairs = zip(frame_wh, spec.size_wh, strict=True)
    return max((side / limit for side, limit in pairs if limit), default=1.0)


def _scaled(frame_wh: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    ratio = _ratio(frame_wh, spec)
    return max(1, round(frame_wh[0] / ratio)), max(1, round(frame_wh[1] / ratio))


def _input_wh(content: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    if spec.multiple_of:
        return _multiple(content[0], spec), _multiple(content[1], spec)
    return spec.size_wh[0] or content[0], spec.size_wh[1] or content[1]


def _multiple(side: int, spec: InputSpec) -> int:
    step = max(1, spec.multiple_of)
    return max(0, -(-(side - spec.multiple_plus) // step)) * step + spec.multiple_plus


def prepare(
    bgr: NDArray[np.uint8],
    windows: NDArray[np.float64],
    spec: InputSpec,
    input_wh: tuple[int, int],
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The input tensor, [R,3,H,W] or [R,H,W,3] as `spec.layout` says, of `spec.dtype`.

    Args:
        bgr: u8 [H,W,3], the frame.
        windows: f64 [R,4] px, one per row of the tensor.
        spec: colour order, interpolation, rounding, padding, mean and std.
        input_wh: width and height of the tensor, px.
        out: written and returned if given (C-contiguous, the right shape and dtype).
    """
    width, height = input_wh
    shape = (len(windows), height, width, 3) if spec.layout == "NHWC" else (len(windows), 3, height, width)
    if out is None:
        out = np.empty(shape, spec.dtype)
    image = np.ascontiguousarray(bgr)
    for row, window in zip(out, windows, strict=True):
        _sample_window(image, window, spec, input_wh, row.reshape(-1))
    return out


def _sample_window(
    image: NDArray[np.uint8],
    window: NDArray[np.float64],
    spec: InputSpec,
    input_wh: tuple[int, int],
    out: NDArray[Any],
) -> None:
    width, height = input_wh
    strides = np.array((1, 3 * width, 3) if spec.layout == "NHWC" else (height * width, width, 1), np.int64)
    outs = [out if out.dtype == dtype else np.empty(0, dtype) for dtype in _DTYPES]
    scale = (window[2] - window[0]) / width, (window[3] - window[1]) / height
    shared = _tone(spec), _ROUNDING[spec.rounding], *outs, strides
    sides, flat = (image.shape[1], image.shape[0]), image.reshape(image.shape[0], -1)
    lines = np.empty((3, 3, width), np.float32)
    if _is_linear(spec.interpolation, enlarges=max(scale) <= 1):
        taps = [_linear(window[a], window[a + 2], sides[a], input_wh[a], spec) for a in range(2)]
        sample.sample_linear(flat, *taps[0], *taps[1], *shared, np.empty((2, 2, width), np.int32), lines)
        return
    taps = [_weighted(window[a], window[a + 2], sides[a], input_wh[a], spec) for a in range(2)]
    sample.sample_weighted(flat, *taps[0], *taps[1], *shared, np.empty(flat.shape[1], np.float32), lines[0])


def _tone(spec: InputSpec) -> NDArray[np.float32]:
    source = (0, 1, 2) if spec.color == "bgr" else (2, 1, 0)
    low, high = _DTYPES[spec.dtype]
    return np.array([spec.pad_value, spec.mean, [1 / std for std in spec.std], source, (low, high, 0)], np.float32)


def _is_linear(interpolation: str, *, enlarges: bool) -> bool:
    return interpolation == "linear" or interpolation == ("area" if enlarges else "linear_or_cubic")


def _linear(low: float, high: float, length: int, size: int, spec: InputSpec) -> tuple[NDArray[Any], ...]:
    taps = np.empty((2, size), np.int32), np.empty(size, np.float32), np.empty(size, np.uint8)
    if spec.align == "half_pixel_blend":  # the places of half_pixel, seen from the first pixel's centre
        shift = 0.5 * (high - low) / size - 0.5
        low, high = low + shift, high + shift
    sample.linear_taps(float(low), float(high), length, _ALIGN[spec.align], *taps)
    return taps


def _weighted(low: float, high: float, length: int, size: int, spec: InputSpec) -> tuple[NDArray[Any], ...]:
    cubic = spec.interpolation != "area"
    # a cell never needs more pixels than there are; min and max in this order turn NaN and infinity into `length`
    count = 4 if cubic else math.ceil(max(0.0, min(length - 1.0, (high - low) / size))) + 1
    taps = np.empty((size, count), np.int32), np.empty((size, count), np.float32), np.empty(size, np.uint8)
    sample.weighted_taps(float(low), float(high), length, int(cubic), *taps)
    return taps
