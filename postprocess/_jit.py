"""Compile one kernel source twice: by numba's JIT for Python, ahead of time into C symbols for everybody else.

Owns the two decorators. A kernel takes scalars (float64, int64) and C-contiguous arrays, the caller allocates outputs
and workspace, and it returns a count or nothing: no lists, dicts, strings, exceptions, allocation.
"""

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

_LOG = logging.getLogger("posert")
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

EXPORTED: dict[str, tuple[Callable[..., Any], str]] = {}
"""C name -> (plain Python function or dispatcher, numba signature) of every `@kernel` imported so far."""


def jit(fn: Callable[..., Any]) -> Any:
    """The compiled form of a helper that only kernels call: cached on disk, runs without the interpreter lock.

    Without any writable cache folder (site-packages and home both read-only) it still compiles, in each process anew.
    """
    try:
        return njit(cache=True, **_OPTIONS)(fn)
    except RuntimeError as error:  # numba: "cannot cache function ...: no locator available"
        if "cannot cache" not in str(error):
            raise
        _LOG.warning("compiled kernels cannot be cached (%s); set NUMBA_CACHE_DIR to a writable folder", error)
        return njit(**_OPTIONS)(fn)


def kernel(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Mark a function as a kernel that also compiles ahead of time, under the C name `posert_k_<function name>`.

    Args:
        signature: numba's own notation, for example ``int64(float32[:,:,::1], float64)``. The JIT compiles lazily, on
            the first call; a test asserts that it saw exactly these types and that the ahead-of-time object needs
            nothing but libc and libm.
    """

    def decorate(fn: Callable[..., Any]) -> Any:
        compiled = jit(fn)
        EXPORTED["posert_k_" + fn.__name__.lstrip("_")] = (compiled, signature)
        return compiled

    return decorate
