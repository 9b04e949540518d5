"""Whose poses stay: people by score, size and place, so many of them, or one.

Owns these rules, and the choice over the frames of one source. Takes people away and changes nothing of the others.
Knows results, nothing of models, pictures or files.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Poses, Result
from posert.typed import Index, Misfit, Px, Range, settle

Record = TypeVar("Record")
_Rows = NDArray[np.intp]
_Area = Annotated[float, Range(0)]
_WORDS = ("largest", "central", "best", "first")


@dataclass(frozen=True, slots=True)
class PeopleOptions:
    """Whose poses stay.

    First whoever does not fit goes, by `min_score`, `min_box_area` and `roi`, in every frame anew. Of the others
    `max_people` stay, those with the best scores, or those that come first in the order that `person` names. Where
    people have ids, who was chosen keeps the place, also while unseen or unfit, for as long as `TrackOptions.memory`;
    then another one gets it. Without ids each frame is chosen from anew.

    Attributes:
        max_people: how many stay at most; 0 = one if `person` is given, else everybody.
        person: `largest` (area of the box), `central` (middle of the box nearest to the frame's), `best` (score),
            `first` (lowest id, without ids the one that the model lists first); or an id.
        min_score: the least score of a person, as results say it: each decoder has a range of its own.
        min_box_area: the least area of a person's box, px of the frame squared; below 1 a share of the frame's area.
        roi: the region in which the middle of a person's box lies, its border included: x, y, width, height of a
            rectangle, or x, y of each of three or more corners of a polygon; px of the frame, or, if no number is above
            1, shares of its width and height. Empty = anywhere.

    Raises:
        Misfit: a `PosertError` that names the first field with a wrong value.
    """

    max_people: Index = 0
    person: str | int | None = None
    min_score: float = 0.0
    min_box_area: _Area = 0.0
    roi: tuple[Px, ...] = ()

    def __post_init__(self) -> None:
        settle(self)
        known = self.person in (None, *_WORDS) if not isinstance(self.person, int) else self.person > 0
        if not known:
            raise Misfit("person", f"{', '.join(_WORDS)}, or an id", self.person)
        corners = len(self.roi) / 2
        if (corners not in (0, 2) and (corners < 3 or corners % 1)) or (corners == 2 and min(self.roi[2:]) <= 0):
            raise Misfit("roi", "x, y, width, height above 0, or x, y of three or more corners", list(self.roi))

    @property
    def needs_ids(self) -> bool:
        """Whether nobody can be chosen before people have ids."""
        return isinstance(self.person, int)

    @property
    def places(self) -> float:
        """How many stay at most."""
        return self.max_people or (math.inf if self.person is None or self.needs_ids else 1)


class Chooser:
    """Who stays in the results of one source, which come in order.

    Args:
        memory_s: how long a person with an id may be away and keep the place, `TrackOptions.memory`.
    """

    def __init__(self, options: PeopleOptions, memory_s: float = 1.0) -> None:
        self._options, self._memory_s = options, memory_s + 1e-3  # for rounded times
        self._seen_s: dict[int, float] = {}
        self._now_s = -math.inf

    def __call__(self, result: Result) -> Result:
        """The result with those who stay, features too.

        Raises:
            PosertError: an id was asked for, and people have none.
        """
        rows = self._chosen(result)
        if len(rows) == len(result.poses):
            return result
        features = None if result.features is None else of_people(result.features, rows)
        return replace(result, poses=of_people(result.poses, rows), features=features)

    def _chosen(self, result: Result) -> _Rows:
        options, poses = self._options, result.poses
        rows = np.flatnonzero(_fits(result, options))
        if options.needs_ids:
            if poses.ids is None and len(poses):
                raise no_ids(options)
            return rows if poses.ids is None else rows[poses.ids[rows] == options.person]
        if math.isinf(options.places):
            return rows
        rows = rows[np.argsort(_ranks(result, options.person)[rows], kind="stable")]
        if poses.ids is not None:
            rows = self._known_first(rows, poses.ids, result.time_s)
        return np.sort(rows[: int(options.places)])

    def _known_first(self, rows: _Rows, ids: NDArray[np.int32], time_s: float) -> _Rows:
        """The rows of those who have a place, and of as many others as there are places left."""
        if time_s < self._now_s:  # a clock was set
            self._seen_s = {key: seen_s + time_s - self._now_s for key, seen_s in self._seen_s.items()}
        self._now_s = time_s
        self._seen_s = {key: seen_s for key, seen_s in self._seen_s.items() if time_s - seen_s <= self._memory_s}
        known = [row for row in rows if int(ids[row]) in self._seen_s]
        others = [row for row in rows if int(ids[row]) not in self._seen_s]
        chosen = known + others[: int(self._options.places) - len(self._seen_s)]
        self._seen_s |= {int(ids[row]): time_s for row in chosen}
        return np.array(chosen, np.intp)


def no_ids(options: PeopleOptions) -> PosertError:
    """What is wrong if one person is wanted by an id and nobody has one."""
    return PosertError(f"person {options.person} is an id, and people have none", "add `track`")


def choose(results: Iterable[Result], options: PeopleOptions) -> Iterator[Result]:
    """The results of one source, in order, with whoever stays: `choose(estimate(model, frames), PeopleOptions(...))`.

    Raises:
        PosertError: as `Chooser` does.
    """
    yield from map(Chooser(options), results)


def of_people(record: Record, rows: _Rows) -> Record:
    """Some of the N people of a record whose arrays all begin with the axis N, in this order."""
    arrays = {one.name: getattr(record, one.name) for one in fields(record)}  # type: ignore[arg-type]
    taken: Any = {name: values[rows] for name, values in arrays.items() if isinstance(values, np.ndarray)}
    chosen: Record = replace(record, **taken)  # type: ignore[type-var]
    return chosen


def _fits(result: Result, options: PeopleOptions) -> NDArray[np.bool_]:
    """Who has the score, the size and the place, bool [N]."""
    poses, (width, height) = result.poses, result.size_wh
    fits = np.ones(len(poses), bool)
    if options.min_score:
        fits &= poses.scores >= options.min_score
    if options.min_box_area:
        fits &= _areas(poses) >= options.min_box_area * (width * height if options.min_box_area < 1 else 1)
    if options.roi:
        region = _region(options.roi, result.size_wh)
        middles = poses.boxes_xyxy.reshape(-1, 2, 2).mean(axis=1).tolist()
        fits &= np.array([cv2.pointPolygonTest(region, middle, False) >= 0 for middle in middles], bool)
    return fits


def _region(roi: tuple[float, ...], size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """The corners f32 [C,2] of a region, px."""
    scale = size_wh if max(roi) <= 1 else (1, 1)
    if len(roi) == 4:
        x, y, width, height = roi
        roi = (x, y, x + width, y, x + width, y + height, x, y + height)
    return (np.array(roi).reshape(-1, 2) * scale).astype(np.float32)


def _areas(poses: Poses) -> NDArray[np.float32]:
    """Of the boxes, f32 [N], px."""
    areas: NDArray[np.float32] = (poses.boxes_xyxy[:, 2:] - poses.boxes_xyxy[:, :2]).prod(axis=1)
    return areas


def _ranks(result: Result, person: str | int | None) -> NDArray[Any]:
    """A number for each of the N people; who has the lowest one comes first."""
    poses = result.poses
    if person == "largest":
        return -_areas(poses)
    if person == "central":
        middles = poses.boxes_xyxy.reshape(-1, 2, 2).mean(axis=1)
        return np.asarray(np.hypot(*(middles - np.array(result.size_wh) / 2).T))
    if person == "first":
        return np.arange(len(poses)) if poses.ids is None else poses.ids
    return -poses.scores
