"""Every kernel compiles for C programs, needs nothing of Python there, and gives the same bits as in this process."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import composite_fields
import fields
import numpy as np
import pytest

from posert.export.embed import kernels_header
from posert.poses import Poses
from posert.postprocess.decoders import bodyparts, cifcaf, paf
from posert.postprocess.decoders.bodyparts import assembly, centroids, limbs
from posert.postprocess.decoders.cifcaf import caf, cif, grow, nms
from posert.postprocess.decoders.paf import peaks
from posert.postprocess.kernels import load
from posert.postprocess.kernels.build import CompiledKernels, compile_modules
from posert.runtime import sample
from posert.runtime.prepare import prepare
from posert.runtime.spec import InputSpec
from posert.runtime.windows import place

kernels_header.load_kernels()
LIBC = {"memset", "memcpy", "memmove"}
LIBM = {"floor", "ceil", "trunc", "rint", "exp", "log", "pow", "sqrt", "hypot", "fma", "sin", "cos", "tanh"}
LIBM |= {name + "f" for name in LIBM}  # the same for float
COMPILED = os.environ.get("NUMBA_DISABLE_JIT") != "1"
INPUT = InputSpec("image", "NCHW", "float32", "bgr", (64, 48), "stretch")
INPUTS = [
    INPUT,
    replace(INPUT, interpolation="area", dtype="int32"),
    replace(INPUT, interpolation="cubic", layout="NHWC", rounding="round"),
    replace(INPUT, fit="square", align="corners", layout="NHWC", dtype="uint8", rounding="truncate"),
    replace(INPUT, fit="square", align="origin", pad_value=(9, 9, 9)),
]
ROOT = Path(__file__).parent.parent / ".typing"
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def compiled() -> CompiledKernels:
    return kernels_header.compile_object()


def test_nothing_but_libc_and_libm_is_needed(compiled: CompiledKernels) -> None:
    assert compiled.undefined <= LIBC | LIBM


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_kernel_is_in_the_object(compiled: CompiledKernels, name: str) -> None:
    assert name.encode() + b"\0" in compiled.code


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
def test_the_object_itself_says_the_same(compiled: CompiledKernels, tmp_path: Path) -> None:
    (tmp_path / "k.o").write_bytes(compiled.code)
    listed = subprocess.run(["nm", "-u", tmp_path / "k.o"], capture_output=True, text=True, check=True).stdout
    assert set(listed.split()) - {"U"} <= compiled.undefined


def test_a_kernel_that_needs_python_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same route with one bad kernel, which allocates: its object asks for numba's runtime."""
    (tmp_path / "bad.py").write_text(
        "import numpy as np\nfrom posert.postprocess.kernels.registry import kernel\n"
        "@kernel('int64(int64)')\n"
        "def bad(n): return np.int64(len(np.zeros(n)) + np.ones(n).sum())\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    undefined = compile_modules(["bad"], "x86_64-unknown-linux-gnu", "x86-64").undefined
    assert any(name.startswith("NRT_") for name in undefined)


def test_an_unknown_target_says_so() -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        kernels_header.compile_object("nonsense-unknown-none")


@needs_cc
@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_is_clean(tmp_path: Path, language: str) -> None:
    (tmp_path / "k.h").write_text(kernels_header.header())
    standard = "-std=c99" if language == "c" else "-std=c++11"
    flags = [standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-x", language]
    subprocess.run(["cc", *flags, tmp_path / "k.h"], check=True)


def _callable(library: ctypes.CDLL, name: str) -> Callable[..., int]:
    """The C symbol, called like the kernel itself: arrays become a pointer and their dimensions."""
    symbol = library[name]
    symbol.restype = ctypes.c_int64

    def call(*arguments: object) -> int:
        passed: list[object] = []
        for argument, (dtype, _) in zip(arguments, parse(EXPORTED[name][1])[1], strict=True):
            if isinstance(argument, np.ndarray):
                passed += [ctypes.c_void_p(argument.ctypes.data), *(ctypes.c_int64(n) for n in argument.shape)]
            else:
                passed.append(ctypes.c_double(argument) if dtype == "float64" else ctypes.c_int64(argument))
        return symbol(*passed)

    return call


def decoded(params: paf.Params | bodyparts.Params) -> Poses:
    decoder = paf if isinstance(params, paf.Params) else bodyparts
    heat, pafs = fields.maps(fields.people(2, 40, 30), 40, 30)
    heat += np.random.default_rng(0).normal(0, 0.02, heat.shape).astype(np.float32)
    return decoder.decode({"heatmaps": heat[None], "pafs": pafs[None]}, fields.BODY_18, params, (320, 240))[0]


def sampled(spec: InputSpec) -> np.ndarray:
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    windows, input_wh = place((120, 90), spec)
    return prepare(picture, windows, spec, input_wh)


def composed(params: cifcaf.Params) -> Poses:
    truth = composite_fields.people(3, 5, (30, 20))
    cif, caf = composite_fields.fields(truth, composite_fields.STAR, (30, 20))
    return cifcaf.decode({"cif": cif[None], "caf": caf[None]}, composite_fields.STAR, params, (233, 153))[0]


COMPOSITE = [cifcaf.Params(), cifcaf.Params(force_complete_pose=True)]
LISTED = bodyparts.Params(paf.COCO_18_CHANNELS, redundant_edges=(17, 18), foot_parts=())
PARAMS = [
    paf.Params(),
    replace(paf.Params(), interpolation="cubic", smooth_taps=5, refine=True, assembly="complete"),
    LISTED,
    replace(LISTED, assembly="pairwise", interpolation="cubic"),
]


@needs_cc
@pytest.mark.skipif(not COMPILED or sys.platform != "linux", reason="compares with this process, in an ELF library")
def test_c_gives_the_same_bits(compiled: CompiledKernels, tmp_path: Path, monkeypatch) -> None:
    expected = [decoded(params) for params in PARAMS] + [composed(params) for params in COMPOSITE]
    pictures = [sampled(spec) for spec in INPUTS]
    (tmp_path / "k.o").write_bytes(compiled.code)
    subprocess.run(["cc", "-shared", "-o", tmp_path / "k.so", tmp_path / "k.o", "-lm"], check=True)
    library = ctypes.CDLL(str(tmp_path / "k.so"))
    replaced = 0
    for module in (
        peaks, limbs, centroids, limbs, assembly, sample, cif, caf, grow, nms
    ):  # fmt: skip
        for name in EXPORTED:
            own = name.removeprefix("posert_k_")
            if getattr(module, own, None) is EXPORTED[name][0]:
                monkeypatch.setattr(module, own, _callable(library, name))
                replaced += 1
    assert replaced >= 12
    again = [decoded(params) for params in PARAMS] + [composed(params) for params in COMPOSITE]
    for twice, poses in zip(again, expected, strict=True):
        assert twice.keypoints.tobytes() == poses.keypoints.tobytes()
        assert twice.scores.tobytes() == poses.scores.tobytes()
    tensors = [sampled(spec) for spec in INPUTS]
    assert [tensor.tobytes() for tensor in tensors] == [tensor.tobytes() for tensor in pictures]


def test_the_first_call_compiles_and_later_processes_load(tmp_path: Path) -> None:
    """The second process imports no numba, and both give what the plain Python function gives."""
    program = (
        "import sys, numpy as np; from posert.postprocess import _follow as f\n"
        "box, points = np.zeros(4), np.zeros((17, 3), np.float32)\n"
        "points[:] = np.arange(17)[:, None] * 3 + 1; points[:, 2] = 1\n"
        "f.follow_window(points, np.array([11, 12, 5, 6]), 64.0, 48.0, box)\n"
        "print(box.tolist(), 'numba' in sys.modules, type(f.follow_window).__name__)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = []
    for disabled in ("0", "0", "1"):
        command = {**environment, "NUMBA_DISABLE_JIT": disabled}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=command, cwd=ROOT
        )
        said.append(done.stdout)
        assert len(list(tmp_path.glob("_follow-*.o"))) == 1
    assert said[0] == said[1] == said[2].replace("function", "Kernel")
    assert "False" in said[1]


@pytest.mark.skipif(not COMPILED, reason="plain Python takes anything")
@pytest.mark.parametrize(
    "wrong", [np.zeros(5, np.float64), np.zeros((5, 1), np.float32), np.zeros(10, np.float32)[::2]], ids=str
)
def test_another_type_or_layout_is_refused(wrong: np.ndarray) -> None:
    """In C it would be undefined behaviour."""
    with pytest.raises(TypeError, match="posert_k_linear_taps takes int64"):
        sample.linear_taps(0.0, 9.0, 10, 0, np.zeros((2, 5), np.int32), wrong, np.zeros(5, np.uint8))


def test_nowhere_to_keep_compiled_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert load.cache_folder.__wrapped__() is None
    assert "NUMBA_CACHE_DIR" in caplog.text


@pytest.mark.skipif(not COMPILED, reason="plain Python takes anything")
def test_arrays_that_come_again_and_others_in_turn() -> None:
    """Calls remember where the last array of each argument lies; another one, even in the same place, starts afresh."""
    for size in (5, 5, 3, 5, 2):
        taps = np.zeros((2, size), np.int32), np.zeros(size, np.float32), np.zeros(size, np.uint8)
        for high in (10.0, 5.0):
            assert sample.linear_taps(0.0, high, 10, sample.ORIGIN, *taps) == size
            assert taps[0][0].tolist() == [int(i * high / size) for i in range(size)]
    with pytest.raises(TypeError):
        sample.linear_taps(0.0, 10.0, 10, sample.ORIGIN, *taps[:2], taps[1])
