"""Tiny models that look at pictures through convolutions, for what changes layers: people are the brightest spots."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tiny
import tiny_topdown
from onnx import TensorProto, helper

from posert.poses import Skeleton
from posert.runtime.spec import ModelSpec

RANDOM = np.random.default_rng(0)


def pictures(folder: Path, count: int = 12, *, dark: bool = False) -> Path:
    """A folder of pictures of 64 x 64 px with a bright spot somewhere, or none."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        bgr = np.full((64, 64, 3), 8, np.uint8)
        if not dark:
            cv2.circle(bgr, (16 + 7 * number % 32, 14 + 5 * number % 37), 5, (250, 240, 230), -1)
        cv2.imwrite(str(folder / f"{number:03}.png"), cv2.GaussianBlur(bgr, (0, 0), 2))
    return folder


def detector(path: Path) -> Path:
    """`tiny_topdown.detector` of the picture behind a convolution that changes nothing."""
    import onnx

    tiny_topdown.detector(path)
    graph = onnx.load(str(path))
    same = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    graph.graph.initializer.append(helper.make_tensor("same", TensorProto.FLOAT, same.shape, same.ravel()))
    graph.graph.node[0].input[0] = "seen"
    graph.graph.node.insert(0, helper.make_node("Conv", ["image", "same"], ["seen"], name="look"))
    onnx.save(graph, str(path))
    return path


def pose(path: Path, companion: Path, *, outliers: tuple[float, ...] = (0.0, 0.0), larger: bool = False) -> Path:
    """Two keypoints where a crop is brightest, found by four convolutions.

    outliers: a channel of so much runs along behind the first and the second convolution, and is left out again at the
        end: in eight bits the others get lost beside it.
    larger: the maps are made twice as large two times, and mixed once more.
    """
    first, second = (np.abs(RANDOM.standard_normal(shape)).astype(np.float32) for shape in ((7, 3, 3, 3), (7, 8, 1, 1)))
    first /= first.sum(axis=(1, 2, 3), keepdims=True)
    second[:, 7] = 0
    second /= second.sum(axis=(1, 2, 3), keepdims=True)
    third = np.zeros((4, 8, 1, 1), np.float32)
    third[:, :7] = 1 / 7
    last = np.stack([np.full((4, 4, 4), 1 / 64), np.full((4, 4, 4), 0.9 / 64)]).astype(np.float32)
    constants = {
        "w1": np.concatenate([first, np.zeros((1, 3, 3, 3), np.float32)]), "b1": _bias(outliers[0]),
        "w2": np.concatenate([second, np.zeros((1, 8, 1, 1), np.float32)]), "b2": _bias(outliers[1]),
        "w3": third, "w4": last,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2", "b2"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w3"], ["e"]),
        helper.make_node("Conv", ["e", "w4"], ["maps"], strides=[4, 4]),
    ]
    stages = (tiny_topdown.first_stage(companion), tiny_topdown.POSE)
    spec = ModelSpec(1, "toy", "bright-person", tiny_topdown.SKELETON, stages)
    if larger:
        ramp = np.float32([0.25, 0.75, 0.75, 0.25])
        constants |= {
            "up": np.tile(np.outer(ramp, ramp), (2, 1, 1, 1)),
            "mix": np.float32([[[[1]], [[0]]], [[[0]], [[1]]]]),
        }
        nodes[-1].output[0], own = "f", {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1]}
        nodes += [
            helper.make_node("ConvTranspose", ["f", "up"], ["g"], **own), helper.make_node("Relu", ["g"], ["h"]),
            helper.make_node("ConvTranspose", ["h", "up"], ["i"], **own), helper.make_node("Relu", ["i"], ["j"]),
            helper.make_node("Conv", ["j", "mix"], ["maps"]),
        ]  # fmt: skip
    sides = [32, 24] if larger else [8, 6]
    return tiny_topdown.write(path, nodes, constants, (["n", 3, 32, 24], ["n", 2, *sides]), spec)


def _bias(outlier: float) -> np.ndarray[Any, Any]:
    return np.array([0.0] * 7 + [outlier], np.float32)


def pair(folder: Path, **others: Any) -> Path:
    """`pose` with its detector beside it."""
    folder.mkdir(exist_ok=True)
    return pose(folder / "person.onnx", detector(folder / "boxes.onnx"), **others)


def follow(path: Path) -> Path:
    """One person who is followed: 17 keypoints in the middle, as sure as the middle of the picture is bright."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "grey"], ["seen"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["seen"], ["mean"]),
        helper.make_node("Mul", ["mean", "sure"], ["scores"]),
        helper.make_node("Add", ["scores", "middle"], ["keypoints"]),
    ]
    sure, middle = np.zeros((1, 1, 17, 3), np.float32), np.zeros((1, 1, 17, 3), np.float32)
    sure[..., 2], middle[..., 2], middle[..., :2] = 0.01, 0.5, np.linspace(0.3, 0.7, 17)[:, None]
    constants = {"grey": np.full((1, 3, 4, 4), 1 / 48, np.float32), "sure": sure, "middle": middle}
    spec = replace(tiny.SPEC, skeleton=Skeleton(tiny.NAMES, ((0, 1), (5, 6))))
    shapes = (["n", 64, 64, 3], ["n", 1, 17, 3])
    return tiny_topdown.write(path, nodes, constants, shapes, spec, TensorProto.UINT8)
