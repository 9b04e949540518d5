"""Batches of random crops with their targets, made from the cache. Knows numpy and numba; no torch.

A batch depends on the seed and its number alone, so a run that is resumed sees the same crops as one
that never stopped. The target of a cell is a mix: inside labelled boxes of the drawn labels and the teacher, elsewhere
of the teacher alone (it knows the people nobody labelled). On drawn pictures the labels are the truth, and the teacher
is not asked.
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
from posert.export.nano.training.cache import HINT_STEPS, PAD, SIDE

SIZES = ((160, 32), (160, 32), (224, 16))  # side px and crops of batch 0, 1, 2, 0, ...: the same pixels in each
SCALE = (0.5, 1.5)  # px of the crop per px of the photo
PERSON_FIT = (0.4, 1.15)  # long side of the chosen person's box, in crop sides
LABEL_SIGMA = 0.875  # cells, the spread of a keypoint's peak
LIMB_HALF_WIDTH = 1.0  # cells

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mix:
    """How crops are drawn: shares are of all crops.

    Attributes:
        anywhere: crops centred anywhere in the photo instead of on a person.
        fitted: crops on a person that are scaled to that person; the others have a random scale.
        teacher: weight of the teacher inside labelled boxes.
        drawn: crops of drawn pictures.
    """

    anywhere: float = 0.12
    fitted: float = 0.7
    teacher: float = 0.5
    drawn: float = 0.0


@dataclass(frozen=True, slots=True)
class Photos:
    """The cache in memory: pictures u8 [M,S,S,3], maps i8 [M,C,C,56], hints i8 [M,2,C,C,F] and one record each."""

    pictures: NDArray[np.uint8]
    maps: NDArray[np.int8]
    hints: NDArray[np.int8]
    records: list[dict[str, Any]]

    def split(self, name: str) -> NDArray[np.int64]:
        """Indices of the pictures of one split."""
        return np.array([i for i, record in enumerate(self.records) if record["split"] == name], np.int64)


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops u8 [B,n,n,3] (BGR), targets f32 [B,c,c,56] and hints f32 [B,c,c,F], with c = n / 8."""

    pictures: NDArray[np.uint8]
    targets: FloatArray
    hints: FloatArray


@dataclass(frozen=True, slots=True)
class View:
    """A crop: `crop_px = linear @ photo_px + shift`, f64 [2,2] and [2]; `mirrored` if it turns the photo over."""

    linear: NDArray[np.float64]
    shift: NDArray[np.float64]
    mirrored: bool


def open_photos(folders: list[Path]) -> Photos:
    """The photos of several caches as one (memory-mapped when it is one)."""
    parts = []
    for folder in folders:
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("img", "maps", "hint")]
        records = json.loads((folder / "meta.json").read_text())
        if any(len(array) != len(records) for array in arrays):
            raise ValueError(f"{folder}: {len(arrays[0])} pictures, {len(records)} records; make this cache again")
        parts.append((*arrays, records))
    if len(parts) == 1:
        return Photos(*parts[0])
    pictures, maps, hints = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return Photos(pictures, maps, hints, [record for part in parts for record in part[3]])


def batch(photos: Photos, number: int, mix: Mix, seed: int) -> Batch:
    """Training batch `number`: always the same for the same seed and mix."""
    rng = np.random.default_rng([seed, number])
    side, count = SIZES[number % len(SIZES)]
    train, drawn = photos.split("train"), photos.split("drawn")
    chosen = rng.choice(train, count, replace=False)
    if len(drawn):
        chosen = np.where(rng.random(count) < mix.drawn, rng.choice(drawn, count), chosen)
    made = [crop(photos, int(index), random_view(photos.records[index], side, mix, rng), side, mix) for index in chosen]
    pictures, targets, hints = zip(*made, strict=True)
    return Batch(np.stack([jittered(p, rng) for p in pictures]), np.stack(targets), np.stack(hints))


def whole(photos: Photos, indices: NDArray[np.int64], mix: Mix) -> Batch:
    """Whole pictures, unchanged: what the validation loss is measured on."""
    view = View(np.eye(2), np.zeros(2), False)
    made = [crop(photos, int(index), view, SIDE, mix) for index in indices]
    pictures, targets, hints = (np.stack(part) for part in zip(*made, strict=True))
    return Batch(pictures, targets, hints)


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
    angle = math.radians(rng.normal(0, 14)) if rng.random() < 0.6 else 0.0
    mirrored = bool(rng.random() < 0.5)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * turn @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    return View(linear, side / 2 - linear @ centre, mirrored)


def crop(
    photos: Photos, index: int, view: View, side: int, mix: Mix
) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """Picture u8 [n,n,3], target f32 [c,c,56] and hint f32 [c,c,F] of one view."""
    record = photos.records[index]
    cells = side // layout.STRIDE
    matrix = np.concatenate([view.linear, view.shift[:, None]], axis=1)
    source = photos.pictures[index, : record["height"], : record["width"]]
    picture = cv2.warpAffine(source, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD))
    people = np.zeros((len(record["people"]), layout.KEYPOINTS, 3), np.float32)
    teacher = np.full((cells, cells), record.get("teacher", 1.0), np.float32)
    scale = math.sqrt(abs(np.linalg.det(view.linear)))
    for person, out in zip(record["people"], people, strict=True):
        points = np.array(person["keypoints"])
        points = points[list(layout.SKELETON.flip)] if view.mirrored else points
        out[:, :2] = (points[:, :2] @ view.linear.T + view.shift - layout.CELL_CENTRE_PX) / layout.STRIDE
        out[:, 2] = points[:, 2]
        # the smaller the person is in the crop, the less the teacher sees of it
        _lower_box(teacher, person["box"], view, person.get("teacher", mix.teacher) * min(1.0, scale))
    target = np.zeros((cells, cells, layout.CHANNELS), np.float32)
    hint = np.zeros((cells, cells, photos.hints.shape[-1]), np.float32)
    inverse = np.linalg.inv(view.linear)
    to_photo = np.concatenate([inverse, (-inverse @ view.shift)[:, None]], axis=1)
    turn = view.linear / scale
    mirror_width = -(-record["width"] // layout.STRIDE) * layout.STRIDE if view.mirrored else 0
    hints = photos.hints[index, int(view.mirrored)]
    channels = _MIRRORED if view.mirrored else _STRAIGHT
    _label(people, target, _LIMBS)
    _blend(photos.maps[index], hints, teacher, to_photo, turn, channels, mirror_width, target, hint)
    return picture, target, hint


def _lower_box(teacher: FloatArray, box: list[float], view: View, weight: float) -> None:
    """Set the teacher's weight in the cells of a labelled box (xywh px of the photo)."""
    x, y, width, height = box
    corners = np.array([[x, y], [x + width, y], [x, y + height], [x + width, y + height]]) @ view.linear.T + view.shift
    left, top = np.floor(corners.min(0) / layout.STRIDE - 0.5).astype(int).clip(0)
    right, bottom = np.ceil(corners.max(0) / layout.STRIDE + 0.5).astype(int).clip(0)
    teacher[top:bottom, left:right] = weight


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
    hints: NDArray[np.int8],
    teacher: FloatArray,
    to_photo: NDArray[np.float64],
    turn: NDArray[np.float64],
    channels: NDArray[np.int64],
    mirror_width: int,
    target: FloatArray,
    hint: FloatArray,
) -> None:
    """Mix the teacher's maps into `target` by its weight, cell by cell, and look up its features."""
    cells, limit, keypoints = target.shape[0], maps.shape[0], 18
    weights, rows, columns = np.zeros(4), np.zeros(4, np.int64), np.zeros(4, np.int64)
    values = np.zeros(maps.shape[2])
    for row in range(cells):
        for column in range(cells):
            cx, cy = column * 8 + 3.5, row * 8 + 3.5
            x = to_photo[0, 0] * cx + to_photo[0, 1] * cy + to_photo[0, 2]
            y = to_photo[1, 0] * cx + to_photo[1, 1] * cy + to_photo[1, 2]
            keep = 1 - teacher[row, column]
            _taps(x, y, limit, rows, columns, weights)
            values[:] = 0
            for tap in range(4):
                if weights[tap] > 0:
                    for c in range(values.size):
                        values[c] += weights[tap] / 127 * maps[rows[tap], columns[tap], c]
            for c in range(keypoints):
                target[row, column, c] = keep * target[row, column, c] + (1 - keep) * values[channels[c]]
            for c in range(keypoints, values.size, 2):  # the field turns with the picture
                vx, vy = values[channels[c]], values[channels[c + 1]]
                wx, wy = turn[0, 0] * vx + turn[0, 1] * vy, turn[1, 0] * vx + turn[1, 1] * vy
                target[row, column, c] = keep * target[row, column, c] + (1 - keep) * wx
                target[row, column, c + 1] = keep * target[row, column, c + 1] + (1 - keep) * wy
            if mirror_width > 0:
                _taps(mirror_width - 1 - x, y, limit, rows, columns, weights)
            for tap in range(4):
                if weights[tap] > 0:
                    for c in range(hint.shape[2]):
                        hint[row, column, c] += weights[tap] / HINT_STEPS * hints[rows[tap], columns[tap], c]


@numba.njit(cache=True)
def _taps(
    x: float, y: float, limit: int, rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray[np.float64]
) -> None:
    """The four cells around a pixel and their bilinear weights; 0 outside the maps."""
    fx, fy = (x - 3.5) / 8, (y - 3.5) / 8
    left, top = math.floor(fx), math.floor(fy)
    for tap in range(4):
        columns[tap], rows[tap] = left + tap % 2, top + tap // 2
        wx = fx - left if tap % 2 else 1 - fx + left
        wy = fy - top if tap // 2 else 1 - fy + top
        inside = 0 <= columns[tap] < limit and 0 <= rows[tap] < limit
        weights[tap] = wx * wy if inside else 0.0
