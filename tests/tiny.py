"""Tiny ONNX models with posert metadata, for tests that need a file but no trained network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from posert.poses import Skeleton
from posert.runtime.spec import METADATA_KEY, InputSpec, ModelSpec, Stage, to_json

NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
INPUT = InputSpec("image", "NHWC", "uint8", "rgb", (64, 64), "square", align="corners", rounding="truncate")
STAGE = Stage("pose", "follow", INPUT, {"keypoints": "keypoints"}, "direct")
SPEC = ModelSpec(1, "toy", "bright-spot", Skeleton(NAMES, ((0, 1), (5, 6))), (STAGE,), "MIT", "made by a test")


def bright_spot(path: Path, *, metadata: str | None = "", spec: ModelSpec = SPEC, **edits: Any) -> Path:
    """A model whose 17 keypoints all lie on the image's mean brightness: (y, x, score) = (mean, mean, 0.9).

    Args:
        metadata: None = none at all, "" = of `spec`, else this text.
        edits: replaced in the stage of `spec`.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "per_255"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "where"], ["spread"]),
        helper.make_node("Add", ["spread", "score"], ["keypoints"]),
    ]
    constants = [
        helper.make_tensor("per_255", TensorProto.FLOAT, [1], [1 / 255]),
        helper.make_tensor("where", TensorProto.FLOAT, [1, 1, 17, 3], [1.0, 1.0, 0.0] * 17),
        helper.make_tensor("score", TensorProto.FLOAT, [1, 1, 17, 3], [0.0, 0.0, 0.9] * 17),
    ]
    graph = helper.make_graph(
        nodes,
        "bright_spot",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 64, 64, 3])],
        [helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["n", 1, 17, 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if metadata is not None:
        stage = replace(spec.stages[0], **edits)
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, metadata or to_json(replace(spec, stages=(stage,)))
    onnx.save(model, str(path))
    return path
