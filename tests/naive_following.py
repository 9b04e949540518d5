"""Slow, obvious twins of following.py, steady.py and suppression/oks.py, written from the rules alone."""

import math
from dataclasses import dataclass, replace

import numpy as np

from posert.poses import TORSO, Poses, Skeleton
from posert.postprocess.following import FollowOptions, next_window


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


@dataclass
class Remembered:
    """What is known of a person: points f64 [K,3], how each moves px, how long each has been exchanged; windows."""

    points: np.ndarray
    moves: np.ndarray
    exchanged: np.ndarray
    window: list[float] | None = None
    smooth: list[float] | None = None
    missed: int = 0


def apart(window: list[float], other: list[float]) -> float:
    side = other[2] - other[0]
    shifts = [abs(window[a] + window[a + 2] - other[a] - other[a + 2]) / 2 for a in (0, 1)]
    return max(*shifts, abs(window[2] - window[0] - side) / 2) / side


def steadied(
    people: Poses, memory: list[Remembered], wh: tuple[int, int], skeleton: Skeleton, how: FollowOptions
) -> tuple[np.ndarray, list[Remembered]]:
    """Keypoints with sides as before, and what is known of each person then."""
    torso = [skeleton.names.index(name) for name in TORSO]
    keypoints, free, after = people.keypoints.copy(), list(memory), []
    for person in keypoints:
        points = person.astype(np.float64)
        old = _nearest(points, free, torso)
        new = Remembered(points, np.zeros(len(points)), np.zeros(len(points)))
        if old is not None:
            free = [other for other in free if other is not old]
            _undo_exchanges(points, old, new, limbs(skeleton), how)
            person[:] = points
        one = replace(people, keypoints=person[None], scores=people.scores[:1], boxes_xyxy=people.boxes_xyxy[:1])
        found = next_window(one, wh, skeleton)
        _place(new, old, None if found is None else found.tolist(), max(0.0, *points[torso, 2]), how)
        side = new.smooth[2] - new.smooth[0] if new.smooth else math.nan
        new.moves = np.full(len(points), 0.1 * side) if old is None else old.moves.copy()
        for k, now in enumerate(points):
            if old is not None and now[2] > 0.2 and old.points[k, 2] > 0.2:
                new.moves[k] += 0.2 * (math.dist(now[:2], old.points[k, :2]) - old.moves[k])
        after.append(new)
    return keypoints, after


def _nearest(points: np.ndarray, memory: list[Remembered], torso: list[int]) -> Remembered | None:
    middle = points[torso, :2].mean(0)
    known = [other for other in memory if other.smooth is not None]
    far = [math.dist(middle, o.points[torso, :2].mean(0)) / (o.smooth[2] - o.smooth[0]) for o in known]
    return known[int(np.argmin(far))] if far and min(far) < 0.5 else None


def limbs(skeleton: Skeleton) -> list[list[list[int]]]:
    """The pairs of keypoints of each limb: what one comes to from the other along edges, without the torso."""
    pairs = [[k, other] for k, other in enumerate(skeleton.flip) if k < other]
    free = [{one, other} for one, other in skeleton.edges if not {skeleton.names[i] for i in (one, other)} & set(TORSO)]
    found: list[list[list[int]]] = []
    for pair in pairs:
        near = set(pair)
        for _ in skeleton.names:
            near |= {k for edge in free if edge & near for k in edge}
            near |= {skeleton.flip[k] for k in near}
        limb = [other for other in pairs if near & set(other)]
        found += [limb] if limb not in found else []
    return found


def _undo_exchanges(
    points: np.ndarray, old: Remembered, new: Remembered, limbs: list[list[list[int]]], how: FollowOptions
) -> None:
    side = old.smooth[2] - old.smooth[0]
    for limb in limbs:
        first, same, cross, usual = limb[0][0], 0.0, 0.0, 0.0
        for pair in limb:
            if min(*points[pair, 2], *old.points[pair, 2]) > 0.2:
                same += sum(math.dist(points[k, :2], old.points[k, :2]) for k in pair)
                cross += sum(math.dist(points[k, :2], old.points[o, :2]) for k, o in zip(pair, pair[::-1], strict=True))
                usual += old.moves[pair].sum()
        if 2 * cross < same and same > max(0.15 * side, 4 * usual) and old.exchanged[first] < how.patience:
            new.exchanged[first] = old.exchanged[first] + 1
            for pair in limb:
                points[pair] = points[pair[::-1]]


def _place(new: Remembered, old: Remembered | None, found: list[float] | None, hint: float, how: FollowOptions) -> None:
    if found is not None and old is None:
        new.window = new.smooth = found
    elif found is not None:
        new.smooth = [was + how.share * (now - was) for was, now in zip(old.smooth, found, strict=True)]
        new.window = old.window if apart(new.smooth, old.window) <= how.slack else new.smooth
    elif old is not None and hint >= 0.1 and old.missed < how.patience:
        new.window, new.smooth, new.missed = old.window, old.smooth, old.missed + 1
