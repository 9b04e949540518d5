"""The decoder `rows` again, the slow obvious way: a row at a time, as the networks' own documentation reads them."""

import numpy as np

from posert.postprocess.decoders.rows import Params


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-float(value)))


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom); 0 where they do not meet."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def origin(row: int, p: Params, wh: tuple[int, int]) -> tuple[float, float]:
    centres = [(0.0, 0.0)] * (0 if p.cells else row + 1)
    for stride, each in p.cells:
        across, down = -(-wh[0] // stride), -(-wh[1] // stride)
        grid = [((x + 0.5) * wh[0] / across, (y + 0.5) * wh[1] / down) for y in range(down) for x in range(across)]
        centres += [centre for centre in grid for _ in range(each)]
    return centres[row]


def person(values: dict[str, np.ndarray], number: int, count: int, p: Params, wh: tuple[int, int]) -> tuple | None:
    """Score, box and keypoints of one row, None if it is not one."""
    score = values["scores"][p.person if p.classes > 1 else 0]
    score = sigmoid(score) if p.sigmoid_scores else score
    if "objectness" in values:
        score = score * (sigmoid(values["objectness"][0]) if p.sigmoid_scores else values["objectness"][0])
    if "label" in values and values["label"][0] != p.person:
        return None
    if not np.float32(p.min_score) <= score < np.inf:
        return None
    unit, (x_0, y_0) = wh if p.unit == "share" else (1, 1), origin(number, p, wh)
    points = np.zeros((count, 3))
    for k, (x, y, *more) in enumerate(values["keypoints"] if count else ()):
        own = (sigmoid(more[0]) if p.sigmoid_keypoints else more[0]) if p.keypoint_scores else score
        x, y = x * unit[0] + x_0, y * unit[1] + y_0
        if np.isfinite([x, y, own]).all() and own > 0:
            points[k] = x, y, own
    if "box" in values:
        a, b, c, d = values["box"]
        if p.box == "cxcywh":
            a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
        if p.box == "yxyx":
            a, b, c, d = b, a, d, c
        box = [a * unit[0] + x_0, b * unit[1] + y_0, c * unit[0] + x_0, d * unit[1] + y_0]
    else:
        seen = points[points[:, 2] > 0, :2]
        box = [*seen.min(0), *seen.max(0)] if len(seen) else [0.0] * 4
    return (score, box, points) if np.isfinite(box).all() else None


def decode(rows: list[dict[str, np.ndarray]], count: int, p: Params, wh: tuple[int, int]) -> list[tuple]:
    """(score, box, keypoints [count,3]) of the people of one picture, best first.

    Each row has its `scores`, and `box`, `objectness`, `label`, `keypoints` [count,2+] if the network gives them.
    """
    found = [one for number, row in enumerate(rows) if (one := person(row, number, count, p, wh)) is not None]
    found.sort(key=lambda one: -one[0])
    kept: list[tuple] = []
    for one in found:
        if p.max_iou is None or all(overlap(one[1], other[1]) <= p.max_iou for other in kept):
            kept.append(one)
    return kept[: p.max_people]
