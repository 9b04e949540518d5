"""Slow, obvious twins of heatmap.py, detect.py, geometry.py and suppression/poses.py, written from the rules alone."""

import numpy as np


def peak(heatmap: np.ndarray) -> tuple[float, float, float]:
    """x, y in cells and score of one map [H,W]."""
    height, width = heatmap.shape
    y, x = np.unravel_index(np.argmax(heatmap), heatmap.shape)
    score = float(heatmap[y, x])
    if score <= 0:
        return 0.0, 0.0, score
    shift_x = shift_y = 0.0
    if 1 < x < width - 1 and 1 < y < height - 1:
        shift_x = 0.25 * np.sign(heatmap[y, x + 1] - heatmap[y, x - 1])
        shift_y = 0.25 * np.sign(heatmap[y + 1, x] - heatmap[y - 1, x])
    return x + shift_x, y + shift_y, score


def mean(heatmap: np.ndarray) -> tuple[float, float, float]:
    """Centre of mass and maximum of the sigmoid of one map [H,W]."""
    mass = 1 / (1 + np.exp(-heatmap.astype(np.float64)))
    y, x = np.indices(mass.shape)
    return (mass * x).sum() / mass.sum(), (mass * y).sum() / mass.sum(), mass.max()


def boxes_kept(boxes: np.ndarray, iou_threshold: float, extra: float, inclusive: bool) -> list[int]:
    """Greedy suppression of [N,5]: sort once, then compare with everything kept so far."""
    kept: list[int] = []
    for i in np.argsort(-boxes[:, 4], kind="stable").tolist():
        if all(not _overlaps(boxes[j], boxes[i], iou_threshold, extra, inclusive) for j in kept):
            kept.append(i)
    return kept


def _overlaps(a: np.ndarray, b: np.ndarray, iou_threshold: float, extra: float, inclusive: bool) -> bool:
    def area(box: np.ndarray) -> float:
        return (box[2] - box[0] + extra) * (box[3] - box[1] + extra)

    width = min(a[2], b[2]) - max(a[0], b[0]) + extra
    height = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if width <= 0 or height <= 0:
        return False
    iou = width * height / (area(a) + area(b) - width * height)
    return iou > iou_threshold or (inclusive and iou >= iou_threshold)


def people(keypoints: np.ndarray, boxes: np.ndarray, box_scores: np.ndarray, p: object) -> tuple[list, list]:
    """Parametric pose suppression with vectors and lists: (rows kept, [K,3] merged people with their final score)."""
    count = keypoints.shape[1]
    points, s = keypoints[:, :, :2].astype(float), np.where(keypoints[:, :, 2] == 0, 1e-5, keypoints[:, :, 2])
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    left, picks, merged = list(range(len(points))), [], []
    while left:
        pick = max(left, key=lambda i: (s[i].mean(), -i))
        distance = np.linalg.norm(points - points[pick], axis=2)
        reach = p.alpha * sides[pick]
        rule = _whole if p.whole_body else _body
        alike = rule(distance, s, pick, min(reach, 7), len(left), p)
        cluster = [i for i in left if alike[i] or i == pick]
        left = [i for i in left if i not in cluster]
        if s[pick].max() < p.min_score:
            continue
        weight = np.where(distance[cluster] <= min(reach, 15), s[cluster], 0)
        xy = (weight[:, :, None] * points[cluster]).sum(0) / weight.sum(0)[:, None]
        score = (weight**2).sum(0) / weight.sum(0)
        span = np.ptp(xy[:, 0]) * np.ptp(xy[:, 1])
        if score.max() < p.min_score or 1.5**2 * span < p.min_area:
            continue
        picks.append(pick)
        merged.append((np.c_[xy, score], score.mean() + box_scores[pick] + 1.25 * score.max()))
    assert count == keypoints.shape[1]
    return picks, merged


def _body(distance: np.ndarray, s: np.ndarray, pick: int, near: float, _: int, p: object) -> np.ndarray:
    close = (distance <= 1) * np.tanh(s[pick] / p.delta1) * np.tanh(s / p.delta1)
    similarity = close.sum(1) + p.mu * np.exp(-distance / p.delta2).sum(1)
    return (similarity > p.gamma) | ((distance <= near).sum(1) >= p.matches)


def _whole(distance: np.ndarray, s: np.ndarray, pick: int, near: float, remaining: int, p: object) -> np.ndarray:
    count = s.shape[1]
    parts = [slice(0, count - 110), slice(count - 110, count - 42), slice(count - 42, count)]
    low = s < p.min_score
    close = (distance <= 1) * low * np.tanh(s[pick] / p.delta1) * np.tanh(s / p.delta1)
    unit = np.ones(count)
    unit[parts[1]], unit[parts[2]] = 1.9, 0.55
    point = np.where(low, 0, np.exp(-distance / (unit * p.delta2)))
    similarity = sum(w * close[:, part].mean(1) for w, part in zip((1, 1, 0.1), parts, strict=True))
    similarity = similarity + p.mu * sum(w * point[:, part].mean(1) for w, part in zip((1, 1, 1.5), parts, strict=True))
    allowed = np.r_[np.full(26, 1.0), np.full(68, 1.9), np.full(count - 94, 0.55)] * near
    sure = int((s[pick] > p.min_score / 2).sum())
    matches = np.zeros(len(s))
    if 2 * remaining * sure >= 2:
        matches = (distance <= allowed).sum(1) * count / (4 * remaining * sure)
    return (similarity > p.gamma) | (matches >= p.matches)
