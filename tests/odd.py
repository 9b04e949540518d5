"""Random inputs that are nearly right, for fuzz targets: JSON, bytes, arrays and parameters with odd values."""

import dataclasses
import json
import typing
from typing import Any

import numpy as np

NUMBERS = (0, -1, 1, 2, 0.5, -0.0, 1e-300, 1e308, 2**31, 2**63, 10**400, float("nan"), float("inf"), float("-inf"))
VALUES = (*NUMBERS, "", "a", "\x1b[2J", "\u202e", "../x", "x" * 300, None, True, False, [], {}, [[]], [None], {"": 0})
HARD = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0, 1, 0.5, -1], np.float32)
Random = np.random.Generator


def pick(rng: Random, values: typing.Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def document(rng: Random, value: Any, chance: float = 0.04) -> Any:
    """A copy of parsed JSON with odd values here and there, entries lost, doubled or renamed."""
    if rng.random() < chance:
        return pick(rng, VALUES)
    if isinstance(value, dict):
        items = [(key, document(rng, item, chance)) for key, item in value.items() if rng.random() > chance / 4]
        if rng.random() < chance / 4:
            items.append((pick(rng, ("", "surprise", "\x1b", *value)), pick(rng, VALUES)))
        return dict(items)
    if isinstance(value, list | tuple):
        items = [document(rng, item, chance) for item in value[:200] if rng.random() > chance / 8]
        return items * int(rng.integers(2, 5)) if rng.random() < chance / 8 else items
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < chance:
        return pick(rng, NUMBERS)
    return value


def spoilt(rng: Random, data: bytes) -> bytes:
    """The bytes, mostly with some turned, cut, doubled or put in."""
    out, kind = bytearray(data), int(rng.integers(6))
    for _ in range(int(rng.integers(1, 6)) if kind and out else 0):
        at = int(rng.integers(len(out))) if out else 0
        if kind == 1:
            out[at : at + 1] = bytes([int(rng.integers(256))])
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            out[at:at] = out[: int(rng.integers(1, 40))]
        elif kind == 4:
            del out[at : at + int(rng.integers(1, 20))]
        else:
            out[at:at] = pick(rng, (b"{", b"[" * 2000, b"\x00", b"\xff\xfe", b"1" * 5000, b'"', b"\n", b"NaN", b"-"))
    return bytes(out)


def text_of(rng: Random, value: Any, chance: float = 0.04) -> bytes:
    """JSON of a spoilt document, now and then spoilt again as bytes."""
    data = json.dumps(document(rng, value, chance)).encode()
    return spoilt(rng, data) if rng.random() < 5 * chance else data


def maps(rng: Random, *shape: int) -> np.ndarray:
    """f32: noise of some strength, a constant or small whole numbers, some of it no numbers."""
    kind = int(rng.integers(5))
    if kind == 0:
        values = np.full(shape, pick(rng, HARD), np.float32)
    elif kind == 1:
        values = rng.integers(-1, 4, shape).astype(np.float32)
    else:
        values = (rng.random(shape, np.float32) - np.float32(0.3)) * np.float32(pick(rng, (1, 1, 3, 30, 1e6)))
    values = np.atleast_1d(values) if not shape else values
    if rng.random() < 0.4:
        values[rng.random(values.shape) < 0.05] = pick(rng, HARD)
    return values


def params(rng: Random, kind: Any) -> dict[str, Any]:
    """Some fields of a `Params`, with values that fit their type and may be out of range."""
    hints, given = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        if rng.random() > 0.3:
            continue
        hint = hints[field.name]
        if typing.get_origin(hint) is typing.Literal:
            given[field.name] = pick(rng, typing.get_args(hint))
        elif hint is bool:
            given[field.name] = bool(rng.integers(2))
        elif hint is int:
            given[field.name] = int(pick(rng, (0, 1, 2, 3, 5, 7, 20, -1, 100, rng.integers(-5, 600))))
        elif typing.get_origin(hint) is not tuple:
            given[field.name] = float(pick(rng, (0, 0.001, 0.3, 0.5, 1, -1, rng.normal(), rng.normal(0, 30))))
    return given
