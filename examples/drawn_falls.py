"""Drawn clips of one person who falls, or does something else: `python drawn_falls.py FOLDER [--clips 8] [--seed 0]`.

Each is 3 s long at 8 frames a second and called KIND-NUMBER.mp4; kinds that are falls begin with `fall`. Who, where,
how large, how fast and when comes from the seed. posert's own figures, so that the clips may be given on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from posert.export.nano.clip import HEIGHT, WIDTH, Figure, background, between, pace, paint, walk
from posert.export.nano.figures import Clothes, Pose, place, pose_body

SECONDS, FPS = 3.0, 8
STAND = Pose(arm_flex=(3, 3))
SQUAT = Pose(lean=38, arm_flex=(50, 45), elbow_flex=(25, 30), hip_flex=(100, 92), knee=(122, 118))
SEATED = Pose(pitch=-16, lean=12, arm_flex=(30, 34), elbow_flex=(10, 10), hip_flex=(104, 96), knee=(14, 40))
ON_BACK = Pose(
    pitch=-88, nod=10, arm_flex=(35, 50), arm_spread=(35, 25), elbow_flex=(25, 30), hip_flex=(20, 38), knee=(30, 62)
)
ON_FRONT = Pose(
    pitch=86, nod=-18, arm_flex=(130, 150), arm_spread=(30, 25), elbow_flex=(40, 20), hip_flex=(4, 16), knee=(8, 22)
)
ON_SIDE = Pose(roll=86, arm_flex=(40, 60), arm_spread=(14, 30), elbow_flex=(50, 35), hip_flex=(30, 44), knee=(42, 70))
KINDS = {  # seconds and poses from the moment on when it begins; before that the person walks or stands
    "fall-backward": (
        (0.3, Pose(pitch=-14, lean=-6, arm_flex=(70, 95), arm_spread=(30, 20), hip_flex=(38, 5), knee=(22, 8))),
        (0.7, Pose(pitch=-52, lean=14, arm_flex=(60, 40), hip_flex=(58, 40), knee=(48, 40))), (1.0, ON_BACK),
    ),
    "fall-forward": (
        (0.25, Pose(pitch=18, lean=14, arm_flex=(60, 80), hip_flex=(-8, 30), knee=(40, 14))),
        (0.6, Pose(pitch=52, lean=10, arm_flex=(110, 120), hip_flex=(10, 30), knee=(30, 40))), (0.85, ON_FRONT),
    ),
    "fall-aside": (
        (0.3, Pose(roll=16, arm_spread=(50, 60), hip_flex=(14, 20), knee=(26, 30))),
        (0.65, Pose(roll=52, arm_spread=(40, 70), hip_flex=(30, 40), knee=(50, 60))), (0.95, ON_SIDE),
    ),
    "fall-faint": (
        (0.45, SQUAT), (0.8, Pose(roll=44, lean=20, hip_flex=(80, 84), knee=(100, 110))), (1.15, ON_SIDE),
    ),
    "walks": (),
    "waves": (
        (0.4, Pose(arm_spread=(100, 8), elbow_spread=(60, 0))), (0.8, Pose(arm_spread=(100, 8), elbow_spread=(95, 0))),
        (1.2, Pose(arm_spread=(100, 8), elbow_spread=(55, 0))), (1.7, STAND),
    ),
    "picks-up": (
        (0.6, Pose(lean=82, arm_flex=(88, 70), hip_flex=(46, 40), knee=(52, 46))),
        (0.9, Pose(lean=84, arm_flex=(92, 70), hip_flex=(48, 42), knee=(54, 48))), (1.6, STAND),
    ),
    "squats": ((0.45, SQUAT), (1.1, SQUAT), (1.6, STAND)),
    "crouches": ((0.5, SQUAT), (3.0, SQUAT)),
    "sits-down": ((0.7, SQUAT), (1.3, SEATED)),
    "lies-down": ((0.7, SQUAT), (1.3, SEATED), (2.1, ON_BACK)),
}  # fmt: skip


def clip(kind: str, seed: int) -> list[np.ndarray]:
    """The pictures u8 [360,640,3] of one clip."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    stature, tempo, onset = rng.uniform(185, 265), rng.uniform(0.85, 1.2), rng.uniform(0.3, 0.8)
    ground, heading = rng.uniform(290, 345), rng.choice([-1, 1]) * rng.uniform(50, 95)
    x, walks = rng.uniform(220, 420), rng.random() < 0.7 or kind == "walks"
    colours = rng.uniform(40, 210, (2, 3))
    clothes = Clothes(
        shirt=tuple(colours[0]),
        trousers=tuple(colours[1]),
        long_sleeves=bool(rng.random() < 0.5),
        long_hair=bool(rng.random() < 0.4),
    )
    scene, rate = background()[:, :: int(rng.choice([-1, 1]))], rng.uniform(3.2, 4.4)
    pictures = []
    for number in range(int(SECONDS * FPS)):
        time = number / FPS
        steps = rate * (time if kind == "walks" else min(time, onset)) if walks else 0.0
        pose = walk(steps, heading, stride=float(walks))
        if time > onset and KINDS[kind]:
            turned = [(at / tempo, replace(each, heading=heading)) for at, each in KINDS[kind]]
            pose = between([(0.0, pose), *turned], time - onset)
        at = x + np.sign(heading) * pace(stature) * (steps - rate * onset)
        body = place(pose_body(pose), (at, ground), stature)
        pictures.append(paint([Figure(body, clothes, stature, ground)], scene, number)[0])
    return pictures


def write(folder: Path, clips: int, seed: int) -> None:
    """Writes so many clips of each kind; other seeds are other clips."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        for number in range(seed, seed + clips):
            path = str(folder / f"{kind}-{number:04}.mp4")
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
            for picture in clip(kind, number):
                writer.write(picture)
            writer.release()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=8, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write(asked.folder, asked.clips, asked.seed)
