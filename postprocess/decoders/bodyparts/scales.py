"""Shared kernel: the maps of several input sizes, added up on one grid. Knows maps only."""

from posert.postprocess.decoders.bodyparts.limbs import _upsample
from posert.postprocess.kernels.registry import kernel


@kernel(
    "none(float32[:,:,::1], int64[::1], float32[:,::1], int64[::1], float32[:,::1], float32[:,::1], float32[:,::1], "
    "float32[:,:,::1])"
)
def add_upsampled(maps, taps_y, taps_wy, taps_x, taps_wx, across, grid, sums):
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
