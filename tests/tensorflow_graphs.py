"""TensorFlow's own answer of a TensorFlow.js graph model, its fused nodes opened again. For tests."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posert.export.readers import tfjs
from posert.export.readers.tensorflow_models import import_tensorflow

PLAIN = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative", "_FusedMatMul": "MatMul"}
OF_FUSED = ("num_args", "epsilon", "fused_ops", "leakyrelu_alpha", "TArgs")


def opened(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A fused node as the plain one and what follows it, the last under the name of all."""
    steps = [base64.b64decode(word).decode() for word in row["attr"]["fused_ops"]["list"]["s"]]
    attributes = {key: value for key, value in row["attr"].items() if key not in OF_FUSED}
    if row["op"] == "_FusedMatMul":
        attributes.pop("use_cudnn_on_gpu", None)
    rows = [{"name": f"{row['name']}/0", "op": PLAIN[row["op"]], "input": row["input"][:2], "attr": attributes}]
    for number, step in enumerate(steps, 1):
        more = row["input"][2:3] if step == "BiasAdd" else []
        last = number == len(steps)
        name = row["name"] if last else f"{row['name']}/{number}"
        inputs = [rows[-1]["name"], *more]
        rows.append({"name": name, "op": step, "input": inputs, "attr": {"T": {"type": "DT_FLOAT"}}})
    return rows


def definition(path: Path) -> Any:
    """The graph in `path` as TensorFlow's `GraphDef`."""
    from google.protobuf import json_format

    tf = import_tensorflow()
    constants, graph = tfjs.read(path).constants, tf.compat.v1.GraphDef()
    for row in json.loads(path.read_text())["modelTopology"]["node"]:
        if row["op"] == "Const":
            value = constants[row["name"]]
            made = graph.node.add(name=row["name"], op="Const")
            made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
            made.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
            continue
        for part in opened(row) if row["op"] in PLAIN else [row]:
            graph.node.append(json_format.ParseDict(part, tf.compat.v1.NodeDef(), ignore_unknown_fields=True))
    return graph


def run(path: Path, feed: str, fetch: Sequence[str], tensor: np.ndarray) -> list[np.ndarray]:
    """The tensors `fetch` of the graph in `path` for `tensor`."""
    pytest.importorskip("tensorflow")
    tf = import_tensorflow()
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition(path), name="")
        with tf.compat.v1.Session(graph=graph) as session:
            names = [name if ":" in name else f"{name}:0" for name in (*fetch, feed)]
            return [np.asarray(value) for value in session.run(names[:-1], {names[-1]: tensor})]
