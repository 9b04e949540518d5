"""Who is where in a video and keeps which id, as people annotated it: MOTChallenge's gt.txt, PoseTrack's JSON.

Owns these two layouts. Knows nothing of models, trackers or figures.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Int32Array, Poses
from posert.typed import Index, Misfit, Px, read

Floats = NDArray[np.float64]
Polygon = Floats
COUNTS, EXCUSED, IGNORED = 1, 0, -1
"""What an annotated person is for: asked for; not asked for, and whoever is found there is not held against anybody
either; not asked for, nothing else."""
_DISTRACTORS = (2, 7, 8, 12)  # MOTChallenge's people on vehicles, static people, distractors, reflections
_OUTLINE = 0.53  # a person's share of his box, where no area is given (xtcocotools, for CrowdPose)
_LARGEST = 1 << 20  # frames and ids


@dataclass(frozen=True, slots=True)
class Annotated:
    """The people annotated in one frame.

    Attributes:
        ids: i32 [N]. boxes_xyxy: f64 [N,4] px. areas: f64 [N] px. roles: i8 [N], COUNTS, EXCUSED or IGNORED.
        keypoints: f64 [N,K,3], x px, y px, above 0 if annotated; K = 0 for boxes alone.
        regions: polygons f64 [M,2] px in which nobody is held against a tracker.
    """

    ids: Int32Array
    boxes_xyxy: Floats
    areas: Floats
    roles: NDArray[np.int8]
    keypoints: Floats
    regions: tuple[Polygon, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """A video's annotated people.

    Attributes:
        names: of the K keypoints. frames: frame index from 0 -> people; what is missing has nobody in MOTChallenge's
            files, and is not annotated in PoseTrack's. every: frames that are missing count, with nobody.
        files: the pictures' names in order, if it has them.
    """

    names: tuple[str, ...]
    frames: Mapping[int, Annotated]
    every: bool
    files: tuple[str, ...] = ()


class _Image(TypedDict):
    id: int
    file_name: str
    is_labeled: NotRequired[bool]
    ignore_regions_x: NotRequired[tuple[tuple[Px, ...], ...]]
    ignore_regions_y: NotRequired[tuple[tuple[Px, ...], ...]]


class _Person(TypedDict):
    image_id: int
    track_id: Index
    keypoints: NotRequired[tuple[Px, ...]]
    bbox: NotRequired[tuple[Px, ...]]
    area: NotRequired[Px]
    iscrowd: NotRequired[int]


class _Category(TypedDict):
    keypoints: tuple[str, ...]


class _PoseTrack(TypedDict):
    images: tuple[_Image, ...]
    annotations: tuple[_Person, ...]
    categories: tuple[_Category, ...]


def read_truth(path: Path) -> Truth:
    """The truth in a MOTChallenge gt.txt or a JSON file in PoseTrack's style (2018 and 2021).

    Raises:
        PosertError: it cannot be read, or is neither.
    """
    if path.suffix == ".txt":
        return _of_mot(path)
    try:
        return of_posetrack(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        hint = "give a gt.txt of MOTChallenge or JSON with images, annotations (track_id) and categories"
        raise PosertError(f"{path} is no file of annotated tracks: {error}", hint) from None


def read_mot(path: Path) -> dict[int, Poses]:
    """A tracker's people in MOTChallenge's layout (frame from 1, id, left, top, width, height, ...): boxes and ids.

    Raises:
        PosertError: it cannot be read, or has other rows.
    """
    return {
        index: Poses(np.zeros((len(rows), 0, 3), np.float32), np.ones(len(rows), np.float32),
                     _boxes(rows).astype(np.float32), rows[:, 1].astype(np.int32))
        for index, rows in _mot_rows(path).items()
    }  # fmt: skip


def _mot_rows(path: Path) -> dict[int, Floats]:
    """Frame index from 0 -> rows f64 [N,>=6], all of one length, -1 where a row has no more."""
    rows: dict[int, list[list[float]]] = {}
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            row = [float(value) for value in line.replace(",", " ").split()]
            if len(row) < 6 or not np.isfinite(row).all() or not (1 <= row[0] <= _LARGEST and abs(row[1]) <= _LARGEST):
                raise ValueError(f"line {number} has no frame, id, left, top, width, height")
            rows.setdefault(int(row[0]) - 1, []).append((row + [-1.0] * 3)[:9])
    except (OSError, ValueError) as error:
        raise PosertError(
            f"{path} is no MOTChallenge file: {error}", "rows are frame,id,left,top,width,height"
        ) from None
    return {index: np.array(rows[index]) for index in sorted(rows)}


def _boxes(rows: Floats) -> Floats:
    return np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)


def _of_mot(path: Path) -> Truth:
    frames = {}
    for index, rows in _mot_rows(path).items():
        classes = rows[:, 7]  # 2015's have none
        roles = np.where((rows[:, 6] != 0) & np.isin(classes, (-1, 1)), COUNTS, IGNORED)
        roles[np.isin(classes, _DISTRACTORS)] = EXCUSED
        frames[index] = Annotated(
            rows[:, 1].astype(np.int32), _boxes(rows), rows[:, 4] * rows[:, 5], roles.astype(np.int8),
            np.zeros((len(rows), 0, 3)),
        )  # fmt: skip
    return Truth((), frames, every=True)


def of_posetrack(document: Any) -> Truth:
    """The truth in a parsed document of PoseTrack's; raises Misfit."""
    given: _PoseTrack = read(_PoseTrack, document, "posetrack")
    names = given["categories"][0]["keypoints"] if given["categories"] else ()
    people: dict[int, list[_Person]] = {image["id"]: [] for image in given["images"]}
    for number, person in enumerate(given["annotations"]):
        if person["image_id"] not in people:
            raise Misfit(f"annotations[{number}].image_id", "the id of an image", person["image_id"])
        if len(person.get("keypoints", ())) not in (0, 3 * len(names)):
            raise Misfit(f"annotations[{number}].keypoints", f"{3 * len(names)} numbers", person["keypoints"])
        people[person["image_id"]].append(person)
    labelled = {
        index: _annotated(people[image["id"]], len(names), _regions(image))
        for index, image in enumerate(given["images"])
        if image.get("is_labeled", True)
    }
    return Truth(names, labelled, every=False, files=tuple(image["file_name"] for image in given["images"]))


def _annotated(people: Sequence[_Person], count: int, regions: tuple[Polygon, ...]) -> Annotated:
    absent = (0.0,) * (3 * count)
    keypoints = np.array([person.get("keypoints") or absent for person in people], float).reshape(-1, count, 3)
    boxes = np.array([_box(person, points) for person, points in zip(people, keypoints, strict=True)], float).reshape(
        -1, 4
    )
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = [person.get("area", 0) or area * _OUTLINE for person, area in zip(people, sides.prod(axis=1), strict=True)]
    roles = [EXCUSED if person.get("iscrowd") or not side.any() else COUNTS
             for person, side in zip(people, sides, strict=True)]  # fmt: skip
    ids = np.array([person["track_id"] for person in people], np.int32)
    return Annotated(ids, boxes, np.array(areas, float), np.array(roles, np.int8), keypoints, regions)


def _box(person: _Person, points: Floats) -> Floats:
    """The given box xyxy, else the one round the annotated keypoints; a box of nothing without any."""
    given = np.array(person.get("bbox", ()), float)
    if len(given) == 4 and given[2:].min() > 0:
        return np.concatenate([given[:2], given[:2] + given[2:]])
    there = points[points[:, 2] > 0, :2]
    return np.concatenate([there.min(axis=0), there.max(axis=0)]) if len(there) else np.zeros(4)


def _regions(image: _Image) -> tuple[Polygon, ...]:
    xs, ys = image.get("ignore_regions_x", ()), image.get("ignore_regions_y", ())
    if [len(each) for each in xs] != [len(each) for each in ys]:
        raise Misfit(f"image {image['id']}, ignore_regions_y", "as many numbers as ignore_regions_x", ys)
    pairs = (np.array(pair, float) for pair in zip(xs, ys, strict=True))
    return tuple(polygon.T for polygon in pairs if polygon.shape[1] > 2)
