"""One row of samples of a turned window (`turned`), each from four pixels. Knows pixels and places, no people.

Places, borders and the order of operations are those of upright windows, and so is linear interpolation.
"""

import math
from collections import namedtuple

import numpy as np

from posert.postprocess.kernels.registry import jit
from posert.runtime.bilinear import blend, border_sample, pixel_pair
from posert.runtime.taps import BLEND, EDGES, HALF_PIXEL

_Line = namedtuple("_Line", "left top cosine sine begin wide steps")
"""A row in the frame: the place of its middle px (in pixel centres), its direction, the first sample's share of a step,
its length px, and how many steps that has."""


@jit
def turned_row(bgr, spec, window, y, height, tone, lines, words, inside):
    """Row y of `height` of a window f64 [6]: lines[2] f32 [3,S], output channels, and whether they are inside, u8 [S].

    lines f32 [3,3,S] and words i32 [2,2,S] are workspace. tone: see `sample`.
    """
    length, tall, width = bgr.shape[1] // 3, bgr.shape[0], inside.shape[0]
    wide, high = window[2] - window[0], window[3] - window[1]
    across, downward = (max(1, width - 1), max(1, height - 1)) if spec.align == EDGES else (width, height)
    half = 0.5 if spec.align == HALF_PIXEL or spec.align == BLEND else 0.0
    down = (y + half) * high / downward - high / 2
    left = (window[0] + window[2]) / 2 - window[5] * down - half
    top = (window[1] + window[3]) / 2 + window[4] * down - half
    line = _Line(left, top, window[4], window[5], half, wide, across)
    # what lies between two places within the frame is within
    if _within(_place(line, 0), length, tall) and _within(_place(line, width - 1), length, tall):
        _row_within(bgr, line, tone, lines, words, inside)
    else:
        _row_at_borders(bgr, line, spec.align != HALF_PIXEL, tone, lines[2], inside)


@jit
def _place(line, x):
    at = (x + line.begin) * line.wide / line.steps - line.wide / 2
    return line.left + line.cosine * at, line.top + line.sine * at


@jit
def _within(place, length, tall):
    """Whether a place has four pixels around it."""
    return 0.0 <= place[0] < length - 1.0 and 0.0 <= place[1] < tall - 1.0


@jit
def _row_within(bgr, line, tone, lines, words, inside):
    """Small loops one after the other, because each of them becomes vector code."""
    across, down = lines[0, 0], lines[0, 1]
    for x in range(inside.shape[0]):
        at_x, at_y = _place(line, x)
        i, j = np.int32(at_x), np.int32(at_y)
        across[x], down[x] = np.float32(at_x - i), np.float32(at_y - j)
        words[0, 0, x], words[0, 1, x], inside[x] = i, j, np.uint8(1)
    _gather(bgr, words)
    blend(words[0], words[1], across, down, tone, lines[2])


@jit
def _row_at_borders(bgr, line, blends, tone, lines, inside):
    length, tall = bgr.shape[1] // 3, bgr.shape[0]
    for x in range(inside.shape[0]):
        at_x, at_y = _place(line, x)
        if blends:
            seen = -1.0 < at_x < length and -1.0 < at_y < tall
        else:
            seen = -0.5 <= at_x < length - 0.5 and -0.5 <= at_y < tall - 0.5
        inside[x] = np.uint8(seen)
        if seen:
            columns, rows = _two(at_x, length, blends), _two(at_y, tall, blends)
            weights = np.float32(at_x - math.floor(at_x)), np.float32(at_y - math.floor(at_y))
            border_sample(bgr, columns, rows, weights, tone, lines, x)
        else:
            lines[0, x] = lines[1, x] = lines[2, x] = np.float32(0.0)


@jit
def _gather(bgr, words):
    """words i32 [2,2,S]: first the column and row of pixels, then those and their neighbours, see `bilinear`."""
    for x in range(words.shape[2]):
        at, row = np.uint64(words[0, 0, x]) * np.uint64(3), np.uint64(words[0, 1, x])
        words[0, 0, x], words[0, 1, x] = pixel_pair(bgr[row], at)
        words[1, 0, x], words[1, 1, x] = pixel_pair(bgr[row + np.uint64(1)], at)


@jit
def _two(at, length, blends):
    """The pixel before a place along an axis and the one behind; beyond the frame the border's, or `length`."""
    first = math.floor(at)
    last = length if blends else length - 1
    return first if first >= 0 else (length if blends else 0), first + 1 if first + 1 < length else last
