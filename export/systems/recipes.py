"""The system `recipes`: ready-made ONNX files of anybody's that a recipe in `models.lock` describes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from posert.errors import PosertError
from posert.export import onnx_file, own_file, weights
from posert.export.onnx_file import Exported, Reference
from posert.export.onnx_nodes import inputs_of
from posert.export.recipe import read_recipe
from posert.export.weights import Entry

OPTIONS: frozenset[str] = frozenset()
STAND_INS: dict[str, str] = {}
ROUNDED: dict[str, str] = {}
OWN: dict[str, str] = {}
_ANY = "*"


def build(entry: Entry, path: Path, options: frozenset[str]) -> Exported:
    """A network of the route `onnx`, with what its recipe says; the system is called as the recipe.

    Raises:
        PosertError: the file is no ONNX, or another network than the recipe describes.
    """
    data = weights.recipe(entry)
    _name_tensors(data["stage"], path)
    exported = own_file.build(path, read_recipe(data, entry.name))
    return Exported(exported.graph, replace(exported.spec, system=entry.recipe))


def _name_tensors(stage: dict[str, Any], path: Path) -> None:
    """Puts the name of the only input, and of the first output, wherever the recipe leaves them to the file."""
    given, outputs = stage["input"], stage["outputs"]
    if _ANY not in (given["name"], *outputs.values()):
        return
    graph = onnx_file.load(path)
    inputs, first = list(inputs_of(graph)), graph.graph.output[0].name
    if len(inputs) != 1:
        raise PosertError(f"{path} has {len(inputs)} inputs, expected one", "give the network that its name says")
    given["name"] = inputs[0] if given["name"] == _ANY else given["name"]
    stage["outputs"] = {role: first if name == _ANY else name for role, name in outputs.items()}


def reference(entry: Entry, path: Path) -> Reference:
    """Never asked for: such a file is its own original."""
    raise NotImplementedError(entry.name)
