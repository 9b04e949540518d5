"""ONNX graphs: small exact rewrites, and the metadata stamp (always last). Knows onnx, not where a graph came from."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from posert import __version__
from posert.errors import PosertError
from posert.export.onnx_versions import widely_readable
from posert.export.weights import Entry
from posert.poses import Skeleton
from posert.runtime.session import Model, open_model
from posert.runtime.spec import FORMAT, METADATA_KEY, ModelSpec, Stage, from_json, to_json


@dataclass(frozen=True, slots=True)
class Exported:
    """What a system's `build` gives: an ONNX graph and what posert has to know of it."""

    graph: Any  # onnx.ModelProto
    spec: ModelSpec


Reference = Callable[[np.ndarray[Any, Any]], Mapping[str, np.ndarray[Any, Any]]]
"""The original network: our input tensor -> role -> output, in our layout."""


def exported(graph: Any, entry: Entry, skeleton: Skeleton, stage: Stage, model: str = "") -> Exported:
    """A network with one stage, and what every converted file says about itself; model: if not the entry's name."""
    made_by = f"posert {__version__}"
    origin = entry.url or entry.source
    spec = ModelSpec(FORMAT, entry.system, model or entry.name, skeleton, (stage,), entry.licence, origin, made_by)
    return Exported(graph, spec)


def save(exported: Exported, path: Path, try_it: Callable[[Model], None] = lambda model: None) -> None:
    """The graph and its spec as a file, which gets its name once it opens as `infer` opens it, with that spec.

    Args:
        try_it: gets the open model; what it raises keeps the file from being written.

    Raises:
        PosertError: the folder cannot be written, the graph is not valid ONNX, or posert could not open the file: it
            names tensors that are not there, or an unknown decoder, suppression rule or parameter.
    """
    graph = widely_readable(exported.graph)
    others = {entry.key: entry.value for entry in graph.metadata_props if entry.key != METADATA_KEY}
    helper.set_model_props(graph, {**others, METADATA_KEY: to_json(exported.spec)})
    with checked(graph, path) as temporary:
        try:
            opened = open_model(temporary, device="cpu", threads=1)
        except PosertError as error:
            what = error.what.replace(str(temporary), str(path))
            raise PosertError(f"{path} is not written, nobody could open it: {what}", error.hint) from None
        with opened as model:
            assert model.spec == exported.spec, "the metadata does not survive saving"
            try_it(model)


@contextmanager
def checked(graph: Any, path: Path) -> Iterator[Path]:
    """Valid ONNX in a file of another name, which becomes `path` after the block; PosertError if that cannot be."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.onnx")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(graph, str(temporary))
        onnx.checker.check_model(str(temporary))
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise PosertError(
            f"{path} cannot be written: {error.strerror or error}",
            "free some space, or choose another place: `output`, or POSERT_HOME for models by name",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_metadata(path: Path) -> ModelSpec:
    """The `ModelSpec` inside an ONNX file; PosertError if there is none."""
    entries = {entry.key: entry.value for entry in load(path).metadata_props}
    return from_json(entries.get(METADATA_KEY, ""))


def load(path: Path) -> Any:
    """The onnx.ModelProto in a file, with the weights that lie in others beside it; PosertError if it is none."""
    try:
        graph = onnx.load(str(path))
        onnx.checker.check_model(graph)
    except Exception as error:  # protobuf's and onnx's own kinds
        raise PosertError(
            f"{path} is not a valid ONNX file: {str(error).splitlines()[0][:200]}", "export it again"
        ) from None
    return graph


def constants(graph: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Name -> value of every initializer."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}


def reads(node: Any) -> set[str]:
    """Names of the tensors that a node reads, in the graphs inside it too."""
    inside = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    return {*node.input}.union(*(reads(inner) for graph in inside for inner in graph.node)) - {""}


def replace_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Puts `nodes` in place of all nodes, drops those whose results nobody reads, and unused initializers."""
    alive = {output.name for output in graph.graph.output}
    kept = []
    for node in reversed(list(nodes)):
        if alive.intersection(node.output):
            kept.append(node)
            alive.update(reads(node))
    del graph.graph.node[:]
    graph.graph.node.extend(reversed(kept))
    unused = {tensor.name for tensor in graph.graph.initializer} - alive
    for values in (graph.graph.initializer, graph.graph.input):  # old files count weights among the inputs
        used = [value for value in values if value.name not in unused]
        del values[:]
        values.extend(used)
    del graph.graph.value_info[:]


def instance_norms(graph: Any) -> None:
    """Turns every BatchNormalization that computes its own statistics into InstanceNormalization.

    Graphs frozen in training mode normalise over the whole batch, so that one picture's result depends on the others.
    For a batch of one the two are the same.
    """
    fixed = constants(graph)
    nodes = []
    for node in graph.graph.node:
        if node.op_type == "BatchNormalization" and node.input[3] not in fixed:
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            node = helper.make_node(
                "InstanceNormalization", list(node.input[:3]), list(node.output), name=node.name, epsilon=epsilon
            )
        nodes.append(node)
    replace_nodes(graph, nodes)


def unsigned_activations(graph: Any) -> int:
    """Turns int8 activations between QuantizeLinear and DequantizeLinear into uint8, 128 higher; returns how many.

    The values they stand for stay the same. ONNX Runtime has fast kernels for unsigned activations with signed weights
    only, and fuses all convolutions of such a graph: half the time on processors with VNNI.
    """
    fixed, changed = constants(graph), set()
    for node in graph.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[0] in fixed:
            continue
        zero = node.input[2]
        if fixed[zero].dtype == np.int8:
            if zero not in changed:
                raised = (fixed[zero].astype(np.int16) + 128).astype(np.uint8)
                graph.graph.initializer.append(numpy_helper.from_array(raised, f"{zero}_unsigned"))
                changed.add(zero)
            node.input[2] = f"{zero}_unsigned"
    replace_nodes(graph, list(graph.graph.node))
    return len(changed)


def real_ends(graph: Any) -> None:
    """Gives an input that is dequantised, and outputs that are quantised, the real numbers (f32) that they stand for.

    A uint8 input of scale 1 stays: it is the picture already.
    """
    fixed, nodes = constants(graph), list(graph.graph.node)
    for value in graph.graph.input:
        readers = [node for node in nodes if value.name in reads(node)]
        first = readers[0] if len(readers) == 1 and readers[0].op_type == "DequantizeLinear" else None
        if first is not None and len(first.input) == 3 and fixed.keys() >= set(first.input[1:]):
            scale, zero = (fixed[name] for name in first.input[1:])
            if not (zero.dtype == np.uint8 and scale == 1 and zero == 0):
                value.type.tensor_type.elem_type = TensorProto.FLOAT
                first.CopyFrom(helper.make_node("Identity", [value.name], list(first.output)))
    makers = {output: node for node in nodes for output in node.output}
    for value in graph.graph.output:
        last = maker = makers[value.name]
        while (
            maker.op_type in ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity") and maker.input[0] in makers
        ):
            maker = makers[maker.input[0]]
        if maker.op_type == "QuantizeLinear":
            whole = f"{value.name}_whole"
            last.output[0] = whole
            nodes.append(helper.make_node("DequantizeLinear", [whole, *maker.input[1:]], [value.name]))
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    replace_nodes(graph, nodes)


def channels_first(graph: Any, tensor: str) -> str:
    """The name of the NHWC tensor `tensor` as NCHW: what it was before a transpose, or after one that is added."""
    maker = next(node for node in graph.graph.node if tensor in node.output)
    if maker.op_type == "Transpose":
        return str(maker.input[0])
    graph.graph.node.append(helper.make_node("Transpose", [tensor], [f"{tensor}_nchw"], perm=[0, 3, 1, 2]))
    return f"{tensor}_nchw"


def split_channels(graph: Any, tensor: str, parts: Mapping[str, tuple[int, int]]) -> None:
    """Makes named slices of the channels of the NCHW tensor `tensor` the outputs.

    Args:
        parts: output name -> (first channel, one past the last).
    """
    nodes = list(graph.graph.node)
    del graph.graph.output[:]
    for name, (first, end) in parts.items():
        for label, value in (("first", first), ("end", end), ("axis", 1)):
            graph.graph.initializer.append(helper.make_tensor(f"{name}_{label}", TensorProto.INT64, [1], [value]))
        nodes.append(helper.make_node("Slice", [tensor, f"{name}_first", f"{name}_end", f"{name}_axis"], [name]))
        shape = ["batch", end - first, "rows", "columns"]
        graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    replace_nodes(graph, nodes)


def rename_tensor(graph: Any, old: str, new: str) -> None:
    """Gives a graph input or output another name."""
    for value in [*graph.graph.input, *graph.graph.output]:
        if value.name == old:
            value.name = new
    for node in graph.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def input_shape(graph: Any, sides: list[int | str]) -> None:
    """Declares the shape of the only input; words are free axes."""
    kind = graph.graph.input[0].type
    kind.CopyFrom(helper.make_tensor_type_proto(kind.tensor_type.elem_type, sides))
