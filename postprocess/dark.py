"""Where between the cells of a map its maximum lies: DARK (Zhang et al. 2020) and UDP's form of it (Huang et al. 2020).

Both see the map's logarithm, blurred, as a parabola around the highest cell and step to its top. Knows one map and its
highest cell, no decoder. Only the cells that the step reads are blurred.
"""

import math
from typing import Any

import numpy as np

from posert.postprocess.kernels.registry import jit

# OpenCV's own for sizes up to 9, of which the sum is 256; beyond, its rule for sigma (`getGaussianKernel`).
_SMALL = np.array([256, 0, 0, 0, 0, 128, 64, 0, 0, 0, 96, 64, 16, 0, 0, 72, 56, 28, 8, 0, 60, 51, 30, 13, 4]) / 256.0
_FLOOR, _UDP_LEAST, _UDP_MOST = 1e-10, 1e-3, 50.0  # what the logarithm sees of less or more
_UDP_EPS = float(np.finfo(np.float32).eps)  # added to the second derivatives


@jit
def set_blur(weights: Any) -> None:
    """weights f64 [n], n odd: the Gaussian that OpenCV takes for so many cells."""
    size = len(weights)
    half, sigma, total = size // 2, 0.15 * size + 0.35, 0.0
    for i in range(size):
        away = abs(i - half)
        weights[i] = _SMALL[5 * half + away] if size <= 9 else math.exp(-away * away / (2.0 * sigma * sigma))
        total += weights[i]
    for i in range(size):
        weights[i] /= total


@jit
def _mirrored(i: int, length: int) -> int:
    """`i` as an index: what is beyond an end is mirrored at the last cell."""
    while length > 1 and not 0 <= i < length:
        i = -i if i < 0 else 2 * length - 2 - i
    return i if length > 1 else 0


@jit
def _log(cells: Any, width: int, x: int, y: int, weights: Any, udp: bool) -> float:
    """Logarithm of the blurred map f32 [H*W] at a cell; around the map is nothing, or for `udp` its mirror image."""
    height, half, total = len(cells) // width, len(weights) // 2, 0.0
    if udp:  # cells beyond the border are the border's
        x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    for i in range(len(weights)):
        line, along = y + i - half, 0.0
        if not udp and not 0 <= line < height:
            continue
        begin = _mirrored(line, height) * width
        for j in range(len(weights)):
            column = x + j - half
            if udp or 0 <= column < width:
                along += weights[j] * cells[begin + _mirrored(column, width)]
        total += weights[i] * along
    return math.log(min(max(total, _UDP_LEAST), _UDP_MOST) if udp else max(total, _FLOOR))


@jit
def dark_step(cells: Any, width: int, x: int, y: int, weights: Any, udp: bool) -> Any:
    """Cells across and down from the highest cell x, y of a map f32 [H*W] to its maximum.

    0, 0 where there is no such step: within two cells of the border (not for `udp`), where the map is no peak, and
    where the step would leave the map.

    weights: f64 [n], see `set_blur`. udp: derivatives over one cell instead of two, and values between .001 and 50.
    """
    height = len(cells) // width
    if not udp and not (1 < x < width - 2 and 1 < y < height - 2):
        return 0.0, 0.0
    here = _log(cells, width, x, y, weights, udp)
    left, right = _log(cells, width, x - 1, y, weights, udp), _log(cells, width, x + 1, y, weights, udp)
    above, below = _log(cells, width, x, y - 1, weights, udp), _log(cells, width, x, y + 1, weights, udp)
    first, last = _log(cells, width, x - 1, y - 1, weights, udp), _log(cells, width, x + 1, y + 1, weights, udp)
    dx, dy = (right - left) / 2.0, (below - above) / 2.0
    if udp:
        dxx, dyy = right - 2.0 * here + left + _UDP_EPS, below - 2.0 * here + above + _UDP_EPS
        dxy = (last - right - below + 2.0 * here - left - above + first) / 2.0
    else:
        far = _log(cells, width, x + 2, y, weights, udp) + _log(cells, width, x - 2, y, weights, udp)
        dxx = (far - 2.0 * here) / 4.0
        far = _log(cells, width, x, y + 2, weights, udp) + _log(cells, width, x, y - 2, weights, udp)
        dyy = (far - 2.0 * here) / 4.0
        others = _log(cells, width, x + 1, y - 1, weights, udp) + _log(cells, width, x - 1, y + 1, weights, udp)
        dxy = (last + first - others) / 4.0
    area = dxx * dyy - dxy * dxy
    if area == 0.0:
        return 0.0, 0.0
    across, down = (dxy * dy - dyy * dx) / area, (dxy * dx - dxx * dy) / area
    if not (0.0 <= x + across <= width - 1 and 0.0 <= y + down <= height - 1):  # false for what is not a number too
        return 0.0, 0.0
    return across, down
