"""The system `movenet`: Google's MoveNet, single and multi person, from TensorFlow.js, TFLite or SavedModel to ONNX."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posert.errors import PosertError
from posert.export import onnx_fast, onnx_file
from posert.export.onnx_file import Exported, Reference
from posert.export.readers import tensorflow_models, tensorflow_nodes, tfjs
from posert.export.weights import Entry
from posert.runtime.spec import InputSpec, Stage
from posert.skeletons import COCO_17_MOVENET

OPTIONS = frozenset({"dequantize"})
STAND_INS: dict[str, str] = {}
ROUNDED = {"tflite": "int8 does, which every program rounds in its own way"}
OWN = {".tflite": "tflite", ".json": "tfjs", ".tar.gz": "saved_model", "": "saved_model"}
_ONNX_TYPES = {1: "float32", 2: "uint8", 6: "int32"}
_MULTI_SIDE = 256  # the model card's recommendation for the longer side


def build(entry: Entry, path: Path, options: frozenset[str]) -> Exported:
    """A MoveNet: its route is `tfjs` (model.json and its shards), `tflite`, or `saved_model` (.tar.gz or a folder).

    The option `dequantize` gives the float32 network of an int8 TFLite file: more accurate, half as fast.
    """
    if entry.route == "tfjs":
        graph = tensorflow_nodes.to_onnx(tfjs.read(path))
    elif entry.route == "tflite":
        graph = tensorflow_models.convert(
            ["--tflite", str(path), *(["--dequantize"] if "dequantize" in options else [])]
        )
        onnx_file.real_ends(graph)  # first: what follows turns int8 into uint8, 128 higher
        onnx_file.unsigned_activations(graph)
    else:
        with tempfile.TemporaryDirectory() as folder:
            graph = tensorflow_models.convert(["--saved-model", str(tensorflow_models.unpack(path, Path(folder)))])
    given, outputs = graph.graph.input[0], {value.name: _shape(value) for value in graph.graph.output}
    found = next((name for name, shape in outputs.items() if _role(shape)), None)
    several = found is not None and _role(outputs[found]) == "people"
    side, kind = _MULTI_SIDE if several else _shape(given)[1], _ONNX_TYPES.get(given.type.tensor_type.elem_type)
    if found is None or kind is None or not isinstance(side, int):
        raise PosertError(
            f"the file is no MoveNet: {_shape(given)} -> {', '.join(map(str, outputs.values()))}",
            "a network of another shape takes a recipe, once it is ONNX (tf2onnx): posert tag FILE `recipe`",
        )
    onnx_fast.faster(graph)
    role = _role(outputs[found])
    onnx_file.rename_tensor(graph, given.name, "image")
    onnx_file.rename_tensor(graph, found, role)
    if several:
        onnx_file.input_shape(graph, [1, "height", "width", 3])
    image = InputSpec(
        name="image", layout="NHWC", dtype=kind, color="rgb", size_wh=(side, side),  # type: ignore[arg-type]
        fit="corner" if several else "square", multiple_of=32 if several else 0,
        align="half_pixel" if several else "corners", rounding="truncate",
    )  # fmt: skip
    stage = Stage("pose", "frame" if several else "follow", image, {role: role}, "direct")
    model = entry.name + ("-float32" if "dequantize" in options else "")
    return onnx_file.exported(graph, entry, COCO_17_MOVENET, stage, model)


def _shape(value: Any) -> list[int | str]:
    return [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]


def _role(shape: Sequence[int | str]) -> str:
    """What an output of this shape is; empty if it is none of MoveNet's."""
    return "people" if list(shape[-1:]) == [56] else "keypoints" if list(shape[-2:]) == [17, 3] else ""


def reference(entry: Entry, path: Path) -> Reference:
    """TensorFlow's network."""
    if entry.route == "tflite":
        return lambda tensor: {"keypoints": tensorflow_models.run_tflite(path, tensor)}

    def run(tensor: Any) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            outputs = tensorflow_models.run_saved_model(tensorflow_models.unpack(path, Path(folder)), tensor)
        roles = {_role(list(output.shape)): output for output in outputs}
        return {role: output for role, output in roles.items() if role}

    return run
