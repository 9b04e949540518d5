"""Caffe networks -> ONNX, without Caffe: reads .caffemodel and .prototxt through protobuf, maps layers one to one.

Owns the few messages and layers that pose networks use, described here and made into classes at run time. Knows nothing
of what a network is for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from posert.errors import PosertError
from posert.export import onnx_file

Blobs = dict[str, list[NDArray[np.float32]]]
Layer = Any  # LayerParameter
_Operator = tuple[str, list[list[int]], dict[str, Any]]
"""An ONNX operator: its name, the shapes of its trained inputs (-1 = as many as there are), its attributes."""
OPSET = 17

# Message -> field -> (number, kind, default); the numbers are Caffe's file format. `*` = repeated, `+` = packed too.
_MESSAGES: dict[str, dict[str, tuple[int, str, str]]] = {
    "BlobShape": {"dim": (1, "int64+", "")},
    "BlobProto": {
        "num": (1, "int32", "0"), "channels": (2, "int32", "0"), "height": (3, "int32", "0"),
        "width": (4, "int32", "0"), "data": (5, "float+", ""), "shape": (7, "BlobShape", ""),
        "double_data": (8, "double+", ""),
    },
    "ConvolutionParameter": {
        "num_output": (1, "uint32", ""), "bias_term": (2, "bool", "true"), "pad": (3, "uint32*", ""),
        "kernel_size": (4, "uint32*", ""), "group": (5, "uint32", "1"), "stride": (6, "uint32*", ""),
        "pad_h": (9, "uint32", "0"), "pad_w": (10, "uint32", "0"), "kernel_h": (11, "uint32", ""),
        "kernel_w": (12, "uint32", ""), "stride_h": (13, "uint32", ""), "stride_w": (14, "uint32", ""),
        "dilation": (18, "uint32*", ""),
    },
    "PoolingParameter": {
        "pool": (1, "PoolMethod", ""), "kernel_size": (2, "uint32", ""), "stride": (3, "uint32", "1"),
        "pad": (4, "uint32", "0"),
    },
    "ConcatParameter": {"concat_dim": (1, "uint32", "1"), "axis": (2, "int32", "1")},
    "ReLUParameter": {"negative_slope": (1, "float", "0")},
    "PReLUParameter": {"channel_shared": (2, "bool", "false")},
    "LayerParameter": {
        "name": (1, "string", ""), "type": (2, "string", ""), "bottom": (3, "string*", ""), "top": (4, "string*", ""),
        "blobs": (7, "BlobProto*", ""), "concat_param": (104, "ConcatParameter", ""),
        "convolution_param": (106, "ConvolutionParameter", ""), "pooling_param": (121, "PoolingParameter", ""),
        "relu_param": (123, "ReLUParameter", ""), "prelu_param": (131, "PReLUParameter", ""),
    },
    "V1LayerParameter": {"name": (4, "string", ""), "blobs": (6, "BlobProto*", "")},
    "NetParameter": {
        "name": (1, "string", ""), "layers": (2, "V1LayerParameter*", ""), "input": (3, "string*", ""),
        "layer": (100, "LayerParameter*", ""),
    },
}  # fmt: skip
_POOLS = ("MAX", "AVE", "STOCHASTIC")


def _classes() -> Any:
    """Name -> protobuf class of the messages above."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="posert_caffe.proto", syntax="proto2")
    methods = file.enum_type.add(name="PoolMethod")
    for number, method in enumerate(_POOLS):
        methods.value.add(name=method, number=number)
    for own, fields in _MESSAGES.items():
        made = file.message_type.add(name=own)
        for name, (number, kind, default) in fields.items():
            plain = kind.rstrip("*+")
            label = kinds.LABEL_REPEATED if plain != kind else kinds.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, label=label, default_value=default or None)
            if plain in _MESSAGES or plain == "PoolMethod":
                field.type_name = plain
            else:
                field.type = getattr(kinds, f"TYPE_{plain.upper()}")
            if kind.endswith("+"):
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles([file.name], pool)


_CLASSES = _classes()
NetParameter, LayerParameter = _CLASSES["NetParameter"], _CLASSES["LayerParameter"]


def read_blobs(path: Path) -> Blobs:
    """Layer name -> its trained arrays (f32), from a binary .caffemodel.

    Raises:
        PosertError: the file is cut short, or no caffemodel.
    """
    net = NetParameter()
    try:
        net.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise PosertError(
            f"{path} is not a whole .caffemodel: {error}", "fetch it again; compare its size with the address's"
        ) from None
    layers = [layer for layer in (*net.layers, *net.layer) if layer.blobs]
    blobs = {layer.name: [_array(blob, path) for blob in layer.blobs] for layer in layers}
    if not blobs:
        raise PosertError(f"{path} has no trained layers: it is not a .caffemodel", "give the file of the weights")
    return blobs


def _array(blob: Any, path: Path) -> NDArray[np.float32]:
    shape = list(blob.shape.dim) or [n for n in (blob.num, blob.channels, blob.height, blob.width) if n]
    values = np.array(blob.data or blob.double_data, np.float32)
    if int(np.prod(shape)) != values.size:
        raise PosertError(f"{path} has {values.size} values for the shape {shape}", "fetch it again")
    return values.reshape(shape)


def read_prototxt(path: Path) -> Any:
    """The network (NetParameter) in a .prototxt; fields that a forward pass does not need are ignored.

    Layers of the type Input become the network's `input`, as in older files.

    Raises:
        PosertError: it is no prototxt.
    """
    net = NetParameter()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), net, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise PosertError(f"{path} is not a .prototxt: {error}", "give the network's deploy file") from None
    for layer in [layer for layer in net.layer if layer.type == "Input"]:
        net.input.extend(layer.top)
        net.layer.remove(layer)
    return net


def layer(name: str, kind: str, bottoms: Iterable[str], top: str, **settings: Any) -> Layer:
    """A layer of our own making; its settings are fields of `<kind>_param`."""
    own = {f"{kind.lower()}_param": settings} if settings else {}
    return LayerParameter(name=name, type=kind, bottom=bottoms, top=[top], **own)


def to_onnx(net: Any, blobs: Blobs, outputs: Mapping[str, tuple[int, int]]) -> Any:
    """An onnx.ModelProto of a network and its weights; batch, height and width are free.

    Args:
        net: NetParameter with one input, a picture of three channels, and one result that no layer reads.
        blobs: layer name -> arrays, as `read_blobs` gives them.
        outputs: name -> (first channel, one past the last) of the result.

    Raises:
        PosertError: layers of other kinds, or weights that are missing or do not fit; all of them are named.
    """
    nodes, constants, problems = [], [], []
    current: dict[str, str] = {}  # Caffe's layers may write over their input: the tensor that a name now means
    for layer in net.layer:
        try:
            if layer.type not in _LAYERS:
                raise ValueError(f"layer {layer.name} of type {layer.type}")
            if not layer.top:
                raise ValueError(f"layer {layer.name} without a result")
            kind, shapes, attributes = _LAYERS[layer.type](layer)
        except ValueError as error:
            problems.append(str(error))
            continue
        inputs = [current.get(name, name) for name in layer.bottom]
        inputs += [f"{layer.name}:{index}" for index in range(len(shapes))]
        constants += _trained(layer.name, shapes, blobs.get(layer.name, []), problems)
        current[layer.top[0]] = f"{layer.name}:out"
        nodes.append(helper.make_node(kind, inputs, [current[layer.top[0]]], name=layer.name, **attributes))
    if problems:
        raise PosertError(
            "the network cannot be converted: " + "; ".join(problems[:8]),
            "check that the .prototxt and the .caffemodel belong together",
        )
    read = {bottom for layer in net.layer for bottom in layer.bottom if bottom not in layer.top}
    results = list(dict.fromkeys(top for layer in net.layer for top in layer.top if top not in read))
    if len(net.input) != 1 or len(results) != 1:
        raise PosertError(
            f"the network has the inputs {list(net.input)} and the results {results}, expected one of each"
        )
    image = helper.make_tensor_value_info(net.input[0], TensorProto.FLOAT, ["batch", 3, "height", "width"])
    graph = helper.make_graph(nodes, "network", [image], [], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx_file.split_channels(model, current[results[0]], outputs)
    return model


def channels(net: Any) -> int:
    """How many channels the last layer of a network gives; 0 if its layers do not say."""
    counts: dict[str, int] = {}
    last = 0
    for layer in net.layer:
        given = [counts.get(name, 0) for name in layer.bottom]
        last = sum(given) if layer.type == "Concat" else layer.convolution_param.num_output or max(given, default=0)
        counts.update(dict.fromkeys(layer.top, last))
    return last


def _trained(name: str, shapes: list[list[int]], arrays: list[NDArray[np.float32]], problems: list[str]) -> list[Any]:
    """The trained arrays of a layer as constants of these shapes; -1 keeps its size. A misfit is noted, not raised."""
    made = []
    for index, shape in enumerate(shapes):
        if index >= len(arrays):
            problems.append(f"no weights for {name}")
            continue
        array, known = arrays[index], int(np.prod([n for n in shape if n >= 0]))
        wanted = [n if n >= 0 else array.size // max(1, known) for n in shape]
        if array.size != int(np.prod(wanted)):
            problems.append(f"{name} has weights of shape {list(array.shape)}, expected {wanted}")
        else:
            made.append(numpy_helper.from_array(np.ascontiguousarray(array.reshape(wanted)), f"{name}:{index}"))
    return made


def _pair(values: Sequence[int], high: int, wide: int, default: int) -> list[int]:
    """Height and width of a setting that Caffe writes once, twice, or as _h and _w."""
    if high or wide:
        return [high, wide]
    return [*values, *values][:2] if values else [default, default]


def _convolution(layer: Layer) -> _Operator:
    p = layer.convolution_param
    kernel = _pair(p.kernel_size, p.kernel_h, p.kernel_w, 1)
    return "Conv", [[p.num_output, -1, *kernel], [p.num_output]][: 1 + p.bias_term], {
        "kernel_shape": kernel, "pads": _pair(p.pad, p.pad_h, p.pad_w, 0) * 2, "group": p.group,
        "strides": _pair(p.stride, p.stride_h, p.stride_w, 1), "dilations": _pair(p.dilation, 0, 0, 1),
    }  # fmt: skip


def _pooling(layer: Layer) -> _Operator:
    p = layer.pooling_param
    kind = {0: "MaxPool", 1: "AveragePool"}.get(p.pool)
    if kind is None or (kind == "AveragePool" and p.pad):
        raise ValueError(f"pooling {_POOLS[p.pool]} of {layer.name}")
    # Caffe rounds the size up.
    sides = {"kernel_shape": [p.kernel_size] * 2, "strides": [p.stride] * 2, "pads": [p.pad] * 4, "ceil_mode": 1}
    return kind, [], sides


def _relu(layer: Layer) -> _Operator:
    slope = layer.relu_param.negative_slope
    return ("LeakyRelu", [], {"alpha": slope}) if slope else ("Relu", [], {})


def _prelu(layer: Layer) -> _Operator:
    return "PRelu", [[1 if layer.prelu_param.channel_shared else -1, 1, 1]], {}


def _concat(layer: Layer) -> _Operator:
    p = layer.concat_param
    return "Concat", [], {"axis": p.axis if p.HasField("axis") else p.concat_dim}


_LAYERS: dict[str, Callable[[Layer], _Operator]] = {
    "Convolution": _convolution, "Pooling": _pooling, "ReLU": _relu, "PReLU": _prelu, "Concat": _concat,
    "Dropout": lambda layer: ("Identity", [], {}),
}  # fmt: skip
