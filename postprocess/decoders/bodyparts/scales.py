"""Shared kernel: the maps of several input sizes, added up on one grid. Knows maps only."""

from posert.postprocess.decoders.bodyparts.limbs import _upsample
from posert.postprocess.kernels.registry import F32x2, F32x3, I64x1, kernel


@kernel
def add_upsampled(
    maps: F32x3, taps_y: I64x1, taps_wy: F32x2, taps_x: I64x1, taps_wx: F32x2, across: F32x2, grid: F32x2, sums: F32x3
) -> int:
    """Adds maps f32 [C,h,w], up-sampled, to sums f32 [C,H,W].

    Args:
        taps_*: first cell and weights of every row and column, as `axis_blocks` gives them.
        across: f32 [h,W], grid: f32 [H,W] are workspace.
    """
    for c in range(maps.shape[0]):
        _upsample(maps[c], taps_y, taps_wy, taps_x, taps_wx, across, grid)
        for y in range(grid.shape[0]):
            line, own = sums[c, y], grid[y]
            for x in range(line.shape[0]):
                line[x] += own[x]
    return maps.shape[0]
