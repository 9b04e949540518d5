"""Frame and windows -> the network's input tensor. Never sees keypoints."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.runtime.sample import sample_window, sample_workspace
from posert.runtime.spec import InputSpec
from posert.runtime.windows import spec_numbers

_NOTHING = {dtype: np.empty(0, dtype) for dtype in ("float32", "uint8", "int32")}


def prepare(
    bgr: NDArray[np.uint8],
    windows: NDArray[np.float64],
    spec: InputSpec,
    input_wh: tuple[int, int],
    out: NDArray[Any] | None = None,
    padded: bool = False,
) -> NDArray[Any]:
    """The input tensor, [R,3,H,W] or [R,H,W,3] as `spec.layout` says, of `spec.dtype`.

    Args:
        bgr: u8 [H,W,3], the frame.
        windows: f64 [R,4] px, or turned ones [R,6], one per row of the tensor.
        spec: colour order, interpolation, rounding, padding, mean and std.
        input_wh: width and height of the tensor, px.
        out: written and returned if given (C-contiguous, the right shape and dtype).
        padded: `out` is as this function left it for a frame of this size and these windows, so that rows which show
            only padding are as they should be.

    Raises:
        ValueError: sizes without pixels, an `out` of another size, turned windows that are not to be sampled linearly.
    """
    width, height = input_wh
    shape = (len(windows), height, width, 3) if spec.layout == "NHWC" else (len(windows), 3, height, width)
    if out is None:
        out = np.empty(shape, spec.dtype)
    image = np.ascontiguousarray(bgr).reshape(len(bgr), -1)
    numbers = spec_numbers(spec)
    for row, window in zip(out, np.ascontiguousarray(windows, np.float64), strict=True):
        size = sample_workspace(numbers, bgr.shape[1], bgr.shape[0], window, width, height)
        flat = row.reshape(-1)
        own = _NOTHING | ({"uint8": flat.view(np.uint8)} if spec.dtype == "float16" else {spec.dtype: flat})
        workspace = np.empty(max(0, size), np.uint8)
        if sample_window(0, padded, image, window, numbers, width, height, workspace, *own.values()) < 0:
            raise ValueError(f"{bgr.shape[1]} x {bgr.shape[0]} px do not go into a tensor {list(out.shape)}")
    return out
