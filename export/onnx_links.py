"""Who makes and who reads the tensors of an ONNX graph, and what its constants are worth. Knows onnx, no rewrite."""

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from posert.export.onnx_file import constants, reads


class Links:
    """Who makes and who reads each tensor of a graph."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.fixed = constants(model)
        self.maker = {output: node for node in self.nodes for output in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in reads(node):
                self.readers.setdefault(name, []).append(node)
        self.ends = {value.name for value in model.graph.output}

    def only_reader(self, tensor: str) -> Any:
        """The node that reads a tensor, if it is the only one."""
        found = self.readers.get(tensor, [])
        return found[0] if len(found) == 1 and tensor not in self.ends else None

    def value(self, tensor: str) -> NDArray[Any] | None:
        """Of a constant, one that is stored quantised too."""
        maker = self.maker.get(tensor)
        if maker is None or maker.op_type != "DequantizeLinear" or not {*maker.input} <= self.fixed.keys():
            return self.fixed.get(tensor)
        values = [self.fixed[name] for name in maker.input]
        return dequantised(maker, values) if values[1].size == 1 else None

    def add(self, name: str, value: NDArray[Any]) -> str:
        """A new constant; its name."""
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def attributes(node: Any) -> Mapping[str, Any]:
    """Name -> value of a node's attributes."""
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def dequantised(node: Any, values: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """What a DequantizeLinear makes of constants: the stored numbers, the scale and, if there is one, the zero."""
    stored, scale = values[0].astype(np.float32), values[1]
    shape = [1] * stored.ndim
    if scale.size > 1:
        shape[attributes(node).get("axis", 1)] = -1
    zero = values[2].astype(np.float32).reshape(shape if values[2].size > 1 else ()) if len(values) > 2 else 0
    return (stored - zero) * scale.astype(np.float32).reshape(shape if scale.size > 1 else ())


def pointwise(links: Links, node: Any) -> bool:
    """Whether each point of a node's result depends on the same point of its first input alone."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        value = links.value(node.input[1])
        return value is not None and value.size == 1
    if node.op_type == "BatchNormalization":
        return len(node.output) == 1 and all(name in links.fixed for name in node.input[1:])
    if node.op_type != "Conv":
        return node.op_type in ("Relu", "Sigmoid", "Clip")
    own, weights = attributes(node), links.fixed.get(node.input[1])
    if weights is None and (maker := links.maker.get(node.input[1])) is not None:
        weights = links.fixed.get(maker.input[0])  # stored quantised
    return weights is not None and {*weights.shape[2:], *own.get("strides", ())} == {1} and not any(own.get("pads", ()))


def put_in_order(model: Any, added: Sequence[Any] = ()) -> None:
    """Sorts the nodes, those `added` to them too, in place, so that each follows those that it reads.

    Raises graphlib.CycleError where some of them wait for each other.
    """
    nodes, own = [*model.graph.node, *added], len(model.graph.node)
    makers = {output: number for number, node in enumerate(nodes) for output in node.output if output}
    arrows = {number: {makers[name] for name in reads(node) if name in makers} for number, node in enumerate(nodes)}
    arrows |= {number: arrows[number] - {number} for number in range(own)}  # names inside a Loop may be its own
    order = list(TopologicalSorter(arrows).static_order())
    del model.graph.node[:]
    model.graph.node.extend(nodes[number] for number in order)
