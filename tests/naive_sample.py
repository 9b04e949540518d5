"""Slow twin of the sampling kernels: one output pixel at a time, in float64, from the definition of each rule."""

import math

import numpy as np

from posert.runtime.spec import InputSpec


def source(i: int, low: float, high: float, size: int, length: int, align: str) -> float:
    """Where output sample i lies in the frame, in pixel centres."""
    if align == "half_pixel":
        return low + (i + 0.5) * (high - low) / size - 0.5
    if align == "corners":
        if size == 1:
            return 0.5 * (low + high) / length * (length - 1)
        return low / length * (length - 1) + i * (high - low) / length * (length - 1) / (size - 1)
    return low + i * (high - low) / (max(1, size - 1) if align == "edges" else size)


def keys(x: float) -> float:
    """Keys' cubic, a = -0.75."""
    a, x = -0.75, abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def taps(
    i: int, low: float, high: float, size: int, length: int, rule: str, align: str
) -> list[tuple[int, float]] | None:
    """(source pixel, weight) of one output sample; pixel -1 = the pad value; None = outside the frame."""
    x = source(i, low, high, size, length, align)
    if align == "corners" and not 0 <= x <= length - 1:
        return None
    if align == "half_pixel" and not -0.5 <= x < length - 0.5:
        return None
    if align in ("origin", "edges") and not -1 < x < length:
        return None
    clamp = lambda k: min(max(k, 0), length - 1)  # noqa: E731
    first = math.floor(x)
    if rule == "linear":
        pair = [(first, 1 - (x - first)), (first + 1, x - first)]
        if align in ("origin", "edges"):
            return [(k if 0 <= k < length else -1, w) for k, w in pair]
        return [(clamp(k), w) for k, w in pair]
    if rule == "cubic":
        return [(clamp(k), keys(x - k)) for k in range(first - 1, first + 3)]
    step = (high - low) / size
    begin, end = max(low + i * step, 0), min(low + (i + 1) * step, length)
    cells = range(math.floor(begin), math.ceil(end))
    return [(k, (min(end, k + 1) - max(begin, k)) / (end - begin)) for k in cells]


def sample(bgr: np.ndarray, window: np.ndarray, spec: InputSpec, input_wh: tuple[int, int]) -> np.ndarray:
    """f64 [H,W,3] before rounding, in the channel order of `spec`."""
    height, width = bgr.shape[:2]
    image = bgr.astype(float) if spec.color == "bgr" else bgr[:, :, ::-1].astype(float)
    scale = (window[2] - window[0]) / input_wh[0], (window[3] - window[1]) / input_wh[1]
    rule = "linear" if spec.interpolation == "area" and max(scale) <= 1 else spec.interpolation
    out = np.tile(np.array(spec.pad_value, float), (input_wh[1], input_wh[0], 1))
    across = [taps(x, window[0], window[2], input_wh[0], width, rule, spec.align) for x in range(input_wh[0])]
    for y in range(input_wh[1]):
        down = taps(y, window[1], window[3], input_wh[1], height, rule, spec.align)
        for x in range(input_wh[0]):
            if down is None or across[x] is None:
                continue
            total = np.zeros(3)
            for row, row_weight in down:
                for column, column_weight in across[x]:
                    pixel = np.array(spec.pad_value) if min(row, column) < 0 else image[row, column]
                    total += row_weight * column_weight * pixel
            out[y, x] = total
    return out
