"""Graphs that ONNX Runtime runs in fewer steps: the same numbers, and the steps that are gone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from posert.export import onnx_fast
from posert.export.onnx_blocks import whole_blocks
from posert.export.onnx_fold import narrow_constants, scales_folded
from posert.export.onnx_links import attributes

RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return (RANDOM.standard_normal(shape) / 4).astype(np.float32)


def network(
    shape: Sequence[int | str],
    nodes: Sequence[tuple[str, str, str, dict[str, Any]]],
    constants: Mapping[str, Any],
    outputs: str = "y",
    kind: int = 1,
) -> Any:
    """An onnx.ModelProto: each node is its operator, inputs, outputs and attributes."""
    made = [
        helper.make_node(op, inputs.split(), results.split(), name=results, **own) for op, inputs, results, own in nodes
    ]
    given = [helper.make_tensor_value_info("x", kind, shape)]
    ends = [helper.make_empty_tensor_value_info(name) for name in outputs.split()]
    fixed = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(made, "made", given, ends, fixed), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return onnx.shape_inference.infer_shapes(model)


def run(model: Any, x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {"x": x})]


def changed(model: Any, rewrite: Callable[[Any], None], x: np.ndarray[Any, Any], apart: float = 0) -> Any:
    """The model rewritten; what it gives has been compared."""
    before = run(model, x)
    rewrite(model)
    onnx.checker.check_model(model, full_check=True)
    for one, other in zip(before, run(model, x), strict=True):
        assert one.shape == other.shape
        assert np.abs(one.astype(float) - other).max() <= apart
    return model


def kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


NORMALISE = [
    ("Cast", "x", "c", {"to": 1}), ("Sub", "c zeros", "s", {}), ("Mul", "s scale", "m", {}), ("Sub", "m mean", "n", {}),
    ("Transpose", "n", "t", {"perm": [0, 3, 1, 2]}), ("Conv", "t w", "y", {"strides": [2, 2]}),
]  # fmt: skip


@pytest.mark.parametrize("scale", [np.full((1, 1, 1, 3), 0.0078), np.array([0.1, 0.2, 0.3]), 0.5], ids=str)
def test_pictures_are_turned_before_they_are_normalised(scale: Any) -> None:
    mean = np.array([0.5, 0.25, 1.0], np.float32)
    constants = {"zeros": np.zeros(3, np.float32), "scale": np.float32(scale), "mean": mean, "w": weights(4, 3, 3, 3)}
    model = network((1, 16, 12, 3), NORMALISE, constants, kind=onnx.TensorProto.INT32)
    picture = RANDOM.integers(0, 256, (1, 16, 12, 3)).astype(np.int32)
    changed(model, onnx_fast.transposed_first, picture)
    assert kinds(model) == ["Transpose", "Cast", "Mul", "Sub", "Conv"]


def test_a_picture_that_several_read_stays_as_it_is() -> None:
    nodes = [*NORMALISE, ("ReduceMax", "x", "top", {})]
    constants = {"zeros": np.zeros(3, np.float32), "scale": weights(3), "mean": weights(3), "w": weights(4, 3, 3, 3)}
    model = network((1, 16, 12, 3), nodes, constants, "y top", kind=onnx.TensorProto.INT32)
    before = model.SerializeToString()
    onnx_fast.transposed_first(model)
    assert kinds(model) == [op for op, *_ in nodes]
    assert len(before) >= len(model.SerializeToString())


def points(rows: int, extra: Sequence[tuple[str, str, str, dict[str, Any]]] = (), outputs: str = "y") -> Any:
    """Two 1 x 1 convolutions behind a 3 x 3 one, read at three points."""
    nodes = [
        ("Conv", "x w0", "a", {"pads": [1, 1, 1, 1]}), ("Conv", "a w1 b1", "b", {}), ("Relu", "b", "r", {}),
        ("Conv", "r w2", "d", {"kernel_shape": [1, 1]}), ("Transpose", "d", "t", {"perm": [0, 2, 3, 1]}),
        ("GatherND", "t at", "y", {}), *extra,
    ]  # fmt: skip
    at = np.array([[0, 2, 3], [rows - 1, 0, 9], [0, 7, 4]])
    constants = {"w0": weights(8, 3, 3, 3), "w1": weights(32, 8, 1, 1), "b1": weights(32), "w2": weights(5, 32, 1, 1)}
    return network((rows, 3, 8, 10), nodes, {**constants, "at": at, "rows": np.int64([0, 2])}, outputs)


@pytest.mark.parametrize("rows", [1, 2])
def test_last_convolutions_are_computed_where_they_are_read(rows: int) -> None:
    model = changed(points(rows), onnx_fast.read_where_asked, weights(rows, 3, 8, 10), apart=1e-6)
    shapes = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    wide = [[d.dim_value for d in shapes[name].type.tensor_type.shape.dim] for name in ("a", "r", "d")]
    assert wide == [[rows, 8, 8, 10], [1, 32, 3, 1], [1, 5, 3, 1]]


@pytest.mark.parametrize(
    ("extra", "outputs"),
    [([("Identity", "d", "z", {})], "y z"), ([], "y t"), ([("GatherND", "t at", "z", {})], "y z")],
    ids=["read elsewhere", "an output", "read twice"],
)
def test_convolutions_that_others_read_are_computed_everywhere(extra: Any, outputs: str) -> None:
    model = points(1, extra, outputs)
    before = kinds(model)
    changed(model, onnx_fast.read_where_asked, weights(1, 3, 8, 10))
    assert kinds(model) == before


def joined(last: str = "Conv", outputs: str = "y") -> Any:
    """What OpenPose's stages do: 38 and 19 maps beside 16 channels, then a depthwise convolution and a 1 x 1."""
    nodes = [
        ("Conv", "x w0", "f", {"pads": [1, 1, 1, 1]}), ("Conv", "f w1 b1", "p", {}), ("Conv", "f w2", "h", {}),
        ("BatchNormalization", "h one off mid var", "n", {}), ("Relu", "n", "r", {}), ("Resize", "f  double", "u", {}),
        ("MaxPool", "u", "m", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Concat", "p r m", "j", {"axis": 1}), ("Conv", "j w3 b3", "k", {"group": 73, "pads": [1, 1, 1, 1]}),
        ("Clip", "k low high", "c", {}), (last, "c w4" if last == "Conv" else "c", "y", {}),
    ]  # fmt: skip
    nodes = [(op, inputs.replace("  ", " none "), results, own) for op, inputs, results, own in nodes]
    constants = {
        "w0": weights(16, 3, 3, 3), "w1": weights(38, 16, 1, 1), "b1": weights(38), "w2": weights(19, 16, 1, 1),
        "one": weights(19), "off": weights(19), "mid": weights(19), "var": np.abs(weights(19)) + 1,
        "w3": weights(73, 1, 3, 3), "b3": weights(73), "w4": weights(20, 73, 1, 1), "low": np.float32(0.1),
        "high": np.float32(6), "double": np.float32([1, 1, 2, 2]), "none": np.zeros(0, np.float32),
    }  # fmt: skip
    return network(("batch", 3, "h", "w"), nodes, constants, outputs)


def test_joined_channels_fill_whole_blocks() -> None:
    """The 16 channels behind the Resize are known by what the convolution takes in all."""
    model = changed(joined(), whole_blocks, weights(2, 3, 12, 8), apart=1e-5)
    assert [attributes(node)["group"] for node in model.graph.node if node.name == "k"] == [48 + 32 + 16]
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    assert [shape for name, shape in shapes.items() if name.startswith("y_wide")] == [[20, 96, 1, 1]]


@pytest.mark.parametrize(("last", "outputs"), [("Softplus", "y"), ("Conv", "y j"), ("Conv", "y p")])
def test_channels_that_others_see_stay(last: str, outputs: str) -> None:
    model = joined(last, outputs)
    before = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    changed(model, whole_blocks, weights(1, 3, 12, 8))
    after = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    assert after.items() <= before.items()


SCALED = [("Conv", "x d", "a", {"group": 8}), ("Conv", "a w b", "y", {"pads": [1, 1, 1, 1]})]


def test_a_factor_for_each_channel_goes_into_the_weights() -> None:
    constants = {"d": weights(8, 1, 1, 1), "w": weights(5, 8, 3, 3), "b": weights(5)}
    model = changed(network((2, 8, 6, 7), SCALED, constants), scales_folded, weights(2, 8, 6, 7), apart=1e-6)
    assert kinds(model) == ["Conv"]


@pytest.mark.parametrize(
    ("change", "outputs", "constants"),
    [
        ({}, "y a", {}), ({"strides": [2, 2]}, "y", {}), ({}, "y", {"d": weights(8, 1, 3, 3)}),
        ({"group": 4}, "y", {"d": weights(8, 2, 1, 1)}),
    ],
    ids=["an output", "every other", "3 x 3", "pairs"],
)  # fmt: skip
def test_other_convolutions_stay(change: dict[str, Any], outputs: str, constants: dict[str, Any]) -> None:
    (op, inputs, results, own), behind = SCALED
    fixed = {"d": weights(8, 1, 1, 1), "w": weights(5, 8, 3, 3), "b": weights(5)} | constants
    model = network((2, 8, 6, 7), [(op, inputs, results, own | change), behind], fixed, outputs)
    changed(model, scales_folded, weights(2, 8, 6, 7))
    assert kinds(model) == ["Conv", "Conv"]


DISTANCES = [
    ("Sub", "rows x", "a", {}), ("Mul", "a a", "b", {}), ("Sub", "columns x", "c", {}), ("Mul", "c c", "d", {}),
    ("Add", "b d", "e", {}), ("Sqrt", "e", "y", {}),
]  # fmt: skip


@pytest.mark.parametrize(("more", "narrow"), [([], True), ([("Shape", "a", "z", {})], False)], ids=["alone", "shape"])
def test_rows_that_are_all_the_same_are_one(more: Any, narrow: bool) -> None:
    """MoveNet's distances from a point; where the shape is asked for, it stays."""
    grid = np.mgrid[:8, :9].astype(np.float32)
    constants = {"rows": grid[0, ..., None], "columns": grid[1, ..., None]}
    model = network((1, 17), [*DISTANCES, *more], constants, "y z" if more else "y")
    changed(model, narrow_constants, weights(1, 17))
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    assert shapes == {"rows": [8, 1, 1] if narrow else [8, 9, 1], "columns": [1, 9, 1]}


def test_the_official_networks_gain_all_of_it(assets: Path) -> None:
    """MoveNet's heads for single points, and no number for each channel behind the picture."""
    from posert.export.readers import tensorflow_nodes, tfjs

    made = tensorflow_nodes.to_onnx(tfjs.read(assets / "models" / "movenet_tfjs" / "movenet-lightning.json"))
    onnx_fast.faster(made)
    assert kinds(made)[:4] == ["Transpose", "Cast", "Mul", "Sub"]
    gathered = [node.input[0] for node in made.graph.node if node.op_type == "GatherND"]
    assert sum(name.endswith("_rows_last") for name in gathered) == 2
