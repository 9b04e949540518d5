"""ONNX files that the oldest ONNX Runtime reads which posert allows, and the browser's. Knows versions, no network."""

import logging
from typing import Any

import onnx

_LOG = logging.getLogger("posert")
LEAST_OPSET, MOST_OPSET, LEAST_IR, MOST_IR = 7, 21, 4, 10
"""What ONNX Runtime 1.20, the oldest one allowed, reads (its docs/Versioning.md); IR 4 tells weights from inputs."""
_FOR_OLD = 13


def widely_readable(graph: Any) -> Any:
    """The onnx.ModelProto in versions that all read, itself if it is already; what it computes stays the same.

    Files of old exporters count their weights among the inputs, which also keeps ONNX Runtime from folding them, and
    say `spatial` = 0 where BatchNormalization has one number per channel, which some of its versions refuse to run.
    """
    if graph.ir_version < LEAST_IR:
        weights = {tensor.name for tensor in graph.graph.initializer}
        given = [value for value in graph.graph.input if value.name not in weights]
        del graph.graph.input[:]
        graph.graph.input.extend(given)
    graph.ir_version = min(max(graph.ir_version, LEAST_IR), MOST_IR)
    _per_channel(graph)
    version = opset_of(graph)
    if not LEAST_OPSET <= version <= MOST_OPSET:
        graph = converted(graph, _FOR_OLD if version < LEAST_OPSET else MOST_OPSET)
    return graph


def opset_of(graph: Any) -> int:
    """The version of ONNX's own operators in a graph."""
    return next((int(one.version) for one in graph.opset_import if one.domain in ("", "ai.onnx")), 1)


def converted(graph: Any, opset: int) -> Any:
    """The graph in another version of ONNX's operators; as it is, which is said, if onnx cannot convert it."""
    try:
        other = onnx.version_converter.convert_version(graph, opset)
        onnx.checker.check_model(other)
    except Exception as error:  # onnx's own kinds, and RuntimeError
        what = " ".join(str(error).split())[:200]
        _LOG.warning("the graph stays at opset %d, which not every ONNX Runtime reads: %s", opset_of(graph), what)
        return graph
    other.ir_version = graph.ir_version
    return other


def _per_channel(graph: Any) -> None:
    """Leaves `spatial` away where a BatchNormalization's scale has one axis: only then 0 and 1 mean the same."""
    scales = {tensor.name for tensor in graph.graph.initializer if len(tensor.dims) == 1}
    for node in graph.graph.node:
        if node.op_type == "BatchNormalization" and node.input[1] in scales:
            kept = [attribute for attribute in node.attribute if attribute.name != "spatial"]
            del node.attribute[:]
            node.attribute.extend(kept)
