"""Every kernel compiles for C programs, needs nothing of Python there, and gives the same bits as in this process."""

import copy
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import composite_fields
import fields
import numpy as np
import pytest

from posert.errors import PosertError
from posert.export.embed import bundle as embedded
from posert.poses import Poses, Skeleton
from posert.postprocess.decoders import bodyparts, cifcaf, paf
from posert.postprocess.decoding import DecoderKernels
from posert.postprocess.geometry import usable
from posert.postprocess.kernels import build, load
from posert.postprocess.kernels.registry import Kernel
from posert.runtime import prepare as preparing
from posert.runtime.prepare import prepare
from posert.runtime.spec import InputSpec
from posert.runtime.windows import place

EVERY = embedded.every_kernel()
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
needs_nm = pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs numba")
needs_code = pytest.mark.skipif(not COMPILED, reason="plain Python takes anything")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object file of every kernel, for Linux on x86-64."""
    path = tmp_path_factory.mktemp("kernels") / "kernels.o"
    path.write_bytes(embedded.machine_code(EVERY, "x86_64-linux"))
    return path


@needs_nm
def test_nothing_but_libc_and_libm_is_needed(code: Path) -> None:
    listed = subprocess.run(["nm", "-u", code], capture_output=True, text=True, check=True).stdout
    assert set(listed.split()) - {"U"} <= build.LIBRARY_NAMES


@needs_nm
def test_every_kernel_is_in_the_object(code: Path) -> None:
    listed = subprocess.run(["nm", "-g", "--defined-only", code], capture_output=True, text=True, check=True).stdout
    assert {line.split()[2] for line in listed.splitlines()} == set(EVERY)


@needs_numba
def test_a_kernel_that_needs_python_is_found_out() -> None:
    """The same route with one bad kernel, which allocates: its object asks for numba's runtime."""

    def bad(n: int) -> int:
        return len(np.zeros(n)) + int(np.ones(n).sum())

    lowered = build.lower([Kernel(bad)])
    with pytest.raises(RuntimeError, match="posert_k_bad would need NRT_"):
        build.compile_kernels(lowered, build.Target("x86_64-unknown-linux-gnu", "x86-64"))


@needs_numba
def test_an_unknown_processor_says_so() -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        build.compile_kernels({}, build.Target("nonsense-unknown-none", "generic"))


def test_without_machine_code_and_numba_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(PosertError, match=r"no compiled kernels for x86_64-linux \(znver4\)") as raised:
        embedded.machine_code(EVERY, "x86_64-linux", "znver4")
    assert "posert[jit]" in str(raised.value.hint)


def test_the_package_s_object_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "packaged", lambda target: tmp_path / f"{target}.o")
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    (tmp_path / "arm64-macos.o").write_bytes(b"code with posert_k_one and posert_k_two")
    given = embedded.machine_code(["posert_k_one"], "arm64-macos")
    assert given == b"code with posert_k_one and posert_k_two"
    renamed, prefix = embedded.unique(given)
    assert len(renamed) == len(given)
    assert renamed == f"code with {prefix}one and {prefix}two".encode()
    assert embedded.unique(given + b".")[1] != prefix


@needs_cc
@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("prefix", [embedded.PREFIX, "k1234567_"])
def test_the_header_is_clean(tmp_path: Path, language: str, prefix: str) -> None:
    (tmp_path / "k.h").write_text(embedded.header(EVERY.values(), prefix))
    standard = "-std=c99" if language == "c" else "-std=c++11"
    flags = [standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-x", language]
    subprocess.run(["cc", *flags, tmp_path / "k.h"], check=True)


@pytest.fixture(scope="module")
def in_c(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kernel], Kernel]:
    """Kernel -> the same one of a C library, called like the kernel itself."""
    path = tmp_path_factory.mktemp("library") / "k.so"
    subprocess.run(["cc", "-shared", "-o", path, code, "-lm"], check=True)
    listed = path.with_suffix(".c")
    names = sorted(EVERY)  # the kernels are hidden in the library that they go into
    listed.write_text(
        "".join(f"extern void {name}(void);\n" for name in names)
        + f"void (*const posert_all[])(void) = {{{', '.join(names)}}};\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, listed, code, "-lm"], check=True)
    table = (ctypes.c_void_p * len(names)).in_dll(ctypes.CDLL(str(path)), "posert_all")

    def twin(kernel: Kernel) -> Kernel:
        other = copy.copy(kernel)
        entry = ctypes.CFUNCTYPE(ctypes.c_int64)(table[names.index(kernel.name)])
        other.name, other._call = kernel.name + "_c", load.calling(kernel, entry)
        return other

    return twin


def sampled(spec: InputSpec) -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    windows, input_wh = place((120, 90), spec)
    return prepare(picture, windows, spec, input_wh).tobytes()


LISTED = bodyparts.Params(paf.COCO_18_CHANNELS, redundant_edges=(17, 18), foot_parts=())
BODIES = [
    paf.Params(),
    replace(paf.Params(), interpolation="cubic", smooth_taps=5, refine=True, assembly="complete"),
    LISTED,
    replace(LISTED, assembly="pairwise", interpolation="cubic"),
]
STARS = [cifcaf.Params(), cifcaf.Params(force_complete_pose=True)]


def cases() -> Iterator[tuple[DecoderKernels, dict[str, np.ndarray], Skeleton, Any, tuple[int, int]]]:
    heat, pafs = fields.maps(fields.people(2, 40, 30), 40, 30)
    heat += np.random.default_rng(0).normal(0, 0.02, heat.shape).astype(np.float32)
    for params in BODIES:
        decoder = paf if isinstance(params, paf.Params) else bodyparts
        yield decoder.KERNELS, {"heatmaps": heat[None], "pafs": pafs[None]}, fields.BODY_18, params, (320, 240)
    cif, caf = composite_fields.fields(composite_fields.people(3, 5, (30, 20)), composite_fields.STAR, (30, 20))
    for star in STARS:
        yield cifcaf.KERNELS, {"cif": cif[None], "caf": caf[None]}, composite_fields.STAR, star, (233, 153)


@needs_cc
@needs_code
@pytest.mark.skipif(sys.platform != "linux", reason="an ELF library")
def test_c_gives_the_same_people(in_c: Callable[[Kernel], Kernel]) -> None:
    for kernels, outputs, skeleton, params, input_wh in cases():
        twins = replace(kernels, workspace=in_c(kernels.workspace), people=in_c(kernels.people))
        (own,) = kernels.decode(outputs, skeleton, params, input_wh)
        (theirs,) = twins.decode(outputs, skeleton, params, input_wh)
        assert len(own) > 0
        for name in ("keypoints", "scores", "boxes_xyxy"):
            assert getattr(theirs, name).tobytes() == getattr(own, name).tobytes()


@needs_cc
@needs_code
@pytest.mark.skipif(sys.platform != "linux", reason="an ELF library")
def test_c_gives_the_same_pixels(in_c: Callable[[Kernel], Kernel], monkeypatch: pytest.MonkeyPatch) -> None:
    own = [sampled(spec) for spec in INPUTS]
    replaced = [name for name, value in vars(preparing).items() if isinstance(value, Kernel)]
    assert replaced
    for name in replaced:
        monkeypatch.setattr(preparing, name, in_c(getattr(preparing, name)))
    assert [sampled(spec) for spec in INPUTS] == own


@needs_code
@pytest.mark.parametrize(
    "wrong", [np.zeros((5, 4), np.float64), np.zeros(20, np.float32), np.zeros((5, 8), np.float32)[:, ::2]], ids=str
)
def test_another_type_or_layout_is_refused(wrong: np.ndarray) -> None:
    """In C it would be undefined behaviour."""
    with pytest.raises(TypeError, match="posert_k_usable_regions takes boxes float32"):
        EVERY["posert_k_usable_regions"](wrong, np.zeros(5, np.float32), 9.0, 9.0)


@needs_code
def test_arrays_that_come_again_and_others_in_turn() -> None:
    """Calls remember where the last array of each argument lies; another one, even in the same place, starts afresh."""
    for size in (5, 5, 3, 5, 2):
        boxes = np.tile(np.array([1, 1, 30, 30], np.float32), (size, 1))
        found = Poses(np.zeros((size, 0, 3), np.float32), np.arange(size, dtype=np.float32), boxes)
        for _ in range(2):
            assert usable(found).scores.tolist() == list(range(size))
    with pytest.raises(TypeError):
        EVERY["posert_k_usable_regions"](boxes, boxes, 9.0, 9.0)


@needs_code
@pytest.mark.skipif(load.library_path() is None, reason="the kernels of this checkout are not compiled (make kernels)")
def test_a_process_needs_no_numba() -> None:
    program = (
        "import sys, numpy as np; from posert.postprocess.kernels import load\n"
        "from posert.postprocess.decoders import direct; from posert.poses import Skeleton\n"
        "rows = np.full((1, 1, 2, 3), 0.5, np.float32)\n"
        "(found,) = direct.decode({'keypoints': rows}, Skeleton(('a', 'b'), ()), direct.Params(), (64, 48))\n"
        "print(found.keypoints.tolist(), 'numba' in sys.modules)"
    )
    said = []
    for disabled in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
        said.append(done.stdout)
    assert said[0] == said[1] == "[[[32.0, 24.0, 0.5], [32.0, 24.0, 0.5]]] False\n"
