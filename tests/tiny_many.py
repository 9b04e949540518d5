"""A tiny network with MoveNet multipose's signature: any size in, six rows of 17 keypoints, a box and a score out."""

from pathlib import Path

import numpy as np
import onnx
import tiny
from onnx import TensorProto, helper, numpy_helper

from posert.runtime.spec import METADATA_KEY, InputSpec, ModelSpec, Stage, to_json

INPUT = InputSpec("image", "NHWC", "int32", "rgb", (256, 256), "corner", 32, rounding="truncate")
SPEC = ModelSpec(
    1, "toy", "six-rows", tiny.SPEC.skeleton, (Stage("pose", "frame", INPUT, {"people": "people"}, "direct"),)
)


def rows(path: Path) -> Path:
    """Rows that move and fade with the picture's mean: some too faint, keypoints not found, a box that is none."""
    rng = np.random.default_rng(0)
    fixed = rng.uniform(0, 1, (1, 6, 56)).astype(np.float32)
    fixed[0, :, 55] = 0.9, 0.5, 0.2, 0.09, 0.05, 0.0
    fixed[0, 0, 2:51:9] = 0, -1, 0, -0.5, 0, 0
    fixed[0, 1, 51] = np.nan
    slope = rng.uniform(0, 0.2, (1, 6, 56)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["means"]),
        helper.make_node("Div", ["means", "most"], ["share"]),
        helper.make_node("Mul", ["share", "slope"], ["change"]),
        helper.make_node("Add", ["change", "fixed"], ["people"]),
    ]
    constants = {"column": np.array([-1, 1, 1]), "most": np.float32(255), "slope": slope, "fixed": fixed}
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("image", TensorProto.INT32, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("people", TensorProto.FLOAT, ["n", 6, 56])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, to_json(SPEC)
    onnx.save(model, str(path))
    return path
