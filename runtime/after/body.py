"""The body as a measure: how tall a person is in pixels, which turns pixels into metres, and how the floor lies.

Owns the proportions of the body and the two estimates. Knows points and names of keypoints, nothing of files.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TRUNK, THIGH, SHANK = 0.288, 0.245, 0.246
"""Shares of body height: shoulder .818 - hip .530, hip - knee .285, knee - ankle .039 (Drillis and Contini 1966, as in
Winter, Biomechanics and Motor Control of Human Movement, figure 4.1)."""
HEIGHT_WINDOW_S = 5.0
HEIGHT_QUANTILE = 0.75
"""A limb that points at the camera looks short, never long: of the last heights most are too small. Both are the
project's own."""
AT_REST = 0.5
"""Torso lengths per second below which a foot stands, the project's own."""
LONGEST_STEP_S = 1.0
SHORTEST_STAND_S = 0.15
FEWEST_STANDS = 3
SPREAD = 1.0
"""Torso lengths squared, summed, that where the feet stood must be spread along the floor to tell its angle."""


class Stature:
    """Heights in pixels, from the lengths of trunk, thigh and shank; a bent knee changes nothing."""

    def __init__(self, names: Sequence[str]) -> None:
        index = {name: number for number, name in enumerate(names)}
        self._sides = [
            [index.get(f"{side}_{part}", -1) for part in ("hip", "knee", "ankle")] for side in ("left", "right")
        ]
        self._middles = [
            [index.get(f"{side}_{part}", -1) for side in ("left", "right")] for part in ("shoulder", "hip")
        ]
        self._known = min(*self._middles[0], *self._middles[1]) >= 0

    def __call__(self, points: Floats) -> Floats:
        """The heights f64 [N], px, of people f64 [N,K,2] (NaN where not found), by the leg of which more is found.

        The trunk must be; the thigh counts with it, and the shank with both. NaN otherwise.
        """
        if not self._known:
            return np.full(len(points), np.nan)
        shoulders, hips = (points[:, pair].mean(axis=1) for pair in self._middles)
        absent = np.full((len(points), 2), np.nan)
        best, most = np.full(len(points), np.nan), np.zeros(len(points))
        for side in self._sides:
            hip, knee, ankle = (points[:, number] if number >= 0 else absent for number in side)
            lengths = np.stack([_length(shoulders, hips), _length(hip, knee), _length(knee, ankle)])
            found = np.logical_and.accumulate(np.isfinite(lengths) & (lengths > 0))
            shares = found * np.array([[TRUNK], [THIGH], [SHANK]])
            share = shares.sum(axis=0)
            tall = np.where(found, lengths, 0).sum(axis=0) / np.where(share > 0, share, np.nan)
            better = (share > most) | ((share == most) & (tall > best))
            best, most = np.where(better, tall, best), np.where(better, share, most)
        return best


class Scale:
    """Metres per pixel of each person of a video, everybody being `height_m` tall; its frames in order."""

    def __init__(self, names: Sequence[str], height_m: float) -> None:
        self.height_m = height_m
        self._stature = Stature(names)
        self._heights: dict[int, deque[tuple[float, float]]] = {}

    def __call__(self, points: Floats, ids: Sequence[int], time_s: float) -> Floats:
        """f64 [N], by the upper quartile of a person's heights of the last seconds; NaN as long as there is none."""
        self._heights = {
            key: kept for key, kept in self._heights.items() if kept and time_s - kept[-1][0] <= HEIGHT_WINDOW_S
        }
        scales = np.full(len(points), np.nan)
        for person, (key, tall) in enumerate(zip(ids, self._stature(points).tolist(), strict=True)):
            kept = self._heights.setdefault(key, deque())
            if tall == tall:
                kept.append((time_s, tall))
            while kept and time_s - kept[0][0] > HEIGHT_WINDOW_S:
                kept.popleft()
            if kept:
                scales[person] = self.height_m / np.quantile([tall for _, tall in kept], HEIGHT_QUANTILE)
        return scales


class Floor:
    """The angle of the floor to the horizontal, from where feet stood; one floor for all people of a video.

    Each foot of each person counts by itself, since one who is farther away stands higher in the picture.
    """

    def __init__(self, names: Sequence[str]) -> None:
        index = {name: number for number, name in enumerate(names)}
        toes = [index.get(f"{side}_big_toe", -1) for side in ("left", "right")]
        ankles = [index.get(f"{side}_ankle", -1) for side in ("left", "right")]
        self._feet = toes if min(toes) >= 0 else ankles if min(ankles) >= 0 else []
        self._last: dict[tuple[int, int], tuple[float, Floats]] = {}
        self._stand: dict[tuple[int, int], tuple[float, int, Floats]] = {}
        self._mean: dict[tuple[int, int], tuple[int, Floats]] = {}
        self._stands = 0
        self._along = self._across = 0.0

    def __call__(self, points: Floats, ids: Sequence[int], time_s: float, torso: Floats) -> float:
        """Radians, positive if it rises to the right of the picture; NaN until enough is known.

        Args:
            points: f64 [N,K,2] px of one frame's people, y downwards, NaN where not found. ids: of them.
            torso: f64 [N], their torso lengths, px.
        """
        for person, key in enumerate(ids):
            for foot in self._feet:
                self._see((key, foot), points[person, foot], time_s, float(torso[person]))
        if self._stands < FEWEST_STANDS or self._along < SPREAD:
            return float("nan")
        return -float(np.arctan2(self._across, self._along))

    def _see(self, foot: tuple[int, int], at: Floats, time_s: float, torso: float) -> None:
        before = self._last.pop(foot, None)
        if not np.isfinite(at).all() or not torso > 0:
            self._end(foot, time_s, torso)
            return
        self._last[foot] = time_s, at
        if before is None or not 0 < time_s - before[0] <= LONGEST_STEP_S:
            self._end(foot, time_s if before is None else before[0], torso)
            return
        if np.linalg.norm(at - before[1]) > AT_REST * torso * (time_s - before[0]):
            self._end(foot, before[0], torso)
        else:
            since, count, total = self._stand.get(foot, (before[0], 0, np.zeros(2)))
            self._stand[foot] = since, count + 1, total + at

    def _end(self, foot: tuple[int, int], time_s: float, torso: float) -> None:
        """A foot is lifted or lost: where it stood becomes one more place of the floor."""
        since, many, total = self._stand.pop(foot, (time_s, 0, np.zeros(2)))
        if not many or time_s - since < SHORTEST_STAND_S or not torso > 0:
            return
        place = total / many
        count, mean = self._mean.get(foot, (0, place))
        step = place - mean
        mean = mean + step / (count + 1)
        rest = place - mean
        self._mean[foot] = count + 1, mean
        self._stands += 1
        self._along += step[0] * rest[0] / torso**2
        self._across += step[0] * rest[1] / torso**2


def _length(one: Floats, other: Floats) -> Floats:
    length: Floats = np.linalg.norm(one - other, axis=1)
    return length
