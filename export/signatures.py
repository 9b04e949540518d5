"""Kinds of pose networks by the shapes of their outputs: what a recipe can know without asking. No file, no onnx.

Where shapes leave a choice, names of outputs decide. Shapes are without the batch axis. K is the number of keypoints,
and never tells which skeleton it is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Shape = tuple[int, ...]
OPEN = "?"
_IMAGENET = "often [123.675, 116.28, 103.53]", "often [58.395, 57.12, 57.375]"
_SHARES = "often [0, 0, 0]", "often [255, 255, 255], an input of 0..1"
_GREY_LEVELS = "often [0, 0, 0]", "often [1, 1, 1], an input of 0..255"
_CELLS = (8, 16, 32)
_POINT_WORDS, _LABEL_WORDS = ("key", "kpt", "kps", "joint", "landmark", "pose"), ("label", "class", "cls")
_SCORE_WORDS, _DOUBT_WORDS = ("score", "conf", "logit", "prob", *_LABEL_WORDS), ("sigma", "score", "conf", "vis", "var")
_SIDE_WORDS = ("feat", "embed", "mask")  # outputs for other uses
_MOST_LISTED = 1000  # rows that a network lists after a choice of its own; fewer than any grid of cells has
_PEOPLE_AND_FIELDS = {57: 19, 78: 26, 44: 16}
"""Channels of maps and fields in one tensor -> maps, the background among them: COCO, BODY_25, MPI."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A network from outside.

    Attributes:
        size_wh: of its input, px. outputs: name -> shape.
        points: keypoints of a row and numbers of each, if the file says so. classes: of the rows, 0 if it does not.
    """

    size_wh: tuple[int, int]
    outputs: Mapping[str, Shape]
    points: tuple[int, int] | None = None
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Guess:
    """What the shapes say.

    Attributes:
        what: in words. keypoints: K, 0 for a detector. decoder, outputs, params, nodes, region, fit: keys of a recipe.
        usual: mean and std of networks of this kind, in words.
        remark: what else to look at.
    """

    what: str
    keypoints: int
    decoder: str
    outputs: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[Mapping[str, Any], ...] = ()
    region: str = "frame"
    fit: str = OPEN
    usual: tuple[str, str] = _SHARES
    remark: str = ""


def guess(seen: Seen) -> Guess | None:
    """The first kind that fits the outputs; None if there is none. What goes by names of features is left aside."""
    main = {name: shape for name, shape in seen.outputs.items() if not _named(name, _SIDE_WORDS)}
    seen = replace(seen, outputs=main) if main else seen
    return next((found for kind in _KINDS if (found := kind(seen)) is not None), None)


def _named(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name.lower() for word in words)


def _of_rank(seen: Seen, rank: int) -> dict[str, Shape]:
    return {name: shape for name, shape in seen.outputs.items() if len(shape) == rank}


def _simcc(seen: Seen) -> Guess | None:
    """[K,X] and [K,Y]: as many bins for each px across as down."""
    for one, (parts, across) in _of_rank(seen, 2).items():
        for other, (same, down) in _of_rank(seen, 2).items():
            ratio = across / seen.size_wh[0]
            if one != other and parts == same and ratio >= 1 and down == ratio * seen.size_wh[1]:
                outputs = {"simcc_x": one, "simcc_y": other}
                return Guess(
                    "SimCC, one person in each box", parts, "simcc", outputs, {"split_ratio": ratio}, (), "boxes",
                    "boxes", _IMAGENET, "which of the two is x, if the input is square",
                )  # fmt: skip
    return None


def _composite_fields(seen: Seen) -> Guess | None:
    """[K,5,h,w] and [L,8,h,w]."""
    fields = _of_rank(seen, 4)
    cif = [name for name, shape in fields.items() if shape[1] == 5]
    caf = [name for name, shape in fields.items() if shape[1] == 8]
    if not cif or not caf:
        return None
    outputs = {"cif": cif[0], "caf": caf[0]}
    edges = fields[caf[0]][0]
    return Guess(
        "composite fields", fields[cif[0]][0], "cifcaf", outputs, usual=_IMAGENET,
        remark=f"the skeleton takes {edges} edges, in the order of the fields",
    )  # fmt: skip


def _maps(seen: Seen) -> dict[str, tuple[int, bool]]:
    """Name -> channels of each output that is a coarser picture, and whether they come last."""
    found = {}
    for name, shape in _of_rank(seen, 3).items():
        for last, (channels, high, wide) in ((False, shape), (True, (shape[2], *shape[:2]))):
            shrunk = seen.size_wh[0] / wide
            if shrunk >= 1 and math.isclose(shrunk, seen.size_wh[1] / high, rel_tol=0.02) and name not in found:
                found[name] = channels, last
    return found


def _first(name: str) -> dict[str, Any]:
    """Nodes that put the channels of a tensor [N,h,w,C] first."""
    return {"op": "Transpose", "inputs": [name], "outputs": [f"{name}_nchw"], "attributes": {"perm": [0, 3, 1, 2]}}


def _slice(name: str, role: str, begin: int, end: int) -> dict[str, Any]:
    return {"op": "Slice", "inputs": [name, [begin], [end], [1]], "outputs": [role]}


def _fields(seen: Seen) -> Guess | None:
    """Maps of keypoints and of limbs, twice as many channels as limbs; apart, or one after the other."""
    maps = _maps(seen)
    counts = {count for count, _ in maps.values()}
    if len(maps) == 1 and (whole := next(iter(counts))) in _PEOPLE_AND_FIELDS:
        (name, (_, last)), parts = next(iter(maps.items())), _PEOPLE_AND_FIELDS[whole]
        own = f"{name}_nchw" if last else name
        split = _slice(own, "heatmaps", 0, parts), _slice(own, "pafs", parts, whole)
        nodes = (*([_first(name)] if last else []), *split)
        return _part_maps(parts, whole - parts, {"heatmaps": "heatmaps", "pafs": "pafs"}, nodes)
    if len(counts) != 2 or max(counts) % 2:
        return None
    latest = {count: name for name, (count, _) in maps.items()}  # networks in stages: the last of each
    pafs, heatmaps = latest[max(counts)], latest[min(counts)]
    turned = [name for name in (heatmaps, pafs) if maps[name][1]]
    roles = {"heatmaps": heatmaps, "pafs": pafs}
    outputs = {role: f"{name}_nchw" if name in turned else name for role, name in roles.items()}
    return _part_maps(min(counts), max(counts), outputs, tuple(_first(name) for name in turned))


def _part_maps(parts: int, channels: int, outputs: dict[str, str], nodes: tuple[dict[str, Any], ...]) -> Guess:
    return Guess(
        "heatmaps and part-affinity fields", parts - 1, "paf", outputs, {"paf_channels": OPEN}, nodes, usual=_IMAGENET,
        remark=f"{parts} maps, the last one taken for the background; paf_channels has a pair for each of the "
        f"skeleton's edges, {channels // 2} of them; bodyparts is the other decoder for such maps",
    )  # fmt: skip


def _heatmaps(seen: Seen) -> Guess | None:
    """[K,h,w]; of several, as of an hourglass, the last."""
    maps = _maps(seen)
    if len({seen.outputs[name] for name in maps}) != 1:
        return None
    name, (parts, last) = list(maps.items())[-1]
    own = f"{name}_nchw" if last else name
    several = f"the last of {len(maps)} such outputs is taken; " if len(maps) > 1 else ""
    return Guess(
        "heatmaps, one person in each box", parts, "heatmap", {"maps": own}, {}, (_first(name),) if last else (),
        "boxes", "boxes", _IMAGENET,
        several + "a map of the background is no keypoint: a Slice leaves it out; so is a Sigmoid, if values need one; "
        'trained with UDP, as ViTPose is: align = "edges", udp = true, refine = "dark_udp"',
    )  # fmt: skip


def _stacked(seen: Seen) -> Guess | None:
    """[S,K,h,w]: the maps of all stages of an hourglass."""
    for name, shape in _of_rank(seen, 4).items():
        found = _heatmaps(Seen(seen.size_wh, {"maps": shape[1:]}))
        if found is not None and not found.nodes:
            last = {"op": "Gather", "inputs": [name, shape[0] - 1], "outputs": ["maps"], "attributes": {"axis": 1}}
            return replace(found, nodes=(last,), remark=f"the last of {shape[0]} stages is taken; {found.remark}")
    return None


def _heads(seen: Seen) -> Guess | None:
    """YOLOv3's three of 80 classes, [255,h,w]."""
    sides = {seen.size_wh[0] / shape[2]: name for name, shape in _of_rank(seen, 3).items() if shape[0] == 255}
    if sorted(sides) != list(_CELLS):
        return None
    return Guess("YOLOv3's heads", 0, "detect", {f"head{side}": sides[side] for side in _CELLS}, fit="letterbox")


def _movenet(seen: Seen) -> Guess | None:
    """[1,K,3], or few rows of K * 3 + 5."""
    for name, shape in seen.outputs.items():
        if len(shape) == 3 and shape[0] == 1 and shape[2] == 3:
            what, fit = "y, x and score of one person's keypoints, 0..1", "square"
            return Guess(what, shape[1], "direct", {"keypoints": name}, region=OPEN, fit=fit, usual=_GREY_LEVELS)
        if len(shape) == 2 and shape[0] <= 20 and shape[1] > 5 and (shape[1] - 5) % 3 == 0:
            what, parts = "y, x and score of several people's keypoints, and their boxes", (shape[1] - 5) // 3
            return Guess(what, parts, "direct", {"people": name}, fit="corner", usual=_GREY_LEVELS)
    return None


def _grid_rows(seen: Seen) -> int:
    wide, high = seen.size_wh
    return sum(-(-wide // side) * -(-high // side) for side in _CELLS)


def _cells(seen: Seen) -> Guess | None:
    """A row for each cell of 8, 16 and 32 px, or for each of its three anchors; rows may be columns."""
    grid = _grid_rows(seen)
    for name, shape in _of_rank(seen, 2).items():
        for rows, columns in (shape, shape[::-1]):
            if rows == grid and columns == 85:
                what = "YOLOX's boxes of 80 classes"
                return Guess(what, 0, "detect", {"grid_rows": name}, fit="corner", usual=_GREY_LEVELS)
            if rows == grid and columns > 4:
                return _yolo(seen, name, columns, ["box", "scores"])
            if rows == 3 * grid and columns > 5:
                return _yolo(seen, name, columns, ["box", "objectness", "scores"])
    return None


def _yolo(seen: Seen, name: str, columns: int, begin: list[str]) -> Guess:
    """Boxes, with the keypoints that the file says, or with one class and keypoints if the columns divide so."""
    given = 3 + len(begin)
    parts, left = divmod(columns - given, 3)
    params: dict[str, Any] = {"columns": begin, "box": "cxcywh", "max_iou": 0.65}
    if seen.points is not None and (classes := columns - given + 1 - math.prod(seen.points)) > 0:
        params |= {"columns": [*begin, "keypoints"], "keypoint_scores": seen.points[1] == 3}
        params |= {"classes": classes, "person": OPEN} if classes > 1 else {}
        remark = "keypoints and classes as the file's metadata say"
        return Guess("YOLO rows of boxes and keypoints", seen.points[0], "rows", {"rows": name}, params, remark=remark)
    if left == 0 and parts > 0:
        params["columns"] = [*begin, "keypoints"]
        remark = f"{columns} columns read as one class and x, y, score of {parts} keypoints"
        return Guess("YOLO rows of boxes and keypoints", parts, "rows", {"rows": name}, params, remark=remark)
    params |= {"keypoints": 0, "classes": columns - given + 1}
    remark = "class 0 is taken for people; if keypoints are among the columns, give columns, classes and skeleton"
    return Guess("YOLO rows of boxes", 0, "rows", {"rows": name}, params, remark=remark)


def _listed(seen: Seen) -> Guess | None:
    """Rows after suppression: box, score, class, keypoints; or what MMDeploy calls dets, labels, keypoints."""
    rows = {name: shape for name, shape in _of_rank(seen, 2).items() if shape[0] <= _MOST_LISTED}
    boxes = next((name for name, shape in rows.items() if shape[1] == 5), None)
    points = next((name for name, shape in _of_rank(seen, 3).items() if shape[2] in (2, 3)), None)
    labels = next(iter(_of_rank(seen, 1)), None)
    if boxes and points:
        params = {"columns": ["box", "scores"], "keypoint_scores": seen.outputs[points][2] == 3}
        outputs = {"rows": boxes, "keypoints": points}
        return Guess(
            "listed boxes and keypoints", seen.outputs[points][1], "rows", outputs, params, fit="corner",
            usual=_GREY_LEVELS,
        )  # fmt: skip
    if boxes and labels:
        params = {"columns": ["box", "scores"], "keypoints": 0}
        outputs = {"rows": boxes, "labels": labels}
        return Guess("listed boxes and classes", 0, "rows", outputs, params, remark="class 0 is taken for people")
    for name, (_, columns) in rows.items():
        count, size = seen.points or ((columns - 6) // 3, 3)
        parts, left = divmod(columns - 6, size)
        if columns >= 6 and left == 0 and parts in (0, count):
            word = ["box", "scores", "label", *(["keypoints"] if parts else [])]
            params = {"columns": word} if parts else {"columns": word, "keypoints": 0}
            params |= {"keypoint_scores": False} if parts and size == 2 else {}
            params |= {"person": OPEN} if seen.classes > 1 else {}
            return Guess("listed rows: box, score, class, keypoints", parts, "rows", {"rows": name}, params)
    return None


def _queries(seen: Seen) -> Guess | None:
    """As many boxes, scores, perhaps classes and keypoints: DETR's queries, YOLO-NAS, RT-DETR."""
    few = {name: shape for name, shape in seen.outputs.items() if shape and shape[0] <= _MOST_LISTED}
    boxes = next((name for name, shape in few.items() if shape[1:] == (4,)), None)
    if boxes is None:
        return None
    others = {name: shape[1:] for name, shape in few.items() if name != boxes and shape[0] == few[boxes][0]}
    points, parts, size = _points_of(others)
    tails = {name: tail for name, tail in others.items() if len(tail) < 2 and name != points}
    labels = [name for name, tail in tails.items() if not tail and _named(name, _LABEL_WORDS)] if len(tails) > 1 else []
    free = [name for name in tails if name not in labels]
    scores = next((name for name in free if _named(name, _SCORE_WORDS)), free[0] if free else None)
    if scores is None:
        return None
    outputs, classes = {"rows": boxes, "scores": scores}, math.prod(tails[scores])
    params: dict[str, Any] = {"columns": ["box"], "box": OPEN, "unit": OPEN, "sigmoid_scores": OPEN}
    if labels and classes == 1:
        outputs["labels"] = labels[0]
    else:
        params["classes"] = classes
    params |= {"person": OPEN} if "labels" in outputs or classes > 1 else {}
    if points is None:
        params["keypoints"] = 0
    else:
        outputs["keypoints"], params["keypoint_scores"] = points, size == 3 if size else OPEN
    return Guess("boxes and scores, as of queries", parts, "rows", outputs, params, usual=_IMAGENET, fit="stretch")


def _points_of(tails: Mapping[str, Shape]) -> tuple[str | None, int, int]:
    """The output [P,K,2 or 3], or by its name [P,K*2] or [P,K*3]; K; numbers of a keypoint, 0 if they may be either."""
    for name, tail in tails.items():
        if len(tail) == 2 and tail[1] in (2, 3):
            return name, *tail
    for name, tail in tails.items():
        if (
            len(tail) == 1
            and _named(name, _POINT_WORDS)
            and (sizes := [size for size in (3, 2) if tail[0] % size == 0])
        ):
            return name, tail[0] // sizes[0], sizes[0] if len(sizes) == 1 else 0
    return None, 0, 0


def _regression(seen: Seen) -> Guess | None:
    """[K,2] or [K,3]: the network says where, without a map."""
    points = {name: shape for name, shape in _of_rank(seen, 2).items() if shape[1] in (2, 3) and shape[0] > 1}
    if not points:
        return None
    sure = {name: shape for name, shape in points.items() if not _named(name, _DOUBT_WORDS)} or points
    name, (parts, size) = list(sure.items())[-1]
    scored: Mapping[str, Any] = {"op": "Pad", "inputs": [name, [0, 0, 0, 0, 0, 1], 1.0], "outputs": ["scored"]}
    wide, high = seen.size_wh
    nodes: tuple[Mapping[str, Any], ...] = (
        *([scored] if size == 2 else []),
        {"op": "Gather", "inputs": ["scored" if size == 2 else name, [1, 0, 2]], "outputs": ["yxs"],
         "attributes": {"axis": 2}},
        {"op": "Div", "inputs": ["yxs", [float(high), float(wide), 1.0]], "outputs": ["shares"]},
        {"op": "Unsqueeze", "inputs": ["shares", [1]], "outputs": ["keypoints"]},
    )  # fmt: skip
    return Guess(
        "x and y of one person's keypoints", parts, "direct", {"keypoints": "keypoints"}, {}, nodes, "boxes", "boxes",
        remark="the nodes take x, y in px of the input; without Div if they are in 0..1",
    )  # fmt: skip


_KINDS: tuple[Callable[[Seen], Guess | None], ...] = (
    _simcc, _composite_fields, _movenet, _heads, _fields, _heatmaps, _stacked, _cells, _queries, _listed, _regression,
)  # fmt: skip
