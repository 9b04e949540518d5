"""Decoder `detect`: boxes around people, and no keypoints (K = 0). The first half of a top-down model.

Roles: `grid_rows` f32 [R,P,5+C] (YOLOX: x, y, log width, log height in cells of the strides 8, 16, 32 one after the
other, then objectness and C class scores, 0..1); or `head8`, `head16`, `head32` f32 [R,3*(5+C),H,W] (YOLOv3: the raw
heads, three anchors each). The boxes of a row come best first, with the objectness, 0..1, as their scores.
"""

import math
from collections import namedtuple
from dataclasses import dataclass

import numpy as np

from posert.postprocess.decoding import HEIGHT, WIDTH, DecoderKernels
from posert.postprocess.geometry import box_nms, strongest
from posert.postprocess.kernels.records import reader
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.workspace import of_axis, shaped, take
from posert.typed import Count, Index, Misfit, settle

_PROBLEMS = (
    "it needs grid_rows, or head8, head16 and head32",
    "it knows other classes than the parameters say: give a detector of COCO's 80 classes, or boxes of your own",
    "grid_rows must be [R,P,5+C] with a row for each cell of 8, 16 and 32 px",
    "head8, head16 and head32 must be [R,3*(5+C),H,W] with the cells of 8, 16 and 32 px",
    "the class of people must be one of the classes",
    "the input is too large",
)
# Darknet's anchors, width and height px, smallest first (docs/parity.md 1.2.3); three for each stride: 8, 16, 32.
_ANCHORS = np.array([10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326], np.float32)
_MAX_SIDE, _MAX_BYTES = 1 << 16, 1 << 31  # of the input, px; of a workspace
merge = None


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
        max_boxes: at most so many boxes are compared, the strongest, equal ones all or none; bounds time.
    """

    min_score: float = 0.1
    max_iou: float = 0.6
    crowd: int = 100
    crowd_max_iou: float = 0.55
    classes: Count = 80
    person: Index = 0
    max_boxes: Count = 16384

    def __post_init__(self) -> None:
        settle(self)
        if self.person >= self.classes:
            raise Misfit("person", f"from 0 to {self.classes - 1}, one of the classes", self.person)


_params = reader(Params)

_Found = namedtuple("_Found", "boxes alive order")
"""What may be people: boxes f32 [P,6]: left, top, right, bottom px, the score to sort by, the person's score; alive u8
[P] and order i32 [P], see `box_nms`."""


@jit
def _take_found(workspace, count):
    boxes, at = take(workspace, 0, (count, 6), np.float32)
    alive, at = take(workspace, at, (count,), np.uint8)
    order, at = take(workspace, at, (count,), np.int32)
    return _Found(boxes, alive, order), at


@jit
def _rows_or_heads(shapes, channels, size):
    """How many boxes there may be in a row of the batch, or a problem."""
    cells = 0
    for scale in range(3):
        cells += (size[WIDTH] // (8 << scale)) * (size[HEIGHT] // (8 << scale))
    if shapes[0, 0] > 0 or shapes[0, 2] > 0:
        three_axes = shapes[0, 2] > 0 and shapes[0, 3] == 0
        if shapes[0, 1] != cells or not three_axes or max(shapes[1, 0], shapes[2, 0], shapes[3, 0]) > shapes[0, 0]:
            return -3
        return cells if shapes[0, 2] == channels else -2
    for scale in range(3):
        if shapes[1 + scale, 1] == 0:
            return -1
        if shapes[1 + scale, 1] != 3 * channels:
            return -2
        height, width = size[HEIGHT] // (8 << scale), size[WIDTH] // (8 << scale)
        if shapes[1 + scale, 2] != height or shapes[1 + scale, 3] != width or shapes[1 + scale, 4] != 0:
            return -4
        if shapes[1 + scale, 0] != shapes[1, 0]:
            return -4
    return 3 * cells


def detect_workspace(shapes, size, numbers, table, needs):
    """0, or a problem. See `DecoderKernels`."""
    params = _params(numbers)
    if not 0 <= params.person < params.classes:
        return -5
    if not (0 < size[WIDTH] <= _MAX_SIDE and 0 < size[HEIGHT] <= _MAX_SIDE):
        return -6
    most = _rows_or_heads(shapes, 5 + params.classes, size)
    if most < 0:
        return most
    _, needs[0] = _take_found(needs[:0], most)
    needs[1] = most
    return -6 if needs[0] > _MAX_BYTES else 0


@jit
def _write(found, at, x, y, width, height, key, score):
    half = np.float32(0.5)
    found[at, 0], found[at, 1] = x - width * half, y - height * half
    found[at, 2], found[at, 3] = x + width * half, y + height * half
    found[at, 4], found[at, 5] = key, score


@jit
def yolox_boxes(rows, width, height, min_score, person, found):
    """Number of people among rows f32 [P,5+C]; found f32 [P,6] gets their boxes, products and objectness."""
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


@jit
def yolov3_boxes(head, scale, min_score, person, found, count):
    """`count` and the people of one head, f32 [3*(5+C),H,W]; found is written from row `count` on, as `yolox_boxes`."""
    channels = head.shape[0] // 3
    size = np.float32(8 << scale)
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
                width = math.exp(head[first + 2, line, column]) * (_ANCHORS[6 * scale + 2 * anchor] / size) * size
                height = math.exp(head[first + 3, line, column]) * (_ANCHORS[6 * scale + 2 * anchor + 1] / size) * size
                _write(found, count, x, y, width, height, score, score)
                count += 1
    return count


@jit
def _from_heads(heads, shapes, row, params, found):
    """The number of people in one row of the three heads, flat f32; the coarse grid comes first."""
    boxes, count = found.boxes, 0
    for scale in range(2, -1, -1):
        channels, height, width = shapes[1 + scale, 1], shapes[1 + scale, 2], shapes[1 + scale, 3]
        head = shaped(of_axis(heads, scale), row * channels * height * width, (channels, height, width))
        count = yolov3_boxes(head, scale, params.min_score, params.person, boxes, count)
    count = strongest(boxes, count, params.max_boxes)
    kept = box_nms(boxes, count, params.max_iou, 1.0, 1, found.alive, found.order)
    if kept > params.crowd:
        kept = box_nms(boxes, count, params.crowd_max_iou, 1.0, 1, found.alive, found.order)
    return kept


@jit
def _from_rows(grid_rows, shapes, row, size, params, found):
    """The number of people in one row of the batch of grid_rows, flat f32."""
    cells, channels = shapes[0, 1], shapes[0, 2]
    grid = shaped(grid_rows, row * cells * channels, (cells, channels))
    count = yolox_boxes(grid, size[WIDTH], size[HEIGHT], params.min_score, params.person, found.boxes)
    count = strongest(found.boxes, count, params.max_boxes)
    return box_nms(found.boxes, count, params.max_iou, 0.0, 0, found.alive, found.order)


def detect_people(
    grid_rows, head8, head16, head32, shapes, size, numbers, table, workspace, counts, keypoints, scores, boxes
):
    """The boxes of all rows; keypoints are left as they are. See `DecoderKernels`."""
    params, total = _params(numbers), 0
    found, _ = _take_found(workspace, _rows_or_heads(shapes, 5 + params.classes, size))
    for row in range(counts.shape[0]):
        if shapes[0, 2] > 0:
            counts[row] = _from_rows(grid_rows, shapes, row, size, params, found)
        else:
            counts[row] = _from_heads((head8, head16, head32), shapes, row, params, found)
        for i in range(counts[row]):
            for side in range(4):
                boxes[total + i, side] = found.boxes[found.order[i], side]
            scores[total + i] = found.boxes[found.order[i], 5]
        total += counts[row]
    return total


KERNELS = DecoderKernels.of(
    ("grid_rows", "head8", "head16", "head32"), _PROBLEMS, detect_workspace, detect_people, boxes_only=True
)
decode = KERNELS.decode
