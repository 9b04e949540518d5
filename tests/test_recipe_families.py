"""A family that no decoder was written for runs by recipe alone: its own search, written in ONNX nodes."""

import shutil
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import own_networks
import pytest
from onnx import helper

import posert
from posert.export.guess import to_toml

# CenterNet for poses: people's centres are peaks of `hm`, `hps` has x, y of their keypoints from there, in cells.
CENTRES = """
licence = "MIT"

[skeleton]
names = ["head", "left_hand", "right_hand"]
edges = [[0, 1], [0, 2]]

[stage]
region = "frame"
decoder = "rows"
outputs = { scores = "scores", keypoints = "keypoints" }
params = { keypoint_scores = false, min_score = 0.3 }

[stage.input]
name = "image"
layout = "NCHW"
dtype = "float32"
color = "rgb"
size_wh = [64, 48]
fit = "corner"
std = [255, 255, 255]
"""
NODES = [
    # a centre is as high as its surroundings
    ("MaxPool", ["hm"], ["highest"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("Equal", ["hm", "highest"], ["is_peak"], {}),
    ("Cast", ["is_peak"], ["mask"], {"to": 1}),
    ("Mul", ["hm", "mask"], ["peaks"], {}),
    ("Reshape", ["peaks", [-1, 192]], ["flat"], {}),
    ("TopK", ["flat", [20]], ["scores", "cells"], {}),
    # what the other maps say there
    ("Reshape", ["hps", [-1, 6, 192]], ["columns"], {}),
    ("Transpose", ["columns"], ["rows"], {"perm": [0, 2, 1]}),
    ("Unsqueeze", ["cells", [2]], ["index"], {}),
    ("GatherND", ["rows", "index"], ["found"], {"batch_dims": 1}),
    ("Reshape", ["found", [0, 20, 3, 2]], ["pairs"], {}),
    # the centre's column and line, of 16 columns
    ("Mod", ["index", 16], ["column"], {}),
    ("Div", ["index", 16], ["line"], {}),
    ("Concat", ["column", "line"], ["whole"], {"axis": 2}),
    ("Cast", ["whole"], ["centre"], {"to": 1}),
    ("Unsqueeze", ["centre", [2]], ["centres"], {}),
    ("Add", ["pairs", "centres"], ["in_cells"], {}),
    ("Mul", ["in_cells", 4.0], ["keypoints"], {}),
]


def centres(path: Path) -> Path:
    """`hm` [N,1,12,16] bright where green is, `hps` [N,6,12,16] the same everywhere."""
    offsets = np.tile(np.array([0, -2, -3, 1, 3, 1], np.float32).reshape(1, 6, 1, 1), (1, 1, 12, 16))
    nodes = [
        helper.make_node("Slice", ["image", "one", "two", "one"], ["green"]),
        helper.make_node("AveragePool", ["green"], ["hm"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["hm", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "offsets"], ["hps"]),
    ]
    constants: dict[str, Any] = {"one": np.array([1]), "two": np.array([2]), "offsets": offsets}
    constants["nothing"] = np.float32(0)
    shapes = {"image": ("n", 3, 48, 64)}, {"hm": ("n", 1, 12, 16), "hps": ("n", 6, 12, 16)}
    return own_networks.network(path, nodes, constants, *shapes)


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """The network with its recipe."""
    recipe = tmp_path / "centres.toml"
    nodes = [{"op": op, "inputs": i, "outputs": o, "attributes": a} for op, i, o, a in NODES]
    recipe.write_text(CENTRES + to_toml({"nodes": nodes}, {}, []))
    return posert.tag(centres(tmp_path / "net.onnx"), recipe=recipe, out=tmp_path)


@pytest.mark.skipif(None in map(shutil.which, ("cc", "make")), reason="needs a C compiler")
def test_in_c_to_the_bit(tagged: Path, tmp_path: Path) -> None:
    assert bundles.assert_same_bits(bundles.built(tagged, tmp_path / "c"), bundles.noise()) > 0


def test_centres_of_people(tagged: Path) -> None:
    bgr = np.zeros((48, 64, 3), np.uint8)
    bgr[20:24, 16:20, 1] = 250  # cell 4, 5
    bgr[28:32, 44:48, 1] = 150  # cell 11, 7
    with posert.open_model(tagged, device="cpu") as model:
        poses = posert.estimate_image(model, bgr).poses
    assert poses.scores == pytest.approx([250 / 255, 150 / 255], abs=1e-3)
    assert poses.keypoints[0, :, :2].tolist() == [[16, 12], [4, 24], [28, 24]]
    assert poses.keypoints[1, :, :2].tolist() == [[44, 20], [32, 32], [56, 32]]
