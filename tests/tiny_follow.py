"""A tiny network for one person and a detector: people are bright squares of 12 px, drawn on a dark frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tiny_topdown
from onnx import helper

from posert.poses import Frame, Skeleton
from posert.runtime.spec import InputSpec, ModelSpec, Stage

SKELETON = Skeleton(("nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip"), ((1, 2), (3, 4)))
SIDE, HALF = 64, 6
POSE = Stage(
    "pose", "follow", InputSpec("image", "NHWC", "float32", "rgb", (SIDE, SIDE), "square", align="corners"),
    {"keypoints": "keypoints"}, "direct", {"min_score": 0.5},
)  # fmt: skip
FIND = Stage(
    "detector", "frame", tiny_topdown.IMAGE, {"grid_rows": "rows"}, "detect", {"min_score": 0.3, "max_iou": 0.2}
)
EVERYBODY = replace(POSE, input=replace(POSE.input, margin=1.5), suppress="oks", suppress_params={"max_oks": 0.3})


def scene(
    *squares: tuple[float, float], index: int = 0, source: str = "made", wh: tuple[int, int] = (128, 96)
) -> Frame:
    """A frame with people around (x, y)."""
    image = np.full((wh[1], wh[0], 3), 2, np.uint8)
    for number, (x, y) in enumerate(squares):
        left, top = max(0, round(x) - HALF), max(0, round(y) - HALF)
        image[top : max(0, round(y) + HALF), left : max(0, round(x) + HALF)] = 255 - 20 * number
    return Frame(image, index, index / 10, source)


def detector(path: Path) -> Path:
    """A box of 24 px of a frame of 128 px around each cell of a grid of 8 x 8 that a bright square covers."""
    fixed, sure = np.zeros((1, 84, 85), np.float32), np.zeros((1, 84, 85), np.float32)
    fixed[0, :64, :4] = 0.5, 0.5, np.log(12 / 8), np.log(12 / 8)
    sure[0, :64, 4] = 2
    fixed[0, :64, 5] = 1
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("MatMul", ["flat", "spread"], ["wide"]),
        helper.make_node("Unsqueeze", ["wide", "last"], ["column"]),
        helper.make_node("Mul", ["column", "sure"], ["scaled"]),
        helper.make_node("Add", ["scaled", "fixed"], ["rows"]),
    ]
    constants = {
        "fixed": fixed, "sure": sure, "spread": np.eye(64, 84, dtype=np.float32), "last": np.array([2], np.int64),
    }  # fmt: skip
    spec = ModelSpec(1, "toy", "squares", Skeleton((), ()), (FIND,))
    return tiny_topdown.write(path, nodes, constants, (["n", 3, 64, 64], ["n", 84, 85]), spec)


def pair(folder: Path) -> Path:
    """The network for everybody whom the detector beside it finds."""
    return pose(folder / "pose.onnx", (tiny_topdown.first_stage(detector(folder / "detector.onnx")), EVERYBODY))


def pose(path: Path, stages: tuple[Stage, ...] = (POSE,)) -> Path:
    """The square nearest to the middle of the crop: five keypoints, as sure as its brightest pixel is near."""
    middle = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    near = np.exp(-((middle - 0.5) ** 2) / 0.08)
    constants = {
        "x": middle[None, None, :, None], "y": middle[None, :, None, None],
        "near": (near[:, None] * near)[None, :, :, None] / 255, "share": np.float32(0.3),
        "beside": np.array([0, -1.7, 1.7, -1.7, 1.7], np.float32)[None, None, :, None],
        "below": np.array([-1.7, -1.7, -1.7, 1.7, 1.7], np.float32)[None, None, :, None],
        "all": np.ones((1, 1, 5, 1), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["grey"], axes=[3], keepdims=1),
        helper.make_node("Mul", ["grey", "near"], ["light"]),
        helper.make_node("ReduceMax", ["light"], ["most"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["most", "share"], ["least"]),
        helper.make_node("GreaterOrEqual", ["light", "least"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["weight"], to=1),
        helper.make_node("ReduceMean", ["weight"], ["mass"], axes=[1, 2], keepdims=1),
    ]
    for axis, offsets in (("x", "beside"), ("y", "below")):
        nodes += [
            helper.make_node("Mul", ["weight", axis], [f"{axis}1"]),
            helper.make_node("ReduceMean", [f"{axis}1"], [f"{axis}2"], axes=[1, 2], keepdims=1),
            helper.make_node("Div", [f"{axis}2", "mass"], [f"{axis}_mean"]),
            helper.make_node("Sub", [axis, f"{axis}_mean"], [f"{axis}3"]),
            helper.make_node("Mul", [f"{axis}3", f"{axis}3"], [f"{axis}4"]),
            helper.make_node("Mul", [f"{axis}4", "weight"], [f"{axis}5"]),
            helper.make_node("ReduceMean", [f"{axis}5"], [f"{axis}6"], axes=[1, 2], keepdims=1),
            helper.make_node("Div", [f"{axis}6", "mass"], [f"{axis}7"]),
            helper.make_node("Sqrt", [f"{axis}7"], [f"{axis}_spread"]),
            helper.make_node("Mul", [f"{axis}_spread", offsets], [f"{axis}8"]),
            helper.make_node("Add", [f"{axis}8", f"{axis}_mean"], [f"{axis}_out"]),
        ]
    nodes += [
        helper.make_node("Mul", ["most", "all"], ["sure"]),
        helper.make_node("Concat", ["y_out", "x_out", "sure"], ["keypoints"], axis=3),
    ]
    spec = ModelSpec(1, "toy", "one-square", SKELETON, stages)
    return tiny_topdown.write(path, nodes, constants, (["n", SIDE, SIDE, 3], ["n", 1, 5, 3]), spec)
