"""Exports of `alphapose` and `yolo`: against outputs of the original code, for a filling anybody can repeat."""

import hashlib
import json
import math
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from posert.errors import PosertError
from posert.export import weights

GOLDEN = Path(__file__).parent / "golden"
STATES = json.loads((GOLDEN / "alphapose_networks.json").read_text())
COCO = "alphapose-fastpose-res50"


def filling(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a state entry, each from a generator of its own, as the original's outputs were made with."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if key.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if key.endswith("running_mean"):
        return rng.normal(0, 0.1, shape)
    if key.endswith("bias"):
        return rng.normal(0, 0.05, shape)
    if len(shape) == 1:
        return rng.uniform(0.5, 1.0, shape)
    return rng.normal(0, math.sqrt(1 / np.prod(shape[1:])), shape)


def checkpoint(path: Path, name: str, **changed: object) -> Path:
    """A .pth with the official key names of `name`; `changed` key -> shape, None = left out."""
    import torch

    shapes = {key: tuple(shape) for key, shape in STATES[name].items()} | changed
    state = {
        key: torch.from_numpy(filling(key, shape)).to(torch.int64 if key.endswith("tracked") else torch.float32)
        for key, shape in shapes.items()
        if shape is not None
    }
    torch.save(state, path)
    return path


@pytest.mark.export
@pytest.mark.parametrize("name", STATES)
def test_networks_give_the_outputs_of_the_original(name: str, tmp_path: Path) -> None:
    """1e-3 of the largest value: float32, and other kernels sum in another order. Seen: 1e-6."""
    import onnxruntime

    from posert.export import onnx_file
    from posert.export.systems.alphapose import build, reference

    path, entry = checkpoint(tmp_path / "x.pth", name), weights.find(name)
    image = np.random.default_rng(0).normal(0, 0.3, (2, 3, 256, 192)).astype(np.float32)
    expected = np.load(GOLDEN / "alphapose_networks.npz")[name]
    original = reference(entry, path)(image)["maps"]
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-3 * float(np.abs(expected).max()))
    close(original[:1, :, ::4, ::4], expected)
    exported = build(entry, path, frozenset())
    onnx_file.save(exported, tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    for rows in (2, 1, 3):  # the batch is free
        (maps,) = session.run(["maps"], {"image": image[[0, 1, 0][:rows]]})
        assert len(maps) == rows
        close(maps[:1, :, ::4, ::4], expected)
        close(maps[1:2], original[1:rows][:1])
    assert len(exported.spec.skeleton.names) == expected.shape[1]
    assert exported.spec.stages[0].params.get("integral", 0) == {133: 110, 136: -1}.get(expected.shape[1], 0)


@pytest.mark.export
def test_every_difference_of_a_checkpoint_is_named(tmp_path: Path) -> None:
    from posert.export.systems.alphapose import reference

    changed = {"conv_out.bias": None, "duc1.bn.weight": None, "conv_out.extra": (3,), "duc2.bn.bias": (7,)}
    path = checkpoint(tmp_path / "x.pth", COCO, **changed)
    with pytest.raises(PosertError) as error:
        reference(weights.find(COCO), path)
    for part in ("4 differences", "missing conv_out.bias", "missing duc1.bn.weight", "unexpected conv_out.extra",
                 "duc2.bn.bias is [7], expected [512]"):  # fmt: skip
        assert part in error.value.what


@pytest.mark.export
def test_wrapped_state_dicts_are_unwrapped(tmp_path: Path) -> None:
    import torch

    from posert.export.readers.torch_models import read_state

    torch.save({"state_dict": {"module.a": torch.ones(2)}}, tmp_path / "x.pth")
    assert list(read_state(tmp_path / "x.pth")) == ["a"]


@pytest.mark.export
def test_files_that_run_code_are_refused(tmp_path: Path) -> None:
    import torch

    from posert.export.readers.torch_models import read_state

    class Attack:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"a": Attack()}, tmp_path / "x.pth")
    with pytest.raises(PosertError, match="no plain state dict"):
        read_state(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(PosertError, match="no state dict: it holds a list"):
        read_state(tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "list.pth").read_bytes()[:100])
    with pytest.raises(PosertError, match="no plain state dict"):
        read_state(tmp_path / "cut.pth")


@pytest.mark.export
@pytest.mark.parametrize("name", ["alphapose-fastpose-dcn-res50", COCO])
def test_deformable_networks_are_refused(name: str, tmp_path: Path) -> None:
    from posert.export.systems.alphapose import reference

    path = checkpoint(tmp_path / "x.pth", COCO, **{"preact.layer2.0.conv2_offset.weight": (27, 128, 3, 3)})
    with pytest.raises(PosertError, match="deformable convolutions"):
        reference(weights.find(name), path)


def slim(topology: dict, factor: int) -> list[tuple[str, dict]]:
    """The layers with fewer channels; the heads keep theirs."""
    layers = [(kind, dict(options)) for kind, options in topology["layers"]]
    for at, (kind, options) in enumerate(layers):
        if kind == "convolutional" and layers[at + 1][0] != "yolo":
            options["filters"] = max(1, int(options["filters"]) // factor)
    return layers


def write_darknet(folder: Path, factor: int = 16, side: int = 96) -> Path:
    """A true .cfg of YOLOv3-SPP with few channels, and random .weights in Darknet's order."""
    layers = slim(json.loads((GOLDEN / "yolov3_spp_topology.json").read_text()), factor)
    text = [f"[net]\nwidth={side}\nheight={side}\nchannels=3\n# comment"]
    for kind, options in layers:
        values = {key: ",".join(map(str, v)) if isinstance(v, list) else v for key, v in options.items()}
        text.append(f"[{kind}]\n" + "\n".join(f"{key} = {value}" for key, value in values.items()))
    (folder / "x.cfg").write_text("\n\n".join(text))
    rng = np.random.default_rng(1)
    widths: list[int] = []
    parts = [np.array([0, 2, 0, 32013312, 0], "<i4").tobytes()]
    for at, (kind, options) in enumerate(layers):
        before = widths[-1] if widths else 3
        if kind == "convolutional":
            width = int(options["filters"])
            if options.get("batch_normalize"):
                norm = [rng.normal(0, 0.1, width), rng.uniform(0.5, 1, width), rng.normal(0, 0.1, width),
                        rng.uniform(0.5, 1.5, width)]  # fmt: skip
            else:
                norm = [rng.normal(0, 0.1, width)]
            count = before * int(options["size"]) ** 2
            parts += [np.float32(v).tobytes() for v in (*norm, rng.normal(0, count**-0.5, width * count))]
        elif kind == "route":
            names = options["layers"] if isinstance(options["layers"], list) else str(options["layers"]).split(",")
            width = sum(widths[at + int(n) if int(n) < 0 else int(n)] for n in names)
        else:
            width = before
        widths.append(width)
    (folder / "x.weights").write_bytes(b"".join(parts))
    return folder / "x.weights"


@pytest.mark.export
def test_yolov3_from_darknet_files(tmp_path: Path) -> None:
    """ONNX Runtime once merged the zeros around the pools into them and was 2e-3 off."""
    import onnxruntime

    from posert.export import onnx_file
    from posert.export.systems.yolo import build, reference
    from posert.postprocess.decoders import detect

    path, entry = write_darknet(tmp_path), weights.find("yolov3-spp")
    exported = build(entry, path, frozenset())
    onnx_file.save(exported, tmp_path / "x.onnx")
    image = np.random.default_rng(0).random((2, 3, 96, 96), np.float32)
    original = reference(entry, path)(image)
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    maps = dict(zip(original, session.run(list(original), {"image": image}), strict=True))
    for head, stride in (("head32", 32), ("head16", 16), ("head8", 8)):
        assert maps[head].shape == (2, 255, 96 // stride, 96 // stride)
        np.testing.assert_allclose(maps[head], original[head], rtol=0, atol=1e-5)
    assert len(detect.decode(maps, exported.spec.skeleton, detect.Params(), (96, 96))) == 2


@pytest.mark.export
def test_darknet_layers_by_hand(tmp_path: Path) -> None:
    """One convolution of each kind, a pool that pads with 0 although all values are negative, and a shortcut."""
    import torch

    from posert.export.readers.darknet import Darknet, read_cfg, read_weights

    conv = "[convolutional]\nfilters=1\nsize=1\nstride=1\npad=1\nactivation="
    cfg = f"[net]\nwidth=2\n{conv}linear\n[maxpool]\nsize=3\nstride=1\n[shortcut]\nfrom=-2\n[yolo]\n[route]\nlayers=0\n"
    cfg += f"{conv}leaky\nbatch_normalize=1\n[yolo]\n"
    values = [-10.0, 2.0, 0.5, 3.0, 1.0, 4.0, 1.0]  # bias, weight; beta, gamma, mean, variance, weight
    path = tmp_path / "x.weights"
    path.write_bytes(bytes(20) + np.array(values, "<f4").tobytes())
    options, layers = read_cfg(cfg)
    net = Darknet(1, layers).eval()
    read_weights(net, path)
    assert options == {"width": "2"}
    with torch.no_grad():
        first, second = net(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    line = np.array([[-8.0, -6.0], [-4.0, -2.0]])
    assert first[0, 0].numpy() == pytest.approx(line + 0)  # the pool sees the zeros around the picture
    normalised = (line - 1) / np.sqrt(4 + 1e-5) * 3 + 0.5
    assert second[0, 0].numpy() == pytest.approx(np.where(normalised > 0, normalised, 0.1 * normalised), abs=1e-5)


@pytest.mark.export
@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ("[net]\n[convolutional]\nfilters\n", "line 3 of the .cfg"),
        ("width=3\n", "line 1 of the .cfg"),
        ("[convolutional]\n", r"does not begin with \[net\]"),
        ("[net]\n[crop]\n[lstm]\n", "layers that YOLOv3 does not have: crop, lstm"),
        ("[net]\n[maxpool]\nsize=2\nstride=1\n", "pool of size 2 and stride 1"),
        ("[net]\n[route]\nlayers=5\n", "takes layer 5, which does not come before it"),
        ("[net]\n[convolutional]\nfilters=1\nsize=1\nstride=1\nactivation=mish\n", "activation mish"),
    ],
)
def test_cfg_files_that_do_not_fit(cfg: str, message: str) -> None:
    from posert.export.readers.darknet import Darknet, read_cfg

    with pytest.raises(PosertError, match=message):
        Darknet(3, read_cfg(cfg)[1])


@pytest.mark.export
def test_weights_of_another_network(tmp_path: Path, monkeypatch) -> None:
    from posert.export.systems.yolo import reference

    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "home"))
    path, entry = write_darknet(tmp_path), weights.find("yolov3-spp")
    whole = path.read_bytes()
    for data in (whole[:-4], whole + bytes(4), whole[:10], b""):
        path.write_bytes(data)
        with pytest.raises(PosertError, match=f"has {len(data)} bytes; the .cfg describes {len(whole)}"):
            reference(entry, path)
    (tmp_path / "home").mkdir()
    (tmp_path / "x.cfg").rename(tmp_path / "home" / "yolov3-spp.cfg")  # what `pull` fetches serves too
    with pytest.raises(PosertError, match=f"has 0 bytes; the .cfg describes {len(whole)}"):
        reference(entry, path)
    (tmp_path / "home" / "yolov3-spp.cfg").unlink()
    with pytest.raises(PosertError, match=r"x.weights needs its .cfg"):
        reference(entry, path)


def test_ready_made_networks_are_checked(assets: Path, tmp_path: Path) -> None:
    from posert.export.systems import alphapose, yolo

    models = assets / "models"
    with pytest.raises(PosertError, match=r"is no YOLOX: .*data"):
        yolo.build(weights.find("yolox-nano"), models / "ultralight_nano_simplepose.onnx", frozenset())
    with pytest.raises(PosertError, match=r"is not alphapose-ultralight-simplepose: its tensors are"):
        alphapose.build(weights.find("alphapose-ultralight-simplepose"), models / "yolox_nano.onnx", frozenset())


def test_the_detector_is_written_beside_the_model(assets: Path, tmp_path: Path, monkeypatch) -> None:
    from posert.export import onnx_file
    from posert.export.convert import convert, pair, tag

    monkeypatch.setenv("POSERT_MIRROR", str(assets / "models"))
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "home"))
    path = convert("alphapose-ultralight-simplepose", tmp_path / "out")
    first, second = onnx_file.read_metadata(path).stages
    assert (first.file, second.file) == ("yolox-nano.onnx", None)
    assert first.sha256 == hashlib.sha256((tmp_path / "out" / "yolox-nano.onnx").read_bytes()).hexdigest()
    alone = convert("alphapose-ultralight-simplepose", tmp_path / "alone", detector="none")
    assert [stage.region for stage in onnx_file.read_metadata(alone).stages] == ["boxes"]
    assert not (tmp_path / "alone" / "yolox-nano.onnx").exists()
    source = assets / "models" / "ultralight_nano_simplepose.onnx"
    with pytest.raises(PosertError, match="lies in another folder"):
        tag(source, "alphapose-ultralight-simplepose", alone, detector=tmp_path / "out" / "yolox-nano.onnx")
    exported = onnx_file.Exported(onnx_file.load(path), replace(onnx_file.read_metadata(path), stages=(second,)))
    with pytest.raises(PosertError, match="is no detector"):
        pair(exported, path)


@pytest.mark.export
@pytest.mark.parametrize("keypoints", [17, 5])
def test_a_state_dict_by_its_shapes(tmp_path: Path, keypoints: int) -> None:
    """One's own training: the network whose weights have these names and shapes, keypoints by the last one."""
    from posert.export.convert import convert
    from posert.export.onnx_file import read_metadata

    name, own = "alphapose-fastpose-duc-res50", {"accept_unpinned": True, "detector": "none"}
    changed = {"conv_out.weight": (keypoints, *STATES[name]["conv_out.weight"][1:])}
    file = checkpoint(
        tmp_path / "mine.pth", name, **changed, **{"conv_out.bias": (keypoints,)}
    )  # fmt: skip
    said: list[str] = []
    convert("alphapose", tmp_path / "mine.onnx", from_file=file, report=said.append, **own)
    assert any(line.startswith("verdict: equal to ") for line in said)
    spec = read_metadata(tmp_path / "mine.onnx")
    assert (len(spec.skeleton.names), spec.stages[0].params) == (keypoints, {})
    assert spec.skeleton.names[0] == ("nose" if keypoints == 17 else "keypoint_0")
    broken = checkpoint(tmp_path / "other.pth", name, **{"preact.conv1.weight": (64, 4, 7, 7)})
    with pytest.raises(PosertError, match="none of AlphaPose's networks"):
        convert("alphapose", tmp_path / "x.onnx", from_file=broken, **own)
