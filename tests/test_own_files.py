"""Networks of one's own training through the route of a system: by the file's kind, not by an official row."""

from pathlib import Path
from typing import Any

import caffe_files
import numpy as np
import pytest
from command import Run

from posert import open_model
from posert.errors import PosertError
from posert.export import weights
from posert.export.convert import convert
from posert.export.onnx_file import read_metadata

OWN = {"accept_unpinned": True, "detector": "none"}


def test_rows_for_ones_own_leave_the_licence_open(run: Run) -> None:
    for name in ("movenet", "openpose", "alphapose", "openpifpaf"):
        entry = weights.find(name)
        assert (entry.licence, entry.pinned, entry.permissive, entry.light) == ("yours to know", False, False, False)
        code, _, err = run("export", name)
        assert code == 1
        assert "--from FILE" in err or "--accept-unpinned" in err or "posert[export]" in err
        assert run("models", "pull", name, "--accept-unpinned")[0] == 1


def test_the_kind_of_file_decides(tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, file, message in (
        ("movenet", "net.caffemodel", r"of \.tflite, \.json, \.tar\.gz, a SavedModel's folder"),
        ("openpose", "folder", r"folders like folder; it is of \.pb, \.caffemodel"),
        ("alphapose", "net.caffemodel", r"of \.pth, \.pt"),
        ("movenet", "none.tflite", "there is no file"),
    ):
        with pytest.raises(PosertError, match=message):
            convert(name, tmp_path / "out", from_file=tmp_path / file, **OWN)
    with pytest.raises(PosertError, match="cannot be checked"):
        convert("openpose", tmp_path / "out", from_file=tmp_path / "net.caffemodel")
    with pytest.raises(PosertError, match="it is a folder"):
        weights.pull(weights.find("movenet-lightning-int8"), from_file=tmp_path / "folder")


def _keras_like(**names: str) -> Any:
    """A module from int or float pictures [1,192,192,3] to [1,1,17,3], with weights so that it can be quantised."""
    import tensorflow as tf

    rng = np.random.default_rng(0)

    class Net(tf.Module):
        def __init__(self, kind: Any) -> None:
            super().__init__()
            self.kernel = tf.constant(rng.normal(0, 0.05, (3, 3, 3, 8)), tf.float32)
            self.dense = tf.constant(rng.normal(0, 0.05, (8, 51)), tf.float32)
            self.call = tf.function(self._call, input_signature=[tf.TensorSpec((1, 192, 192, 3), kind, "picture")])

        def _call(self, picture: Any) -> Any:
            x = tf.cast(picture, tf.float32) / 127.5 - 1
            x = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 4, "SAME"))
            x = tf.reduce_mean(x, (1, 2)) @ self.dense
            return {names.get("output", "poses"): tf.reshape(tf.sigmoid(x), (1, 1, 17, 3))}

    return Net(tf.int32 if names.get("kind") == "int32" else tf.float32)


@pytest.mark.export
@pytest.mark.parametrize("packed", [False, True])
def test_a_saved_model_by_folder_with_names_of_its_own(tmp_path: Path, packed: bool, run: Run) -> None:
    """Its input is not `input`, its output not `output_0`: the comparison with TensorFlow was a traceback."""
    import shutil

    import tensorflow as tf

    net, folder = _keras_like(kind="int32"), tmp_path / "mine"
    tf.saved_model.save(net, str(folder), signatures=net.call)
    file = shutil.make_archive(str(folder), "gztar", folder) if packed else folder
    code, out, err = run("export", "movenet", "--from", file, "--accept-unpinned", "-o", tmp_path / "mine.onnx")
    assert code == 0, err
    assert "verdict: equal to the original" in out
    spec = read_metadata(tmp_path / "mine.onnx")
    assert (spec.model, spec.licence, spec.stages[0].region) == ("movenet", "yours to know", "follow")
    tensor = np.random.default_rng(1).integers(0, 255, (1, 192, 192, 3)).astype(np.int32)
    with open_model(tmp_path / "mine.onnx", device="cpu") as model:
        found = model.run("pose", tensor)["keypoints"]
    assert np.abs(found - net.call(tensor)["poses"].numpy()).max() < 1e-5


@pytest.mark.export
@pytest.mark.parametrize("kind", ["float32", "uint8", "int8"])
def test_a_tflite_that_was_quantised_again(tmp_path: Path, kind: str) -> None:
    """Whole integers at both ends: the file stands for real numbers, 0..255 in and 0..1 out."""
    import tensorflow as tf

    from posert.export.readers.tensorflow_models import run_tflite

    net, rng = _keras_like(), np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([net.call.get_concrete_function()], net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind != "float32":
        converter.representative_dataset = lambda: (
            [np.clip(rng.integers(-40, 300, (1, 192, 192, 3)), 0, 255).astype(np.float32)] for _ in range(8)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, kind)
    file = tmp_path / "mine.tflite"
    file.write_bytes(converter.convert())
    said: list[str] = []
    written = convert("movenet", tmp_path / "mine.onnx", from_file=file, report=said.append, **OWN)
    tensor = rng.integers(0, 255, (1, 192, 192, 3))
    with open_model(written, device="cpu") as model:
        given = tensor.astype(model.spec.stages[0].input.dtype)
        found = model.run("pose", given)["keypoints"]
    expected = run_tflite(file, given)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 2 / 255
    assert np.abs(found - net.call(tensor.astype(np.float32))["poses"].numpy()).max() <= 4 / 255


@pytest.mark.export
def test_the_official_file_as_ones_own_is_the_same_network(assets: Path, tmp_path: Path) -> None:
    official = assets / "models" / "movenet_singlepose_lightning_4_int8.tflite"
    own = tmp_path / "mine.tflite"
    own.write_bytes(official.read_bytes())
    convert("movenet", tmp_path / "own.onnx", from_file=own, compared=False, **OWN)
    convert("movenet-lightning-int8", tmp_path / "official.onnx", from_file=official, compared=False)
    tensor = np.random.default_rng(1).integers(0, 255, (1, 192, 192, 3))
    outputs = []
    for name in ("own", "official"):
        with open_model(tmp_path / f"{name}.onnx", device="cpu") as model:
            outputs.append(model.run("pose", tensor.astype(model.spec.stages[0].input.dtype))["keypoints"])
    assert (outputs[0] == outputs[1]).all()
    with pytest.raises(PosertError, match="is not the official movenet-thunder-int8"):
        convert("movenet-thunder-int8", tmp_path / "x.onnx", from_file=own)


@pytest.mark.export
@pytest.mark.parametrize("channels", [57, 44])
def test_a_frozen_graph_with_names_of_its_own(tmp_path: Path, channels: int) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        picture = v1.placeholder(tf.float32, (None, None, None, 3), "photo")
        kernel = tf.constant(np.random.default_rng(0).normal(0, 0.01, (9, 9, 3, channels)), tf.float32)
        tf.nn.conv2d(picture, kernel, 8, "SAME", name="maps")
        (tmp_path / "mine.pb").write_bytes(graph.as_graph_def().SerializeToString())
    if channels != 57:
        with pytest.raises(PosertError, match="gives 44 channels, expected the 57 of COCO's"):
            convert("openpose", tmp_path / "mine.onnx", from_file=tmp_path / "mine.pb", **OWN)
        return
    said: list[str] = []
    convert("openpose", tmp_path / "mine.onnx", from_file=tmp_path / "mine.pb", report=said.append, **OWN)
    assert any(line.startswith("verdict: equal to ") for line in said)
    assert read_metadata(tmp_path / "mine.onnx").licence == "yours to know"
    (tmp_path / "none.pb").write_text("hello")
    with pytest.raises(PosertError, match="no frozen graph"):
        convert("openpose", tmp_path / "x.onnx", from_file=tmp_path / "none.pb", **OWN)


def _small(channels: int) -> dict[str, Any]:
    pools = [
        [f"p{i}", "Pooling", [f"p{i - 1}"], [f"p{i}"], {"pool": "MAX", "kernel_size": 2, "stride": 2}]
        for i in (1, 2, 3)
    ]
    first = ["p0", "Convolution", ["image"], ["p0"], {"num_output": 8, "pad": 1, "kernel_size": 3}]
    last = ["net_output", "Convolution", ["p3"], ["net_output"], {"num_output": channels, "pad": 0, "kernel_size": 1}]
    return {"input": "image", "input_dim": [1, 3, 16, 16], "layers": [first, *pools, last]}


@pytest.mark.parametrize(("channels", "keypoints"), [(78, 25), (57, 18), (44, 15), (22, 21), (9, 0)])
def test_a_caffemodel_by_its_deploy_file(tmp_path: Path, channels: int, keypoints: int) -> None:
    topology, file = _small(channels), tmp_path / "mine.caffemodel"
    caffe_files.write_caffemodel(file, caffe_files.weights(topology))
    with pytest.raises(PosertError, match="none of CMU's networks"):
        convert("openpose", tmp_path / "mine.onnx", from_file=file, **OWN)
    (tmp_path / "mine.prototxt").write_text(caffe_files.prototxt(topology))
    if not keypoints:
        with pytest.raises(PosertError, match="none of CMU's networks"):
            convert("openpose", tmp_path / "mine.onnx", from_file=file, **OWN)
        return
    convert("openpose", tmp_path / "mine.onnx", from_file=file, **OWN)
    assert len(read_metadata(tmp_path / "mine.onnx").skeleton.names) == keypoints


def test_a_caffemodel_by_its_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a deploy file: the network whose layers have these names and widths."""
    from posert.export.readers import caffe
    from posert.export.systems import openpose

    def layers(width: int) -> list[Any]:
        settings = {"num_output": width, "pad": [1], "kernel_size": [3]}
        return [
            caffe.layer("c1", "Convolution", ["image"], "c1", num_output=4, pad=[1], kernel_size=[3]),
            caffe.layer("a1", "PReLU", ["c1"], "c1"),
            caffe.layer("c2", "Convolution", ["c1"], "c2", **settings),
        ]

    known = {name: network._replace(layers=lambda w=w: layers(w)) for (name, network), w in
             zip(openpose.NETWORKS.items(), (78, 57, 44, 44, 71, 22), strict=True)}  # fmt: skip
    monkeypatch.setattr(openpose, "NETWORKS", known)
    rng = np.random.default_rng(0)
    arrays = {
        "c1": [rng.normal(0, 0.1, (4, 3, 3, 3)), rng.normal(0, 0.1, 4)],
        "a1": [rng.uniform(0, 1, 4)],
        "c2": [rng.normal(0, 0.1, (57, 4, 3, 3)), rng.normal(0, 0.1, 57)],
    }
    file = tmp_path / "mine.caffemodel"
    caffe_files.write_caffemodel(file, arrays)
    convert("openpose", tmp_path / "mine.onnx", from_file=file, **OWN)
    assert len(read_metadata(tmp_path / "mine.onnx").skeleton.names) == 18
