"""Slow, obvious twins of following.py and suppression/oks.py, written from the rules alone."""

import math

import numpy as np

from posert.poses import Poses


def iou(one: np.ndarray, other: np.ndarray) -> np.float32:
    wide, high = (min(one[2 + a], other[2 + a]) - max(one[a], other[a]) for a in (0, 1))
    if wide <= 0 or high <= 0:
        return np.float32(0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return wide * high / (areas[0] + areas[1] - wide * high)


def joined(known: Poses, found: Poses, max_iou: float) -> tuple[list, list, list]:
    """Boxes and scores of the known and the new, and who of the known was found again."""
    boxes, scores = list(known.boxes_xyxy), list(known.scores)
    again, new = [False] * len(known), []
    for row in range(len(found)):
        free = [(float(iou(boxes[i], found.boxes_xyxy[row])), -i) for i in range(len(known)) if not again[i]]
        most, at = max(free, default=(0.0, 0))
        if most > max_iou:
            boxes[-at], scores[-at], again[-at] = found.boxes_xyxy[row], found.scores[row], True
        else:
            new.append(row)
    scores = [score if seen else score * np.float32(0.5) for score, seen in zip(scores, again, strict=True)]
    every = [*boxes, *found.boxes_xyxy[new]], [*scores, *found.scores[new]]
    return [box.tolist() for box in every[0]], [float(score) for score in every[1]], again


def oks(keypoints: np.ndarray, boxes: np.ndarray, regions: np.ndarray, most: float, sigma: float) -> tuple[list, list]:
    """Rows and scores of the people who stay, best first."""
    scores = [keypoints[i, :, 2].mean() * regions[i] for i in range(len(keypoints))]
    kept: list[int] = []
    for i in sorted(range(len(keypoints)), key=lambda i: -scores[i]):
        alike = []
        for j in kept:
            area = float(boxes[j, 2] - boxes[j, 0]) * float(boxes[j, 3] - boxes[j, 1])
            near = [
                math.exp(-(math.dist(a[:2], b[:2]) ** 2) / (8 * area * sigma**2)) if a[2] > 0 and b[2] > 0 else 0
                for a, b in zip(keypoints[i], keypoints[j], strict=True)
            ]
            alike.append(np.mean(near))
        if max(alike, default=0) <= most:
            kept.append(i)
    return kept, [scores[i] for i in kept]
