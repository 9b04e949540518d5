"""Decoder `rows`: the network itself lists what it found, a row each, with box, scores and keypoints in some order.

Roles: `rows` f32 [R,P,C] or [R,C,P], whose C columns `Params.columns` names; and what the network gives apart from it:
`scores` [R,P], [R,P,S] or [R,S,P] of S classes, `labels` [R,P], `keypoints` [R,P,K,2 or more] or [R,P,K*(2 or 3)], or
m times as many, for m classes. One-shot networks of people, and with `keypoints` 0 detectors of whatever classes; with
or without suppression inside. People come best first; all scores are the network's, 0..1.
"""

import math
from collections import namedtuple
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from posert.postprocess.decoding import FIRST_LIST, HEIGHT, KEYPOINTS, WIDTH, DecoderKernels
from posert.postprocess.geometry import box_nms, box_of_keypoints, strongest
from posert.postprocess.kernels.records import index_of, reader
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.sort import sort_descending
from posert.postprocess.kernels.workspace import listed, listed_pairs, take
from posert.typed import Count, Index, Misfit, Range, Share, settle

_PROBLEMS = (
    "it needs rows, or scores and keypoints",
    "rows must be [R,P,C] or [R,C,P], with the columns, classes and keypoints that the parameters say",
    "scores must be given once, in a column or apart as [R,P], [R,P,S] or [R,S,P] of S classes",
    "labels must be given at most once, in a column or apart as [R,P]",
    "keypoints must be given once, in columns or apart as [R,P,K,2 or more] or [R,P,K*(2 or 3)]",
    "the cells must make as many rows as there are",
    "there are more than 2^24 rows, or the input is too large",
)
_MOST_ROWS, _MOST_POINTS, _MAX_SIDE = 1 << 24, 1 << 16, 1 << 16
_ROWS, _SCORES, _LABELS, _KEYPOINTS = range(4)  # roles
_ZERO, _HALF = np.float32(0.0), np.float32(0.5)
Column = Literal["box", "objectness", "scores", "label", "keypoints", "skip"]
merge = None


@dataclass(frozen=True, slots=True)
class Params:
    """What a row says, and which rows are people; the defaults are MMDeploy's rows with suppression inside.

    Attributes:
        columns: the columns of `rows`, in order: `box` (4), `objectness` (what scores are multiplied with), `scores`
            (one of each class), `label` (the number of the class), `keypoints` (x, y and perhaps a score of each),
            `skip` (one that says nothing). Without `box` it is that of the keypoints.
        box: left, top, right, bottom; or top, left, bottom, right; or centre, width and height.
        unit: of boxes and keypoints: pixels or shares of the input's sides.
        classes: how many classes have a score. person: the one that counts, by its score or, where there are labels, by
            its label, whatever the scores of the others.
        keypoints: how many a row has; none = those of the skeleton. A detector before another stage says 0, or how many
            it finds.
        keypoint_scores: each keypoint has a score; else it is that of the row.
        sigmoid_scores, sigmoid_keypoints: the scores are their sigmoid.
        cells: pairs: for all cells of so many px of the input, line by line, so many rows each; boxes and keypoints
            count from the centre of the row's cell. None: they are places in the input.
        min_score: rows with less are left out.
        max_iou: two boxes that overlap more are one; none = whoever overlaps.
        max_rows: at most so many boxes are compared, the strongest, equal ones all or none; bounds time.
        max_people: at most so many of a frame, the best.
    """

    columns: tuple[Column, ...] = ("box", "scores")
    box: Literal["xyxy", "yxyx", "cxcywh"] = "xyxy"
    unit: Literal["px", "share"] = "px"
    classes: Count = 1
    person: Index = 0
    keypoints: Annotated[int, Range(0, _MOST_POINTS)] | None = None
    keypoint_scores: bool = True
    sigmoid_scores: bool = False
    sigmoid_keypoints: bool = False
    cells: tuple[tuple[Count, Count], ...] = ()
    min_score: Share = 0.3
    max_iou: Share | None = None
    max_rows: Count = 16384
    max_people: Count = 1024

    def __post_init__(self) -> None:
        settle(self)
        named = [word for word in self.columns if word != "skip"]
        if len(set(named)) < len(named):
            raise Misfit("columns", "each word but skip at most once", self.columns)
        if 1 < self.classes <= self.person:
            raise Misfit("person", f"from 0 to {self.classes - 1}, one of the classes", self.person)


_params = reader(Params)
_BOX, _OBJECTNESS, _SCORE, _LABEL, _POINTS = range(5)  # words of `columns`
_YXYX, _CXCYWH = index_of(Params, "box", "yxyx"), index_of(Params, "box", "cxcywh")
_SHARE, _CELLS = index_of(Params, "unit", "share"), FIRST_LIST + 1

_Place = namedtuple("_Place", "role each first row next")
"""Where values lie: the role, -1 if nowhere; elements of a row of the batch; the first value; steps to those of the
next row and to the next of the same row."""
_Layout = namedtuple("_Layout", "rows parts box objectness score label points point_size")
"""What shapes and parameters say: P, or -1; K of a row; the `_Place` of each thing; elements of a keypoint."""
_Found = namedtuple("_Found", "boxes alive order points")
"""Rows that may be people: boxes f32 [P,6]: left, top, right, bottom px, score, row; alive and order, see `box_nms`;
points f32 [K,3], room for the keypoints of one."""


@jit
def _take_found(workspace, layout):
    boxes, at = take(workspace, 0, (layout.rows, 6), np.float32)
    alive, at = take(workspace, at, (layout.rows,), np.uint8)
    order, at = take(workspace, at, (layout.rows,), np.int32)
    points, at = take(workspace, at, (layout.parts, 3), np.float32)
    return _Found(boxes, alive, order, points), at


@jit
def _column(columns, word, classes, points):
    """The first column of a word, -1 if it is not there; how many columns there are for the word -1."""
    at = 0
    for i in range(columns.shape[0]):
        if columns[i] == word:
            return at
        if columns[i] == _BOX:
            at += 4
        elif columns[i] == _SCORE:
            at += classes
        else:
            at += points if columns[i] == _POINTS else 1
    return at if word < 0 else -1


@jit
def _axes(shape):
    """The two axes of [R,A,B], and of [R,1,A,B]; 0 is one that is not there, -1, -1 stands for other shapes."""
    if shape[3] == 0:
        return shape[1], shape[2]
    return (shape[2], shape[3]) if shape[1] == 1 and shape[4] == 0 else (-1, -1)


@jit
def _place(shape, role, rows, count, at):
    """The `_Place` of column `at` in an array of `rows` rows and `count` columns, or of columns and rows."""
    first, second = _axes(shape)
    inside = 0 <= at < count
    if inside and first == rows and (second == count or (second == 0 and count == 1)):
        return _Place(role, rows * count, at, count, 1)
    if inside and first == count and second == rows:
        return _Place(role, rows * count, at * rows, 1, rows)
    return _Place(-1, 0, 0, 0, 0)


@jit
def _place_of_points(shape, rows, parts, size, person):
    """The `_Place` of keypoints apart from `rows`, and the elements of one."""
    size = shape[3] if shape[3] > size else size
    each = shape[2] * max(1, shape[3])
    sets = each // (parts * size)
    chosen = person if sets > 1 else 0
    if shape[1] != rows or shape[4] != 0 or each != sets * parts * size or not 0 <= chosen < sets:
        return _Place(-1, 0, 0, 0, 0), size
    return _Place(_KEYPOINTS, rows * each, chosen * parts * size, each, 1), size


@jit
def layout_of(shapes, size, numbers, table):
    """The `_Layout` of outputs of these shapes; the arguments: see `DecoderKernels`."""
    params = _params(numbers)
    parts = size[KEYPOINTS] if math.isnan(params.keypoints) else int(min(max(params.keypoints, 0), _MOST_POINTS))
    point_size, chosen = 3 if params.keypoint_scores else 2, params.person if params.classes > 1 else 0
    columns, classes, points = listed(table, FIRST_LIST), params.classes, parts * point_size
    count, given = _column(columns, -1, classes, points), shapes[_ROWS]
    first, second = _axes(given)
    rows = first if second == count else (second if first == count else -1)
    if given[0] == 0:
        rows, columns = shapes[_KEYPOINTS, 1], columns[:0]
    box = _place(given, _ROWS, rows, count, _column(columns, _BOX, classes, points))
    objectness = _place(given, _ROWS, rows, count, _column(columns, _OBJECTNESS, classes, points))
    label = _place(given, _ROWS, rows, count, _column(columns, _LABEL, classes, points))
    if shapes[_LABELS, 0] > 0:
        label = _place(shapes[_LABELS], _LABELS, rows, 1, 0)
    scores = _column(columns, _SCORE, classes, points)
    score = _place(given, _ROWS, rows, count, scores if scores < 0 else scores + chosen)
    if shapes[_SCORES, 0] > 0:
        score = _place(shapes[_SCORES], _SCORES, rows, classes, chosen)
    keypoints = _place(given, _ROWS, rows, count, _column(columns, _POINTS, classes, points))
    if shapes[_KEYPOINTS, 0] > 0 and parts > 0:
        keypoints, point_size = _place_of_points(shapes[_KEYPOINTS], rows, parts, point_size, params.person)
    return _Layout(rows, parts, box, objectness, score, label, keypoints, point_size)


@jit
def _problem(layout, shapes, size, cells):
    """0, or what is wrong."""
    if layout.rows < 0:
        return -2
    if layout.box.role < 0 and (layout.parts == 0 or layout.points.role < 0):
        return -1 if shapes[_KEYPOINTS, 0] == 0 else -5
    if layout.score.role < 0:
        return -3
    if layout.label.role < 0 and shapes[_LABELS, 0] > 0:
        return -4
    if layout.points.role < 0 and layout.parts > 0:
        return -5
    if not (0 < size[WIDTH] <= _MAX_SIDE and 0 < size[HEIGHT] <= _MAX_SIDE and layout.rows <= _MOST_ROWS):
        return -7
    made = 0
    for level in range(cells.shape[0]):
        if min(cells[level, 0], cells[level, 1]) < 1:
            return -6
        made += _across(size[WIDTH], cells[level, 0]) * _across(size[HEIGHT], cells[level, 0]) * cells[level, 1]
    return -6 if cells.shape[0] > 0 and made != layout.rows else 0


@jit
def _across(side, stride):
    """Cells of so many px that a side of the input has, the last one perhaps in part."""
    return (side + stride - 1) // stride


def rows_workspace(shapes, size, numbers, table, needs):
    """0, or a problem; needs: the rows that may be people, and at most so many. See `DecoderKernels`."""
    params = _params(numbers)
    layout = layout_of(shapes, size, numbers, table)
    problem = _problem(layout, shapes, size, listed_pairs(table, _CELLS))
    if problem == 0:
        _, needs[0] = _take_found(needs[:0], layout)
        needs[1] = min(layout.rows, params.max_people)
    return problem


@jit
def _at(outputs, place, batch, row, i):
    """Value i of a row, f32."""
    index = batch * place.each + place.first + row * place.row + i * place.next
    if place.role == _ROWS:
        return outputs[0][index]
    if place.role == _SCORES:
        return outputs[1][index]
    return outputs[2][index] if place.role == _LABELS else outputs[3][index]


@jit
def _sigmoid(value):
    """In double precision, in which the systems' exp() differ by less than float32 shows."""
    return np.float32(1.0 / (1.0 + math.exp(-np.float64(value))))


@jit
def _score(outputs, layout, params, batch, row):
    """The score of a row, -1 for one of another class."""
    if layout.label.role >= 0 and _at(outputs, layout.label, batch, row, 0) != params.person:
        return np.float32(-1.0)
    score = _at(outputs, layout.score, batch, row, 0)
    factor = np.float32(1.0) if layout.objectness.role < 0 else _at(outputs, layout.objectness, batch, row, 0)
    if params.sigmoid_scores:
        score = _sigmoid(score)
        factor = _sigmoid(factor) if layout.objectness.role >= 0 else factor
    return score * factor


@jit
def origin_of(cells, row, size):
    """x, y px from which a row's box and keypoints count."""
    for level in range(cells.shape[0]):
        wide, high = _across(size[WIDTH], cells[level, 0]), _across(size[HEIGHT], cells[level, 0])
        if row < wide * high * cells[level, 1]:
            line, column = row // cells[level, 1] // wide, row // cells[level, 1] % wide
            return np.float32((column + 0.5) * size[WIDTH] / wide), np.float32((line + 0.5) * size[HEIGHT] / high)
        row -= wide * high * cells[level, 1]
    return _ZERO, _ZERO


@jit
def _units(params, size):
    """Width and height px of what the network calls 1."""
    if params.unit == _SHARE:
        return np.float32(size[WIDTH]), np.float32(size[HEIGHT])
    return np.float32(1.0), np.float32(1.0)


@jit
def _take_box(outputs, layout, params, size, cells, batch, row, box):
    """box f32 [4]: left, top, right, bottom px of a row."""
    (wide, high), (x, y) = _units(params, size), origin_of(cells, row, size)
    swapped = 1 if params.box == _YXYX else 0
    for side in range(4):
        value = _at(outputs, layout.box, batch, row, side ^ swapped)
        box[side] = value * (wide if side % 2 == 0 else high)
    if params.box == _CXCYWH:
        half_wide, half_high = box[2] * _HALF, box[3] * _HALF
        box[2], box[3] = box[0] + half_wide, box[1] + half_high
        box[0], box[1] = box[0] - half_wide, box[1] - half_high
    box[0], box[1], box[2], box[3] = box[0] + x, box[1] + y, box[2] + x, box[3] + y


@jit
def _take_points(outputs, layout, params, size, cells, batch, row, score, points):
    """points f32 [K,3]: x, y px, score of a row's keypoints, 0 where one is not found or the row has no more."""
    (wide, high), (x_0, y_0) = _units(params, size), origin_of(cells, row, size)
    for k in range(points.shape[0]):
        points[k, :] = _ZERO
        if k >= layout.parts:
            continue
        first, own = k * layout.point_size, score
        x = x_0 + _at(outputs, layout.points, batch, row, first) * wide
        y = y_0 + _at(outputs, layout.points, batch, row, first + 1) * high
        if params.keypoint_scores:
            own = _at(outputs, layout.points, batch, row, first + 2)
            own = _sigmoid(own) if params.sigmoid_keypoints else own
        if math.isfinite(x) and math.isfinite(y) and math.isfinite(own) and own > 0:
            points[k, 0], points[k, 1], points[k, 2] = x, y, own


@jit
def _gather(outputs, layout, params, size, cells, batch, found):
    """The number of rows of this class and score, their boxes in `found`; what is not finite is nobody."""
    count, least = 0, np.float32(params.min_score)
    for row in range(layout.rows):
        score = _score(outputs, layout, params, batch, row)
        if not least <= score < np.inf:
            continue
        box = found.boxes[count]
        if layout.box.role >= 0:
            _take_box(outputs, layout, params, size, cells, batch, row, box)
        else:
            _take_points(outputs, layout, params, size, cells, batch, row, score, found.points)
            box_of_keypoints(found.points, box)
        box[4], box[5] = score, np.float32(row)
        count += abs(box[0]) + abs(box[1]) + abs(box[2]) + abs(box[3]) < np.inf
    return count


@jit
def _select(found, count, params):
    """How many of the first `count` rows are people; `found.order` begins with them, best first."""
    if math.isnan(params.max_iou):
        sort_descending(found.boxes[:, 4], found.order, count)
    else:
        count = strongest(found.boxes, count, params.max_rows)
        count = box_nms(found.boxes, count, np.float32(params.max_iou), 0.0, 0, found.alive, found.order)
    return min(count, params.max_people)


def rows_people(
    rows, class_scores, labels, points, shapes, size, numbers, table, workspace, counts, keypoints, scores, boxes
):
    """The people of all rows of the batch. See `DecoderKernels`."""
    params, outputs, total = _params(numbers), (rows, class_scores, labels, points), 0
    layout, cells = layout_of(shapes, size, numbers, table), listed_pairs(table, _CELLS)
    found, _ = _take_found(workspace, layout)
    for batch in range(counts.shape[0]):
        count = _gather(outputs, layout, params, size, cells, batch, found)
        counts[batch] = _select(found, count, params)
        for i in range(counts[batch]):
            box, score = found.boxes[found.order[i]], found.boxes[found.order[i], 4]
            for side in range(4):
                boxes[total, side] = box[side]
            scores[total] = score
            _take_points(outputs, layout, params, size, cells, batch, int(box[5]), score, keypoints[total])
            total += 1
    return total


KERNELS = DecoderKernels.of(("rows", "scores", "labels", "keypoints"), _PROBLEMS, rows_workspace, rows_people)
decode = KERNELS.decode
