"""Decoder `cifcaf`: composite intensity and association fields -> people (the OpenPifPaf family), for any skeleton.

Roles: `cif` f32 [R,K,5,h,w] and `caf` f32 [R,L,8,h,w], activated: (unused, confidence, x, y, scale) and (unused,
confidence, x1, y1, x2, y2, scale 1, scale 2), positions and scales in cells; a cell is (width - 1) / (w - 1) px wide.
Defaults are the original's.

The best person comes first. A keypoint's score is the original's joint score, a person's the weighted mean of them (the
best three count three times); boxes hold the joints, each widened by its scale. Equal values are taken in field order.
Cells with a value that is not finite are ignored. `MAX_POSES` and constants like it in `cif`, `caf` and `grow` bound
time and memory, whatever the fields.
Rows are decoded in threads.
"""

import math
from collections import namedtuple
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from posert.postprocess.decoders.cifcaf.caf import list_associations, score_connections, take_connections
from posert.postprocess.decoders.cifcaf.cif import (
    MAX_CELLS,
    accumulate,
    find_seeds,
    list_intensities,
    take_maps,
    take_seeds,
)
from posert.postprocess.decoders.cifcaf.grow import Rules, complete_poses, fill_graph, grow_poses, take_graph
from posert.postprocess.decoders.cifcaf.nms import MAX_POSES, report_people, suppress, take_candidates
from posert.postprocess.decoding import EDGES, HEIGHT, KEYPOINTS, WIDTH, DecoderKernels
from posert.postprocess.kernels.records import reader
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.workspace import listed_pairs, shaped, take
from posert.typed import Range, Share, settle

_PROBLEMS = (
    "cif must be [R,K,5,h,w] with the skeleton's K keypoints",
    "caf must be [R,L,8,h,w] with the skeleton's L edges and the h x w cells of cif",
    "each edge of the skeleton must join two of its keypoints",
    "a cell must be 1 to 64 px wide and high, and the cells must fit the network input",
    "the fields are too large",
)
_MAX_PARTS, _MAX_SIDE, _MAX_BYTES = 1 << 12, 1 << 14, 1 << 30  # keypoints; of the fields, and edges; of a workspace
merge = None


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

    cif_threshold: Share = 0.3
    cif_neighbors: Annotated[int, Range(1, 1000)] = 16
    seed_threshold: Share = 0.2
    caf_threshold: Share = 0.3
    keypoint_threshold: Share = 0.15
    keypoint_threshold_rel: Share = 0.5
    nms_keypoint_threshold: Share = 0.15
    instance_threshold: Share | None = None
    force_complete_pose: bool = False
    force_complete_caf_threshold: Share = 0.001
    greedy: bool = False
    reverse_match: bool = True

    def __post_init__(self) -> None:
        settle(self)


_params = reader(Params)
Work = namedtuple("Work", "ready graph frontier maps cells seeds associations connections poses")
"""Everything that decoding one row writes to, in one workspace; `ready` i64 [1]: 1 once the graph is filled."""


@jit
def take_work(workspace, parts, edges, h, w, stride):
    """The `Work` in a workspace, and its bytes, for h x w cells of `stride` px and a skeleton of so many edges."""
    high, wide = (h - 1) * stride + 1, (w - 1) * stride + 1
    ready, at = take(workspace, 0, (1,), np.int64)
    graph, frontier, at = take_graph(workspace, at, parts, edges)
    maps, at = take_maps(workspace, at, parts, high, wide, (parts + 2 * edges) * h * w)
    cells, seeds, at = take_seeds(workspace, at, min(parts * h * w, MAX_CELLS))
    associations, connections, at = take_connections(workspace, at, edges, h, w, stride)
    poses, at = take_candidates(workspace, at, parts, high, wide)
    return Work(ready, graph, frontier, maps, cells, seeds, associations, connections, poses), at


@jit
def _pixels_per_cell(shapes, size):
    """The stride of the fields, px; 0: they do not fit the input."""
    h, w, width, height = shapes[0, 3], shapes[0, 4], size[WIDTH] - 1, size[HEIGHT] - 1
    stride = round(width / (w - 1)) if w > 1 else 0
    if stride == 0:
        stride = round(height / (h - 1)) if h > 1 else 1
    fits = abs(width - stride * (w - 1)) < stride and abs(height - stride * (h - 1)) < stride
    return stride if fits and stride <= 64 else 0


def cifcaf_workspace(shapes, size, numbers, table, needs):
    """0, or a problem. See `DecoderKernels`."""
    parts, edges, h, w = size[KEYPOINTS], listed_pairs(table, EDGES), shapes[0, 3], shapes[0, 4]
    if shapes[0, 1] != parts or shapes[0, 2] != 5 or h < 1 or w < 1:
        return -1
    same = shapes[1, 0] == shapes[0, 0] and shapes[1, 3] == h and shapes[1, 4] == w
    if shapes[1, 1] != len(edges) or shapes[1, 2] != 8 or not same:
        return -2
    for edge in range(len(edges)):
        a, b = edges[edge, 0], edges[edge, 1]
        if a == b or min(a, b) < 0 or max(a, b) >= parts:
            return -3
    if parts > _MAX_PARTS or max(h, w, len(edges)) > _MAX_SIDE:
        return -5
    stride = _pixels_per_cell(shapes, size)
    if stride == 0:
        return -4
    _, needs[0] = take_work(needs[:0], parts, len(edges), h, w, stride)
    needs[1] = MAX_POSES
    return -5 if needs[0] > _MAX_BYTES else 0


@jit
def _fill_maps(cif, caf, edges, stride, params, work):
    """The maps where they are read; returns the number of CIF cells."""
    weakest = params.caf_threshold
    if params.force_complete_pose:
        weakest = min(weakest, params.force_complete_caf_threshold)
    lowest = min(params.cif_threshold, params.seed_threshold)
    count = list_intensities(cif, stride, lowest, params.seed_threshold, work.cells, work.maps)
    list_associations(caf, edges, stride, weakest, work.associations, work.maps)
    accumulate(work.cells, count, cif.shape[0], params.cif_threshold, params.cif_neighbors, work.maps)
    return count


@jit
def _grow(cif, caf, edges, stride, params, work):
    """The number of poses that stay; the first in their order is the best."""
    forced, poses = params.force_complete_pose, work.poses
    least = 0.0 if forced else min(params.keypoint_threshold, params.seed_threshold)
    relative = 0.0 if forced else params.keypoint_threshold_rel
    cells = _fill_maps(cif, caf, edges, stride, params, work)
    seeds = find_seeds(work.cells, cells, params.seed_threshold, work.maps, work.seeds)
    score_connections(work.associations, edges, work.maps, params.caf_threshold, work.connections)
    work.connections.reads[0] = 0
    rules = Rules(least, relative, params.reverse_match, params.greedy, 1.0)
    count = grow_poses(
        work.seeds, seeds, work.graph, work.connections, rules, work.frontier, poses.occupied, poses.joints
    )
    if forced:
        weakest = params.force_complete_caf_threshold
        score_connections(work.associations, edges, work.maps, weakest, work.connections)
        rules = Rules(least, relative, 0, params.greedy, 4.0)
        complete_poses(poses.joints, count, work.graph, work.connections, rules, work.frontier)
    least_mean = params.instance_threshold
    if math.isnan(least_mean):
        least_mean = 0.0 if forced else 0.15
    return suppress(poses, count, 0.0 if forced else params.nms_keypoint_threshold, least_mean)


def cifcaf_people(
    cif, caf, unused, unused_too, shapes, size, numbers, table, workspace, counts, keypoints, scores, boxes
):
    """The people of all rows of the fields. See `DecoderKernels`."""
    params, parts, edges, found = _params(numbers), size[KEYPOINTS], listed_pairs(table, EDGES), 0
    h, w, stride = shapes[0, 3], shapes[0, 4], _pixels_per_cell(shapes, size)
    work, _ = take_work(workspace, parts, len(edges), h, w, stride)
    if work.ready[0] == 0:
        fill_graph(work.graph, edges)
        work.ready[0] = 1
    for row in range(counts.shape[0]):
        fields = shaped(cif, row * parts * 5 * h * w, (parts, 5, h * w))
        pairs = shaped(caf, row * len(edges) * 8 * h * w, (len(edges), 8, h * w))
        counts[row] = _grow(fields, pairs, edges, stride, params, work)
        report_people(work.poses, counts[row], keypoints[found:], scores[found:], boxes[found:])
        found += counts[row]
    return found


KERNELS = DecoderKernels.of(("cif", "caf"), _PROBLEMS, cifcaf_workspace, cifcaf_people, row_threads=True)
decode = KERNELS.decode
