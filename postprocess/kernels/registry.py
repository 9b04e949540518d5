"""Marks kernels: plain Python functions that run as machine code, in Python and in C alike.

Owns the two decorators. A kernel takes scalars (float64, int64) and C-contiguous arrays, the caller allocates outputs
and workspace, and it returns a count or nothing: no lists, dicts, strings, exceptions, allocation. numba compiles a
file's kernels once for a machine (`_compile`); every later process loads the result without numba (`_native`).
"""

import os
from collections.abc import Callable
from typing import Any

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
COMPILING = "POSERT_COMPILING" in os.environ
"""This process compiles: the decorators hand the functions to numba, which alone can make one out of many."""

EXPORTED: dict[str, tuple[Callable[..., Any], str]] = {}
"""C name -> (plain Python function, numba dispatcher or `Kernel`, numba signature) of every `@kernel` imported."""


class Kernel:
    """A kernel of this process: its first call loads the machine code of its file, or compiles it.

    Attributes:
        fn: the Python function. name: its C name. signature: see `kernel`.
    """

    def __init__(self, fn: Callable[..., Any], name: str, signature: str) -> None:
        self.fn, self.name, self.signature = fn, name, signature
        self.__doc__ = fn.__doc__
        self._call: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            from posert.postprocess.kernels import load

            self._call = load.function(self.fn.__module__, self.name, self.signature)
        return self._call(*arguments)


def jit(fn: Callable[..., Any]) -> Any:
    """Mark a helper that only kernels call; it becomes part of them."""
    if not COMPILING:
        return fn
    from numba import njit

    return njit(error_model="numpy")(fn)


def kernel(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Mark a function as a kernel; its C name is `posert_k_<function name>`.

    Args:
        signature: numba's own notation, for example ``int64(float32[:,:,::1], float64)``. A call with other dtypes,
            dimensions or layouts is a TypeError; a test asserts that the code needs nothing but libc and libm.
    """

    def decorate(fn: Callable[..., Any]) -> Any:
        name = "posert_k_" + fn.__name__.lstrip("_")
        compiled = jit(fn) if COMPILING or INTERPRETED else Kernel(fn, name, signature)
        EXPORTED[name] = (compiled, signature)
        return compiled

    return decorate
