"""The C bundle: built with the machine's compiler, its people are Python's, every float equal."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import composite_fields
import fields
import media
import numpy as np
import onnxruntime
import pytest
import tiny
import tiny_maps
from bundles import How, all_kernels, assert_same_people, built, noise, pictures, run_example
from typer.testing import CliRunner

from posert import open_model
from posert.cli import app
from posert.errors import PosertError
from posert.export.embed import library
from posert.export.embed.bundle import bundle
from posert.export.embed.fuse import fuse
from posert.postprocess import decoder
from posert.postprocess.decoders import paf
from posert.postprocess.kernels import sources
from posert.postprocess.kernels.build import TARGETS
from posert.runtime.prepare import prepare
from posert.runtime.session import find_model
from posert.runtime.spec import InputSpec, ModelSpec, Stage
from posert.runtime.windows import place

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]


def assert_same_people_in_a_session(model: Path, folder: Path, images: list[np.ndarray]) -> None:
    """The fused network in a session of its own, with the library's operator: equal bits."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as below: the network itself rounds differently on more
    options.register_custom_ops_library(str(folder / "libposert.so"))
    fused = fuse(model, folder / "fused.onnx")
    session = onnxruntime.InferenceSession(str(fused), options, providers=["CPUExecutionProvider"])
    with open_model(model, device="cpu", threads=1) as opened:
        stage, skeleton = opened.spec.stages[0], opened.spec.skeleton
        for image in images:
            windows, input_wh = place((image.shape[1], image.shape[0]), stage.input)
            tensor = prepare(image, windows, stage.input, input_wh)
            outputs = opened.run(stage.name, tensor)
            (poses,) = decoder(stage.decoder).decode(outputs, skeleton, opened.params(stage.name), input_wh)
            keypoints, scores = session.run(["keypoints", "scores"], {stage.input.name: tensor})
            assert keypoints.tobytes() == poses.keypoints.tobytes()
            assert scores.tobytes() == poses.scores.tobytes()


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("nano", tmp_path_factory.mktemp("nano"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that follows one person."""
    folder = tmp_path_factory.mktemp("toy")
    return built(tiny.bright_spot(folder / "toy.onnx"), folder / "c")


def test_the_embedded_network_finds_the_same_people(nano: Path, assets: Path) -> None:
    assert assert_same_people("nano", nano, pictures(assets)) > 5
    assert_same_people_in_a_session(find_model("nano"), nano, pictures(assets))


def test_a_followed_person_is_the_same(tmp_path: Path) -> None:
    """The toy's people lie where the frame is bright; each frame's window comes from the last one's person."""
    model = tiny.bright_spot(tmp_path / "toy.onnx")
    folder = built(model, tmp_path / "c")
    rng = np.random.default_rng(1)
    images = [rng.integers(0, bright, (120, 160, 3), np.uint8) for bright in (255, 90, 200, 30, 250)]
    assert assert_same_people(model, folder, images) == 5


LISTED = {
    "paf_channels": paf.COCO_18_CHANNELS, "redundant_edges": (17, 18), "foot_parts": (10, 13), "min_parts": 3,
}  # fmt: skip
BODIES = {
    "tf-pose": ("paf", {}),
    "parabola": ("paf", {"interpolation": "cubic", "smooth_taps": 5, "refine": True, "assembly": "complete"}),
    "as-is": ("paf", {"upsample": 1, "smooth_taps": 1, "min_score": 0.1}),
    "cmu-cuda": ("bodyparts", LISTED),
    "cmu-cpu": ("bodyparts", {**LISTED, "interpolation": "cubic", "peak_rule": "ring", "assembly": "pairwise"}),
    "cmu-more": ("bodyparts", {**LISTED, "maximize_positives": True}),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_of_every_rule_are_the_same(tmp_path: Path, name: str) -> None:
    rule, params = BODIES[name]
    heat, pafs = fields.maps(fields.people(3, 40, 30), 40, 30)
    spec = InputSpec("image", "NCHW", "float32", "bgr", (320, 240), "corner_pixels", interpolation="linear_or_cubic")
    stage = Stage("pose", "frame", spec, {"heatmaps": "heatmaps", "pafs": "pafs"}, rule, params)
    whole = ModelSpec(1, "toy", name, fields.BODY_18, (stage,))
    model = tiny_maps.shown(tmp_path / "toy.onnx", {"heatmaps": heat, "pafs": pafs}, whole)
    assert assert_same_people(model, built(model, tmp_path / "c"), pictures(tmp_path)) >= 4
    assert_same_people_in_a_session(model, tmp_path / "c", pictures(tmp_path))


@pytest.mark.parametrize("params", [{}, {"force_complete_pose": True, "greedy": True}, {"instance_threshold": 0.0}])
def test_composite_fields_give_the_same_people(tmp_path: Path, params: dict[str, object]) -> None:
    truth = composite_fields.people(3, 5, (30, 20))
    cif, caf = composite_fields.fields(truth, composite_fields.STAR, (30, 20))
    spec = InputSpec("image", "NCHW", "float32", "rgb", (233, 153), "center", interpolation="area")
    stage = Stage("pose", "frame", spec, {"cif": "cif", "caf": "caf"}, "cifcaf", params)
    whole = ModelSpec(1, "toy", "star", composite_fields.STAR, (stage,))
    model = tiny_maps.shown(tmp_path / "toy.onnx", {"cif": cif, "caf": caf}, whole)
    assert assert_same_people(model, built(model, tmp_path / "c"), pictures(tmp_path)) >= 4
    assert_same_people_in_a_session(model, tmp_path / "c", pictures(tmp_path))


@pytest.mark.parametrize("form", [library.BGR, library.RGB, library.BGRA, library.RGBA])
@pytest.mark.parametrize("gap", [0, 5])
def test_every_layout_of_pixels_is_read(toy: Path, form: int, gap: int) -> None:
    bgr = np.random.default_rng(2).integers(0, 255, (50, 70, 3), np.uint8)
    opaque = np.concatenate([bgr, np.full((50, 70, 1), 7, np.uint8)], axis=2) if form >= library.BGRA else bgr
    ordered = opaque[:, :, [2, 1, 0, 3][: opaque.shape[2]]] if form in (library.RGB, library.RGBA) else opaque
    wide = np.zeros((50, 70 + gap, ordered.shape[2]), np.uint8)
    wide[:, :70] = ordered
    with library.NativeModel(toy) as model:
        expected = model.estimate(bgr)
        model.reset()
        assert model.estimate(wide[:, :70], form).keypoints.tobytes() == expected.keypoints.tobytes()


def test_handles_work_in_threads(toy: Path) -> None:
    images = np.random.default_rng(3).integers(0, 255, (8, 40, 60, 3), np.uint8)

    def people(_: int) -> bytes:
        with library.NativeModel(toy) as model:
            return b"".join(model.estimate(image).keypoints.tobytes() for image in images)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(people, range(8)))) == 1


def test_verify_compares_with_python(nano: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["verify", "--c", str(nano), "--source", str(media.video(tmp_path / "v.mp4"))])
    assert (done.exit_code, done.stdout) == (0, "12 frames, 0 people, largest difference 0\n")


def test_the_library_needs_libc_and_libm_only(nano: Path) -> None:
    listed = subprocess.run(["ldd", nano / "libposert.so"], capture_output=True, text=True, check=True).stdout
    needed = {line.split()[0].split(".")[0] for line in listed.splitlines()}
    assert {Path(name).name for name in needed} <= {"linux-vdso", "libc", "libm", "ld-linux-x86-64"}


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
def test_the_library_shows_its_own_functions_only(nano: Path) -> None:
    """Kernels and rooms are hidden: two libraries of ours can live in one program."""
    command = ["nm", "--dynamic", "--defined-only", nano / "libposert.so"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = {line.split()[-1] for line in listed.splitlines()}
    declared = set(re.findall(r"\b(posert_\w+|RegisterCustomOps)\(", (nano / "posert.h").read_text()))
    assert shown
    assert shown <= declared


@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_is_clean(nano: Path, language: str) -> None:
    standard = "-std=c99" if language == "c" else "-std=c++11"
    flags = [standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-x", language]
    subprocess.run(["cc", *flags, nano / "posert.h"], check=True)


@pytest.mark.parametrize(
    ("folder", "runtime", "said"),
    [
        ("absent", None, "cannot be read"),
        (None, "/absent/libonnxruntime.so", "cannot be loaded"),
        (None, "libm.so.6", "is not ONNX Runtime"),
        ("cut", None, "is not the file that this library was made for"),
    ],
)
def test_what_does_not_open_says_why(nano: Path, tmp_path: Path, folder: str | None, runtime: str | None, said: str):
    if folder == "cut":
        (tmp_path / "cut").mkdir()
        (tmp_path / "cut" / "nano.onnx").write_bytes((nano / "nano.onnx").read_bytes()[:-1])
    where = nano if folder is None else tmp_path / folder
    command = [nano / "posert_example", where, runtime or library.onnxruntime_library()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


WITHOUT_NUMBA = """
import sys
from pathlib import Path
sys.modules["numba"] = sys.modules["llvmlite"] = None
from posert.export.embed import bundle
bundle.packaged = lambda target: Path(sys.argv[1])
print(len(bundle.bundle("nano", Path(sys.argv[2]))))
"""


def test_a_bundle_needs_no_numba(tmp_path: Path) -> None:
    """Where the package brings the kernels along: nothing is compiled, here or in another process."""
    kernels = all_kernels(TARGETS["x86_64-linux"])
    command = [sys.executable, "-c", WITHOUT_NUMBA, str(kernels), str(tmp_path / "c")]
    subprocess.run(command, check=True, cwd=sources.ROOT / ".typing")
    subprocess.run(["make", "-s", "-C", tmp_path / "c"], check=True)
    assert len(run_example(tmp_path / "c", noise(), How())) == len(noise())


def test_an_unknown_target_says_so(tmp_path: Path) -> None:
    with pytest.raises(PosertError, match="no target amiga"):
        bundle("nano", tmp_path, target="amiga")
