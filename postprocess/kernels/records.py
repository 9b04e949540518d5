"""Parameters as kernels take them: the scalars of a dataclass as numbers, its lists as a table of integers.

Owns the order, which is that of the fields, for Python and C alike. Knows dataclasses, not what they mean.
"""

import typing
from collections import namedtuple
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from posert.postprocess.kernels.registry import Function, jit


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and typing.get_args(hint)[-1] is Ellipsis


def _scalars(kind: type) -> dict[str, Any]:
    return {name: hint for name, hint in _hints(kind).items() if hint is not str and not _is_list(hint)}


def index_of(kind: type, name: str, word: str) -> int:
    """The number that stands for a word of a `Literal` field: its place among them.

    Raises:
        ValueError: the field does not know the word.
    """
    return typing.get_args(_hints(kind)[name]).index(word)


def reader(kind: type) -> Function:
    """A helper for kernels: numbers f64 [n] -> a named tuple with the scalar fields of the dataclass `kind`.

    int, bool and Literal fields are int (a word is its `index_of`), float fields are float, NaN stands for None, and a
    tuple of fixed length is a tuple. Fields of text, and lists, are not in it.
    """
    parts, at = [], 0
    for hint in _scalars(kind).values():
        if typing.get_origin(hint) is tuple:
            kinds = typing.get_args(hint)
            parts.append(f"({', '.join(_one(each, at + i) for i, each in enumerate(kinds))},)")
            at += len(kinds)
        else:
            parts.append(_one(hint, at))
            at += 1
    record = namedtuple(kind.__name__, list(_scalars(kind)))  # type: ignore[misc]
    # a name of its own: in C's one object the helpers of one name become one
    space: dict[str, Any] = {"record": record, "__name__": kind.__module__}
    exec(f"def read_{kind.__name__}(numbers):\n    return record({', '.join(parts)})\n", space)
    return jit(space[f"read_{kind.__name__}"])


def _one(hint: Any, at: int) -> str:
    whole = hint in (int, bool) or typing.get_origin(hint) is Literal
    return f"int(numbers[{at}])" if whole else f"numbers[{at}]"


def numbers_of(values: Any) -> NDArray[np.float64]:
    """The scalar fields of a dataclass as f64 [n], as `reader` reads them."""
    numbers: list[float] = []
    for name, hint in _scalars(type(values)).items():
        value = getattr(values, name)
        if typing.get_origin(hint) is Literal:
            numbers.append(typing.get_args(hint).index(value))
        elif typing.get_origin(hint) is tuple:
            numbers += map(float, value)
        else:
            numbers.append(float("nan") if value is None else float(value))
    return np.array(numbers, np.float64)


def lists_of(values: Any) -> list[Any]:
    """The list fields of a dataclass, in order; a word of a `Literal` is its place among them."""
    kind: type = type(values)
    lists = [(name, typing.get_args(hint)[0]) for name, hint in _hints(kind).items() if _is_list(hint)]
    return [_numbered(each, getattr(values, name)) for name, each in lists]


def _numbered(hint: Any, values: Any) -> Any:
    words = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    return [words.index(value) for value in values] if words else values


def table_of(lists: Iterable[Iterable[Any]]) -> NDArray[np.int64]:
    """Lists of integers (or of pairs of them) as i64 [n]: each its length and its values."""
    return np.array([number for flat in map(_flat, lists) for number in (len(flat), *flat)], np.int64)


def _flat(values: Iterable[Any]) -> list[int]:
    return [int(n) for value in values for n in (value if isinstance(value, tuple | list) else (value,))]
