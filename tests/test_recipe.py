"""`posert tag` with a recipe: one's own network, without touching the package."""

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import own_networks
import pytest
import tiny_topdown
from command import Run
from onnx import helper

import posert
from posert import estimate_image, open_model
from posert.errors import PosertError
from posert.export.onnx_file import read_metadata
from posert.export.onnx_nodes import ONNX_TYPES
from posert.skeletons import COCO_17

RECIPE = """
licence = "MIT"
model = "spots"

[skeleton]
names = ["left", "right"]
edges = [[0, 1]]

[stage]
region = "boxes"
decoder = "heatmap"

[stage.input]
name = "image"
layout = "NCHW"
dtype = "float32"
color = "rgb"
size_wh = [24, 32]
fit = "boxes"
align = "origin"
std = [255, 255, 255]

[stage.outputs]
maps = "heat"
"""


def _recipe(path: Path, text: str = RECIPE) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _photo() -> np.ndarray:
    bgr = np.zeros((40, 60, 3), np.uint8)
    bgr[12:16, 20:24] = 200
    return bgr


def test_a_network_of_ones_own(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    file, recipe = own_networks.brightest_cells(tmp_path / "net.onnx"), _recipe(tmp_path / "mine.toml")
    before = file.read_bytes()
    monkeypatch.chdir(tmp_path)
    code, out, err = run("tag", file, "--recipe", recipe)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("input [1, 3, 32, 24]: 0 to")
    assert out.splitlines()[1].startswith("maps [1, 2, 8, 6]: 0 to")
    assert out.splitlines()[2].startswith("people in a drawn picture: 1, scores")
    assert out.splitlines()[3] == "spots.onnx"
    assert file.read_bytes() == before
    spec = read_metadata(tmp_path / "spots.onnx")
    assert (spec.system, spec.model, spec.licence, spec.stages[0].name) == ("own", "spots", "MIT", "pose")
    assert spec.skeleton.flip == (1, 0)
    picture = tmp_path / "photo.png"
    cv2.imwrite(str(picture), _photo())
    boxes = [{"image_id": "photo.png", "bbox": [10, 0, 30, 40], "score": 0.9}]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    code, out, err = run("infer", "spots.onnx", picture, "--boxes", tmp_path / "boxes.json")
    assert (code, err[:9]) == (0, "1 frames,")
    assert '"names":["left","right"]' in out


def test_it_finds_what_hand_made_metadata_finds(tmp_path: Path) -> None:
    """The same network, once with metadata written by code and once by recipe."""
    finder = tiny_topdown.detector(tmp_path / "detector.onnx")
    known, own = tiny_topdown.pose(tmp_path / "known.onnx", finder), tmp_path / "own.onnx"
    recipe = tomllib.loads(RECIPE) | {"detector": finder.name}
    recipe["stage"] |= {"outputs": {"maps": "maps"}, "suppress": "poses"}
    written = posert.tag(known, recipe=recipe, out=own)
    bgr = np.full((40, 60, 3), 40, np.uint8)
    bgr[10:14, 20:24] = 200
    with open_model(known, device="cpu") as one, open_model(written, device="cpu") as other:
        expected, found = estimate_image(one, bgr).poses, estimate_image(other, bgr).poses
    assert len(expected) > 0
    for name in ("keypoints", "scores", "boxes_xyxy"):
        assert getattr(expected, name).tobytes() == getattr(found, name).tobytes()


def test_a_skeleton_by_name_and_a_model_named_after_the_recipe(tmp_path: Path) -> None:
    file = own_networks.brightest_cells(tmp_path / "net.onnx", parts=17)
    text = RECIPE.replace('model = "spots"', 'skeleton = "coco_17"')
    text = text[: text.index("[skeleton]")] + text[text.index("[stage]") :]
    written = posert.tag(file, recipe=_recipe(tmp_path / "walkers.toml", text), out=tmp_path)
    assert written == tmp_path / "walkers.onnx"
    assert read_metadata(written).skeleton == COCO_17


def _set(recipe: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    *way, last = key.split(".")
    place = recipe
    for word in way:
        place = place[word]
    place[last] = value
    if value is None:
        del place[last]
    return recipe


WRONG: list[tuple[str, Any, str]] = [
    ("stage.input.mean", "?", 'leaves open: stage.input.mean'),
    ("stage.input.mean", [0, 0], "stage.input.mean = [0, 0], expected 3 values"),
    ("stage.input.mean", "grey", "stage.input.mean = 'grey', expected a list"),
    ("stage.input.maen", [0, 0, 0], "stage.input.maen = [0, 0, 0], expected one of the keys name, layout"),
    ("stage.input.std", [1, 0, 1], "stage.input.std = (1.0, 0.0, 1.0), expected values other than 0"),
    ("stage.input.color", "RGB", "stage.input.color = 'RGB', expected rgb | bgr"),
    ("stage.input.name", "picture", "stage.input.name = 'picture', expected one of the inputs image"),
    ("stage.input.size_wh", [32, 24], "stage.input.size_wh = (32, 24), expected [24, 32] as in the graph's input"),
    ("stage.input.size_wh", [24.5, 32], "stage.input.size_wh[0] = 24.5, expected a whole number from 0 to 16384"),
    ("stage.input.dtype", "uint8", "stage.input.dtype = 'uint8', expected float32"),
    ("stage.input.layout", "NHWC", "stage.input.layout = 'NHWC', expected the axis of 3 colours among ['n', 3"),
    ("stage.input.fit", None, "the recipe: stage.input lacks fit"),
    ("stage.outputs.maps", "haet", "stage.outputs.maps = 'haet', expected one of the outputs heat"),
    ("stage.outputs", {"map": "heat"}, "expected roles of the decoder heatmap: maps, mirrored_maps"),
    ("stage.decoder", "heatmaps", "stage.decoder = 'heatmaps', expected bodyparts | cifcaf"),
    ("stage.params", {"integrel": 1}, "stage.params.integrel = 1, expected one of the keys integral"),
    ("stage.params", {"integral": 0.5}, "stage.params.integral = 0.5, expected a whole number at least -1"),
    ("stage.suppress", "nms", "stage.suppress = 'nms', expected oks | poses"),
    ("stage.region", "everywhere", "stage.region = 'everywhere', expected frame | boxes | follow"),
    ("stage.region", "frame", "stage.input.fit = 'boxes', expected another one, stage.region is"),
    ("stage.region", "follow", "stage.region = 'follow', expected frame or boxes, to follow takes left_hip"),
    ("model", "../own", "model = '../own', expected a name without folder"),
    ("stage.input.interpolation", "cubic", "stage.input.align = 'origin', expected half_pixel unless linear"),
    ("stage.file", "other.onnx", "stage.file = 'other.onnx', expected no such key: the network is the file"),
    ("stage.input.std", [0.229, 0.224, 0.225], "expected units of 0..255, as mean: those of 0..1 times 255"),
    ("skeleton", "coco17", "skeleton = 'coco17', expected coco_17, or a table [skeleton] of names and edges"),
    ("skeleton", "dog", "skeleton = 'dog', expected a table [skeleton] of names and edges, or one of coco_17,"),
    ("licence", " ", "licence = ' ', expected that of the weights in words"),
    ("skeleton.edges", [[0, 2]], "skeleton.edges[0] = (0, 2), expected keypoint indices 0..1"),
    ("skeleton.flip", [1, 2], "skeleton.flip = (1, 2), expected keypoint indices 0..1, counted from 0"),
    ("skeleton.flip", [1, 1], "skeleton.flip = (1, 1), expected pairs: where flip[a] is b"),
    ("skeleton.names", ["a", "a"], "skeleton.names = 'a', expected each keypoint once"),
    ("skeleton.names", ["a", "b", "c"], "heatmap cannot use maps [1, 2, 8, 6]: maps must be [R,K,H,W]"),
    ("licence", None, "the recipe: recipe lacks licence"),
    ("detector", "../yolox.onnx", "detector = '../yolox.onnx', expected none if"),
    ("detector", "yolox.onnx", "there is no detector"),
    ("detectors", "yolox.onnx", "detectors = 'yolox.onnx', expected one of the keys skeleton, licence"),
    ("nodes", [{"op": "Sigmod", "inputs": ["heat"], "outputs": ["s"]}], "nodes[0].op = 'Sigmod', expected Sigmoid"),
    ("nodes", [{"op": "Softmax", "inputs": ["heat"], "outputs": ["s"], "attributes": {"axes": 1}}], "attribute: axes"),
    ("nodes", [{"op": "Concat", "inputs": ["heat", [1]], "outputs": ["s"], "attributes": {"axis": 1}}], "nodes[0]"),
    ("nodes", [{"op": "Relu", "inputs": [], "outputs": ["s"]}], "nodes[0]"),
    ("nodes", [{"op": "Relu", "inputs": ["heat"], "outputs": ["s"], "attributes": {"axis": []}}], "nodes[0].attr"),
    ("nodes", [{"op": "Relu", "inputs": ["s"], "outputs": ["s"]}], "no circle of nodes"),
    ("nodes", [{"op": "Relu", "inputs": [[[1, 2], 3]], "outputs": ["s"]}], "nodes[0].inputs[0]"),
    ("nodes", [{"op": "Relu", "inputs": [{"a": 1}], "outputs": ["s"]}], "nodes[0].inputs[0]"),
    ("nodes", [{"op": "Relu", "inputs": ["hot"], "outputs": ["s"]}], "nodes[0].inputs[0] = 'hot', expected a tensor"),
    ("nodes", [{"op": "Relu", "inputs": ["heat"], "outputs": ["inner"]}], "nodes[0].outputs[0] = 'inner', expected a"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), WRONG, ids=[f"{key}={value}"[:40] for key, value, _ in WRONG])
def test_a_wrong_recipe_is_refused_by_its_key(tmp_path: Path, key: str, value: Any, message: str) -> None:
    file = own_networks.brightest_cells(tmp_path / "net.onnx")
    recipe = _set(copy.deepcopy(tomllib.loads(RECIPE)), key, value)
    with pytest.raises(PosertError) as caught:
        posert.tag(file, recipe=recipe, out=tmp_path / "out" / "own.onnx")
    assert message in caught.value.what
    assert caught.value.hint
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('licence = "MIT"\nmodel = spots', "is not TOML: Invalid value (at line 2, column 9)"),
        ("[stage\nregion = 1", "(at line 1, column 7)"),
        ('licence = "?"\n[stage.input]\nmean = ["?", 1, 1]', "leaves open: licence, stage.input.mean[0]"),
        ("", "lacks skeleton, licence, stage"),
    ],
)
def test_wrong_syntax_is_refused_by_its_line(tmp_path: Path, run: Run, text: str, message: str) -> None:
    file = own_networks.brightest_cells(tmp_path / "net.onnx")
    code, out, err = run("tag", file, "--recipe", _recipe(tmp_path / "bad.toml", text), "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "bad.toml" in err
    assert message in err
    assert "hint: " in err


def test_a_recipe_saved_by_an_editor_that_marks_its_byte_order(tmp_path: Path) -> None:
    """Notepad writes a byte order mark, which TOML does not know."""
    file = own_networks.brightest_cells(tmp_path / "net.onnx")
    recipe = _recipe(tmp_path / "marked.toml", "\ufeff" + RECIPE)
    assert posert.tag(file, recipe=recipe, out=tmp_path) == tmp_path / "spots.onnx"


def test_what_does_not_fit_is_said_with_the_skeletons_counts_and_the_detectors_at_hand(tmp_path: Path) -> None:
    file = own_networks.brightest_cells(tmp_path / "net.onnx")
    for key, value, hint in (
        ("skeleton.names", ["a", "b", "c"], "the skeleton has 3 keypoints and 1 edges, the input 24x32 px"),
        (
            "nodes",
            [{"op": "Reshape", "inputs": ["heat", [1, 5, 7]], "outputs": ["odd"]}],
            "nodes[0], nodes[1], ... are the recipe's",
        ),
        ("detector", "yolox-nano", "put it into the folder of the result, which has net.onnx"),
    ):
        with pytest.raises(PosertError) as caught:
            recipe = _set(tomllib.loads(RECIPE), "stage.outputs.maps", "odd" if key == "nodes" else "heat")
            posert.tag(file, recipe=_set(recipe, key, value), out=tmp_path)
        assert hint in caught.value.hint


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    file = own_networks.brightest_cells(tmp_path / "net.onnx")
    for recipe, message in (
        (tmp_path / "none.toml", "cannot be read"),
        (file, "no text"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(PosertError, match=message):
            posert.tag(file, recipe=recipe, out=tmp_path / "own.onnx")
    for more in ({}, {"name": "yolox-nano", "recipe": tomllib.loads(RECIPE)}):
        with pytest.raises(PosertError, match="nobody can tell what"):
            posert.tag(file, **more)
    with pytest.raises(PosertError, match="is what the result is made of"):
        posert.tag(file, recipe=tomllib.loads(RECIPE), out=file)


@pytest.mark.parametrize("extra", [False, True])
def test_outputs_that_nobody_asks_for_are_left_out(tmp_path: Path, extra: bool) -> None:
    file = own_networks.brightest_cells(tmp_path / "net.onnx", extra=extra)
    written = posert.tag(file, recipe=tomllib.loads(RECIPE), out=tmp_path / "own.onnx")
    graph = onnx.load(str(written)).graph
    assert [value.name for value in graph.output] == ["heat"]
    assert "Sub" not in {node.op_type for node in graph.node}


def test_a_tensor_inside_the_graph_may_be_an_output(tmp_path: Path) -> None:
    file = own_networks.brightest_cells(tmp_path / "net.onnx", last=True)
    recipe = _set(tomllib.loads(RECIPE), "stage.outputs", {"maps": "inner"})
    graph = onnx.load(str(posert.tag(file, recipe=recipe, out=tmp_path / "own.onnx"))).graph
    assert [value.name for value in graph.output] == ["inner"]
    assert "Transpose" not in {node.op_type for node in graph.node}


def test_a_batch_that_is_free_by_its_words_alone(tmp_path: Path) -> None:
    """Exporters often free the axis of the input and leave a Reshape to one row inside."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Concat", ["cells", "cells"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "one"], ["heat"]),
    ]
    shapes = {"image": ("n", 3, 32, 24)}, {"heat": ("n", 2, 8, 6)}
    file = own_networks.network(tmp_path / "net.onnx", nodes, {"one": np.array([1, 2, 8, 6])}, *shapes)
    said: list[str] = []
    written = posert.tag(file, recipe=tomllib.loads(RECIPE), out=tmp_path / "own.onnx", report=said.append)
    assert "the network takes one picture at a time" in said
    boxes = np.array([[10, 0, 40, 40], [0, 0, 30, 40], [5, 5, 35, 38]], np.float32)
    with open_model(written, device="cpu") as model:
        (result,) = posert.estimate(model, [_photo()], boxes=lambda frame: boxes)
    assert len(result.poses) == 3


def test_rows_that_depend_on_each_other_are_kept_apart(tmp_path: Path) -> None:
    """A graph frozen in training mode normalises over the whole batch."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0, 1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["cells", "mean"], ["scaled"]),
        helper.make_node("Concat", ["scaled", "scaled"], ["heat"], axis=1),
    ]
    shapes = {"image": ("n", 3, 32, 24)}, {"heat": ("n", 2, 8, 6)}
    file = own_networks.network(tmp_path / "net.onnx", nodes, {}, *shapes)
    recipe = _set(tomllib.loads(RECIPE), "stage.input.mean", [100, 0, 0])
    written = posert.tag(file, recipe=recipe, out=tmp_path / "own.onnx")
    with open_model(written, device="cpu") as model:
        assert model.single_row("pose")


def test_weights_beside_the_file_come_into_the_new_one(tmp_path: Path) -> None:
    """Today's exporters of PyTorch write net.onnx and net.onnx.data."""
    graph = onnx.load(str(own_networks.brightest_cells(tmp_path / "plain.onnx")))
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "net.onnx"
    onnx.save(graph, str(file), save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    assert (tmp_path / "in" / "net.onnx.data").exists()
    written = posert.tag(file, recipe=tomllib.loads(RECIPE), out=tmp_path / "own.onnx")
    (tmp_path / "in" / "net.onnx.data").unlink()
    with open_model(written, device="cpu") as model:
        assert model.spec.model == "spots"
    with pytest.raises(PosertError, match=r"net\.onnx is not a valid ONNX file"):
        posert.tag(file, recipe=tomllib.loads(RECIPE), out=tmp_path / "other.onnx")


def test_further_inputs_are_fed_constants(tmp_path: Path) -> None:
    """PaddleDetection's networks want a `scale_factor` beside the picture."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMax", ["scale_factor"], ["scale"], axes=[1], keepdims=0),
        helper.make_node("Reshape", ["scale", "column"], ["scales"]),
        helper.make_node("Mul", ["cells", "scales"], ["scaled"]),
        helper.make_node("Concat", ["scaled", "scaled"], ["heat"], axis=1),
    ]
    inputs = {"image": ("n", 3, 32, 24), "scale_factor": ("n", 2)}
    constants = {"column": np.array([-1, 1, 1, 1])}
    file = own_networks.network(tmp_path / "net.onnx", nodes, constants, inputs, {"heat": ("n", 2, 8, 6)})
    template = tomllib.loads(posert.guess(file))
    assert template["stage"]["constants"] == {"scale_factor": "?"}
    with pytest.raises(PosertError, match="expected numbers for scale_factor too"):
        posert.tag(file, recipe=tomllib.loads(RECIPE), out=tmp_path / "own.onnx")
    recipe = _set(tomllib.loads(RECIPE), "stage.constants", {"scale_factor": [0.5, 0.25]})
    said: list[str] = []
    posert.tag(file, recipe=recipe, out=tmp_path / "own.onnx", report=said.append)
    low, high = re.fullmatch(r"maps .*: (\S+) to (\S+)", said[1]).groups()
    assert 0 <= float(low) < float(high) <= 0.5
    recipe["stage"]["constants"]["zap"] = [1]
    with pytest.raises(PosertError, match=r"stage\.constants = \['zap'\], expected inputs of the graph"):
        posert.tag(file, recipe=recipe, out=tmp_path / "own.onnx")


@pytest.mark.parametrize("kind", ["float16", "int32", "uint8"])
def test_other_types_of_input(tmp_path: Path, kind: str) -> None:
    number = ONNX_TYPES[kind]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=1),
        helper.make_node("ReduceMax", ["float"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Concat", ["cells", "cells"], ["heat"], axis=1),
    ]
    shapes = {"image": ("n", 3, 32, 24)}, {"heat": ("n", 2, 8, 6)}
    file = own_networks.network(tmp_path / "net.onnx", nodes, {}, *shapes, kinds={"image": number})
    assert tomllib.loads(posert.guess(file))["stage"]["input"]["dtype"] == kind
    recipe = _set(tomllib.loads(RECIPE), "stage.input.std", [1, 1, 1])
    recipe["stage"]["input"]["dtype"] = kind
    written = posert.tag(file, recipe=recipe, out=tmp_path / "own.onnx")
    with open_model(written, device="cpu") as model:
        (result,) = posert.estimate(model, [_photo()], boxes=lambda frame: np.array([[10, 0, 40, 40]], np.float32))
    assert result.poses.keypoints[0, 0, 2] > 150
