"""Networks as users bring them: no metadata, the signature of some family, an answer that says where the light is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def network(
    path: Path,
    nodes: Sequence[Any],
    constants: dict[str, Any],
    inputs: dict[str, tuple[Any, ...]],
    outputs: dict[str, tuple[Any, ...]],
    *,
    opset: int = 17,
    kinds: dict[str, int] | None = None,
) -> Path:
    """An ONNX file of these nodes; inputs, outputs: name -> shape, f32 but for `kinds`."""

    def values(shapes: dict[str, tuple[Any, ...]]) -> list[Any]:
        return [helper.make_tensor_value_info(n, (kinds or {}).get(n, FLOAT), shape) for n, shape in shapes.items()]

    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "own", values(inputs), values(outputs), weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


def constant(path: Path, shape: Sequence[Any], outputs: dict[str, np.ndarray], *, image: str = "image") -> Path:
    """One input f32 of this shape; the outputs are these arrays, [1,...], whatever the picture."""
    nodes, constants = [helper.make_node("ReduceMean", [image], ["mean"], keepdims=0)], {"nothing": np.float32(0)}
    nodes.append(helper.make_node("Mul", ["mean", "nothing"], ["zero"]))
    for name, array in outputs.items():
        constants[f"{name}_fixed"] = np.asarray(array, np.float32)
        nodes.append(helper.make_node("Add", [f"{name}_fixed", "zero"], [name]))
    shapes = {name: tuple(array.shape) for name, array in outputs.items()}
    return network(path, nodes, constants, {image: tuple(shape)}, shapes)


def brightest_cells(path: Path, *, last: bool = False, parts: int = 2, extra: bool = False) -> Path:
    """Top-down, 24 x 32 px: `parts` maps [N,K,8,6] of the brightness, the later ones fainter; `last`: [N,8,6,K].

    extra: a second output before it, `coarse`, of the same shape, all 0.
    """
    trust = np.linspace(1, 0.5, parts, dtype=np.float32).reshape(1, parts, 1, 1)
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["cells", "trust"], ["inner"]),
        helper.make_node("Transpose", ["inner"], ["heat"], perm=[0, 2, 3, 1])
        if last
        else helper.make_node("Identity", ["inner"], ["heat"]),
        helper.make_node("Sub", ["heat", "heat"], ["coarse"]),
    ]
    shape = ("n", 8, 6, parts) if last else ("n", parts, 8, 6)
    outputs = {"coarse": shape, "heat": shape} if extra else {"heat": shape}
    return network(path, nodes if extra else nodes[:-1], {"trust": trust}, {"image": ("n", 3, 32, 24)}, outputs)
