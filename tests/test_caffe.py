"""The Caffe route: the official networks with random weights, converted, against a forward pass written apart."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from caffe_files import layers_of, prototxt, weights, write_caffemodel

from posert.errors import PosertError

pytestmark = pytest.mark.export
onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from posert.export.convert import convert  # noqa: E402
from posert.export.nano.clip import render  # noqa: E402
from posert.export.onnx_file import save  # noqa: E402
from posert.export.readers import caffe, caffe_forward  # noqa: E402
from posert.export.systems import openpose  # noqa: E402
from posert.export.weights import Entry, find  # noqa: E402
from posert.runtime.prepare import prepare  # noqa: E402
from posert.runtime.session import open_model  # noqa: E402
from posert.runtime.windows import place  # noqa: E402

NAMES = {
    "body_25": "openpose-body25", "coco": "openpose-coco", "mpi": "openpose-mpi",
    "mpi_4_stages": "openpose-mpi-4-stages", "face": "openpose-face", "hand": "openpose-hand",
}  # fmt: skip


@pytest.fixture(scope="module")
def topologies(golden: Path) -> dict:
    """Network -> its official deploy file's layers: name, type, bottoms, tops, settings."""
    return json.loads((golden / "openpose_topologies.json").read_text())


def forward(topology: dict, arrays: dict[str, list[np.ndarray]], picture: np.ndarray) -> np.ndarray:
    """The network by torch's functions, in the deploy file's order."""
    from torch.nn import functional

    torch.set_num_threads(1)
    values = {topology["input"]: torch.from_numpy(picture)}
    for name, kind, bottoms, top, settings in layers_of(topology):
        given = [values[bottom] for bottom in bottoms]
        own = [torch.from_numpy(array) for array in arrays.get(name, [])]
        if kind == "Convolution":
            values[top] = functional.conv2d(given[0], *own, padding=settings["pad"])
        elif kind == "PReLU":
            values[top] = functional.prelu(given[0], own[0])
        elif kind == "ReLU":
            values[top] = functional.relu(given[0])
        elif kind == "Pooling":
            values[top] = functional.max_pool2d(given[0], settings["kernel_size"], settings["stride"], ceil_mode=True)
        else:
            values[top] = torch.cat(given, settings["axis"])
    return values["net_output"].numpy()


@pytest.mark.parametrize("network", NAMES)
def test_the_layers_we_know_are_the_deploy_files(topologies: dict, network: str, tmp_path: Path) -> None:
    """The same graph; layers with weights have the same names. Only names of tensors in between are ours."""
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(prototxt(topologies[network]))

    def graph(layers: list) -> tuple[int, object]:
        made: dict[str, object] = {"image": "image"}
        for layer in layers:
            own = [str(getattr(layer, field.name)).replace("dilation: 1\n", "") for field, _ in layer.ListFields()[4:]]
            label = layer.name if layer.type in ("Convolution", "PReLU") else ""
            made[layer.top[0]] = hash((label, layer.type, tuple(made[b] for b in layer.bottom), *own))
        return len(layers), made["net_output"]

    known = openpose.NETWORKS[NAMES[network]].layers()
    assert graph(known) == graph(caffe.read_prototxt(deploy).layer)


@pytest.mark.parametrize("network", NAMES)
def test_a_converted_network_gives_the_forward_pass(topologies: dict, network: str, tmp_path: Path) -> None:
    """On a drawn picture, through our preprocessing, at two sizes and a batch of two; the numpy one does too."""
    arrays = weights(topologies[network])
    write_caffemodel(tmp_path / "net.caffemodel", arrays)
    entry = find(NAMES[network])
    exported = openpose.build(entry, tmp_path / "net.caffemodel", frozenset())
    save(exported, tmp_path / "net.onnx")
    original = openpose.reference(entry, tmp_path / "net.caffemodel")
    stage, frame = exported.spec.stages[0], np.asarray(render(0)[0], np.uint8)
    with open_model(tmp_path / "net.onnx", device="cpu", threads=1) as model:
        for input_wh in ((80, 64), (64, 48)):
            windows = np.array([[0, 0, frame.shape[1], frame.shape[0]], [10, 10, 170, 140]], np.float64)
            tensor = prepare(frame, windows, stage.input, input_wh)
            assert tensor.min() >= -0.5
            assert tensor.max() < 0.5
            expected = forward(topologies[network], arrays, tensor)
            got = model.run(stage.name, tensor)
            joined = np.concatenate([got[role] for role in stage.outputs], axis=1)
            assert joined.shape[2:] == (input_wh[1] // 8, input_wh[0] // 8)
            expected = expected[:, : joined.shape[1]]
            assert np.abs(joined - expected).max() <= 1e-4 * np.abs(expected).max()
            theirs = original(tensor)
            again = np.concatenate([theirs[role] for role in stage.outputs], axis=1)
            assert np.abs(again - expected).max() <= 1e-4 * np.abs(expected).max()


def small(tmp_path: Path) -> tuple[dict, dict[str, list[np.ndarray]], Path]:
    """A network of every kind of layer, its weights, and its .caffemodel."""
    topology = {
        "input": "image",
        "input_dim": [1, 3, 16, 16],
        "layers": [
            ["a", "Convolution", ["image"], ["a"], {"num_output": 4, "pad": 1, "kernel_size": 3}],
            ["ra", "ReLU", ["a"], ["a"]],
            ["p", "Pooling", ["a"], ["p"], {"pool": "MAX", "kernel_size": 2, "stride": 2}],
            ["b", "Convolution", ["p"], ["b"], {"num_output": 5, "pad": 0, "kernel_size": 1}],
            ["rb", "PReLU", ["b"], ["b"]],
            ["net_output", "Concat", ["b", "p"], ["net_output"], {"axis": 1}],
        ],
    }
    arrays = weights(topology)
    write_caffemodel(tmp_path / "s.caffemodel", arrays)
    return topology, arrays, tmp_path / "s.caffemodel"


@pytest.mark.parametrize("old", [False, True])
def test_a_prototxt_of_your_own(tmp_path: Path, old: bool) -> None:
    """Text in, odd sizes too (Caffe rounds a pooled size up), and both ways in which Caffe wrote shapes."""
    topology, arrays, path = small(tmp_path)
    write_caffemodel(path, arrays, old=old)
    (tmp_path / "s.prototxt").write_text(prototxt(topology))
    net = caffe.read_prototxt(tmp_path / "s.prototxt")
    graph = caffe.to_onnx(net, caffe.read_blobs(path), {"heatmaps": (0, 5), "pafs": (5, 9)})
    onnx.checker.check_model(graph, full_check=True)
    from onnxruntime import InferenceSession

    picture = np.random.default_rng(1).normal(size=(2, 3, 17, 21)).astype(np.float32)
    got = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"image": picture})
    assert np.concatenate(got, axis=1) == pytest.approx(forward(topology, arrays, picture), abs=1e-5)


ODD = """
input: "image"
layer { name: "a" type: "Convolution" bottom: "image" top: "a"
  convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2 stride: 2 } }
layer { name: "r" type: "ReLU" bottom: "a" top: "a" relu_param { negative_slope: 0.25 } }
layer { name: "b" type: "Convolution" bottom: "a" top: "b"
  convolution_param { num_output: 4 kernel_size: 3 pad: 2 dilation: 2 group: 2 bias_term: false } }
layer { name: "d" type: "Dropout" bottom: "b" top: "b" }
layer { name: "p" type: "PReLU" bottom: "b" top: "c" prelu_param { channel_shared: true } }
layer { name: "m" type: "Pooling" bottom: "c" top: "m" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "v" type: "Pooling" bottom: "b" top: "v" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "out" type: "Concat" bottom: "m" bottom: "v" top: "out" concat_param { concat_dim: 1 } }
"""


@pytest.mark.parametrize("size_hw", [(16, 16), (17, 21), (22, 19)])
def test_the_rarer_settings_mean_the_same_in_onnx_and_numpy(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    """Strides, groups, dilation, one slope for all channels, leaky, average, and windows that reach over the edge."""
    (tmp_path / "o.prototxt").write_text(ODD)
    rng = np.random.default_rng(0)
    shapes = {"a": [(6, 3, 3, 5), (6,)], "b": [(4, 3, 3, 3)], "p": [(1,)]}
    blobs = {name: [rng.normal(size=shape).astype(np.float32) for shape in own] for name, own in shapes.items()}
    net, picture = caffe.read_prototxt(tmp_path / "o.prototxt"), rng.normal(size=(2, 3, *size_hw)).astype(np.float32)
    from onnxruntime import InferenceSession

    graph = caffe.to_onnx(net, blobs, {"all": (0, 8)})
    (got,) = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"image": picture}
    )
    expected = caffe_forward.forward(net, blobs, picture)
    assert got.shape == expected.shape
    assert got == pytest.approx(expected, abs=1e-4)


def test_an_export_says_how_far_it_is_from_the_numpy_one(topologies: dict, tmp_path: Path) -> None:
    """As a user runs it: weights of their own, the licence, no detector of people beside a network for hands."""
    write_caffemodel(tmp_path / "hand.caffemodel", weights(topologies["hand"]))
    with pytest.raises(
        PosertError, match=r"is not the official openpose-hand: its hash is .*, expected a82cfc3fea7c62f1"
    ):
        convert("openpose-hand", tmp_path / "out", from_file=tmp_path / "hand.caffemodel")
    said: list[str] = []
    made = convert(
        "openpose-hand", tmp_path / "out", from_file=tmp_path / "hand.caffemodel", accept_unpinned=True,
        report=said.append,
    )  # fmt: skip
    assert [path.name for path in made.parent.iterdir()] == ["openpose-hand.onnx"]
    assert said[0] == "hand.caffemodel: no pin, taken as it is"
    assert "licence: CMU OpenPose, research only; these weights may not be used commercially" in said
    equal = r"verdict: equal to its layers computed in numpy on a drawn scene: largest differences maps (\S+) of"
    assert float(re.search(equal, "\n".join(said))[1]) <= 1e-4
    with open_model(made, device="cpu") as model:
        assert model.spec.licence == "CMU OpenPose, research only"
        assert [stage.region for stage in model.spec.stages] == ["boxes"]


def test_a_prototxt_beside_the_weights_wins(topologies: dict, tmp_path: Path) -> None:
    write_caffemodel(tmp_path / "x.caffemodel", {"conv1_1": [np.zeros((64, 3, 3, 3), np.float32)]})
    text = prototxt(topologies["hand"]).replace("conv1_1", "mine_1")
    (tmp_path / "x.prototxt").write_text(text)
    with pytest.raises(PosertError, match="no weights for mine_1"):
        openpose.build(find("openpose-hand"), tmp_path / "x.caffemodel", frozenset())


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = small(tmp_path)[2]
    with pytest.raises(PosertError, match="no weights for conv1_1; no weights for conv1_1; no weights for conv1_2"):
        openpose.build(find("openpose-coco"), path, frozenset())
    with pytest.raises(PosertError, match="no network is known for x"):
        openpose.build(Entry("x", "openpose", "caffe", ""), path, frozenset())


@pytest.mark.parametrize(
    ("cut", "message"), [(0.5, "not a whole .caffemodel"), (0.0, "no trained layers"), (-1, "not a whole .caffemodel")]
)
def test_broken_weights(tmp_path: Path, cut: float, message: str) -> None:
    path = small(tmp_path)[2]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)] if cut >= 0 else b"\xff" * 100)
    with pytest.raises(PosertError, match=message):
        caffe.read_blobs(path)


def test_layers_that_we_do_not_know_are_all_named(tmp_path: Path) -> None:
    topology, _, path = small(tmp_path)
    (tmp_path / "s.prototxt").write_text(prototxt(topology).replace('"ReLU"', '"LRN"').replace('"PReLU"', '"Slice"'))
    net = caffe.read_prototxt(tmp_path / "s.prototxt")
    with pytest.raises(PosertError, match="layer ra of type LRN; layer rb of type Slice"):
        caffe.to_onnx(net, caffe.read_blobs(path), {"heatmaps": (0, 5)})
    (tmp_path / "s.prototxt").write_text("layer { name: ")
    with pytest.raises(PosertError, match=r"is not a \.prototxt"):
        caffe.read_prototxt(tmp_path / "s.prototxt")


@pytest.mark.parametrize(
    ("frame_wh", "input_wh"),
    [((440, 375), (432, 368)), ((1280, 720), (656, 368)), ((3000, 500), (656, 368)), ((480, 640), (272, 368))],
)
def test_the_input_is_368_high_and_as_wide_as_the_frame_asks(frame_wh, input_wh) -> None:
    stage = openpose.caffe_stage(openpose.NETWORKS["openpose-body25"], "i")
    windows, size = place(frame_wh, stage.input)
    assert size == input_wh
    step = max((frame_wh[0] - 1) / (size[0] - 1), (frame_wh[1] - 1) / (size[1] - 1))
    assert windows[0, 2] - windows[0, 0] == pytest.approx(step * size[0])
    # sample i lies i steps after the frame's first pixel: half a sample right of the window's edge, in pixel centres
    assert windows[0, :2] + 0.5 * step - 0.5 == pytest.approx(np.zeros(2), abs=1e-9)
