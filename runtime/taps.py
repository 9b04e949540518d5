"""Taps: which pixels along one axis of the frame make each sample of the network's input, and with which weights.

Knows one axis at a time, its window and its length, no pixels.
"""

import math
from collections import namedtuple

import numpy as np

from posert.postprocess.kernels.records import index_of
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.resample import cubic_weight
from posert.postprocess.kernels.workspace import take
from posert.runtime.spec import InputSpec

HALF_PIXEL, BLEND = index_of(InputSpec, "align", "half_pixel"), index_of(InputSpec, "align", "half_pixel_blend")
CORNERS, ORIGIN = index_of(InputSpec, "align", "corners"), index_of(InputSpec, "align", "origin")
EDGES = index_of(InputSpec, "align", "edges")
LINEAR, _AREA = index_of(InputSpec, "interpolation", "linear"), index_of(InputSpec, "interpolation", "area")
_LINEAR_OR_CUBIC = index_of(InputSpec, "interpolation", "linear_or_cubic")
_HALF = np.float32(0.5)

Taps = namedtuple("Taps", "index weight inside")
"""Of S samples: index i32, weight f32, inside u8 [S], 0 where the sample has the pad value.

Linear: index [2,S] and weight [1,S], that of the second pixel. Cubic and area: both [S,T], weights sum to 1.
"""


@jit
def take_taps(workspace, at, size, count):
    """Taps of `size` samples from the workspace, `count` of each, 0 for linear; and the place after them."""
    index, at = take(workspace, at, (size, count) if count > 0 else (2, size), np.int32)
    weight, at = take(workspace, at, (size, count) if count > 0 else (1, size), np.float32)
    inside, at = take(workspace, at, (size,), np.uint8)
    return Taps(index, weight, inside), at


@jit
def is_linear(spec, window, width, height):
    """Whether linear interpolation takes this window f64 [4] to width x height px."""
    across, down = (window[2] - window[0]) / width, (window[3] - window[1]) / height
    enlarges = (down if down > across else across) <= 1
    return spec.interpolation == LINEAR or spec.interpolation == (_AREA if enlarges else _LINEAR_OR_CUBIC)


@jit
def tap_count(spec, low, high, length, size):
    """Taps of cubic or area: a cell never needs more pixels than there are, a window without end all of them."""
    if spec.interpolation != _AREA:
        return 4
    step = (high - low) / size
    most = step if step < length - 1.0 else length - 1.0
    return math.ceil(most if most > 0.0 else 0.0) + 1


@jit
def set_taps(spec, linear, low, high, length, taps):
    """Taps of the window low..high px along an axis of `length` px, by the rule of the spec."""
    if not linear:
        _weighted_taps(low, high, length, spec.interpolation != _AREA, taps)
    elif spec.align == BLEND:  # the places of half_pixel, seen from the first pixel's centre
        shift = 0.5 * (high - low) / len(taps.inside) - 0.5
        linear_taps(low + shift, high + shift, length, ORIGIN, taps)
    elif spec.align == EDGES:  # as origin, in a window that ends one sample later
        linear_taps(low, high + (high - low) / max(1, len(taps.inside) - 1), length, ORIGIN, taps)
    else:
        linear_taps(low, high, length, spec.align, taps)


@jit
def _source(i, low, high, size, length, align):
    """Source coordinate (f32, in pixel centres) of output sample i of `size` over the window [low, high] px.

    float32 in TensorFlow's own order of operations, so that its results come out bit for bit.
    """
    step = (high - low) / size
    if align == HALF_PIXEL:
        if step <= 0.0:
            return np.float32(low) - _HALF
        return np.float32(i + low / step + 0.5) * np.float32(step) - _HALF
    if align == CORNERS:
        a, b = np.float32(low / length), np.float32(high / length)
        last = np.float32(length - 1)
        if size == 1:
            return _HALF * (a + b) * last
        return a * last + np.float32(i) * ((b - a) * last / np.float32(size - 1))
    return np.float32(low + i * step)


@jit
def _inside(x, length, align):
    """Whether source coordinate x shows the frame at all, rather than what is around it."""
    if align == CORNERS:
        return x >= np.float32(0.0) and x <= np.float32(length - 1)
    if align == HALF_PIXEL:
        return x >= -_HALF and x < np.float32(length) - _HALF
    return x > np.float32(-1.0) and x < np.float32(length)


@jit
def linear_taps(low, high, length, align, taps):
    """Taps of linear interpolation along one axis.

    Args:
        low, high: the window, px. length: the frame, px. align: HALF_PIXEL, CORNERS or ORIGIN.
        taps: ORIGIN gives `length` for a pixel outside the frame (the pad value takes part in its interpolation), the
            others stay on the border pixel.
    """
    index, weight, inside = taps.index, taps.weight[0], taps.inside
    size = weight.shape[0]
    for i in range(size):
        x = _source(i, low, high, size, length, align)
        inside[i] = np.uint8(_inside(x, length, align))
        if not inside[i]:
            index[0, i] = 0
            index[1, i] = 0
            weight[i] = np.float32(0.0)
            continue
        floor = np.float32(math.floor(x))
        first = np.int64(floor)
        second = first + 1
        weight[i] = x - floor
        if align == ORIGIN:
            index[0, i] = first if first >= 0 else length
            index[1, i] = second if second < length else length
        else:
            index[0, i] = max(first, 0)
            index[1, i] = min(second, length - 1)


@jit
def _weighted_taps(low, high, length, cubic, taps):
    """Taps of cubic (`cubic`) or area interpolation along one axis, HALF_PIXEL.

    Cubic repeats the frame's border pixel; area averages over the part of its cell that lies in the frame.

    low, high: the window, px. length: the frame, px. Taps that are not used weigh 0.
    """
    index, weight, inside = taps.index, taps.weight, taps.inside
    size, count = weight.shape
    step = (high - low) / size
    for i in range(size):
        x = _source(i, low, high, size, length, HALF_PIXEL)
        inside[i] = np.uint8(_inside(x, length, HALF_PIXEL))
        if not inside[i]:
            index[i, :] = 0
            weight[i, :] = np.float32(0.0)
            continue
        begin, end = low + i * step, min(low + (i + 1) * step, float(length))
        begin = begin if begin > 0.0 else 0.0  # also where it is not a number
        first = math.floor(x) - 1 if cubic else math.floor(begin)
        total = 0.0
        for t in range(count):
            at = first + t
            w = cubic_weight(x - at) if cubic else max(0.0, min(end, at + 1.0) - max(begin, at))
            index[i, t] = min(max(at, 0), length - 1)
            weight[i, t] = np.float32(w)
            total += w
        for t in range(count):
            weight[i, t] = np.float32(weight[i, t] / total) if total > 0.0 else np.float32(0.0)
