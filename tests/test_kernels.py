"""Every kernel compiles ahead of time, needs nothing of Python there, and gives the same bits as the JIT."""

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

from posert.export import kernels
from posert.postprocess import (
    _assembly,
    _candidates,
    _centroids,
    _cifhr,
    _connections,
    _follow,
    _grow,
    _limbs,
    _peaks,
    _pose_nms,
    bodyparts,
    cifcaf,
    paf,
)
from posert.postprocess._jit import EXPORTED
from posert.postprocess.poses import Poses, Skeleton
from posert.runtime import _sample
from posert.runtime.prepare import place, prepare
from posert.runtime.spec import InputSpec

kernels.load_kernels()
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
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def compiled() -> kernels.CompiledKernels:
    return kernels.compile_object()


def test_nothing_but_libc_and_libm_is_needed(compiled: kernels.CompiledKernels) -> None:
    assert compiled.undefined <= LIBC | LIBM


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_kernel_is_in_the_object(compiled: kernels.CompiledKernels, name: str) -> None:
    assert name.encode() + b"\0" in compiled.code


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
def test_the_object_itself_says_the_same(compiled: kernels.CompiledKernels, tmp_path: Path) -> None:
    (tmp_path / "k.o").write_bytes(compiled.code)
    listed = subprocess.run(["nm", "-u", tmp_path / "k.o"], capture_output=True, text=True, check=True).stdout
    assert set(listed.split()) - {"U"} <= compiled.undefined


def test_a_kernel_that_needs_python_is_found_out(tmp_path: Path) -> None:
    """The same route with one bad kernel, which allocates: its object asks for numba's runtime."""
    program = (
        "import numpy as np, sys; from posert.export import kernels; from posert.postprocess._jit import kernel\n"
        "kernels.load_kernels = lambda: None\n"
        "def bad(n): return np.int64(len(np.zeros(n)) + np.ones(n).sum())\n"
        "kernel('int64(int64)')(bad); kernels._build('x86_64-unknown-linux-gnu', 'x86-64', sys.argv[1])"
    )
    environment = {**os.environ, **kernels._NEUTRAL, "NUMBA_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    root = Path(__file__).parent.parent / ".typing"
    subprocess.run([sys.executable, "-c", program, tmp_path / "k.o"], check=True, env=environment, cwd=root)
    assert "NRT_" in (tmp_path / "k.json").read_text()


def test_an_unknown_target_says_so() -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        kernels.compile_object("nonsense-unknown-none")


@needs_cc
@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_is_clean(tmp_path: Path, language: str) -> None:
    (tmp_path / "k.h").write_text(kernels.header())
    standard = "-std=c99" if language == "c" else "-std=c++11"
    flags = [standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-x", language]
    subprocess.run(["cc", *flags, tmp_path / "k.h"], check=True)


def _callable(library: ctypes.CDLL, name: str) -> Callable[..., int]:
    """The C symbol, called like the kernel itself: arrays become a pointer and their dimensions."""
    symbol = library[name]
    symbol.restype = ctypes.c_int64

    def call(*arguments: object) -> int:
        passed: list[object] = []
        for argument, kind in zip(arguments, kernels.declared_types(name), strict=True):
            if isinstance(argument, np.ndarray):
                assert (argument.flags.c_contiguous, argument.dtype.name) == (True, str(kind.dtype))
                passed += [ctypes.c_void_p(argument.ctypes.data), *(ctypes.c_int64(n) for n in argument.shape)]
            else:
                passed.append(ctypes.c_double(argument) if str(kind) == "float64" else ctypes.c_int64(argument))
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
@pytest.mark.skipif(not COMPILED or sys.platform != "linux", reason="compares with the JIT, in an ELF library")
def test_c_gives_the_same_bits(compiled: kernels.CompiledKernels, tmp_path: Path, monkeypatch) -> None:
    expected = [decoded(params) for params in PARAMS] + [composed(params) for params in COMPOSITE]
    pictures = [sampled(spec) for spec in INPUTS]
    (tmp_path / "k.o").write_bytes(compiled.code)
    subprocess.run(["cc", "-shared", "-o", tmp_path / "k.so", tmp_path / "k.o", "-lm"], check=True)
    library = ctypes.CDLL(str(tmp_path / "k.so"))
    replaced = 0
    for module in (
        _peaks, _limbs, _centroids, _candidates, _assembly, _sample, _cifhr, _connections, _grow, _pose_nms
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


@pytest.mark.skipif(not COMPILED, reason="there are no compiled signatures")
def test_callers_give_exactly_the_declared_types() -> None:
    """Another dtype or layout would compile a second variant in Python and be undefined behaviour in C."""
    for params in PARAMS:
        decoded(params)
    for params in COMPOSITE:
        composed(params)
    for spec in INPUTS:
        sampled(spec)
    joints = Skeleton(("left_hip", "right_hip", "left_shoulder", "right_shoulder"), ())
    _follow.next_window(decoded_joints(), (320, 240), joints)
    driven = {name for name in EXPORTED if EXPORTED[name][0].signatures}
    assert len(driven) >= 14
    for name in driven:
        assert EXPORTED[name][0].signatures == [kernels.declared_types(name)], name


def decoded_joints() -> Poses:
    keypoints = np.array([[[60, 90, 1], [40, 90, 1], [65, 40, 1], [35, 40, 1]]], np.float32)
    return Poses(keypoints, np.ones(1, np.float32), np.array([[35, 40, 65, 90]], np.float32))
