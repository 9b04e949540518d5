"""The C library without ONNX Runtime: the program runs the network itself, between posert_next() and posert_give()."""

import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from bundle_steps import Steps
from bundles import SANITIZED, all_kernels, built, noise
from tiny_kinds import KINDS

from posert.errors import PosertError
from posert.export.embed import library
from posert.export.embed.bundle import bundle, every_kernel, header, unique
from posert.postprocess.kernels.build import Target

HERE = Path(__file__).parent
WITHOUT_ORT = ("ort.c", "ops.c", "main.c")
NODE = """
const {{ readFileSync }} = require("fs");
const {{ WASI }} = require("wasi");
const wasi = new WASI({{ version: "preview1", args: ["steps", "/in/record"], preopens: {{ "/in": "{folder}" }} }});
WebAssembly.instantiate(readFileSync("{program}"), {{ wasi_snapshot_preview1: wasi.wasiImport }})
    .then(({{ instance }}) => process.exit(wasi.start(instance)));
"""
OK, BAD_ARGUMENT, FAILED = 0, 1, 5

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]


@pytest.fixture(scope="module", params=KINDS)
def bundled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return built(KINDS[request.param](folder), folder / "c")


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("follow")
    return built(KINDS["follow"](folder), folder / "c")


def recorded(folder: Path) -> bytes:
    """What happens on a few pictures; each one's people are those of posert_estimate()."""
    pictures, seen = [*noise(), *noise()[::-1]], 0
    with library.NativeModel(folder) as whole, Steps(folder) as steps:
        for picture in pictures:
            theirs, ours = whole.estimate(picture), steps.estimate(picture)
            seen += len(ours)
            for name in ("keypoints", "scores", "boxes_xyxy"):
                assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()
        assert seen > 0
        return steps.record


def sources(folder: Path) -> list[Path]:
    return [HERE / "steps.c", *(path for path in folder.glob("*.c") if path.name not in WITHOUT_ORT)]


def replayed(command: list[object]) -> int:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return int(done.stdout)


def test_a_network_elsewhere_gives_the_same_people(bundled: Path, tmp_path: Path) -> None:
    """Then again in a C program that knows no ONNX Runtime, under the sanitizers: the same inputs, the same people."""
    (tmp_path / "record").write_bytes(recorded(bundled))
    command = ["cc", *SANITIZED, "-DPOSERT_WITHOUT_ORT", "-I", bundled, *sources(bundled), bundled / "kernels.o"]
    subprocess.run([*command, "-o", tmp_path / "steps", "-lm"], check=True)
    assert replayed([tmp_path / "steps", tmp_path / "record"]) > 0


def for_other(folder: Path, out: Path, target: Target) -> Path:
    """The bundle again, with kernels for a processor that `bundle` does not know, and the record of a run here."""
    out.mkdir()
    (out / "record").write_bytes(recorded(folder))
    text = (folder / "kernels.h").read_text()
    for path in [*folder.glob("*.c"), *folder.glob("*.h")]:
        shutil.copy(path, out)
    code, prefix = unique(all_kernels(target).read_bytes())
    kernels = [kernel for name, kernel in every_kernel().items() if f"int64_t {name}(" in text]
    (out / "kernels.h").write_text(header(kernels, prefix))
    (out / "kernels.o").write_bytes(code)
    return out


def with_zig(folder: Path, triple: str, program: str) -> Path:
    """The replaying program for another processor; what is undefined there stops it."""
    flags = ["-target", triple, "-O1", "-std=c99", "-Wall", "-Wextra", "-Werror", "-DPOSERT_WITHOUT_ORT", "-lm"]
    flags += ["-fsanitize=undefined", "-fsanitize-trap=undefined", "-ffp-contract=off", "-I", str(folder)]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, *sources(folder), folder / "kernels.o"]
    subprocess.run([*command, "-o", folder / program], check=True)
    return folder / program


needs_zig = pytest.mark.skipif(None in map(find_spec, ("numba", "ziglang")), reason="needs numba and ziglang")


@pytest.mark.c
@needs_zig
@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs code for 32-bit x86")
def test_pointers_of_32_bits(bundled: Path, tmp_path: Path) -> None:
    """Sizes were once shifted by 40 bits, which is undefined where size_t has 32."""
    folder = for_other(bundled, tmp_path / "c", Target("i686-unknown-linux-gnu", "pentium4", small=True))
    assert replayed([with_zig(folder, "x86-linux-musl", "steps"), folder / "record"]) > 0


@pytest.mark.c
@needs_zig
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_web_assembly(bundled: Path, tmp_path: Path) -> None:
    """As a web page would have it: the same inputs of the network, the same people."""
    folder = for_other(bundled, tmp_path / "c", Target("wasm32-wasi", "mvp", small=True))
    program = with_zig(folder, "wasm32-wasi", "steps.wasm")
    (folder / "run.cjs").write_text(NODE.format(folder=folder, program=program))
    assert replayed(["node", "--no-warnings", folder / "run.cjs"]) > 0


def test_calls_out_of_turn_say_so(follow: Path) -> None:
    picture = noise()[0]
    with Steps(follow) as steps:
        assert steps.give([]) == BAD_ARGUMENT
        assert "comes after posert_next" in steps.said()
        assert steps.next()[0] == BAD_ARGUMENT
        assert "comes after posert_begin" in steps.said()
        assert steps.begin(picture) == OK
        status, feed, _ = steps.next()
        assert (status, feed.file, feed.type, list(feed.dims)) == (OK, b"follow.onnx", 1, [1, 64, 64, 3])
        assert steps.next()[0] == BAD_ARGUMENT
        assert len(steps.estimate(picture)) == 1  # a picture may begin anew at any time
        with pytest.raises(PosertError, match="opened with no_runtime"):
            library.NativeModel.estimate(steps, picture)


@pytest.mark.parametrize(
    ("outputs", "status", "said"),
    [
        ([], BAD_ARGUMENT, "0 outputs, 1 are wanted"),
        ([np.zeros((1, 1, 17, 3), np.float32)] * 2, BAD_ARGUMENT, "2 outputs, 1 are wanted"),
        ([np.zeros((2, 1, 17, 3), np.float32)], FAILED, "the network gave 2 rows for 1 windows"),
        ([np.float32(0)], BAD_ARGUMENT, "no float tensor of 1 to 5 axes"),
        ([np.zeros((1, 1, 18, 3), np.float32)], FAILED, r"direct cannot use keypoints [1, 1, 18, 3]: keypoints must"),
        ([np.zeros((1, 1, 0, 3), np.float32)], FAILED, r"direct cannot use keypoints [1, 1, 0, 3]"),
    ],
)
def test_outputs_that_do_not_fit_lose_the_picture(follow: Path, outputs: list, status: int, said: str) -> None:
    with Steps(follow) as steps:
        steps.estimate(noise()[0])  # followed from here on
        assert steps.begin(noise()[1]) == OK
        steps.next()
        assert steps.give([np.asarray(output) for output in outputs]) == status
        assert said in steps.said()
        assert steps.next()[0] == BAD_ARGUMENT
        again = steps.estimate(noise()[1])
        with library.NativeModel(follow) as anew:
            assert again.keypoints.tobytes() == anew.estimate(noise()[1]).keypoints.tobytes()


def test_a_bundle_needs_no_model_file_then(tmp_path: Path) -> None:
    model = KINDS["follow"](tmp_path)
    bundle(model, tmp_path / "c")
    subprocess.run(["make", "-s", "-C", tmp_path / "c"], check=True)
    (tmp_path / "c" / "follow.onnx").unlink()
    with Steps(tmp_path / "c") as steps:
        assert steps.begin(noise()[0]) == OK
