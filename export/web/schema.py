"""What the browser reads model files by: the records of their metadata and of all parameters, as JSON.

Owns how annotations look there; `files/typed.mjs` reads by them, as `posert.typed` does here. Knows no record by name
but where the reading begins.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import posert
from posert.postprocess import decoder, names, suppression_rule
from posert.postprocess.following import FollowOptions
from posert.postprocess.steady import memory_size
from posert.runtime.loop import TopDown
from posert.runtime.options import DETECTED
from posert.runtime.spec import FORMAT, METADATA_KEY, METADATA_LIMIT_BYTES, NEWEST_FORMAT, ModelSpec
from posert.typed import Range

Json = dict[str, Any]


def schema() -> Json:
    """Every record, decoder and rule that the browser needs, and the numbers that stand in our Python alone."""
    records: dict[str, list[Json]] = {}
    _record(ModelSpec, records)
    decoders: Json = {}
    for name in names("decoders"):
        kernels = decoder(name).KERNELS
        params = _fields(decoder(name).Params, records)
        decoders[name] = {"params": params, "roles": kernels.roles, "boxes_only": kernels.boxes_only}
    rules = {name: _fields(suppression_rule(name).Params, records) for name in names("suppression")}
    memory = memory_size(0)
    return {
        "version": posert.__version__, "key": METADATA_KEY, "limit": METADATA_LIMIT_BYTES,
        "format": FORMAT, "newest_format": NEWEST_FORMAT, "records": records, "decoders": decoders, "rules": rules,
        "follow": _fields(FollowOptions, records), "memory": [memory, memory_size(1) - memory],
        "pose_batch": TopDown().pose_batch, "detected": DETECTED,
    }  # fmt: skip


def _record(kind: Any, records: dict[str, list[Json]]) -> Json:
    name = kind.__name__
    if name not in records:
        records[name] = []  # it may name itself
        records[name] = _fields(kind, records)
    return {"record": name}


def _fields(kind: Any, records: dict[str, list[Json]]) -> list[Json]:
    """Name and kind of each field in order, and what it is if nobody says."""
    hints, found = typing.get_type_hints(kind, include_extras=True), []
    for field in dataclasses.fields(kind):
        one: Json = {"name": field.name, "kind": _kind(hints[field.name], records)}
        if field.default is not dataclasses.MISSING:
            one["default"] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            one["default"] = field.default_factory()
        found.append(one)
    return found


def _kind(hint: Any, records: dict[str, list[Json]]) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return "any"
    if hint in (int, float, bool, str):
        return hint.__name__
    if origin is Annotated:
        return {"number": args[0].__name__, "range": _range(args[1]), "said": str(args[1])}
    if dataclasses.is_dataclass(hint):
        return _record(hint, records)
    if origin is Literal:
        return {"words": args}
    if origin in (types.UnionType, typing.Union):
        if types.NoneType in args:
            (rest,) = (one for one in args if one is not types.NoneType)
            return {"optional": _kind(rest, records)}
        return {"either": [_kind(one, records) for one in args]}
    if origin is tuple and args[-1] is Ellipsis:
        return {"list": _kind(args[0], records)}
    if origin is tuple:
        return {"tuple": [_kind(one, records) for one in args]}
    if origin is Mapping:
        return {"map": _kind(args[1], records)}
    raise TypeError(f"no browser reads {hint}")


def _range(given: Range) -> Json:
    return {name: end for name, end in dataclasses.asdict(given).items() if math.isfinite(end)}
