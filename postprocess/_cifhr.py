"""Shared kernels: composite intensity fields (CIF) -> high-resolution confidence maps and seeds. Knows no skeleton."""

import numpy as np

from posert.postprocess._jit import jit, kernel
from posert.postprocess._limbs import sort_descending

WORK_PER_PIXEL = 32
"""A map takes at most so many additions per pixel on average; bounds time on hostile fields (people need below 2)."""


@jit
def clamp(value, low, high):
    """`value` cut to an integer (towards zero) in low..high."""
    return int(min(max(value, float(low)), float(high)))


@jit
def finite(a, b, c, d):
    """Whether four floats are all finite (x - x is not 0 for NaN and infinities)."""
    return (a - a) + (b - b) + (c - c) + (d - d) == 0


@jit
def hr_value(hr, x, y, default):
    """The map f32 [H,W] at the pixel nearest to x, y; `default` outside it."""
    height, width = hr.shape
    if x < -0.49 or y < -0.49 or x > width - 0.51 or y > height - 0.51:
        return default
    return float(hr[int(y + 0.5), int(x + 0.5)])


@jit
def _clear(hr, spans):
    """Sets to 0 what the last frame touched: columns spans[k,row,0] to spans[k,row,1] (exclusive)."""
    for k in range(hr.shape[0]):
        for row in range(hr.shape[1]):
            for column in range(spans[k, row, 0], spans[k, row, 1]):
                hr[k, row, column] = np.float32(0)
            spans[k, row, 0] = hr.shape[2]
            spans[k, row, 1] = 0


@jit
def _add_row(line, first, last, x, dy2, sigma2, peak):
    """Adds one row of a Gaussian, cut at one sigma, and clamps at 1: no branch, so that it becomes vector code."""
    one, zero, quarter = np.float32(1), np.float32(0), np.float32(0.25)
    slope = np.float32(-0.0625) / sigma2
    near = dy2 < quarter
    for i in range(first, last):
        dx = np.float32(np.int32(i)) - x
        dx2 = dx * dx
        d2 = dx2 + dy2
        e = one + d2 * slope  # exp(z) is (1 + z / 8)^8
        e *= e
        e *= e
        e *= e
        e = one if near and dx2 < quarter else e
        total = line[i] + (peak * e if d2 <= sigma2 else zero)
        line[i] = total if total < one else one


@jit
def _add_gaussian(hr, spans, x, y, sigma, peak):
    """Adds a truncated Gaussian to one map; returns how many pixels its box has."""
    height, width = hr.shape
    one = np.float32(1)
    left = clamp(x - sigma, 0, width - 1)
    right = clamp(x + sigma + one, left + 1, width)
    top = clamp(y - sigma, 0, height - 1)
    bottom = clamp(y + sigma + one, top + 1, height)
    sigma2 = sigma * sigma
    for row in range(top, bottom):
        dy = np.float32(row) - y
        _add_row(hr[row], left, right, x, dy * dy, sigma2, peak)
        spans[row, 0] = min(spans[row, 0], left)
        spans[row, 1] = max(spans[row, 1], right)
    return (right - left) * (bottom - top)


@kernel("int64(float32[:,:,:,::1], float64, float64, int64, float32[:,:,::1], int32[:,:,::1])")
def accumulate(cif, stride, threshold, neighbors, hr, spans):
    """The high-resolution maps of one image; returns the additions, counted in pixels.

    Args:
        cif: f32 [K,5,h,w]: unused, confidence, x, y, scale, the last three in cells. stride: px per cell.
        threshold: least confidence of a cell. neighbors: a peak of so many full cells sums to 1.
        hr: f32 [K,(h-1)stride+1,(w-1)stride+1] 0..1 out, all zeros before the first frame.
        spans: i32 [K,H,2], which columns are not 0; all zeros before the first frame.
    """
    _clear(hr, spans)
    step, least, total = np.float32(stride), np.float32(threshold), 0
    for k in range(cif.shape[0]):
        budget = WORK_PER_PIXEL * hr.shape[1] * hr.shape[2]
        for row in range(cif.shape[2]):
            for column in range(cif.shape[3]):
                v = cif[k, 1, row, column]
                if not v >= least or budget <= 0:
                    continue
                x, y, scale = cif[k, 2, row, column], cif[k, 3, row, column], cif[k, 4, row, column]
                if not finite(v, x, y, scale):
                    continue
                sigma = max(np.float32(1), np.float32(0.5) * scale * step)
                peak = v / np.float32(neighbors)
                work = _add_gaussian(hr[k], spans[k], x * step, y * step, sigma, peak)
                budget -= work
                total += work
    return total


@kernel(
    "int64(float32[:,:,:,::1], float64, float64, float32[:,:,::1], float32[:,::1], float32[::1], int32[::1])"
)  # fmt: skip
def find_seeds(cif, stride, threshold, hr, seeds, value, order):
    """The number of seeds; seeds[order[0]] is the best, equal ones stand in keypoint, row, column order.

    Args:
        cif, stride, hr: as `accumulate` has them. threshold: least confidence of a cell and least value of a seed.
        seeds: f32 [K*h*w,5] out: value, keypoint, x px, y px, scale px. value: f32 [K*h*w] workspace.
        order: i32 [K*h*w] out.
    """
    step, least, count = np.float32(stride), np.float32(threshold), 0
    for k in range(cif.shape[0]):
        for row in range(cif.shape[2]):
            for column in range(cif.shape[3]):
                c = cif[k, 1, row, column]
                if not c >= least:
                    continue
                x, y, scale = cif[k, 2, row, column], cif[k, 3, row, column], cif[k, 4, row, column]
                if not finite(c, x, y, scale):
                    continue
                x, y, scale = x * step, y * step, scale * step
                v = np.float32(0.9 * hr_value(hr[k], x, y, -1.0) + 0.1 * c)
                if v >= least and finite(v, x, y, scale):
                    seeds[count, 0], seeds[count, 1], seeds[count, 2] = v, k, x
                    seeds[count, 3], seeds[count, 4], value[count] = y, scale, v
                    count += 1
    sort_descending(value, order, count)
    return count
