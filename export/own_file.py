"""One's own ONNX file with a recipe: checks that the two fit, key by key, and tries the result on a picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from posert.export import onnx_file
from posert.export.onnx_file import Exported
from posert.export.onnx_nodes import ONNX_TYPES, add_nodes, choose_outputs, inputs_of, shape_of
from posert.export.onnx_versions import widely_readable
from posert.export.recipe import Recipe


def build(file: Path, recipe: Recipe) -> Exported:
    """The graph in `file`, with the nodes of the recipe and no outputs but those that have a role, and its metadata.

    Raises:
        PosertError: no ONNX file, or the recipe says something else than the graph; says which key.
    """
    graph, stage = add_nodes(widely_readable(onnx_file.load(file)), recipe), recipe.spec.stages[0]
    for key, good, expected, got in _rules(inputs_of(graph), recipe):
        if not good:
            raise recipe.wrong(f"stage.{key}", expected, got)
    choose_outputs(graph, stage.outputs.values(), recipe)
    return Exported(graph, recipe.spec)


def _rules(inputs: dict[str, Any], recipe: Recipe) -> list[tuple[str, Callable[[], bool] | bool, str, Any]]:
    """Key, whether it fits the graph's inputs, what is expected, what is there; up to the first that does not."""
    given, constants = recipe.spec.stages[0].input, recipe.spec.stages[0].constants
    if given.name not in inputs:
        return [("input.name", False, f"one of the inputs {', '.join(inputs)}", given.name)]
    value, others = inputs[given.name], [name for name in inputs if name not in (given.name, *constants)]
    strange = [name for name in constants if name not in inputs]
    shape = shape_of(value)
    channels, sides = (1, shape[2:4]) if given.layout == "NCHW" else (3, shape[1:3])
    kinds = {number: name for name, number in ONNX_TYPES.items()}
    kind = kinds.get(value.type.tensor_type.elem_type, "another type, which nodes can cast to")
    fixed = [side for side in sides if isinstance(side, int)]
    fits = not fixed or (sides == list(given.size_wh[::-1]) and not given.multiple_of)
    return [
        ("constants", not others, f"numbers for {', '.join(others)} too, further inputs of the graph", dict(constants)),
        ("constants", not strange, f"inputs of the graph, it has {', '.join(inputs)}", strange),
        ("input.name", len(shape) == 4, f"an input of 4 axes, this has {shape}; nodes can reshape it", given.name),
        ("input.dtype", kind == given.dtype, f"{kind}, the graph's input is {shape}", given.dtype),
        ("input.layout", len(shape) != 4 or shape[channels] in (3, "") or isinstance(shape[channels], str),
         f"the axis of 3 colours among {shape}", given.layout),
        ("input.size_wh", fits, f"{sides[::-1]} as in the graph's input {shape}, and multiple_of 0", given.size_wh),
    ]  # fmt: skip
