"""Ids over the frames of one video, for any model: motion, pose and the colours of clothes.

Owns the tracks; who is who is in `known.py`, what is made of colours in `clothes.py`. The assignment itself is `lap`
(Jonker-Volgenant): small wheels, numpy only. Knows poses, times and pictures, nothing of files or networks.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posert.errors import optional
from posert.poses import Poses, Skeleton
from posert.runtime.after.clothes import Clothes, colour_likeness, mixed, worn
from posert.runtime.after.known import Book, Person
from posert.runtime.after.options import TrackOptions

Floats = NDArray[np.float64]

SIGMA = 0.079  # the mean of COCO's, for skeletons without
STEADY = 0.6  # share of the old velocity
WHOLE = 0.2  # how much the larger of two fragments of a person goes before the smaller
BOX_MARGIN = 0.1  # of a person's scale, round the keypoints in common
RECENT_S = 0.15  # how long the colours of the last sightings count


@dataclass(slots=True, eq=False)
class _Track:
    """Where somebody is: the last sighting, the velocity px/s, and the colours of the last sightings."""

    person: Person
    keypoints: Floats
    box: Floats
    recent: Floats
    velocity: Floats
    time_s: float
    moves: bool = False


class Tracker:
    """Gives the people of one video's frames ids from 1, in the order they appear.

    A person is predicted to move on with constant velocity. How near two poses are is the mean of their object keypoint
    similarity (OKS) and the overlap of their boxes; with the picture at hand, the colours along the limbs count as much
    as its root, so that people who cross keep their ids. The best total assignment wins. Who comes back after more than
    `memory` is known by his clothes alone, if nobody else known is dressed alike; two who were taken for each other are
    given their ids back the same way. All limits are in seconds, so a stride or a variable frame rate changes nothing.

    Raises:
        PosertError: the package lap is missing.
    """

    def __init__(self, skeleton: Skeleton, options: TrackOptions | None = None) -> None:
        self.options = options or TrackOptions()
        self._lap = optional("lap", "tracking needs the package lap", "track")
        self._variance = (2 * np.array(skeleton.sigmas or [SIGMA] * len(skeleton.names))) ** 2
        self._skeleton = skeleton
        self._tracks: list[_Track] = []
        self._book = Book(self.options)
        self._now_s = -math.inf

    def __call__(self, poses: Poses, time_s: float, picture: NDArray[np.uint8] | Clothes | None = None) -> Poses:
        """One frame's `poses` with ids i32 [N]; call it with every frame in order, frames without people too.

        `picture` u8 [H,W,3] is the frame itself, or what people wear in it (`worn`); None tracks by pose and motion
        alone.
        """
        if time_s < self._now_s:  # a camera's clock was set, a stream began anew: people go on from where they were
            for track in self._tracks:
                track.time_s += time_s - self._now_s
            self._book.shift(time_s - self._now_s)
        self._now_s = time_s
        longest_s = self.options.memory + 1e-3  # a millisecond more for rounded times
        self._tracks = [track for track in self._tracks if time_s - track.time_s <= longest_s]
        keypoints, boxes = poses.keypoints.astype(np.float64), poses.boxes_xyxy.astype(np.float64)
        clothes = picture if isinstance(picture, Clothes) else worn(self._skeleton, poses, picture)
        colours, lengths = clothes
        people: list[_Track] = []
        for n, number in enumerate(self._assigned(keypoints, boxes, colours, lengths, time_s)):
            if number < 0:
                somebody = Person(colours[n], lengths[n], time_s, time_s)
                people.append(_Track(somebody, keypoints[n], boxes[n], colours[n], np.zeros(2), time_s))
            else:
                people.append(self._tracks[number])
                people[-1].person.see(colours[n], lengths[n], time_s, self.options)
                _move(people[-1], keypoints[n], boxes[n], colours[n], time_s)
        seen = self._book.known([track.person for track in people], [track.recent for track in people], time_s)
        taken = {id(person) for person in seen}
        for track, person in zip(people, seen, strict=True):
            track.person = person
        old = [track for track in self._tracks if not any(track is one for one in people)]
        self._tracks = [track for track in old if id(track.person) not in taken] + people
        return replace(poses, ids=np.array([person.key for person in seen], np.int32))

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
        look = colour_likeness(colours, lengths, np.array([track.person.colours for track in self._tracks]))
        # Who was just seen comes first: a hidden person's prediction walks through the others.
        share = self.options.clothes
        alike = np.where(np.isnan(look), root, (1 - share) * root + share * look) / (1 + steps)
        alike *= 1 - self.options.newcomer / np.array([track.person.sightings for track in self._tracks])
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
        old_share = STEADY if track.moves else 0.0
        track.velocity = old_share * track.velocity + (1 - old_share) * moved / step_s
        track.moves = True
    track.recent = mixed(track.recent, colours, 1 - math.exp(-step_s / RECENT_S))
    track.keypoints, track.box, track.time_s = keypoints, box, time_s


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
