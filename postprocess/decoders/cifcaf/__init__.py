"""Decoder `cifcaf`: composite intensity and association fields -> people (the OpenPifPaf family), for any skeleton.

Roles: `cif` f32 [R,K,5,h,w] and `caf` f32 [R,L,8,h,w], activated, in units of cells. Defaults are the original's.
"""

import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Float32Array, Poses, Skeleton, no_poses
from posert.postprocess.decoders.cifcaf import caf as caf_kernels
from posert.postprocess.decoders.cifcaf import cif as cif_kernels
from posert.postprocess.decoders.cifcaf import grow, nms

MAX_POSES = 1024
"""At most so many poses are grown per image, before the overlapping ones fall away."""


@dataclass(frozen=True, slots=True)
class Params:
    """Thresholds and rules; the defaults are OpenPifPaf's.

    Attributes:
        cif_threshold: least confidence of a cell that adds to the high-resolution maps.
        cif_neighbors: so many full cells make a confidence of 1.
        seed_threshold: least value of a joint from which a pose grows.
        caf_threshold: least confidence of a connection.
        keypoint_threshold: least score of a joint while a pose grows; never above `seed_threshold`.
        keypoint_threshold_rel: the same, as a fraction of the score of the joint before.
        nms_keypoint_threshold: joints need more than this to be reported.
        instance_threshold: least mean joint score of a person; None is 0.15, or 0 with `force_complete_pose`.
        force_complete_pose: report all joints, from weak connections and else from the neighbour's place; the three
            keypoint thresholds are then 0.
        force_complete_caf_threshold: least confidence of such a weak connection.
        greedy: accept a joint as soon as it is found, not when it is the most certain one.
        reverse_match: a connection counts only if the way back leads to where it started.
    """

    cif_threshold: float = 0.3
    cif_neighbors: int = 16
    seed_threshold: float = 0.2
    caf_threshold: float = 0.3
    keypoint_threshold: float = 0.15
    keypoint_threshold_rel: float = 0.5
    nms_keypoint_threshold: float = 0.15
    instance_threshold: float | None = None
    force_complete_pose: bool = False
    force_complete_caf_threshold: float = 0.001
    greedy: bool = False
    reverse_match: bool = True

    def __post_init__(self) -> None:
        names = [name for name in self.__slots__ if "threshold" in name]
        wrong = [
            f"{name} = {value!r}"
            for name in names
            if not ((value := getattr(self, name)) is None and name == "instance_threshold")
            and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1)
        ]
        if isinstance(self.cif_neighbors, bool) or not 1 <= self.cif_neighbors <= 1000:
            wrong.append(f"cif_neighbors = {self.cif_neighbors!r}")
        for name in ("greedy", "force_complete_pose"):
            if not isinstance(getattr(self, name), bool):
                wrong.append(f"{name} = {getattr(self, name)!r}")
        if wrong:
            raise ValueError(", ".join(wrong))


def least_mean(params: Params) -> float:
    """The least mean joint score of a person, `instance_threshold` or what stands for None."""
    if params.instance_threshold is not None:
        return float(params.instance_threshold)
    return 0.0 if params.force_complete_pose else 0.15


def decode(
    outputs: Mapping[str, NDArray[Any]], skeleton: Skeleton, params: Params, input_wh: tuple[int, int]
) -> list[Poses]:
    """One `Poses` per row of the batch, in pixels of the network input, best person first.

    Args:
        outputs: `cif` f32 [R,K,5,h,w] (unused, confidence, x, y, scale) and `caf` f32 [R,L,8,h,w] (unused, confidence,
            x1, y1, x2, y2, scale 1, scale 2); positions and scales in cells.
        skeleton: K keypoints and L edges, in the order of the fields.
        input_wh: width and height of the network input, px; a cell is (width - 1) / (w - 1) wide.

    A keypoint's score is the original's joint score, a person's the weighted mean of them (the best three count three
    times); boxes hold the joints, each widened by its scale. Equal values are taken in field order. Cells with a value
    that is not finite are ignored; `MAX_POSES`, `cif.WORK_PER_PIXEL` and `caf.MAX_VISITS` bound the time.
    Rows are decoded in threads.

    Raises:
        PosertError: the fields do not fit the skeleton or the input.
    """
    cif = np.ascontiguousarray(outputs["cif"], np.float32)
    caf = np.ascontiguousarray(outputs["caf"], np.float32)
    stride = _check(cif, caf, skeleton, input_wh)
    if len(cif) <= 1:
        return [_decode_row(a, b, skeleton, params, stride) for a, b in zip(cif, caf, strict=True)]
    with ThreadPoolExecutor(min(len(cif), os.cpu_count() or 1)) as pool:
        return list(pool.map(_decode_row, cif, caf, repeat(skeleton), repeat(params), repeat(stride)))


def _check(cif: Float32Array, caf: Float32Array, skeleton: Skeleton, input_wh: tuple[int, int]) -> int:
    """Pixels per cell."""
    parts, edges = len(skeleton.names), len(skeleton.edges)
    problems = []
    if cif.ndim != 5 or cif.shape[1:3] != (parts, 5) or min(cif.shape[3:]) < 1:
        problems.append(f"cif {list(cif.shape)}, expected [R,{parts},5,h,w]")
    elif caf.shape != (cif.shape[0], edges, 8, *cif.shape[3:]):
        problems.append(f"caf {list(caf.shape)}, expected {[cif.shape[0], edges, 8, *cif.shape[3:]]}")
    if not _sound(skeleton.edges, parts):
        problems.append(f"edges outside the {parts} keypoints, or from a keypoint to itself")
    stride = 1
    if not problems:
        cells, sides = cif.shape[:2:-1], input_wh  # w, h
        stride = round((sides[0] - 1) / (cells[0] - 1)) if cells[0] > 1 else 0
        stride = stride or (round((sides[1] - 1) / (cells[1] - 1)) if cells[1] > 1 else 1)
        if not 1 <= stride <= 64 or any(
            abs((side - 1) - stride * (cell - 1)) >= stride for side, cell in zip(sides, cells, strict=True)
        ):
            problems.append(f"fields of {cells[0]}x{cells[1]} cells for an input of {sides[0]}x{sides[1]} px")
    if problems:
        raise PosertError("the decoder cifcaf cannot use " + "; ".join(problems), "export the model again")
    return stride


@cache
def _sound(edges: tuple[tuple[int, int], ...], parts: int) -> bool:
    return all(a != b and 0 <= a < parts and 0 <= b < parts for a, b in edges)


class _Workspace:
    """Everything the kernels write to, for one size of the fields and one skeleton."""

    def __init__(self, cells_hw: tuple[int, int], stride: int, parts: int, edges: tuple[tuple[int, int], ...]) -> None:
        self.key = cells_hw, stride, parts, edges
        h, w = cells_hw
        high, wide = (h - 1) * stride + 1, (w - 1) * stride + 1
        cells, ways, tile = h * w, 2 * len(edges), cif_kernels.TILE
        tiles = -(-high // tile) * -(-wide // tile)
        self.size = float(stride), high, wide
        self.maps = np.zeros((parts, tiles * tile * tile), np.float32), np.zeros((parts, tiles), np.uint8)
        self.cells = np.empty((parts * cells, 5), np.float32), np.empty(parts * cells, np.int32)
        self.seeds = np.empty((parts * cells, 5), np.float32)
        value, self.order = np.empty(parts * cells, np.float32), np.empty(parts * cells, np.int32)
        self.sorting = (
            value, value.view(np.int32), self.order, np.empty(parts * cells, np.int32),
            np.empty(cif_kernels.RADIX, np.int64),
        )  # fmt: skip
        self.ends = np.array([pair for a, b in edges for pair in ((a, b), (b, a))], np.int64).reshape(-1, 2)
        self.ways = np.argsort(self.ends[:, 0], kind="stable").astype(np.int64)
        self.first_way = np.searchsorted(self.ends[self.ways, 0], np.arange(parts + 1)).astype(np.int64)
        self.grid = 4.0 * stride, w // 4 + 1, h // 4 + 1
        self.rows = (
            np.empty((len(edges) * cells, 7), np.float32), np.empty((len(edges) * cells, 2), np.int32),
            np.empty(len(edges) + 1, np.int64),
        )  # fmt: skip
        self.scores = np.empty(cells, np.float32), np.empty(cells, np.int32)
        self.starts = np.empty((ways, self.grid[1] * self.grid[2] + 1), np.int32)
        self.places = np.empty(ways * cells, np.int32)
        self.connections = np.empty((ways * cells, 7), np.float32)
        self.visits = np.zeros(1, np.int64)
        self.frontier = (
            np.empty(ways, np.int32), np.empty(ways, np.float32), np.empty(ways, np.int64), np.empty(ways, np.uint8),
            np.empty((ways, 4), np.float64),
        )  # fmt: skip
        self.occupied = np.zeros((parts, high // 2 + 1, wide // 2 + 1), np.uint8)
        self.poses = np.empty((MAX_POSES, parts, 4), np.float64)
        self.rank = np.empty(MAX_POSES, np.float32), np.empty(MAX_POSES, np.int32)
        self.ranked = np.empty(parts, np.float64)

    def fields(self) -> tuple[Any, ...]:
        """What growing reads: the skeleton's directions and the connections."""
        return self.ends, self.first_way, self.ways, self.connections, self.places, self.starts, *self.grid


_idle: deque[_Workspace] = deque(maxlen=16)
"""Workspaces that nobody uses now; a decode takes one that fits and brings it back, so threads never share one."""


def _workspace(cells_hw: tuple[int, int], stride: int, skeleton: Skeleton) -> _Workspace:
    """An idle workspace for this size and skeleton, or a new one."""
    try:
        work = _idle.pop()
    except IndexError:
        return _Workspace(cells_hw, stride, len(skeleton.names), skeleton.edges)
    if work.key == (cells_hw, stride, len(skeleton.names), skeleton.edges):
        return work
    return _Workspace(cells_hw, stride, len(skeleton.names), skeleton.edges)


def _fill_maps(cif: Float32Array, caf: Float32Array, params: Params, work: _Workspace) -> int:
    """The maps where they are read; returns the number of CIF cells."""
    forced, cells = params.force_complete_pose, cif.shape[2] * cif.shape[3]
    weakest = min(params.caf_threshold, params.force_complete_caf_threshold) if forced else params.caf_threshold
    count: int = cif_kernels.list_intensities(
        cif.reshape(-1, 5, cells), *work.size, float(min(params.cif_threshold, params.seed_threshold)),
        float(params.seed_threshold), *work.cells, *work.maps,
    )  # fmt: skip
    caf_kernels.list_associations(
        caf.reshape(-1, 8, cells), work.ends, *work.size, float(weakest), *work.rows, *work.maps
    )  # fmt: skip
    cif_kernels.accumulate(
        work.cells[0], count, float(params.cif_threshold), params.cif_neighbors, *work.size[1:], *work.maps
    )  # fmt: skip
    return count


def _score_connections(threshold: float, work: _Workspace) -> int:
    count: int = caf_kernels.score_connections(
        *work.rows, work.ends, work.maps[0], float(threshold), *work.grid, *work.scores, work.starts, work.places,
        work.connections,
    )  # fmt: skip
    return count


def _decode_row(cif: Float32Array, caf: Float32Array, skeleton: Skeleton, params: Params, stride: int) -> Poses:
    work = _workspace((cif.shape[2], cif.shape[3]), stride, skeleton)
    forced = params.force_complete_pose
    least = 0.0 if forced else float(min(params.keypoint_threshold, params.seed_threshold))
    relative = 0.0 if forced else float(params.keypoint_threshold_rel)
    cells = _fill_maps(cif, caf, params, work)
    seeds = cif_kernels.find_seeds(
        *work.cells, cells, float(params.seed_threshold), work.maps[0], work.seeds, *work.sorting
    )  # fmt: skip
    _score_connections(params.caf_threshold, work)
    work.visits[0] = 0
    count = grow.grow_poses(
        work.seeds, work.order, seeds, *work.fields(), least, relative, int(params.reverse_match),
        int(params.greedy), work.visits, *work.frontier, work.occupied, work.poses,
    )  # fmt: skip
    if forced:
        _score_connections(params.force_complete_caf_threshold, work)
        grow.complete_poses(
            work.poses, count, *work.fields(), least, relative, int(params.greedy), work.visits, *work.frontier
        )  # fmt: skip
    kept = nms.suppress(
        work.poses, count, 0.0 if forced else float(params.nms_keypoint_threshold), least_mean(params), work.occupied,
        *work.rank,
    )  # fmt: skip
    poses = _people(work, kept)
    _idle.append(work)
    return poses


def _people(work: _Workspace, count: int) -> Poses:
    """The first `count` poses of the ranking."""
    parts = work.poses.shape[1]
    if not count:
        return no_poses(parts)
    keypoints, scores = np.empty((count, parts, 3), np.float32), np.empty(count, np.float32)
    boxes = np.empty((count, 4), np.float32)
    nms.report_people(work.poses, work.rank[1], count, work.ranked, keypoints, scores, boxes)
    return Poses(keypoints, scores, boxes)
