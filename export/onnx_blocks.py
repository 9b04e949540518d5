"""Channels in whole blocks: what is joined along the channels becomes wide enough for ONNX Runtime's blocked kernels.

Owns which tensors are widened, with zeros, and the weights that go with it. Knows onnx, not where a graph came from.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.export.onnx_file import replace_nodes
from posert.export.onnx_links import Links, attributes

BLOCK = 16
"""Channels that ONNX Runtime's convolutions take at a time with AVX-512; 8 with AVX2. Others go a slower way."""
_ANY_WIDTH = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Identity")  # of finite numbers they make such


@dataclass(frozen=True, slots=True)
class _Edit:
    """New constants of a node, input number -> value, and its new number of groups, 0 = as it was."""

    node: Any
    constants: dict[int, NDArray[Any]] = field(default_factory=dict)
    groups: int = 0


@dataclass(frozen=True, slots=True)
class _Places:
    """Where each channel goes, i64 [C], and how many there are then."""

    each: NDArray[np.int64]
    width: int

    def spread(self, value: NDArray[Any], axis: int, fill: float = 0) -> NDArray[Any]:
        """`value` with its channels, the given axis, in their places and `fill` in the others."""
        shape = list(value.shape)
        shape[axis] = self.width
        wide = np.full(shape, fill, value.dtype)
        wide[(slice(None),) * axis + (self.each,)] = value
        return wide


def whole_blocks(model: Any) -> None:
    """Widens what each Concat joins along the channels to whole blocks, where convolutions alone make and read it.

    What comes in is multiplied by 0 in the end, so the result stays the same.
    """
    links = Links(model)
    for node in links.nodes:
        if node.op_type == "Concat" and attributes(node).get("axis") == 1:
            for edit in _widening(links, node):
                _apply(links, edit)
            links = Links(model)
    replace_nodes(model, links.nodes)


def _apply(links: Links, edit: _Edit) -> None:
    for number, value in edit.constants.items():
        edit.node.input[number] = links.add(f"{edit.node.output[0]}_wide_{number}", value)
    for one in edit.node.attribute:
        if one.name == "group" and edit.groups:
            one.i = edit.groups


def _widening(links: Links, join: Any) -> list[_Edit]:
    """What changes if every input of a Concat gets whole blocks; nothing where that cannot be, or is so already."""
    edits, places, width = list[_Edit](), list[NDArray[np.int64]](), 0
    for tensor, count in zip(join.input, _counts(links, join), strict=False):
        wide = -(-count // BLOCK) * BLOCK
        if wide > count and not (made := _made_wide(links, tensor, count, wide)):
            return []
        edits += made if wide > count else []
        places.append(width + np.arange(count))
        width += wide
    if not edits:
        return []
    taken = _taken(links, join.output[0], _Places(np.concatenate(places), width))
    return [] if taken is None else edits + taken


def _counts(links: Links, join: Any) -> list[int]:
    """How many channels each input of a Concat has; nothing if nobody can tell."""
    counts = [_channels(links, tensor) for tensor in join.input]
    convolutions = [node for node in links.readers.get(join.output[0], []) if node.op_type == "Conv"]
    known = [links.fixed.get(node.input[1]) for node in convolutions]
    if 0 in counts and known and known[0] is not None:  # one that is not known is the rest
        whole = known[0].shape[1] * attributes(convolutions[0]).get("group", 1)
        counts[counts.index(0)] = max(0, whole - sum(counts))
    return [] if 0 in counts else counts


def _channels(links: Links, tensor: str) -> int:
    """How many channels a tensor has, 0 = not known."""
    node = links.maker.get(tensor)
    if node is None:
        return 0
    if node.op_type == "Conv":
        weights = links.fixed.get(node.input[1])
        return 0 if weights is None else len(weights)
    if node.op_type == "Concat" and attributes(node).get("axis") == 1:
        counts = [_channels(links, name) for name in node.input]
        return sum(counts) if all(counts) else 0
    kept = (*_ANY_WIDTH, "BatchNormalization", "InstanceNormalization", "MaxPool", "AveragePool")
    return _channels(links, node.input[0]) if node.op_type in kept else 0


def _made_wide(links: Links, tensor: str, count: int, wide: int) -> list[_Edit]:
    """What changes if a tensor of `count` channels has `wide` ones; nothing where no convolution makes it alone."""
    places, edits = _Places(np.arange(count), wide), list[_Edit]()
    while links.only_reader(tensor) is not None and (node := links.maker.get(tensor)) is not None:
        if node.op_type == "Conv" and attributes(node).get("group", 1) == 1:
            numbers = range(1, len(node.input))
            if not all(node.input[number] in links.fixed for number in numbers):
                return []
            constants = {number: places.spread(links.fixed[node.input[number]], 0) for number in numbers}
            return [*edits, _Edit(node, constants)]
        own = _each_wide(links, node, places)
        if own is None:
            return []
        edits.append(own)
        tensor = node.input[0]
    return []


def _taken(links: Links, tensor: str, places: _Places) -> list[_Edit] | None:
    """What changes in the nodes that read a tensor, and behind them, if it is wider; None where one cannot."""
    if tensor in links.ends:
        return None
    edits = list[_Edit]()
    for node in links.readers.get(tensor, []):
        weights = links.fixed.get(node.input[1]) if node.op_type == "Conv" else None
        if weights is not None and attributes(node).get("group", 1) == 1:
            edits.append(_Edit(node, {1: places.spread(weights, 1)}))
            continue
        own = _each_wide(links, node, places)
        behind = None if own is None else _taken(links, node.output[0], places)
        if own is None or behind is None:
            return None
        edits += [own, *behind]
    return edits


def _each_wide(links: Links, node: Any, places: _Places) -> _Edit | None:
    """What changes in a node that makes each channel of the same one, if its input is wider; None if it is none."""
    values = [links.fixed.get(name) for name in node.input[1:]]
    if node.op_type in _ANY_WIDTH:
        return _Edit(node)
    if any(value is None for value in values):
        return None
    if node.op_type == "BatchNormalization":
        fills = (0, 0, 0, 1)  # scale, offset, mean and variance
        wide = {i: places.spread(links.fixed[node.input[i]], 0, fill) for i, fill in enumerate(fills, 1)}
        return _Edit(node, wide)
    count, groups = len(places.each), attributes(node).get("group", 1)
    if node.op_type == "Conv" and groups == count and all(len(links.fixed[name]) == count for name in node.input[1:]):
        wide = {i: places.spread(links.fixed[name], 0) for i, name in enumerate(node.input[1:], 1)}
        return _Edit(node, wide, places.width)
    return None
