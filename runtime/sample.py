"""The sampling kernel: a rectangle of a frame straight into the network's tensor. Knows pixels, windows and numbers.

What is upright is separable: taps (source index and weight) are computed once per column and once per row, then one
pass interpolates (`bilinear`, or here by sums), rounds, normalises, reorders the channels and writes the layout;
`turned_rows` interpolates the others.

`tone` f32 [5,3], per output channel: pad value, mean, 1 / std, the index of its source channel, and (lowest, highest,
unused) value that the tensor holds. `strides`: distances in the flat tensor between channels, rows and columns.
"""

from collections import namedtuple

import numpy as np

from posert.postprocess.geometry import is_turned
from posert.postprocess.kernels.records import index_of
from posert.postprocess.kernels.registry import F32x1, F64x1, I32x1, U8x1, U8x2, jit, kernel
from posert.postprocess.kernels.workspace import of_axis, take
from posert.runtime.bilinear import blend, border_sample, fetch_pairs, halve, halved_columns, set_pairs
from posert.runtime.spec import InputSpec
from posert.runtime.taps import CORNERS, LINEAR, is_linear, set_taps, take_taps, tap_count
from posert.runtime.turned_rows import turned_row
from posert.runtime.windows import SPEC_NUMBERS, read_spec

_NEAREST, _NHWC = index_of(InputSpec, "rounding", "round"), index_of(InputSpec, "layout", "NHWC")
_FLOAT32, _FLOAT16 = index_of(InputSpec, "dtype", "float32"), index_of(InputSpec, "dtype", "float16")
_UINT8, _INT32 = index_of(InputSpec, "dtype", "uint8"), index_of(InputSpec, "dtype", "int32")
_RGB = index_of(InputSpec, "color", "rgb")
_HALF = np.float32(0.5)
_THREE = np.uint64(3)
_LONGEST_SIDE, _MOST_BYTES = 1 << 24, 1 << 31
_NOTHING = np.zeros(0, np.uint8)

_Work = namedtuple("_Work", "linear columns rows tone lines pairs words sums line end")
"""What the workspace holds: taps, `tone`, lines f32 [3,3,S], and what one rule or the other needs.

pairs i32 [S], words i32 [2,2,S] of two source rows, sums u16 [W*3]: see `bilinear`, for linear.
line f32 [W*3]: the weighted sum of some source rows, for cubic and area. end: bytes.
"""


@jit
def _work(workspace, spec, frame, window, width, height):
    linear = is_linear(spec, window, width, height)
    across = 0 if linear else tap_count(spec, window[0], window[2], frame[0], width)
    down = 0 if linear else tap_count(spec, window[1], window[3], frame[1], height)
    columns, at = take_taps(workspace, 0, width, across)
    rows, at = take_taps(workspace, at, height, down)
    tone, at = take(workspace, at, (5, 3), np.float32)
    lines, at = take(workspace, at, (3, 3, width), np.float32)
    pairs, at = take(workspace, at, (width if linear else 0,), np.int32)
    words, at = take(workspace, at, (2, 2, width if linear else 0), np.int32)
    sums, at = take(workspace, at, (3 * frame[0] if linear else 0,), np.uint16)
    line, at = take(workspace, at, (0 if linear else 3 * frame[0],), np.float32)
    return _Work(linear, columns, rows, tone, lines, pairs, words, sums, line, at)


@jit
def _bytes_needed(numbers, frame, window, width, height):
    least, most = min(frame[0], frame[1], width, height), max(frame[0], frame[1], width, height)
    sides = len(window) == 4 or len(window) == 6
    if least < 1 or most > _LONGEST_SIDE or not sides or len(numbers) != SPEC_NUMBERS:
        return -1
    spec = read_spec(numbers)
    if is_turned(window) and (spec.interpolation != LINEAR or spec.align == CORNERS):
        return -1
    needed = _work(_NOTHING, spec, frame, window, width, height).end
    return needed if needed <= _MOST_BYTES else -1


@kernel
def sample_workspace(
    numbers: F64x1, frame_width: int, frame_height: int, window: F64x1, width: int, height: int
) -> int:
    """Bytes that `sample_window` needs for this window; -1 for sizes that nobody has."""
    return _bytes_needed(numbers, (frame_width, frame_height), window, width, height)


@kernel
def sample_window(
    rgb: int,
    padded: int,
    pixels: U8x2,
    window: F64x1,
    numbers: F64x1,
    width: int,
    height: int,
    workspace: U8x1,
    floats: F32x1,
    bytes: U8x1,
    ints: I32x1,
) -> int:
    """The rows written, which is the height of the input, or -1: something does not fit.

    Args:
        padded: not 0: the tensor has shown such a frame in this window before, so that rows of padding are left alone.
        pixels: u8 [H,W*3], the frame, BGR, or RGB if `rgb` is not 0. window: f64 [4], left, top, right,
            bottom px, or [6], turned (`turned`), which only linear sampling knows.
        numbers: see `windows.spec_numbers`. width, height: of the input, px.
        workspace: as many bytes as `sample_workspace` says, with whatever is in them.
        floats, bytes, ints: the tensor's row, flat, in the one of its type, a float16 as two bytes; the others have
            length 0.
    """
    frame, size = (pixels.shape[1] // 3, pixels.shape[0]), 3 * width * height
    needed = _bytes_needed(numbers, frame, window, width, height)
    if needed < 0 or len(workspace) < needed or pixels.shape[1] != 3 * frame[0]:
        return -1
    spec = read_spec(numbers)
    own = len(floats) if spec.dtype == _FLOAT32 else len(ints) if spec.dtype == _INT32 else len(bytes)
    if own != (2 * size if spec.dtype == _FLOAT16 else size) or len(floats) + len(bytes) + len(ints) != own:
        return -1
    whole = len(bytes) if spec.dtype == _UINT8 else 0
    outs = (floats, bytes[:whole], ints, take(bytes, whole, ((len(bytes) - whole) // 2,), np.uint16)[0])
    work = _work(workspace, spec, frame, window, width, height)
    _set_tone(spec, rgb != 0, work.tone)
    strides = (1, 3 * width, 3) if spec.layout == _NHWC else (height * width, width, 1)
    if is_turned(window):
        _sample_turned(pixels, work, spec, window, outs, strides)
        return height
    set_taps(spec, work.linear, window[0], window[2], frame[0], work.columns)
    set_taps(spec, work.linear, window[1], window[3], frame[1], work.rows)
    if work.linear:
        _sample_linear(pixels, work, spec.rounding, padded != 0, outs, strides)
    else:
        _sample_weighted(pixels, work, spec.rounding, padded != 0, outs, strides)
    return height


@jit
def _set_tone(spec, rgb, tone):
    for channel in range(3):
        tone[0, channel] = of_axis(spec.pad_value, channel)
        tone[1, channel] = of_axis(spec.mean, channel)
        tone[2, channel] = 1.0 / of_axis(spec.std, channel)
        tone[3, channel] = channel if (spec.color == _RGB) == rgb else 2 - channel
    if spec.dtype == _FLOAT32 or spec.dtype == _FLOAT16:
        tone[4, 0], tone[4, 1] = -np.inf, np.inf
    elif spec.dtype == _UINT8:
        tone[4, 0], tone[4, 1] = 0.0, 255.0
    else:
        tone[4, 0], tone[4, 1] = -(2.0**31), 2.0**31 - 128


@jit
def _finish(lines, column_in, tone, rounding):
    """Rounds and normalises `lines` f32 [3,S] (0..255, output channels, changed in place); pad value where not in.

    Small loops one after the other, because each of them becomes vector code; those that change nothing are left out.
    """
    everywhere = np.uint8(1)
    for x in range(column_in.shape[0]):
        everywhere &= column_in[x]
    for channel in range(3):
        line = lines[channel]
        pad, mean, scale, low, high = tone[0, channel], tone[1, channel], tone[2, channel], tone[4, 0], tone[4, 1]
        if not everywhere:
            for x in range(line.shape[0]):
                line[x] = line[x] if column_in[x] else pad
        if rounding != 0:
            half = _HALF if rounding == _NEAREST else np.float32(0.0)
            for x in range(line.shape[0]):
                line[x] = np.float32(np.int32(min(max(line[x], np.float32(0.0)), np.float32(255.0)) + half))
        if mean != 0 or scale != 1 or low > -np.inf:
            for x in range(line.shape[0]):
                line[x] = min(max((line[x] - mean) * scale, low), high)


@jit
def _store(lines, out, y, strides):
    """`lines` f32 [3,S], finished, as row y of `out` (flat, of the tensor's type): planes, or pixels of 3 channels."""
    size, at, step = lines.shape[1], y * strides[1], strides[2]
    if step == 1:
        for channel in range(3):
            line, row = lines[channel], out[at + channel * strides[0] : at + channel * strides[0] + size]
            for x in range(size):
                row[x] = line[x]
    else:
        first, second, third, row = lines[0], lines[1], lines[2], out[at : at + 3 * size]
        for x in range(size):
            row[3 * x] = first[x]
            row[3 * x + 1] = second[x]
            row[3 * x + 2] = third[x]


@jit
def _make_halves(line):
    """line f32 [S]: its bits become those of the nearest float16, half way the even one, as numpy casts."""
    bits, _ = take(line, 0, line.shape, np.int32)  # the same memory
    for x in range(line.shape[0]):
        sign, rest = (bits[x] >> 16) & 0x8000, bits[x] & 0x7FFFFFFF
        if rest > 0x7F800000:  # not a number
            half = 0x7E00
        elif rest >= 0x38800000:  # 2^-14, the least with a leading one: the exponent's bias shrinks from 127 to 15
            half = min((rest - 0x38000000 + 0xFFF + ((rest >> 13) & 1)) >> 13, 0x7C00)
        else:
            shift = min(126 - (rest >> 23), 31)
            whole = (rest & 0x7FFFFF) | 0x800000
            half = (whole + (1 << (shift - 1)) - 1 + ((whole >> shift) & 1)) >> shift
        bits[x] = sign | half


@jit
def _store_row(lines, outs, y, strides):
    floats, bytes, ints, halves = outs
    if floats.shape[0] > 0:
        _store(lines, floats, y, strides)
    elif bytes.shape[0] > 0:
        _store(lines, bytes, y, strides)
    elif ints.shape[0] > 0:
        _store(lines, ints, y, strides)
    else:
        for channel in range(3):
            _make_halves(lines[channel])
        _store(take(lines, 0, lines.shape, np.int32)[0], halves, y, strides)


@jit
def _pad_lines(lines, tone):
    for channel in range(3):
        lines[channel, :] = tone[0, channel]


@jit
def _sample_linear(bgr, work, rounding, padded, outs, strides):
    """Bilinear sampling, columns first."""
    columns, column_weight, column_in = work.columns.index, work.columns.weight[0], work.columns.inside
    rows, row_weight, row_in = work.rows.index, work.rows.weight[0], work.rows.inside
    tone, pairs, words, done, down = work.tone, work.pairs, work.words, work.lines[2], work.lines[0, 0]
    height, tall, width = row_weight.shape[0], bgr.shape[0], column_weight.shape[0]
    begin = end = halved = count = 0
    if bgr.shape[1] > 3:
        begin, end = set_pairs(work.columns, bgr.shape[1] // 3, pairs)
    if begin == 0 and end == width:
        halved, count = halved_columns(work.columns, pairs)
    held_top, held_bottom, top, bottom = -1, -1, 0, 1  # which source rows the words hold
    for y in range(height):
        if padded and not row_in[y]:
            continue
        first, second, left, right = rows[0, y], rows[1, y], begin, end
        if not row_in[y]:
            _pad_lines(done, tone)
        elif count > 0 and second == first + 1 < tall and row_weight[y] == _HALF:
            at, stop = 3 * pairs[halved], 3 * (pairs[halved] + 2 * count)
            halve(bgr[first, at:stop], bgr[second, at:stop], work.sums[: stop - at], tone, done, halved)
        else:
            if end == 0 or max(first, second) >= tall:
                left, right = width, width
            else:
                if first == held_bottom:
                    held_top, held_bottom, top, bottom = held_bottom, held_top, bottom, top
                if first != held_top:
                    fetch_pairs(bgr[first], pairs, words[top])
                if second != held_bottom:
                    fetch_pairs(bgr[second], pairs, words[bottom])
                held_top, held_bottom = first, second
                down[:] = row_weight[y]
                blend(words[top], words[bottom], column_weight, down, tone, done)
            for i in range(left + width - right):
                x = i if i < left else i - left + right
                if column_in[x]:
                    beside, weights = (columns[0, x], columns[1, x]), (column_weight[x], row_weight[y])
                    border_sample(bgr, beside, (first, second), weights, tone, done, x)
        _finish(done, column_in, tone, rounding)
        _store_row(done, outs, y, strides)


@jit
def _sample_turned(bgr, work, spec, window, outs, strides):
    inside, height = work.columns.inside, work.rows.inside.shape[0]
    for y in range(height):
        turned_row(bgr, spec, window, y, height, work.tone, work.lines, work.words, inside)
        _finish(work.lines[2], inside, work.tone, spec.rounding)
        _store_row(work.lines[2], outs, y, strides)


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
def _sum_columns(line, columns, weight, tone, lines):
    """lines f32 [3,S]: the output channels of `line` f32 [W*3], summed over the taps of every column."""
    first, second, third = np.uint64(tone[3, 0]), np.uint64(tone[3, 1]), np.uint64(tone[3, 2])
    for x in range(lines.shape[1]):
        a, b, c = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for t in range(columns.shape[1]):
            w, i = weight[x, t], np.uint64(columns[x, t] * 3)  # unsigned: no test for an index from the end
            a += w * line[i + first]
            b += w * line[i + second]
            c += w * line[i + third]
        lines[0, x], lines[1, x], lines[2, x] = a, b, c


@jit
def _sum_four_columns(line, columns, weight, source, done):
    """`_sum_columns` for exactly four taps (cubic), unrolled."""
    for x in range(done.shape[0]):
        a, b = np.uint64(columns[x, 0]), np.uint64(columns[x, 1])
        c, d = np.uint64(columns[x, 2]), np.uint64(columns[x, 3])
        done[x] = (
            weight[x, 0] * line[a * _THREE + source]
            + weight[x, 1] * line[b * _THREE + source]
            + weight[x, 2] * line[c * _THREE + source]
            + weight[x, 3] * line[d * _THREE + source]
        )


@jit
def _sample_weighted(bgr, work, rounding, padded, outs, strides):
    """Separable sampling, rows first: that makes the pass over the whole picture contiguous."""
    (columns, column_weight, column_in), (rows, row_weight, row_in) = work.columns, work.rows
    tone, lines, line = work.tone, work.lines[0], work.line
    height = row_weight.shape[0]
    for y in range(height):
        if padded and not row_in[y]:
            continue
        if row_in[y]:
            _sum_rows(bgr, rows[y], row_weight[y], line)
            if columns.shape[1] == 4:
                for channel in range(3):
                    _sum_four_columns(line, columns, column_weight, np.uint64(tone[3, channel]), lines[channel])
            else:
                _sum_columns(line, columns, column_weight, tone, lines)
        else:
            _pad_lines(lines, tone)
        _finish(lines, column_in, tone, rounding)
        _store_row(lines, outs, y, strides)
