"""Networks whose outputs are rows, by their signatures, and what they may say.

Shapes are those of the networks' documentation: Ultralytics' (YOLO, YOLO-pose, end to end or not), MMDeploy's (RTMO,
RTMDet), RF-DETR's, YOLO-NAS's, OpenVINO's and TensorFlow's SSD, PaddleDetection's PicoDet, MediaPipe's palm detector.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tiny_maps
from onnx import TensorProto, helper
from tiny_topdown import IMAGE

from posert.poses import Skeleton
from posert.postprocess import decoder_params
from posert.postprocess.decoders.rows import Params
from posert.runtime.spec import Fit, InputSpec, ModelSpec, Stage
from posert.skeletons import COCO_17

Rng = np.random.Generator
Row = dict[str, np.ndarray]
"""Word of `columns` -> its numbers, f32."""
ALL = ["box", "scores", "keypoints"]


@dataclass(frozen=True)
class Network:
    """Shapes by role (without the batch's axis), the input's width and height, parameters, keypoints of a row."""

    shapes: dict[str, tuple[int, ...]]
    wh: tuple[int, int]
    params: dict[str, Any] = field(default_factory=dict)
    keypoints: int = 17

    @property
    def rows(self) -> int:
        """P."""
        return max(max(self.shapes[role]) for role in ("rows", "scores") if role in self.shapes)


DETR = {"columns": ["box"], "box": "cxcywh", "unit": "share", "sigmoid_scores": True}
SHARES = {"unit": "share", "keypoints": 0, "person": 1}
NETWORKS = {
    "yolo-pose": Network({"rows": (56, 2100)}, (320, 320), {"columns": ALL, "box": "cxcywh", "max_iou": 0.7}),
    "yolo-pose-hands": Network(
        {"rows": (47, 2100)},
        (320, 320),
        {"columns": ALL, "box": "cxcywh", "max_iou": 0.7, "keypoint_scores": False},
        21,
    ),
    "yolo-pose-end-to-end": Network(
        {"rows": (300, 57)}, (640, 640), {"columns": ["box", "scores", "label", "keypoints"]}
    ),
    "yolo-pose-objectness": Network(
        {"rows": (1008, 57)},
        (128, 128),
        {"columns": ["box", "objectness", "scores", "keypoints"], "box": "cxcywh", "max_iou": 0.65},
    ),
    "rtmo": Network({"rows": (40, 5), "keypoints": (40, 17, 3)}, (640, 640)),
    "rf-detr-keypoint": Network(
        {"rows": (100, 4), "scores": (100, 91), "keypoints": (100, 17, 8)},
        (576, 576),
        DETR | {"classes": 91, "sigmoid_keypoints": True},
    ),
    "rf-detr-keypoint-background": Network(
        {"rows": (100, 4), "scores": (100, 2), "keypoints": (100, 34, 8)},
        (576, 576),
        DETR | {"classes": 2, "person": 1, "sigmoid_keypoints": True},
    ),
    "queries-without-boxes": Network(
        {"scores": (60, 2), "keypoints": (60, 34)}, (640, 640), DETR | {"classes": 2, "keypoint_scores": False}
    ),
    "yolo-nas-pose": Network(
        {"rows": (1000, 4), "scores": (1000,), "keypoints": (1000, 17, 3)}, (640, 640), {"columns": ["box"]}
    ),
    "yolo": Network(
        {"rows": (84, 2100)},
        (320, 320),
        {"columns": ["box", "scores"], "box": "cxcywh", "classes": 80, "max_iou": 0.7, "keypoints": 0},
        0,
    ),
    "yolo-end-to-end": Network(
        {"rows": (300, 6)}, (640, 640), {"columns": ["box", "scores", "label"], "keypoints": 0}, 0
    ),
    "rtmdet": Network({"rows": (100, 5), "labels": (100,)}, (640, 640), {"keypoints": 0}, 0),
    "rf-detr": Network(
        {"rows": (300, 4), "scores": (300, 91)}, (560, 560), DETR | {"classes": 91, "person": 1, "keypoints": 0}, 0
    ),
    "openvino-ssd": Network(
        {"rows": (1, 200, 7)}, (544, 320), SHARES | {"columns": ["skip", "label", "scores", "box"]}, 0
    ),
    "tensorflow-ssd": Network(
        {"rows": (100, 4), "scores": (100,), "labels": (100,)},
        (300, 300),
        SHARES | {"columns": ["box"], "box": "yxyx"},
        0,
    ),
    "picodet": Network(
        {"rows": (2125, 4), "scores": (80, 2125)},
        (320, 320),
        {"columns": ["box"], "classes": 80, "max_iou": 0.6, "keypoints": 0},
        0,
    ),
    "palms": Network(
        {"rows": (2016, 18), "scores": (2016, 1)},
        (192, 192),
        {
            "columns": ["box", "keypoints"], "box": "cxcywh", "sigmoid_scores": True, "keypoints": 7,
            "keypoint_scores": False, "cells": [[8, 2], [16, 6]], "max_iou": 0.3,
        },
        7,
    ),
}  # fmt: skip


def skeleton(count: int) -> Skeleton:
    """COCO's, or keypoints without a meaning."""
    return COCO_17 if count == 17 else Skeleton(tuple(f"k{i}" for i in range(count)), ())


def some_rows(rng: Rng, p: Params, count: int, rows: int, wh: tuple[int, int], odd: float = 0.02) -> list[Row]:
    """What each row says of `count` keypoints: boxes that overlap, equal scores, and, of `odd` of them, odd numbers."""
    size = 1 if p.unit == "share" else max(wh)
    made = []
    for _ in range(rows):
        middle, half = rng.uniform(0, size, 2), rng.uniform(0.1, 0.4, 2) * size
        ends = {"xyxy": [middle - half, middle + half], "cxcywh": [middle, 2 * half]}
        ends["yxyx"] = [end[::-1] for end in ends["xyxy"]]
        values = {"box": np.concatenate(ends[p.box]), "label": rng.integers(0, 3, 1) * 1.0, "skip": rng.normal(0, 9, 1)}
        for word, many in (("scores", p.classes), ("objectness", 1)):
            values[word] = rng.normal(0, 2, many) if p.sigmoid_scores else rng.integers(1, 9, many) / 8
        points = rng.uniform(-0.1, 1.1, (count, 2 + p.keypoint_scores))
        points[:, :2] *= size
        points[:, 2:] = rng.normal(0, 2, points[:, 2:].shape) if p.sigmoid_keypoints else points[:, 2:]
        values["keypoints"] = points
        for array in values.values():
            array[rng.random(array.shape) < odd] = rng.choice([np.nan, np.inf, -np.inf, 0])
        made.append({word: value.astype(np.float32) for word, value in values.items()})
    return made


def said(rng: Rng, rows: list[Row], p: Params, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The same as a network with outputs of these shapes (without the batch's axis) says it."""

    def stacked(*words: str) -> np.ndarray:
        return np.array([np.concatenate([row[word].ravel() for word in words]) for row in rows], np.float32)

    words = {"rows": p.columns, "scores": ("scores",), "labels": ("label",), "keypoints": ("keypoints",)}
    made = {}
    for role, shape in shapes.items():
        values = stacked(*words[role])
        if role == "keypoints" and len(shape) == 3:
            made[role] = rng.normal(0, 1, shape).astype(np.float32)  # of other classes, and more of each than is read
            points = np.array([row["keypoints"] for row in rows])
            first = p.person * points.shape[1] if shape[1] > points.shape[1] else 0
            made[role][:, first : first + points.shape[1], : points.shape[2]] = points
        else:
            made[role] = values.T if values.shape != shape and values.T.shape == shape else values.reshape(shape)
    return made


def model(
    path: Path,
    name: str,
    *,
    fit: Fit = "corner",
    params: dict[str, Any] | None = None,
    odd: float = 0.02,
    **given: Any,
) -> Path:
    """A network of this signature that says some rows, a little stronger with the picture.

    params: over the network's. odd: see `some_rows`. given: of its input.
    """
    network, rng = NETWORKS[name], np.random.default_rng(0)
    p = decoder_params("rows", network.params)
    rows = some_rows(rng, p, network.keypoints, network.rows, network.wh, odd)
    rows[20:] = [row | {"scores": np.full_like(row["scores"], -9)} for row in rows[20:]]
    count = 0 if network.params.get("keypoints") == 0 else network.keypoints
    image = InputSpec("image", "NCHW", "float32", **{"color": "bgr", "size_wh": network.wh, "fit": fit} | given)
    stage = Stage(
        "pose", "frame", image, {role: role for role in network.shapes}, "rows", network.params | (params or {})
    )
    spec = ModelSpec(1, "toy", name, skeleton(count), (stage,))
    size = 1.0 if p.unit == "share" else max(network.wh)
    moves = {"box": size, "keypoints": size, "scores": 1.0, "objectness": 1.0, "label": 0.0, "skip": 1.0}
    strengths = {word: np.full_like(values, moves[word]) for word, values in rows[0].items()}
    moving = said(rng, [strengths] * len(rows), p, network.shapes)
    outputs = said(rng, rows, p, network.shapes)
    return tiny_maps.shown(path, outputs, spec, gain=1.0, moving=moving, strength="ReduceMax")


def labelled(path: Path) -> Path:
    """A detector with suppression inside, RTMDet's signature, labels in whole numbers: of four boxes one is a chair,
    and one is faint."""
    dets = np.array([[0, 0, 32, 32, 0.9], [30, 30, 62, 64, 0.8], [8, 8, 40, 40, 0.7], [9, 9, 20, 20, 0.2]], np.float32)
    outputs = {"dets": dets, "labels": np.array([0, 0, 56, 0], np.float32)}
    stage = Stage("detector", "frame", IMAGE, {"rows": "dets", "labels": "labels"}, "rows", {"keypoints": 0})
    spec = ModelSpec(1, "toy", "boxes", Skeleton((), ()), (stage,))
    moving = {"dets": np.full((4, 5), 1e3), "labels": np.zeros(4)}
    tiny_maps.shown(path, outputs, spec, gain=1.0, moving=moving)
    made = onnx.load(path)
    made.graph.node[-1].output[0] = "numbers"
    made.graph.node.append(helper.make_node("Cast", ["numbers"], ["labels"], to=TensorProto.INT64))
    made.graph.output[-1].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(made, path)
    return path
