"""Networks of the signatures of the ready-made rows of `models.lock`: they always say the same. For tests."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from posert.export import weights
from posert.export.weights import Entry

RNG = np.random.default_rng(3)


def _constant_network(path: Path, wh: tuple[int, int], outputs: dict[str, np.ndarray]) -> Path:
    """Each output is its value, for every row of the input [batch,3,h,w]."""
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    nodes.append(helper.make_node("Mul", ["mean", "none"], ["nothing"]))
    constants, ends = {"none": np.float32(0)}, []
    for name, value in outputs.items():
        constants |= {
            f"{name}_shape": np.array([-1] + [1] * (value.ndim - 1)),
            f"{name}_value": value.astype(np.float32),
        }
        made = name if value.dtype != np.int64 else f"{name}_float"
        nodes.append(helper.make_node("Reshape", ["nothing", f"{name}_shape"], [f"{name}_row"]))
        nodes.append(helper.make_node("Add", [f"{name}_row", f"{name}_value"], [made]))
        if made != name:
            nodes.append(helper.make_node("Cast", [made], [name], to=TensorProto.INT64))
        kind = TensorProto.INT64 if made != name else TensorProto.FLOAT
        ends.append(helper.make_tensor_value_info(name, kind, ["batch", *value.shape[1:]]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, wh[1], wh[0]])
    numbers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "made", [image], ends, numbers)
    opset = [helper.make_opsetid("", 11)]  # as MMDeploy writes
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=6), str(path))
    return path


def _peaks(shape: tuple[int, ...]) -> np.ndarray:
    return RNG.uniform(0.1, 0.9, shape).astype(np.float32)


def write(folder: Path, entry: Entry, keypoints: int) -> Path:
    """A network for the recipe of `entry`: one person, or one box of nearly the whole input."""
    stage: dict[str, Any] = weights.recipe(entry)["stage"]
    wide, high = stage["input"]["size_wh"]
    box = np.float32([[[0.1 * wide, 0.1 * high, 0.9 * wide, 0.9 * high, 0.9], [0, 0, 5, 5, 0.01]]])
    points = np.concatenate([_peaks((1, 2, keypoints, 2)) * (wide, high), _peaks((1, 2, keypoints, 1))], -1)
    queries = np.full((1, 3, 91), -9, np.float32)
    queries[0, 1, 0], queries[0, 2, 5] = 3, 3  # a person, and something else
    cells = np.zeros((1, 5 + 3 * keypoints, (wide * high * 21) // 1024), np.float32)
    cells[0, :4, 7] = wide / 2, high / 2, wide / 2, high / 2
    cells[0, 4, 7], cells[0, 5:, 7] = 0.9, 0.5
    outputs: dict[str, dict[str, np.ndarray]] = {
        "rtmpose": {"simcc_x": _peaks((1, keypoints, 2 * wide)), "simcc_y": _peaks((1, keypoints, 2 * high))},
        "rtmo": {"dets": box, "keypoints": points},
        "yolox-humanart": {"dets": box, "labels": np.zeros((1, 2), np.int64)},
        "rtmdet": {"dets": box, "labels": np.zeros((1, 2), np.int64)},
        "vitpose": {"heat": _peaks((1, keypoints, high // 4, wide // 4))},
        "tinypose": {"heat": _peaks((1, keypoints, high // 4, wide // 4))},
        "yolo-pose": {"output0": cells},
        "rf-detr": {"dets": _peaks((1, 3, 4)), "labels": queries, "keypoints": _peaks((1, 3, keypoints, 8))},
    }
    return _constant_network(folder / entry.file, (wide, high), outputs[entry.recipe])
