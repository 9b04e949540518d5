"""What `export`, `tag` and `fuse` write, in the oldest ONNX Runtime allowed and in the browser's: the same numbers.

Both come from their registries; without them the tests skip.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tiny_kinds

from posert.export.convert import convert, tag
from posert.export.embed.fuse import fuse
from posert.export.nano import clip
from posert.runtime.prepare import prepare
from posert.runtime.session import find_model, open_model
from posert.runtime.windows import place

pytestmark = pytest.mark.export
VERSION = "1.20.0"
INT8 = "movenet-int8.onnx"
"""Runs, but is not compared: int8 kernels differ between versions of ONNX Runtime by whole cells."""
FUSED = ("follow", "rows", "candidates", "queries")
"""Kinds that need standard operators alone."""
IN_PYTHON = """
import json, sys
import numpy as np
import onnxruntime
assert onnxruntime.__version__ == sys.argv[1], onnxruntime.__file__
for file in sys.argv[2:]:
    with open(file + ".json") as opened:
        given = json.load(opened)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    tensor = np.fromfile(file + ".bin", given["type"]).reshape(given["shape"])
    outputs = session.run(given["outputs"], {session.get_inputs()[0].name: tensor})
    for i, output in enumerate(outputs):
        output.tofile(f"{file}.{i}.out")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[Path, list[np.ndarray]]:
    """Models, each with an input beside it, and what the installed ONNX Runtime makes of that."""
    models = request.getfixturevalue("assets") / "models"
    folder = tmp_path_factory.mktemp("written")
    files = [shutil.copy(find_model("nano"), folder / "nano.onnx")]
    for name, row in (
        ("openvino_human_pose_estimation_0001_w8", "openpose-openvino-0001"),
        ("yolox_nano", "yolox-nano"),
        ("ultralight_nano_simplepose", "alphapose-ultralight-simplepose"),
    ):
        files.append(tag(models / f"{name}.onnx", row, folder / f"{row}.onnx"))
    kinds = {name: make(_made(folder / name)) for name, make in tiny_kinds.KINDS.items() if name != "fed"}
    files += kinds.values()  # `fed` takes more than a picture
    tflite = models / "movenet_singlepose_lightning_4_int8.tflite"
    files.append(convert("movenet-lightning-int8", folder / INT8, from_file=tflite))
    out = folder / "movenet.onnx"
    files.append(convert("movenet-lightning-int8", out, from_file=tflite, options=["dequantize"]))
    graph = models / "tfpose_mobilenet_v2_small_graph_opt.pb"
    files.append(convert("openpose-tfpose-mobilenet-v2-small", folder / "tfpose.onnx", from_file=graph))
    fused = [fuse(kinds[name], folder / f"{name}.fused.onnx") for name in FUSED]
    return {Path(file): _with_input(Path(file)) for file in files} | {file: _with_frame(file) for file in fused}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _with_input(file: Path) -> list[np.ndarray]:
    """A drawn picture as the model sees it; noise has peaks as high as each other, and int8 kernels differ in which."""
    bgr = np.asarray(clip.render(0)[0], np.uint8)
    size_wh = bgr.shape[1], bgr.shape[0]
    with open_model(file, device="cpu") as model:
        stage = model.spec.stages[-1]  # the others are in files of their own
        whole = np.array([[0, 0, *size_wh]], np.float32)
        windows, input_wh = place(size_wh, stage.input, whole if stage.region == "boxes" else None)
        tensor, outputs = prepare(bgr, windows, stage.input, input_wh), list(stage.outputs.values())
        given = {"shape": tensor.shape, "type": stage.input.dtype, "outputs": outputs}
        file.with_name(f"{file.name}.json").write_text(json.dumps(given))
        tensor.tofile(file.with_name(f"{file.name}.bin"))
        return list(model.run(stage.name, tensor).values())


def _with_frame(file: Path) -> list[np.ndarray]:
    """As `_with_input`, of a fused network: people of the whole picture."""
    rgb = np.ascontiguousarray(np.asarray(clip.render(0)[0], np.uint8)[:, :, ::-1])
    given = {"shape": rgb.shape, "type": "uint8", "outputs": ["keypoints", "scores"]}
    file.with_name(f"{file.name}.json").write_text(json.dumps(given))
    rgb.tofile(file.with_name(f"{file.name}.bin"))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return list(session.run(given["outputs"], {"frame": rgb}))


def _compare(written: dict[Path, list[np.ndarray]], most: float) -> None:
    """The largest difference of an output as a share of its largest value."""
    for file, expected in written.items():
        for i, values in enumerate(expected):
            out = file.with_name(f"{file.name}.{i}.out")
            found = np.fromfile(out, values.dtype).reshape(values.shape)
            out.unlink()
            finite = np.isfinite(values) & (np.abs(values) < 1e30)
            top = np.abs(values[finite]).max()
            assert np.abs(found[finite] - values[finite]).max() <= most * top or file.name == INT8, (file.name, i)


def _answered(command: list[str], folder: Path, what: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{what} cannot be fetched: {(done.stderr or done.stdout).strip()[-200:]}")


def test_the_oldest_allowed(written: dict[Path, list[np.ndarray]], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=1"]
    _answered([*command, "--target", str(tmp_path), f"onnxruntime=={VERSION}"], tmp_path, f"ONNX Runtime {VERSION}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", IN_PYTHON, VERSION, *map(str, written)]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    _compare(written, 1e-6)


@pytest.mark.skipif(None in (shutil.which("node"), shutil.which("npm")), reason="needs node and npm")
def test_the_browsers(written: dict[Path, list[np.ndarray]], tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    command = ["npm", "install", "--silent", "--fetch-retries=1", f"onnxruntime-web@{VERSION}"]
    _answered(command, tmp_path, "onnxruntime-web")
    subprocess.run(["node", Path(__file__).with_name("web_run.mjs"), *map(str, written)], check=True, cwd=tmp_path)
    _compare(written, 3e-4)
