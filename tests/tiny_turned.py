"""Tiny models with turned regions: bright spots of crops that a detector's keypoints turn, or the last frame's."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import tiny_topdown
from onnx import helper

from posert.poses import Skeleton
from posert.runtime.region_spec import Turn
from posert.runtime.spec import ModelSpec, Stage

PALMS = Stage("detector", "frame", tiny_topdown.IMAGE, {"people": "people"}, "direct", keypoint_count=3)
HANDS = replace(
    tiny_topdown.POSE, input=replace(tiny_topdown.CROP, margin=1.5), turn=Turn((0, 2), "up", "box", (0.1, -0.25)),
    suppress=None,
)  # fmt: skip
FOLLOWED = replace(
    HANDS,
    region="follow",
    input=replace(tiny_topdown.CROP, fit="center", margin=2.5),
    turn=Turn((0, 1), "left", "line"),
)


def detector(path: Path, spec: ModelSpec | None = None) -> Path:
    """Three rows of three keypoints, a box and a score, which move with the picture; the last lacks a keypoint."""
    rng = np.random.default_rng(3)
    fixed, slope = (
        rng.uniform(0.2, 0.6, (1, 3, 14)).astype(np.float32),
        rng.uniform(0, 0.3, (1, 3, 14)).astype(np.float32),
    )
    fixed[0, :, 9:14] = (0.1, 0.1, 0.5, 0.4, 0.9), (0.3, 0.4, 0.8, 0.9, 0.8), (0, 0, 0.5, 0.5, 0.7)
    fixed[0, 2, 8], slope[0, 2, 8] = -1, 0
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "last"], ["means"]),
        helper.make_node("Mul", ["means", "slope"], ["change"]),
        helper.make_node("Add", ["change", "fixed"], ["people"]),
    ]
    own = ModelSpec(1, "toy", "palms", Skeleton(("a", "b", "c"), ()), (replace(PALMS, name="pose", keypoint_count=0),))
    constants = {"fixed": fixed, "slope": slope, "last": np.array([3])}
    return tiny_topdown.write(path, nodes, constants, (["n", 3, 64, 64], ["n", 3, 14]), spec or own)


def palms(path: Path) -> Path:
    """The detector, and `tiny_topdown`'s network on crops that it turns."""
    companion = detector(path.with_name("palm_detector.onnx"))
    digest = hashlib.sha256(companion.read_bytes()).hexdigest()
    first = replace(PALMS, file=companion.name, sha256=digest)
    return tiny_topdown.pose(path, stages=(first, HANDS))


def follow(path: Path) -> Path:
    """`tiny_topdown`'s network on the whole frame, then after its own keypoints."""
    return tiny_topdown.pose(path, stages=(FOLLOWED,))
