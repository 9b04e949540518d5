"""The machine code of the kernels in this process: kept in a cache, loaded by llvmlite, called through ctypes.

Owns the cache and the types of a call. Importing numba and waking its compiler takes a third of a second; a process
whose kernels are in the cache does neither. The calls run without the interpreter lock.
"""

import ctypes
import hashlib
import logging
import os
import re
import tempfile
import threading
import weakref
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger("posert")
_LOCK = threading.RLock()
_C_TYPES = {"float64": ctypes.c_double, "int64": ctypes.c_int64, "none": None}
_Parsed = tuple[tuple[str, int], ...]
_NOTHING: tuple[Callable[[], Any], tuple[int, ...], tuple[int, ...]] = (lambda: None), (), ()


def function(module: str, name: str, signature: str) -> Callable[..., Any]:
    """The kernel `name` of a module as a Python function; arrays in, a count out.

    It raises TypeError when an array is not of the declared type, dimensions or layout.
    """
    with _LOCK:
        address = _library(module)[name]
    result, arguments = parse(signature)
    kinds: list[Any] = []
    for dtype, axes in arguments:
        kinds += [ctypes.c_void_p, *[ctypes.c_int64] * axes] if axes else [_C_TYPES[dtype]]
    entry = ctypes.CFUNCTYPE(_C_TYPES[result], *kinds)(address)
    steps = [
        (np.dtype(dtype) if axes else None, axes, float if dtype == "float64" else int, [_NOTHING])
        for dtype, axes in arguments
    ]

    def call(*given: Any) -> Any:
        passed: list[Any] = []
        for value, (dtype, axes, scalar, last) in zip(given, steps, strict=True):
            if dtype is None:
                passed.append(scalar(value))
                continue
            seen, shape, words = last[0]  # most arrays are workspace that comes again and again
            if seen() is not value or shape != value.shape:
                fits = (value.dtype is dtype or value.dtype == dtype) and value.ndim == axes
                address = _address(value) if fits else None
                if address is None:
                    raise TypeError(f"{name} takes {signature}, not {value.dtype}{list(value.shape)} {value.strides}")
                words = (address, *value.shape)
                last[0] = weakref.ref(value), value.shape, words
            passed += words
        return entry(*passed)

    return call


def _address(array: NDArray[Any]) -> int | None:
    """Where an array's data lies; None if not in one piece, in C order.

    The usual `array.ctypes.data` takes three times as long, a kernel has 15 of them.
    """
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # read-only, of no size, or in pieces
        return int(array.ctypes.data) if array.flags.c_contiguous else None


def parse(signature: str) -> tuple[str, _Parsed]:
    """Result type and (dtype, dimensions) of every argument; 0 dimensions for a scalar.

    >>> parse("int64(float32[:,::1], float64)")
    ('int64', (('float32', 2), ('float64', 0)))
    """
    result, _, rest = signature.partition("(")
    found = re.findall(r"(\w+)(\[[^\]]*\])?", rest)
    return result, tuple((dtype, layout.count(",") + 1 if layout else 0) for dtype, layout in found)


@cache
def _library(module: str) -> Any:
    """The kernels of a module by C name: their addresses."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    code, names = _object(llvm, module), _names(module)
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in names:
        builder.export_symbol(name)
    return builder.link(_linker(), module)


@cache
def _linker() -> Any:
    import llvmlite.binding as llvm

    # JITLink puts an object in one piece; the other linker spreads it, too far where much memory is mapped.
    return llvm.create_lljit_compiler(use_jit_link=True)


def _names(module: str) -> list[str]:
    from posert.postprocess.kernels.registry import EXPORTED

    return [name for name, (kernel, _) in EXPORTED.items() if getattr(kernel, "fn", kernel).__module__ == module]


def _object(llvm: Any, module: str) -> bytes:
    """The object file of a module: from the cache, else compiled now and kept there."""
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    key = hashlib.sha256(f"{_sources()} {version('llvmlite')} {cpu} {features}".encode()).hexdigest()[:20]
    name = f"{module.rpartition('.')[2]}-{key}.o"
    folder = cache_folder()
    if folder is not None and (folder / name).exists():
        return (folder / name).read_bytes()
    from posert.postprocess.kernels.build import compile_modules

    code = compile_modules([module], llvm.get_default_triple(), cpu, features).code
    if folder is not None:
        _keep(code, folder / name)
    return code


def _keep(code: bytes, path: Path) -> None:
    """Writes to the cache under a temporary name first; a full disk is no reason to stop."""
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_bytes(code)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        _LOG.warning("compiled kernels cannot be kept in %s (%s)", path.parent, error)


@cache
def _sources() -> str:
    """Hash of every file that may hold kernels or helpers: a kernel may use those of other files."""
    root = Path(__file__).parent.parent.parent
    files = sorted([*root.glob("postprocess/**/*.py"), root / "runtime" / "sample.py"])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: NUMBA_CACHE_DIR, beside the sources, or the user's cache; None: nowhere."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posert"
    for folder in [Path(given)] if given else [Path(__file__).parent / "__pycache__", user]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            why = error
    _LOG.warning("compiled kernels cannot be cached (%s); set NUMBA_CACHE_DIR to a writable folder", why)
    return None
