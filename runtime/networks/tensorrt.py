"""What TensorRT needs to know of a network: the shapes to plan for, and where its engines are kept.

An engine takes minutes to build. Knows a stage's input, nothing of sessions. Never run for want of a GPU.
"""

from collections.abc import Sequence
from pathlib import Path

from posert.runtime.files.ours import cache_folder
from posert.runtime.files.state import sha256_of
from posert.runtime.networks.drawn import input_sizes
from posert.runtime.spec import Stage

MOST_ROWS = 64
"""As many crops as a call of the loop has at most."""
Axes = Sequence[int | str | None]
"""The shape of a graph's input: numbers where it is fixed."""


def tensorrt_options(file: Path, stage: Stage, inputs: dict[str, Axes]) -> dict[str, str]:
    """The provider's options for the network in a file: where its engines are, by its hash, and its shapes.

    Args:
        inputs: of the graph. If more than the picture's is free, TensorRT plans for the shapes that come.
    """
    folder = cache_folder() / "tensorrt"
    options = {
        "trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder / sha256_of(file)[:16]),
        "trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder),
    }  # fmt: skip
    free = [name for name, axes in inputs.items() if not all(isinstance(axis, int) for axis in axes)]
    if free == [stage.input.name]:
        options |= {
            f"trt_profile_{name}_shapes": f"{free[0]}:{'x'.join(map(str, shape))}"
            for name, shape in zip(("min", "opt", "max"), shape_profile(stage, inputs[free[0]]), strict=True)
        }
    return options


def shape_profile(stage: Stage, axes: Axes) -> list[list[int]]:
    """The smallest, the usual and the largest shape of the input tensor that the loop makes; fixed axes stay."""
    step, plus, (wide, high) = stage.input.multiple_of, stage.input.multiple_plus, input_sizes(stage)[0]
    least, most = (step + plus if step else 0), 0
    if step:  # pictures of every aspect: both sides up to the longer one, which rounding may lengthen
        longest = max(*stage.input.size_wh, wide, high)
        most = -(-(longest - plus) // step) * step + plus
    profile = []
    for rows, across, down in (
        (1, least or wide, least or high),
        (1, wide, high),
        (MOST_ROWS, most or wide, most or high),
    ):
        shape = [rows, down, across, 3] if stage.input.layout == "NHWC" else [rows, 3, down, across]
        profile.append([axis if isinstance(axis, int) else own for axis, own in zip(axes, shape, strict=True)])
    return profile
