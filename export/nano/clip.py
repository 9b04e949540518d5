"""The project's own clip: drawn people who walk, wave, fall and cross: `python -m posert.export.nano.clip out/x.mp4`.

Every frame and its truth come from the frame's number alone: no clock, no random state, no file. numpy and OpenCV.
Figures keep their place in the order of `ids` from the first frame to the last.

Truth: keypoints f32 [N,18,3], x px, y px (pixel i covers i - 0.5 .. i + 0.5) and 1 seen, 0.5 hidden by a body or
thing in front of it (its place is still exact), 0 outside the frame.
"""

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.export.nano import layout
from posert.export.nano.figures import SHIN, THIGH, Body, Clothes, Picture, Pose, Vector, draw, place, pose_body, seen

WIDTH, HEIGHT = 640, 360
FRAMES, FPS = 240, 24
STRIDE = 19.0  # degrees, the swing of a walking leg
FINER = 2  # drawn at twice the size, then averaged
HORIZON = 196.0  # px from above, where floor and wall meet
SCREEN = (96, 92, 88)  # the colour of what stands in front of everybody

Keyframes = Sequence[tuple[float, Pose]]
Placed = tuple[Pose, float, float]  # pose, x px, y px of the ground below


def walk(steps: float, heading: float, *, stride: float = 1.0, wave: float = 0.0) -> Pose:
    """A pose of the walk cycle, `steps` in radians; `stride` 0 stands, `wave` 0..1 lifts the right arm."""
    swing, cycle = stride * math.sin(steps), stride * math.cos(steps)
    arm = -24 * swing
    return Pose(
        heading=heading,
        lean=4 * stride,
        side=2 * cycle,
        arm_flex=(arm * (1 - wave) + 20 * wave, -arm),
        arm_spread=(8 + 90 * wave, 8),
        elbow_flex=(14 + max(0.0, arm) * (1 - wave), 14 + max(0.0, -arm)),
        elbow_spread=(75 * wave, 0),
        hip_flex=(STRIDE * swing, -STRIDE * swing),
        knee=(6 + 40 * max(0.0, cycle), 6 + 40 * max(0.0, -cycle)),
    )


def pace(stature_px: float) -> float:
    """Pixels walked per radian of the cycle, so that the standing foot does not slide."""
    return 4 * (THIGH + SHIN) * math.sin(math.radians(STRIDE)) / math.tau * stature_px


def stroll(time_s: float, rate: float, way_s: float, heading: float, stature_px: float) -> tuple[Pose, float]:
    """A pose and the px from the start of a walk to and fro: `way_s` each way, a second to turn."""
    ways, since_s = divmod(time_s, way_s + 1)
    turning = max(0.0, since_s - way_s)
    walked_s = min(since_s, way_s)
    stride = abs(2 * turning - 1) if turning else 1.0
    heading *= math.cos(math.pi * (ways + turning))
    along = walked_s if ways % 2 == 0 else way_s - walked_s
    return walk(rate * (ways * way_s + walked_s), heading, stride=stride), rate * along * pace(stature_px)


def waver(time_s: float) -> Placed:
    """Stands and waves, then looks around."""
    swing = math.sin(time_s * 7.5)
    raised = min(1.0, max(0.0, 4 - abs(time_s - 4.5)))
    pose = Pose(
        heading=8 + 10 * math.sin(time_s * 0.9),
        look=18 * math.sin(time_s * 1.3),
        side=2 * math.sin(time_s * 1.7),
        arm_flex=(4.0, 6 + 4 * math.sin(time_s)),
        arm_spread=(12.0, 12 + 72 * raised),
        elbow_flex=(14.0, 14.0),
        elbow_spread=(0.0, raised * (72 + 26 * swing)),
        hip_spread=(5, 5),
    )
    return pose, 78.0, 296.0


def goer(time_s: float) -> Placed:
    """Walks to the right and back, in front of the others."""
    pose, walked = stroll(time_s, 3.6, 2.4, 82.0, STATURES[1])
    return pose, 150 + walked, 346.0


def comer(time_s: float) -> Placed:
    """Walks to the left and back: crosses the goer twice."""
    pose, walked = stroll(time_s, 3.7, 3.3, -78.0, STATURES[2])
    return pose, 466 - walked, 322.0


_ON_BACK = Pose(
    heading=84, pitch=-88, nod=10, arm_flex=(35, 50), arm_spread=(35, 25), elbow_flex=(25, 30), hip_flex=(20, 38),
    knee=(30, 62),
)  # fmt: skip
_TUMBLE: Keyframes = (
    (0.0, walk(0.0, 84)),
    (0.3, Pose(heading=84, pitch=-14, lean=-6, arm_flex=(70, 95), arm_spread=(30, 20), hip_flex=(38, 5), knee=(22, 8))),
    (0.75, Pose(heading=84, pitch=-52, lean=14, nod=15, arm_flex=(60, 40), arm_spread=(30, 22), elbow_flex=(20, 30),
                hip_flex=(58, 40), knee=(48, 40))),
    (1.1, _ON_BACK),
    (2.5, _ON_BACK),
    (3.3, Pose(heading=80, pitch=-42, lean=48, nod=-10, arm_flex=(-18, 26), arm_spread=(20, 15), elbow_flex=(10, 40),
               hip_flex=(72, 96), knee=(88, 118))),
    (4.1, Pose(heading=76, pitch=2, lean=40, arm_flex=(52, 38), elbow_flex=(22, 30), hip_flex=(84, 30),
               knee=(92, 106))),
    (4.9, Pose(heading=50, lean=16, arm_flex=(16, 12), elbow_flex=(20, 20), hip_flex=(26, 14), knee=(36, 22))),
    (5.5, Pose(heading=22, arm_flex=(3, 3), look=-10)),
)  # fmt: skip
_FALL_S = 2.2


def faller(time_s: float) -> Placed:
    """Walks to the right, slips, lies, gets up."""
    stature = STATURES[3]
    steps = min(time_s, _FALL_S) * 4.6
    x = 300 + pace(stature) * steps
    if time_s < _FALL_S:
        return walk(steps - _FALL_S * 4.6, 84.0), x, 298.0
    return between(_TUMBLE, time_s - _FALL_S), x, 298.0


def between(keyframes: Keyframes, time_s: float) -> Pose:
    """The pose at a time, eased from one key frame to the next; the last one stays."""
    later = next((i for i, (at, _) in enumerate(keyframes) if at > time_s), None)
    if later is None:
        return keyframes[-1][1]
    (from_s, a), (to_s, b) = keyframes[later - 1], keyframes[later]
    share = (time_s - from_s) / (to_s - from_s)
    share = share * share * (3 - 2 * share)
    return mixed(a, b, share)


def mixed(a: Pose, b: Pose, share: float) -> Pose:
    """The pose `share` of the way from a to b, angle by angle."""
    values: dict[str, Any] = {}
    for name in Pose.__slots__:
        one, other = np.array(getattr(a, name)), np.array(getattr(b, name))
        angle = (one + (other - one) * share).tolist()
        values[name] = tuple(angle) if isinstance(angle, list) else angle
    return Pose(**values)


ACTORS: tuple[Callable[[float], Placed], ...] = (waver, goer, comer, faller)
STATURES = (222.0, 272.0, 246.0, 224.0)  # px
CLOTHES = (
    Clothes(shirt=(70, 140, 60), trousers=(95, 70, 50), hair=(35, 60, 110), skin=(150, 180, 228), long_hair=True),
    Clothes(shirt=(165, 110, 45), trousers=(62, 60, 66), hair=(25, 25, 30), skin=(110, 145, 200), long_sleeves=True),
    Clothes(shirt=(60, 60, 185), trousers=(120, 95, 70), hair=(60, 85, 120), skin=(70, 100, 150)),
    Clothes(shirt=(60, 170, 215), trousers=(80, 40, 35), hair=(40, 40, 45), long_legs=False, skin=(140, 170, 220)),
)
IDS = tuple(range(1, len(ACTORS) + 1))


def bodies(index: int) -> list[Body]:
    """The bodies of one frame in the order of `IDS`, placed, in px of the frame."""
    time_s = index / FPS
    placed = []
    for actor, stature in zip(ACTORS, STATURES, strict=True):
        pose, x, y = actor(time_s)
        placed.append(place(pose_body(pose), (x, y), stature))
    return placed


@dataclass(frozen=True, slots=True)
class Figure:
    """Somebody in the picture: a body placed in px of the frame, its clothes, stature and the ground below it, px."""

    body: Body
    clothes: Clothes
    stature_px: float
    ground_px: float


def figures(index: int) -> list[Figure]:
    """The figures of one frame, in the order of `IDS`."""
    grounds = [actor(index / FPS)[2] for actor in ACTORS]
    return [Figure(*each) for each in zip(bodies(index), CLOTHES, STATURES, grounds, strict=True)]


def render(index: int) -> tuple[Picture, NDArray[np.float32], NDArray[np.int32]]:
    """Frame `index` of 0..FRAMES-1: BGR u8 [360,640,3], keypoints f32 [N,18,3] (see above), ids i32 [N]."""
    return *paint(figures(index), background(), index), np.array(IDS, np.int32)


def alone(index: int, who: int) -> Picture:
    """A square around one figure of frame `index`, and nobody else in the picture: BGR u8 [S,S,3]; cut at its edges."""
    figure = figures(index)[who]
    picture, _ = paint([figure], background(), index)
    least, most = figure.body.joints[:, :2].min(0), figure.body.joints[:, :2].max(0)
    (x, y), half = (least + most) / 2, 0.65 * float((most - least).max())
    return picture[max(0, int(y - half)) : int(y + half), max(0, int(x - half)) : int(x + half)]


def paint(
    people: Sequence[Figure], scene: Picture, index: int, screens: Sequence[tuple[int, int, int, int]] = ()
) -> tuple[Picture, NDArray[np.float32]]:
    """Frame `index` with these people in a scene u8 [720,1280,3]: BGR u8 [360,640,3] and keypoints f32 [N,18,3].

    `screens` (left, top, right, bottom px) stand in front of everybody.
    """
    canvas = scene.copy()
    owner = np.full(canvas.shape[:2], -1, np.int32)
    order = sorted(range(len(people)), key=lambda i: people[i].ground_px)  # the lower it stands, the nearer it is
    larger = [_enlarged(figure.body) for figure in people]
    for i in order:
        _shadow(canvas, larger[i], people[i].ground_px * FINER, people[i].stature_px * FINER)
    for i in order:
        draw(canvas, owner, larger[i], people[i].clothes, people[i].stature_px * FINER, i)
    for left, top, right, bottom in screens:
        place = slice(top * FINER, bottom * FINER), slice(left * FINER, right * FINER)
        canvas[place], owner[place] = SCREEN, -1
    frame = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    frame = np.clip(frame.astype(np.int16) + _grain(index), 0, 255).astype(np.uint8)
    keypoints = np.zeros((len(people), layout.KEYPOINTS, 3), np.float32)
    for i, figure in enumerate(people):
        keypoints[i, :, :2] = figure.body.joints[:, :2]
        keypoints[i, :, 2] = np.where(seen(owner, larger[i].joints, i), 1.0, 0.5)
    x, y = keypoints[:, :, 0], keypoints[:, :, 1]
    keypoints[(x < 0) | (y < 0) | (x > WIDTH - 1) | (y > HEIGHT - 1), 2] = 0
    return frame, keypoints


def areas(index: int) -> NDArray[np.float64]:
    """Area of each figure's whole outline in frame `index`, px, f64 [N]: the scale of object-keypoint similarity."""
    return outlines(figures(index))


def outlines(people: Sequence[Figure]) -> NDArray[np.float64]:
    """Area of each figure's whole outline within the frame, px, f64 [N]."""
    found = np.zeros(len(people))
    for i, figure in enumerate(people):
        owner = np.full((HEIGHT, WIDTH), -1, np.int32)
        draw(np.zeros((HEIGHT, WIDTH, 3), np.uint8), owner, figure.body, figure.clothes, figure.stature_px, 0)
        found[i] = np.count_nonzero(owner >= 0)
    return found


def _enlarged(body: Body) -> Body:
    """The body on the larger canvas, whose pixels lie half a pixel off."""
    move = np.array([FINER, FINER, FINER]), np.array([0.5, 0.5, 0]) * (FINER - 1)
    return Body(body.joints * move[0] + move[1], body.ends * move[0] + move[1])


def _shadow(canvas: Picture, body: Body, ground: float, stature: float) -> None:
    """Darken the floor below a body."""
    points = np.concatenate([body.joints, body.ends])[:, :2]
    near = points[points[:, 1] > ground - 0.25 * stature]
    left, right = near[:, 0].min() - 0.05 * stature, near[:, 0].max() + 0.12 * stature
    x0, x1 = max(0, int(left)), min(canvas.shape[1], int(right) + 1)
    y0, y1 = int(ground - 0.035 * stature), min(canvas.shape[0], int(ground + 0.045 * stature))
    if x1 <= x0 or y1 <= y0:
        return
    u = (np.arange(x0, x1) - (left + right) / 2) / ((right - left) / 2)
    v = (np.arange(y0, y1) - (y0 + y1) / 2) / ((y1 - y0) / 2)
    depth = np.clip(1.1 - u[None] ** 2 - v[:, None] ** 2, 0, 1)[:, :, None] * 0.42
    canvas[y0:y1, x0:x1] = (canvas[y0:y1, x0:x1] * (1 - depth)).astype(np.uint8)


def _noise(seed: int, rows: int, columns: int) -> Vector:
    """Values f64 [rows,columns] of a frozen generator: the same for every version of numpy."""
    return np.random.RandomState(seed).standard_normal((rows, columns))


@cache
def _grains() -> NDArray[np.int16]:
    return np.rint(_noise(5, HEIGHT + 64, WIDTH + 64) * 2.2).astype(np.int16)


def _grain(index: int) -> NDArray[np.int16]:
    """Sensor noise i16 [H,W,1] of one frame: one field, moved about."""
    row, column = index * 29 % 64, index * 47 % 64
    return _grains()[row : row + HEIGHT, column : column + WIDTH, None]


@cache
def background() -> Picture:
    """The street u8 [720,1280,3]: a brick wall with windows, a door and a tree; a paved floor."""
    height, width = HEIGHT * FINER, WIDTH * FINER
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    horizon = HORIZON * FINER
    course = (rows // 14).astype(int)
    brick = ((columns + 18 * (course % 2)) // 36).astype(int)
    tint = _noise(1, course.max() + 1, brick.max() + 1)[course, brick]
    mortar = (rows % 14 < 2) | ((columns + 18 * (course % 2)) % 36 < 2)
    wall = np.stack([128 + 7 * tint, 146 + 8 * tint, 172 + 10 * tint], axis=2)
    wall[mortar] = (168, 172, 176)
    depth = np.maximum(rows - horizon, 1) / (height - horizon)
    tile_x, tile_y = (columns - width / 2) / (0.35 + depth) / 90, 3.2 / (0.25 + depth) * 2.2
    lines = (np.abs(tile_x - np.rint(tile_x)) < 0.018) | (np.abs(tile_y - np.rint(tile_y)) < 0.03)
    slab = _noise(2, 64, 64)[np.rint(tile_y - 0.5).astype(int) % 64, np.rint(tile_x - 0.5).astype(int) % 64]
    floor = np.stack([142 + 5 * slab, 150 + 5 * slab, 154 + 5 * slab], axis=2) + 22 * depth[:, :, None]
    floor[lines] -= 24
    scene = np.where((rows < horizon)[:, :, None], wall, floor)
    speckle = cv2.resize(_noise(3, height // 8, width // 8), (width, height), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(scene + 5 * speckle[:, :, None] + 3 * _noise(4, height, width)[:, :, None], 0, 255)
    street = picture.astype(np.uint8)
    _furnish(street, int(horizon))
    return np.asarray(cv2.GaussianBlur(street, (0, 0), 1.1), np.uint8)


def _furnish(street: Picture, horizon: int) -> None:
    """Windows, a door, a kerb, a bush and a lamp post."""
    for left in (90, 360, 930):
        cv2.rectangle(street, (left, 70), (left + 150, 250), (205, 208, 210), -1)
        for pane_x in (left + 10, left + 80):
            for pane_y in (80, 168):
                cv2.rectangle(street, (pane_x, pane_y), (pane_x + 60, pane_y + 74), (112, 92, 70), -1)
                shine = np.array([[pane_x + 8, pane_y + 70], [pane_x + 30, pane_y + 4], [pane_x + 44, pane_y + 4]])
                cv2.fillConvexPoly(
                    street, np.vstack([shine, [[pane_x + 22, pane_y + 70]]]).astype(np.int32), (140, 122, 102)
                )
    cv2.rectangle(street, (650, 110), (800, horizon), (60, 74, 92), -1)
    for panel in (130, 260):
        cv2.rectangle(street, (668, panel), (782, panel + 100), (74, 90, 112), -1)
    cv2.circle(street, (772, 250), 6, (120, 190, 210), -1, cv2.LINE_AA)
    cv2.rectangle(street, (0, horizon - 10), (street.shape[1], horizon + 4), (120, 124, 126), -1)
    leaves = np.random.RandomState(6)
    for _ in range(420):
        x, y = leaves.normal(1180, 46), leaves.normal(horizon - 62, 30)
        green = leaves.uniform(0.6, 1.15)
        cv2.circle(street, (int(x), int(y)), int(leaves.uniform(5, 12)), (50 * green, 118 * green, 74 * green), -1)
    cv2.rectangle(street, (868, 0), (880, horizon + 26), (70, 72, 70), -1)
    cv2.rectangle(street, (860, horizon + 4), (888, horizon + 32), (62, 64, 62), -1)


def write(video: Path, truth: Path | None = None) -> None:
    """Write the clip as MP4 and, if a path is given, its truth as JSON (`frames`: keypoints and ids of each)."""
    video.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise OSError(f"cannot write {video}")
    frames = []
    for index in range(FRAMES):
        frame, keypoints, ids = render(index)
        writer.write(frame)
        frames.append({"frame": index, "ids": ids.tolist(), "keypoints": keypoints.round(2).tolist()})
    writer.release()
    if truth:
        document = {"size_wh": [WIDTH, HEIGHT], "fps": FPS, "names": layout.SKELETON.names, "frames": frames}
        truth.write_text(json.dumps(document))


def write_as(video: Path, size_wh: tuple[int, int] = (WIDTH, HEIGHT), count: int = FRAMES) -> Path:
    """Write so many frames of the clip, from the beginning again at its end, as MP4 of that size; `video`.

    H.264 with PyAV, as cameras and telephones write it; without it MPEG-4 Part 2.
    """
    try:
        import av
    except ImportError:
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), FPS, size_wh)
        for index in range(count):
            writer.write(_resized(index, size_wh))
        writer.release()
        return video
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_resized(index, size_wh), format="bgr24")))
        container.mux(stream.encode())
    return video


def _resized(index: int, size_wh: tuple[int, int]) -> Picture:
    return np.asarray(cv2.resize(render(index % FRAMES)[0], size_wh, interpolation=cv2.INTER_CUBIC), np.uint8)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "out/clip.mp4")
    write(target, target.with_suffix(".json"))
