"""A tiny network with MoveNet multipose's signature: any size in, six rows of 17 keypoints, a box and a score out."""

from pathlib import Path

import numpy as np
import tiny
import tiny_topdown
from onnx import TensorProto, helper

from posert.runtime.spec import InputSpec, ModelSpec, Stage

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
    return tiny_topdown.write(path, nodes, constants, (["n", "h", "w", 3], ["n", 6, 56]), SPEC, TensorProto.INT32)
