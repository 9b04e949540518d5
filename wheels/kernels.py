"""Compiles and links the kernels of this checkout: `python wheels/kernels.py`. Part of `pip install` from source.

Owns which machine code lies where in the package, and the linker: the system's `cc`, else `ziglang`, which also links
for other platforms. Runs in the build environment, with numba; nothing of it is in the wheel.
"""

import argparse
import importlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def import_posert() -> Any:
    """The package of this checkout, whatever is installed."""
    spec = importlib.util.spec_from_file_location(
        "posert", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["posert"] = module
    spec.loader.exec_module(module)
    return module


if "posert" not in sys.modules:
    import_posert()

from posert.postprocess.kernels import build, load  # noqa: E402
from posert.postprocess.kernels.registry import KERNELS  # noqa: E402


@dataclass(frozen=True, slots=True)
class Platform:
    """Whose libraries are made: LLVM's triple, the linker's, the levels of its processors, the file's suffix."""

    triple: str
    zig: str
    levels: tuple[str, ...]
    suffix: str


_X86 = load.LEVELS
PLATFORMS = {
    "x86_64-linux": Platform("x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17", _X86, ".so"),
    "aarch64-linux": Platform("aarch64-unknown-linux-gnu", "aarch64-linux-gnu.2.17", ("generic",), ".so"),
    "x86_64-macos": Platform("x86_64-apple-macosx11.0.0", "x86_64-macos.11.0", _X86, ".dylib"),
    "arm64-macos": Platform("arm64-apple-macosx11.0.0", "aarch64-macos.11.0", ("generic",), ".dylib"),
    "x86_64-windows": Platform("x86_64-pc-windows-gnu", "x86_64-windows-gnu", _X86, ".dll"),
}


def this_platform() -> str:
    """The key of `PLATFORMS` for this machine."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, "linux")
    return f"{machine}-{system}"


def lowered() -> dict[str, str]:
    """Every kernel of the checkout in LLVM's language, made by a process for each core."""
    for module in load.kernel_modules():
        importlib.import_module(module)
    names = sorted(KERNELS)
    with ProcessPoolExecutor() as pool:
        parts = pool.map(_lower, [names[i::2] for i in range(2)])
    return {name: ir for part in parts for name, ir in part.items()}


def _lower(names: list[str]) -> dict[str, str]:
    for module in load.kernel_modules():
        importlib.import_module(module)
    return build.lower(KERNELS[name] for name in names)


def link(objects: list[Path], library: Path, zig_target: str) -> None:
    """A shared library of objects, by `cc` for this machine or by zig."""
    own = library.suffix == load._SUFFIXES.get(sys.platform, ".so") and shutil.which("cc")
    command = ["cc"] if own else [sys.executable, "-m", "ziglang", "cc", "-target", zig_target]
    subprocess.run([*command, "-shared", "-o", str(library), *map(str, objects), "-lm"], check=True)


def main() -> None:
    """Compiles for this machine, unless what lies there is up to date."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--level", action="append")
    wanted = parser.parse_args().level
    target = PLATFORMS[this_platform()]
    levels = wanted or load._levels()[:1]
    load.FOLDER.mkdir(exist_ok=True)
    paths = {level: load.FOLDER / f"kernels-{level}{target.suffix}" for level in levels}
    if not load._outdated() and all(path.exists() for path in paths.values()):
        return
    irs = lowered()
    for level, path in paths.items():
        compiled = build.compile_kernels(irs, build.Target(target.triple, level))
        with tempfile.TemporaryDirectory() as folder:
            objects = Path(folder, "kernels.o")
            objects.write_bytes(compiled.code)
            link([objects], path, target.zig)
    (load.FOLDER / "sources").write_text(load.sources_hash())


if __name__ == "__main__":
    main()
