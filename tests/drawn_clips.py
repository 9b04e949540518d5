"""Six drawn clips whose ids are known, each made to break trackers in a way of its own, and their half-rate versions.

Every frame and its truth come from the clip's name and the frame's number alone, as in `export/nano/clip.py`, whose
street and figures they are made of. `python tests/drawn_clips.py FOLDER` writes them all, videos and truths.
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posert.export.nano import layout
from posert.export.nano.clip import FINER, FPS, HEIGHT, WIDTH, Figure, background, outlines, pace, paint, walk
from posert.export.nano.figures import Clothes, Picture, place, pose_body
from posert.poses import Poses

LEAST_SEEN = 5  # whoever shows fewer keypoints is neither asked for nor held against a tracker
Way = tuple[tuple[float, float, float], ...]  # (s, x px, y px of the ground), walked straight and evenly in between
_TURN_S = 0.25

RED = Clothes(shirt=(55, 55, 190), trousers=(120, 95, 70), hair=(25, 25, 30), skin=(110, 145, 200))
BLUE = Clothes(shirt=(165, 100, 40), trousers=(60, 58, 64), hair=(60, 85, 120), long_sleeves=True)
GREEN = Clothes(shirt=(70, 145, 60), trousers=(150, 140, 130), hair=(35, 60, 110), long_hair=True)
YELLOW = Clothes(shirt=(60, 175, 215), trousers=(80, 40, 35), skin=(140, 170, 220), long_legs=False)
WHITE = Clothes(shirt=(215, 215, 210), trousers=(70, 60, 150), hair=(40, 40, 45), skin=(75, 105, 155))
VIOLET = Clothes(shirt=(140, 60, 120), trousers=(70, 110, 90), hair=(90, 120, 150), skirt=True, long_hair=True)
_TEAM = {"shirt": (150, 110, 60), "trousers": (75, 70, 70)}
TEAM = (
    Clothes(**_TEAM, hair=(25, 25, 30), skin=(110, 145, 200)),
    Clothes(**_TEAM, hair=(60, 85, 120), skin=(150, 180, 228), long_hair=True),
    Clothes(**_TEAM, hair=(40, 40, 45), skin=(75, 105, 155), long_sleeves=True),
    Clothes(**_TEAM, hair=(30, 45, 70), skin=(140, 170, 220)),
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who walks where; outside his times and outside the picture he is not there."""

    clothes: Clothes
    stature_px: float
    way: Way

    def at(self, time_s: float) -> Figure | None:
        """His figure, None before the first and after the last place of his way."""
        if not self.way[0][0] <= time_s <= self.way[-1][0]:
            return None
        times, xs, ys = (np.array(column) for column in zip(*self.way, strict=True))
        x, y = float(np.interp(time_s, times, xs)), float(np.interp(time_s, times, ys))
        lengths = np.concatenate([[0], np.cumsum(np.hypot(np.diff(xs), np.diff(ys)))])
        walked = float(np.interp(time_s, times, lengths))
        pixels = np.gradient(np.interp(time_s + np.array([-_TURN_S, 0, _TURN_S]), times, xs), _TURN_S)[1]
        speed = float(pixels) / self.stature_px
        pose = walk(walked / pace(self.stature_px), 85 * math.tanh(5 * speed), stride=min(1.0, 3 * abs(speed)))
        return Figure(place(pose_body(pose), (x, y), self.stature_px), self.clothes, self.stature_px, y)


@dataclass(frozen=True, slots=True)
class Clip:
    """People, what stands in front of them (left, top, right, bottom px), and how far the camera is shaken, px."""

    actors: tuple[Actor, ...]
    seconds: float = 12.0
    screens: tuple[tuple[int, int, int, int], ...] = ()
    shake_px: float = 0.0

    @property
    def frames(self) -> int:
        return round(self.seconds * FPS)

    def render(self, index: int) -> tuple[Picture, np.ndarray, np.ndarray, np.ndarray]:
        """Frame `index`: BGR u8 [360,640,3], keypoints f32 [N,18,3] (1 seen, .5 hidden, 0 outside), ids, areas px."""
        time_s = index / FPS
        dx, dy = (self.shake_px * _wobble(time_s, axis) for axis in range(2))
        there = {key: actor.at(time_s) for key, actor in enumerate(self.actors, 1)}
        people = [_moved(figure, dx, dy) for figure in there.values() if figure is not None]
        screens = [_shifted(screen, round(dx), round(dy)) for screen in self.screens]
        frame, keypoints = paint(people, _shaken(background(), dx, dy), index, screens)
        ids = np.array([key for key, figure in there.items() if figure is not None], np.int32)
        seen = (keypoints[:, :, 2] > 0).any(axis=1)
        return frame, keypoints[seen], ids[seen], outlines(people)[seen]


def _wobble(time_s: float, axis: int) -> float:
    """Where a hand holds the camera, -1..1."""
    beats = ((1.7, 0.3), (3.1, 1.1), (5.3, 2.0)) if axis == 0 else ((1.3, 0.9), (2.7, 0.2), (6.1, 1.6))
    return sum(math.sin(math.tau * rate * time_s + phase) for rate, phase in beats) / 3


def _moved(figure: Figure, dx: float, dy: float) -> Figure:
    move = np.array([dx, dy, 0])
    body = type(figure.body)(figure.body.joints + move, figure.body.ends + move)
    return Figure(body, figure.clothes, figure.stature_px, figure.ground_px + dy)


def _shifted(screen: tuple[int, int, int, int], dx: int, dy: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = screen
    return max(0, left + dx), max(0, top + dy), min(WIDTH, right + dx), min(HEIGHT, bottom + dy)


def _shaken(scene: Picture, dx: float, dy: float) -> Picture:
    if not (dx or dy):
        return scene
    move = np.array([[1, 0, dx * FINER], [0, 1, dy * FINER]])
    size = (scene.shape[1], scene.shape[0])
    return np.asarray(cv2.warpAffine(scene, move, size, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _pacing(x0: float, x1: float, y: float, each_s: float, seconds: float, begin_s: float = 0.0) -> Way:
    """To and fro between two places, `each_s` a way."""
    count = math.ceil((seconds - begin_s) / each_s) + 1
    return tuple((begin_s + n * each_s, x0 if n % 2 == 0 else x1, y) for n in range(count))


CLIPS = {
    # Four people at three depths who walk to and fro and cross again and again.
    "crossings": Clip((
        Actor(RED, 230, _pacing(80, 560, 318, 5.0, 12)),
        Actor(BLUE, 250, _pacing(570, 90, 334, 4.2, 12)),
        Actor(GREEN, 215, _pacing(330, 500, 300, 3.1, 12)),
        Actor(YELLOW, 270, _pacing(20, 600, 350, 6.1, 12)),
    )),
    # Two who pass behind a wall for a second and more, one who turns round behind it, one who stands still in front.
    "hidden": Clip((
        Actor(RED, 225, _pacing(60, 590, 312, 5.5, 13)),
        Actor(GREEN, 225, _pacing(590, 50, 306, 6.4, 13)),
        Actor(WHITE, 232, ((0, 80, 320), (3.4, 320, 320), (4.2, 320, 320), (7.5, 70, 320), (13, 420, 320))),
        Actor(YELLOW, 265, ((0, 520, 348), (13, 520, 348))),
    ), 13, screens=((255, 60, 385, 360),)),
    # People who leave the picture and come back after 2 to 6 s, on the same side or on the other; then a stranger.
    "returns": Clip((
        Actor(RED, 235, ((0, 200, 322), (2.5, -80, 322), (7, -80, 322), (10, 260, 322), (14, 420, 322))),
        Actor(BLUE, 245, ((0, 330, 334), (3, 720, 334), (6.5, -80, 334), (10.5, 330, 334), (14, 720, 334))),
        Actor(GREEN, 225, ((0, 460, 308), (4, 300, 308), (8, 460, 308), (14, 300, 308))),
        Actor(VIOLET, 235, ((2.6, -80, 318), (6, 240, 318), (9, 720, 318), (14, 720, 318))),
        Actor(WHITE, 250, ((4, 720, 344), (7, 500, 344), (9.5, 720, 344), (11.5, 720, 344), (14, 480, 344))),
    ), 14),
    # A team in one dress: two cross, one leaves, and another one of them enters on that side two seconds later.
    "alike": Clip((
        Actor(TEAM[0], 235, _pacing(100, 540, 322, 4.6, 13)),
        Actor(TEAM[1], 240, _pacing(560, 80, 330, 5.2, 13)),
        Actor(TEAM[2], 230, ((0, 330, 312), (3.6, -80, 312))),
        Actor(TEAM[3], 232, ((5.4, -80, 316), (9, 300, 316), (13, 120, 316))),
    ), 13),
    # A camera in a running hand.
    "shaken": Clip((
        Actor(RED, 225, _pacing(120, 540, 312, 4.6, 12)),
        Actor(WHITE, 238, _pacing(560, 90, 326, 4.0, 12)),
        Actor(GREEN, 230, _pacing(260, 420, 318, 2.9, 12)),
        Actor(BLUE, 250, ((0, 690, 340), (2, 690, 340), (6, 300, 340), (9, -80, 340), (12, 200, 340))),
    ), 12, shake_px=22),
    # People who run, meet, turn on their heel and go back: what moves on evenly becomes the other one.
    "meetings": Clip((
        Actor(RED, 235, _pacing(60, 310, 322, 1.7, 12)),
        Actor(BLUE, 240, _pacing(580, 330, 326, 1.7, 12)),
        Actor(YELLOW, 255, (
            (0, 20, 344), (2.2, 600, 344), (4.5, 40, 344), (6.5, 600, 344), (9, 30, 344), (12, 600, 344),
        )),
        Actor(VIOLET, 220, ((0, 600, 300), (3, 340, 300), (5, 400, 300), (8, 100, 300), (10, 320, 300), (12, 80, 300))),
    ), 12),
}  # fmt: skip


Rendered = tuple[Picture, np.ndarray, np.ndarray, np.ndarray]
"""As `Clip.render` gives it."""


def truth_of(frames: Iterable[Rendered]) -> dict[str, Any]:
    """The truth of some frames as PoseTrack writes it: what is seen of each person, place and box.

    `iscrowd` marks those of whom little is seen.
    """
    images, people = [], []
    for number, (_, *rows) in enumerate(frames):
        images.append({"id": number, "file_name": f"{number:06d}.png", "is_labeled": True})
        for points, key, area in zip(*rows, strict=True):
            seen = points[:, 2] == 1
            if not seen.any():
                continue
            low, high = points[seen, :2].min(axis=0), points[seen, :2].max(axis=0)
            people.append({
                "id": len(people), "image_id": number, "track_id": int(key), "area": float(area),
                "bbox": [float(value) for value in (*low, *(high - low))], "iscrowd": int(seen.sum() < LEAST_SEEN),
                "keypoints": [float(v) for v in np.where(seen[:, None], points.round(2) * (1, 1, 2), 0).ravel()],
            })  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": layout.SKELETON.names}
    return {"images": images, "annotations": people, "categories": [category]}


def detections(frames: Iterable[Rendered], fps: float, seed: int = 0) -> list[tuple[float, Picture, Poses]]:
    """Of each frame the time, the picture, and what a middling network would find there.

    Places jitter; of what is seen a keypoint is missed now and then, of what is hidden some are found all the same; a
    person in twenty is missed, one in thirty found in half, and now and then somebody is found where nobody is.
    """
    rng, found = np.random.default_rng(seed), []
    for number, (picture, keypoints, _, areas) in enumerate(frames):
        people = [_blurred(points, area, rng) for points, area in zip(keypoints, areas, strict=True)]
        people = [person for person in people if person is not None]
        if rng.random() < 1 / 60 and len(keypoints):
            ghost = keypoints[rng.integers(len(keypoints))].astype(np.float64).copy()
            ghost[:, :2] += rng.normal(0, 120, 2) + rng.normal(0, 12, (len(ghost), 2))
            ghost[:, 2] = 0.35
            people.append(ghost)
        order = rng.permutation(len(people))
        found.append((number / fps, picture, _poses([people[i] for i in order], len(layout.SKELETON.names))))
    return found


def _blurred(points: np.ndarray, area: float, rng: np.random.Generator) -> np.ndarray | None:
    """One person as he might be found, f64 [18,3]; None if he is missed."""
    seen, noisy = points[:, 2] == 1, points.astype(np.float64).copy()
    noisy[:, :2] += rng.normal(0, 0.025 * math.sqrt(max(area, 100)), (len(points), 2))
    kept = rng.random(len(points)) < np.where(seen, 0.95, np.where(points[:, 2] > 0, 0.3, 0))
    if rng.random() < 1 / 30:
        kept &= (np.arange(len(points)) < 8) == (rng.random() < 0.5)
    noisy[:, 2] = np.clip(rng.normal(0.8, 0.1, len(points)), 0.1, 1)
    missed = rng.random() < 1 / 20 or seen.sum() < LEAST_SEEN or kept.sum() < LEAST_SEEN
    return None if missed else np.where(kept[:, None], noisy, 0)


def _poses(people: Sequence[np.ndarray], count: int) -> Poses:
    keypoints = np.array(people, np.float32).reshape(len(people), count, 3)
    there = keypoints[:, :, 2:] > 0
    low = np.where(there, keypoints[:, :, :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(there, keypoints[:, :, :2], -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.concatenate([low, high], axis=1).astype(np.float32)
    scores = keypoints[:, :, 2].sum(axis=1) / np.maximum(there[:, :, 0].sum(axis=1), 1)
    return Poses(keypoints, scores.astype(np.float32), boxes)


def write(folder: Path) -> None:
    """Every clip as NAME.mp4 and NAME-half.mp4 with its truth as .json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, clip in CLIPS.items():
        frames = [clip.render(index) for index in range(clip.frames)]
        for step, path in ((1, folder / f"{name}.mp4"), (2, folder / f"{name}-half.mp4")):
            video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS / step, (WIDTH, HEIGHT))
            for picture, *_ in frames[::step]:
                video.write(picture)
            video.release()
            path.with_suffix(".json").write_text(json.dumps(truth_of(frames[::step])))


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "out/clips"))
