"""What training uses straight away, from tracked poses: points, angles, velocities, visibility, metres.

Owns the formulas. Knows poses and names of keypoints, nothing of files, frames or networks.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from posert.poses import Features, Poses, Skeleton
from posert.runtime.after.body import LONGEST_STEP_S, Floor, Scale
from posert.runtime.after.options import FeatureOptions

ANGLES = tuple(
    (f"{side}_{joint}", f"{side}_{before}", f"{side}_{after}")
    for joint, before, after in (
        ("elbow", "shoulder", "wrist"),
        ("shoulder", "hip", "elbow"),
        ("hip", "shoulder", "knee"),
        ("knee", "hip", "ankle"),
        ("ankle", "knee", "big_toe"),
    )
    for side in ("left", "right")
)
"""(joint, one end, other end); a skeleton has those whose three keypoints it names."""
_HIPS, _SHOULDERS = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
SEGMENTS = (
    *(
        (f"{side}_{segment}", (f"{side}_{begin}",), (f"{side}_{end}",))
        for segment, begin, end in (
            ("foot", "heel", "big_toe"),
            ("shank", "ankle", "knee"),
            ("thigh", "knee", "hip"),
            ("arm", "elbow", "shoulder"),
            ("forearm", "wrist", "elbow"),
        )
        for side in ("left", "right")
    ),
    ("pelvis", _HIPS[:1], _HIPS[1:]),
    ("trunk", _HIPS, _SHOULDERS),
    ("shoulders", _SHOULDERS[:1], _SHOULDERS[1:]),
    ("head", _SHOULDERS, ("head",)),
)
"""(segment, where it begins, where it ends), each the middle of keypoints; a skeleton has those whose names it has."""


class Featuring:
    """Features of one video's frames in order. Holds each person's previous points, for the velocities."""

    def __init__(self, skeleton: Skeleton, options: FeatureOptions | None = None) -> None:
        """None = the defaults."""
        self._how = options or FeatureOptions()
        index = {name: number for number, name in enumerate(skeleton.names)}
        triples = [triple for triple in ANGLES if all(name in index for name in triple)]
        self.joints = tuple(triple[0] for triple in triples)
        self._triples = np.array([[index[name] for name in triple] for triple in triples], int).reshape(-1, 3)
        lines = [(name, a, b) for name, a, b in SEGMENTS if {*a, *b} <= index.keys()]
        self.segment_names = tuple(name for name, _, _ in lines)
        self._lines = [([index[name] for name in a], [index[name] for name in b]) for _, a, b in lines]
        self._torso = [index.get(name, -1) for name in (*_HIPS, *_SHOULDERS)]
        self._last: dict[int, tuple[float, NDArray[np.float64]]] = {}
        self._floor = Floor(skeleton.names)
        self._scale = Scale(skeleton.names, self._how.person_height_m) if self._how.person_height_m else None

    def __call__(self, poses: Poses, time_s: float, size_wh: tuple[int, int]) -> Features:
        """The features of one frame's people; people without ids have no velocities, floor and metres."""
        points = found_points(poses)
        origin, length = self._frame_of_reference(points)
        ids = [] if poses.ids is None else poses.ids.tolist()
        with np.errstate(invalid="ignore", divide="ignore"):
            normalised = (points - origin[:, None]) / length[:, None, None]
            velocities = self._moved(poses, points, time_s) / length[:, None, None]
            inside = np.all((points >= 0) & (points < np.array(size_wh)), axis=2)
        tilt, unit = np.deg2rad(self._how.floor_angle_deg), 180 / np.pi if self._how.degrees else 1.0
        floor = np.full(len(poses), self._floor(points, ids, time_s, length))
        features = Features(
            normalised.astype(np.float32),
            velocities.astype(np.float32),
            (joint_angles(points, self._triples) * unit).astype(np.float32),
            np.asarray(inside, bool),
            self.joints,
            (segment_angles(points, self._lines, tilt) * unit).astype(np.float32),
            (floor * unit).astype(np.float32),
            self.segment_names,
            self._how.degrees,
        )
        if self._scale is None:
            return features
        scale = self._scale(points, ids, time_s) if ids else np.full(len(poses), np.nan)
        metres = level(points - origin[:, None], tilt) * scale[:, None, None]
        return replace(features, metres=metres.astype(np.float32), metres_per_px=scale.astype(np.float32))

    def _frame_of_reference(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Hip middle f64 [N,2] and torso length f64 [N], px; NaN where unknown."""
        if min(self._torso) < 0:
            return np.full((len(points), 2), np.nan), np.full(len(points), np.nan)
        hips, shoulders = (points[:, pair].mean(axis=1) for pair in (self._torso[:2], self._torso[2:]))
        length = np.linalg.norm(shoulders - hips, axis=1)
        return hips, np.where(length > 0, length, np.nan)

    def _moved(self, poses: Poses, points: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        """Movement of each keypoint since the person's previous frame, px per second, f64 [N,K,2]."""
        moved = np.full(points.shape, np.nan)
        if poses.ids is None:
            return moved
        self._last = {key: kept for key, kept in self._last.items() if time_s - kept[0] <= LONGEST_STEP_S}
        for person, key in enumerate(poses.ids.tolist()):
            if key in self._last and time_s > self._last[key][0]:
                moved[person] = (points[person] - self._last[key][1]) / (time_s - self._last[key][0])
            self._last[key] = (time_s, points[person])
        return moved


def found_points(poses: Poses) -> NDArray[np.float64]:
    """Keypoints f64 [N,K,2] px, NaN where not found.

    >>> found_points(Poses(np.zeros((1, 1, 3), np.float32), np.ones(1, np.float32), np.zeros((1, 4), np.float32)))
    array([[[nan, nan]]])
    """
    return np.where(poses.keypoints[:, :, 2:] > 0, poses.keypoints[:, :, :2], np.nan).astype(np.float64)


def joint_angles(points: NDArray[np.float64], triples: NDArray[np.int_]) -> NDArray[np.float64]:
    """Angles f64 [N,A], radians 0..pi, at keypoint triples[:, 0] between triples[:, 1] and triples[:, 2].

    >>> joint_angles(np.array([[[0.0, 0], [1, 0], [0, 2]]]), np.array([[0, 1, 2]])).round(4).tolist()
    [[1.5708]]
    """
    one, other = (points[:, triples[:, end]] - points[:, triples[:, 0]] for end in (1, 2))
    cross = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    angles: NDArray[np.float64] = np.abs(np.arctan2(cross, (one * other).sum(axis=2)))
    return angles


def segment_angles(
    points: NDArray[np.float64], lines: Sequence[tuple[Sequence[int], Sequence[int]]], tilt: float = 0.0
) -> NDArray[np.float64]:
    """Angles f64 [N,S] of lines in points f64 [N,K,2] (y downwards) to the floor, radians -pi..pi, anticlockwise.

    A line goes from the middle of some keypoints to that of others. `tilt` is the floor's own angle.

    >>> segment_angles(np.array([[[0.0, 10], [0, 0]]]), [([0], [1])]).round(4).tolist()
    [[1.5708]]
    """
    angles = np.empty((len(points), len(lines)))
    for number, (begin, end) in enumerate(lines):
        along = level(points[:, end].mean(axis=1) - points[:, begin].mean(axis=1), tilt)
        angles[:, number] = np.arctan2(-along[:, 1], along[:, 0])
    return angles


def level(steps: NDArray[np.float64], tilt: float) -> NDArray[np.float64]:
    """Steps f64 [...,2] in a picture (y downwards), turned so that a floor of this angle is level."""
    cos, sin = np.cos(tilt), np.sin(tilt)
    turned: NDArray[np.float64] = steps @ np.array([[cos, sin], [-sin, cos]])
    return turned
