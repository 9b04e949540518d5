"""What the decoders `direct` and `rows` find, as ONNX operators: keypoints, scores, and where they lie in the frame.

Their rules stand in `postprocess/decoders/`; here they are said again, for one picture and any runtime of ONNX.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posert.export.embed.fuse.graph import Graph
from posert.poses import Skeleton
from posert.postprocess.decoders import rows as listed_rows
from posert.postprocess.decoding import MAX_AXES, MAX_ROLES, packed
from posert.runtime.spec import Stage

_LARGEST = np.float32(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class View:
    """Where the network looks.

    Attributes:
        wh: name of f32 [2], width and height of the input, px.
        low, scale: names of f64 [2], by which px of the input become px of the frame; "" = they stay.
    """

    wh: str
    low: str = ""
    scale: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What the network says of one picture: role -> name of its output, f32, and its shape for an input of `wh` px."""

    outputs: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    wh: tuple[int, int]


def can_be_fused(said: Said, stage: Stage, params: Any, skeleton: Skeleton) -> bool:
    """Whether `direct` or `rows` below say what the stage's decoder finds."""
    if stage.decoder == "direct":
        return "keypoints" in said.shapes or said.shapes["people"][1] <= params.max_people
    fixed = 0 not in stage.input.size_wh and stage.input.multiple_of == 0
    if stage.decoder != "rows" or (params.cells and not fixed):
        return False
    layout = _layout(said, params, skeleton)
    few = params.max_iou is None or layout.rows <= params.max_rows
    return bool(few and 0 < layout.parts == len(skeleton.names))


def direct(op: Graph, said: Said, params: Any, skeleton: Skeleton, view: View) -> None:
    """`keypoints` f32 [N,K,3] and `scores` f32 [N]."""
    keypoints = len(skeleton.names)
    if "keypoints" in said.outputs:
        points = op.shaped(said.outputs["keypoints"], 1, keypoints, 3)
        scores = op.shaped(op.ReduceMean(op.columns(points, 2, 3), keepdims=0), 1)
    else:
        rows = op.shaped(said.outputs["people"], -1, 3 * keypoints + 5)
        points = op.shaped(op.columns(rows, 0, 3 * keypoints), -1, keypoints, 3)
        scores = op.shaped(op.columns(rows, 3 * keypoints + 4, 3 * keypoints + 5), -1)
    found = op.at_least(scores, np.float32(params.min_score))
    points, scores = (op.Compress(value, found, axis=0) for value in (points, scores))
    places = op.Mul(op.Gather(points, np.array([1, 0]), axis=2), view.wh)
    _finish(op, places, op.columns(points, 2, 3), scores, view)


def _finish(op: Graph, places: str, own: str, scores: str, view: View) -> None:
    """The graph's outputs from places f32 [N,K,2], px of the input, keypoint scores f32 [N,K,1] and scores f32 [N]."""
    found = _seen(op, places, own)
    if view.scale:
        places = op.floats(op.Add(op.Mul(op.doubles(places), view.scale), view.low))
    op.Where(found, op.Concat(places, own, axis=2), np.float32(0), out="keypoints")
    op.Min(scores, _LARGEST, out="scores")


def _seen(op: Graph, places: str, own: str) -> str:
    """Which keypoints are found, [N,K,1]."""
    finite = op.finite(places)
    both = op.And(op.columns(finite, 0, 1), op.columns(finite, 1, 2))
    return op.And(both, op.And(op.finite(own), op.Greater(own, np.float32(0))))


class _Rows:
    """The quantities of the decoder `rows` as tensors with a row for each of the network's."""

    def __init__(self, op: Graph, said: Said, params: Any, layout: Any, view: View) -> None:
        self.op, self.said, self.params, self.layout, self.view = op, said, params, layout, view
        self._tables: dict[str, str] = {}

    def columns(self, place: Any, count: int) -> str:
        """f32 [P,count], from where the layout says."""
        role = listed_rows.KERNELS.roles[place.role]
        by_rows = place.each == self.layout.rows * place.row
        if role not in self._tables:
            name, width = self.said.outputs[role], place.row if by_rows else place.each // self.layout.rows
            table = self.op.shaped(name, *((-1, width) if by_rows else (width, -1)))
            self._tables[role] = table if by_rows else self.op.Transpose(table, perm=[1, 0])
        first = place.first if by_rows else place.first // place.next
        return self.op.columns(self._tables[role], first, first + count)

    def scores(self) -> str:
        """f32 [P]."""
        op, places = self.op, [self.layout.score, self.layout.objectness]
        values = [op.shaped(self.columns(place, 1), -1) for place in places if place.role >= 0]
        values = [op.Sigmoid(value) for value in values] if self.params.sigmoid_scores else values
        return values[0] if len(values) == 1 else op.Mul(*values)

    def keypoints(self, scores: str) -> tuple[str, str]:
        """Places f32 [P,K,2], px of the input, and their scores f32 [P,K,1]."""
        op, layout = self.op, self.layout
        values = op.shaped(
            self.columns(layout.points, layout.parts * layout.point_size), -1, layout.parts, layout.point_size
        )
        places = op.columns(values, 0, 2)
        places = op.Mul(places, self.view.wh) if self.params.unit == "share" else places
        if self.params.cells:
            places = op.Add(places, self._origins()[:, None])
        if not self.params.keypoint_scores:
            return places, op.Mul(op.shaped(scores, -1, 1, 1), np.ones((1, layout.parts, 1), np.float32))
        own = op.columns(values, 2, 3)
        return places, op.Sigmoid(own) if self.params.sigmoid_keypoints else own

    def boxes(self, places: str, own: str) -> str:
        """f32 [P,4]: left, top, right, bottom px of the input."""
        op, params = self.op, self.params
        if self.layout.box.role < 0:
            return self._boxes_of(places, own)
        values = self.columns(self.layout.box, 4)
        if params.box == "yxyx":
            values = op.Gather(values, np.array([1, 0, 3, 2]), axis=1)
        if params.unit == "share":
            values = op.Mul(values, op.Concat(self.view.wh, self.view.wh, axis=0))
        if params.box == "cxcywh":
            centre, half = op.columns(values, 0, 2), op.Mul(op.columns(values, 2, 4), np.float32(0.5))
            values = op.Concat(op.Sub(centre, half), op.Add(centre, half), axis=1)
        return op.Add(values, np.tile(self._origins(), 2)) if params.cells else values

    def _boxes_of(self, places: str, own: str) -> str:
        """Around the keypoints."""
        op, seen, sides = self.op, _seen(self.op, places, own), []
        for none, extreme in ((np.float32(np.inf), op.Min), (np.float32(-np.inf), op.Max)):
            values = op.Where(seen, places, none)
            each = [op.Slice(values, [k], [k + 1], [1]) for k in range(self.layout.parts)]
            side = op.shaped(extreme(*each), -1, 2)
            sides.append(op.Where(op.finite(side), side, np.float32(0)))
        return op.Concat(*sides, axis=1)

    def _origins(self) -> np.ndarray[Any, Any]:
        """f32 [P,2]: where a row's box and keypoints count from."""
        cells, size = np.array(self.params.cells, np.int64), np.array(self.said.wh)
        return np.array([listed_rows.origin_of(cells, row, size) for row in range(self.layout.rows)], np.float32)


def _layout(said: Said, params: Any, skeleton: Skeleton) -> Any:
    """Where the decoder `rows` finds what it reads."""
    shapes = np.zeros((MAX_ROLES, MAX_AXES), np.int64)
    for number, role in enumerate(listed_rows.KERNELS.roles):
        shapes[number, : len(said.shapes.get(role, ()))] = said.shapes.get(role, ())
    return listed_rows.layout_of(shapes, np.array([*said.wh, len(skeleton.names)]), *packed(skeleton, params))


def rows(op: Graph, said: Said, params: Any, skeleton: Skeleton, view: View) -> None:
    """`keypoints` f32 [N,K,3] and `scores` f32 [N], best first."""
    layout = _layout(said, params, skeleton)
    told = _Rows(op, said, params, layout, view)
    scores = told.scores()
    places, own = told.keypoints(scores)
    boxes = told.boxes(places, own)
    size = op.MatMul(op.Abs(boxes), np.ones((4, 1), np.float32))
    good = op.And(op.at_least(scores, np.float32(params.min_score)), op.Less(scores, np.float32(np.inf)))
    good = op.And(good, op.Less(op.shaped(size, -1), np.float32(np.inf)))
    if layout.label.role >= 0:
        good = op.And(good, op.Equal(op.shaped(told.columns(layout.label, 1), -1), np.float32(params.person)))
    best = _best(op, params, *(op.Compress(value, good, axis=0) for value in (boxes, scores)))
    places, own, scores = (op.Gather(op.Compress(value, good, axis=0), best, axis=0) for value in (places, own, scores))
    _finish(op, places, own, scores, view)


def _best(op: Graph, params: Any, boxes: str, scores: str) -> str:
    """The indices i64 [N] of those that stay, best first."""
    most = 1.0 if params.max_iou is None else params.max_iou  # nobody overlaps more than that
    batch = op.shaped(boxes, 1, -1, 4), op.shaped(scores, 1, 1, -1)
    chosen = op.NonMaxSuppression(*batch, np.array([params.max_people]), np.array([most], np.float32))
    return op.shaped(op.columns(chosen, 2, 3), -1)
