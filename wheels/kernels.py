"""Compiles and links the kernels of this checkout: `python wheels/kernels.py`. Part of `pip install` from source.

Owns which machine code lies where in the package, the linker (the system's `cc`, else `ziglang`, which also links for
other platforms), and `build/kernels/`, where what was compiled stays: nothing is compiled twice for the same sources.
Runs in the build environment, with numba; nothing of it is in the wheel.
"""

import argparse
import ast
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "kernels"


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


def compiled(targets: Iterable[build.Target]) -> dict[build.Target, list[Path]]:
    """Object files for each target, one of each module. Those not in the cache are compiled, a process for each core.

    A module's key is its own text, that of the kernel sources it imports, and what compiles them.
    """
    keys = module_keys()
    wanted = {(name, target): _object(key, target) for target in targets for name, key in keys.items()}
    missing = [(name, target) for (name, target), path in wanted.items() if not path.is_file()]
    if missing:
        say(f"compiling {len(missing)} modules, once; all of them take a minute")
        CACHE.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor() as pool:
            untouched = dict.fromkeys(name for name, _ in missing if not _text(keys[name]).is_file())
            _run(pool, _lower, [(name, _text(keys[name])) for name in untouched])
            _run(pool, _compile, [(name, _text(keys[name]), wanted[name, target], target) for name, target in missing])
    return {target: [path for (_, its), path in wanted.items() if its == target] for target in targets}


def module_keys() -> dict[str, str]:
    """The modules that have kernels -> a hash of all that their machine code depends on; the longest text first."""
    paths = load.kernel_modules()
    for name in paths:
        importlib.import_module(name)
    having = {kernel.fn.__module__ for kernel in KERNELS.values()}
    common = _imported(Path(build.__file__))
    tools = f"{version('numba')} {version('llvmlite')} "
    ordered = sorted(having, key=lambda name: -paths[name].stat().st_size)
    keys = {name: load.hash_of(sorted(common | _imported(paths[name]))) for name in ordered}
    return {name: name + "-" + hashlib.sha256((tools + key).encode()).hexdigest()[:20] for name, key in keys.items()}


def _imported(path: Path, known: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """A file and the kernel sources that it imports, and those that they do."""
    known |= {path}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "posert":
            folder = load.ROOT.joinpath(*node.module.split(".")[1:])
            files = [folder.with_suffix(".py"), folder / "__init__.py", *(folder / f"{n.name}.py" for n in node.names)]
            for file in set(files) & set(load.kernel_sources()) - known:
                known |= _imported(file, known)
    return known


def _text(key: str) -> Path:
    return CACHE / f"{key}.json"


def _object(key: str, target: build.Target) -> Path:
    return CACHE / f"{key}-{target.triple}-{target.cpu}{'-small' if target.small else ''}.o"


def _run(pool: ProcessPoolExecutor, step: Callable[..., str], jobs: Iterable[tuple[Any, ...]]) -> None:
    """Every job in the pool; says what is done as it is done."""
    waiting = [pool.submit(_timed, step, job) for job in jobs]
    for number, done in enumerate(as_completed(waiting), 1):
        say(f"[{number}/{len(waiting)}] {done.result()}")


def _timed(step: Callable[..., str], job: tuple[Any, ...]) -> str:
    start = time.perf_counter()
    said = step(*job)
    return f"{said}, {time.perf_counter() - start:.1f} s"


def say(line: str) -> None:
    """One line about what is being done, at once."""
    print("kernels:", line, flush=True)


def _lower(module: str, text: Path) -> str:
    importlib.import_module(module)
    ir = build.lower(kernel for kernel in KERNELS.values() if kernel.fn.__module__ == module)
    _write(text, json.dumps(ir).encode())
    return f"{module} to LLVM"


def _compile(module: str, text: Path, path: Path, target: build.Target) -> str:
    _write(path, build.compile_kernels(json.loads(text.read_text()), target).code)
    return f"{module} for {target.triple}, {target.cpu}"


def _write(path: Path, data: bytes) -> None:
    """A file that is whole or not there, whoever else is compiling."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)


def link(objects: list[Path], library: Path, target: Platform) -> None:
    """A shared library of objects, by `cc` for this machine or by zig."""
    own = target == PLATFORMS.get(this_platform()) and shutil.which("cc")
    command = ["cc"] if own else [sys.executable, "-m", "ziglang", "cc", "-target", target.zig]
    part = library.with_name(f"{os.getpid()}-{library.name}")
    subprocess.run([*command, "-shared", "-o", str(part), *map(str, objects), "-lm"], check=True)
    part.replace(library)


def make(levels: Iterable[str]) -> None:
    """The libraries for levels of this machine in the package, unless they are there already."""
    target = PLATFORMS[this_platform()]
    if not load.outdated() and all(load.library_of(level).is_file() for level in levels):
        return
    wanted = {build.Target(target.triple, level): load.library_of(level) for level in levels}
    objects = compiled(wanted)
    load.FOLDER.mkdir(exist_ok=True)
    for key, library in wanted.items():
        link(objects[key], library, target)
    for old in set(load.FOLDER.iterdir()) - set(wanted.values()) if load.outdated() else ():
        old.unlink()
    (load.FOLDER / "sources").write_text(load.sources_hash())
    say(f"linked {', '.join(library.name for library in wanted.values())}")


def main() -> None:
    """Compiles for this machine, unless what lies there is up to date."""
    parser = argparse.ArgumentParser(description="compile the kernels of this checkout for this machine")
    parser.add_argument("--level", action="append", help="of the processor; without: the best one that it has")
    make(parser.parse_args().level or load.levels()[:1])


if __name__ == "__main__":
    main()
