"""A tiny network in float16 that takes more than the picture: the spots of `tiny_topdown`, as sure as its numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tiny_topdown
from onnx import TensorProto, helper, numpy_helper

from posert.runtime.spec import METADATA_KEY, ModelSpec, Stage, to_json

NUMBERS = {"scale_factor": (0.5, 1), "im_shape": ("height", "width"), "mask": (1,)}
CROP = replace(tiny_topdown.CROP, dtype="float16", margin=1.5)
STAGE = replace(tiny_topdown.POSE, input=CROP, constants=NUMBERS)


def fed(path: Path, companion: Stage | None = None, *, rows: str | int = "n", **edits: Any) -> Path:
    """Scores times `scale_factor`'s product, of each row, and the input's size over `im_shape`, where `mask` is 1.

    Args:
        companion: a detector's stage before it. rows: the length of the first axes. edits: replaced in the stage.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["float"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["cells", "trust"], ["trusted"]),
        helper.make_node("Mul", ["trusted", "mask"], ["masked"]),
        helper.make_node("Cast", ["im_shape"], ["said"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["size", "said"], ["shares"]),
        helper.make_node("Cast", ["scale_factor"], ["factors"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["factors", "shares"], ["both"]),
        helper.make_node("ReduceProd", ["both"], ["product"], axes=[1], keepdims=1),
        helper.make_node("Unsqueeze", ["product", "last"], ["per_row"]),
        helper.make_node("Mul", ["masked", "per_row"], ["exact"]),
        helper.make_node("Cast", ["exact"], ["maps"], to=TensorProto.FLOAT16),
    ]
    trust = np.stack([np.ones((8, 6)), 0.9 + np.arange(48).reshape(8, 6) * 1e-3]).astype(np.float32)[None]
    constants = {"trust": trust, "size": np.array([32, 24], np.float32), "last": np.array([2, 3])}
    inputs = {
        "scale_factor": (TensorProto.FLOAT16, [rows, 2]), "im_shape": (TensorProto.INT64, [rows, 2]),
        "image": (TensorProto.FLOAT16, [rows, 3, 32, 24]), "mask": (TensorProto.FLOAT, [8, 6]),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "fed",
        [helper.make_tensor_value_info(name, *given) for name, given in inputs.items()],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT16, [rows, 2, 8, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    stages = (*([companion] if companion else []), replace(STAGE, **edits))
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, to_json(ModelSpec(1, "toy", "fed", tiny_topdown.SKELETON, stages))
    onnx.save(model, str(path))
    return path
