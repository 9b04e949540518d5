"""Nodes that a recipe adds to an ONNX graph, and the tensors that become its outputs. Knows onnx and `recipe.Node`."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from posert.errors import PosertError
from posert.export.onnx_file import replace_nodes
from posert.export.onnx_links import put_in_order
from posert.export.onnx_versions import converted, opset_of
from posert.export.recipe import Recipe

_LEAST_OPSET = 13  # from here on axes are inputs, as the documents of today say
ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
}
"""Element type in the metadata -> in ONNX."""


def inputs_of(graph: Any) -> dict[str, Any]:
    """Name -> onnx.ValueInfoProto of what the graph is given, but for weights, which may have a place there too."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    return {value.name: value for value in graph.graph.input if value.name not in weights}


def shape_of(value: Any) -> list[int | str]:
    """The sides that a graph declares for a tensor; a free one is a word, perhaps an empty one."""
    return [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]


def add_nodes(graph: Any, recipe: Recipe) -> Any:
    """The onnx.ModelProto with the nodes of a recipe; its input is new if only they read it.

    Raises:
        PosertError: says which node, and what is wrong with it.
    """
    if not recipe.nodes:
        return graph
    graph = graph if opset_of(graph) >= _LEAST_OPSET else converted(graph, _LEAST_OPSET)
    given = inputs_of(graph)
    tensors = {*given, *(tensor.name for tensor in graph.graph.initializer)}
    tensors.update(output for node in graph.graph.node for output in node.output)
    image, made = recipe.spec.stages[0].input, [name for node in recipe.nodes for name in node.outputs]
    _check(recipe, tensors | {image.name}, given)
    if image.name not in tensors:
        fed = shape_of(next((given[name] for name in made if name in given), next(iter(given.values()))))
        rows = fed[0] if len(fed) == 4 else 1  # the graph's own input decides how many pictures it takes
        sides: Sequence[int | str] = [side or word for side, word in zip(image.size_wh[::-1], ("h", "w"), strict=True)]
        shape = [rows or "batch", 3, *sides] if image.layout == "NCHW" else [rows or "batch", *sides, 3]
        graph.graph.input.append(helper.make_tensor_value_info(image.name, ONNX_TYPES[image.dtype], shape))
    kept = [value for value in graph.graph.input if value.name not in made]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)
    added = [_node(graph, recipe, i) for i in range(len(recipe.nodes))]
    try:
        put_in_order(graph, added)
    except CycleError:
        raise recipe.wrong("nodes", "no circle of nodes that wait for each other", len(added)) from None
    return graph


def _check(recipe: Recipe, tensors: set[str], given: Mapping[str, Any]) -> None:
    made = [name for node in recipe.nodes for name in node.outputs]
    for i, node in enumerate(recipe.nodes):
        if not onnx.defs.has(node.op):
            known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
            near = difflib.get_close_matches(node.op, known, 1, 0.5)
            expected = near[0] if near else "an operator of ONNX (onnx.ai/onnx/operators)"
            raise recipe.wrong(f"nodes[{i}].op", expected, node.op)
        for k, name in enumerate(node.inputs):
            if isinstance(name, str) and name and name not in tensors and name not in made:
                raise recipe.wrong(f"nodes[{i}].inputs[{k}]", "a tensor of the graph or of another node", name)
            if not isinstance(name, str) and _numbers(name) is None:
                raise recipe.wrong(f"nodes[{i}].inputs[{k}]", "a tensor's name, a number, or lists of numbers", name)
        for k, name in enumerate(node.outputs):
            if (name in tensors and name not in given) or made.count(name) > 1 or not name:
                raise recipe.wrong(f"nodes[{i}].outputs[{k}]", "a new name, or that of an input of the graph", name)


def _numbers(value: Any) -> Any:
    """A constant of a recipe: int64 if all its numbers are whole, else float32; None if it is none."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind not in "fib":
        return None
    with np.errstate(over="ignore"):  # then it is infinite
        return array.astype(np.float32) if array.dtype.kind == "f" else array


def _node(graph: Any, recipe: Recipe, i: int) -> Any:
    """The onnx.NodeProto of node i, whose numbers have become constants of the graph."""
    node, name = recipe.nodes[i], f"nodes[{i}]"
    inputs = []
    for k, value in enumerate(node.inputs):
        if not isinstance(value, str):
            array, value = _numbers(value), f"{name}.inputs[{k}]"
            graph.graph.initializer.append(numpy_helper.from_array(array, value))
        inputs.append(value)
    try:
        made = helper.make_node(node.op, inputs, list(node.outputs), name=name)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in node.attributes.items())
    except (ValueError, TypeError, OverflowError):
        expected = "numbers, texts, or lists of them that are not empty"
        raise recipe.wrong(f"{name}.attributes", expected, dict(node.attributes)) from None
    return made


def choose_outputs(graph: Any, names: Iterable[str], recipe: Recipe) -> None:
    """Makes these tensors the only outputs of the graph, and drops what nobody needs any more.

    Raises:
        PosertError: the graph has no such tensor, or its nodes do not fit each other.
    """
    names, given = list(dict.fromkeys(names)), {value.name: value for value in graph.graph.output}
    if set(names) == set(given) and not recipe.nodes:
        return
    made = {name for node in graph.graph.node for name in node.output}
    for role, name in recipe.spec.stages[0].outputs.items():
        if name not in made:
            raise recipe.wrong(f"stage.outputs.{role}", f"one of the outputs {', '.join(given)}", name)
    known = {value.name: value for value in _inferred(graph, recipe).graph.value_info} | given
    del graph.graph.output[:]
    unknown = [name for name in names if name not in known]
    graph.graph.output.extend(known[name] for name in names if name in known)
    graph.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in unknown)
    replace_nodes(graph, list(graph.graph.node))


def _inferred(graph: Any, recipe: Recipe) -> Any:
    """The graph with the types and shapes of its tensors; PosertError if a node of the recipe is the reason why not."""
    try:
        onnx.checker.check_model(graph)
        return onnx.shape_inference.infer_shapes(graph, strict_mode=bool(recipe.nodes))
    except Exception as error:  # onnx's own kinds
        what = " ".join(str(error).split())
        if "nodes[" in what:
            raise PosertError(
                f"{recipe.where}: a node does not fit: {what[:300]}",
                "onnx.ai/onnx/operators says what each operator takes and gives",
            ) from None
        return onnx.shape_inference.infer_shapes(graph)


def fix_rows(graph: Any, name: str) -> None:
    """Declares that the input `name` of the graph has one row."""
    inputs_of(graph)[name].type.tensor_type.shape.dim[0].dim_value = 1
