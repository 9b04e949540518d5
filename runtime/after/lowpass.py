"""The zero-phase low-pass of movement analysis: a Butterworth filter of second order, run forward and then backward.

Owns the filter, of evenly sampled signals. Knows numbers alone.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PAD = 9  # samples of odd extension at both ends: scipy.signal.filtfilt's, three times the number of coefficients
_UNEVEN = 0.1  # steps that differ by more of their mean are sampled again, evenly


def smoothed(values: Floats, times_s: Floats, cutoff_hz: float) -> Floats:
    """`values` f64 [T,C] without what is faster than `cutoff_hz`, and without delay.

    Uneven times are made even by linear interpolation, there and back. Nothing changes where there are less than three
    samples, or the cut-off reaches half the sampling rate.

    Args:
        times_s: f64 [T], rising.
    """
    count = len(values)
    step_s = (times_s[-1] - times_s[0]) / max(count - 1, 1)
    share = 2 * cutoff_hz * step_s
    if count < 3 or share >= 1:
        return values
    matrix = _matrix(count, round(share, 4))
    if np.abs(np.diff(times_s) / step_s - 1).max() <= _UNEVEN:
        return np.asarray(matrix @ values)
    even = np.linspace(times_s[0], times_s[-1], count)
    spread = matrix @ np.column_stack([np.interp(even, times_s, column) for column in values.T])
    return np.column_stack([np.interp(times_s, even, column) for column in spread.T])


@lru_cache(16)
def _matrix(count: int, share: float) -> Floats:
    """The filter of `count` samples as a matrix f64 [count,count]; `share` is the cut-off of half the sampling rate."""
    pad, unit = min(PAD, count - 1), np.eye(count)
    before, after = 2 * unit[:1] - unit[pad:0:-1], 2 * unit[-1:] - unit[-2 : -pad - 2 : -1]
    once = _forward(np.concatenate([before, unit, after]), share)
    return _forward(once[::-1], share)[::-1][pad : pad + count]


def _forward(values: Floats, share: float) -> Floats:
    """The filter once, from rest at the first value; its coefficients are the bilinear transform's."""
    turn = math.tan(math.pi * share / 2)
    scale = 1 / (1 + math.sqrt(2) * turn + turn**2)
    b, a1, a2 = turn**2 * scale, 2 * (turn**2 - 1) * scale, (1 - math.sqrt(2) * turn + turn**2) * scale
    out = np.empty_like(values)
    one, two = (1 - b) * values[0], (b - a2) * values[0]
    for number, value in enumerate(values):
        out[number] = b * value + one
        one, two = 2 * b * value - a1 * out[number] + two, b * value - a2 * out[number]
    return out
