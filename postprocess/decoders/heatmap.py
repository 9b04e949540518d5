"""Decoder `heatmap`: one map per keypoint of one person, by its highest cell or by its centre of mass.

Roles: `maps` f32 [R,K,H,W], one row per person; optionally `mirrored_maps`, of the mirrored input, averaged in (they
need the skeleton's `flip`). One person per row: keypoint scores are the map's maximum as it is (it may be negative or
above 1), after the sigmoid for `integral`; a map without a finite value is not found. Person score: the mean of the
keypoint scores.
"""

import math
from collections import namedtuple
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from posert.postprocess.dark import dark_step, set_blur
from posert.postprocess.decoding import FLIP, HEIGHT, KEYPOINTS, WIDTH, DecoderKernels
from posert.postprocess.geometry import box_of_keypoints
from posert.postprocess.kernels.highest import first_highest
from posert.postprocess.kernels.records import index_of, reader
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.workspace import listed, outside, take
from posert.typed import Misfit, Range, settle

_PROBLEMS = (
    "it needs maps",
    "maps must be [R,K,H,W] with the skeleton's K keypoints",
    "mirrored_maps must have the shape of maps",
    "the skeleton must say which keypoints swap sides in a mirrored picture (flip)",
    "maps have more than 2^28 cells",
)
_MOST_CELLS, _LARGEST_KERNEL = 1 << 28, 63
_HALF, _ZERO = np.float32(0.5), np.float32(0.0)
merge = None


@dataclass(frozen=True, slots=True)
class Params:
    """How a map becomes a point.

    Attributes:
        integral: how many of the last keypoints are the centre of mass of the map's sigmoid; the others are its highest
            cell. -1 = all of them, 0 = none.
        refine: from the highest cell: a `quarter` of a cell towards the higher neighbour, `none`, `dark` (DARK: HRNet,
            TinyPose, MMPose with `unbiased`) or `dark_udp` (UDP's form of it: ViTPose).
        kernel_size: of the Gaussian for DARK, cells, odd: 11 for networks that were trained with a sigma of 2.
        udp: the first and the last cell lie on the edges of the input (UDP: ViTPose); otherwise cell c of W at c / W of
            the input.
    """

    integral: Annotated[int, Range(-1)] = 0
    refine: Literal["quarter", "none", "dark", "dark_udp"] = "quarter"
    kernel_size: Annotated[int, Range(1, _LARGEST_KERNEL)] = 11
    udp: bool = False

    def __post_init__(self) -> None:
        settle(self)
        if self.kernel_size % 2 == 0:
            raise Misfit("kernel_size", "an odd number", self.kernel_size)


_Work = namedtuple("_Work", "map point weights")
"""The map of the mirrored input as if of the input itself, f32 [H*W], its point f32 [3], DARK's Gaussian f64 [n]."""
_params = reader(Params)
_QUARTER, _NONE = index_of(Params, "refine", "quarter"), index_of(Params, "refine", "none")
_DARK_UDP = index_of(Params, "refine", "dark_udp")


def heatmap_workspace(shapes, size, numbers, table, needs):
    """0, or a problem; needs: `_Work`, and one person of each row. See `DecoderKernels`."""
    maps, mirrored, parts = shapes[0], shapes[1], size[KEYPOINTS]
    if maps[0] == 0:
        return -1
    if maps[1] != parts or maps[2] < 1 or maps[3] < 1 or maps[4] != 0:
        return -2
    if maps[2] > _MOST_CELLS // maps[3]:
        return -5
    _, needs[0] = _take_work(needs[:0], mirrored[0] > 0, maps[2] * maps[3], _params(numbers))
    needs[1] = 1
    if mirrored[0] == 0:
        return 0
    for axis in range(5):
        if mirrored[axis] != maps[axis]:
            return -3
    flip = listed(table, FLIP)
    if len(flip) != parts or outside(flip, parts):
        return -4
    return 0


@jit
def _take_work(workspace, mirrors, size, params):
    own, at = take(workspace, 0, (size if mirrors else 0,), np.float32)
    point, at = take(workspace, at, (3,), np.float32)
    weights, at = take(workspace, at, (params.kernel_size,), np.float64)
    return _Work(own, point, weights), at


def heatmap_people(
    maps, mirrored_maps, unused, unused_too, shapes, size, numbers, table, workspace, counts, keypoints, scores, boxes
):
    """One person of each row of `maps`. See `DecoderKernels`."""
    parts, height, width = size[KEYPOINTS], shapes[0, 2], shapes[0, 3]
    flip, params, cells = listed(table, FLIP), _params(numbers), height * width
    peaks = parts - (parts if params.integral < 0 else min(params.integral, parts))
    steps_x, steps_y = (max(1, width - 1), max(1, height - 1)) if params.udp else (width, height)
    scale_x, scale_y = np.float32(size[WIDTH] / steps_x), np.float32(size[HEIGHT] / steps_y)
    work, _ = _take_work(workspace, shapes[1, 0] > 0, cells, params)
    set_blur(work.weights)
    for row in range(counts.shape[0]):
        total = np.float32(-0.0)  # which adds nothing to anything
        for k in range(parts):
            point, begin = keypoints[row, k], (row * parts + k) * cells
            own = maps[begin : begin + cells]
            if shapes[1, 0] > 0:
                begin = (row * parts + flip[k]) * cells
                _averaged_point(own, mirrored_maps[begin : begin + cells], width, k < peaks, params, work, point)
            else:
                _point(own, width, k < peaks, params, work, point)
            point[0] *= scale_x
            point[1] *= scale_y
            total += point[2]
        scores[row] = total / np.float32(parts)
        box_of_keypoints(keypoints[row], boxes[row])
        counts[row] = 1
    return counts.shape[0]


@jit
def _averaged_point(cells, mirrored, width, peak, params, work, point):
    """point: the peak of the average of both maps, or the average of their centres of mass."""
    own, own_point = work.map, work.point
    unmirror(mirrored, width, 0 if params.udp else 1, own)
    if peak:
        for i in range(len(cells)):
            own[i] = (cells[i] + own[i]) * _HALF
        _point(own, width, peak, params, work, point)
    else:
        _point(cells, width, peak, params, work, point)
        _point(own, width, peak, params, work, own_point)
        for i in range(3):
            point[i] = (point[i] + own_point[i]) * _HALF


@jit
def unmirror(mirrored, width, shift, cells):
    """cells f32 [H*W]: the map of a mirrored input as one of the input itself.

    It moves right by `shift` columns, 1 (column 0 stays) unless `udp`: mirroring cells of an even number of pixels puts
    them one column off. AlphaPose means the same, but its copy overlaps itself on the CPU (docs/parity.md 1.6); this is
    what it means.
    """
    for line in range(len(cells) // width):
        begin = line * width
        for x in range(width):
            cells[begin + x] = mirrored[begin + width - 1 - max(x - shift, 0)]


@jit
def _point(cells, width, peak, params, work, point):
    """point f32 [3]: x, y (cells) and score of a map f32 [H*W]; 0, 0, 0 if it has no finite value."""
    point[:] = _ZERO
    if peak:
        _peak(cells, width, params, work.weights, point)
    else:
        _centre_of_mass(cells, width, point)


@jit
def _peak(cells, width, params, weights, point):
    """The first highest cell, refined; a quarter of a cell is only gone inside the map.

    A maximum <= 0 puts the point on cell 0, 0 and keeps the score (docs/parity.md 1.7 a).
    """
    height = len(cells) // width
    at, best = first_highest(cells)
    if best == -np.inf:
        return
    point[2] = best
    if best <= 0:
        return
    column, line = at % width, at // width
    x, y = float(column), float(line)
    if params.refine > _NONE:
        across, down = dark_step(cells, width, column, line, weights, params.refine == _DARK_UDP)
        x, y = x + across, y + down
    elif params.refine == _QUARTER and 1 < column < width - 1 and 1 < line < height - 1:
        x += 0.25 * np.sign(cells[at + 1] - cells[at - 1])
        y += 0.25 * np.sign(cells[at + width] - cells[at - width])
    point[0], point[1] = x, y


@jit
def _centre_of_mass(cells, width, point):
    """The centre of mass of the map's sigmoid, its maximum the score."""
    total = x = y = best = 0.0
    for line in range(len(cells) // width):
        for column in range(width):
            mass = 1.0 / (1.0 + math.exp(-float(cells[line * width + column])))
            if not mass >= 0.0:  # not a number
                continue
            total += mass
            x += mass * column
            y += mass * line
            best = max(best, mass)
    if total > 0.0:
        point[0], point[1], point[2] = x / total, y / total, best


KERNELS = DecoderKernels.of(("maps", "mirrored_maps"), _PROBLEMS, heatmap_workspace, heatmap_people)
decode = KERNELS.decode
