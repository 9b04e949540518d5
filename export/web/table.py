"""A model as the table that `posert.wasm` opens: numbers, one after the other, as `wasm.c` reads them.

`files/table.mjs` makes the same one from the file's metadata. Owns the order; what it means, `embed/table.py` says.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from posert.export.embed.table import given_numbers, torso_of, wanted_outputs
from posert.postprocess import decoder
from posert.postprocess.decoding import packed
from posert.postprocess.kernels.records import numbers_of
from posert.postprocess.steady import memory_size, sides_of
from posert.runtime.constants import Constant
from posert.runtime.loop import TopDown
from posert.runtime.parts import part_rules
from posert.runtime.session import Model
from posert.runtime.spec import Stage, body_stages, skeleton_of

REGIONS = ("frame", "boxes", "follow", "parts")
TYPES = ("float32", "uint8", "int32", "float16", "int64", "float64")
"""In the order of `posert_type`."""


def model_bytes(model: Model) -> bytes:
    """The table of an open model: float64, little-endian."""
    spec, body = model.spec, body_stages(model.spec)
    found = skeleton_of(spec, body[-1])
    most = max(len(skeleton_of(spec, stage).names) for stage in spec.stages)
    table = _text(spec.model) + _texts(spec.skeleton.names) + _plain(max(most, len(spec.skeleton.names)))
    table += _numbers(torso_of(spec.skeleton)) + _numbers(sides_of(found).ravel())
    table += _numbers(numbers_of(model.follow)) + _plain(memory_size(len(found.names)), len(body), len(spec.stages))
    return table + b"".join(_stage(model, stage) for stage in spec.stages)


def _stage(model: Model, stage: Stage) -> bytes:
    given, outputs = stage.input, wanted_outputs(stage)
    kernels, skeleton = decoder(stage.decoder).KERNELS, skeleton_of(model.spec, stage)
    numbers, lists = packed(skeleton, model.params(stage.name))
    rows = 1 if model.single_row(stage.name) else TopDown().pose_batch
    table = _plain(REGIONS.index(stage.region)) + _text(model.files[stage.name].name) + _text(given.name)
    table += _plain(TYPES.index(given.dtype), given.layout == "NHWC", rows, *given.size_wh)
    table += _numbers(numbers_of(given)) + _plain(stage.max_iou) + _texts(outputs.values())
    table += _numbers([kernels.roles.index(role) for role in outputs]) + _plain(len(skeleton.names))
    table += _text(stage.decoder) + _numbers(numbers) + _numbers(lists)
    table += _numbers([] if stage.turn is None else numbers_of(stage.turn)) + _parts(model, stage)
    constants = model.constants(stage.name)
    table += _plain(len(constants)) + b"".join(map(_constant, constants))
    rule: Sequence[Any] | np.ndarray[Any, Any] = (
        [] if stage.suppress is None else numbers_of(model.suppression_params(stage.name))
    )
    return table + _text(stage.suppress or "") + _numbers(rule)


def _parts(model: Model, stage: Stage) -> bytes:
    if stage.region != "parts":
        return _plain(0) + _numbers([]) + _plain(0) + _numbers([])
    rules = part_rules(stage, model.spec.skeleton)
    each = b"".join(map(_numbers, rules.parts))
    return _plain(len(rules.parts)) + each + _numbers(rules.firsts) + _plain(rules.apart) + _numbers(rules.again)


def _constant(constant: Constant) -> bytes:
    numbers, sides = given_numbers(constant)
    table = _text(constant.name) + _plain(TYPES.index(constant.dtype), constant.per_row) + _numbers(constant.shape)
    return table + _numbers(numbers) + _numbers(sides)


def _plain(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def _numbers(values: Sequence[Any] | np.ndarray[Any, Any]) -> bytes:
    return _plain(len(values), *values)


def _texts(values: Iterable[str]) -> bytes:
    texts = list(values)
    return _plain(len(texts)) + b"".join(map(_text, texts))


def _text(value: str) -> bytes:
    data = value.encode()
    return _plain(len(data)) + data + bytes(-len(data) % 8)
