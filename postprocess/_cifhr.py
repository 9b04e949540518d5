"""Shared kernels: composite intensity fields (CIF) -> high-resolution confidence maps and seeds. Knows no skeleton."""

import numpy as np

from posert.postprocess._jit import jit, kernel

WORK_PER_PIXEL = 32
"""A map takes at most so many additions per pixel on average; bounds time on hostile fields (12 people: 0.3)."""
BAND = 8  # rows that remember together which of their columns were touched


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
def _clear(map_, spans, width):
    """Sets to 0 what the last frame touched: in each band of rows, columns spans[band,0] to spans[band,1]."""
    for row in range(len(map_) // width):
        base, band = np.uint64(row * width), row // BAND
        for column in range(np.uint64(spans[band, 0]), np.uint64(spans[band, 1])):
            map_[base + column] = np.float32(0)
    for band in range(len(spans)):
        spans[band, 0], spans[band, 1] = width, 0


@jit
def _add_row(map_, begin, left, count, x, dy2, near, sigma2, peak):
    """Adds one row of a Gaussian, cut at one sigma, to map_[begin:begin+count], and clamps at 1.

    The pixel nearer to the peak than dx^2 = `near` has all of it. No branch, unsigned indices (nothing to test for
    negative ones) and one array alone (nothing that might overlap), so that it becomes vector code.
    """
    one, zero, slope = np.float32(1), np.float32(0), np.float32(-0.0625) / sigma2
    for i in range(count):
        dx = np.float32(np.int32(left) + np.int32(i)) - x
        d2 = zero if dx * dx < near else dx * dx + dy2
        e = one + d2 * slope  # exp(z) is (1 + z / 8)^8
        e *= e
        e *= e
        e *= e
        total = map_[begin + i] + (peak * e if d2 <= sigma2 else zero)
        map_[begin + i] = total if total < one else one


@jit
def _add_gaussian(map_, spans, width, x, y, sigma, peak):
    """Adds a truncated Gaussian to one map; returns how many pixels its box has."""
    height, one, quarter = len(map_) // width, np.float32(1), np.float32(0.25)
    left = clamp(x - sigma, 0, width - 1)
    right = clamp(x + sigma + one, left + 1, width)
    top = clamp(y - sigma, 0, height - 1)
    bottom = clamp(y + sigma + one, top + 1, height)
    # Beyond the box nothing is added: a few columns more make whole vectors.
    whole = (right - left + 7) // 8 * 8
    left = max(0, min(left, width - whole))
    right = min(width, left + whole)
    count, sigma2 = np.uint64(right - left), sigma * sigma
    for row in range(top, bottom):
        dy2 = (np.float32(row) - y) * (np.float32(row) - y)
        near = quarter if dy2 < quarter else np.float32(0)
        _add_row(map_, np.uint64(row * width + left), left, count, x, dy2, near, sigma2, peak)
    for band in range(top // BAND, (bottom - 1) // BAND + 1):
        spans[band, 0] = min(spans[band, 0], left)
        spans[band, 1] = max(spans[band, 1], right)
    return (right - left) * (bottom - top)


@kernel(
    "int64(float32[:,:,:,::1], float64, float64, int64, int64, float32[:,::1], int32[:,:,::1])"
)  # fmt: skip
def accumulate(cif, stride, threshold, neighbors, width, hr, spans):
    """The high-resolution maps of one image; returns the additions, counted in pixels.

    Args:
        cif: f32 [K,5,h,w]: unused, confidence, x, y, scale, the last three in cells. stride: px per cell.
        threshold: least confidence of a cell. neighbors: a peak of so many full cells sums to 1.
        width: of the maps, (w-1)stride+1.
        hr: f32 [K,H*width] 0..1 out, H = (h-1)stride+1; all zeros before the first frame.
        spans: i32 [K,H/BAND rounded up,2], which columns of so many rows are not 0; all zeros before the
            first frame.
    """
    step, least, total = np.float32(stride), np.float32(threshold), 0
    for k in range(cif.shape[0]):
        map_, span, budget = hr[k], spans[k], WORK_PER_PIXEL * hr.shape[1]
        _clear(map_, span, width)
        for row in range(cif.shape[2]):
            for column in range(cif.shape[3]):
                v = cif[k, 1, row, column]
                if not v >= least or budget <= 0:
                    continue
                x, y, scale = cif[k, 2, row, column], cif[k, 3, row, column], cif[k, 4, row, column]
                if not finite(v, x, y, scale):
                    continue
                sigma = max(np.float32(1), np.float32(0.5) * scale * step)
                work = _add_gaussian(map_, span, width, x * step, y * step, sigma, v / np.float32(neighbors))
                budget -= work
                total += work
    return total


_DIGITS, RADIX = 3, 2048  # 11 bits each: a positive float's 31 bits, as an integer in the same order


@jit
def _sort_descending(bits, order, other, counts, count):
    """Fills order i32 [:count] from the largest of bits i32 (>= 0) to the smallest, equal ones in index order.

    A radix sort: linear in time, whatever the values. other i32 [:count], counts i64 [2048] are workspace.
    """
    for i in range(count):
        other[i] = i
    for digit in range(_DIGITS):
        shift = 11 * digit
        source, target = (order, other) if digit % 2 else (other, order)
        counts[:] = 0
        for i in range(count):
            counts[RADIX - 1 - ((bits[i] >> shift) & (RADIX - 1))] += 1
        begin = 0
        for bucket in range(RADIX):
            begin, counts[bucket] = begin + counts[bucket], begin
        for i in range(count):
            bucket = RADIX - 1 - ((bits[source[i]] >> shift) & (RADIX - 1))
            target[counts[bucket]] = source[i]
            counts[bucket] += 1


@kernel(
    "int64(float32[:,:,:,::1], float64, float64, float32[:,:,::1], float32[:,::1], float32[::1], int32[::1], "
    "int32[::1], int32[::1], int64[::1])"
)
def find_seeds(cif, stride, threshold, hr, seeds, value, value_bits, order, other, counts):
    """The number of seeds; seeds[order[0]] is the best, equal ones stand in keypoint, row, column order.

    Args:
        cif, stride: as `accumulate` has them. threshold: least confidence of a cell and least value of a seed.
        hr: f32 [K,H,W]. seeds: f32 [K*h*w,5] out: value, keypoint, x px, y px, scale px.
        value: f32 [K*h*w] workspace, value_bits: i32 [K*h*w], the same memory. other: i32 [K*h*w] and counts: i64
            [2048] are workspace too. order: i32 [K*h*w] out.
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
    _sort_descending(value_bits, order, other, counts, count)
    return count
