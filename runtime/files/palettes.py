"""Which colour a limb, a keypoint and a person have, by the names of the keypoints. Knows skeletons, no pictures.

A colour is blue, green, red, 0..255.
"""

import colorsys
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posert.poses import Skeleton
from posert.runtime.files.formats import in_parts, parts_of
from posert.skeletons import BODY_25, MPI_15, OPENPOSE_18

Color = tuple[int, int, int]
PaletteName = Literal["limbs", "openpose", "coco", "people"]
WHITE: Color = (255, 255, 255)
_BLUE, _GREEN, _ORANGE, _SKY = (255, 0, 0), (0, 255, 0), (0, 128, 255), (255, 153, 51)  # the last three are MMPose's
# Okabe and Ito's without black, "Color Universal Design", 2008; the pages' too (pages/look.js).
_PEOPLE = ((233, 180, 86), (0, 159, 230), (115, 158, 0), (66, 228, 240), (167, 121, 204), (0, 94, 213), (178, 114, 0))
_FINGER = re.compile(r"(?:left_|right_)?(thumb|forefinger|middle_finger|ring_finger|pinky)([1-4])")
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky")
_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_BODY = {f"{side}_{joint}" for side in ("left", "right") for joint in _JOINTS}
_FEET = ("big_toe", "small_toe", "heel")


@dataclass(frozen=True, slots=True)
class Palette:
    """How a skeleton is coloured.

    Attributes:
        skeleton: that is drawn; another one than the people's, if the palette has its own.
        keypoints: f32 [N,K,3] of the people's skeleton -> those of this one.
        limbs, points: a colour for each of its edges and keypoints; None = the person's.
    """

    skeleton: Skeleton
    keypoints: Callable[[NDArray[np.float32]], NDArray[np.floating]]
    limbs: tuple[Color, ...] | None
    points: tuple[Color, ...] | None


def palette_of(skeleton: Skeleton, name: PaletteName) -> Palette:
    """The palette of that name for a skeleton, see `DrawOptions`."""
    names, edges = skeleton.names, skeleton.edges
    if name == "openpose":
        return _openpose(skeleton)
    if name == "coco":
        limbs = tuple(_side_of_limb(names[a], names[b]) for a, b in edges)
        return Palette(skeleton, _as_they_are, limbs, tuple(map(_side, names)))
    if name == "people":
        return Palette(skeleton, _as_they_are, None, None)
    hues = tuple(_soft_hue(limb / max(1, len(edges))) for limb in range(len(edges)))
    return Palette(skeleton, _as_they_are, hues, (WHITE,) * len(names))


def hue(turn: float) -> Color:
    """A bright colour, by its place on the circle of hues, 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(turn, 1.0, 255)
    return round(blue), round(green), round(red)


def _soft_hue(turn: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(turn, 0.9, 1.0)
    return int(blue * 255), int(green * 255), int(red * 255)


def color_of_person(key: int) -> Color:
    """The colour of a person by the id, which counts from 1."""
    return _PEOPLE[(key - 1) % len(_PEOPLE)]


def _as_they_are(keypoints: NDArray[np.float32]) -> NDArray[np.floating]:
    return keypoints


def _side(name: str) -> Color:
    if re.search("_(eye|ear)|nose|neck|head", name):
        return _SKY
    if name.startswith("face_"):
        return WHITE
    return _GREEN if name.startswith("left_") else _ORANGE if name.startswith("right_") else _SKY


def _side_of_limb(a: str, b: str) -> Color:
    """The side of both; trunk and head are the middle."""
    middle = all(re.search("_(eye|ear|shoulder|hip)$", name) for name in (a, b))
    return _side(a) if _side(a) == _side(b) and not middle else _SKY


def _openpose(skeleton: Skeleton) -> Palette:
    """OpenPose's parts and limbs, the neck in the middle of the shoulders if need be, for a skeleton with a whole body;
    each of its 18 parts and each of its 17 limbs begins a further 20 degrees on the circle of hues. Fingers have the
    hues of their bones, points of hands are blue, of faces white."""
    if not set(skeleton.names) >= _BODY:
        limbs = tuple(_openpose_limb(skeleton, limb) for limb in range(len(skeleton.edges)))
        return Palette(skeleton, _as_they_are, limbs, tuple(map(_openpose_point, skeleton.names)))
    parts = parts_of(skeleton)
    others = sorted(fine_points(skeleton))
    place = {k: len(parts) + number for number, k in enumerate(others)}
    own = next(known for known in (BODY_25, OPENPOSE_18, MPI_15) if known.names == parts)
    body = [edge for edge in own.edges if not _ear_to_shoulder(parts, edge)]
    hands = [(place[a], place[b]) for a, b in skeleton.edges if a in place and b in place]
    drawn = Skeleton((*parts, *(skeleton.names[k] for k in others)), (*body, *hands))

    def keypoints(given: NDArray[np.float32]) -> NDArray[np.floating]:
        return np.concatenate([in_parts(given, skeleton, parts), given[:, others]], axis=1)

    limbs = tuple(_openpose_limb(drawn, limb) for limb in range(len(drawn.edges)))
    return Palette(drawn, keypoints, limbs, tuple(map(_openpose_point, drawn.names)))


@lru_cache(maxsize=8)
def fine_points(skeleton: Skeleton) -> frozenset[int]:
    """The keypoints of faces and hands, which lie close together."""
    return frozenset(k for k, name in enumerate(skeleton.names) if name.startswith("face_") or _of_hand(name))


def _of_hand(name: str) -> bool:
    return _FINGER.fullmatch(name) is not None or name.endswith("hand_root")


def _ear_to_shoulder(names: tuple[str, ...], edge: tuple[int, int]) -> bool:
    return {names[k].rpartition("_")[2] for k in edge} == {"ear", "shoulder"}


_LIMBS = {frozenset((OPENPOSE_18.names[a], OPENPOSE_18.names[b])): i for i, (a, b) in enumerate(OPENPOSE_18.edges[:17])}


def _openpose_limb(skeleton: Skeleton, limb: int) -> Color:
    a, b = (skeleton.names[k] for k in skeleton.edges[limb])
    if finger := _FINGER.fullmatch(b):
        return hue((4 * _FINGERS.index(finger[1]) + int(finger[2]) - 1) / 20)
    known = _LIMBS.get(frozenset((a, b)))
    return _openpose_point(b) if known is None else hue(known / 18)


def _openpose_point(name: str) -> Color:
    if name.startswith("face_"):
        return WHITE
    if _of_hand(name):
        return _BLUE
    side, _, part = name.partition("_")
    known = f"{side}_ankle" if part in _FEET else name
    return hue(OPENPOSE_18.names.index(known) / 18) if known in OPENPOSE_18.names else hue(0)
