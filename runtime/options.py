"""What a user may choose about a model: where it runs, and what it does otherwise than its file says.

Owns `ModelOptions` and how the choices change a `ModelSpec`. Knows no sessions and no files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from posert.errors import PosertError
from posert.runtime.spec import ModelSpec, Stage
from posert.typed import Count, Index, Range, settle

_NetSide = Annotated[int, Range(-1, 16384)]
DETECTED = 1.1
"""Of the longer side of a detector's box: the square crop that a network for one person looks at."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is opened.

    Attributes:
        device: `auto`, `cpu`, `cuda[:N]`, `tensorrt[:N]`, `openvino[:CPU|GPU|NPU]`, `coreml`, `directml[:N]`,
            `migraphx[:N]` or `xnnpack`; a device that is asked for and not there, or takes nothing of the network, is
            an error, never a quiet CPU run. `auto` is CUDA if this machine has it, else the CPU, by OpenVINO where
            that is installed and was faster when it was tried (`fastest_network`).
        threads: CPU threads; 0 = all cores.
        workers: frames in flight; the threads are shared out among them. 1 gives the lowest latency, more the highest
            throughput. A model that follows one person from frame to frame always has 1, with all threads for it.
        latency: one frame at a time, as fast as it can be: `workers` is 1, and without `threads` as many work at it as
            make it faster, by a measurement of each network when the model is opened (half a second and more).
        long_edge: longer side of the network input, px, for networks whose size is free; 0 = the model's own.
        net_resolution: width and height of the network input, px, for the same ones: both, and the picture is fitted
            into exactly that; or one, and -1 for what the picture's aspect says, rounded as by `InputSpec.fit`.
        scale_number: run the network at so many sizes, 1, 1 - scale_gap, 1 - 2 scale_gap ... of its input's, and
            average the maps; 1 = as the model's file says.
        scale_gap: see `scale_number`.
        detector: an .onnx file that finds the boxes instead of the model's own detector.
        params: GROUP.NAME -> value over the file's. The groups are the stages by their names, `suppress` for the rule
            that drops people found twice, `follow` (`FollowOptions`); a bare NAME is of the last stage for people.
        arena: keep the memory of a network's run for the next one; else every run gives it back to the C library.
        parts: .onnx files of networks for hands, faces and the like, which look at the people that the model finds.

    Raises:
        Misfit: a `PosertError` that names the first field with a wrong value.
    """

    device: str = "auto"
    threads: Index = 0
    workers: Count = 1
    latency: bool = False
    long_edge: Index = 0
    net_resolution: tuple[_NetSide, _NetSide] | None = None
    scale_number: Count = 1
    scale_gap: float = 0.25
    detector: str | Path | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    arena: bool = True
    parts: tuple[str | Path, ...] = ()

    def __post_init__(self) -> None:
        settle(self)

    def of(self, spec: ModelSpec) -> ModelSpec:
        """`spec` with another input size or several sizes, as far as asked for.

        Raises:
            PosertError: the model has one input size.
        """
        if self.long_edge and self.net_resolution:
            raise PosertError("`long_edge` and `net_resolution` both say how large the input is", "leave one away")
        if self.long_edge:
            spec = _resized(spec, (self.long_edge, self.long_edge), "long_edge")
        if self.scale_number > 1:
            spec = _at_scales(spec, self.scale_number, self.scale_gap)
        if self.net_resolution:
            spec = _at_resolution(spec, self.net_resolution)
        return spec


class OptionChanges(TypedDict, total=False):
    """The fields of `ModelOptions` as keywords; any of them."""

    device: str
    threads: int
    workers: int
    latency: bool
    long_edge: int
    net_resolution: tuple[int, int] | None
    scale_number: int
    scale_gap: float
    detector: str | Path | None
    params: Mapping[str, Any]
    arena: bool
    parts: tuple[str | Path, ...]


def with_detector(spec: ModelSpec, other: ModelSpec, file: str | Path) -> ModelSpec:
    """`spec` with the single stage of `other`, the model in `file`, in place of its own detector.

    Raises:
        PosertError: `spec` looks at no boxes, or `other` is no detector for it.
    """
    looking = tuple(for_people(stage) for stage in spec.stages if stage.region != "frame")
    if not looking:
        raise PosertError(f"{spec.model} finds people without a detector", "leave `detector` away")
    return replace(spec, stages=(replace(detector_of(other, spec, file), file=None, sha256=None), *looking))


def detector_of(other: ModelSpec, spec: ModelSpec, file: str | Path) -> Stage:
    """The stage `detector` of `spec`: the single stage of `other`, the model in `file`.

    Raises:
        PosertError: `other` finds something else than boxes; or, where `spec` turns its regions, too few keypoints.
    """
    turns, found = [stage.turn for stage in spec.stages if stage.turn is not None], len(other.skeleton.names)
    wanted = 1 + max((max(turn.keypoints) for turn in turns), default=-1)
    if len(other.stages) != 1 or other.stages[0].region != "frame" or found < wanted or (found > 0 and not turns):
        raise PosertError(
            f"{file} is no detector for {spec.model}: {other.model} finds {found} keypoints"
            + (f", {wanted} are needed to turn the regions" if turns else ""),
            "give a file that finds boxes, tagged with: posert tag FILE `name` (names: posert models list)",
        )
    return replace(other.stages[0], name="detector", keypoint_count=found)


def for_people(stage: Stage) -> Stage:
    """A stage that looks at boxes or follows, as it stands behind a detector.

    Who follows one person alone follows everybody then: square crops as tight as boxes of detectors allow, and whoever
    is found twice counts once.
    """
    if stage.region != "follow" or stage.suppress is not None:
        return stage
    return replace(stage, input=replace(stage.input, margin=stage.input.margin or DETECTED), suppress="oks")


def _resized(spec: ModelSpec, size_wh: tuple[int, int], name: str) -> ModelSpec:
    """`spec` with another largest input size for its first stage; `name` is the option's."""
    first = spec.stages[0]
    if not first.input.multiple_of:
        raise PosertError(f"{spec.model} has one input size, {first.input.size_wh} px", f"leave `{name}` away")
    resized = replace(first, input=replace(first.input, size_wh=size_wh))
    return replace(spec, stages=(resized, *spec.stages[1:]))


def _at_resolution(spec: ModelSpec, net_wh: tuple[int, int]) -> ModelSpec:
    """`spec` with a first stage whose input has exactly the sides that are above 0."""
    size_wh = (max(0, net_wh[0]), max(0, net_wh[1]))
    spec = _resized(spec, size_wh, "net_resolution")
    first, step, plus = spec.stages[0], spec.stages[0].input.multiple_of, spec.stages[0].input.multiple_plus
    if not any(size_wh):
        raise PosertError("`net_resolution` says neither width nor height", "give one, or leave it away")
    for side in size_wh:
        if side and (side < step + plus or (side - plus) % step):
            below = max(1, (side - plus) // step) * step + plus
            multiples = f"multiples of {step}" + (f", and {plus} more" if plus else "")
            raise PosertError(f"the input of {spec.model} has sides that are {multiples}, not {side} px",
                              f"take {below} or {below + step} in `net_resolution`")  # fmt: skip
    if 0 in size_wh:
        return spec
    exact = replace(first, input=replace(first.input, multiple_of=0), scale_step=step)
    return replace(spec, stages=(exact, *spec.stages[1:]))


def _at_scales(spec: ModelSpec, number: int, gap: float) -> ModelSpec:
    """`spec` with a first stage that averages over several sizes of its input."""
    first, scales = spec.stages[0], tuple(1 - step * gap for step in range(number))
    if first.region != "frame" or not first.input.multiple_of:
        raise PosertError(f"{spec.model} has one input size, {first.input.size_wh} px", "leave `scale_number` away")
    if not (gap > 0 and scales[-1] > 0 and number <= 16):
        raise PosertError(
            f"{number} scales {gap} apart end at {scales[-1]:.3g} of the input",
            f"take at most 16, above 0 and apart: a `scale_gap` above 0 and below {1 / (number - 1):.3g}",
        )
    return replace(spec, stages=(replace(first, scales=scales), *spec.stages[1:]))
