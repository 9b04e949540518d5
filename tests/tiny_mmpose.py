"""Networks with the signatures of RTMPose's and ViTPose's exports: random weights on the crop, over bells that stay.

`bells` and `noise` weigh the two: (1, 0) is a constant network, (0, 1) one whose random weights decide alone.
"""

import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from posert.poses import Skeleton
from posert.runtime.spec import METADATA_KEY, InputSpec, ModelSpec, Stage, to_json
from posert.skeletons import COCO_17

NOTHING: Mapping[str, Any] = types.MappingProxyType({})
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def crop(input_wh: tuple[int, int]) -> InputSpec:
    """MMPose's crop of a box, as `warpAffine` makes it."""
    return InputSpec("input", "NCHW", "float32", "rgb", input_wh, "boxes", align="origin", mean=MEAN, std=STD)


def places(input_wh: tuple[int, int], keypoints: int, seed: int) -> np.ndarray:
    """f64 [K,2], px of the input, where the bells stand: away from its edges, between pixels."""
    return np.random.default_rng(seed).uniform(0.15, 0.85, (keypoints, 2)) * input_wh


def _bell(size: int, middle: np.ndarray, sigma: float) -> np.ndarray:
    return np.exp(-((np.arange(size) - middle[:, None]) ** 2) / (2 * sigma**2))


def simcc(
    path: Path, input_wh: tuple[int, int], keypoints: int, *, ratio: float = 2.0, seed: int = 0,
    weights: tuple[float, float] = (1, 0.3), **others: Any,
) -> Path:  # fmt: skip
    """`simcc_x` [n,K,W*ratio] and `simcc_y` [n,K,H*ratio]."""
    rng, (bells, noise) = np.random.default_rng(seed), weights
    cells, middle = (input_wh[0] // 8) * (input_wh[1] // 8), places(input_wh, keypoints, seed)
    (nodes, constants), outputs = _convolutions(rng, keypoints, 8), {}
    constants["rows"] = np.array([0, keypoints, -1])
    nodes.append(helper.make_node("Reshape", ["maps", "rows"], ["flat"]))
    for axis, name in enumerate(("simcc_x", "simcc_y")):
        size = int(input_wh[axis] * ratio)
        constants[f"spread_{name}"] = noise * rng.normal(0, cells**-0.5, (cells, size))
        constants[f"bell_{name}"] = bells * _bell(size, middle[:, axis] * ratio, 6.0)[None]
        nodes.append(helper.make_node("MatMul", ["flat", f"spread_{name}"], [f"noise_{name}"]))
        nodes.append(helper.make_node("Add", [f"noise_{name}", f"bell_{name}"], [name]))
        outputs[name] = [keypoints, size]
    return _write(path, nodes, constants, input_wh, outputs, _spec(input_wh, outputs, "simcc", keypoints, **others))


def heatmaps(
    path: Path, input_wh: tuple[int, int], keypoints: int, *, weights: tuple[float, float] = (1, 0.02), seed: int = 0,
    **others: Any,
) -> Path:  # fmt: skip
    """`maps` [n,K,H/4,W/4]."""
    rng, (bells, noise) = np.random.default_rng(seed), weights
    wide, high, middle = input_wh[0] // 4, input_wh[1] // 4, places(input_wh, keypoints, seed) / 4
    nodes, constants = _convolutions(rng, keypoints, 4)
    constants["noise"] = np.array(float(noise))
    constants["bells"] = bells * _bell(high, middle[:, 1], 2.0)[:, :, None] * _bell(wide, middle[:, 0], 2.0)[:, None]
    nodes.append(helper.make_node("Mul", ["maps", "noise"], ["noisy"]))
    nodes.append(helper.make_node("Add", ["noisy", "bells"], ["heatmaps"]))
    outputs = {"heatmaps": [keypoints, high, wide]}
    return _write(path, nodes, constants, input_wh, outputs, _spec(input_wh, outputs, "heatmap", keypoints, **others))


def _convolutions(rng: np.random.Generator, keypoints: int, stride: int) -> tuple[list, dict[str, np.ndarray]]:
    """`maps` [n,K,H/stride,W/stride] of the picture; about 1 large."""
    nodes = [
        helper.make_node("Conv", ["input", "first"], ["edges"], strides=[stride] * 2, kernel_shape=[stride] * 2),
        helper.make_node("Relu", ["edges"], ["features"]),
        helper.make_node("Conv", ["features", "second"], ["maps"], pads=[1] * 4, kernel_shape=[3, 3]),
    ]
    first, second = (8, 3, stride, stride), (keypoints, 8, 3, 3)
    return nodes, {"first": rng.normal(0, 1 / stride, first), "second": rng.normal(0, 1 / 6, second)}


def _spec(
    input_wh: tuple[int, int], outputs: dict, decoder: str, keypoints: int, *, image: Mapping[str, Any] = NOTHING,
    params: Mapping[str, Any] = NOTHING, companion: Path | None = None, suppress: str | None = None,
) -> ModelSpec:  # fmt: skip
    roles = {name: name for name in outputs} if decoder == "simcc" else {"maps": "heatmaps"}
    stages = (Stage("pose", "boxes", replace(crop(input_wh), **image), roles, decoder, dict(params), suppress),)
    if companion is not None:
        import tiny_topdown

        stages = (tiny_topdown.first_stage(companion), *stages)
    points = tuple(f"point_{k}" for k in range(keypoints))
    skeleton = COCO_17 if keypoints == 17 else Skeleton(points, ((0, 1),), (), tuple(range(keypoints))[::-1])
    return ModelSpec(1, "toy", decoder, skeleton, stages)


def _write(
    path: Path, nodes: list, constants: dict[str, np.ndarray], input_wh: tuple[int, int], outputs: dict, spec: ModelSpec
) -> Path:
    graph = helper.make_graph(
        nodes,
        "mmpose",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, *input_wh[::-1]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name, shape in outputs.items()],
        [
            numpy_helper.from_array(value if value.dtype == np.int64 else value.astype(np.float32), name)
            for name, value in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, to_json(spec)
    onnx.save(model, str(path))
    return path
