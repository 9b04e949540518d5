"""Compiles and links the kernels of this checkout: `python wheels/kernels.py`. Part of `pip install` from source.

Owns which machine code lies where in the package, the linker (the system's `cc`, else `ziglang`, which also links for
other platforms), and `build/kernels/`, where what was compiled stays: nothing is compiled twice for the same sources.
Runs in the build environment, with numba; nothing of it is in the wheel.
"""

import argparse
import ast
import gc
import hashlib
import importlib
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "kernels"

# the package of this checkout, whatever is installed; not its faces, which import OpenCV
if "posert" not in sys.modules:
    for name, folder in (("posert", ROOT), ("posert.runtime", ROOT / "runtime")):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]

from posert.postprocess.kernels import build, load, sources  # noqa: E402
from posert.postprocess.kernels.registry import KERNELS  # noqa: E402


@dataclass(frozen=True, slots=True)
class Platform:
    """Whose libraries are made.

    Attributes:
        triple: LLVM's. zig: the same as its linker says it, with the oldest C library, and what to link.
        levels: of the processors. suffix: of a library. tag: of a wheel.
    """

    triple: str
    zig: tuple[str, ...]
    levels: tuple[str, ...]
    suffix: str
    tag: str


_X86, _ARM, _MAC = load.LEVELS, ("generic",), "apple-macosx11.0.0"
_LIBC, _SYSTEM = ("-lm", "-lc"), ("-lSystem",)
_UCRT = ("-s", "-Wl,--no-entry", str(Path(__file__).with_name("chkstk.s")), "-lucrtbase")
_OLDEST = {machine: f"manylinux_2_17_{machine}.manylinux2014_{machine}" for machine in ("x86_64", "aarch64")}
PLATFORMS = {
    "x86_64-linux": Platform(
        "x86_64-unknown-linux-gnu", ("x86_64-linux-gnu.2.17", *_LIBC), _X86, ".so", _OLDEST["x86_64"]
    ),
    "aarch64-linux": Platform(
        "aarch64-unknown-linux-gnu", ("aarch64-linux-gnu.2.17", *_LIBC), _ARM, ".so", _OLDEST["aarch64"]
    ),
    "x86_64-macos": Platform(f"x86_64-{_MAC}", ("x86_64-macos.11.0", *_SYSTEM), _X86, ".dylib", "macosx_11_0_x86_64"),
    "arm64-macos": Platform(f"arm64-{_MAC}", ("aarch64-macos.11.0", *_SYSTEM), _ARM, ".dylib", "macosx_11_0_arm64"),
    "x86_64-windows": Platform("x86_64-pc-windows-gnu", ("x86_64-windows-gnu", *_UCRT), _X86, ".dll", "win_amd64"),
}


def this_platform() -> str:
    """The key of `PLATFORMS` for this machine."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, "linux")
    return f"{machine}-{system}"


def compiled(targets: Iterable[build.Target]) -> dict[build.Target, list[Path]]:
    """Object files for each target: one of each module, or one in all for a small target.

    Those in the cache are taken from there, the others compiled, a process for each core. The key of a module is its
    own text, that of the kernel sources it imports, and what compiles them.
    """
    texts = [CACHE / f"{key}.json" for key in module_keys().values()]
    wanted = {target: _objects(texts, target) for target in targets}
    missing = [(*job, target) for target, jobs in wanted.items() for job in jobs if not job[1].is_file()]
    if missing:
        needed = {text for job in missing for text in job[0] if not text.is_file()}
        say(f"compiling, once: {len(needed)} modules, {len(missing)} objects")
        CACHE.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            _run(pool, _lower_apart, [(text,) for text in texts if text in needed])
        with ProcessPoolExecutor() as pool:
            _run(pool, _compile, sorted(missing, key=lambda job: -len(job[0])))
    return {target: [path for _, path in jobs] for target, jobs in wanted.items()}


def module_keys() -> dict[str, str]:
    """The modules that have kernels -> a hash of all that their machine code depends on; the longest text first."""
    paths = sources.kernel_modules()
    for name in paths:
        importlib.import_module(name)
    having = {kernel.fn.__module__ for kernel in KERNELS.values()}
    common = imported(Path(build.__file__))
    tools = f"{version('numba')} {version('llvmlite')} "
    texts = {name: "\n".join(map(program, sorted(common | imported(paths[name])))) for name in having}
    ordered = sorted(having, key=lambda name: (-len(texts[name]), name))  # a linker's output depends on it
    return {name: f"{name}-{_hash(tools + texts[name])}" for name in ordered}


@cache
def program(path: Path) -> str:
    """What a file says to the compiler: comments and line breaks are nothing to it."""
    return ast.dump(ast.parse(path.read_text(encoding="utf-8")))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def imported(path: Path, known: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """A file and the kernel sources that it imports, and those that they do."""
    known |= {path}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "posert":
            folder = sources.ROOT.joinpath(*node.module.split(".")[1:])
            files = [folder.with_suffix(".py"), folder / "__init__.py", *(folder / f"{n.name}.py" for n in node.names)]
            for file in set(files) & set(sources.kernel_sources()) - known:
                known |= imported(file, known)
    return known


def _objects(texts: list[Path], target: build.Target) -> list[tuple[list[Path], Path]]:
    """What is compiled together for a target, and the object that comes of it."""
    name = f"{target.triple}-{target.cpu}{target.features.replace(',', '')}.o"
    if not target.small:
        return [([text], CACHE / f"{text.stem}-{name}") for text in texts]
    return [(sorted(texts), CACHE / f"all-{_hash(' '.join(text.stem for text in sorted(texts)))}-{name}")]


def _run(pool: Executor, work: Callable[..., str], jobs: Iterable[tuple[Any, ...]]) -> None:
    """Every job in the pool; says what is done as it is done."""
    waiting = [pool.submit(work, *job) for job in jobs]
    for number, done in enumerate(as_completed(waiting), 1):
        say(f"[{number}/{len(waiting)}] {done.result()}")


def say(line: str) -> None:
    """One line about what is being done, at once."""
    print("kernels:", line, flush=True)


def _lower_apart(text: Path) -> str:
    """`_lower` in a process of its own: numba's names depend on what it did before, its order on hashes of words."""
    command = [sys.executable, __file__, "--lower", str(text)]
    alike = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=alike).stdout.strip()


def _lower(text: Path) -> str:
    """The kernels of a module in LLVM's language."""
    start = time.perf_counter()
    gc.disable()  # numba makes millions of objects, which stay: looking through them again and again takes a fifth
    from numba.core.bytecode import FunctionIdentity

    module, _, key = text.stem.rpartition("-")
    importlib.import_module(module)
    # numba numbers functions from 1 on in every process: helpers of two modules would have one name in one object
    FunctionIdentity._unique_ids = itertools.count(int(key, 16))
    irs = build.lower(kernel for kernel in KERNELS.values() if kernel.fn.__module__ == module)
    _write(text, _without_addresses(json.dumps(irs)).encode())
    return f"{module} for any processor, {time.perf_counter() - start:.1f} s"


def _without_addresses(irs: str) -> str:
    """The same without the addresses of Python's objects, which no kernel asks for, and names made of them."""
    named = dict[str, str]()
    irs = re.sub(r"(?<=numba\.dynamic\.globals\.)[0-9a-f]+", lambda m: named.setdefault(m[0], str(len(named))), irs)
    return re.sub(r"(?<=global ptr )inttoptr \(i64 \d+ to ptr\)", "null", irs)


def _compile(texts: list[Path], path: Path, target: build.Target) -> str:
    """Kernels in LLVM's language as an object for a target."""
    start = time.perf_counter()
    irs = {name: ir for text in texts for name, ir in json.loads(text.read_text()).items()}
    _write(path, build.compile_kernels(irs, target))
    what = texts[0].stem.rpartition("-")[0] if len(texts) == 1 else "everything, small,"
    return f"{what} for {target.triple}, {target.cpu}, {time.perf_counter() - start:.1f} s"


def _write(path: Path, data: bytes) -> None:
    """A file that is whole or not there, whoever else is compiling."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)


def link(objects: list[Path], library: Path, target: Platform, *, portable: bool = False) -> None:
    """A shared library of objects: by `cc` for this machine, else, or if it shall be portable, by zig."""
    files = ["-shared", "-o", library.name, *(str(path.resolve()) for path in objects)]
    own = target == PLATFORMS.get(this_platform()) and not portable and shutil.which("cc")
    # the C library's own start-up code, which zig would compile for minutes, is for programs
    zig = [sys.executable, "-m", "ziglang", "cc", *files, "-nostdlib", "-target", *target.zig]
    # macOS and Windows keep the name it is made under in the library
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        day = {**os.environ, "SOURCE_DATE_EPOCH": "315532800"}  # Windows keeps it too: as in a wheel, 1980-01-01
        subprocess.run(["cc", *files, "-lm"] if own else zig, check=True, cwd=folder, env=day)
        Path(folder, library.name).replace(library)


def make(levels: Iterable[str], bundles: Iterable[str] = ()) -> None:
    """The libraries for levels of this machine, and the objects for `posert bundle`, in the package if they are not."""
    platform = PLATFORMS[this_platform()]
    libraries = {build.Target(platform.triple, level): sources.library_of(level) for level in levels}
    wanted = libraries | {build.TARGETS[name]: sources.object_of(name) for name in bundles}
    if not sources.outdated() and all(path.is_file() for path in wanted.values()):
        return
    made = compiled(wanted)
    sources.FOLDER.mkdir(exist_ok=True)
    for target, path in wanted.items():
        if target.small:
            _write(path, made[target][0].read_bytes())
        else:
            link(made[target], path, platform)
    for old in set(sources.FOLDER.iterdir()) - set(wanted.values()) if sources.outdated() else ():
        old.unlink()
    sources.STAMP.write_text(sources.sources_hash())
    say(f"made {', '.join(path.name for path in wanted.values())}")


def main() -> None:
    """Compiles for this machine, unless what lies there is up to date."""
    parser = argparse.ArgumentParser(description="compile the kernels of this checkout for this machine")
    parser.add_argument("--level", action="append", help="of the processor; without: the best one that it has")
    parser.add_argument("--bundles", action="store_true", help="the objects for `posert bundle` too")
    parser.add_argument("--lower", type=Path, help=argparse.SUPPRESS)  # what each process of the build is asked for
    options = parser.parse_args()
    if options.lower:
        print(_lower(options.lower))
        return
    make(options.level or load.levels()[:1], build.TARGETS if options.bundles else ())


if __name__ == "__main__":
    main()
