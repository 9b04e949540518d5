"""The workspace: every array the kernel writes to, and what is made once for a size of maps. Knows no people."""

from collections import namedtuple

import numpy as np

from posert.postprocess.decoders.bodyparts.peaks import BLOCK, PAIR_COST, Axis, fill_blocks
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.resample import fill_smoothing, fill_taps, magnitude, take_taps, widest
from posert.postprocess.kernels.workspace import take
from posert.postprocess.part_maps import peaks_each

_MOST_PEOPLE = 4096

Work = namedtuple(
    "Work",
    "ready floor redundant smoothing row y x active block across grids peaks counts key value index order "
    "starts used owners people scores sizes end",
)
"""Everything the kernel writes to; see `find_peaks`, `score_candidates` and `assemble_globally`.

ready: i64 [1], 1 once there is what follows from sizes and parameters alone: axes, floor and redundant. smoothing, row:
f64, to make the taps. end: bytes taken.
"""


@jit
def _take_axis(workspace, at, length, size):
    taps, at = take_taps(workspace, at, length, size, 1)
    cells, at = take(workspace, at, ((size + BLOCK - 1) // BLOCK, 2), np.int64)
    blocks, at = take(workspace, at, (length, 2), np.int64)
    return Axis(taps, cells, blocks), at


@jit
def layout(workspace, h, w, high, wide, parts, edges, max_peaks):
    """`Work` for maps of h x w cells on a grid of high x wide samples."""
    max_peaks = peaks_each(max_peaks, edges, PAIR_COST)
    # no more people than limbs or peaks can start: each edge at most one per peak of either end
    pairs, most = edges * max_peaks * max_peaks, min(edges * max_peaks, _MOST_PEOPLE)
    ready, at = take(workspace, 0, (1,), np.int64)
    floor, at = take(workspace, at, (1,), np.float64)
    redundant, at = take(workspace, at, (edges,), np.uint8)
    smoothing, at = take(workspace, at, (1,), np.float64)
    row, at = take(workspace, at, (max(widest(h, high, 1), widest(w, wide, 1)),), np.float64)
    y, at = _take_axis(workspace, at, h, high)
    x, at = _take_axis(workspace, at, w, wide)
    active, at = take(workspace, at, (y.cells.shape[0], x.cells.shape[0]), np.uint8)
    block, at = take(workspace, at, (h, BLOCK), np.float32)
    across, at = take(workspace, at, (h, wide), np.float32)
    grids, at = take(workspace, at, (2, high, wide), np.float32)
    peaks, at = take(workspace, at, (parts, max_peaks, 3), np.float32)
    counts, at = take(workspace, at, (parts,), np.int64)
    key, at = take(workspace, at, (pairs,), np.float32)
    value, at = take(workspace, at, (pairs,), np.float32)
    index, at = take(workspace, at, (pairs, 3), np.int32)
    order, at = take(workspace, at, (pairs,), np.int32)
    starts, at = take(workspace, at, (edges + 1,), np.int64)
    used, at = take(workspace, at, (2, max_peaks), np.uint8)
    owners, at = take(workspace, at, (parts, max_peaks), np.int32)
    people, at = take(workspace, at, (most, parts), np.int32)
    scores, at = take(workspace, at, (most,), np.float64)
    sizes, at = take(workspace, at, (most,), np.int64)
    return Work(
        ready, floor, redundant, smoothing, row, y, x, active, block, across, grids, peaks, counts, key, value, index,
        order, starts, used, owners, people, scores, sizes, at,
    )  # fmt: skip


@jit
def prepared(workspace, h, w, high, wide, parts, edges, redundant_edges, rules):
    """`Work` with everything made that follows from the sizes and the parameters."""
    work = layout(workspace, h, w, high, wide, parts, edges, rules.max_peaks)
    if work.ready[0] == 0:
        fill_smoothing(work.smoothing)
        fill_taps(rules.interpolation, h, work.smoothing, work.row, work.y.taps)
        fill_taps(rules.interpolation, w, work.smoothing, work.row, work.x.taps)
        for edge in redundant_edges:
            if 0 <= edge < edges:
                work.redundant[edge] = 1
        work = layout(workspace, h, w, high, wide, parts, edges, rules.max_peaks)
        fill_blocks(work.y)
        fill_blocks(work.x)
        gain = magnitude(work.y.taps) * magnitude(work.x.taps)
        work.floor[0] = rules.peak_threshold / gain * (1 - 1e-5)  # less the rounding of the sums
        work.ready[0] = 1
    return work
