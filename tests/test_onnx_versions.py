"""What is written runs in every ONNX Runtime that is allowed, and gives what it gave before."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import own_networks
import pytest
from onnx import helper

from posert.export.convert import tag
from posert.export.onnx_versions import LEAST_IR, MOST_IR, MOST_OPSET, opset_of, widely_readable

ROOT = Path(__file__).parent.parent


def _run(graph: Any, tensor: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: tensor})[0]


def test_simplepose_as_its_authors_export_it(assets: Path, tmp_path: Path) -> None:
    """58 BatchNormalizations say `spatial` = 0 with a number for each channel: ONNX Runtime 1.20 and 1.24 refuse to
    run them. Its 291 weights among the inputs could be overridden in every run."""
    source = assets / "models" / "ultralight_nano_simplepose.onnx"
    before = onnx.load(str(source))
    written = onnx.load(str(tag(source, "alphapose-ultralight-simplepose", tmp_path)))
    norms = [node for node in written.graph.node if node.op_type == "BatchNormalization"]
    assert len(norms) == 58 + 3 * 2  # the last two once for each place in the blocks
    assert not [a.name for node in norms for a in node.attribute if a.name == "spatial"]
    assert [value.name for value in written.graph.input] == ["data"]
    assert LEAST_IR <= written.ir_version <= MOST_IR
    tensor = np.random.default_rng(0).normal(0, 1, (1, 3, 256, 192)).astype(np.float32)
    expected, found = _run(before, tensor), _run(written, tensor)
    assert np.abs(expected - found).max() <= 1e-6 * np.abs(expected).max()


def test_statistics_of_each_place_keep_their_attribute() -> None:
    """Where the scale has a number for each place, `spatial` = 0 means that."""
    node = helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], spatial=0)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", 1, [1, 2, 4, 4])], [value("y", 1, [1, 2, 4, 4])],
        [helper.make_tensor("s", 1, [2, 4, 4], np.ones(32))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=8)
    (kept,) = widely_readable(model).graph.node
    assert [attribute.name for attribute in kept.attribute] == ["spatial"]


@pytest.mark.parametrize(("opset", "ir_version"), [(6, 3), (13, 8), (MOST_OPSET + 2, 12)])
def test_old_and_new_versions(tmp_path: Path, opset: int, ir_version: int) -> None:
    nodes = [helper.make_node("Relu", ["image"], ["heat"]), helper.make_node("Mul", ["heat", "two"], ["maps"])]
    shape = (1, 3, 4, 4)
    constants, ends = {"two": np.float32([2.0])}, ({"image": shape}, {"maps": shape})
    if opset < 7:
        nodes, constants = [helper.make_node("Relu", ["image"], ["maps"])], {}
    model = onnx.load(str(own_networks.network(tmp_path / "m.onnx", nodes, constants, *ends, opset=opset)))
    model.ir_version = ir_version
    found = widely_readable(model)
    assert opset_of(found) == (opset if 7 <= opset <= MOST_OPSET else {6: 13}.get(opset, MOST_OPSET))
    assert LEAST_IR <= found.ir_version <= MOST_IR
    tensor = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    assert (_run(found, tensor) == np.maximum(tensor, 0) * (2 if constants else 1)).all()


def test_what_is_readable_already_stays_as_it_is(assets: Path) -> None:
    for name in ("openvino_human_pose_estimation_0001_w8", "yolox_nano"):
        data = (assets / "models" / f"{name}.onnx").read_bytes()
        graph = onnx.load_from_string(data)
        before = graph.SerializeToString(deterministic=True)
        assert widely_readable(graph).SerializeToString(deterministic=True) == before


def test_the_versions_are_those_of_the_oldest_runtime_allowed() -> None:
    """ONNX Runtime 1.20 reads opsets up to 21 and IR up to 10 (its docs/Versioning.md); a newer one moves these."""
    assert 'cpu = ["onnxruntime>=1.20"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert (MOST_OPSET, MOST_IR) == (21, 10)
