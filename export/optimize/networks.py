"""Networks in fewer bits, by ONNX Runtime's own tools: static quantisation to int8, and half precision.

Owns what is done to a graph before, so that the tools see plain convolutions. Knows onnx and ONNX Runtime's
`quantization`, no models and no people.
"""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from posert.errors import PosertError, package
from posert.export import onnx_file
from posert.export.onnx_links import dequantised, put_in_order
from posert.export.onnx_phases import ends_apart, transposed_apart
from posert.export.onnx_versions import converted, opset_of, widely_readable
from posert.runtime.devices import import_onnxruntime

_OPSET = 17  # what the tools write best, and every supported ONNX Runtime reads
_AVERAGED = 0.1  # the part of a new picture in the average of the smallest and largest values: outliers count less
LAYERS = ("Conv", "MatMul", "Gemm")
# Layers, and what has integer kernels in ONNX Runtime too, so that values stay integers from layer to layer.
_INTEGER = (
    *LAYERS, "Add", "Mul", "Concat", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Clip",
    "LeakyRelu", "Sigmoid", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split",
)  # fmt: skip
Feeds = Mapping[str, NDArray[Any]]


class Quantiser:
    """A float network that becomes int8, as often as wanted: the ranges of its values are found once.

    Args:
        file: of the network.
        feeds: what it is fed, run after run.

    Attributes:
        graph: onnx.ModelProto, see `plain`; transposed convolutions, which have no integer kernel, as plain ones.
        units: names of the nodes that can become int8, a layer first and what follows it up to the next one.
    """

    def __init__(self, file: Path, feeds: Sequence[Feeds]) -> None:
        """Raises PosertError if the network is quantised already, or has no layer."""
        self._feeds = feeds
        graph = _folded(file)
        ends_apart(graph)
        transposed_apart(graph)
        self.graph = _named(graph)
        self.units = _units(self.graph)
        if not self.units:
            raise PosertError(f"{file} has no convolution or matrix product", "there is nothing to make smaller")

    @cached_property
    def _ranges(self) -> Any:
        from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plain.onnx"
            onnx.save(self.graph, str(path))
            calibrator = create_calibrator(
                path, list(_INTEGER), str(Path(folder) / "with_ranges.onnx"), CalibrationMethod.MinMax,
                extra_options={"moving_average": True, "averaging_constant": _AVERAGED},
            )  # fmt: skip
            for feeds in self._feeds:  # one by one, so that the average is over all of them
                calibrator.collect_data(_reader([feeds]))
            return calibrator.compute_data()

    def int8(self, kept: Collection[str] = ()) -> Any:
        """The onnx.ModelProto with unsigned activations and signed weights, one scale for each channel.

        Args:
            kept: names of nodes of `units` that stay float.
        """
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        graph = onnx.ModelProto()
        graph.CopyFrom(self.graph)
        quantiser = QDQQuantizer(
            graph, True, False, QuantType.QInt8, QuantType.QUInt8, self._ranges, [], list(kept),
            list(_INTEGER), {},
        )  # fmt: skip
        quantiser.quantize_model()
        put_in_order(quantiser.model.model)
        return quantiser.model.model


def _units(graph: Any) -> tuple[tuple[str, ...], ...]:
    units = list[list[str]]()
    for node in graph.graph.node:
        if node.op_type in LAYERS:
            units.append([node.name])
        elif units and node.op_type in _INTEGER:
            units[-1].append(node.name)
    return tuple(map(tuple, units))


def _reader(feeds: Sequence[Feeds]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Any:
            return next(self._feeds, None)

    return Reader()


def plain(file: Path) -> Any:
    """The float network in a file with what is constant computed, normalisations in their convolutions, nodes named.

    Raises:
        PosertError: it cannot be read, or has quantised activations.
    """
    return _named(_folded(file))


def _folded(file: Path) -> Any:
    ort, graph = import_onnxruntime(), widely_readable(onnx_file.load(file))
    if any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
        raise PosertError(f"{file} is quantised already", "give the float model, or another stage with `stages`")
    float_weights(graph)
    graph = graph if opset_of(graph) >= _OPSET else converted(graph, _OPSET)
    del graph.metadata_props[:]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(graph, str(before))
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(after)
        ort.InferenceSession(str(before), options, providers=["CPUExecutionProvider"])
        return onnx.load(str(after))


def _named(graph: Any) -> Any:
    """The graph with all shapes that can be told, and names that say a node's kind and place."""
    graph = onnx.shape_inference.infer_shapes(graph)
    for number, node in enumerate(graph.graph.node):
        node.name = f"{node.op_type}_{number}_{node.name}"[:120]
    return graph


def float_weights(graph: Any) -> None:
    """Computes what is stored as integers and a scale, in place: weights are float then."""
    fixed, nodes = onnx_file.constants(graph), list[Any]()
    for node in graph.graph.node:
        if node.op_type == "DequantizeLinear" and {*node.input} <= fixed.keys():
            value = dequantised(node, [fixed[name] for name in node.input])
            graph.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        else:
            nodes.append(node)
    onnx_file.replace_nodes(graph, nodes)


def half(file: Path) -> Any:
    """The onnx.ModelProto with half precision inside, its inputs and outputs as they were.

    Raises:
        PosertError: the package that ONNX Runtime's tool needs is missing.
    """
    package("packaging", "packaging")
    tool = package("onnxruntime.transformers.float16", "onnxruntime")
    graph = tool.convert_float_to_float16(plain(file), keep_io_types=True)
    put_in_order(graph)
    return graph
