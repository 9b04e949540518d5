"""Kernels compile twice: what Python runs is what C gets, with nothing but libc and libm."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fields
import numpy as np
import pytest

from posert.export.kernels import LIBC, compile_kernels, exported, header_text
from posert.postprocess import detect, heatmap, suppress_poses
from posert.postprocess.paf import Params, decode
from posert.postprocess.poses import Poses, Skeleton

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled without the JIT"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    target = tmp_path_factory.mktemp("kernels") / "kernels.o"
    return target, compile_kernels(target, header=target.with_suffix(".h"))


def test_the_object_needs_only_libc_and_libm(built: tuple[Path, list[str]]) -> None:
    target, undefined = built
    assert set(undefined) <= LIBC
    assert target.read_bytes()[:4] == b"\x7fELF"
    if nm := shutil.which("nm"):
        listed = subprocess.run([nm, "-u", str(target)], capture_output=True, text=True, check=True).stdout.split()
        assert {name for name in listed if name != "U"} <= LIBC | {"_GLOBAL_OFFSET_TABLE_"}
        defined = subprocess.run([nm, "--defined-only", "-g", str(target)], capture_output=True, text=True, check=True)
        assert sorted(line.split()[-1] for line in defined.stdout.splitlines()) == list(exported())


def test_the_header_compiles_as_c99(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    if not (compiler := shutil.which("cc")):
        pytest.skip("no C compiler (cc) on this machine")
    header = built[0].with_suffix(".h")
    (tmp_path / "use.c").write_text(f'#include "{header}"\nint main(void) {{ return 0; }}\n')
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    subprocess.run([compiler, *flags, str(tmp_path / "use.c")], check=True)


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-macos", "x86_64-pc-windows-msvc"])
def test_other_targets(tmp_path: Path, triple: str) -> None:
    cpu = "x86-64-v2" if triple.startswith("x86") else "generic"
    assert set(compile_kernels(tmp_path / "kernels.o", triple=triple, cpu=cpu)) <= LIBC


def test_a_kernel_that_needs_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(
        "import numpy as np\nfrom posert.postprocess._jit import kernel\n"
        "@kernel('int64(float64[::1])')\ndef greedy(x):\n    return len(np.sort(x))\n"
    )
    (tmp_path / "build.py").write_text(
        "import greedy, runpy, sys\nsys.argv = ['kernels', 'x.o']\n"
        "runpy.run_module('posert.export.kernels', run_name='__main__')\n"
    )
    root = Path(__file__).parent.parent / ".typing"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}", "NUMBA_OPT": "0"}
    command = [sys.executable, str(tmp_path / "build.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode != 0
    assert "kernel posert_k_greedy needs NRT_" in done.stderr


def test_python_calls_every_kernel_with_the_types_that_c_will_use() -> None:
    """Another layout or dtype would compile a second variant, and the two might differ."""
    from numba.core import sigutils

    from posert.postprocess._follow import next_window
    from posert.runtime.evaluate import COCO_17
    from posert.runtime.prepare import place, prepare
    from posert.runtime.spec import InputSpec

    heat, pafs = fields.maps(fields.people(1, 40, 30), 40, 30)
    decode({"heatmaps": heat[None], "pafs": pafs[None]}, fields.BODY_18, Params(), (320, 240))
    poses = Poses(np.ones((1, 17, 3), np.float32), np.ones(1, np.float32), np.ones((1, 4), np.float32))
    next_window(poses, (640, 480), Skeleton(COCO_17, ()))
    for rule in ("linear", "cubic", "area"):
        spec = InputSpec("i", "NCHW", "float32", "rgb", (16, 16), "stretch", interpolation=rule)
        prepare(np.zeros((40, 40, 3), np.uint8), place((40, 40), spec)[0], spec, (16, 16))
    maps = np.zeros((1, 17, 4, 4), np.float32)
    skeleton = Skeleton(COCO_17, ())
    heatmap.decode({"maps": maps}, skeleton, heatmap.Params(5), (16, 16))
    suppress_poses.suppress(poses, poses, suppress_poses.Params())
    detect.decode({"grid_rows": np.ones((1, 21, 85), np.float32)}, skeleton, detect.Params(), (32, 32))
    heads = {f"head{side}": np.ones((1, 255, 32 // side, 32 // side), np.float32) for side in (8, 16, 32)}
    detect.decode(heads, skeleton, detect.Params(), (32, 32))
    for name, (fn, signature) in exported().items():
        kinds, _ = sigutils.normalize_signature(signature)
        assert fn.signatures == [kinds], name


def test_the_header_lists_sizes_after_each_pointer() -> None:
    assert "float *weight, int64_t weight_0" in header_text()
