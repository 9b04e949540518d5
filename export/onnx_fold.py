"""Numbers that can be worked out beforehand: scales ahead of convolutions, and constants that repeat themselves.

Knows onnx, not where a graph came from.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from posert.export.onnx_file import replace_nodes
from posert.export.onnx_links import Links, attributes

_BROADCAST = (
    "Sub", "Add", "Mul", "Div", "Sqrt", "Abs", "Exp", "Neg", "QuantizeLinear", "DequantizeLinear", "Cast", "Relu",
)  # fmt: skip


def scales_folded(model: Any) -> None:
    """Takes depthwise 1 x 1 convolutions, a factor for each channel, into the weights of the convolution behind."""
    links = Links(model)
    for node in list(links.nodes):
        behind = links.only_reader(node.output[0]) if node.op_type == "Conv" and len(node.input) == 2 else None
        if behind is None or behind.op_type != "Conv" or attributes(behind).get("group", 1) != 1:
            continue
        factors, weights = links.fixed.get(node.input[1]), links.fixed.get(behind.input[1])
        own = attributes(node)
        plain = not any(own.get("pads", ())) and set(own.get("strides", ())) <= {1}
        if factors is None or weights is None or factors.shape[1:] != (1, 1, 1) or not plain:
            continue
        if own.get("group", 1) == len(factors) == weights.shape[1]:
            scaled = (weights * factors.reshape(1, -1, 1, 1)).astype(weights.dtype)
            behind.input[1] = links.add(f"{behind.output[0]}_scaled", scaled)
            behind.input[0] = node.input[0]
            links.nodes.remove(node)
    replace_nodes(model, links.nodes)


def narrow_constants(model: Any) -> None:
    """Keeps one row or column of constants whose rows or columns are the same, where broadcasting repeats them.

    What is computed of them then is as small, up to where it meets something of the full size.
    """
    del model.graph.value_info[:]  # it has the shapes of today
    for number, tensor in enumerate(model.graph.initializer):
        value = numpy_helper.to_array(tensor)
        readers = [node for node in model.graph.node if tensor.name in node.input]
        if value.ndim < 2 or value.size < 64 or not readers or any(node.op_type not in _BROADCAST for node in readers):
            continue
        narrow = _narrow(value)
        if narrow.size < value.size:
            before = _shapes(model)
            model.graph.initializer[number].CopyFrom(numpy_helper.from_array(narrow, tensor.name))
            if not _only_broadcast(model, before, tensor.name):
                model.graph.initializer[number].CopyFrom(numpy_helper.from_array(value, tensor.name))


def _narrow(value: NDArray[Any]) -> NDArray[Any]:
    """One of each row, column and so on that are all the same."""
    for axis in range(value.ndim):
        first = value.take([0], axis)
        if np.array_equal(np.broadcast_to(first, value.shape), value):
            value = first
    return np.ascontiguousarray(value)


def _shapes(model: Any) -> dict[str, list[int | str]]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }


def _only_broadcast(model: Any, before: dict[str, list[int | str]], narrowed: str) -> bool:
    """Whether all tensors whose shape is another one now are read by nodes alone that broadcast."""
    after = _shapes(model)
    others = {name for name, shape in before.items() if after.get(name) != shape} | {narrowed}
    ends = {value.name for value in model.graph.output}
    read = [node.op_type in _BROADCAST for node in model.graph.node if others & {*node.input}]
    return all(read) and not others & ends
