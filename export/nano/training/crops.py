"""Batches of random crops with their targets, made from the cache. Knows numpy and numba; no torch.

A batch depends on the seed and its number alone, so a run that is resumed sees the same crops as one
that never stopped (while the teacher answers no more). The target of a cell is a mix: inside labelled boxes of the
drawn labels and the teacher, elsewhere of the teacher alone (it knows the people nobody labelled). On drawn pictures,
and where the teacher was not asked, the labels are the truth. NaN: nobody knows.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from posert.export.nano import layout
from posert.export.nano.training.cache import PAD

SIZES = ((192, 24), (320, 8), (448, 4))  # side px and crops of batch 0, 1, 2, 0, ...: about the same pixels in each
WHOLE = 384  # px, the side of a whole picture: a multiple of 64 as well
SCALE = (0.4, 2.0)  # px of the crop per px of the photo
PERSON_FIT = (0.3, 1.15)  # long side of the chosen person's box, in crop sides
LABEL_SIGMA = 0.875  # cells, the spread of a keypoint's peak
LIMB_HALF_WIDTH = 1.0  # cells
LYING, ANYHOW = 0.12, 0.08  # shares of the crops turned to one side, and by any angle
ANYHOW_TURNED = 0.6  # of the photos that were turned until their people were upright
FACE = (0, 14, 15, 16, 17)  # keypoints that some labels do not have

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mix:
    """How crops are drawn: shares are of all crops.

    Attributes:
        anywhere: crops centred anywhere in the photo instead of on a person.
        fitted: crops on a person that are scaled to that person; the others have a random scale.
        teacher: weight of the teacher inside labelled boxes.
    """

    anywhere: float = 0.12
    fitted: float = 0.7
    teacher: float = 0.5


@dataclass(frozen=True, slots=True)
class Photos:
    """Caches, mapped from their files, as `cache` describes them; records also have their `cache` and `place` in it.

    `train` has, for each cache, the indices of the records to train on: a photo without labels must have been asked.
    """

    pictures: list[NDArray[np.uint8]]
    maps: list[NDArray[np.int8]]
    asked: list[NDArray[np.uint8]]
    records: list[dict[str, Any]]
    train: list[NDArray[np.int64]]

    def split(self, name: str) -> NDArray[np.int64]:
        """Indices of the pictures of one split."""
        return np.array([i for i, record in enumerate(self.records) if record["split"] == name], np.int64)


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops u8 [B,n,n,3] (BGR) and targets f32 [B,c,c,56] with NaN for unknown, c = n / 8.

    `people` are those labelled in each crop, f32 [N,18,3] in cells.
    """

    pictures: NDArray[np.uint8]
    targets: FloatArray
    people: list[FloatArray]


@dataclass(frozen=True, slots=True)
class View:
    """A crop: `crop_px = linear @ photo_px + shift`, f64 [2,2] and [2]; `mirrored` if it turns the photo over."""

    linear: NDArray[np.float64]
    shift: NDArray[np.float64]
    mirrored: bool


def open_photos(folders: list[Path]) -> Photos:
    """The photos of several caches, in this order."""
    photos = Photos([], [], [], [], [])
    for cache, folder in enumerate(folders):
        img, maps, asked = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("img", "maps", "asked"))
        records = json.loads((folder / "meta.json").read_text())
        if len(img) != len(records):
            raise ValueError(f"{folder}: {len(img)} pictures, {len(records)} records; make this cache again")
        photos.pictures.append(img)
        photos.maps.append(maps)
        photos.asked.append(asked)
        first = len(photos.records)
        known = [
            r["split"] == "train" and (bool(a) or not r.get("unlabelled")) for r, a in zip(records, asked, strict=True)
        ]
        photos.train.append(first + np.flatnonzero(known))
        photos.records.extend(record | {"cache": cache, "place": place} for place, record in enumerate(records))
    return photos


def batch(photos: Photos, shares: list[float], number: int, mix: Mix, seed: int) -> Batch:
    """Training batch `number`, always the same for the same seed and mix; `shares` of the crops are of each cache.

    A cache without a photo to train on, yet, gives none.
    """
    rng = np.random.default_rng([seed, number])
    side, count = SIZES[number % len(SIZES)]
    wanted = np.array(shares) * [len(places) > 0 for places in photos.train]
    caches = rng.choice(len(shares), count, p=wanted / wanted.sum())
    chosen = [int(rng.choice(photos.train[cache])) for cache in caches]
    made = [crop(photos, index, random_view(photos.records[index], side, mix, rng), side, mix) for index in chosen]
    pictures, targets, people = zip(*made, strict=True)
    return Batch(np.stack([jittered(p, rng) for p in pictures]), np.stack(targets), list(people))


def whole(photos: Photos, indices: NDArray[np.int64], mix: Mix) -> Batch:
    """Whole pictures, unchanged, in a larger square: what the validation loss is measured on."""
    view = View(np.eye(2), np.zeros(2), False)
    made = [crop(photos, int(index), view, WHOLE, mix) for index in indices]
    pictures, targets, people = zip(*made, strict=True)
    return Batch(np.stack(pictures), np.stack(targets), list(people))


def random_angle(record: dict[str, Any], rng: np.random.Generator) -> float:
    """Degrees to turn a crop by: often about upright, sometimes lying on a side, sometimes any."""
    kind = rng.random()
    anyhow = ANYHOW_TURNED if record.get("turned") else ANYHOW
    if kind < anyhow:
        return float(rng.uniform(-180, 180))
    if kind < anyhow + LYING:
        return float(rng.choice([-1, 1]) * rng.normal(90, 20))
    return float(rng.normal(0, 14)) if rng.random() < 0.6 else 0.0


def random_view(record: dict[str, Any], side: int, mix: Mix, rng: np.random.Generator) -> View:
    """A random crop of `side` px: on a person (large ones more often) or anywhere, turned, scaled, mirrored."""
    extent = np.array([record["width"], record["height"]], np.float64)
    boxes = np.array([person["box"] for person in record["people"]], np.float64).reshape(-1, 4)
    scale = math.exp(rng.uniform(*np.log(SCALE)))
    if len(boxes) and rng.random() > mix.anywhere:
        long_sides = boxes[:, 2:].max(axis=1)
        box = boxes[rng.choice(len(boxes), p=long_sides / long_sides.sum())]
        centre = box[:2] + box[2:] * rng.uniform(0.25, 0.75, 2)
        if rng.random() < mix.fitted:
            wanted = side * math.exp(rng.uniform(*np.log(PERSON_FIT)))
            scale = float(np.clip(wanted / max(box[2:]), *SCALE))
    else:
        centre = rng.uniform(0.1, 0.9, 2) * extent
    half = side / scale / 2  # keep the crop inside the photo where it fits
    low, high = np.minimum(0.8 * half, extent / 2), np.maximum(extent - 0.8 * half, extent / 2)
    centre = np.where(2 * half >= extent, extent / 2, np.clip(centre, low, high))
    angle = math.radians(random_angle(record, rng))
    mirrored = bool(rng.random() < 0.5)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * turn @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    return View(linear, side / 2 - linear @ centre, mirrored)


def crop(
    photos: Photos, index: int, view: View, side: int, mix: Mix
) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """Picture u8 [n,n,3], target f32 [c,c,56] and labelled people f32 [N,18,3] (cells) of one view."""
    record = photos.records[index]
    cache, place = record["cache"], record["place"]
    cells = side // layout.STRIDE
    matrix = np.concatenate([view.linear, view.shift[:, None]], axis=1)
    source = photos.pictures[cache][place, : record["height"], : record["width"]]
    picture = cv2.warpAffine(source, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD))
    scale = math.sqrt(abs(np.linalg.det(view.linear)))
    maps_of = record.get("maps", place)  # a drawn scene over a photo has the maps of the photo, in cache 0
    maps, asked = (photos.maps[0], photos.asked[0]) if "maps" in record else (photos.maps[cache], photos.asked[cache])
    knows = maps_of is not None and bool(asked[maps_of])
    teacher = np.full((cells, cells), float(knows), np.float32)
    people = np.zeros((len(record["people"]), layout.KEYPOINTS, 3), np.float32)
    for person, out in zip(record["people"], people, strict=True):
        points = np.array(person["keypoints"])
        points = points[list(layout.SKELETON.flip)] if view.mirrored else points
        out[:, :2] = (points[:, :2] @ view.linear.T + view.shift - layout.CELL_CENTRE_PX) / layout.STRIDE
        out[:, 2] = points[:, 2]
        # the smaller the person is in the crop, the less the teacher sees of it
        teacher[box_cells(person["box"], view)] = knows * person.get("teacher", mix.teacher) * min(1.0, scale)
    target = np.zeros((cells, cells, layout.CHANNELS), np.float32)
    _label(people, target, _LIMBS)
    if knows:
        channels = _MIRRORED if view.mirrored else _STRAIGHT
        _blend(maps[maps_of], teacher, _to_maps(view, record["ratio"]), view.linear / scale, channels, target)
    else:
        _mark_unknown(record, view, target)
    return picture, target, people


def _to_maps(view: View, ratio: float) -> NDArray[np.float64]:
    """Affine map f64 [2,3] from cells of the crop to cells of the teacher's maps of the photo scaled by `ratio`."""
    stride, centre = layout.STRIDE, layout.CELL_CENTRE_PX
    inverse = np.linalg.inv(view.linear)
    first = ((inverse @ (centre - view.shift) + 0.5) * ratio - 0.5 - centre) / stride  # where cell 0, 0 lies
    return np.concatenate([inverse * ratio, first[:, None]], axis=1)


def box_cells(box: list[float], view: View) -> tuple[slice, slice]:
    """Rows and columns of the cells that a box (xywh px of the photo) touches."""
    x, y, width, height = box
    corners = np.array([[x, y], [x + width, y], [x, y + height], [x + width, y + height]]) @ view.linear.T + view.shift
    left, top = np.floor(corners.min(0) / layout.STRIDE - 0.5).astype(int).clip(0)
    right, bottom = np.ceil(corners.max(0) / layout.STRIDE + 0.5).astype(int).clip(0)
    return slice(top, bottom), slice(left, right)


def _mark_unknown(record: dict[str, Any], view: View, target: FloatArray) -> None:
    """NaN where neither labels nor the teacher know: people without labels, faces of people labelled without one."""
    known = target.copy()
    for box in record.get("crowd", ()):
        target[box_cells(box, view)] = np.nan
    for person in record["people"]:
        cells = box_cells(person["box"], view)
        target[cells] = known[cells]
    for person in record["people"]:
        if not any(person["keypoints"][k][2] for k in FACE) and person.get("teacher") != 0:
            rows, columns = box_cells(person["box"], view)
            target[rows, columns, _FACE_CHANNELS] = np.nan


def jittered(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture with random colour, contrast, brightness; sometimes grey, blurred or noisy."""
    mean = picture.mean()
    gains = rng.uniform(0.85, 1.15, 3) * rng.uniform(0.7, 1.3)
    if rng.random() < 0.1:
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[:, :, None], 3, axis=2)
        gains[:] = gains.mean()
    levels = (np.arange(256)[:, None] - mean) * gains + mean * rng.uniform(0.7, 1.3)
    picture = cv2.LUT(picture, np.clip(levels, 0, 255).astype(np.uint8)[None])
    if rng.random() < 0.15:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 10), picture.shape[:2])[:, :, None]
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return np.asarray(picture, np.uint8)


_STRAIGHT = np.arange(layout.CHANNELS)
_MIRRORED = layout.mirrored_channels()
_LIMBS = np.array([(a, b, layout.KEYPOINTS + x) for (a, b), x in zip(layout.SKELETON.edges, layout.PAF_X, strict=True)])
_FACE_CHANNELS = np.array([*FACE, *(c for a, b, x in _LIMBS if a in FACE or b in FACE for c in (x, x + 1))])


@numba.njit(cache=True)
def _label(people: FloatArray, target: FloatArray, limbs: NDArray[np.int64]) -> None:
    """Draw people f32 [N,18,3] (cells) into target f32 [c,c,56]: the highest peak, the mean of crossing limbs."""
    cells = target.shape[0]
    for person in people:
        for k in range(person.shape[0]):
            x, y, seen = person[k]
            if seen <= 0:
                continue
            for row in range(max(0, int(y) - 3), min(cells, int(y) + 5)):
                for column in range(max(0, int(x) - 3), min(cells, int(x) + 5)):
                    apart = (row - y) ** 2 + (column - x) ** 2
                    peak = math.exp(-apart / (2 * LABEL_SIGMA**2))
                    target[row, column, k] = max(target[row, column, k], peak)
    count = np.zeros((cells, cells), np.int64)
    for limb in range(limbs.shape[0]):
        a, b, channel = limbs[limb]
        count[:] = 0
        for person in people:
            if person[a, 2] <= 0 or person[b, 2] <= 0:
                continue
            ax, ay, bx, by = person[a, 0], person[a, 1], person[b, 0], person[b, 1]
            length = math.hypot(bx - ax, by - ay)
            if length < 0.05:
                continue
            ux, uy = (bx - ax) / length, (by - ay) / length
            for row in range(max(0, int(min(ay, by) - 1)), min(cells, int(max(ay, by) + 3))):
                for column in range(max(0, int(min(ax, bx) - 1)), min(cells, int(max(ax, bx) + 3))):
                    dx, dy = column - ax, row - ay
                    along, across = dx * ux + dy * uy, abs(dx * uy - dy * ux)
                    if across <= LIMB_HALF_WIDTH and -0.5 <= along <= length + 0.5:
                        count[row, column] += 1
                        share = 1.0 / count[row, column]
                        target[row, column, channel] += (ux - target[row, column, channel]) * share
                        target[row, column, channel + 1] += (uy - target[row, column, channel + 1]) * share


@numba.njit(cache=True)
def _blend(
    maps: NDArray[np.int8],
    teacher: FloatArray,
    to_maps: NDArray[np.float64],
    turn: NDArray[np.float64],
    channels: NDArray[np.int64],
    target: FloatArray,
) -> None:
    """Mix the teacher's maps into `target` by its weight, cell by cell."""
    cells, limit, keypoints = target.shape[0], maps.shape[0], 18
    values = np.zeros(maps.shape[2], np.float32)
    for row in range(cells):
        for column in range(cells):
            trust = teacher[row, column]
            if trust == 0:
                continue
            fx = to_maps[0, 0] * column + to_maps[0, 1] * row + to_maps[0, 2]
            fy = to_maps[1, 0] * column + to_maps[1, 1] * row + to_maps[1, 2]
            left, top = math.floor(fx), math.floor(fy)
            values[:] = 0
            for tap in range(4):
                x, y = left + tap % 2, top + tap // 2
                if 0 <= x < limit and 0 <= y < limit:
                    weight = np.float32(abs((1 - tap % 2) - (fx - left)) * abs((1 - tap // 2) - (fy - top)) / 127)
                    for c in range(values.size):
                        values[c] += weight * maps[y, x, c]
            for c in range(values.size):
                target[row, column, c] *= 1 - trust
            for c in range(keypoints):
                target[row, column, c] += trust * values[channels[c]]
            for c in range(keypoints, values.size, 2):  # the field turns with the picture
                vx, vy = values[channels[c]], values[channels[c + 1]]
                target[row, column, c] += trust * (turn[0, 0] * vx + turn[0, 1] * vy)
                target[row, column, c + 1] += trust * (turn[1, 0] * vx + turn[1, 1] * vy)
