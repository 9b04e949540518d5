"""The one-euro filter per keypoint of each tracked person (Casiez, Roussel, Vogel, CHI 2012).

Owns the filter. Knows poses and times, nothing of files or networks.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from posert.poses import Poses
from posert.runtime.after.options import SmoothOptions


class Smoother:
    """Smooths one video's poses in order; people need ids. A keypoint that is lost starts afresh."""

    def __init__(self, options: SmoothOptions | None = None) -> None:
        self.options = options or SmoothOptions()
        self._kept: dict[int, tuple[float, NDArray[np.float64], NDArray[np.float64]]] = {}

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """`poses` with smoothed keypoint coordinates; scores, boxes and ids as they were."""
        if poses.ids is None or not len(poses):
            return poses
        self._kept = {key: kept for key, kept in self._kept.items() if time_s - kept[0] <= self.options.memory}
        keypoints = poses.keypoints.copy()
        for person, key in enumerate(poses.ids.tolist()):
            found = keypoints[person, :, 2:] > 0
            now = np.where(found, keypoints[person, :, :2], np.nan).astype(np.float64)
            left, top, right, bottom = poses.boxes_xyxy[person].astype(float)
            smooth = self._step(key, now, time_s, float(np.hypot(right - left, bottom - top)))
            keypoints[person, :, :2] = np.where(found, smooth, 0)
        return replace(poses, keypoints=keypoints)

    def _step(self, key: int, now: NDArray[np.float64], time_s: float, diagonal: float) -> NDArray[np.float64]:
        if key not in self._kept or time_s <= self._kept[key][0]:
            self._kept[key] = (time_s, now, np.zeros_like(now))
            return now
        before_s, before, speed = self._kept[key]
        step_s = time_s - before_s
        fresh = np.isnan(before)
        moved = np.where(fresh | np.isnan(now), 0.0, (now - before) / step_s)
        speed = speed + _weight(np.array(self.options.speed_cutoff_hz), step_s) * (moved - speed)
        pace = np.linalg.norm(speed, axis=1, keepdims=True) / max(1.0, diagonal)
        smooth = before + _weight(self.options.cutoff + self.options.beta * pace, step_s) * (now - before)
        smooth = np.where(fresh, now, smooth)
        self._kept[key] = (time_s, smooth, np.where(fresh, 0.0, speed))
        return smooth


def _weight(cutoff_hz: NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
    """The new value's share, 0..1, in exponential smoothing with this cut-off."""
    turn = 2 * np.pi * cutoff_hz * step_s
    share: NDArray[np.float64] = turn / (turn + 1)
    return share
