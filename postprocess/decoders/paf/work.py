"""The workspace: every array the kernel writes to, and what is made once for a size of maps. Knows no people."""

from collections import namedtuple

import numpy as np

from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.resample import (
    AREA,
    CUBIC,
    OVERLAP,
    fill_smoothing,
    fill_taps,
    magnitude,
    overlap_gain,
    take_taps,
    widest,
)
from posert.postprocess.kernels.workspace import take
from posert.postprocess.part_maps import peaks_each

MAX_PEOPLE = 256

Work = namedtuple(
    "Work",
    "ready gain floor smoothing row smooth_y smooth_x plain_y plain_x as_is hot done span across grid peaks "
    "counts value pair order used links link_counts people scores sizes end",
)
"""Everything the kernel writes to; see `find_peaks`, `connect` and `assemble`.

ready: i64 [1], 1 once there is what follows from sizes and parameters alone: taps, gain and floor. smoothing, row: f64,
to make the taps. as_is: whether the maps are the grid. end: bytes taken.
"""


@jit
def layout(workspace, h, w, parts, edges, rules):
    """`Work` for maps of h x w cells."""
    high, wide = max(1, int(h * rules.upsample)), max(1, int(w * rules.upsample))
    taps, most = rules.smooth_taps, peaks_each(rules.max_peaks, edges, 2 * rules.limb_samples)
    as_is = high == h and wide == w and taps == 1
    ready, at = take(workspace, 0, (1,), np.int64)
    gain, at = take(workspace, at, (1,), np.float64)
    floor, at = take(workspace, at, (1,), np.float64)
    smoothing, at = take(workspace, at, (taps,), np.float64)
    row, at = take(workspace, at, (max(widest(h, high, taps), widest(w, wide, taps)),), np.float64)
    smooth_y, at = take_taps(workspace, at, h, high, taps)
    smooth_x, at = take_taps(workspace, at, w, wide, taps)
    plain_y, at = take_taps(workspace, at, h, high, 1)
    plain_x, at = take_taps(workspace, at, w, wide, 1)
    hot, at = take(workspace, at, (h, 2), np.int64)
    done, at = take(workspace, at, (h, 2), np.int64)
    span, at = take(workspace, at, (high, 2), np.int64)
    across, at = take(workspace, at, (1, 1) if as_is else (h, wide), np.float32)
    grid, at = take(workspace, at, (1, 1) if as_is else (high, wide), np.float32)
    peaks, at = take(workspace, at, (parts, most, 4), np.float32)
    counts, at = take(workspace, at, (parts,), np.int64)
    value, at = take(workspace, at, (most * most,), np.float32)
    pair, at = take(workspace, at, (most * most, 2), np.int32)
    order, at = take(workspace, at, (most * most,), np.int32)
    used, at = take(workspace, at, (2, most), np.uint8)
    links, at = take(workspace, at, (edges, most, 3), np.float32)
    link_counts, at = take(workspace, at, (edges,), np.int64)
    people, at = take(workspace, at, (MAX_PEOPLE, parts), np.int32)
    scores, at = take(workspace, at, (MAX_PEOPLE,), np.float32)
    sizes, at = take(workspace, at, (MAX_PEOPLE,), np.int64)
    return Work(
        ready, gain, floor, smoothing, row, smooth_y, smooth_x, plain_y, plain_x, as_is, hot, done, span, across, grid,
        peaks, counts, value, pair, order, used, links, link_counts, people, scores, sizes, at,
    )  # fmt: skip


@jit
def prepared(workspace, h, w, parts, edges, cubic, rules):
    """`Work` with everything made that follows from the sizes and the parameters."""
    work = layout(workspace, h, w, parts, edges, rules)
    if work.ready[0] == 0:
        (plain, smooth), single = (CUBIC, CUBIC) if cubic else (OVERLAP, AREA), work.smoothing[:1]
        fill_smoothing(single)
        fill_taps(plain, h, single, work.row, work.plain_y)
        fill_taps(plain, w, single, work.row, work.plain_x)
        fill_smoothing(work.smoothing)
        fill_taps(smooth, h, work.smoothing, work.row, work.smooth_y)
        fill_taps(smooth, w, work.smoothing, work.row, work.smooth_x)
        high, wide = work.plain_y.first.shape[0], work.plain_x.first.shape[0]
        work.gain[0] = overlap_gain(plain, h, high) * overlap_gain(plain, w, wide)
        work = layout(workspace, h, w, parts, edges, rules)
        gain = max(1.0, magnitude(work.smooth_y) * magnitude(work.smooth_x))
        work.floor[0] = rules.peak_threshold / gain * (1 - 1e-5)  # less the rounding of the sums
        work.ready[0] = 1
    return work
