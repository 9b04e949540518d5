"""Values from outside (parsed JSON, a caller's arguments) as what annotations say: the one strict reader.

Owns types, ranges and how a misfit is said. Standard library only; knows no field by its name.
"""

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from posert.errors import PosertError

_NAMES = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
MISSING = "the fields "
"""What `Misfit.expected` begins with where fields are missing, whose names follow."""
_LARGEST = 1 << 53  # whole numbers up to here are floats too


class Misfit(PosertError, ValueError):
    """A value that is not what its place wants.

    Attributes:
        path: the place, `posert.stages[0].input.std[1]`, or the name of a parameter. expected, got: in words.
    """

    def __init__(self, path: str, expected: str, got: Any) -> None:
        super().__init__(f"{path} = {_shown(got)}, expected {expected}")
        self.path, self.expected, self.got, self._value = path, expected, _shown(got), got

    def at(self, path: str) -> "Misfit":
        """The same misfit of another place."""
        return Misfit(path, self.expected, self._value)

    def __reduce__(self) -> Any:
        return PosertError, (self.what, self.hint)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists without end
        return "something endless"
    return text if len(text) <= 80 else text[:77] + "..."


@dataclass(frozen=True, slots=True)
class Range:
    """Least and greatest value of a number, for `Annotated`; `above` and `below` are not reached.

    >>> str(Range(0, below=1)), str(Range(1))
    ('at least 0 and below 1', 'at least 1')
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        if math.isfinite(self.least) and math.isfinite(self.most):
            return f"from {self.least:g} to {self.most:g}"
        words = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{word} {end:g}" for word, end in words.items() if math.isfinite(end))


Share = Annotated[float, Range(0, 1)]
"""A number from 0 to 1."""
Px = Annotated[float, Range(-1e9, 1e9)]
"""A place or a length in a picture."""
Count = Annotated[int, Range(1)]
"""A whole number, at least 1."""
Index = Annotated[int, Range(0)]
"""A whole number, at least 0."""


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def read(kind: Any, value: Any, path: str) -> Any:
    """`value` as an instance of the annotation `kind`; lists become tuples, objects dataclasses or TypedDicts.

    Numbers must be finite; a float may be given as a whole number, nothing else is converted.

    Raises:
        Misfit: the first misfit.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is typing.NotRequired:
        return read(args[0], value, path)
    if origin is Annotated:
        found = _number(args[0], value)
        if found is None or found not in args[1]:
            raise Misfit(path, f"{_NAMES[args[0]]} {args[1]}", value)
        return found
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return _record(kind, value, path)
    if origin is Literal:
        if not isinstance(value, str | int) or value not in args or isinstance(value, bool):
            raise Misfit(path, " | ".join(map(str, args)), value)
        return value
    if origin is types.UnionType or origin is typing.Union:
        if value is None and types.NoneType in args:
            return None
        fitting = [one for one in args if isinstance(one, type) and isinstance(value, one)]
        return read((fitting or args)[0], value, path)
    if origin is tuple:
        return _tuple(args, value, path)
    if origin is Mapping:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise Misfit(path, "an object", value)
        return {key: read(args[1], item, f"{path}.{key}") for key, item in value.items()}
    found = _number(kind, value) if kind in (int, float) else value if isinstance(value, kind) else None
    if found is None:
        raise Misfit(path, _NAMES.get(kind, f"a {kind.__name__}"), value)
    return found


def _number(kind: type, value: Any) -> Any:
    """The number as `kind`, int or float; None if it is none, is not finite, or too large."""
    wanted = numbers.Integral if kind is int else numbers.Real
    if not isinstance(value, wanted) or isinstance(value, bool):
        return None
    try:
        found = kind(value)
        return found if math.isfinite(found) and (kind is float or abs(found) <= _LARGEST) else None
    except OverflowError:
        return None


def _tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise Misfit(path, "a list", value)
    kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
    if len(kinds) != len(value):
        raise Misfit(path, f"{len(kinds)} values", value)
    return tuple(read(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _record(kind: Any, value: Any, path: str) -> Any:
    """A dataclass has no other fields; a TypedDict may have, which are left away."""
    if not isinstance(value, Mapping):
        raise Misfit(path, "an object", value)
    hints: dict[str, Any] = _hints(kind)
    if typing.is_typeddict(kind):
        needed, value = sorted(kind.__required_keys__), {name: value[name] for name in hints if name in value}
    else:
        none = dataclasses.MISSING
        needed = [f.name for f in dataclasses.fields(kind) if f.default is none and f.default_factory is none]
    if unknown := sorted(set(map(str, value)) - set(hints)):
        raise Misfit(f"{path}.{unknown[0]}", f"one of the keys {', '.join(hints)}", value.get(unknown[0]))
    if missing := [name for name in needed if name not in value]:
        raise Misfit(path, MISSING + ", ".join(missing), value)
    return kind(**{name: read(hints[name], item, f"{path}.{name}") for name, item in value.items()})


def settle(values: Any) -> None:
    """For a frozen dataclass's `__post_init__`: every field is read as its annotation says.

    Raises:
        Misfit: the first field that does not fit.
    """
    for name, hint in _hints(type(values)).items():  # type: ignore[arg-type]
        object.__setattr__(values, name, read(hint, getattr(values, name), name))
