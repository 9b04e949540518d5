"""Frame and windows -> the network's input tensor. Never sees keypoints."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.runtime import sample
from posert.runtime.spec import InputSpec

_ALIGN = {
    "half_pixel": sample.HALF_PIXEL,
    "corners": sample.CORNERS,
    "origin": sample.ORIGIN,
    "half_pixel_blend": sample.ORIGIN,
}
_ROUNDING = {"none": 0, "round": 1, "truncate": 2}
_DTYPES = {"float32": (-math.inf, math.inf), "uint8": (0, 255), "int32": (-(2.0**31), 2.0**31 - 128)}


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
