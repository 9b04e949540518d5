"""A network whose outputs are given maps, a little brighter with the picture: for whole decoders without weights."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from posert.runtime.spec import METADATA_KEY, ModelSpec, to_json


def shown(
    path: Path,
    maps: dict[str, np.ndarray],
    spec: ModelSpec,
    *,
    seed: int = 0,
    gain: float = 0.9,
    moving: dict[str, np.ndarray] | None = None,
    strength: str = "ReduceMean",
) -> Path:
    """A model with these outputs (f32, without a batch axis), times `gain` plus a pattern as strong as the picture's
    mean, or what else `strength` reduces it to, the pattern times `moving`.

    The spec's only stage names the outputs as the roles and has a float NCHW input of a fixed size.
    """
    rng, stage = np.random.default_rng(seed), spec.stages[0]
    wide, high = stage.input.size_wh
    nodes = [helper.make_node(strength, [stage.input.name], ["mean"], axes=[1, 2, 3], keepdims=0)]
    constants, outputs = [], []
    for role, values in maps.items():
        pattern = rng.uniform(0, 2e-4, values.shape) * (1 if moving is None else moving[role])
        for name, array in {"fixed": values[None] * np.float32(gain), "pattern": pattern[None]}.items():
            constants.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), f"{name}_{role}"))
        axes = np.arange(1, values.ndim + 1)
        constants.append(numpy_helper.from_array(axes, f"axes_{role}"))
        nodes += [
            helper.make_node("Unsqueeze", ["mean", f"axes_{role}"], [f"mean_{role}"]),
            helper.make_node("Mul", [f"mean_{role}", f"pattern_{role}"], [f"change_{role}"]),
            helper.make_node("Add", [f"change_{role}", f"fixed_{role}"], [role]),
        ]
        outputs.append(helper.make_tensor_value_info(role, TensorProto.FLOAT, ["n", *values.shape]))
    image = helper.make_tensor_value_info(stage.input.name, TensorProto.FLOAT, ["n", 3, high, wide])
    graph = helper.make_graph(nodes, "shown", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, to_json(spec)
    onnx.save(model, str(path))
    return path
