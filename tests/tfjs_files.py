"""Small TensorFlow.js graph models as files. For tests."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"f": "DT_FLOAT", "i": "DT_INT32", "b": "DT_BOOL"}
Row = dict[str, Any]


def attribute(value: Any) -> Row:
    """A value as protobuf's JSON has it."""
    if isinstance(value, list):
        inner = [attribute(one) for one in value]
        return {"list": {key: [one[key] for one in inner] for key in inner[0]} if inner else {}}
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, str) and value.startswith("DT_"):
        return {"type": value}
    return {"i": str(value)} if isinstance(value, int) else {"s": base64.b64encode(value.encode()).decode()}


def node(name: str, op: str, *inputs: str, **attributes: Any) -> Row:
    return {
        "name": name,
        "op": op,
        "input": list(inputs),
        "attr": {key: attribute(value) for key, value in attributes.items()},
    }


def placeholder(name: str, dtype: str, *sides: int) -> Row:
    shape = {"shape": {"dim": [{"size": str(side)} for side in sides]}}
    return {"name": name, "op": "Placeholder", "attr": {"dtype": {"type": dtype}, "shape": shape}}


def write(
    path: Path, nodes: Sequence[Row], constants: dict[str, np.ndarray], outputs: Sequence[str], kind: str = "float32"
) -> Path:
    """The graph as a .json with one shard; floats are stored as `kind`, float16 or uint8 of steps of a quarter."""
    rows, data = [], b""
    for name, value in constants.items():
        row: Row = {"name": name, "shape": list(value.shape), "dtype": value.dtype.name}
        if value.dtype == np.float32 and kind != "float32":
            row["quantization"] = {"dtype": kind} | ({} if kind == "float16" else {"scale": 0.25, "min": -16.0})
            value = value.astype(kind) if kind == "float16" else np.round((value + 16) * 4).astype(kind)
        rows.append(row)
        data += value.tobytes()
    model = {
        "format": "graph-model",
        "modelTopology": {"node": [*nodes, *(node(name, "Const") for name in constants)]},
        "weightsManifest": [{"paths": [f"{path.stem}.bin"], "weights": rows}],
        "signature": {"outputs": {name: {"name": f"{name}:0" if ":" not in name else name} for name in outputs}},
    }
    path.with_suffix(".bin").write_bytes(data)
    path.write_text(json.dumps(model))
    return path
