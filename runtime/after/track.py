"""Ids over the frames of one video, for any model: motion, pose and the colours of clothes.

Owns the tracks. The assignment itself is `lap` (Jonker-Volgenant): small wheels, numpy only. Knows poses, times and
pictures, nothing of files or networks.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posert.errors import optional
from posert.poses import Poses, Skeleton
from posert.runtime.after.options import TrackOptions

Floats = NDArray[np.float64]

SIGMA = 0.079  # the mean of COCO's, for skeletons without
STEADY = 0.6  # share of the old velocity
WHOLE = 0.2  # how much the larger of two fragments of a person goes before the smaller
BOX_MARGIN = 0.1  # of a person's scale, round the keypoints in common
LIMB_POINTS = np.linspace(0.25, 0.75, 5)  # where along a limb its colour is looked at
COLOUR_STEP = 40.0  # grey levels that make two colours e times less alike
NEWEST = 0.05  # share of a new sighting in a person's colours, more in the first ones


@dataclass(slots=True)
class _Track:
    key: int
    keypoints: Floats
    box: Floats
    colours: Floats
    velocity: Floats
    time_s: float
    sightings: int = 1


class Tracker:
    """Gives the people of one video's frames ids from 1, in the order they appear.

    A person is predicted to move on with constant velocity. How near two poses are is the mean of their object keypoint
    similarity (OKS) and the overlap of their boxes; with the picture at hand, the colours along the limbs count as much
    as its root, so that people who cross keep their ids. The best total assignment wins. All limits are in seconds, so
    a stride or a variable frame rate changes nothing.

    Raises:
        PosertError: the package lap is missing.
    """

    def __init__(self, skeleton: Skeleton, options: TrackOptions | None = None) -> None:
        self.options = options or TrackOptions()
        self._lap = optional("lap", "tracking needs the package lap", "track")
        self._variance = (2 * np.array(skeleton.sigmas or [SIGMA] * len(skeleton.names))) ** 2
        self._limbs = np.array(skeleton.edges, np.int64).reshape(-1, 2)
        self._tracks: list[_Track] = []
        self._next = 1
        self._now_s = -math.inf

    def __call__(self, poses: Poses, time_s: float, picture: NDArray[np.uint8] | None = None) -> Poses:
        """One frame's `poses` with ids i32 [N]; call it with every frame in order, frames without people too.

        `picture` u8 [H,W,3] is the frame itself; None tracks by pose and motion alone.
        """
        if time_s < self._now_s:  # a camera's clock was set, a stream began anew: people go on from where they were
            for track in self._tracks:
                track.time_s += time_s - self._now_s
        self._now_s = time_s
        longest_s = self.options.memory + 1e-3  # a millisecond more for rounded times
        self._tracks = [track for track in self._tracks if time_s - track.time_s <= longest_s]
        keypoints, boxes = poses.keypoints.astype(np.float64), poses.boxes_xyxy.astype(np.float64)
        colours, lengths = limb_colours(keypoints, self._limbs, picture)
        ids = np.zeros(len(poses), np.int32)
        for person, number in enumerate(self._assigned(keypoints, boxes, colours, lengths, time_s)):
            sighting = keypoints[person], boxes[person], colours[person]
            if number < 0:
                self._tracks.append(_Track(self._next, *sighting, np.zeros(2), time_s))
                ids[person] = self._next
                self._next += 1
            else:
                _move(self._tracks[number], *sighting, time_s)
                ids[person] = self._tracks[number].key
        return replace(poses, ids=ids)

    def _assigned(self, keypoints: Floats, boxes: Floats, colours: Floats, lengths: Floats, time_s: float) -> list[int]:
        """For each person the place of its track, -1 for a new one."""
        if not len(keypoints) or not self._tracks:
            return [-1] * len(keypoints)
        steps = np.array([time_s - track.time_s for track in self._tracks])
        shift = np.array([track.velocity for track in self._tracks]) * steps[:, None]
        old = np.array([track.keypoints for track in self._tracks])
        old[:, :, :2] += shift[:, None]
        old_boxes = np.array([track.box for track in self._tracks]) + np.tile(shift, 2)
        near = similarity(keypoints, old, boxes, old_boxes, self._variance, 1 + self.options.loosen * steps)
        root = np.sqrt(near)
        look = colour_likeness(colours, lengths, np.array([track.colours for track in self._tracks]))
        # Who was just seen comes first: a hidden person's prediction walks through the others.
        alike = np.where(np.isnan(look), root, (root + look) / 2) / (1 + steps)
        alike *= 1 - self.options.newcomer / np.array([track.sightings for track in self._tracks])
        cost = np.where(near >= self.options.min_near, 1 - alike, 2.0)
        _, places, _ = self._lap.lapjv(cost, extend_cost=True, cost_limit=1 - self.options.min_alike)
        return [int(place) for place in places]


def _move(track: _Track, keypoints: Floats, box: Floats, colours: Floats, time_s: float) -> None:
    step_s = time_s - track.time_s
    if step_s > 0:
        both = (track.keypoints[:, 2] > 0) & (keypoints[:, 2] > 0)
        if both.any():
            moved = np.median(keypoints[both, :2] - track.keypoints[both, :2], axis=0)
        else:
            moved = ((box[:2] + box[2:]) - (track.box[:2] + track.box[2:])) / 2
        old_share = STEADY if track.sightings > 1 else 0.0
        track.velocity = old_share * track.velocity + (1 - old_share) * moved / step_s
    newest = max(NEWEST, 1 / (track.sightings + 1))
    mixed = track.colours + newest * (colours - track.colours)
    track.colours = np.where(np.isnan(mixed), np.where(np.isnan(colours), track.colours, colours), mixed)
    track.keypoints, track.box, track.time_s = keypoints, box, time_s
    track.sightings += 1


def limb_colours(
    keypoints: Floats, limbs: NDArray[np.int64], picture: NDArray[np.uint8] | None
) -> tuple[Floats, Floats]:
    """The median colour along the middle of each limb, f64 [N,L,3] (NaN where an end is missing), and lengths [N,L] px.

    Args:
        keypoints: f64 [N,K,3], px.
        limbs: i64 [L,2], pairs of keypoints.
        picture: u8 [H,W,3] or None: then no limb has a colour.
    """
    ends = keypoints[:, limbs]
    found = (ends[..., 2] > 0).all(axis=2) & (picture is not None)
    along = ends[:, :, 1, :2] - ends[:, :, 0, :2]
    colours = np.full((*found.shape, 3), np.nan)
    if picture is not None and found.any():
        points = ends[:, :, 0, None, :2] + along[:, :, None] * LIMB_POINTS[:, None]
        highest = np.array(picture.shape[1::-1]) - 1
        x, y = np.moveaxis(np.clip(np.rint(points[found]), 0, highest).astype(np.intp), 2, 0)
        colours[found] = np.median(picture[y, x], axis=1)
    return colours, np.where(found, np.hypot(along[..., 0], along[..., 1]), 0.0)


def colour_likeness(colours: Floats, lengths: Floats, old: Floats) -> Floats:
    """How alike the colours of N people and M others are, f64 [N,M], 0..1, long limbs counting more; NaN if unknown.

    Args:
        colours, old: f64 [N,L,3] and [M,L,3], NaN where a limb was not found.
        lengths: f64 [N,L], px, 0 where not found.
    """
    apart = np.abs(colours[:, None] - old[None]).mean(axis=3)
    weights = np.where(np.isnan(apart), 0.0, lengths[:, None])
    total = weights.sum(axis=2)
    mean = (np.nan_to_num(apart) * weights).sum(axis=2) / np.where(total > 0, total, np.nan)
    alike: Floats = np.exp(-mean / COLOUR_STEP)
    return alike


def similarity(
    keypoints: Floats, old: Floats, boxes: Floats, old_boxes: Floats, variance: Floats, tolerance: Floats
) -> Floats:
    """How near N people are to M predicted ones, f64 [N,M], 0..1: the mean of OKS and box overlap (IoU).

    Both look at the keypoints found in both: half a person still is that person, if a little less. Without any in
    common the overlap of the whole boxes decides.

    Args:
        keypoints, old: f64 [N,K,3] and [M,K,3].
        boxes, old_boxes: f64 [N,4] and [M,4], xyxy px.
        variance: f64 [K], (2 sigma)^2 of COCO's OKS.
        tolerance: f64 [M], factor on the scale of each predicted person.
    """
    both = (keypoints[:, None, :, 2] > 0) & (old[None, :, :, 2] > 0)
    square = ((keypoints[:, None, :, :2] - old[None, :, :, :2]) ** 2).sum(axis=3)
    area = np.maximum(_area(old_boxes), 1.0) * tolerance**2
    oks = (np.exp(-square / (2 * variance * area[None, :, None])) * both).sum(axis=2) / np.maximum(both.sum(axis=2), 1)
    share = both.sum(axis=2) / np.maximum((old[None, :, :, 2] > 0).sum(axis=2), 1)
    margin = BOX_MARGIN * np.sqrt(area)[:, None]
    common = box_overlap(_box_of(keypoints[:, None, :, :2], both, margin), _box_of(old[None, :, :, :2], both, margin))
    near: Floats = np.where(
        both.any(axis=2), (oks + common) / 2 * share**WHOLE, box_overlap(boxes[:, None], old_boxes[None])
    )
    return near


def _box_of(points: Floats, counted: NDArray[np.bool_], margin: Floats) -> Floats:
    """The box f64 [N,M,4] round the counted points [N,M,K,2], widened by `margin` px [M,1] on each side."""
    low = np.where(counted[..., None], points, np.inf).min(axis=2) - margin
    high = np.where(counted[..., None], points, -np.inf).max(axis=2) + margin
    return np.concatenate([low, high], axis=2)


def box_overlap(one: Floats, other: Floats) -> Floats:
    """Intersection over union of boxes [..., 4]; 0 for boxes of nothing."""
    shared = _area(np.concatenate([np.maximum(one, other)[..., :2], np.minimum(one, other)[..., 2:]], axis=-1))
    overlap: Floats = shared / np.maximum(_area(one) + _area(other) - shared, 1e-9)
    return overlap


def _area(boxes: Floats) -> Floats:
    sides: Floats = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)
    return sides
