"""Ids over the frames of one video, for any model: similarity of poses and boxes with predicted motion.

Owns the tracks. The assignment itself is `lap` (Jonker-Volgenant): small wheels, numpy only. Knows poses and times,
nothing of files or networks.
"""

from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from posert.postprocess.errors import PosertError
from posert.postprocess.poses import Poses, Skeleton

KEEP_S = 1.0  # a person may be out of sight this long; a millisecond more for rounded times
SIGMA = 0.079  # the mean of COCO's, for skeletons without
LEAST_SIMILARITY = 0.15
LOOSEN = 3.0  # a prediction's tolerance grows by this factor per second out of sight
STEADY = 0.6  # share of the old velocity


@dataclass(slots=True)
class _Track:
    key: int
    keypoints: NDArray[np.float64]
    box: NDArray[np.float64]
    velocity: NDArray[np.float64]
    time_s: float
    sightings: int = 1


class Tracker:
    """Gives the people of one video's frames ids from 1, in the order they appear.

    A person is predicted to move on with constant velocity. Two poses are as similar as the mean of their object
    keypoint similarity (OKS) and the overlap of their boxes; the best total assignment wins. All limits are in seconds,
    so a stride or a variable frame rate changes nothing.

    Raises:
        PosertError: the package lap is missing.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self._lap = _import_lap()
        self._variance = (2 * np.array(skeleton.sigmas or [SIGMA] * len(skeleton.names))) ** 2
        self._tracks: list[_Track] = []
        self._next = 1

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """`poses` with ids i32 [N]; call it with every frame in order, frames without people too."""
        self._tracks = [track for track in self._tracks if time_s - track.time_s <= KEEP_S + 1e-3]
        keypoints, boxes = poses.keypoints.astype(np.float64), poses.boxes_xyxy.astype(np.float64)
        ids = np.zeros(len(poses), np.int32)
        for person, number in enumerate(self._assigned(keypoints, boxes, time_s)):
            if number < 0:
                self._tracks.append(_Track(self._next, keypoints[person], boxes[person], np.zeros(2), time_s))
                ids[person] = self._next
                self._next += 1
            else:
                _move(self._tracks[number], keypoints[person], boxes[person], time_s)
                ids[person] = self._tracks[number].key
        return replace(poses, ids=ids)

    def _assigned(self, keypoints: NDArray[np.float64], boxes: NDArray[np.float64], time_s: float) -> list[int]:
        """For each person the place of its track, -1 for a new one."""
        if not len(keypoints) or not self._tracks:
            return [-1] * len(keypoints)
        steps = np.array([time_s - track.time_s for track in self._tracks])
        shift = np.array([track.velocity for track in self._tracks]) * steps[:, None]
        old = np.array([track.keypoints for track in self._tracks])
        old[:, :, :2] += shift[:, None]
        old_boxes = np.array([track.box for track in self._tracks]) + np.tile(shift, 2)
        # Who was just seen comes first: a hidden person's prediction walks through the others.
        close = similarity(keypoints, old, boxes, old_boxes, self._variance, 1 + LOOSEN * steps) / (1 + steps)
        _, places, _ = self._lap.lapjv(1 - close, extend_cost=True, cost_limit=1 - LEAST_SIMILARITY)
        return [int(place) for place in places]


def _move(track: _Track, keypoints: NDArray[np.float64], box: NDArray[np.float64], time_s: float) -> None:
    step_s = time_s - track.time_s
    if step_s > 0:
        both = (track.keypoints[:, 2] > 0) & (keypoints[:, 2] > 0)
        if both.any():
            moved = np.median(keypoints[both, :2] - track.keypoints[both, :2], axis=0)
        else:
            moved = ((box[:2] + box[2:]) - (track.box[:2] + track.box[2:])) / 2
        old_share = STEADY if track.sightings > 1 else 0.0
        track.velocity = old_share * track.velocity + (1 - old_share) * moved / step_s
    track.keypoints, track.box, track.time_s = keypoints, box, time_s
    track.sightings += 1


def similarity(
    keypoints: NDArray[np.float64],
    old: NDArray[np.float64],
    boxes: NDArray[np.float64],
    old_boxes: NDArray[np.float64],
    variance: NDArray[np.float64],
    tolerance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Similarity f64 [N,M], 0..1, of N people to M predicted ones: the mean of OKS and box overlap (IoU).

    Args:
        keypoints, old: f64 [N,K,3] and [M,K,3]; OKS counts the keypoints found in both.
        boxes, old_boxes: f64 [N,4] and [M,4], xyxy px.
        variance: f64 [K], (2 sigma)^2 of COCO's OKS.
        tolerance: f64 [M], factor on the scale of each predicted person.
    """
    both = (keypoints[:, None, :, 2] > 0) & (old[None, :, :, 2] > 0)
    square = ((keypoints[:, None, :, :2] - old[None, :, :, :2]) ** 2).sum(axis=3)
    area = np.maximum(_area(old_boxes), 1.0) * tolerance**2
    oks = (np.exp(-square / (2 * variance * area[None, :, None])) * both).sum(axis=2) / np.maximum(both.sum(axis=2), 1)
    low, high = (
        np.maximum(boxes[:, None, :2], old_boxes[None, :, :2]),
        np.minimum(boxes[:, None, 2:], old_boxes[None, :, 2:]),
    )
    shared = np.clip(high - low, 0, None).prod(axis=2)
    overlap = shared / np.maximum(_area(boxes)[:, None] + _area(old_boxes)[None] - shared, 1e-9)
    close: NDArray[np.float64] = np.where(both.any(axis=2), (oks + overlap) / 2, overlap)
    return close


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return sides


def _import_lap() -> ModuleType:
    try:
        import lap
    except ImportError:
        raise PosertError("tracking needs the package lap", "pip install 'posert[track]'") from None
    module: ModuleType = lap
    return module
