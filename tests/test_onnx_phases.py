"""Grids taken apart and made of blocks: the same numbers by plain convolutions, and what stays as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from test_onnx_fast import RANDOM, changed, kinds, network, run, weights

from posert.export import convert, onnx_file
from posert.export.onnx_links import attributes
from posert.export.onnx_phases import ends_apart, slices_folded, transposed_apart
from posert.export.onnx_versions import widely_readable


def rows_then_columns(a: str, b: str) -> list[Any]:
    return [
        ("Slice", f"x {a} last rows step", f"r{a}{b}", {}),
        ("Slice", f"r{a}{b} {b} last columns step", f"q{a}{b}", {}),
    ]


def at_once(a: str, b: str) -> list[Any]:
    return [("Slice", f"x {a}{b} lasts sides steps", f"q{a}{b}", {})]


BOUNDS = {
    **{name: np.int64([int(name)]) for name in "01"},
    **{a + b: np.int64([int(a), int(b)]) for a in "01" for b in "01"},
    "last": np.int64([2**63 - 1]), "rows": np.int64([2]), "columns": np.int64([3]), "step": np.int64([2]),
    "sides": np.int64([2, 3]), "steps": np.int64([2, 2]),
}  # fmt: skip


def focus(
    slices: Any, join: str, own: dict[str, Any], outputs: str = "y", lasts: tuple[int, int] = (2**31 - 1,) * 2
) -> Any:
    """Quarters of a picture, joined in the order `join`, and the convolution behind them."""
    nodes = [node for place in ("00", "01", "10", "11") for node in slices(*place)]
    nodes += [("Concat", join, "j", {"axis": 1}), ("Conv", "j w b", "y", own)]
    constants = {**BOUNDS, "lasts": np.int64(lasts), "w": weights(5, 12, 3, 3), "b": weights(5)}
    return network(("n", 3, 8, 10), nodes, constants, outputs)


@pytest.mark.parametrize("slices", [rows_then_columns, at_once], ids=["rows first", "at once"])
@pytest.mark.parametrize("join", ["q00 q10 q01 q11", "q11 q00 q01 q10"])
def test_slices_go_into_the_convolution_behind_them(slices: Any, join: str) -> None:
    model = focus(slices, join, {"pads": [1, 0, 1, 2]})
    changed(model, slices_folded, weights(2, 3, 8, 10), apart=1e-6)
    (only,) = model.graph.node
    assert (only.op_type, attributes(only)["strides"]) == ("Conv", [2, 2])


@pytest.mark.parametrize(
    ("join", "own", "outputs"),
    [
        ("q00 q10 q01 q01", {}, "y"), ("q00 q10 q01 q11", {"strides": [2, 2]}, "y"), ("q00 q10 q01 q11", {}, "y j"),
        ("q00 q10 q01 q11", {"dilations": [1, 2]}, "y"), ("q00 q10 q01 q11", {"auto_pad": "SAME_UPPER"}, "y"),
    ],
)  # fmt: skip
def test_other_slices_stay(join: str, own: dict[str, Any], outputs: str) -> None:
    model = focus(at_once, join, own, outputs)
    changed(model, slices_folded, weights(1, 3, 8, 10))
    assert "Concat" in kinds(model)


def test_slices_that_end_early_stay() -> None:
    model = focus(at_once, "q00 q10 q01 q11", {}, lasts=(6, 10))
    changed(model, slices_folded, weights(1, 3, 8, 10))
    assert kinds(model).count("Slice") == 4


HEATMAPS = [
    ("ConvTranspose", "x d", "t", {}), ("BatchNormalization", "t one off mid var", "n", {}), ("Relu", "n", "r", {}),
    ("Conv", "r w b", "c", {}), ("Sigmoid", "c", "y", {}),
]  # fmt: skip


def heatmaps(size: tuple[int, ...], own: dict[str, Any], nodes: Any = HEATMAPS, outputs: str = "y") -> Any:
    """A transposed convolution of 8 channels with weights of `size`, and what makes 3 maps of its 8."""
    (op, inputs, results, _), *others = nodes
    constants = {
        "d": weights(*size), "e": weights(8), "one": weights(8), "off": weights(8), "mid": weights(8),
        "var": np.abs(weights(8)) + 1, "w": weights(3, 8, 1, 1), "b": weights(3), "w3": weights(3, 8, 3, 3),
    }  # fmt: skip
    return network(("n", 8, 5, 4), [(op, inputs, results, own), *others], constants, outputs)


BLOCKS = [
    ((8, 1, 4, 4), {"group": 8, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((8, 8, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((8, 4, 3, 3), {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ((8, 8, 2, 2), {"strides": [2, 2]}),
    ((8, 8, 6, 4), {"strides": [2, 2], "pads": [1, 0, 3, 2]}),
    ((8, 8, 5, 3), {"strides": [3, 3], "pads": [1, 0, 1, 0]}),
]
SIDES = {"yolox-nano": (416, 416), "alphapose-ultralight-simplepose": (256, 192)}
IDS = ["SimplePose's", "MMPose's", "3 x 3", "2 x 2", "uneven", "3 x 3 blocks"]


@pytest.mark.parametrize(("size", "own"), BLOCKS, ids=IDS)
@pytest.mark.parametrize("bias", [False, True])
def test_maps_are_computed_for_each_place_in_the_blocks(size: tuple[int, ...], own: dict[str, Any], bias: bool) -> None:
    """What is joined are the 3 maps, not the 8 channels."""
    first = ("ConvTranspose", "x d e" if bias else "x d", "t", {})
    model = changed(heatmaps(size, own, [first, *HEATMAPS[1:]]), ends_apart, weights(2, 8, 5, 4), apart=1e-6)
    places = own["strides"][0] ** 2
    assert kinds(model)[-2:] == ["Concat", "DepthToSpace"]
    assert [kinds(model).count(kind) for kind in ("ConvTranspose", "Conv", "Sigmoid")] == [0, 2 * places, places]


@pytest.mark.parametrize(("size", "own"), BLOCKS, ids=IDS)
def test_transposed_convolutions_are_convolutions(size: tuple[int, ...], own: dict[str, Any]) -> None:
    model = changed(heatmaps(size, own), transposed_apart, weights(2, 8, 5, 4), apart=1e-6)
    assert "ConvTranspose" not in kinds(model)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([*HEATMAPS[:3], ("Conv", "r w3 b", "y", {})], "y"), (HEATMAPS, "y t"), (HEATMAPS[:3], "r"),
        ([*HEATMAPS, ("Conv", "r w3 b", "z", {})], "y z"),
    ],
    ids=["3 x 3 behind", "an output", "no fewer maps", "another reader"],
)  # fmt: skip
def test_other_ends_stay(nodes: Any, outputs: str) -> None:
    model = heatmaps(*BLOCKS[0], nodes, outputs)
    changed(model, ends_apart, weights(1, 8, 5, 4))
    assert kinds(model) == [op for op, *_ in nodes]


@pytest.mark.parametrize(
    ("size", "own"),
    [
        ((8, 8, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}), ((8, 8, 4, 4), {"pads": [1, 1, 1, 1]}),
        ((8, 8, 4, 4), {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
        ((8, 8, 2, 2), {"strides": [3, 3], "output_padding": [1, 1]}),
        ((8, 8, 4, 4), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((8, 8, 2, 2), {"strides": [2, 2], "dilations": [2, 2], "pads": [1, 1, 0, 0]}),
        ((8, 8, 4, 4), {"strides": [2, 2], "pads": [0, 0, 2, 2], "output_shape": [10, 8]}),
    ],
    ids=["a pixel less", "no blocks", "wide blocks", "holes", "SAME", "dilated", "a shape"],
)  # fmt: skip
def test_other_transposed_convolutions_stay(size: tuple[int, ...], own: dict[str, Any]) -> None:
    model = heatmaps(size, own)
    changed(model, transposed_apart, weights(1, 8, 5, 4))
    assert "ConvTranspose" in kinds(model)
    changed(model, ends_apart, weights(1, 8, 5, 4))
    assert "ConvTranspose" in kinds(model)


@pytest.mark.parametrize(
    ("file", "name", "gone", "most", "apart"),
    [
        ("yolox_nano.onnx", "yolox-nano", {"Slice": 8}, 255, 1e-4),  # without any of ONNX Runtime's own steps: 1.4e-5
        ("ultralight_nano_simplepose.onnx", "alphapose-ultralight-simplepose", {"ConvTranspose": 1}, 2, 1e-6),
    ],
)
def test_the_official_networks_gain_all_of_it(
    assets: Path, tmp_path: Path, file: str, name: str, gone: dict[str, int], most: float, apart: float
) -> None:
    source = assets / "models" / file
    before, after = onnx.load(str(source)), onnx_file.load(convert.tag(source, name, tmp_path))
    assert {kind: kinds(before).count(kind) - kinds(after).count(kind) for kind in gone} == gone
    x = RANDOM.uniform(0, most, (1, 3, *SIDES[name])).astype(np.float32)
    for model in (before, after):
        onnx_file.rename_tensor(model, model.graph.input[0].name, "x")
    for one, other in zip(run(widely_readable(before), x), run(after, x), strict=True):
        assert np.abs(one - other).max() <= apart
