"""Networks written so that ONNX Runtime's CPU kernels have less to do; what they compute stays the same.

Owns what is done ahead of the first convolution and behind the last ones; `onnx_fold` has numbers, `onnx_blocks` the
channels, `onnx_phases` every second row. Knows onnx, not where a graph came from. docs/optimize.md says what each step
is worth.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from posert.export.onnx_blocks import whole_blocks
from posert.export.onnx_file import replace_nodes
from posert.export.onnx_fold import narrow_constants, scales_folded
from posert.export.onnx_links import Links, attributes, pointwise
from posert.export.onnx_phases import ends_apart, slices_folded

_ALONE = ("Cast", "Clip", "Relu", "Sub", "Add", "Mul", "Div", "Split", "Identity")
_TO_NCHW, _TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def faster(model: Any) -> None:
    """All the rewrites, in place: of an onnx.ModelProto whose batch, rows and columns may be free."""
    transposed_first(model)
    read_where_asked(model)
    scales_folded(model)
    narrow_constants(model)
    whole_blocks(model)
    slices_folded(model)
    ends_apart(model)


def transposed_first(model: Any) -> None:
    """Turns pictures channels first before they are normalised, not after, and leaves out steps that change nothing.

    A number for each channel costs ONNX Runtime 4 ns a value where the channels come last, and nearly nothing where
    they come first.
    """
    links = Links(model)
    for value in model.graph.input:
        steps = _steps_to_transpose(links, value.name)
        if steps and len(steps) > 1:
            *steps, turn = steps
            first = f"{value.name}_channels_first"
            links.nodes.insert(0, helper.make_node("Transpose", [value.name], [first], perm=_TO_NCHW))
            last = first
            for step in steps:
                links.nodes.remove(step)
                if not _changes_nothing(links, step):
                    step = _channels_first(links, step, last)
                    links.nodes.insert(links.nodes.index(turn), step)
                    last = step.output[0]
            links.nodes.remove(turn)
            for node in links.readers[turn.output[0]]:
                node.input[:] = [last if name == turn.output[0] else name for name in node.input]
    replace_nodes(model, links.nodes)


def _steps_to_transpose(links: Links, tensor: str) -> list[Any]:
    """The nodes from an input [N,H,W,C] up to where it is turned, if each is about single values; else none."""
    steps: list[Any] = []
    while (node := links.only_reader(tensor)) is not None:
        steps.append(node)
        if node.op_type == "Transpose":
            return steps if attributes(node).get("perm") == _TO_NCHW and node.output[0] not in links.ends else []
        pair = node.op_type == "Squeeze" and links.only_reader(node.output[0])
        if pair and pair.op_type == "Unsqueeze" and _same(links, node.input[1:], pair.input[1:]):
            steps.append(pair)
        elif not (_each_alone(links, node) and node.input[0] == tensor):
            return []
        tensor = steps[-1].output[0]
    return []


def _same(links: Links, one: Any, other: Any) -> bool:
    """Whether two lists of one tensor each name the same constant."""
    values = [[links.value(name) for name in names] for names in (one, other)]
    return len(one) == len(other) == 1 and all(
        a is not None and b is not None and np.array_equal(a, b) for a, b in zip(*values, strict=True)
    )


def _each_alone(links: Links, node: Any) -> bool:
    """Whether a node makes each value of the one in the same place and of the same channel."""
    values = [links.value(name) for name in node.input[1:]]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return all(value is not None and value.size == 1 for value in values)
    return node.op_type in _ALONE and len(node.output) == 1 and all(map(_for_channels, values))


def _for_channels(value: NDArray[Any] | None) -> bool:
    """Whether a constant is one number, or one for each channel of [N,H,W,C]."""
    return value is not None and value.ndim <= 4 and value.size == (value.shape[-1] if value.ndim else 1)


def _changes_nothing(links: Links, step: Any) -> bool:
    if step.op_type in ("Squeeze", "Unsqueeze", "Split", "Identity"):
        return True
    other = links.value(step.input[1]) if step.op_type in ("Sub", "Add") else None
    return other is not None and not np.any(other)


def _channels_first(links: Links, step: Any, tensor: str) -> Any:
    """The step on `tensor` [N,C,H,W]."""
    node = type(step)()
    node.CopyFrom(step)
    node.input[0] = tensor
    for i, name in enumerate(step.input[1:], 1):
        value = links.value(name)
        if value is not None and value.size > 1:
            kept = value.reshape(-1)[:1].reshape(()) if np.all(value == value.flat[0]) else value.reshape(-1, 1, 1)
            node.input[i] = links.add(f"{name}_{step.output[0]}_first", np.ascontiguousarray(kept))
    return node


def read_where_asked(model: Any) -> None:
    """Computes the last 1 x 1 convolutions only at the points that are read of them, where a GatherND reads some.

    The points are gathered from what the convolutions see and stand in a column, [N * points,C,1,1] as [1,C,points,1].
    """
    links = Links(model)
    for node in list(links.nodes):
        if node.op_type == "GatherND" and not attributes(node).get("batch_dims"):
            chain = _pointwise_to(links, node)
            if chain:
                _gather_first(links, node, chain)
    replace_nodes(model, links.nodes)


def _pointwise_to(links: Links, gather: Any) -> list[Any]:
    """The nodes from the first of the 1 x 1 convolutions up to the transposition that the GatherND reads; or none."""
    turn = links.maker.get(gather.input[0])
    if turn is None or turn.op_type != "Transpose" or links.only_reader(gather.input[0]) is not gather:
        return []
    if attributes(turn).get("perm") != _TO_NHWC:
        return []
    chain, node = [turn], links.maker.get(turn.input[0])
    while node is not None and links.only_reader(node.output[0]) is chain[0] and pointwise(links, node):
        chain.insert(0, node)
        node = links.maker.get(node.input[0])
    while chain and chain[0].op_type not in ("Conv", "DequantizeLinear"):
        chain.pop(0)
    return chain if any(node.op_type == "Conv" for node in chain) else []


def _gather_first(links: Links, gather: Any, chain: list[Any]) -> None:
    """Puts the GatherND ahead of the chain, whose last node is the transposition."""
    source, name = chain[0].input[0], gather.output[0]
    at = links.nodes.index(gather)
    for node in (*chain, gather):
        links.nodes.remove(node)
    tensors = [f"{name}_{word}" for word in ("rows_last", "points", "turned", "column")]
    axes = links.add(f"{name}_axes", np.array([0, 3], np.int64))
    made = [
        helper.make_node("Transpose", [source], [tensors[0]], perm=_TO_NHWC),
        helper.make_node("GatherND", [tensors[0], gather.input[1]], [tensors[1]]),
        helper.make_node("Transpose", [tensors[1]], [tensors[2]], perm=[1, 0]),
        helper.make_node("Unsqueeze", [tensors[2], axes], [tensors[3]]),
    ]
    last = tensors[3]
    for node in chain[:-1]:
        node.input[0] = last
        made.append(node)
        last = node.output[0]
    made += [
        helper.make_node("Squeeze", [last, axes], [f"{name}_row"]),
        helper.make_node("Transpose", [f"{name}_row"], [name], perm=[1, 0]),
    ]
    at -= len(chain)
    links.nodes[at:at] = made
