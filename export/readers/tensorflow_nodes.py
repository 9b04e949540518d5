"""TensorFlow's operations as ONNX nodes, without TensorFlow. Knows operations, no files."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, helper, shape_inference

from posert.errors import PosertError
from posert.export.readers.tensorflow_tensors import (
    Written,
    add,
    channels_first,
    channels_last,
    fixed,
    number,
    numbers,
    outputs_of,
    refused,
)  # fmt: skip
from posert.export.readers.tfjs import Node, TfGraph

_OPSET, _IR = 13, 7  # ONNX Runtime 1.7 reads them
_END = 2**31 - 1  # behind every axis
_KINDS = {"DT_FLOAT": TensorProto.FLOAT, "DT_INT32": TensorProto.INT64, "DT_INT64": TensorProto.INT64,
          "DT_BOOL": TensorProto.BOOL}  # fmt: skip
_INPUT_KINDS = {"DT_FLOAT": TensorProto.FLOAT, "DT_INT32": TensorProto.INT32, "DT_UINT8": TensorProto.UINT8}


def to_onnx(graph: TfGraph) -> Any:
    """The onnx.ModelProto of the graph, its inputs named as in TensorFlow, its outputs `name@output` in its order.

    TensorFlow's names have no @, so that it keeps ours apart from them.

    Raises:
        PosertError: operations that are not known, all of them listed, or one that is used in an unknown way.
    """
    if unknown := sorted({node.op for node in graph.nodes} - _WRITERS.keys() - {"Const", "Placeholder"}):
        raise PosertError(
            f"the network has operations that are not known: {', '.join(unknown)}", "convert it with its own tools"
        )
    written, inputs = Written(graph.constants), []
    for node in graph.nodes:
        if node.op == "Placeholder":
            inputs.append(_guarded(_input, written, node))
        elif node.op != "Const":
            _guarded(_WRITERS[node.op], written, node)
    outputs = []
    for name in graph.outputs:
        add(written, "Identity", [channels_last(written, name)], f"{name}@output")
        outputs.append(helper.make_empty_tensor_value_info(f"{name}@output"))
    made = helper.make_graph(written.nodes, "network", inputs, outputs, list(written.numbers.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    try:
        model = shape_inference.infer_shapes(model)  # the outputs' types
    except shape_inference.InferenceError as error:
        raise PosertError(f"the network's operations do not fit together: {str(error)[:200]}") from None
    del model.graph.value_info[:]
    return model


def _guarded(writer: Callable[[Written, Node], Any], written: Written, node: Node) -> Any:
    """What the writer gives; whatever a wrong attribute or a missing input raises is refused."""
    try:
        return writer(written, node)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise refused(node, f"{type(error).__name__}: {error}"[:100]) from None


def _input(written: Written, node: Node) -> Any:
    sides = [int(side["size"]) for side in node.attributes["shape"].get("dim", ())]
    named = [side if side > 0 else f"axis_{axis}" for axis, side in enumerate(sides)]
    written.last[node.name] = node.name
    return helper.make_tensor_value_info(node.name, _INPUT_KINDS[node.attributes["dtype"]], named)


# Element by element


def _elementwise(kind: str, written: Written, node: Node) -> None:
    _apply(written, node.name, kind, node.inputs)


def _apply(written: Written, result: str, kind: str, tensors: Iterable[str], *more: str, **attributes: Any) -> None:
    """An operation on elements, of pictures with channels first wherever one of the tensors is there as one alone.

    more: further ONNX inputs, scalars.
    """
    tensors = list(tensors)
    pictures = [tensor in written.first for tensor in tensors]
    others = [tensor for tensor, picture in zip(tensors, pictures, strict=True) if not picture]
    fit = all(tensor in written.constants and written.constants[tensor].ndim <= 4 for tensor in others)
    known, place = (written.first, channels_first) if any(pictures) and fit else (written.last, channels_last)
    known[result] = add(written, kind, [*(place(written, tensor) for tensor in tensors), *more], result, **attributes)


def _relu6(written: Written, node: Node) -> None:
    _activate(written, node.name, "Relu6", node.inputs[0])


def _activate(written: Written, result: str, function: str, tensor: str) -> None:
    if function == "Relu6":
        limits = number(written, "@zero", np.float32(0)), number(written, "@six", np.float32(6))
        _apply(written, result, "Clip", [tensor], *limits)
    else:
        _apply(written, result, function, [tensor])


def _squared_difference(written: Written, node: Node) -> None:
    _apply(written, f"{node.name}@difference", "Sub", node.inputs)
    _apply(written, node.name, "Mul", [f"{node.name}@difference"] * 2)


def _floor_div(written: Written, node: Node) -> None:
    """Of whole numbers: what is left of a division has the divisor's sign, so that the rest divides evenly."""
    if node.attributes.get("T") not in ("DT_INT32", "DT_INT64"):
        raise refused(node, "not of whole numbers")
    dividend, divisor = (channels_last(written, tensor) for tensor in node.inputs)
    left = add(written, "Mod", [dividend, divisor], f"{node.name}@left")
    even = add(written, "Sub", [dividend, left], f"{node.name}@even")
    written.last[node.name] = add(written, "Div", [even, divisor], node.name)


def _cast(written: Written, node: Node) -> None:
    kind = _KINDS.get(node.attributes["DstT"])
    if kind is None:
        raise refused(node, f"to {node.attributes['DstT']}")
    _apply(written, node.name, "Cast", node.inputs, to=kind)


# Pictures


def _conv(written: Written, node: Node) -> None:
    """A convolution, its bias and what follows it; a filter is [H,W,in,out], of a depthwise one [H,W,C,multiplier]."""
    _only(node, data_format="NHWC")
    weights = fixed(written, node, 1)
    groups, ours = 1, weights.transpose(3, 2, 0, 1)
    if "Depthwise" in node.op:
        groups, ours = weights.shape[2], weights.transpose(2, 3, 0, 1).reshape(-1, 1, *weights.shape[:2])
    operations = list(node.attributes.get("fused_ops", ()))
    inputs = [channels_first(written, node.inputs[0]), number(written, f"{node.inputs[1]}@{groups}", ours)]
    if operations[:1] == ["BiasAdd"]:
        operations.pop(0)
        inputs.append(number(written, node.inputs[2], fixed(written, node, 2)))
    dilations = node.attributes.get("dilations") or [1, 1, 1, 1]
    attributes = _padded(node, weights.shape[:2], dilations[1:3])
    made = f"{node.name}@conv" if operations else node.name
    written.first[made] = add(written, "Conv", inputs, made, group=groups, dilations=dilations[1:3], **attributes)
    _finish(written, node, operations, made)


def _finish(written: Written, node: Node, operations: list[str], made: str) -> None:
    """What is fused behind a convolution or a product: at most one function of single elements."""
    if len(operations) > 1 or not set(operations) <= {"Relu", "Relu6", "Elu", "Sigmoid"}:
        raise refused(node, f"fused with {', '.join(operations)}")
    if operations:
        _activate(written, node.name, operations[0], made)


def _only(node: Node, **expected: Any) -> None:
    for name, value in expected.items():
        if node.attributes.get(name, value) != value:
            raise refused(node, f"{name} is {node.attributes[name]}")


def _padded(node: Node, size: Iterable[int], dilations: Iterable[int] = (1, 1)) -> dict[str, Any]:
    """ONNX's strides and padding. Where the stride is 1, padding does not depend on the picture's size."""
    strides, padding = node.attributes["strides"][1:3], node.attributes["padding"]
    if padding not in ("SAME", "VALID"):
        raise refused(node, f"padding is {padding}")
    whole = [(side - 1) * apart for side, apart in zip(size, dilations, strict=True)]
    if padding == "VALID" or not any(whole):
        return {"strides": strides}
    if strides == [1, 1]:
        return {"strides": strides, "pads": [side // 2 for side in whole] + [side - side // 2 for side in whole]}
    return {"strides": strides, "auto_pad": "SAME_UPPER"}


def _max_pool(written: Written, node: Node) -> None:
    _only(node, data_format="NHWC")
    size = node.attributes["ksize"][1:3]
    inputs = [channels_first(written, node.inputs[0])]
    written.first[node.name] = add(written, "MaxPool", inputs, node.name, kernel_shape=size, **_padded(node, size))


def _resize(written: Written, node: Node) -> None:
    half, corners = node.attributes.get("half_pixel_centers", False), node.attributes.get("align_corners", False)
    rule = "half_pixel" if half else "align_corners" if corners else "asymmetric"
    picture = channels_first(written, node.inputs[0])
    shape = add(written, "Shape", [picture], f"{node.name}@shape")
    kept = add(written, "Slice", [shape, *numbers(written, [0], [2])], f"{node.name}@kept")
    size = add(written, "Concat", [kept, channels_last(written, node.inputs[1])], f"{node.name}@size", axis=0)
    written.first[node.name] = add(
        written, "Resize", [picture, "", "", size], node.name, mode="linear", coordinate_transformation_mode=rule
    )


# Axes and shapes


def _plain(kind: str, written: Written, node: Node, **attributes: Any) -> None:
    """An operation with the same inputs in ONNX."""
    written.last[node.name] = add(
        written, kind, [channels_last(written, tensor) for tensor in node.inputs], node.name, **attributes
    )


def _at_axes(written: Written, node: Node, kind: str, axes: Iterable[int], **attributes: Any) -> None:
    """An operation on the first input whose axes are an input in ONNX."""
    inputs = [channels_last(written, node.inputs[0]), *numbers(written, axes)]
    written.last[node.name] = add(written, kind, inputs, node.name, **attributes)


def _expand_dims(written: Written, node: Node) -> None:
    _at_axes(written, node, "Unsqueeze", fixed(written, node, 1).ravel().tolist())


def _squeeze(written: Written, node: Node) -> None:
    axes = node.attributes.get("squeeze_dims")
    if axes:
        _at_axes(written, node, "Squeeze", axes)
    else:
        _plain("Squeeze", written, node)


def _reduce(kind: str, written: Written, node: Node) -> None:
    axes = fixed(written, node, 1).ravel().tolist()
    keep = int(node.attributes.get("keep_dims", False))
    if kind == "ReduceSum":
        _at_axes(written, node, kind, axes, keepdims=keep)
    else:
        inputs = [channels_last(written, node.inputs[0])]
        written.last[node.name] = add(written, kind, inputs, node.name, axes=axes, keepdims=keep)


def _arg_max(written: Written, node: Node) -> None:
    inputs, axis = [channels_last(written, node.inputs[0])], int(fixed(written, node, 1).item())
    written.last[node.name] = add(written, "ArgMax", inputs, node.name, axis=axis, keepdims=0)


def _pack(written: Written, node: Node) -> None:
    axis = node.attributes.get("axis", 0)
    rows = [
        add(written, "Unsqueeze", [channels_last(written, tensor), *numbers(written, [axis])], f"{node.name}@{number}")
        for number, tensor in enumerate(node.inputs)
    ]
    written.last[node.name] = add(written, "Concat", rows, node.name, axis=axis)


def _concat(written: Written, node: Node) -> None:
    inputs, axis = [channels_last(written, tensor) for tensor in node.inputs[:-1]], int(fixed(written, node, -1).item())
    written.last[node.name] = add(written, "Concat", inputs, node.name, axis=axis)


def _split(written: Written, node: Node) -> None:
    parts = outputs_of(node, node.attributes["num_split"])
    add(written, "Split", [channels_last(written, node.inputs[1])], parts, axis=int(fixed(written, node, 0).item()))
    written.last.update({part: part for part in parts})


def _unpack(written: Written, node: Node) -> None:
    parts, axis = outputs_of(node, node.attributes["num"]), node.attributes.get("axis", 0)
    rows = [f"{part}@row" for part in parts] if len(parts) > 1 else [channels_last(written, node.inputs[0])]
    if len(parts) > 1:
        add(written, "Split", [channels_last(written, node.inputs[0])], rows, axis=axis)
    for part, row in zip(parts, rows, strict=True):
        written.last[part] = add(written, "Squeeze", [row, *numbers(written, [axis])], part)


def _strided_slice(written: Written, node: Node) -> None:
    """A slice, without the axes that shrink, with new ones."""
    cuts, shrunk, new = _cuts(node, *(fixed(written, node, index).tolist() for index in (1, 2, 3)))
    name = channels_last(written, node.inputs[0])
    if cuts:
        axes, begins, ends, strides = (list(each) for each in zip(*cuts, strict=True))
        name = add(written, "Slice", [name, *numbers(written, begins, ends, axes, strides)], f"{node.name}@cut")
    if shrunk:
        name = add(written, "Squeeze", [name, *numbers(written, shrunk)], f"{node.name}@shrunk")
    if new:
        name = add(written, "Unsqueeze", [name, *numbers(written, new)], f"{node.name}@new")
    written.last[node.name] = name


def _cuts(
    node: Node, begins: list[int], ends: list[int], strides: list[int]
) -> tuple[list[tuple[int, int, int, int]], list[int], list[int]]:
    """The cuts (axis, begin, end, stride) of a slice, its axes that shrink, and its result's that are new.

    Bit i of a mask speaks of place i among begin, end and stride; a place of a new axis takes none of the input's.
    """
    _only(node, ellipsis_mask=0)
    masks = {name: node.attributes.get(f"{name}_mask", 0) for name in ("begin", "end", "new_axis", "shrink_axis")}
    cuts, shrunk, new, axis = [], list[int](), list[int](), 0
    for place, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        asked = {name for name, mask in masks.items() if mask >> place & 1}
        if "new_axis" in asked:
            new.append(axis - len(shrunk) + len(new))
            continue
        if "shrink_axis" in asked:
            shrunk.append(axis)
            cuts.append((axis, begin, begin + 1 if begin != -1 else _END, 1))
        elif not (asked >= {"begin", "end"} and stride == 1):
            low, high = (0, _END) if stride > 0 else (_END, -_END)
            cuts.append((axis, low if "begin" in asked else begin, high if "end" in asked else end, stride))
        axis += 1
    return cuts, shrunk, new


def _top_k(written: Written, node: Node) -> None:
    parts, count = outputs_of(node, 2), fixed(written, node, 1).ravel().tolist()
    add(written, "TopK", [channels_last(written, node.inputs[0]), *numbers(written, count)], parts)
    written.last.update({part: part for part in parts})


def _fill(written: Written, node: Node) -> None:
    inputs = [channels_last(written, tensor) for tensor in reversed(node.inputs)]
    written.last[node.name] = add(written, "Expand", inputs, node.name)


def _fused_product(written: Written, node: Node) -> None:
    operations = list(node.attributes.get("fused_ops", ()))
    if operations[:1] != ["BiasAdd"]:
        raise refused(node, "without a bias")
    made = f"{node.name}@product" if operations[1:] else node.name
    turned = {f"trans{letter.upper()}": int(node.attributes.get(f"transpose_{letter}", False)) for letter in "ab"}
    inputs = [channels_last(written, tensor) for tensor in node.inputs[:3]]
    written.last[made] = add(written, "Gemm", inputs, made, **turned)
    _finish(written, node, operations[1:], made)


_WRITERS: dict[str, Callable[[Written, Node], None]] = {
    **{
        name: partial(_elementwise, kind)
        for name, kind in {
            "Abs": "Abs", "Add": "Add", "AddN": "Sum", "AddV2": "Add", "BiasAdd": "Add", "Elu": "Elu",
            "Equal": "Equal", "Exp": "Exp", "Greater": "Greater", "GreaterEqual": "GreaterOrEqual",
            "Identity": "Identity", "Less": "Less", "LessEqual": "LessOrEqual", "LogicalAnd": "And", "Maximum": "Max",
            "Minimum": "Min", "Mul": "Mul", "RealDiv": "Div", "Reciprocal": "Reciprocal", "Relu": "Relu",
            "Sigmoid": "Sigmoid", "Sqrt": "Sqrt", "Sub": "Sub",
        }.items()
    },
    **{
        name: partial(_plain, kind)
        for name, kind in {
            "GatherNd": "GatherND", "Range": "Range", "Reshape": "Reshape", "Select": "Where", "Shape": "Shape",
            "Size": "Size", "Tile": "Tile",
        }.items()
    },
    **{
        name: partial(_reduce, kind)
        for name, kind in {"Max": "ReduceMax", "Mean": "ReduceMean", "Sum": "ReduceSum"}.items()
    },
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative", "_FusedConv2D"), _conv),
    "ArgMax": _arg_max, "Cast": _cast, "ConcatV2": _concat, "ExpandDims": _expand_dims, "Fill": _fill,
    "FloorDiv": _floor_div, "MaxPool": _max_pool, "Pack": _pack, "Relu6": _relu6, "ResizeBilinear": _resize,
    "Split": _split, "SquaredDifference": _squared_difference, "Squeeze": _squeeze, "StridedSlice": _strided_slice,
    "TopKV2": _top_k, "Unpack": _unpack, "_FusedMatMul": _fused_product,
}  # fmt: skip
