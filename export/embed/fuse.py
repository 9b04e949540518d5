"""A network whose outputs are people: `posert fuse`. Keypoints out, in any language's ONNX Runtime.

Owns the graph around a network: the steps of `prepare` and of a decoder as ONNX operators. MoveNet's single-person
networks need standard ones alone, the others the operator of the C library (`c/ops.c`).
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, compose, helper, numpy_helper

from posert import open_model
from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.embed.table import wanted_outputs
from posert.postprocess import decoder_params
from posert.runtime.constants import Constant
from posert.runtime.session import find_model
from posert.runtime.spec import ModelSpec, Stage

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
    op, constants = _Builder(), []
    if spec.stages[0].constants:
        with open_model(path, device="cpu") as opened:
            constants = opened.constants(spec.stages[0].name)
    if spec.stages[0].decoder == "direct":
        image = _with_standard_operators(op, graph, spec, path, constants)
    else:
        image = _with_our_operator(op, graph, spec.stages[0], constants)
    del graph.graph.node[:], graph.graph.input[:], graph.graph.output[:], graph.graph.value_info[:]
    graph.graph.node.extend(op.nodes)
    graph.graph.initializer.extend(op.constants)
    graph.graph.input.append(image)
    keypoints = len(spec.skeleton.names)
    for name, shape in (("keypoints", ["people", keypoints, 3]), ("scores", ["people"])):
        graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    notes = {"keypoints": ", ".join(spec.skeleton.names), "model": spec.model, "licence": spec.licence}
    helper.set_model_props(graph, notes)
    with onnx_file.checked(graph, out):
        return out


def _with_our_operator(op: "_Builder", graph: Any, stage: Stage, constants: list[Constant]) -> Any:
    """The decoder as `posert::People`; returns the graph's input, the network's own."""
    onnx_file.rename_tensor(graph, _PREFIX + stage.input.name, stage.input.name)
    _give(op, constants, stage.input.name, stage)
    op.nodes += graph.graph.node
    maps = [_floats(op, graph, name) for name in wanted_outputs(stage).values()]
    shape = op.Shape(stage.input.name)
    op.nodes.append(helper.make_node("People", [shape, *maps], ["keypoints", "scores"], domain="posert"))
    graph.opset_import.append(helper.make_opsetid("posert", 1))
    return deepcopy(next(value for value in graph.graph.input if value.name == stage.input.name))


def _with_standard_operators(op: "_Builder", graph: Any, spec: ModelSpec, path: Path, constants: list[Constant]) -> Any:
    """The steps of `prepare` and of the decoder `direct` around the network; returns the graph's input, the frame."""
    (stage,) = spec.stages
    if "keypoints" not in stage.outputs or stage.input.fit != "square" or stage.input.layout != "NHWC":
        raise PosertError(
            f"{path} ({spec.model}) cannot be fused with standard operators",
            "of MoveNet's networks posert fuses those for a single person",
        )
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if not _OPSET <= opset < 18:  # ReduceMax takes its axes as an input since 18
        raise PosertError(f"{path} has opset {opset}, posert fuses 13 to 17", "export it again")
    hw = op.Cast(op.Slice(op.Shape("frame"), [0], [2]), to=TensorProto.DOUBLE)
    side = op.ReduceMax(hw, keepdims=1, axes=[0])
    low = op.Sub(op.Div(hw, 2.0), op.Div(side, 2.0))
    pixels = _window(op, hw, side, low, stage.input.size_wh)
    op.Cast(pixels, to=helper.np_dtype_to_tensor_dtype(np.dtype(stage.input.dtype)), out=_PREFIX + stage.input.name)
    _give(op, constants, _PREFIX + stage.input.name, stage)
    op.nodes += graph.graph.node
    rows = op.Squeeze(_floats(op, graph, stage.outputs["keypoints"]), [0])
    scored = op.Slice(rows, [2], [3], [2])
    places = _in_frame(op, op.Slice(rows, [0], [2], [2]), side, low, stage.input.size_wh)
    found = op.Greater(scored, np.float32(0))
    whole = op.Where(found, op.Concat(places, scored, axis=2), np.float32(0))
    score = op.ReduceMean(scored, keepdims=0, axes=[1, 2])
    person = op.GreaterOrEqual(score, np.float32(decoder_params("direct", dict(stage.params)).min_score))
    op.Compress(whole, person, out="keypoints", axis=0)
    op.Compress(score, person, out="scores", axis=0)
    return helper.make_tensor_value_info("frame", TensorProto.UINT8, ["height", "width", 3])


def _give(op: "_Builder", constants: list[Constant], image: str, stage: Stage) -> None:
    """What the network takes besides the tensor `image`, for as many rows."""
    shape = op.Shape(image)
    axes = {"height": 1, "width": 2} if stage.input.layout == "NHWC" else {"height": 2, "width": 3}
    for one in constants:
        kind, side = helper.np_dtype_to_tensor_dtype(np.dtype(one.dtype)), np.array(one.shape, np.int64)
        parts = [
            op.Cast(op.Gather(shape, [axes[number]], axis=0), to=kind)
            if isinstance(number, str)
            else np.array([number], one.dtype)
            for number in one.numbers
        ]
        whole = op.Expand(op.Concat(*parts, axis=0), [int(np.prod(side))])
        if one.per_row:
            rows = op.Concat(op.Slice(shape, [0], [1]), side, axis=0)
            op.Expand(op.Reshape(whole, [1, *one.shape]), rows, out=_PREFIX + one.name)
        else:
            op.Reshape(whole, side, out=_PREFIX + one.name)


def _floats(op: "_Builder", graph: Any, name: str) -> str:
    """The network's output of that name, as float32."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.graph.output}
    halves = kinds[_PREFIX + name] == TensorProto.FLOAT16
    return op.Cast(_PREFIX + name, to=TensorProto.FLOAT) if halves else _PREFIX + name


class _Builder:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __getattr__(self, kind: str) -> Callable[..., str]:
        """The operator `kind`: its inputs are names, or values for constants; gives the name of its result."""

        def add(*inputs: Any, out: str = "", **attributes: Any) -> str:
            names = [entry if isinstance(entry, str) else self._constant(entry) for entry in inputs]
            name = out or f"posert_{len(self.nodes)}_{kind}"
            self.nodes.append(helper.make_node(kind, names, [name], name=name, **attributes))
            return name

        return add

    def _constant(self, value: Any) -> str:
        name = f"posert_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _window(op: _Builder, hw: str, side: str, low: str, size_wh: tuple[int, int]) -> str:
    """The square around the frame in the network's size, f32 [1,h,w,3]: TensorFlow's crop_and_resize.

    In the order of operations of `prepare`, so that every pixel comes out the same: the int8 network answers quite
    differently to one grey level. (The operator Resize computes in another order.)
    """
    axes = []
    for axis in (0, 1):
        length, edge = op.Gather(hw, [axis], axis=0), op.Gather(low, [axis], axis=0)
        axes.append(_axis(op, length, edge, side, size_wh[1 - axis]))
    (top, bottom, down, row_in), (left, right, across, column_in) = axes
    lines = []
    for rows in (top, bottom):
        line = op.Gather("frame", rows, axis=0)
        pair = [op.Cast(op.Gather(line, columns, axis=1), to=TensorProto.FLOAT) for columns in (left, right)]
        lines.append(_blend(op, pair[0], pair[1], op.Unsqueeze(across, [0, 2])))
    picture = _blend(op, lines[0], lines[1], op.Unsqueeze(down, [1, 2]))
    inside = op.And(op.Unsqueeze(row_in, [1, 2]), op.Unsqueeze(column_in, [0, 2]))
    return op.Unsqueeze(op.Where(inside, picture, np.float32(0)), [0])


def _axis(op: _Builder, length: str, low: str, side: str, size: int) -> tuple[str, str, str, str]:
    """Both source pixels i64 [S], the weight f32 [S] of the second one, and what lies inside, along one axis."""
    edges = (low, op.Add(low, side))
    begin, end = (op.Cast(op.Div(edge, length), to=TensorProto.FLOAT) for edge in edges)
    last = op.Cast(op.Sub(length, 1.0), to=TensorProto.FLOAT)
    span = op.Mul(op.Sub(end, begin), last)
    steps = op.Mul(np.arange(size, dtype=np.float32), op.Div(span, np.float32(size - 1)))
    at = op.Add(op.Mul(begin, last), steps)
    inside = op.And(op.GreaterOrEqual(at, np.float32(0)), op.LessOrEqual(at, last))
    at = op.Where(inside, at, np.float32(0))
    floor = op.Floor(at)
    second = op.Min(op.Add(floor, np.float32(1)), last)
    first, second = (op.Cast(value, to=TensorProto.INT64) for value in (floor, second))
    return first, second, op.Sub(at, floor), inside


def _blend(op: _Builder, one: str, other: str, weight: str) -> str:
    return op.Add(one, op.Mul(op.Sub(other, one), weight))


def _in_frame(op: _Builder, places_yx: str, side: str, low: str, size_wh: tuple[int, int]) -> str:
    """f32 [1,K,2], x and y in px of the frame, from y and x in shares of the window."""
    in_input = op.Mul(places_yx, np.array(size_wh[::-1], np.float32))
    scale = op.Div(side, np.array(size_wh[::-1], np.float64))
    moved = op.Add(op.Mul(op.Cast(in_input, to=TensorProto.DOUBLE), scale), low)
    return op.Gather(op.Cast(moved, to=TensorProto.FLOAT), [1, 0], axis=2)
