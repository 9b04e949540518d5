"""Draws people on pictures: limbs, keypoints, boxes, labels, names of keypoints, trails. Knows pixels and skeletons,
nothing of models and files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypedDict, Unpack

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, PartMap, Poses, Result, Skeleton
from posert.runtime.files.map_pictures import draw_maps
from posert.runtime.files.palettes import WHITE, Color, Palette, PaletteName, color_of_person, fine_points, palette_of
from posert.typed import Range, Share, settle

Picture = NDArray[np.uint8]
_Size = Annotated[float, Range(0, 1000)]
_SUBPIXEL_BITS = 4
_FAR = 1e6  # px; what is further away is outside all the same, and 32 bits would not hold it
_DARK: Color = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """What is drawn of people, and how. Lengths grow with the picture: they are px of one whose longer side is 1000 px.

    Attributes:
        threshold: of a keypoint's score; what has less is not drawn, nor what was not found.
        palette: colours of limbs and keypoints: `limbs`, each limb its own hue and white keypoints; `openpose`, the
            parts, limbs and colours of OpenPose, for any skeleton with a whole body; `coco`, left green, right orange,
            the middle blue, as MMPose draws COCO; `people`, one colour a person.
        line_width: of limbs. radius: of keypoints; None = a pixel more than a limb is wide, 0 = none.
        boxes: around people.
        ids: at the people, where they have some, in white and of one size.
        labels: ids and scores instead, with a dark edge, and as large as the picture is.
        names, numbers: of keypoints, beside them.
        background: the `picture`, or everything else `black` or `white`.
        alpha: of all that is drawn; the rest of 1 is the background.
        maps: of the network, above the picture: `heatmap:nose`, `paf:neck-nose`, of all `heatmap:all`, `paf:all`; they
            must be in the results, see `estimate`.
        trails: the way of every person in the last so many seconds; needs ids.

    Raises:
        Misfit: a `PosertError` that names the first field with a wrong value.
    """

    threshold: Annotated[float, Range(-1e9, 1e9)] = 0.0
    palette: PaletteName = "limbs"
    line_width: _Size = 4.0
    radius: _Size | None = None
    boxes: bool = False
    ids: bool = True
    labels: bool = False
    names: bool = False
    numbers: bool = False
    background: Literal["picture", "black", "white"] = "picture"
    alpha: Share = 1.0
    trails: Annotated[float, Range(0, 3600)] = 0.0
    maps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        settle(self)


class DrawChanges(TypedDict, total=False):
    """The fields of `DrawOptions` as keywords; any of them."""

    threshold: float
    palette: PaletteName
    line_width: float
    radius: float | None
    boxes: bool
    ids: bool
    labels: bool
    names: bool
    numbers: bool
    background: Literal["picture", "black", "white"]
    alpha: float
    trails: float
    maps: tuple[str, ...]


def draw(
    bgr: Picture, poses: Poses, skeleton: Skeleton, options: DrawOptions | None = None, **changes: Unpack[DrawChanges]
) -> Picture:
    """A copy of a picture u8 [H,W,3] (BGR) with people on it.

    Args:
        poses: in px of the picture. skeleton: of their keypoints (`model.spec.skeleton`).
        options: None = `DrawOptions()`. changes: fields of `DrawOptions`, over `options`: `draw(..., boxes=True)`.

    Raises:
        PosertError: a wrong option; `trails` or `maps`, which poses alone have not (`drawer` has).

    >>> from posert.poses import no_poses
    >>> from posert.skeletons import COCO_17
    >>> draw(np.full((4, 4, 3), 9, np.uint8), no_poses(17), COCO_17, background="black").max()
    np.uint8(0)
    """
    chosen = replace(options or DrawOptions(), **changes)
    if chosen.trails or chosen.maps:
        raise PosertError("poses alone have neither `trails` nor `maps`", "draw results with drawer")
    return _drawn(bgr, poses, palette_of(skeleton, chosen.palette), chosen)


def drawer(
    skeleton: Skeleton, options: DrawOptions | None = None, **changes: Unpack[DrawChanges]
) -> Callable[[Frame, Result], Picture]:
    """A function that draws one frame of a source after the other, `trails` too; arguments as in `draw`."""
    chosen = replace(options or DrawOptions(), **changes)
    palette, trails = palette_of(skeleton, chosen.palette), _Trails(skeleton, chosen.trails)

    def drawn(frame: Frame, result: Result) -> Picture:
        ways = trails(result) if chosen.trails else []
        maps = [one for one in result.maps if one.asked in chosen.maps]
        return _drawn(frame.bgr, result.poses, palette, chosen, ways, maps)

    return drawn


_Way = tuple[Color, NDArray[np.float64]]
"""A colour, and places f64 [n,2] px, the oldest first."""


class _Trails:
    """The ways of people with ids, of the last seconds."""

    def __init__(self, skeleton: Skeleton, seconds: float) -> None:
        hips = [k for k, name in enumerate(skeleton.names) if name in ("left_hip", "right_hip")]
        self._hips, self._seconds = hips if len(hips) == 2 else [], seconds
        self._ways: dict[int, list[tuple[float, float, float]]] = {}

    def __call__(self, result: Result) -> list[_Way]:
        poses, now = result.poses, result.time_s
        if poses.ids is None:
            if len(poses):
                raise PosertError("`trails` follow people by their ids", "add `track`")
            return []
        for person, key in enumerate(poses.ids.tolist()):
            self._ways.setdefault(key, []).append((now, *self._place(poses, person)))
        since = now - self._seconds
        kept = {key: [step for step in way if since <= step[0] <= now] for key, way in self._ways.items()}
        self._ways = {key: way for key, way in kept.items() if way}
        return [(color_of_person(key), np.array(way)[:, 1:]) for key, way in self._ways.items()]

    def _place(self, poses: Poses, person: int) -> tuple[float, float]:
        """The middle of the hips, else of the box, px."""
        hips = poses.keypoints[person, self._hips]
        if len(hips) and (hips[:, 2] > 0).all():
            x, y = hips[:, :2].mean(axis=0).tolist()
        else:
            x, y = poses.boxes_xyxy[person].reshape(2, 2).mean(axis=0).tolist()
        return x, y


@dataclass(frozen=True, slots=True)
class _Pen:
    """Widths for one size of pictures, px; `text`: OpenCV's factor of its font's size; `white`, and the
    `edge` of letters: the other way round on white."""

    line: int
    radius: int
    box: int
    text: float
    white: Color
    edge: Color

    @staticmethod
    def of(canvas: Picture, options: DrawOptions) -> "_Pen":
        longer = max(canvas.shape[:2])
        line = max(1, round(longer * options.line_width / 1000))
        radius = line + 1 if options.radius is None else round(longer * options.radius / 1000)
        white, edge = (_DARK, WHITE) if options.background == "white" else (WHITE, _DARK)
        return _Pen(line, radius, max(1, round(longer * 0.002)), max(0.4, longer * 0.0008), white, edge)

    def ink(self, color: Color) -> Color:
        return self.white if color == WHITE else color


def _drawn(
    bgr: Picture,
    poses: Poses,
    palette: Palette,
    options: DrawOptions,
    ways: Sequence[_Way] = (),
    maps: Sequence[PartMap] = (),
) -> Picture:
    canvas = np.ascontiguousarray(bgr).copy()
    if options.background != "picture":
        canvas[:] = 0 if options.background == "black" else 255
    empty = canvas.copy() if options.alpha < 1 else canvas
    pen = _Pen.of(canvas, options)
    draw_maps(canvas, maps)
    _draw_ways(canvas, ways, pen)
    placed, people = palette.keypoints(poses.keypoints), range(len(poses))
    keys = [person + 1 for person in people] if poses.ids is None else poses.ids.tolist()
    for person in people:
        _person(canvas, placed[person], palette, options, pen, color_of_person(keys[person]))
        if options.boxes:
            one, other = map(_at, poses.boxes_xyxy[person].reshape(2, 2))
            cv2.rectangle(canvas, one, other, color_of_person(keys[person]), pen.box, cv2.LINE_AA, _SUBPIXEL_BITS)
        if options.ids and poses.ids is not None and not options.labels:
            x, y = np.clip(poses.boxes_xyxy[person, :2], -_FAR, _FAR).round().astype(int).tolist()
            cv2.putText(canvas, str(keys[person]), (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.8, pen.white, 2)
    if options.labels:  # above everybody
        for person in people:
            words = [str(keys[person])] if options.ids and poses.ids is not None else []
            left, top = poses.boxes_xyxy[person, :2] - (0, 2 * pen.box)
            text = " ".join([*words, f"{poses.scores[person]:.2f}"])
            _text(canvas, text, left, top, pen.text, pen, color_of_person(keys[person]))
    if options.alpha < 1:
        cv2.addWeighted(canvas, options.alpha, empty, 1 - options.alpha, 0, canvas)
    return canvas


def _draw_ways(canvas: Picture, ways: Sequence[_Way], pen: _Pen) -> None:
    """The older, the thinner."""
    for color, way in ways:
        for one, other, share in zip(way, way[1:], np.linspace(0, 1, len(way))[1:], strict=False):
            cv2.line(canvas, _at(one), _at(other), color, max(1, round(pen.line * share)), cv2.LINE_AA, _SUBPIXEL_BITS)


def _person(
    canvas: Picture, points: NDArray[np.floating], palette: Palette, options: DrawOptions, pen: _Pen, own: Color
) -> None:
    skeleton = palette.skeleton
    shown = (points[:, 2] > 0) & (points[:, 2] >= options.threshold)
    fine = fine_points(skeleton)
    thin = _thinner(pen, points, [edge for edge in skeleton.edges if fine.issuperset(edge) and shown[list(edge)].all()])
    for limb, (a, b) in enumerate(skeleton.edges):
        if shown[a] and shown[b] and options.line_width:
            color = own if palette.limbs is None else palette.limbs[limb]
            line = thin.line if a in fine and b in fine else pen.line
            cv2.line(canvas, _at(points[a]), _at(points[b]), pen.ink(color), line, cv2.LINE_AA, _SUBPIXEL_BITS)
    for k in np.flatnonzero(shown).tolist() if pen.radius else ():
        color = own if palette.points is None else palette.points[k]
        radius = thin.radius if k in fine else pen.radius
        cv2.circle(canvas, _at(points[k]), radius << _SUBPIXEL_BITS, pen.ink(color), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    if not (options.names or options.numbers):
        return
    for k in np.flatnonzero(shown).tolist():
        words = [str(k)] * options.numbers + [skeleton.names[k]] * options.names
        x, y = points[k, :2] + (pen.radius + 1, -pen.radius - 1)
        _text(canvas, " ".join(words), x, y, max(0.35, 0.6 * pen.text), pen, pen.white)


def _thinner(pen: _Pen, points: NDArray[np.floating], bones: Sequence[tuple[int, int]]) -> _Pen:
    """For faces and hands: a quarter of the middle one of these bones, or half as wide, and no wider than for limbs."""
    lengths = [float(np.hypot(*(points[a, :2] - points[b, :2]))) for a, b in bones]
    width = max(1, round(min(np.median(lengths) / 4 if lengths else pen.line / 2, _FAR)))
    return replace(pen, line=min(pen.line, width), radius=min(pen.radius, width))


def _text(canvas: Picture, text: str, x: float, y: float, scale: float, pen: _Pen, color: Color) -> None:
    """On an edge, and inside the picture as far as it fits."""
    thick = max(1, round(1.6 * scale))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    x, y = (np.clip(value, -_FAR, _FAR) for value in (x, y))
    at = int(max(0, min(x, canvas.shape[1] - width))), int(min(max(y, height + thick), canvas.shape[0] - thick))
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, pen.edge, thick + 2, cv2.LINE_AA)
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thick, cv2.LINE_AA)


def _at(point: NDArray[np.floating] | tuple[float, float]) -> tuple[int, int]:
    """A point in OpenCV's fixed-point coordinates."""
    x, y = np.clip(point[:2], -_FAR, _FAR) * (1 << _SUBPIXEL_BITS)
    return int(x), int(y)
