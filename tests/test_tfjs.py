"""TensorFlow.js graph models become ONNX without TensorFlow: each operation, the official networks, files that lie."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow_graphs
import tfjs_files
from bundles import assert_same_people, built, pictures
from command import ROOT
from tfjs_files import node

from posert import Frame, estimate_image, open_model
from posert.errors import PosertError
from posert.export.convert import convert
from posert.export.readers import tensorflow_nodes, tfjs
from posert.export.readers.tfjs import TfGraph

RNG = np.random.default_rng(5)
PICTURE = RNG.normal(0, 2, (1, 6, 5, 4)).astype(np.float32)
WHOLE = RNG.integers(-9, 9, (3, 4)).astype(np.int32)
FILTER, DEEP = RNG.normal(0, 1, (3, 3, 4, 2)).astype(np.float32), RNG.normal(0, 1, (3, 3, 4, 2)).astype(np.float32)
SAME: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME", "data_format": "NHWC"}


def run(graph: TfGraph, **feeds: np.ndarray) -> list[np.ndarray]:
    model = tensorflow_nodes.to_onnx(graph)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {value.name: feeds[value.name] for value in session.get_inputs()})


def convolved(picture: np.ndarray, weights: np.ndarray, stride: int = 1) -> np.ndarray:
    """TensorFlow's SAME convolution with a 3x3 filter [3,3,in,out], by its definition."""
    height, width = picture.shape[1:3]
    rows, columns = -(-height // stride), -(-width // stride)
    before = [max((n - 1) * stride + 3 - side, 0) // 2 for n, side in ((rows, height), (columns, width))]
    padded = np.zeros((height + 6, width + 6, picture.shape[3]))
    padded[before[0] : before[0] + height, before[1] : before[1] + width] = picture[0]
    out = np.zeros((1, rows, columns, weights.shape[3]))
    for y in range(rows):
        for x in range(columns):
            window = padded[y * stride : y * stride + 3, x * stride : x * stride + 3]
            out[0, y, x] = np.einsum("hwi,hwio->o", window, weights)
    return out


def depthwise() -> np.ndarray:
    """Channel c and multiplier m become channel c * 2 + m."""
    parts = [convolved(PICTURE[..., c : c + 1], DEEP[:, :, c : c + 1, :]) for c in range(4)]
    return np.concatenate(parts, -1)


def pooled() -> np.ndarray:
    """The largest of 5x5 pixels, as far as there are any."""
    near = [np.roll(np.pad(PICTURE, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=-9e9), (y, x), (1, 2))
            for y in range(-2, 3) for x in range(-2, 3)]  # fmt: skip
    return np.max(near, 0)[:, 2:-2, 2:-2]


BIAS = np.array([0.5, -1], np.float32)
CONV = node("conv", "Conv2D", "x", "w", **SAME)
C = {"w": FILTER, "bias": BIAS, "column": RNG.normal(0, 1, (6, 5, 1)).astype(np.float32)}
MINUS = [-3, 2, 5, -4]


def consts(**values: Any) -> dict[str, np.ndarray]:
    return {name: np.array(value, np.int32) for name, value in values.items()}


CASES: dict[str, tuple[list[dict], dict[str, np.ndarray], list[str], Callable[[], list[Any]]]] = {
    "convolution": ([CONV], C, ["conv"], lambda: [convolved(PICTURE, FILTER)]),
    "stride 2": (
        [node("y", "Conv2D", "x", "w", **SAME | {"strides": [1, 2, 2, 1]})],
        C,
        ["y"],
        lambda: [convolved(PICTURE, FILTER, 2)],
    ),
    "fused": (
        [node("y", "_FusedConv2D", "x", "w", "bias", **SAME, fused_ops=["BiasAdd", "Relu6"])],
        C,
        ["y"],
        lambda: [np.clip(convolved(PICTURE, FILTER) + BIAS, 0, 6)],
    ),
    "depthwise": (
        [node("y", "DepthwiseConv2dNative", "x", "w", **SAME)],
        {"w": DEEP},
        ["y"],
        lambda: [depthwise()],
    ),
    "behind a convolution, constants of any rank": (
        [CONV, node("s", "AddV2", "conv", "bias"), node("y", "Mul", "column", "s")],
        C,
        ["y"],
        lambda: [C["column"] * (convolved(PICTURE, FILTER) + BIAS)],
    ),
    "behind a convolution, something computed": (
        [CONV, node("m", "Max", "x", "axes", keep_dims=True), node("y", "SquaredDifference", "conv", "m")],
        C | consts(axes=[3]),
        ["y"],
        lambda: [(convolved(PICTURE, FILTER) - PICTURE.max(3, keepdims=True)) ** 2],
    ),
    "pool": (
        [node("y", "MaxPool", "x", **SAME, ksize=[1, 5, 5, 1])],
        {},
        ["y"],
        lambda: [pooled()],
    ),
    "resize": (
        [node("y", "ResizeBilinear", "x", "size", half_pixel_centers=True)],
        consts(size=[12, 10]),
        ["y"],
        lambda: [cv2.resize(PICTURE[0], (10, 12))[None]],
    ),
    "resize to what is computed": (
        [
            node("s", "Shape", "x"),
            node("hw", "StridedSlice", "s", "one", "three", "step"),
            node("size", "Mul", "hw", "twice"),
            node("y", "ResizeBilinear", "x", "size", half_pixel_centers=True),
        ],
        consts(one=[1], three=[3], step=[1], twice=[2, 3]),
        ["y"],
        lambda: [cv2.resize(PICTURE[0], (15, 12))[None]],
    ),
    "floor division": (
        [node("y", "FloorDiv", "i", "minus", T="DT_INT32")],
        consts(minus=MINUS),
        ["y"],
        lambda: [WHOLE // MINUS],
    ),
    "split": (
        [node("p", "Split", "axis", "i", num_split=2), node("y", "Sub", "p:1", "p")],
        consts(axis=1),
        ["y", "p:1"],
        lambda: [WHOLE[:, 2:] - WHOLE[:, :2], WHOLE[:, 2:]],
    ),
    "unpack and pack": (
        [node("p", "Unpack", "i", num=3), node("y", "Pack", "p:2", "p", "p:1", axis=1)],
        {},
        ["y"],
        lambda: [np.stack([WHOLE[2], WHOLE[0], WHOLE[1]], 1)],
    ),
    "unpack one": ([node("y", "Unpack", "x", num=1)], {}, ["y"], lambda: [PICTURE[0]]),
    "slice": (
        [node("y", "StridedSlice", "i", "a", "b", "c", begin_mask=1, end_mask=2)],
        consts(a=[2, 1], b=[-1, 0], c=[1, 2]),
        ["y"],
        lambda: [WHOLE[:-1, 1::2]],
    ),
    "slice that shrinks": (
        [node("y", "StridedSlice", "i", "a", "b", "c", shrink_axis_mask=1, begin_mask=2)],
        consts(a=[-1, 9], b=[0, 3], c=[1, 1]),
        ["y"],
        lambda: [WHOLE[-1, :3]],
    ),
    "slice with new axes": (
        [node("y", "StridedSlice", "i", "a", "b", "c", new_axis_mask=5, shrink_axis_mask=2, begin_mask=8, end_mask=8)],
        consts(a=[0, 1, 0, 0], b=[0, 2, 0, 0], c=[1, 1, 1, 1]),
        ["y"],
        lambda: [WHOLE[None, 1, None, :]],
    ),
    "slice backwards": (
        [node("y", "StridedSlice", "i", "a", "b", "c", begin_mask=1, end_mask=1)],
        consts(a=[0], b=[0], c=[-1]),
        ["y"],
        lambda: [WHOLE[::-1]],
    ),
    "top": (
        [node("r", "Reshape", "i", "flat"), node("t", "TopKV2", "r", "k")],
        consts(flat=[-1], k=5),
        ["t", "t:1"],
        lambda: [np.sort(WHOLE.ravel())[::-1][:5], np.argsort(-WHOLE.ravel(), kind="stable")[:5]],
    ),
    "gather": (
        [node("y", "GatherNd", "x", "at")],
        consts(at=[[0, 1, 2], [0, 5, 4]]),
        ["y"],
        lambda: [PICTURE[0, [1, 5], [2, 4]]],
    ),
    "gather behind a convolution": (
        [CONV, node("y", "GatherNd", "conv", "at")],
        C | consts(at=[[0, 1, 2], [0, 5, 4]]),
        ["y"],
        lambda: [convolved(PICTURE, FILTER)[0, [1, 5], [2, 4]]],
    ),
    "largest": ([node("y", "ArgMax", "i", "axis")], consts(axis=1), ["y"], lambda: [WHOLE.argmax(1)]),
    "sums": (
        [node("y", "Sum", "i", "axis", keep_dims=True), node("z", "Max", "i", "axis"), node("m", "Mean", "x", "two")],
        consts(axis=0, two=[1, 2]),
        ["y", "z", "m"],
        lambda: [WHOLE.sum(0, keepdims=True), WHOLE.max(0), PICTURE.mean((1, 2))],
    ),
    "shapes": (
        [
            node("s", "Shape", "x"),
            node("n", "Size", "x"),
            node("f", "Fill", "two", "three"),
            node("t", "Tile", "i", "two"),
            node("r", "Range", "zero", "n", "three"),
        ],
        consts(two=[2, 1], three=3, zero=0),
        ["s", "n", "f", "t", "r"],
        lambda: [[1, 6, 5, 4], 120, [[3], [3]], np.tile(WHOLE, (2, 1)), np.arange(0, 120, 3)],
    ),
    "choice": (
        [
            node("a", "Greater", "i", "zero"), node("b", "Less", "i", "five"), node("c", "LogicalAnd", "a", "b"),
            node("y", "Select", "c", "i", "none"),
        ],
        consts(zero=0, five=5, none=np.zeros_like(WHOLE)),
        ["y"],
        lambda: [np.where((WHOLE > 0) & (WHOLE < 5), WHOLE, 0)],
    ),
    "sums of three, of floats": (
        [
            node("f", "Cast", "i", DstT="DT_FLOAT"), node("y", "AddN", "f", "f", "f"), node("z", "Reciprocal", "e"),
            node("e", "Exp", "y"),
        ],
        {},
        ["y", "z"],
        lambda: [3.0 * WHOLE, np.exp(-3.0 * WHOLE)],
    ),
    "axes": (
        [node("a", "ExpandDims", "i", "axis"), node("b", "ConcatV2", "a", "a", "axis"), node("y", "Squeeze", "x"),
         node("z", "Squeeze", "x", squeeze_dims=[0])],
        consts(axis=-1),
        ["b", "y", "z"],
        lambda: [np.stack([WHOLE, WHOLE], -1), PICTURE[0], PICTURE[0]],
    ),
    "product": (
        [node("p", "Mean", "x", "two"), node("y", "_FusedMatMul", "p", "m", "bias", fused_ops=["BiasAdd", "Relu"])],
        {"m": RNG.normal(0, 1, (4, 2)).astype(np.float32), "bias": BIAS} | consts(two=[1, 2]),
        ["y"],
        lambda: [np.maximum(PICTURE.mean((1, 2)) @ CASES["product"][1]["m"] + BIAS, 0)],
    ),
}  # fmt: skip


def graph(nodes: list[dict], constants: dict[str, np.ndarray], outputs: list[str], folder: Path) -> TfGraph:
    ends = [
        tfjs_files.placeholder("x", "DT_FLOAT", *PICTURE.shape), tfjs_files.placeholder("i", "DT_INT32", *WHOLE.shape)
    ]  # fmt: skip
    return tfjs.read(tfjs_files.write(folder / "model.json", [*reversed(nodes), *ends], constants, outputs))


@pytest.mark.parametrize("case", CASES)
def test_each_operation_is_tensorflows(case: str, tmp_path: Path) -> None:
    nodes, constants, outputs, expected = CASES[case]
    widened = [node("whole", "Cast", "i", DstT="DT_INT32")]  # as any whole number inside a network
    for row in nodes:
        row = dict(row, input=["whole" if name == "i" else name for name in row["input"]])
        widened.append(row)
    found = run(graph(widened, constants, outputs, tmp_path), x=PICTURE, i=WHOLE)
    for ours, theirs in zip(found, expected(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "step"), [("float16", 2**-9), ("uint8", 0.125), ("float32", 0)])
def test_weights_of_every_kind(kind: str, step: float, tmp_path: Path) -> None:
    value = RNG.uniform(-4, 4, (3, 5)).astype(np.float32)
    path = tfjs_files.write(tmp_path / "m.json", [node("y", "Identity", "w")], {"w": value}, ["y"], kind)
    read = tfjs.read(path).constants["w"]
    assert read.dtype == np.float32
    assert np.abs(read - value).max() <= step


def broken(path: Path, change: Callable[[dict], object]) -> Path:
    model = json.loads(path.read_text())
    change(model)
    path.write_text(json.dumps(model))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("signature"), "KeyError: 'signature'"),
        (lambda m: m["modelTopology"]["node"][0].update(input=["y"]), "its nodes go round"),
        (lambda m: m["modelTopology"]["node"][0].update(input=["absent"]), "KeyError: 'absent'"),
        (lambda m: m["weightsManifest"][0].update(paths=["../m.bin"]), "is no name of a file beside it"),
        (lambda m: m["weightsManifest"][0].update(paths=["other.bin"]), "No such file"),
        (lambda m: m["weightsManifest"][0]["weights"][0].update(shape=[1 << 40]), "too few for w"),
        (lambda m: m["weightsManifest"][0]["weights"][0].update(shape=[2, -3]), "too few for w"),
        (lambda m: m["weightsManifest"][0]["weights"][0].update(shape=[1]), "the .json speaks of 4"),
        (lambda m: m["weightsManifest"][0]["weights"][0].update(dtype="string"), "KeyError: 'string'"),
    ],
)
def test_files_that_lie(change: Callable[[dict], object], message: str, tmp_path: Path) -> None:
    path = tfjs_files.write(tmp_path / "m.json", [node("y", "Relu", "w")], {"w": np.ones((2, 3), np.float32)}, ["y"])
    with pytest.raises(PosertError) as caught:
        tfjs.read(broken(path, change))
    assert message in caught.value.what
    assert "model.json" in caught.value.hint


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (node("y", "Conv2D", "x", "w", **SAME | {"data_format": "NCHW"}), "data_format is NCHW"),
        (node("y", "Conv2D", "x", "x", **SAME), "its input 1 is computed"),
        (node("y", "Conv2D", "x", "w", padding="SAME"), "KeyError: 'strides'"),
        (node("y", "_FusedConv2D", "x", "w", "bias", **SAME, fused_ops=["BiasAdd", "Zap"]), "fused with Zap"),
        (node("y", "FloorDiv", "x", "x", T="DT_FLOAT"), "not of whole numbers"),
        (node("y", "Cast", "x", DstT="DT_STRING"), "to DT_STRING"),
    ],
)
def test_what_nobody_knows_is_refused(row: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(PosertError, match=f"uses {row['op']} as nobody") as caught:
        run(graph([row], C, ["y"], tmp_path))
    assert message in caught.value.what


def test_unknown_operations_are_all_named(tmp_path: Path) -> None:
    rows = [node("a", "Zap", "x"), node("y", "Hop", "a")]
    with pytest.raises(PosertError, match="not known: Hop, Zap"):
        run(graph(rows, {}, ["y"], tmp_path))


# The official networks

NAMES = {"movenet-lightning": "lightning", "movenet-thunder": "thunder", "movenet-multipose-lightning": "multipose"}


@pytest.fixture(scope="module", params=NAMES)
def official(
    request: pytest.FixtureRequest, assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The short name of an official network, and its file made of TensorFlow.js's."""
    file = assets / "models" / "movenet_tfjs" / f"movenet-{NAMES[request.param]}.json"
    return NAMES[request.param], convert(request.param, tmp_path_factory.mktemp("official"), from_file=file)


@pytest.fixture(scope="module")
def outputs(assets: Path) -> Any:
    """What TensorFlow and the published tutorial found on four photos."""
    return np.load(assets.parent / "golden" / "movenet_official.npz")


def test_it_gives_tensorflows_outputs(official: tuple[str, Path], outputs: Any) -> None:
    name, path = official
    with open_model(path, device="cpu", threads=1) as model:
        for tensor, expected in zip(outputs[f"{name}_input"], outputs[f"{name}_output"], strict=True):
            found = model.run("pose", tensor[None].astype(np.int32))
            assert np.abs(next(iter(found.values()))[0] - expected).max() < 1e-5


@pytest.mark.parametrize("official", [name for name, short in NAMES.items() if short != "multipose"], indirect=True)
def test_it_finds_the_tutorials_keypoints_on_photos(official: tuple[str, Path], outputs: Any, assets: Path) -> None:
    name, path = official
    with open_model(path, device="cpu", threads=1) as model:
        for photo, expected in zip(outputs["photos"], outputs[f"{name}_keypoints_xys"], strict=True):
            bgr = cv2.imread(str(assets / "media" / "coco100" / "images" / str(photo)))
            found = estimate_image(model, Frame(bgr, 0, 0.0, str(photo))).poses.keypoints[0]
            assert np.abs(found - expected).max() < 0.01


@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler")
@pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel")
def test_c_finds_the_same_people(official: tuple[str, Path], assets: Path, tmp_path: Path) -> None:
    path = official[1]
    assert assert_same_people(path, built(path, tmp_path / "c"), pictures(assets)) >= 6


def test_no_framework_is_needed(assets: Path, tmp_path: Path) -> None:
    """Neither TensorFlow nor PyTorch nor tf2onnx is imported."""
    file = assets / "models" / "movenet_tfjs" / "movenet-lightning.json"
    program = (
        "import sys; sys.modules.update(tensorflow=None, tf2onnx=None, torch=None)\n"
        "from pathlib import Path; from posert.export.convert import convert\n"
        f"convert('movenet-lightning', Path({str(tmp_path)!r}), from_file=Path({str(file)!r}))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT / ".typing")
    assert (tmp_path / "movenet-lightning.onnx").is_file()


def test_mediapipes_hands_convert_too(assets: Path) -> None:
    read = tfjs.read(assets / "models" / "mediapipe_tfjs" / "handlandmark-full.json")
    found = run(read, input_1=np.full((1, 224, 224, 3), 0.5, np.float32))
    assert sorted(value.shape for value in found) == [(1, 1), (1, 1), (1, 63), (1, 63)]


@pytest.mark.export
@pytest.mark.parametrize(
    ("name", "sizes_hw"),
    [
        ("movenet_tfjs/movenet-lightning", [(192, 192)]),
        ("movenet_tfjs/movenet-thunder", [(256, 256)]),
        ("movenet_tfjs/movenet-multipose", [(256, 256), (192, 320), (512, 384)]),
        ("mediapipe_tfjs/handlandmark-full", [(224, 224)]),
    ],
)
def test_it_is_tensorflows_network(name: str, sizes_hw: list[tuple[int, int]], assets: Path) -> None:
    path = assets / "models" / f"{name}.json"
    read = tfjs.read(path)
    end = next(row for row in read.nodes if row.op == "Placeholder")
    for size_hw in sizes_hw:
        tensor = np.random.default_rng(0).uniform(0, 1, (1, *size_hw, 3)).astype(np.float32)
        if end.attributes["dtype"] == "DT_INT32":
            tensor = cv2.GaussianBlur(tensor[0] * 255, (0, 0), 3)[None].astype(np.int32)
        theirs = tensorflow_graphs.run(path, end.name, read.outputs, tensor)
        for one, other in zip(run(read, **{end.name: tensor}), theirs, strict=True):
            assert np.abs(one - other).max() < 1e-5 * max(1, np.abs(other).max())
