"""Decoder `detect`: boxes around people, and no keypoints (K = 0). The first half of a top-down model.

Roles: `grid_rows` f32 [R,P,5+C] (YOLOX: x, y, log width, log height in cells of the strides 8, 16, 32 one after the
other, then objectness and C class scores, 0..1); or `head8`, `head16`, `head32` f32 [R,3*(5+C),H,W] (YOLOv3: the raw
heads, three anchors each).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Float32Array, Poses, Skeleton
from posert.postprocess import nms
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, jit, kernel

_STRIDES = (8, 16, 32)
# Darknet's anchors, width and height px, smallest first (parity 1.2.3); three for each of _STRIDES.
ANCHORS = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)


@dataclass(frozen=True, slots=True)
class Params:
    """Which rows are people; the defaults are AlphaPose's.

    Attributes:
        min_score: rows with less are left out: objectness for YOLOv3 heads (more than this), objectness x class score
            for YOLOX rows (at least this).
        max_iou: two boxes that overlap more are one.
        crowd, crowd_max_iou: with more than `crowd` boxes in a frame, `crowd_max_iou` is used instead (YOLOv3 heads).
        classes: number of classes the network must have.
        person: index of the class of people.
    """

    min_score: float = 0.1
    max_iou: float = 0.6
    crowd: int = 100
    crowd_max_iou: float = 0.55
    classes: int = 80
    person: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.person < self.classes:
            raise ValueError(f"person {self.person} is not within 0..{self.classes - 1}")


def decode(
    outputs: Mapping[str, NDArray[Any]], skeleton: Skeleton, params: Params, input_wh: tuple[int, int]
) -> list[Poses]:
    """The boxes of each row of the batch, best first, in pixels of the network input; keypoints f32 [N,0,3].

    Args:
        outputs: `grid_rows`, or the three heads, as above.
        skeleton: not used; people have no keypoints yet.
        params: see `Params`.
        input_wh: width and height of the network input, px.

    Scores are the objectness, 0..1.

    Raises:
        PosertError: roles are missing, or the network has other classes or another input size.
    """
    if "grid_rows" in outputs:
        rows = np.ascontiguousarray(outputs["grid_rows"], np.float32)
        _check_rows(rows, params, input_wh)
        return [_from_rows(row, params, input_wh) for row in rows]
    heads = [outputs.get(f"head{stride}") for stride in _STRIDES]
    if any(head is None for head in heads):
        raise PosertError(
            f"the decoder detect needs grid_rows, or head8, head16 and head32; the model gives {', '.join(outputs)}"
        )
    arrays = [np.ascontiguousarray(head, np.float32) for head in heads]
    for head, stride in zip(arrays, _STRIDES, strict=True):
        _check_head(head, stride, params, input_wh)
    return [_from_heads([head[row] for head in arrays], params) for row in range(len(arrays[0]))]


def _check_rows(rows: Float32Array, params: Params, input_wh: tuple[int, int]) -> None:
    cells = sum((input_wh[0] // stride) * (input_wh[1] // stride) for stride in _STRIDES)
    if rows.ndim == 3 and rows.shape[2] != 5 + params.classes:
        raise _wrong_classes(rows.shape[2] - 5, params)
    if rows.ndim != 3 or rows.shape[1] != cells:
        raise _misfit("grid_rows", rows, f"[R,{cells},{5 + params.classes}]")


def _check_head(head: Float32Array, stride: int, params: Params, input_wh: tuple[int, int]) -> None:
    width, height = input_wh[0] // stride, input_wh[1] // stride
    if head.ndim == 4 and head.shape[1] != 3 * (5 + params.classes):
        raise _wrong_classes(head.shape[1] // 3 - 5, params)
    if head.ndim != 4 or head.shape[2:] != (height, width):
        raise _misfit(f"head{stride}", head, f"[R,{3 * (5 + params.classes)},{height},{width}]")


def _wrong_classes(found: int, params: Params) -> PosertError:
    return PosertError(
        f"the detector knows {found} classes, expected {params.classes} with people as number {params.person}",
        "give a detector trained on COCO's 80 classes, or boxes of your own with `boxes`",
    )


def _misfit(role: str, rows: NDArray[Any], expected: str) -> PosertError:
    return PosertError(f"the output {role} has shape {list(rows.shape)}, expected {expected}", "export the model again")


def _from_rows(rows: Float32Array, params: Params, input_wh: tuple[int, int]) -> Poses:
    found = np.empty((len(rows), 6), np.float32)
    count = yolox_boxes(rows, *input_wh, params.min_score, params.person, found)
    return _poses(found, _kept(found, count, params.max_iou, 0.0, inclusive=False))


def _from_heads(heads: list[Float32Array], params: Params) -> Poses:
    found = np.empty((sum(3 * head.shape[1] * head.shape[2] for head in heads), 6), np.float32)
    anchors = np.array(ANCHORS, np.float32).reshape(3, 6)
    count = 0
    for scale in (2, 1, 0):  # the coarse grid first
        count = yolov3_boxes(
            heads[scale], _STRIDES[scale], anchors[scale], params.min_score, params.person, found, count
        )
    picks = _kept(found, count, params.max_iou, 1.0, inclusive=True)
    if len(picks) > params.crowd:
        picks = _kept(found, count, params.crowd_max_iou, 1.0, inclusive=True)
    return _poses(found, picks)


def _kept(found: Float32Array, count: int, max_iou: float, extra_px: float, *, inclusive: bool) -> NDArray[np.int64]:
    alive, picks = np.empty(count, np.uint8), np.empty(count, np.int64)
    return picks[: nms.box_nms(found, count, max_iou, extra_px, int(inclusive), alive, picks)]


def _poses(found: Float32Array, picks: NDArray[np.int64]) -> Poses:
    return Poses(np.zeros((len(picks), 0, 3), np.float32), found[picks, 5], found[picks, :4])


@jit
def _write(found, at, x, y, width, height, key, score):
    half = np.float32(0.5)
    found[at, 0], found[at, 1] = x - width * half, y - height * half
    found[at, 2], found[at, 3] = x + width * half, y + height * half
    found[at, 4], found[at, 5] = key, score


@kernel
def yolox_boxes(rows: F32x2, width: int, height: int, min_score: float, person: int, found: F32x2) -> int:
    """Number of people; found f32 [P,6] gets left, top, right, bottom px, the score to sort by, and the objectness."""
    count = start = 0
    for scale in range(3):
        stride = 8 << scale
        columns = width // stride
        cells = columns * (height // stride)
        for cell in range(cells):
            row = rows[start + cell]
            if not row[4] >= min_score:
                continue
            product = row[4] * row[5 + person]
            others = row[5]
            best = 0
            for c in range(1, row.shape[0] - 5):
                if row[5 + c] > others:
                    others, best = row[5 + c], c
            if best != person or not product >= min_score:
                continue
            size = np.float32(stride)
            x = (row[0] + np.float32(cell % columns)) * size
            y = (row[1] + np.float32(cell // columns)) * size
            _write(found, count, x, y, math.exp(row[2]) * size, math.exp(row[3]) * size, product, row[4])
            count += 1
        start += cells
    return count


@jit
def _sigmoid(value):
    one = np.float32(1)
    return one / (one + math.exp(-value))


@kernel
def yolov3_boxes(
    head: F32x3, stride: int, anchors: F32x1, min_score: float, person: int, found: F32x2, count: int
) -> int:
    """`count` and the people of one head, f32 [3*(5+C),H,W]; found is written from row `count` on, as `yolox_boxes`.

    anchors f32 [6]: width and height px of the three anchors.
    """
    channels = head.shape[0] // 3
    size = np.float32(stride)
    for line in range(head.shape[1]):
        for column in range(head.shape[2]):
            for anchor in range(3):
                first = anchor * channels
                score = _sigmoid(head[first + 4, line, column])
                if not score > min_score:
                    continue
                best = 0
                for c in range(1, channels - 5):
                    if head[first + 5 + c, line, column] > head[first + 5 + best, line, column]:
                        best = c
                if best != person or _sigmoid(head[first + 5 + person, line, column]) == 0:
                    continue
                x = (_sigmoid(head[first, line, column]) + np.float32(column)) * size
                y = (_sigmoid(head[first + 1, line, column]) + np.float32(line)) * size
                width = math.exp(head[first + 2, line, column]) * (anchors[2 * anchor] / size) * size
                height = math.exp(head[first + 3, line, column]) * (anchors[2 * anchor + 1] / size) * size
                _write(found, count, x, y, width, height, score, score)
                count += 1
    return count
