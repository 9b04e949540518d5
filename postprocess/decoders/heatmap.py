"""Decoder `heatmap`: one map per keypoint of one person, by its highest cell or by its centre of mass.

Roles: `maps` f32 [R,K,H,W], one row per person; optionally `mirrored_maps`, of the mirrored input, averaged in.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Float32Array, Poses, Skeleton
from posert.postprocess.geometry import keypoint_boxes
from posert.postprocess.kernels.registry import F32x2, kernel

MIRRORS = True
"""This decoder can use `mirrored_...` roles."""


@dataclass(frozen=True, slots=True)
class Params:
    """How a map becomes a point.

    Attributes:
        integral: how many of the last keypoints are the centre of mass of the map's sigmoid; the others are its highest
            cell, a quarter cell towards the higher neighbour. -1 = all of them, 0 = none.
    """

    integral: int = 0

    def __post_init__(self) -> None:
        if self.integral < -1:
            raise ValueError(f"integral {self.integral} is less than -1")


def decode(
    outputs: Mapping[str, NDArray[Any]], skeleton: Skeleton, params: Params, input_wh: tuple[int, int]
) -> list[Poses]:
    """One person per row of the batch, in pixels of the network input.

    Args:
        outputs: `maps` and perhaps `mirrored_maps`, as above.
        skeleton: K keypoints; its `flip` is needed for mirrored maps.
        params: see `Params`.
        input_wh: width and height of the network input, px.

    Keypoint scores are the map's maximum as it is (it may be negative or above 1), after the sigmoid for `integral`;
    a map without a finite value is not found. Person score: the mean of the keypoint scores.

    Raises:
        PosertError: the role is missing, its shape does not fit the skeleton, or mirrored maps need `skeleton.flip`.
    """
    count = len(skeleton.names)
    maps = _maps(outputs, "maps", count)
    split = count - (count if params.integral < 0 else min(params.integral, count))
    points = _points(maps, split)
    if "mirrored_maps" in outputs:
        mirrored = unmirror(_maps(outputs, "mirrored_maps", count), skeleton)
        peaks = _points(np.ascontiguousarray((maps + mirrored) / 2), split)[:, :split]
        means = (points[:, split:] + _points(mirrored, split)[:, split:]) / 2
        points = np.concatenate([peaks, means], axis=1)
    points[:, :, 0] *= input_wh[0] / maps.shape[3]
    points[:, :, 1] *= input_wh[1] / maps.shape[2]
    # Added in order, so that C gets the same bits.
    sums: Float32Array = points[:, :, 2].cumsum(axis=1)[:, -1] if count else np.zeros(len(points), np.float32)
    scores = sums / np.float32(max(1, count))
    boxes = keypoint_boxes(points)
    return [Poses(points[i : i + 1], scores[i : i + 1], boxes[i : i + 1]) for i in range(len(points))]


def unmirror(maps: Float32Array, skeleton: Skeleton) -> Float32Array:
    """Maps f32 [R,K,H,W] of a mirrored input as maps of the input itself: mirrored, left and right keypoints swapped.

    They move right by one column (column 0 stays): mirroring cells of an even number of pixels puts them one column
    off. AlphaPose means the same, but its copy overlaps itself on the CPU (parity 1.6); this is what it means to do.

    Raises:
        PosertError: the skeleton does not say which keypoints swap.
    """
    if len(skeleton.flip) != maps.shape[1]:
        raise PosertError(
            "the model does not say which keypoints swap sides in a mirrored picture", "leave --flip away"
        )
    swapped = maps[:, list(skeleton.flip), :, ::-1]
    return np.concatenate([swapped[..., :1], swapped[..., :-1]], axis=3)


def _maps(outputs: Mapping[str, NDArray[Any]], role: str, count: int) -> Float32Array:
    if role not in outputs:
        raise PosertError(f"the decoder heatmap needs {role}, the model gives {', '.join(outputs)}")
    maps = outputs[role]
    if maps.ndim != 4 or maps.shape[1] != count or 0 in maps.shape[2:]:
        raise PosertError(
            f"the output {role} has shape {list(maps.shape)}, expected [R,{count},H,W]", "export the model again"
        )
    return np.ascontiguousarray(maps, np.float32)


def _points(maps: Float32Array, split: int) -> Float32Array:
    """f32 [R,K,3] x, y in cells and score: the first `split` keypoints by their peak, the rest by their mass."""
    rows, count, height, width = maps.shape
    points = np.zeros((rows * count, 3), np.float32)
    flat = maps.reshape(rows * count, height * width)
    heatmap_peaks(flat, count, 0, split, width, points)
    heatmap_means(flat, count, split, count, width, points)
    return points.reshape(rows, count, 3)


@kernel
def heatmap_peaks(maps: F32x2, count: int, first: int, last: int, width: int, points: F32x2) -> int:
    """Number of maps decoded: keypoints first..last-1 of each row of `count` maps; points gets x, y (cells), score.

    The first highest cell; inside the map, a quarter of a cell towards the higher neighbour of each axis. A maximum
    <= 0 puts the point on cell 0, 0 and keeps the score (parity 1.7 a).
    """
    height = maps.shape[1] // width
    done = 0
    for row in range(maps.shape[0]):
        if row % count < first or row % count >= last:
            continue
        done += 1
        values = maps[row]
        best, at = np.float32(-np.inf), 0
        for i in range(values.shape[0]):
            if values[i] > best:
                best, at = values[i], i
        if best == -np.inf:
            continue
        points[row, 2] = best
        if best <= 0:
            continue
        column, line = at % width, at // width
        x, y = float(column), float(line)
        if 1 < column < width - 1 and 1 < line < height - 1:
            x += 0.25 * np.sign(values[at + 1] - values[at - 1])
            y += 0.25 * np.sign(values[at + width] - values[at - width])
        points[row, 0] = x
        points[row, 1] = y
    return done


@kernel
def heatmap_means(maps: F32x2, count: int, first: int, last: int, width: int, points: F32x2) -> int:
    """Number of maps decoded, as `heatmap_peaks`: the centre of mass of the sigmoid, its maximum the score."""
    done = 0
    for row in range(maps.shape[0]):
        if row % count < first or row % count >= last:
            continue
        done += 1
        total = x = y = best = 0.0
        for i in range(maps.shape[1]):
            mass = 1.0 / (1.0 + math.exp(-float(maps[row, i])))
            if not mass >= 0.0:  # not a number
                continue
            total += mass
            x += mass * (i % width)
            y += mass * (i // width)
            best = max(best, mass)
        if total > 0.0:
            points[row, 0] = x / total
            points[row, 1] = y / total
            points[row, 2] = best
    return done
