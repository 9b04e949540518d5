"""docs/FORMAT.md: every field has its row, every key is there, and every recipe in it makes a model that runs."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_networks
import pytest
import tiny_topdown
from onnx import TensorProto, helper

import posert
from posert.export.recipe import Node
from posert.poses import Skeleton
from posert.postprocess import decoder, names
from posert.runtime.region_spec import Part, Parts, Place, Turn
from posert.runtime.spec import FORMAT, NEWEST_FORMAT, InputSpec, ModelSpec, Stage, to_json

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
EXAMPLES = {
    found[1]: found[0] for found in re.findall(r"```toml\n(# example: (\w+)\n.*?)```", TEXT, re.DOTALL)
}  # name -> text


def _section(title: str) -> str:
    """From a heading to the next one of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^##? |^\1 |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[2]


def _first_cells(section: str) -> set[str]:
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    return {name for row in rows for name in re.findall(r"`\[*([\w.]+)\]*`", row)}


@pytest.mark.parametrize("record", [ModelSpec, Skeleton, Stage, Turn, Parts, Part, Place, InputSpec])
def test_every_field_has_its_row(record: Any) -> None:
    assert {field.name for field in dataclasses.fields(record)} <= _first_cells(_section(record.__name__))


@pytest.mark.parametrize(
    ("record", "fields"),
    [(Stage, {"constants", "turn", "keypoint_count", "max_iou", "parts", "scale_step"}), (InputSpec, {"margin"})],
)
def test_fields_of_the_newest_format_are_called_that(record: Any, fields: set[str]) -> None:
    rows = [line for line in _section(record.__name__).splitlines() if line.startswith("| `")]
    called = {name for row in rows if "Format 2" in row for name in re.findall(r"^\| `(\w+)`", row)}
    assert (called, NEWEST_FORMAT) == (fields, 2)
    image = InputSpec("i", "NCHW", "float32", "rgb", (8, 8), "boxes")
    stage = Stage("pose", "boxes", image, {}, "heatmap")
    written = json.loads(to_json(ModelSpec(FORMAT, "", "", Skeleton((), ()), (stage,))))["stages"][0]
    own = written if record is Stage else written["input"]
    assert {field.name for field in dataclasses.fields(record)} - own.keys() == fields


def test_every_key_of_a_recipe_has_its_row() -> None:
    own = {"skeleton", "licence", "stage", "model", "source", "detector", "nodes"}
    assert own <= _first_cells(_section("Your own network"))
    with pytest.raises(posert.PosertError) as caught:
        posert.tag(ROOT / "runtime" / "nano.onnx", recipe={"zap": 1})
    assert set(re.findall(r"\w+", caught.value.what.split("keys")[1])) == own
    assert {field.name for field in dataclasses.fields(Node)} <= _first_cells(_section("Nodes"))


@pytest.mark.parametrize("name", names("decoders"))
def test_every_decoder_has_its_row(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|(.*?)\|", _section("Decoders"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(decoder(name).KERNELS.roles)


def _simcc(path: Path) -> Path:
    image = np.zeros((1, 26, 384)), np.zeros((1, 26, 512))
    for array in image:
        array[..., 100] = 1
    return own_networks.constant(path, (1, 3, 256, 192), {"simcc_x": image[0], "simcc_y": image[1]}, image="input")


def _rows(path: Path) -> Path:
    rows = np.zeros((1, 5 + 15, 8400))
    rows[0, :5, 7] = 320, 320, 100, 200, 0.9
    rows[0, 5:, 7] = (300, 310, 0.8) * 5
    return own_networks.constant(path, (1, 3, 640, 640), {"output0": rows}, image="images")


def _heatmaps(path: Path) -> Path:
    tiny_topdown.detector(path.with_name("yolox-nano.onnx"))
    maps = np.zeros((1, 17, 64, 48))
    maps[:, :, 20, 30] = 0.7
    return own_networks.constant(path, ("n", 3, 256, 192), {"output_0": maps}, image="input_0")


def _fields(path: Path) -> Path:
    y, x = np.mgrid[:32, :40]
    parts, fields = np.zeros((1, 6, 32, 40)), np.zeros((1, 8, 32, 40))
    for k, column in enumerate((20.1, 10.2, 14.1, 24.2, 30.1)):
        parts[0, k] = np.exp(-((x - column) ** 2 + (y - 10.2) ** 2) / 4)
    fields[0, 0::2, 8:13] = 1
    return own_networks.constant(path, (1, 3, "h", "w"), {"parts": parts, "fields": fields})


def _hourglass(path: Path) -> Path:
    maps = np.full((1, 64, 64, 16), -9.0)
    maps[0, 20, 30] = 3
    outputs = {"stack_1": np.zeros((1, 64, 64, 16)), "stack_2": maps}
    return own_networks.constant(path, (1, 256, 256, 3), outputs, image="input_1")


def _regression(path: Path) -> Path:
    xy = np.tile([0.5, -0.5], 17)[None]
    return own_networks.constant(path, (1, 3, 224, 224), {"coordinates": xy, "visibility": np.full((1, 17), 0.9)})


def _grey(path: Path) -> Path:
    """The brightest of cells of 4 px, twice, as bytes; older operators, which take axes as attributes."""
    nodes = [
        helper.make_node("Unsqueeze", ["grey"], ["batch"], axes=[0, 1]),
        helper.make_node("MaxPool", ["batch"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Concat", ["cells", "cells"], ["both"], axis=1),
        helper.make_node("Squeeze", ["both"], ["flat"], axes=[0]),
        helper.make_node("Cast", ["flat"], ["heat"], to=TensorProto.UINT8),
    ]
    kinds = {"heat": TensorProto.UINT8}
    return own_networks.network(
        path, nodes, {}, {"grey": (48, 64)}, {"heat": (2, 12, 16)}, opset=11, kinds=kinds
    )  # fmt: skip


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "simcc": _simcc,
    "rows": _rows,
    "heatmaps": _heatmaps,
    "fields": _fields,
    "hourglass": _hourglass,
    "regression": _regression,
    "grey": _grey,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_recipes_run(tmp_path: Path, name: str) -> None:
    recipe = tomllib.loads(EXAMPLES[name])
    if recipe["stage"]["decoder"] not in names("decoders"):
        pytest.skip(f"needs the decoder {recipe['stage']['decoder']}")
    (tmp_path / "mine.toml").write_text(EXAMPLES[name])
    said: list[str] = []
    network = NETWORKS[name](tmp_path / "net.onnx")
    written = posert.tag(network, recipe=tmp_path / "mine.toml", out=tmp_path, report=said.append)
    assert written == tmp_path / "mine.onnx"
    assert said[-1].startswith("people in a drawn picture: 1, scores ")


def test_the_grey_network_finds_the_light(tmp_path: Path) -> None:
    """One picture at a time, whatever the number of boxes: its own graph has no axis for more."""
    network = _grey(tmp_path / "net.onnx")
    written = posert.tag(network, recipe=tomllib.loads(EXAMPLES["grey"]), out=tmp_path / "own.onnx")
    bgr = np.zeros((48, 64, 3), np.uint8)
    bgr[20:28, 40:48] = 0, 255, 0
    box = [6.4, 4.8, 57.6, 43.2]  # which the margin widens to the whole picture
    with posert.open_model(written, device="cpu") as model:
        (result,) = posert.estimate(model, [bgr], boxes=lambda frame: np.array([box] * 2, np.float32))
    assert result.poses.keypoints.shape == (2, 2, 3)
    assert np.abs(result.poses.keypoints[:, :, :2] - (40, 20)).max() <= 4
    assert np.abs(result.poses.keypoints[:, :, 2] - 150 / 255).max() < 0.01
