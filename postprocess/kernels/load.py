"""The machine code of the kernels in this process: which library the processor can run, and calls through ctypes.

Owns the choice. The calls run without the interpreter lock. Compiles nothing itself: where the package has no machine
code, the kernels are numba's if it is installed (the extra `jit`).
"""

import ctypes
import logging
import os
import platform
import weakref
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.postprocess.kernels.registry import Kernel
from posert.postprocess.kernels.sources import FOLDER, library_of, outdated

_LOG = logging.getLogger("posert")
_NEEDED = {
    "x86-64-v4": ("AVX512_SKX", "X86_V4"),
    "x86-64-v3": ("AVX2 FMA3 F16C", "X86_V3"),
    "x86-64-v2": ("", "X86_V2"),
}
LEVELS = tuple(_NEEDED)
"""Of x86-64 processors, the best first. Other architectures have one library."""
_SCALARS = {"float64": (ctypes.c_double, float), "int64": (ctypes.c_int64, int)}
_NOTHING: tuple[Callable[[], Any], tuple[int, ...], tuple[int, ...]] = (lambda: None), (), ()


def function(kernel: Kernel) -> Callable[..., int]:
    """A kernel as a function: arrays in, a count out; TypeError for arrays of another type, dimensions or layout.

    Raises:
        PosertError: neither machine code for this platform nor numba is here.
    """
    library = _library()
    if library is None:
        from posert.postprocess.kernels.build import compiled_here

        return compiled_here(kernel)
    return calling(kernel, library[kernel.name])


def calling(kernel: Kernel, entry: Any) -> Callable[..., int]:
    """A kernel's symbol of some library, `entry`, called like the kernel itself."""
    entry.restype = ctypes.c_int64
    kinds: list[Any] = []
    for kind in kernel.arguments.values():
        kinds += [ctypes.c_void_p, *[ctypes.c_int64] * kind.axes] if kind.axes else [_SCALARS[kind.dtype][0]]
    entry.argtypes = kinds
    steps = [
        (np.dtype(kind.dtype), kind.axes, None, [_NOTHING]) if kind.axes else (None, 0, _SCALARS[kind.dtype][1], [])
        for kind in kernel.arguments.values()
    ]

    def call(*given: Any) -> int:
        passed: list[Any] = []
        for value, (dtype, axes, scalar, last) in zip(given, steps, strict=True):
            if scalar is not None:
                passed.append(scalar(value))
                continue
            seen, shape, words = last[0]  # most arrays are workspace that comes again and again
            if seen() is not value or shape != value.shape:
                fits = (value.dtype is dtype or value.dtype == dtype) and value.ndim == axes
                address = _address(value) if fits else None
                if address is None:
                    wanted = ", ".join(f"{name} {kind.dtype}[{kind.axes}]" for name, kind in kernel.arguments.items())
                    got = f"{value.dtype}{list(value.shape)} {value.strides}"
                    raise TypeError(f"{kernel.name} takes {wanted}, not {got}")
                words = (address, *value.shape)
                last[0] = weakref.ref(value), value.shape, words
            passed += words
        return entry(*passed)  # type: ignore[no-any-return]

    return call


def _address(array: NDArray[Any]) -> int | None:
    """Where an array's data lies; None if not in one piece, in C order.

    The usual `array.ctypes.data` takes three times as long, a kernel has a dozen of them.
    """
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # read-only, of no size, or in pieces
        return int(array.ctypes.data) if array.flags.c_contiguous else None


@cache
def _library() -> ctypes.CDLL | None:
    """The library for this processor; None where numba has to compile.

    Raises:
        PosertError: neither is here, or not the level that POSERT_KERNELS names.
    """
    path, why = library_path(), ""
    wanted = os.environ.get("POSERT_KERNELS")
    if path is None and wanted and not outdated():
        there = ", ".join(sorted(file.stem.removeprefix("kernels-") for file in FOLDER.glob("kernels-*")))
        raise PosertError(f"no kernels for POSERT_KERNELS={wanted}", f"compiled here: {there or 'none'}")
    if path is not None:
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            why = f" ({error})"
    if find_spec("numba") is None:
        raise PosertError(
            f"posert has no compiled kernels for {platform.system()} on {platform.machine()} here{why}",
            "pip install 'posert[jit]' compiles them as they are needed; in a checkout: make kernels",
        )
    _LOG.warning("compiling kernels as they are needed, which takes a minute; in a checkout, make kernels does it once")
    return None


def library_path() -> Path | None:
    """The file that this process loads: of the levels in the package, the best that the processor has.

    POSERT_KERNELS names another level (`x86-64-v2`). None: there is none, or, in a checkout, it is older than the
    kernels.
    """
    if outdated():
        return None
    wanted = os.environ.get("POSERT_KERNELS")
    paths = [library_of(level) for level in ([wanted] if wanted else levels())]
    return next((path for path in paths if path.is_file()), None)


def levels() -> list[str]:
    """What this processor can run, the best first."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ["generic"]
    try:  # what numpy found out about the processor; nothing, if this numpy does not say
        features = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        features = {}
    return [
        level
        for level, (names, whole) in _NEEDED.items()
        if features.get(whole) or all(features.get(name) for name in names.split())
    ]
