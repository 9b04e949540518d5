"""Drawn people: a body with joints in three dimensions, a way to pose it, a way to draw it. numpy and OpenCV alone.

Owns the shape of a figure and the truth about its keypoints; knows no scene, no clip, no network. The camera looks
along -z without perspective: x is right, y is up (down in pictures), z comes towards the viewer.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.export.nano import layout

Vector = NDArray[np.float64]
Picture = NDArray[np.uint8]
Colour = tuple[float, float, float]
Circle = tuple[float, float, float, float]  # x px, y px, radius px, z px

# Lengths as shares of the stature, after the usual drawing canon of 7.5 heads.
HIP_HALF, SHOULDER_HALF, TORSO = 0.056, 0.105, 0.29
UPPER_ARM, FOREARM, HAND = 0.17, 0.15, 0.05
THIGH, SHIN, FOOT = 0.24, 0.235, 0.1
SOLE = 0.04  # the ankle's height over the ground
HEAD_OVER_NECK = 0.115
HEAD = {0: (0.0, -0.008, 0.072), 14: (-0.027, 0.018, 0.06), 15: (0.027, 0.018, 0.06)}
HEAD |= {16: (-0.062, 0.004, -0.004), 17: (0.062, 0.004, -0.004)}  # left, up, forward of the head's centre
LIGHT = (-0.45, -0.35)  # where the light comes from, in radii
TONES = ((1.0, 0.62), (0.84, 0.78), (0.64, 0.92), (0.38, 1.04))  # radius and brightness of the shading's layers
FINE = 4  # cv2's sub-pixel bits


@dataclass(frozen=True, slots=True)
class Pose:
    """Joint angles in degrees. `flex` swings a limb forward, `spread` sideways from the body; pairs are right, left.

    Attributes:
        heading: 0 faces the viewer, 90 walks to the right of the picture.
        pitch: the whole body falls forward; `roll` to its left.
        lean: the torso alone, forward; `side` to its left.
        look: head turned to the left of the body; `nod` forward.
        elbow_flex, elbow_spread: bend of the forearm against the upper arm; `knee` of the shin, backward.
    """

    heading: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    lean: float = 0.0
    side: float = 0.0
    look: float = 0.0
    nod: float = 0.0
    arm_flex: tuple[float, float] = (0.0, 0.0)
    arm_spread: tuple[float, float] = (8.0, 8.0)
    elbow_flex: tuple[float, float] = (10.0, 10.0)
    elbow_spread: tuple[float, float] = (0.0, 0.0)
    hip_flex: tuple[float, float] = (0.0, 0.0)
    hip_spread: tuple[float, float] = (3.0, 3.0)
    knee: tuple[float, float] = (4.0, 4.0)


@dataclass(frozen=True, slots=True)
class Clothes:
    """Colours (BGR 0..255) and cut of one figure: sleeves and legs are `long` or not; `width` is its build."""

    skin: Colour = (150, 175, 225)
    hair: Colour = (30, 40, 60)
    shirt: Colour = (60, 60, 180)
    trousers: Colour = (90, 60, 40)
    shoes: Colour = (40, 40, 45)
    long_sleeves: bool = False
    long_legs: bool = True
    long_hair: bool = False
    skirt: bool = False
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Body:
    """Joints f64 [18,3] (layout's order) and the ends of hands, feet and head f64 [5,3], in statures or px; z is depth.

    `ends`: right hand, left hand, right toe, left toe, centre of the head.
    """

    joints: Vector
    ends: Vector


def pose_body(pose: Pose) -> Body:
    """The body in statures, its pelvis at the origin."""
    whole = _yaw(pose.heading) @ _pitch(pose.pitch) @ _roll(pose.roll)
    torso = whole @ _pitch(pose.lean) @ _roll(pose.side)
    head = torso @ _yaw(pose.look) @ _pitch(pose.nod)
    joints, ends = np.zeros((layout.KEYPOINTS, 3)), np.zeros((5, 3))
    joints[1] = torso @ (0, TORSO, 0)
    ends[4] = joints[1] + torso @ (0, 0.03, 0) + head @ (0, HEAD_OVER_NECK - 0.03, 0.008)
    for k, offset in HEAD.items():
        joints[k] = ends[4] + head @ offset
    for side, sign in enumerate((-1.0, 1.0)):
        shoulder, hip = 2 + 3 * side, 8 + 3 * side
        joints[shoulder] = joints[1] + torso @ (sign * SHOULDER_HALF, 0, 0)
        joints[hip] = whole @ (sign * HIP_HALF, 0, 0)
        upper = torso @ _swing(pose.arm_flex[side], pose.arm_spread[side], sign)
        bent = pose.arm_flex[side] + pose.elbow_flex[side], pose.arm_spread[side] + pose.elbow_spread[side]
        lower = torso @ _swing(*bent, sign)
        joints[shoulder + 1] = joints[shoulder] + UPPER_ARM * upper
        joints[shoulder + 2] = joints[shoulder + 1] + FOREARM * lower
        ends[side] = joints[shoulder + 2] + HAND * lower
        shin = pose.hip_flex[side] - pose.knee[side]
        joints[hip + 1] = joints[hip] + THIGH * whole @ _swing(pose.hip_flex[side], pose.hip_spread[side], sign)
        joints[hip + 2] = joints[hip + 1] + SHIN * whole @ _swing(shin, pose.hip_spread[side], sign)
        ends[2 + side] = joints[hip + 2] + FOOT * whole @ _swing(max(shin + 70, -20), pose.hip_spread[side] + 8, sign)
    return Body(joints, ends)


def place(body: Body, ground_px: tuple[float, float], stature_px: float) -> Body:
    """The body in picture pixels (y down), its pelvis over `ground_px`, its lowest part on the ground."""
    lowest = min(body.joints[:, 1].min() - SOLE, body.ends[:, 1].min() - 0.02)
    joints, ends = body.joints.copy(), body.ends.copy()
    for points in (joints, ends):
        points[:, 1] -= lowest
        points *= stature_px
        points[:, 0] += ground_px[0]
        points[:, 1] = ground_px[1] - points[:, 1]
    return Body(joints, ends)


def draw(
    picture: Picture, owner: NDArray[np.int32], body: Body, clothes: Clothes, stature_px: float, name: int
) -> None:
    """Draw a placed body over `picture` u8 [H,W,3]; `owner` i32 [H,W] keeps `name * 64 + part` of what is seen."""
    parts = sorted(_parts(body, clothes, stature_px), key=lambda part: part[0])
    for _, number, circles, colour in parts:
        blob(picture, circles, colour)
        cv2.fillConvexPoly(owner, _outline(circles, 1.0, 0.0), name * 64 + number, shift=FINE)


def seen(owner: NDArray[np.int32], joints: Vector, name: int) -> NDArray[np.bool_]:
    """Which joints of figure `name` are seen, bool [18]: the pixel there belongs to a part the joint is in."""
    height, width = owner.shape
    found = np.zeros(layout.KEYPOINTS, bool)
    for k, (x, y) in enumerate(joints[:, :2]):
        column, row = math.floor(x + 0.5), math.floor(y + 0.5)
        if 0 <= column < width and 0 <= row < height:
            part = int(owner[row, column]) - name * 64
            found[k] = part in PARTS_OF[k]
    return found


def blob(picture: Picture, circles: list[Circle], colour: Colour) -> None:
    """Draw the hull of some circles, shaded as a rounded thing."""
    for size, brightness in TONES:
        points = _outline(circles, size, 1 - size)
        tone = tuple(float(min(255.0, value * brightness)) for value in colour)
        cv2.fillConvexPoly(picture, points, tone, cv2.LINE_AA, FINE)


# Parts: 1 pelvis, 2 chest, 3 neck, 4 head, 5 hair, 6 face; 10.. right and 20.. left: upper arm, sleeve, forearm, hand,
# thigh, shin, foot.
PARTS_OF: dict[int, tuple[int, ...]] = {0: (4, 6), 1: (2, 3), 14: (4, 6), 15: (4, 6), 16: (4, 5), 17: (4, 5)}
for _base, _first in ((2, 10), (5, 20)):
    PARTS_OF[_base] = (2, _first, _first + 1)
    PARTS_OF[_base + 1] = (_first, _first + 1, _first + 2)
    PARTS_OF[_base + 2] = (_first + 2, _first + 3)
for _base, _first in ((8, 10), (11, 20)):
    PARTS_OF[_base] = (1, _first + 4)
    PARTS_OF[_base + 1] = (_first + 4, _first + 5)
    PARTS_OF[_base + 2] = (_first + 5, _first + 6)

Part = tuple[float, int, list[Circle], Colour]


def _parts(body: Body, clothes: Clothes, stature_px: float) -> list[Part]:
    """Depth, number, circles and colour of each part."""
    parts: list[Part] = []
    joints, ends = body.joints, body.ends

    def add(number: int, colour: Colour, *at: tuple[Vector, float], nearer: float = 0.0) -> None:
        circles = [(float(p[0]), float(p[1]), r * stature_px * clothes.width, float(p[2])) for p, r in at]
        depth = sum(circle[3] for circle in circles) / len(circles) + nearer * stature_px
        parts.append((depth, number, circles, colour))

    hips, neck, crown = (joints[8] + joints[11]) / 2, joints[1], ends[4]
    waist = hips + 0.35 * (neck - hips)
    add(2, clothes.shirt, *_torso(joints, neck, waist))
    below = clothes.shirt if clothes.skirt else clothes.trousers
    add(1, below, (joints[8], 0.062), (joints[11], 0.062), (waist, 0.068), nearer=-0.002)
    add(3, _darker(clothes.skin), (neck + 0.15 * (crown - neck), 0.034), (neck + 0.6 * (crown - neck), 0.032))
    for side, first in enumerate((10, 20)):
        shoulder, elbow, wrist = joints[2 + 3 * side : 5 + 3 * side]
        hip, knee, ankle = joints[8 + 3 * side : 11 + 3 * side]
        sleeve = clothes.shirt if clothes.long_sleeves else clothes.skin
        add(first, sleeve, (shoulder, 0.036), (elbow, 0.03))
        add(first + 1, clothes.shirt, (shoulder, 0.043), (shoulder + 0.45 * (elbow - shoulder), 0.04), nearer=0.003)
        add(first + 2, sleeve, (elbow, 0.029), (wrist, 0.021))
        add(first + 3, clothes.skin, (wrist, 0.021), (ends[side], 0.018))
        thigh = clothes.skin if clothes.skirt else clothes.trousers
        leg = thigh if clothes.long_legs else clothes.skin
        add(first + 4, thigh, (hip, 0.058), (knee, 0.043))
        add(first + 5, leg, (knee, 0.041), (ankle, 0.027))
        add(first + 6, clothes.shoes, (ankle + 0.1 * (ankle - knee), 0.027), (ends[2 + side], 0.02), nearer=0.004)
    if clothes.skirt:
        rise = 0.3 * (waist - hips)
        hem = [joints[knee] + 0.25 * (joints[knee - 1] - joints[knee]) for knee in (9, 12)]
        top = [(joints[8] + rise, 0.06), (joints[11] + rise, 0.06)]
        add(1, clothes.trousers, *top, (hem[0], 0.07), (hem[1], 0.07), nearer=0.01)
    return parts + _head(body, clothes, stature_px)


def _torso(joints: Vector, neck: Vector, waist: Vector) -> list[tuple[Vector, float]]:
    right, left = (0.9 * joints[k] + 0.1 * waist for k in (2, 5))
    chest = neck + 0.3 * (waist - neck)
    flanks = [waist + 0.75 * (joints[k] - (joints[8] + joints[11]) / 2) for k in (8, 11)]
    top = neck + 0.06 * (waist - neck)
    return [(right, 0.04), (left, 0.04), (chest, 0.078), (flanks[0], 0.058), (flanks[1], 0.058), (top, 0.045)]


def _head(body: Body, clothes: Clothes, stature_px: float) -> list[Part]:
    """Skull, hair, eyes, nose and mouth; the face is drawn only as far as it looks at the viewer."""
    joints, centre = body.joints, body.ends[4]
    ears = (joints[16] + joints[17]) / 2
    forward = (joints[0] - ears) / np.linalg.norm(joints[0] - ears)
    up = centre - joints[1]
    up /= np.linalg.norm(up)
    z = float(centre[2]) + 0.02 * stature_px

    def circle(offset: Vector, radius: float) -> Circle:
        point = centre + offset * stature_px
        return float(point[0]), float(point[1]), radius * stature_px, float(point[2])

    skull = [circle(0.018 * up, 0.062), circle(0.01 * forward - 0.035 * up, 0.045)]
    hair = [circle(0.036 * up - 0.022 * forward, 0.062), circle(0.02 * up - 0.03 * forward, 0.06)]
    parts: list[Part] = [(z, 4, skull, clothes.skin)]
    if clothes.long_hair:
        fall = [circle(0.01 * up - 0.03 * forward, 0.06), circle(-0.085 * up - 0.045 * forward, 0.045)]
        parts.append((z - 0.14 * stature_px * float(forward[2]), 5, fall, clothes.hair))
    behind = forward[2] > -0.25  # the hair covers the face of those who look away
    parts.append((z - 1e-3 if behind else z + 1e-3, 5, hair, clothes.hair))
    if behind:
        parts.append(
            (
                z + 1e-3,
                5,
                [circle(0.06 * up + 0.006 * forward, 0.04), circle(0.05 * up - 0.03 * forward, 0.05)],
                clothes.hair,
            )
        )
    for k in (16, 17):
        if joints[k, 2] > centre[2] - 0.02 * stature_px:
            ear = (float(joints[k, 0]), float(joints[k, 1]), 0.016 * stature_px, 0.0)
            parts.append((z + 1.5e-3, 4, [ear], _darker(clothes.skin)))
    for k in (14, 15):
        if joints[k, 2] > centre[2] + 0.01 * stature_px:
            at = (float(joints[k, 0]), float(joints[k, 1]))
            parts.append((z + 2e-3, 6, [(*at, 0.013 * stature_px, 0.0)], (225, 230, 235)))
            parts.append((z + 3e-3, 6, [(*at, 0.008 * stature_px, 0.0)], (30, 30, 35)))
    if forward[2] > -0.3:
        nose = [circle(0.06 * forward + 0.012 * up, 0.006), circle(0.07 * forward - 0.01 * up, 0.011)]
        mouth_at = 0.056 * forward - 0.038 * up
        parts.append((z + 2e-3, 6, nose, _darker(clothes.skin)))
        if forward[2] > 0.1:
            parts.append((z + 2e-3, 6, [circle(mouth_at, 0.01)], (85, 80, 165)))
    return parts


def _darker(colour: Colour) -> Colour:
    return colour[0] * 0.86, colour[1] * 0.86, colour[2] * 0.9


_TURN = np.stack([np.cos(np.arange(20) * math.tau / 20), np.sin(np.arange(20) * math.tau / 20)], axis=1)


def _outline(circles: list[Circle], size: float, towards_light: float) -> NDArray[np.int32]:
    """Hull i32 [M,1,2] of the circles, scaled by `size` and moved towards the light, in 1/16 px."""
    rings = []
    for x, y, radius, _ in circles:
        middle = np.array([x, y]) + towards_light * radius * np.array(LIGHT)
        rings.append(middle + size * max(radius, 0.6) * _TURN)
    points = np.concatenate(rings) * (1 << FINE)
    return np.asarray(cv2.convexHull(np.rint(points).astype(np.int32)), np.int32)


def _yaw(degrees: float) -> Vector:
    """Turn (left, up, forward) around up: 0 looks along +z with left at +x; 90 looks along +x."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _pitch(degrees: float) -> Vector:
    """Turn around left: up goes forward."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _roll(degrees: float) -> Vector:
    """Turn around forward: up goes left."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def _swing(flex: float, spread: float, sign: float) -> Vector:
    """Direction of a hanging limb swung forward by `flex` and away from the body (`sign` side) by `spread`."""
    f, s = math.radians(flex), math.radians(spread)
    return np.array([sign * math.sin(s), -math.cos(s) * math.cos(f), math.cos(s) * math.sin(f)])
