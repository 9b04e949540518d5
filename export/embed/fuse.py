"""A network whose outputs are people: `posert fuse`. Keypoints out, in any language's ONNX Runtime.

Owns the graph around a network: the steps of `prepare` and of a decoder as ONNX operators. MoveNet's single-person
networks need standard ones alone, the others the operator of the C library (`c/ops.c`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, compose, helper, numpy_helper

from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.embed.table import wanted_outputs
from posert.postprocess import decoder_params
from posert.runtime.session import find_model
from posert.runtime.spec import ModelSpec, Stage

_ONNX_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32}
_PREFIX = "network/"  # of the names inside
_OPSET = 13  # Unsqueeze takes its axes as an input since 13


def fuse(model: str | Path, out: Path) -> Path:
    """The file with the fused network, whose outputs are people: `keypoints` f32 [N,K,3] and `scores` f32 [N].

    A single-person network of MoveNet's kind takes the input `frame` u8 [H,W,3], RGB, any size; its keypoints are in px
    of the frame, and N is 0 or 1: the person that `posert infer` finds in the first frame of a video. Another network
    keeps its input, its keypoints are in px of it, and the session that runs it must register the library that `posert
    bundle` makes of the same model.

    Args:
        model: an exported network that works in one stage.
        out: file to write.

    Raises:
        PosertError: not such a network, or the file cannot be written.
    """
    path = find_model(model)
    spec, graph = onnx_file.read_metadata(path), compose.add_prefix(onnx_file.load(path), _PREFIX)
    if len(spec.stages) > 1 or len(spec.stages[0].scales) > 1 or spec.stages[0].region == "boxes":
        raise PosertError(f"{path} ({spec.model}) works in several steps and cannot be fused", "run it with posert")
    build = _Builder()
    if spec.stages[0].decoder == "direct":
        _check(spec, graph, path)
        image = _with_standard_operators(build, graph, spec.stages[0])
    else:
        image = _with_our_operator(build, graph, spec.stages[0])
    del graph.graph.node[:], graph.graph.input[:], graph.graph.output[:], graph.graph.value_info[:]
    graph.graph.node.extend(build.nodes)
    graph.graph.initializer.extend(build.constants)
    graph.graph.input.append(image)
    keypoints = len(spec.skeleton.names)
    for name, shape in (("keypoints", ["people", keypoints, 3]), ("scores", ["people"])):
        graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    notes = {"keypoints": ", ".join(spec.skeleton.names), "model": spec.model, "licence": spec.licence}
    onnx_file.save_fused(graph, out, notes)
    return out


def _with_our_operator(build: "_Builder", graph: Any, stage: Stage) -> Any:
    """The decoder as `posert::People`; returns the graph's input, the network's own."""
    (image,) = graph.graph.input
    build.nodes += graph.graph.node
    for node in build.nodes:
        for number, name in enumerate(node.input):
            if name == image.name:
                node.input[number] = stage.input.name
    image.name = stage.input.name
    kept = helper.make_tensor_value_info("", TensorProto.FLOAT, [])
    kept.CopyFrom(image)
    maps = [_PREFIX + name for name in wanted_outputs(stage).values()]
    shape = build.add("Shape", stage.input.name)
    build.nodes.append(helper.make_node("People", [shape, *maps], ["keypoints", "scores"], domain="posert"))
    graph.opset_import.append(helper.make_opsetid("posert", 1))
    return kept


def _with_standard_operators(build: "_Builder", graph: Any, stage: Stage) -> Any:
    """The steps of `prepare` and of the decoder `direct` around the network; returns the graph's input, the frame."""
    hw = build.add("Cast", build.add("Slice", build.add("Shape", "frame"), [0], [2]), to=TensorProto.DOUBLE)
    side = build.add("ReduceMax", hw, keepdims=1, axes=[0])
    low = build.add("Sub", build.add("Div", hw, 2.0), build.add("Div", side, 2.0))
    pixels = _window(build, hw, side, low, stage.input.size_wh)
    build.add("Cast", pixels, to=_ONNX_TYPES[stage.input.dtype], out=_PREFIX + stage.input.name)
    build.nodes += graph.graph.node
    rows = build.add("Squeeze", _PREFIX + stage.outputs["keypoints"], [0])
    scored = build.add("Slice", rows, [2], [3], [2])
    places = _in_frame(build, build.add("Slice", rows, [0], [2], [2]), side, low, stage.input.size_wh)
    _people(build, places, scored, decoder_params("direct", dict(stage.params)).min_score)
    return helper.make_tensor_value_info("frame", TensorProto.UINT8, ["height", "width", 3])


def _check(spec: ModelSpec, graph: Any, path: Path) -> None:
    stage = spec.stages[0]
    single = stage.decoder == "direct" and "keypoints" in stage.outputs
    if not single or stage.input.fit != "square" or stage.input.layout != "NHWC":
        raise PosertError(
            f"{path} ({spec.model}) cannot be fused with standard operators",
            "of MoveNet's networks posert fuses those for a single person",
        )
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if not _OPSET <= opset < 18:  # ReduceMax takes its axes as an input since 18
        raise PosertError(f"{path} has opset {opset}, posert fuses 13 to 17", "export it again")


@dataclass
class _Builder:
    """Nodes and constants of a graph under construction."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, kind: str, *inputs: Any, out: str = "", **attributes: Any) -> str:
        """The name of the result of a new node; inputs are names, or values for constants."""
        names = [entry if isinstance(entry, str) else self._constant(entry) for entry in inputs]
        name = out or f"posert_{len(self.nodes)}_{kind}"
        self.nodes.append(helper.make_node(kind, names, [name], name=name, **attributes))
        return name

    def _constant(self, value: Any) -> str:
        name = f"posert_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _window(build: _Builder, hw: str, side: str, low: str, size_wh: tuple[int, int]) -> str:
    """The square around the frame in the network's size, f32 [1,h,w,3]: TensorFlow's crop_and_resize.

    In the order of operations of `prepare`, so that every pixel comes out the same: the int8 network answers quite
    differently to one grey level. (The operator Resize computes in another order.)
    """
    axes = []
    for axis in (0, 1):
        length, edge = build.add("Gather", hw, [axis], axis=0), build.add("Gather", low, [axis], axis=0)
        axes.append(_axis(build, length, edge, side, size_wh[1 - axis]))
    (top, bottom, down, row_in), (left, right, across, column_in) = axes
    lines = []
    for rows in (top, bottom):
        line = build.add("Gather", "frame", rows, axis=0)
        pair = [
            build.add("Cast", build.add("Gather", line, columns, axis=1), to=TensorProto.FLOAT)
            for columns in (left, right)
        ]
        lines.append(_blend(build, pair[0], pair[1], build.add("Unsqueeze", across, [0, 2])))
    picture = _blend(build, lines[0], lines[1], build.add("Unsqueeze", down, [1, 2]))
    inside = build.add("And", build.add("Unsqueeze", row_in, [1, 2]), build.add("Unsqueeze", column_in, [0, 2]))
    return build.add("Unsqueeze", build.add("Where", inside, picture, np.float32(0)), [0])


def _axis(build: _Builder, length: str, low: str, side: str, size: int) -> tuple[str, str, str, str]:
    """Both source pixels i64 [S], the weight f32 [S] of the second one, and what lies inside, along one axis."""
    edges = (low, build.add("Add", low, side))
    begin, end = (build.add("Cast", build.add("Div", edge, length), to=TensorProto.FLOAT) for edge in edges)
    last = build.add("Cast", build.add("Sub", length, 1.0), to=TensorProto.FLOAT)
    span = build.add("Mul", build.add("Sub", end, begin), last)
    steps = build.add("Mul", np.arange(size, dtype=np.float32), build.add("Div", span, np.float32(size - 1)))
    at = build.add("Add", build.add("Mul", begin, last), steps)
    inside = build.add(
        "And", build.add("GreaterOrEqual", at, np.float32(0)), build.add("LessOrEqual", at, last)
    )  # fmt: skip
    at = build.add("Where", inside, at, np.float32(0))
    floor = build.add("Floor", at)
    second = build.add("Min", build.add("Add", floor, np.float32(1)), last)
    first, second = (build.add("Cast", value, to=TensorProto.INT64) for value in (floor, second))
    return first, second, build.add("Sub", at, floor), inside


def _blend(build: _Builder, one: str, other: str, weight: str) -> str:
    return build.add("Add", one, build.add("Mul", build.add("Sub", other, one), weight))


def _in_frame(build: _Builder, places_yx: str, side: str, low: str, size_wh: tuple[int, int]) -> str:
    """f32 [1,K,2], x and y in px of the frame, from y and x in shares of the window."""
    in_input = build.add("Mul", places_yx, np.array(size_wh[::-1], np.float32))
    scale = build.add("Div", side, np.array(size_wh[::-1], np.float64))
    moved = build.add("Add", build.add("Mul", build.add("Cast", in_input, to=TensorProto.DOUBLE), scale), low)
    return build.add("Gather", build.add("Cast", moved, to=TensorProto.FLOAT), [1, 0], axis=2)


def _people(build: _Builder, places: str, scored: str, min_score: float) -> None:
    """What the decoder `direct` does with one person: places f32 [1,K,2], scored f32 [1,K,1]."""
    found = build.add("Greater", scored, np.float32(0))
    whole = build.add("Where", found, build.add("Concat", places, scored, axis=2), np.float32(0))
    score = build.add("ReduceMean", scored, keepdims=0, axes=[1, 2])
    person = build.add("GreaterOrEqual", score, np.float32(min_score))
    build.add("Compress", whole, person, out="keypoints", axis=0)
    build.add("Compress", score, person, out="scores", axis=0)
