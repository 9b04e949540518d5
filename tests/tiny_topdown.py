"""Tiny top-down models: a detector whose boxes stand still, and a pose network that finds the brightest spot."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from posert.poses import Skeleton
from posert.runtime.metadata import metadata_text
from posert.runtime.spec import METADATA_KEY, InputSpec, ModelSpec, Stage, from_json, to_json

IMAGE = InputSpec("image", "NCHW", "float32", "bgr", (64, 64), "corner", std=(255.0, 255.0, 255.0))
DETECTOR = Stage("detector", "frame", IMAGE, {"grid_rows": "rows"}, "detect")
CROP = InputSpec("image", "NCHW", "float32", "rgb", (24, 32), "boxes", align="origin", std=(255.0, 255.0, 255.0))
POSE = Stage("pose", "boxes", CROP, {"maps": "maps"}, "heatmap", {}, "poses")
SKELETON = Skeleton(("left", "right"), ((0, 1),), (), (1, 0))


def write(
    path: Path, nodes: list, constants: dict, shapes: tuple, spec: ModelSpec, takes: int = TensorProto.FLOAT
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", takes, shapes[0])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, shapes[1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, to_json(spec)
    onnx.save(model, str(path))
    return path


def detector(path: Path, *, classes: int = 80, boxes: tuple[tuple[int, int], ...] = ((0, 0), (1, 1))) -> Path:
    """Boxes of 32 x 32 px at cells (column, line) of a grid of 2 x 2, as sure as the picture is bright."""
    fixed, bright = np.zeros((1, 84, 5 + classes), np.float32), np.zeros((1, 84, 5 + classes), np.float32)
    for column, line in boxes:
        row = 80 + 2 * line + column
        fixed[0, row, :4] = 0.5, 0.5, 0, 0
        bright[0, row, 4:6] = 1, 1
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["most", "last"], ["flat"]),
        helper.make_node("Mul", ["flat", "bright"], ["scaled"]),
        helper.make_node("Add", ["scaled", "fixed"], ["rows"]),
    ]
    spec = ModelSpec(1, "toy", "two-boxes", Skeleton((), ()), (DETECTOR,))
    constants = {"fixed": fixed, "bright": bright, "last": np.array([3], np.int64)}
    return write(path, nodes, constants, (["n", 3, 64, 64], ["n", 84, 5 + classes]), spec)


def first_stage(companion: Path) -> Stage:
    """The stage of a detector in a file of its own."""
    (stage,) = from_json(str(metadata_text(companion, METADATA_KEY))).stages
    return replace(stage, file=companion.name, sha256=hashlib.sha256(companion.read_bytes()).hexdigest())


def spots(path: Path, companion: Path) -> Path:
    """Two keypoints in the middle of each crop, as sure as its brightest pixel; a dark crop holds nobody."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["most", "sure"], ["scores"]),
        helper.make_node("Add", ["scores", "middle"], ["keypoints"]),
    ]
    constants = {name: np.zeros((1, 1, 2, 3), np.float32) for name in ("sure", "middle")}
    constants["sure"][..., 2], constants["middle"][..., :2] = 0.8, 0.5
    stage = replace(POSE, decoder="direct", outputs={"keypoints": "keypoints"})
    spec = ModelSpec(1, "toy", "spots", SKELETON, (first_stage(companion), stage))
    return write(path, nodes, constants, (["n", 3, 32, 24], ["n", 1, 2, 3]), spec)


def pose(path: Path, companion: Path | None = None, *, stages: tuple[Stage, ...] = ()) -> Path:
    """Keypoints on the first and the last of the brightest cells of the crop, 8 x 6; the second a bit less sure.

    stages: instead of the usual ones.
    """
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["cells", "trust"], ["maps"]),
    ]
    stages = stages or ((POSE,) if companion is None else (first_stage(companion), POSE))
    spec = ModelSpec(1, "toy", "bright-person", SKELETON, stages)
    later = np.arange(48).reshape(8, 6) * 1e-6
    trust = np.stack([np.ones((8, 6)), 0.9 + later]).astype(np.float32)[None]
    return write(path, nodes, {"trust": trust}, (["n", 3, 32, 24], ["n", 2, 8, 6]), spec)
