"""The sampling kernels: a rectangle of a frame straight into the network's tensor. Plain loops; knows only arrays.

Everything is separable and upright: taps (source index and weight) are computed once per column and once per row, then
one pass interpolates, rounds, normalises, reorders the channels and writes the layout.

Shared arguments: `bgr` u8 [H,W,3]; `tone` f32 [4,3] per output channel: pad value, mean, 1 / std, and the index of its
source channel; `strides` i64 [3]: distance in `out` (f32, flat) between channels, rows and columns; `rounding` 0 none,
1 nearest, 2 truncate.
"""

import math

import numpy as np

from posert.postprocess._jit import jit, kernel

HALF_PIXEL, CORNERS, ORIGIN = 0, 1, 2
_HALF = np.float32(0.5)


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


@kernel("int64(float64, float64, int64, int64, int32[:,::1], float32[::1], uint8[::1])")
def linear_taps(low, high, length, align, index, weight, inside):
    """Taps of linear interpolation along one axis.

    Args:
        low, high: the window, px. length: the frame, px. align: HALF_PIXEL, CORNERS or ORIGIN.
        index: i32 [2,S] out, the two source pixels; ORIGIN gives `length` for one outside the frame (the pad value
            takes part in its interpolation), the others stay on the border pixel.
        weight: f32 [S] out, of the second one. inside: u8 [S] out, 0 = pad value.
    """
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
    return size


@jit
def _finish_row(y, line, column_in, channel, tone, rounding, out, strides):
    """Rounds and normalises `line` f32 [S] (changed in place), 0..255, into one channel of one row of `out`.

    Small loops one after the other, because each of them becomes vector code.
    """
    size, at, step = line.shape[0], channel * strides[0] + y * strides[1], strides[2]
    pad, mean, scale = tone[0, channel], tone[1, channel], tone[2, channel]
    for x in range(size):
        line[x] = line[x] if column_in[x] else pad
    if rounding != 0:
        half = _HALF if rounding == 1 else np.float32(0.0)
        for x in range(size):
            value = line[x] if line[x] > np.float32(0.0) else np.float32(0.0)
            value = value if value < np.float32(255.0) else np.float32(255.0)
            line[x] = math.floor(value + half)
    if step == 1:
        row = out[at : at + size]
        for x in range(size):
            row[x] = (line[x] - mean) * scale
    else:
        for x in range(size):
            out[at + x * step] = (line[x] - mean) * scale


@jit
def _fill_row(y, column_in, tone, rounding, out, strides, line):
    for channel in range(3):
        line[:] = tone[0, channel]
        _finish_row(y, line, column_in, channel, tone, rounding, out, strides)


@jit
def _linear_row(row, columns, weight, tone, lines):
    """lines f32 [3,S]: the output channels of one source row (u8 [W*3]), interpolated at every column."""
    first, second, third = int(tone[3, 0]), int(tone[3, 1]), int(tone[3, 2])
    for x in range(weight.shape[0]):
        i, j, w = columns[0, x] * 3, columns[1, x] * 3, weight[x]
        a, b = np.float32(row[i + first]), np.float32(row[j + first])
        lines[0, x] = a + (b - a) * w
        a, b = np.float32(row[i + second]), np.float32(row[j + second])
        lines[1, x] = a + (b - a) * w
        a, b = np.float32(row[i + third]), np.float32(row[j + third])
        lines[2, x] = a + (b - a) * w


@jit
def _blended_row(row, inside, columns, weight, tone, lines):
    """As `_linear_row`, with the pad value for columns at or beyond the row's end, or for all if not `inside`."""
    length = row.shape[0] // 3
    for channel in range(3):
        source, pad = int(tone[3, channel]), tone[0, channel]
        for x in range(weight.shape[0]):
            i, j = columns[0, x], columns[1, x]
            a = np.float32(row[i * 3 + source]) if inside and i < length else pad
            b = np.float32(row[j * 3 + source]) if inside and j < length else pad
            lines[channel, x] = a + (b - a) * weight[x]


@kernel(
    "int64(uint8[:,::1], int32[:,::1], float32[::1], uint8[::1], int32[:,::1], float32[::1], uint8[::1], "
    "int64, float32[:,::1], int64, float32[::1], int64[::1], float32[:,:,::1])"
)
def sample_linear(
    bgr, columns, column_weight, column_in, rows, row_weight, row_in, align, tone, rounding, out, strides, lines
):
    """Bilinear sampling, columns first; `lines` f32 [3,3,S] is workspace. Taps as `linear_taps` gives them."""
    height, width = row_weight.shape[0], column_weight.shape[0]
    length, done = bgr.shape[0], lines[2, 0]
    held_top, held_bottom, top, bottom = -1, -1, 0, 1  # which source rows the two lines hold
    for y in range(height):
        if not row_in[y]:
            _fill_row(y, column_in, tone, rounding, out, strides, done)
            continue
        if rows[0, y] == held_bottom:
            held_top, held_bottom, top, bottom = held_bottom, held_top, bottom, top
        for turn in range(2):
            r, line = (rows[0, y], top) if turn == 0 else (rows[1, y], bottom)
            if r == (held_top if turn == 0 else held_bottom):
                continue
            if align == ORIGIN:
                _blended_row(bgr[min(r, length - 1)], r < length, columns, column_weight, tone, lines[line])
            else:
                _linear_row(bgr[r], columns, column_weight, tone, lines[line])
        held_top, held_bottom = rows[0, y], rows[1, y]
        f = row_weight[y]
        for channel in range(3):
            a, b = lines[top, channel], lines[bottom, channel]
            for x in range(width):
                done[x] = a[x] + (b[x] - a[x]) * f
            _finish_row(y, done, column_in, channel, tone, rounding, out, strides)
    return height


@jit
def _keys(x):
    """Keys' cubic with a = -0.75, as OpenCV has it."""
    x = abs(x)
    if x <= 1.0:
        return (1.25 * x - 2.25) * x * x + 1.0
    if x < 2.0:
        return ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0
    return 0.0


@kernel("int64(float64, float64, int64, int64, int32[:,::1], float32[:,::1], uint8[::1])")
def weighted_taps(low, high, length, cubic, index, weight, inside):
    """Taps of cubic (`cubic` = 1) or area interpolation along one axis, HALF_PIXEL; the frame's border is repeated.

    Args:
        low, high: the window, px. length: the frame, px.
        index: i32 [S,T] out, source pixels. weight: f32 [S,T] out, they sum to 1; unused taps weigh 0.
        inside: u8 [S] out, 0 = pad value.
    """
    size, taps = weight.shape
    step = (high - low) / size
    for i in range(size):
        x = _source(i, low, high, size, length, HALF_PIXEL)
        inside[i] = np.uint8(_inside(x, length, HALF_PIXEL))
        begin = low + i * step
        first = math.floor(x) - 1 if cubic else math.floor(begin)
        total = 0.0
        for t in range(taps):
            at = first + t
            if cubic:
                w = _keys(x - at)
            else:
                w = max(0.0, min(begin + step, at + 1.0) - max(begin, at))
            index[i, t] = min(max(at, 0), length - 1)
            weight[i, t] = np.float32(w)
            total += w
        for t in range(taps):
            weight[i, t] = np.float32(weight[i, t] / total) if total > 0.0 else np.float32(0.0)
    return size


@jit
def _sum_rows(bgr, rows, weight, line):
    """line f32 [W*3]: the weighted sum of the source rows `rows` i32 [T]."""
    span = line.shape[0]
    t = 0
    while t < rows.shape[0]:
        w0 = weight[t]
        r0 = bgr[rows[t]]
        if t + 1 < rows.shape[0]:  # two rows at a time: half the passes over `line`
            w1 = weight[t + 1]
            r1 = bgr[rows[t + 1]]
            if t == 0:
                for i in range(span):
                    line[i] = w0 * np.float32(r0[i]) + w1 * np.float32(r1[i])
            else:
                for i in range(span):
                    line[i] += w0 * np.float32(r0[i]) + w1 * np.float32(r1[i])
        elif t == 0:
            for i in range(span):
                line[i] = w0 * np.float32(r0[i])
        else:
            for i in range(span):
                line[i] += w0 * np.float32(r0[i])
        t += 2


@jit
def _sum_columns(line, columns, weight, source, done):
    """done f32 [S]: channel `source` of `line` f32 [W*3], summed over the taps of every column."""
    for x in range(done.shape[0]):
        value = np.float32(0.0)
        for t in range(columns.shape[1]):
            value += weight[x, t] * line[columns[x, t] * 3 + source]
        done[x] = value


@jit
def _sum_four_columns(line, columns, weight, source, done):
    """`_sum_columns` for exactly four taps (cubic), unrolled."""
    for x in range(done.shape[0]):
        done[x] = (
            weight[x, 0] * line[columns[x, 0] * 3 + source]
            + weight[x, 1] * line[columns[x, 1] * 3 + source]
            + weight[x, 2] * line[columns[x, 2] * 3 + source]
            + weight[x, 3] * line[columns[x, 3] * 3 + source]
        )


@kernel(
    "int64(uint8[:,::1], int32[:,::1], float32[:,::1], uint8[::1], int32[:,::1], float32[:,::1], uint8[::1], "
    "float32[:,::1], int64, float32[::1], int64[::1], float32[::1], float32[::1])"
)
def sample_weighted(
    bgr, columns, column_weight, column_in, rows, row_weight, row_in, tone, rounding, out, strides, line, done
):
    """Separable sampling, rows first: that makes the pass over the whole picture contiguous.

    `line` f32 [W*3] and `done` f32 [S] are workspace. Taps as `weighted_taps` gives them.
    """
    height = row_weight.shape[0]
    for y in range(height):
        if not row_in[y]:
            _fill_row(y, column_in, tone, rounding, out, strides, done)
            continue
        _sum_rows(bgr, rows[y], row_weight[y], line)
        for channel in range(3):
            if columns.shape[1] == 4:
                _sum_four_columns(line, columns, column_weight, int(tone[3, channel]), done)
            else:
                _sum_columns(line, columns, column_weight, int(tone[3, channel]), done)
            _finish_row(y, done, column_in, channel, tone, rounding, out, strides)
    return height
