"""Drawn training pictures: random figures and clutter on walls, floors and photos, and scenes with nobody in them.

`python -m posert.export.nano.training.drawn` writes them as a cache like that of the photos. Their labels are the
truth, so the teacher has no say where figures were drawn or where nothing but clutter is; elsewhere on a photo its
answer about that photo counts. None of this is the clip: other bodies, clothes, poses and places.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posert.export.nano import layout
from posert.export.nano.figures import Body, Clothes, Colour, Picture, Pose, draw, place, pose_body, seen
from posert.export.nano.training import cache

SIZE_WH = (352, 264)
FINER = 2
EMPTY, ON_PHOTO = 0.15, 0.4  # shares of the scenes: with nobody, over a training photo
CROSSING = 0.6  # share of the figures that stand close in front of another


def random_pose(rng: np.random.Generator) -> Pose:
    """Standing, walking, waving, crouching, sitting, falling or lying, in any direction; walkers often in profile."""
    kind = rng.choice(["stand", "walk", "crouch", "lie", "fall"], p=[0.22, 0.38, 0.1, 0.16, 0.14])
    swing, one, other = rng.uniform(-1, 1), rng.uniform(0, 1, 4), rng.uniform(0, 1, 4)
    arms_up = rng.random(2) < 0.25
    arm_spread = [float(rng.uniform(5, 35) + up * rng.uniform(30, 110)) for up in arms_up]
    arm_flex = [
        float(rng.normal(0, 14) - 30 * swing * s + (rng.random() < 0.25) * rng.uniform(0, 110)) for s in (1, -1)
    ]
    values: dict[str, Any] = {
        "heading": float(rng.uniform(-180, 180) if rng.random() < 0.55 else rng.normal(0, 40)),
        "lean": float(rng.normal(4, 7)),
        "side": float(rng.normal(0, 5)),
        "look": float(rng.normal(0, 25)),
        "nod": float(rng.normal(4, 10)),
        "roll": float(rng.normal(0, 4)),
        "arm_flex": tuple(arm_flex),
        "arm_spread": tuple(arm_spread),
        "elbow_flex": tuple(float(70 * v * v) for v in one[:2]),
        "elbow_spread": tuple(float(up * 100 * v) for up, v in zip(arms_up, one[2:], strict=True)),
    }
    if kind == "walk":
        values["hip_flex"] = (float(28 * swing), float(-28 * swing))
        values["knee"] = tuple(float(6 + 45 * v * v) for v in other[:2])
    elif kind == "crouch":
        values["lean"] = float(rng.uniform(5, 50))
        values["hip_flex"] = tuple(float(40 + 60 * v) for v in other[:2])
        values["knee"] = tuple(float(50 + 70 * v) for v in other[2:])
    else:
        values["hip_flex"] = tuple(float(v) for v in rng.normal(2, 7, 2))
        values["hip_spread"] = tuple(float(v) for v in rng.uniform(1, 12, 2))
        values["knee"] = tuple(float(5 + 22 * v * v) for v in other[:2])
    if kind == "walk" and rng.random() < 0.7:
        values["heading"] = float(rng.choice([-1, 1]) * rng.normal(85, 15))
    if kind == "fall":
        values["pitch"] = float(rng.choice([-1, 1]) * rng.uniform(5, 75))
        values["hip_flex"] = tuple(float(v) for v in rng.uniform(0, 90, 2))
        values["knee"] = tuple(float(v) for v in rng.uniform(5, 110, 2))
        values["heading"] = float(rng.choice([-1, 1]) * rng.normal(80, 25))
    if kind == "lie":
        values["hip_flex"] = tuple(float(v) for v in rng.uniform(-5, 50, 2))
        values["pitch"] = float(rng.choice([-1, 1]) * rng.uniform(60, 95))
        values["heading"] = float(rng.choice([-1, 1]) * rng.normal(85, 12))
    return Pose(**values)


def random_clothes(rng: np.random.Generator) -> Clothes:
    """Clothes, skin and hair of any colour people have."""

    def colour(low: float, high: float) -> Colour:
        strong = rng.uniform(0.1, 1)
        values = strong * rng.uniform(low, high, 3) + (1 - strong) * rng.uniform(low, high)
        return float(values[0]), float(values[1]), float(values[2])

    tone, grey = rng.uniform(0.35, 1.0), rng.uniform(0.2, 1.4)
    long_hair = bool(rng.random() < 0.35)
    return Clothes(
        skin=(165 * tone + 10 * rng.random(), 190 * tone, 235 * tone),
        hair=(60 * grey, 90 * grey, 130 * grey),
        shirt=colour(20, 245),
        trousers=colour(20, 160),
        shoes=colour(15, 120),
        long_sleeves=bool(rng.random() < 0.45),
        long_legs=bool(rng.random() < 0.7),
        long_hair=long_hair,
        skirt=long_hair and bool(rng.random() < 0.4),
        width=float(rng.uniform(0.88, 1.3)),
    )


def room(rng: np.random.Generator, size_wh: tuple[int, int]) -> Picture:
    """A wall and a floor with patterns and clutter: posts, boxes, plants, balls; nobody."""
    width, height = size_wh
    horizon = int(height * rng.uniform(0.35, 0.75))
    picture = np.zeros((height, width, 3), np.float64)
    for top, bottom in ((0, horizon), (horizon, height)):
        shade = np.linspace(rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.1), bottom - top)[:, None, None]
        picture[top:bottom] = (rng.uniform(50, 220) + rng.normal(0, 22, 3)) * shade
        _pattern(picture[top:bottom], rng)
    coarse = rng.normal(0, rng.uniform(2, 14), (height // 24, width // 24, 3))
    picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas = np.clip(picture, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 9)):
        _clutter(canvas, horizon, rng)
    return canvas


def _pattern(area: np.ndarray[Any, np.dtype[np.float64]], rng: np.random.Generator) -> None:
    """Stripes, tiles or nothing, in place."""
    kind, step, depth = rng.integers(0, 4), int(rng.integers(8, 60)), rng.uniform(-30, 30)
    line = max(1, step // int(rng.integers(3, 12)))
    if kind in (1, 3):
        area[:, np.arange(area.shape[1]) % step < line] += depth
    if kind in (2, 3):
        area[np.arange(area.shape[0]) % step < line] += depth


def _clutter(canvas: Picture, horizon: int, rng: np.random.Generator) -> None:
    """One thing that is not a person, often tall and thin or with a round top, as people are."""
    height, width = canvas.shape[:2]
    x, y = int(rng.uniform(0, width)), int(rng.uniform(horizon - 0.1 * height, height))
    tall, thin = int(rng.uniform(0.1, 0.8) * height), int(rng.uniform(3, 26) * FINER)
    colour = tuple(float(v) for v in rng.uniform(15, 240, 3))
    other = tuple(float(v) for v in rng.uniform(15, 240, 3))
    kind = rng.integers(0, 6)
    if kind <= 1:  # a post, perhaps with a ball on top
        cv2.rectangle(canvas, (x, y - tall), (x + thin, y), colour, -1)
        cv2.rectangle(canvas, (x, y - tall), (x + thin // 3, y), other, -1)
        if kind:
            cv2.circle(canvas, (x + thin // 2, y - tall), int(0.8 * thin), other, -1, cv2.LINE_AA)
    elif kind == 2:  # a box or window
        cv2.rectangle(canvas, (x, y - tall), (x + int(tall * rng.uniform(0.4, 2)), y - tall // 2), colour, -1)
        cv2.rectangle(canvas, (x, y - tall), (x + int(tall * rng.uniform(0.4, 2)), y - tall // 2), other, 4)
    elif kind == 3:  # a plant
        for _ in range(int(rng.integers(20, 120))):
            leaf = (int(x + rng.normal(0, 2 * thin)), int(y - tall / 2 + rng.normal(0, tall / 5)))
            cv2.circle(canvas, leaf, int(rng.uniform(2, 9)), (50.0, float(rng.uniform(60, 180)), 70.0), -1)
    elif kind == 4:  # a chair or table: legs and a top
        for leg in (0, 1):
            cv2.line(canvas, (x + leg * tall // 2, y - tall // 3), (x + leg * tall // 2, y), colour, 4 + thin // 8)
        cv2.rectangle(canvas, (x - 4, y - tall // 3 - 8), (x + tall // 2 + 4, y - tall // 3), other, -1)
    else:
        cv2.ellipse(canvas, (x, y), (thin * 2, int(thin * rng.uniform(0.5, 2))), 0, 0, 360, colour, -1, cv2.LINE_AA)


def scene(rng: np.random.Generator, photo: tuple[Picture, list[dict[str, Any]]]) -> tuple[Picture, dict[str, Any]]:
    """One picture u8 [H,W,3] of at most 352 px and its record; `maps` is left to the caller."""
    over_photo = rng.random() < ON_PHOTO
    size = (photo[0].shape[1], photo[0].shape[0]) if over_photo else SIZE_WH
    large = (size[0] * FINER, size[1] * FINER)
    canvas = cv2.resize(photo[0], large, interpolation=cv2.INTER_CUBIC) if over_photo else room(rng, large)
    canvas = np.ascontiguousarray(canvas, np.uint8)
    owner = np.full(canvas.shape[:2], -1, np.int32)
    count = 0 if not over_photo and rng.random() < EMPTY / (1 - ON_PHOTO) else int(rng.integers(1, 5))
    grounds = np.sort(rng.uniform(0.7, 1.1, count)) * large[1]
    stature = rng.uniform(0.35, 1.0) * large[1]
    bodies: list[Body] = []
    for name, ground in enumerate(grounds):
        own = float(stature * rng.uniform(0.75, 1.2) * (0.6 + 0.4 * ground / large[1]))
        x = rng.uniform(0.05, 0.95) * large[0]
        if bodies and rng.random() < CROSSING:
            x = bodies[-1].joints[1, 0] + rng.normal(0, 0.15) * own
        body = place(pose_body(random_pose(rng)), (float(x), float(ground)), own)
        draw(canvas, owner, body, random_clothes(rng), own, name)
        bodies.append(body)
    picture = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    grain = rng.normal(0, rng.uniform(0, 6), picture.shape[:2])[:, :, None]
    picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
    people = _uncovered(photo[1], owner) if over_photo else []
    people += [_person(body, owner, name) for name, body in enumerate(bodies)]
    return picture, {"split": "train", "people": people, "crowd": [], "maps": over_photo}


def _person(body: Body, owner: np.ndarray[Any, np.dtype[np.int32]], name: int) -> dict[str, Any]:
    """Label of a drawn figure; joints hidden by other figures count only when they are near what is seen."""
    visible = seen(owner, body.joints, name)
    height, width = owner.shape
    inside = (body.joints[:, 0] > 0) & (body.joints[:, 1] > 0)
    inside &= (body.joints[:, 0] < width) & (body.joints[:, 1] < height)
    points = np.zeros((layout.KEYPOINTS, 3))
    points[:, :2] = (body.joints[:, :2] + 0.5) / FINER - 0.5
    points[:, 2] = np.where(visible, 2, 1) * inside * (visible.sum() >= 3)
    low, high = points[:, :2].min(0) - 6, points[:, :2].max(0) + 6
    box = [*low.tolist(), *(high - low).tolist()]
    return {"keypoints": points.round(2).tolist(), "box": box, "teacher": 0.0}


def _uncovered(people: list[dict[str, Any]], owner: np.ndarray[Any, np.dtype[np.int32]]) -> list[dict[str, Any]]:
    """The labelled people of a photo without the keypoints that a figure now covers."""
    kept = []
    for person in people:
        points = np.array(person["keypoints"])
        columns = np.clip(points[:, 0] * FINER, 0, owner.shape[1] - 1).astype(int)
        rows = np.clip(points[:, 1] * FINER, 0, owner.shape[0] - 1).astype(int)
        points[owner[rows, columns] >= 0, 2] = 0
        kept.append(person | {"keypoints": points.tolist()})
    return kept


def scenes(folder: Path, count: int, seed: int) -> Iterator[tuple[Picture, dict[str, Any]]]:
    """`count` scenes, each from its number alone; `maps` is the place of the photo under it in the cache `folder`."""
    pictures = np.load(folder / "img.npy", mmap_mode="r")
    photos = json.loads((folder / "meta.json").read_text())
    train = [place for place, photo in enumerate(photos) if photo["split"] == "train"]
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        place = train[int(rng.integers(len(train)))]
        photo = photos[place]
        picture, record = scene(rng, (pictures[place, : photo["height"], : photo["width"]], photo["people"]))
        yield picture, record | {"maps": place if record["maps"] else None}


def main() -> None:
    """Draw and prepare from the command line."""
    parser = argparse.ArgumentParser(description="Draw training pictures.")
    parser.add_argument("--photos", type=Path, required=True, help="cache of photos, the first one in training as well")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cache.write(arguments.out, list(scenes(arguments.photos, arguments.count, arguments.seed)), 8 * cache.CELLS)


if __name__ == "__main__":
    main()
