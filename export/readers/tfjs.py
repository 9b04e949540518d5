"""A TensorFlow.js graph model (model.json and its shards) as nodes and numbers. Knows the format, no operation.

The format: github.com/tensorflow/tfjs, tfjs-core/src/io/types.ts (the JSON) and weights_loader (the shards).
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError

_MOST_JSON, _MOST_WEIGHTS = 1 << 25, 1 << 30  # bytes
_TYPES = {"float32": "<f4", "int32": "<i4", "bool": "|b1", "float16": "<f2", "uint8": "|u1", "uint16": "<u2"}
_AGAIN = "give the model.json of a TensorFlow.js graph model, with its shards beside it"


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: `inputs` are tensors, `name` or `name:1`, ...; attributes are numbers, text, or lists of them."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TfGraph:
    """Nodes in an order in which they can run, the values of the constants, and the tensors that are the outputs."""

    nodes: Sequence[Node]
    constants: Mapping[str, NDArray[Any]]
    outputs: Sequence[str]


def read(path: Path) -> TfGraph:
    """What the graph model `path` (its .json) computes its outputs from; its shards lie beside it.

    Raises:
        PosertError: it is no graph model, or the shards are missing or do not hold what it says.
    """
    try:
        if path.stat().st_size > _MOST_JSON:
            raise PosertError(f"{path} has more than {_MOST_JSON} bytes", _AGAIN)
        model = json.loads(path.read_bytes())
        nodes = {node.name: node for node in map(_node, model["modelTopology"]["node"])}
        outputs = [_tensor(end["name"]) for end in model["signature"]["outputs"].values()]
        order = _in_order(nodes, outputs)
        return TfGraph(order, _weights(model["weightsManifest"], path.parent), outputs)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise PosertError(f"{path} is no TensorFlow.js graph model that can be read: {reason}", _AGAIN) from None


def _tensor(name: str) -> str:
    """The one way to write a tensor: the first output of a node is the node."""
    return _text(name).removesuffix(":0")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _node(row: Mapping[str, Any]) -> Node:
    inputs = tuple(_tensor(name) for name in row.get("input", ()) if not name.startswith("^"))
    return Node(
        _text(row["name"]), _text(row["op"]), inputs, {key: _plain(value) for key, value in row.get("attr", {}).items()}
    )


def _plain(value: Mapping[str, Any]) -> Any:
    """An attribute: protobuf's JSON, where whole numbers are text and text is base64."""
    ((kind, held),) = value.items()
    if kind == "list":
        return [_plain({inner: one}) for inner, many in held.items() for one in many]
    if kind == "s":
        return base64.b64decode(held).decode("utf-8", "replace")
    return int(held) if kind == "i" else held


def _in_order(nodes: Mapping[str, Node], outputs: Sequence[str]) -> list[Node]:
    """The nodes that the outputs need, each after those it takes from."""
    sorter, open_ends, seen = TopologicalSorter[str](), [name.partition(":")[0] for name in outputs], set[str]()
    while open_ends:
        name = open_ends.pop()
        if name in seen:
            continue
        seen.add(name)
        makers = [tensor.partition(":")[0] for tensor in nodes[name].inputs]
        sorter.add(name, *makers)
        open_ends += makers
    try:
        return [nodes[name] for name in sorter.static_order()]
    except CycleError as error:
        raise ValueError(f"its nodes go round: {', '.join(error.args[1][:3])}") from None


def _weights(manifest: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, NDArray[Any]]:
    """Name -> value of every constant, float32, int32 or bool."""
    found = {}
    for group in manifest:
        data, at = b"".join(_shard(folder, name) for name in group["paths"]), 0
        for row in group["weights"]:
            shape, quantised = tuple(row["shape"]), row.get("quantization", {})
            kind = np.dtype(_TYPES[quantised.get("dtype", row["dtype"])])
            count = math.prod(shape)
            if min(shape, default=0) < 0 or at + count * kind.itemsize > len(data):
                raise ValueError(f"the shards have {len(data)} bytes, too few for {row['name']}")
            value = np.frombuffer(data, kind, count, at).reshape(shape)
            at += count * kind.itemsize
            if "scale" in quantised:
                value = value.astype("f4") * np.float32(quantised["scale"]) + np.float32(quantised["min"])
            found[_text(row["name"])] = value.astype(_TYPES[row["dtype"]])
        if at != len(data):
            raise ValueError(f"the shards have {len(data)} bytes, the .json speaks of {at}")
    return found


def _shard(folder: Path, name: str) -> bytes:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file beside it")
    path = folder / name
    if path.stat().st_size > _MOST_WEIGHTS:
        raise ValueError(f"{name} has more than {_MOST_WEIGHTS} bytes")
    return path.read_bytes()
