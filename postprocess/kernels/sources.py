"""Where the kernels' machine code lies, and which files of a checkout it depends on.

Owns the folder `compiled/` and the stamp in it. Knows neither kernels nor the compiler, and imports nothing: the build
asks it before there is anything to import.
"""

import hashlib
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).with_name("compiled")
STAMP = FOLDER / "sources"
SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
"""Of a library of this platform."""
_MARKS = (b"posert.postprocess.kernels.registry", b"posert.postprocess.decoding")
"""What a file with kernels or their helpers imports: the decorators."""
_RECORDS = (ROOT / "runtime" / "region_spec.py", ROOT / "runtime" / "spec.py")
_NOT_CODE = (FOLDER.with_name("load.py"), FOLDER.with_name("sources.py"))


def library_of(level: str, suffix: str = SUFFIX) -> Path:
    """Where the library for a level of processors lies, if it is there."""
    return FOLDER / f"kernels-{level}{suffix}"


def object_of(target: str) -> Path:
    """Where all kernels lie as one object for a target of `posert bundle`, if they are there."""
    return FOLDER / f"{target}.o"


def outdated() -> bool:
    """Whether this is a checkout whose kernels have changed since they were compiled."""
    return (ROOT / "pyproject.toml").is_file() and not (STAMP.is_file() and STAMP.read_text() == sources_hash())


@cache
def sources_hash() -> str:
    """Hash of every file that the machine code depends on."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in kernel_sources())).hexdigest()


@cache
def kernel_sources() -> tuple[Path, ...]:
    """The files that may hold kernels or their helpers, and records that kernels read."""
    paths = sorted([*(ROOT / "postprocess").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")])
    texts = {path: path.read_bytes() for path in paths if path not in _NOT_CODE}
    return tuple(path for path in texts if path in _RECORDS or any(mark in texts[path] for mark in _MARKS))


def kernel_modules() -> dict[str, Path]:
    """The modules that hold kernels, by name; importing them fills the registry."""
    own = [path for path in kernel_sources() if path.parent != FOLDER.parent]
    names = [".".join(("posert", *path.relative_to(ROOT).with_suffix("").parts)) for path in own]
    return {name.removesuffix(".__init__"): path for name, path in zip(names, own, strict=True)}
