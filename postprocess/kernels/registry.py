"""Marks kernels: plain Python functions that run as machine code, in Python and in C alike.

Owns the two decorators, the types of their arguments, and `Kernel`. A kernel takes scalars (int, float) and arrays in C
order, the caller allocates outputs and workspace, and it returns a count, or a negative number for a problem: no lists,
dicts, strings, exceptions, allocation. Importing a kernel loads and compiles nothing.
"""

import inspect
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
"""Kernels run as the Python functions that they are: slow, but debuggers and coverage see every line."""
Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Axes:
    """The type of an argument: a C-contiguous array of `dtype` with so many axes; 0 axes are a scalar."""

    dtype: str
    axes: int


U8x1 = Annotated[Any, Axes("uint8", 1)]
U8x2 = Annotated[Any, Axes("uint8", 2)]
I32x1 = Annotated[Any, Axes("int32", 1)]
I64x1 = Annotated[Any, Axes("int64", 1)]
I64x2 = Annotated[Any, Axes("int64", 2)]
F32x1 = Annotated[Any, Axes("float32", 1)]
F32x2 = Annotated[Any, Axes("float32", 2)]
F32x3 = Annotated[Any, Axes("float32", 3)]
F64x1 = Annotated[Any, Axes("float64", 1)]
F64x2 = Annotated[Any, Axes("float64", 2)]
_SCALARS = {int: Axes("int64", 0), float: Axes("float64", 0)}

KERNELS: dict[str, "Kernel"] = {}
"""C name -> kernel, of every module imported."""
FINDERS: list[Callable[["Kernel"], Function]] = []
"""What finds the machine code of a kernel of this process; the package puts `load.function` here."""
_HELPERS: set[Function] = set()


class Kernel:
    """A kernel of this process; its first call finds its machine code.

    Attributes:
        fn: the Python function. name: its C name, `posert_k_<function name>`, without the underscore of a private one.
        arguments: name -> type, in order. An array is a pointer and its dimensions in C.
    """

    def __init__(self, fn: Function) -> None:
        self.fn, self.name, self.__doc__ = fn, "posert_k_" + fn.__name__.lstrip("_"), fn.__doc__
        hints = typing.get_type_hints(fn, include_extras=True)
        self.arguments = {name: _axes(hints[name]) for name in inspect.signature(fn).parameters}
        self._call: Function | None = fn if INTERPRETED else None

    def __call__(self, *arguments: Any) -> int:
        """The count that the kernel returns; TypeError for an array of another type, dimensions or layout."""
        if self._call is None:
            (find,) = FINDERS
            self._call = find(self)
        return self._call(*arguments)


def _axes(hint: Any) -> Axes:
    found = _SCALARS.get(hint)
    return found or next(note for note in hint.__metadata__ if isinstance(note, Axes))


def jit(fn: Function) -> Function:
    """Mark a helper that only kernels call; it becomes part of them."""
    _HELPERS.add(fn)
    return fn


def is_helper(fn: object) -> bool:
    """Whether `jit` marked it."""
    return inspect.isfunction(fn) and fn in _HELPERS


def kernel(fn: Function) -> Kernel:
    """Mark a function as a kernel. Its annotations are its signature: int, float, and the array types above."""
    marked = Kernel(fn)
    KERNELS[marked.name] = marked
    return marked
