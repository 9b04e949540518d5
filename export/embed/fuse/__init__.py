"""A network whose outputs are people: `posert fuse`. Keypoints out, in any language's ONNX Runtime.

Owns which way a network is fused: with standard operators around it (`picture.py` before it, `people.py` behind it), or
with the operator of the C library (`c/ops.c`).
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, compose, helper

from posert import open_model
from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.embed.fuse import people
from posert.export.embed.fuse.graph import LEAST_OPSET, Graph
from posert.export.embed.fuse.people import Said, View
from posert.export.embed.fuse.picture import Axis, can_be_fused, frame_tensor
from posert.export.embed.table import wanted_outputs
from posert.postprocess import decoder
from posert.runtime.constants import Constant
from posert.runtime.session import Model, find_model
from posert.runtime.spec import Stage
from posert.runtime.windows import place

_PREFIX = "network/"  # of the names inside


def fuse(model: str | Path, out: Path, params: Mapping[str, Any] | None = None) -> Path:
    """The file with the fused network, whose outputs are people: `keypoints` f32 [N,K,3] and `scores` f32 [N].

    A network whose decoder is `direct` or `rows` needs standard operators alone. It takes the input `frame` u8 [H,W,3],
    RGB, any size, and its keypoints are in px of the frame, those that `posert infer` finds in a picture, unless its
    frames are prepared by another rule than linear interpolation. Any other network keeps its input, one picture of it,
    and its keypoints are in px of that; where the decoder is another, the session that runs it must register the
    library that `posert bundle` makes of the same model.

    Args:
        model: an exported network that works in one stage.
        out: file to write.
        params: as of `ModelOptions`; the network has them for good.

    Raises:
        PosertError: not such a network, its parameters are those of the library, or the file cannot be written.
    """
    path = find_model(model)
    graph, op = compose.add_prefix(onnx_file.load(path), _PREFIX), Graph()
    with open_model(path, device="cpu", params=params or {}) as opened:
        spec = opened.spec
        if len(spec.stages) > 1 or len(spec.stages[0].scales) > 1 or spec.stages[0].region == "boxes":
            raise PosertError(f"{path} ({spec.model}) works in several steps and cannot be fused", "run it with posert")
        image = _built(op, graph, opened)
    if params and any(node.domain == "posert" for node in op.nodes):
        raise PosertError(
            f"the parameters of {spec.model} are not in the network, but in the library that runs with it",
            "give `params` to posert bundle, and leave them away here",
        )
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


def _built(op: Graph, graph: Any, model: Model) -> Any:
    """Fills `op` with the network and what comes around it; returns the graph's input."""
    (stage,), skeleton, params = model.spec.stages, model.spec.skeleton, model.params(model.spec.stages[0].name)
    said = _said(model, stage)
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < LEAST_OPSET or not people.can_be_fused(said, stage, params, skeleton):
        return _with_our_operator(op, graph, model)
    if can_be_fused(stage.input):
        view = _view_of_frame(op, *frame_tensor(op, stage.input, _PREFIX + stage.input.name))
        image = helper.make_tensor_value_info("frame", TensorProto.UINT8, ["height", "width", 3])
    else:
        image = _own_input(graph, stage)
        image.type.tensor_type.shape.dim[0].dim_value = 1
        sides = [3, 2] if stage.input.layout == "NCHW" else [2, 1]
        view = View(op.floats(op.Gather(op.Shape(stage.input.name), np.array(sides), axis=0)))
    own = _PREFIX + stage.input.name if view.scale else stage.input.name
    _give_constants(op, model.constants(stage.name), own, stage)
    op.nodes += graph.graph.node
    names = {role: op.floats(_PREFIX + name) for role, name in wanted_outputs(stage).items()}
    find = people.direct if stage.decoder == "direct" else people.rows
    find(op, replace(said, outputs=names), params, skeleton, view)
    return image


def _view_of_frame(op: Graph, across: Axis, down: Axis) -> View:
    scales = [op.Div(op.Sub(axis.high, axis.low), axis.size) for axis in (across, down)]
    low, scale = op.Concat(across.low, down.low, axis=0), op.Concat(*scales, axis=0)
    return View(op.floats(op.Concat(across.size, down.size, axis=0)), low, scale)


def _said(model: Model, stage: Stage) -> Said:
    """What the network says of a black picture, and the decoder takes; its outputs have no names yet."""
    _, (width, height) = place((64, 48), stage.input)
    shape = (1, height, width, 3) if stage.input.layout == "NHWC" else (1, 3, height, width)
    outputs = model.run(stage.name, np.zeros(shape, stage.input.dtype))
    decoder(stage.decoder).decode(outputs, model.spec.skeleton, model.params(stage.name), (width, height))
    return Said({}, {role: array.shape for role, array in outputs.items()}, (width, height))


def _own_input(graph: Any, stage: Stage) -> Any:
    """The network's input under its own name."""
    onnx_file.rename_tensor(graph, _PREFIX + stage.input.name, stage.input.name)
    return deepcopy(next(value for value in graph.graph.input if value.name == stage.input.name))


def _give_constants(op: Graph, constants: list[Constant], image: str, stage: Stage) -> None:
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


def _with_our_operator(op: Graph, graph: Any, model: Model) -> Any:
    """The decoder as `posert::People`; returns the graph's input, the network's own."""
    (stage,) = model.spec.stages
    image = _own_input(graph, stage)
    _give_constants(op, model.constants(stage.name), stage.input.name, stage)
    op.nodes += graph.graph.node
    maps = [op.floats(_PREFIX + name) for name in wanted_outputs(stage).values()]
    op.nodes.append(
        helper.make_node("People", [op.Shape(stage.input.name), *maps], ["keypoints", "scores"], domain="posert")
    )
    graph.opset_import.append(helper.make_opsetid("posert", 1))
    return image
