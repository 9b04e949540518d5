"""Every second row and column: what takes a grid apart, or makes one of twice the size, as plain convolutions.

Owns the weights of these. Knows onnx, not where a graph came from.
"""

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from onnx import helper

from posert.export.onnx_file import replace_nodes
from posert.export.onnx_links import Links, attributes, pointwise

_WHOLE = 2**31 - 1  # an end of a slice from which on it is none


def slices_folded(model: Any) -> None:
    """Takes four slices of every second row and column, joined, into the weights of the convolution behind them.

    YOLOX begins so, and calls it Focus.
    """
    links = Links(model)
    for node in list(links.nodes):
        join = links.maker.get(node.input[0]) if node.op_type == "Conv" else None
        if join is None or join.op_type != "Concat" or links.only_reader(join.output[0]) is not node:
            continue
        source, firsts = _quarters(links, join)
        weights, own = links.fixed.get(node.input[1]), attributes(node)
        plain = own.get("group", 1) == 1 and {*own.get("strides", ()), *own.get("dilations", ())} <= {1}
        if weights is None or not firsts or not plain or own.get("auto_pad", b"NOTSET") != b"NOTSET":
            continue
        channels, high, wide = weights.shape[1] // 4, 2 * weights.shape[2], 2 * weights.shape[3]
        whole = np.empty((len(weights), channels, high, wide), weights.dtype)
        for number, (row, column) in enumerate(firsts):
            whole[:, :, row::2, column::2] = weights[:, channels * number : channels * (number + 1)]
        node.input[:] = [source, links.add(f"{node.output[0]}_whole", whole), *node.input[2:]]
        pads = [2 * pad for pad in own.get("pads", (0, 0, 0, 0))]
        _set(node, kernel_shape=[high, wide], strides=[2, 2], pads=pads)
    replace_nodes(model, links.nodes)


def _quarters(links: Links, join: Any) -> tuple[str, list[tuple[int, ...]]]:
    """What a Concat joins all four quarters of, and the first row and column of each; nothing if it does not."""
    found = [_quarter(links, tensor) for tensor in join.input]
    sources, firsts = {source for source, _ in found}, [first for _, first in found]
    if attributes(join).get("axis") != 1 or len(sources) != 1 or sorted(firsts) != [*product((0, 1), repeat=2)]:
        return "", []
    return sources.pop(), firsts


def _quarter(links: Links, tensor: str) -> tuple[str, tuple[int, ...]]:
    """The tensor that slices take `tensor` from, and its first row and column; no numbers if they do another thing."""
    first = dict[int, int]()
    while (node := links.maker.get(tensor)) is not None and node.op_type == "Slice" and len(node.input) == 5:
        values = [links.fixed.get(name) for name in node.input[1:]]
        if any(value is None for value in values):
            return tensor, ()
        for start, end, axis, step in zip(*(value.tolist() for value in values if value is not None), strict=True):
            if step != 2 or end < _WHOLE or axis in first:
                return tensor, ()
            first[axis] = start
        tensor = node.input[0]
    return tensor, (first[2], first[3]) if first.keys() == {2, 3} else ()


def _set(node: Any, **values: Any) -> None:
    """Gives a node these attributes, and keeps its others."""
    kept = [one for one in node.attribute if one.name not in values]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())


def transposed_apart(model: Any) -> None:
    """Writes each transposed convolution as one convolution for each place in a block, and joins what they make.

    For blocks of 2 x 2 four of them, with a quarter of the weights each: ONNX Runtime has integer kernels for those.
    """
    links = Links(model)
    for node in list(links.nodes):
        made = _convolutions(links, node)
        if made:
            at = links.nodes.index(node)
            links.nodes[at : at + 1] = [*made, *_joined(made, node.output[0])]
    replace_nodes(model, links.nodes)


def ends_apart(model: Any) -> None:
    """Computes what follows the last transposed convolution for each place in its blocks, and joins that.

    Where all of it is about single points and ends in fewer channels, as heatmaps do: those alone are joined, and what
    lies between stays in ONNX Runtime's blocked layout.
    """
    links = Links(model)
    for node in list(links.nodes):
        tail = _tail(links, node)
        made = _convolutions(links, node) if any(one.op_type == "Conv" for one in tail) else []
        if made:
            chains = [[first, *(_copy(one, first.output[0]) for one in tail)] for first in made]
            for chain in chains:
                for one, before in zip(chain[1:], chain, strict=False):
                    one.input[0] = before.output[0]
            joined = _joined([chain[-1] for chain in chains], tail[-1].output[0])
            at = links.nodes.index(tail[-1])
            links.nodes[at : at + 1] = [*(one for chain in chains for one in chain), *joined]
    replace_nodes(model, links.nodes)


def _tail(links: Links, node: Any) -> list[Any]:
    """What follows a node up to an output, if each is about single points and nobody else sees them; else nothing."""
    tail = list[Any]()
    while node.output[0] not in links.ends:
        node = links.only_reader(node.output[0])
        if node is None or not pointwise(links, node):
            return []
        tail.append(node)
    return tail


def _copy(node: Any, word: str) -> Any:
    made = type(node)()
    made.CopyFrom(node)
    made.name = made.output[0] = f"{node.output[0]}_{word}"
    return made


def _convolutions(links: Links, node: Any) -> list[Any]:
    """A convolution for each place in the blocks that a ConvTranspose makes of points; nothing if it is no such."""
    weights, own = links.fixed.get(node.input[1]) if node.op_type == "ConvTranspose" else None, attributes(node)
    if weights is None or weights.ndim != 4 or not _makes_blocks(weights.shape[2:], own):
        return []
    groups, stride, pads = own.get("group", 1), own["strides"][0], own.get("pads", (0, 0, 0, 0))
    each = weights.reshape(groups, -1, *weights.shape[1:]).swapaxes(1, 2)  # group, outputs, inputs, rows, columns
    turned = each.reshape(-1, *each.shape[2:])
    made = list[Any]()
    for place in product(range(stride), repeat=2):
        (rows, top, bottom), (columns, left, right) = (
            _taps(weights.shape[2 + axis], stride, place[axis] + pads[axis]) for axis in (0, 1)
        )
        if not rows or not columns or min(top, bottom, left, right) < 0:
            return []
        name = f"{node.output[0]}_{place[0]}{place[1]}"
        part = links.add(f"{name}_weights", np.ascontiguousarray(turned[:, :, rows][..., columns]))
        given, size, around = (
            [node.input[0], part, *node.input[2:]],
            [len(rows), len(columns)],
            [top, left, bottom, right],
        )
        made.append(helper.make_node("Conv", given, [name], name=name, group=groups, kernel_shape=size, pads=around))
    return made


def _makes_blocks(size: tuple[int, ...], own: Mapping[str, Any]) -> bool:
    """Whether a transposed convolution of that size makes a square block of each point, and nothing beside."""
    strides, pads = own.get("strides", (1, 1)), own.get("pads", (0, 0, 0, 0))
    more = own.get("output_padding", (0, 0))
    beside = [size[axis] - strides[axis] - pads[axis] - pads[2 + axis] + more[axis] for axis in (0, 1)]
    plain = own.get("auto_pad", b"NOTSET") == b"NOTSET" and "output_shape" not in own
    return plain and strides[0] == strides[1] > 1 and not any(beside) and {*own.get("dilations", ())} <= {1}


def _taps(size: int, stride: int, start: int) -> tuple[list[int], int, int]:
    """The weights of one axis that reach a place, in the order of the points they meet, and the padding at both ends.

    start: the place and what is cut off ahead of it.
    """
    taps = [tap for tap in reversed(range(size)) if (start - tap) % stride == 0]
    return (taps, (taps[0] - start) // stride, (start - taps[-1]) // stride) if taps else ([], 0, 0)


def _joined(parts: list[Any], output: str) -> list[Any]:
    """What makes the blocks of what `parts` made for each place in them."""
    stride = math.isqrt(len(parts))
    return [
        helper.make_node(
            "Concat", [one.output[0] for one in parts], [f"{output}_parts"], name=f"{output}_parts", axis=1
        ),
        helper.make_node("DepthToSpace", [f"{output}_parts"], [output], name=f"{output}_blocks", blocksize=stride),
    ]
