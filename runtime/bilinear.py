"""Rows of bilinear samples: pixels fetched two by two, and blended. Knows pixels and weights, no windows.

words i32 [2,S] hold two neighbouring pixels of one source row for each of S columns: the left one in the lower three
bytes of words[0], the right one in the upper three of words[1]; what the fourth byte has is nobody's. lines f32 [3,S]
are samples 0..255 in the order of the output's channels. tone: see `sample`.
"""

import numpy as np

from posert.postprocess.kernels.registry import jit

_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)
_QUARTER, _HALF = np.float32(0.25), np.float32(0.5)


@jit
def pixel_pair(row, at):
    """The words of the pixel at byte `at` of a row u8 [W*3] (unsigned: no test for an index from the end) and the next.

    Both lie in the row, so that no byte before or behind it is read.
    """
    return _word(row, at), _word(row, at + _TWO)


@jit
def _word(row, at):
    """Four bytes, the first lowest; written so that LLVM makes one load of them."""
    low = np.int32(row[at]) | np.int32(row[at + _ONE]) << 8
    return low | np.int32(row[at + _TWO]) << 16 | np.int32(row[at + _THREE]) << 24


@jit
def fetch_pairs(row, pairs, words):
    """words i32 [2,S]: of one source row u8 [W*3] the pixels `pairs` i32 [S] and those behind them."""
    left, right = words[0], words[1]
    for x in range(left.shape[0]):
        left[x], right[x] = pixel_pair(row, np.uint64(pairs[x] * 3))


@jit
def set_pairs(columns, length, pairs):
    """pairs i32 [S]: the left one of two pixels for each column, both within a frame of `length` px, at least 2.

    Returns from which column on, and up to which, no pixel beyond the frame (index `length`) takes part. A border's
    pixel that was there twice gets a neighbour of weight 0: the same sum to the bit.
    """
    index, weight = columns.index, columns.weight[0]
    begin, end = 0, weight.shape[0]
    for x in range(weight.shape[0]):
        left, right = index[0, x], index[1, x]
        pairs[x] = min(left, length - 2)
        if left == right:
            weight[x] = np.float32(min(left, 1))
            pairs[x] = max(left - 1, 0)
        elif left == length:
            pairs[x], begin = 0, x + 1
        elif right == length:
            end = min(end, x)
    return begin, end


@jit
def blend(top, bottom, across, down, tone, lines):
    """lines f32 [3,S]: four pixels per column, two of each row's words, interpolated by f32 [S], columns first.

    The bytes stay where they are in their word, 256 or 65536 times too large, which float32 carries without a loss.
    """
    a, b, c, d = top[0], top[1], bottom[0], bottom[1]
    for channel in range(3):
        line, place = lines[channel], np.int32(1 << (8 * int(tone[3, channel])))
        mask, scale = np.int32(255 * place), np.float32(1.0) / np.float32(place)
        for x in range(line.shape[0]):
            w = across[x]
            p, q = np.float32(np.int32(a[x] & mask)), np.float32(np.int32((b[x] >> 8) & mask))
            r, s = np.float32(np.int32(c[x] & mask)), np.float32(np.int32((d[x] >> 8) & mask))
            above = p + (q - p) * w
            line[x] = (above + (r + (s - r) * w - above) * down[x]) * scale


@jit
def halved_columns(columns, pairs):
    """The first and the number of columns inside, if they are means of two and two pixels; 0 of them if they are not.

    columns: `taps.Taps`, none of them with a pixel beyond the frame. pairs: of `set_pairs`.
    """
    weight, first, count = columns.weight[0], 0, 0
    for x in range(weight.shape[0]):
        if columns.inside[x]:
            first = first if count > 0 else x
            if pairs[x] != pairs[first] + 2 * (x - first) or weight[x] != _HALF:
                return 0, 0
            count = x - first + 1
    return first, count


@jit
def halve(top, bottom, sums, tone, lines, first):
    """lines from `first` on: the means of two by two pixels of two source rows u8 [n], which is what `blend` says.

    sums: u16 [n], workspace. Whole numbers, so that nothing is rounded.
    """
    for i in range(sums.shape[0]):
        sums[i] = np.uint16(top[i]) + np.uint16(bottom[i])
    count = sums.shape[0] // 6
    blue = lines[int(tone[3, 0])][first : first + count]
    green = lines[1][first : first + count]
    red = lines[int(tone[3, 2])][first : first + count]
    for x in range(count):
        o = np.uint64(6 * x)
        blue[x] = np.float32(np.int32(sums[o]) + np.int32(sums[o + _THREE])) * _QUARTER
        green[x] = np.float32(np.int32(sums[o + _ONE]) + np.int32(sums[o + _THREE + _ONE])) * _QUARTER
        red[x] = np.float32(np.int32(sums[o + _TWO]) + np.int32(sums[o + _THREE + _TWO])) * _QUARTER


@jit
def border_sample(bgr, columns, rows, weights, tone, lines, x):
    """Sample x of `lines` from the pixels of two columns and two rows; beyond the frame, at its length, the pad value.

    weights: of the second column and the second row.
    """
    length, tall, (i, j), (first, second), (w, f) = bgr.shape[1] // 3, bgr.shape[0], columns, rows, weights
    for channel in range(3):
        source, pad = int(tone[3, channel]), tone[0, channel]
        p = np.float32(bgr[first, 3 * i + source]) if i < length and first < tall else pad
        q = np.float32(bgr[first, 3 * j + source]) if j < length and first < tall else pad
        r = np.float32(bgr[second, 3 * i + source]) if i < length and second < tall else pad
        s = np.float32(bgr[second, 3 * j + source]) if j < length and second < tall else pad
        above = p + (q - p) * w
        lines[channel, x] = above + (r + (s - r) * w - above) * f
