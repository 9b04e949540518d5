"""Decoder `bodyparts`: part heatmaps and part-affinity fields -> people, peak by centroid and limb by sorted list.

Roles: `heatmaps` f32 [R,>=K,h,w] (a background map may follow the K parts) and `pafs` f32 [R,2L,h,w]. The maps are
up-sampled to the size of the network input. The rules and the defaults are CMU OpenPose's for BODY_25, as its CUDA
build has them; its CPU build is `interpolation = "cubic"`, `peak_rule = "ring"`, `assembly = "pairwise"`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Float32Array, Poses, Skeleton, no_poses
from posert.postprocess.decoders.bodyparts import assembly, centroids, limbs, scales
from posert.postprocess.geometry import keypoint_boxes

BODY_25_CHANNELS = (
    (0, 1), (14, 15), (22, 23), (16, 17), (18, 19), (24, 25), (26, 27), (6, 7), (2, 3), (4, 5), (8, 9), (10, 11),
    (12, 13), (30, 31), (32, 33), (36, 37), (34, 35), (38, 39), (20, 21), (28, 29), (40, 41), (42, 43), (44, 45),
    (46, 47), (48, 49), (50, 51),
)  # fmt: skip
_PEAK_RULES = {"interior": centroids.INTERIOR, "ring": centroids.RING}
KEY_BONUS = 0.1  # OpenPose's global list: key = limb value + 0.1 * both peaks' scores
NEAR = 150  # OpenPose: two peaks closer than 1/150 of the input's geometric mean side are joined even without a field


@dataclass(frozen=True, slots=True)
class Params:
    """Thresholds and rules; the defaults are CMU OpenPose's for BODY_25.

    Attributes:
        paf_channels: x and y channel of each of the skeleton's edges.
        interpolation: of the up-sampling: `cubic` (Keys, a = -0.75, OpenCV's) or `keys` (a = -0.5, the fraction
            measured from the clamped cell, so that it extrapolates at the left and upper border: the CUDA build's).
        peak_rule: `interior` = strictly larger than all 8 neighbours; `ring` = the same, and one sample away from the
            border at least as large as they.
        peak_threshold: least value of a peak.
        max_peaks: at most so many peaks per part, the first in scan order; bounds time and memory.
        offset_px: added to x and y, px of the network input, before the limbs are read. OpenPose adds half a pixel
            of its output, so 0.5 / (output px per input px).
        limb_threshold: least alignment of a sample of the field that counts.
        limb_ratio: more than this share of a limb's samples must count.
        assembly: `global_sort` takes the limbs of all edges best first; `pairwise` goes edge by edge.
        redundant_edges: with `pairwise`, edges that only complete people who are there.
        foot_parts: keypoints that do not count: people who have some need more than 4 others, unless nobody has.
        min_parts: least number of keypoints of a person.
        min_score: least score per keypoint of a person.
        maximize_positives: OpenPose's option of this name: low thresholds in place of those above, for more and less
            certain people.
    """

    paf_channels: tuple[tuple[int, int], ...] = BODY_25_CHANNELS
    interpolation: str = "keys"
    peak_rule: str = "interior"
    peak_threshold: float = 0.05
    max_peaks: int = 127
    offset_px: float = 0.5
    limb_threshold: float = 0.05
    limb_ratio: float = 0.95
    assembly: str = "global_sort"
    redundant_edges: tuple[int, ...] = (18, 19)
    foot_parts: tuple[int, ...] = (19, 20, 21, 22, 23, 24)
    min_parts: int = 3
    min_score: float = 0.4
    maximize_positives: bool = False

    def __post_init__(self) -> None:
        rules = {
            "interpolation": self.interpolation in ("cubic", "keys"),
            "peak_rule": self.peak_rule in _PEAK_RULES,
            "assembly": self.assembly in ("global_sort", "pairwise"),
            "peak_threshold": self.peak_threshold >= 0,
            "limb_threshold": math.isfinite(self.limb_threshold),
            "min_score": math.isfinite(self.min_score),
            "offset_px": math.isfinite(self.offset_px),
            "maximize_positives": isinstance(self.maximize_positives, bool),
            "limb_ratio": 0 <= self.limb_ratio < 1,
            "max_peaks": 1 <= self.max_peaks <= 512,
            "min_parts": self.min_parts >= 1,
        }
        wrong = [f"{name} = {getattr(self, name)!r}" for name, good in rules.items() if not good]
        if wrong:
            raise ValueError(", ".join(wrong))


def decode(
    outputs: Mapping[str, NDArray[Any]], skeleton: Skeleton, params: Params, input_wh: tuple[int, int]
) -> list[Poses]:
    """One `Poses` per row of the batch, in pixels of the network input, people in the order in which they came to be.

    Args:
        outputs: `heatmaps` f32 [R,>=K,h,w] and `pafs` f32 [R,2L,h,w].
        skeleton: K keypoints and L edges, in the order of `params.paf_channels`.
        input_wh: width and height of the network input, px, and of the grid on which peaks and limbs are looked for.

    A keypoint's score is its heatmap value, a person's the sum of its keypoints' and limbs' over K + L. Equal limbs
    are taken from the last edge and peak to the first. Cells that are not finite never become a peak.

    Raises:
        PosertError: the maps do not fit the skeleton.
    """
    maps = np.ascontiguousarray(outputs["heatmaps"], np.float32)
    pafs = np.ascontiguousarray(outputs["pafs"], np.float32)
    _check(maps, pafs, skeleton, params)
    params = effective(params)
    work = _Workspace(maps.shape[2:], len(skeleton.names), len(skeleton.edges), params, input_wh)
    return [_decode_row(heat, field, skeleton, params, work) for heat, field in zip(maps, pafs, strict=True)]


def effective(params: Params) -> Params:
    """The values that really apply: `maximize_positives` replaces some."""
    if not params.maximize_positives:
        return params
    return replace(
        params, peak_threshold=0.02, limb_threshold=0.01, limb_ratio=0.75, min_parts=2, min_score=0.05, foot_parts=(),
    )  # fmt: skip


def merge(
    several: Sequence[Mapping[str, NDArray[Any]]], params: Params, input_wh: tuple[int, int]
) -> dict[str, Float32Array]:
    """The mean of one batch's outputs at several scales, each up-sampled to the network input: role -> f32 [R,C,H,W].

    Args:
        several: per scale role -> f32 [R,C,h,w], all of the whole frame.
        params: its interpolation.
        input_wh: W and H.
    """
    wide, high = input_wh
    merged = {}
    for role in several[0]:
        arrays = [np.ascontiguousarray(outputs[role], np.float32) for outputs in several]
        total, grid = np.zeros((*arrays[0].shape[:2], high, wide), np.float32), np.empty((high, wide), np.float32)
        for array in arrays:
            h, w = array.shape[2:]
            y, x = (centroids.axis_blocks(*pair, params.interpolation) for pair in ((h, high), (w, wide)))
            for row, sums in zip(array, total, strict=True):
                scales.add_upsampled(row, *y[:2], *x[:2], np.empty((h, wide), np.float32), grid, sums)
        total /= np.float32(len(several))
        merged[role] = total
    return merged


def _check(maps: Float32Array, pafs: Float32Array, skeleton: Skeleton, params: Params) -> None:
    parts, edges = len(skeleton.names), len(skeleton.edges)
    problems = []
    if maps.ndim != 4 or maps.shape[1] < parts:
        problems.append(f"heatmaps {list(maps.shape)}, expected [R,>={parts},h,w]")
    if pafs.ndim != 4 or len(params.paf_channels) != edges:
        problems.append(f"pafs {list(pafs.shape)} and {len(params.paf_channels)} channel pairs for {edges} edges")
    elif not all(0 <= channel < pafs.shape[1] for pair in params.paf_channels for channel in pair):
        problems.append(f"pafs {list(pafs.shape)}, expected [R,{2 * edges},h,w]")
    if not problems and (maps.shape[0], *maps.shape[2:]) != (pafs.shape[0], *pafs.shape[2:]):
        problems.append(f"heatmaps {list(maps.shape)} and pafs {list(pafs.shape)} of different sizes")
    if any(not 0 <= part < parts for part in params.foot_parts):
        problems.append(f"foot_parts {params.foot_parts} of {parts} keypoints")
    if problems:
        raise PosertError("the decoder bodyparts cannot use " + "; ".join(problems), "export the model again")


class _Workspace:
    """Everything the kernels write to whose size the maps alone decide."""

    def __init__(
        self, size_hw: tuple[int, ...], parts: int, edges: int, params: Params, input_wh: tuple[int, int]
    ) -> None:
        (h, w), (wide, high) = size_hw, input_wh
        self.size_wh = wide, high
        self.y = centroids.axis_blocks(h, high, params.interpolation)
        self.x = centroids.axis_blocks(w, wide, params.interpolation)
        gain = np.abs(self.y[1]).sum(axis=1).max() * np.abs(self.x[1]).sum(axis=1).max()
        self.floor = params.peak_threshold / float(gain) * (1 - 1e-5)  # float32 sums
        deepest = int(np.diff(self.y[2]).max())
        self.active = np.empty((len(self.y[2]), len(self.x[2])), np.uint8)
        self.block = np.empty((deepest, centroids.BLOCK), np.float32)
        self.grids = np.empty((2, high, wide), np.float32)
        self.across = np.empty((h, wide), np.float32)
        self.peaks, self.counts = np.empty((parts, params.max_peaks, 3), np.float32), np.empty(parts, np.int64)
        self.starts = np.empty(edges + 1, np.int64)
        self.used = np.empty((2, params.max_peaks), np.uint8)
        self.owners = np.empty((parts, params.max_peaks), np.int32)


def _decode_row(heat: Float32Array, field: Float32Array, skeleton: Skeleton, params: Params, work: _Workspace) -> Poses:
    parts = len(skeleton.names)
    taps_y, taps_x = work.y[:2], work.x[:2]
    centroids.find_centroids(
        heat, parts, params.peak_threshold, work.floor, _PEAK_RULES[params.peak_rule], params.offset_px,
        *work.y, *taps_x, work.x[3], work.active, work.block, work.grids[0], work.peaks, work.counts,
    )  # fmt: skip
    edges = np.array(skeleton.edges, np.int64).reshape(-1, 2)
    channels = np.array(params.paf_channels, np.int64).reshape(-1, 2)
    size = int((work.counts[edges[:, 0]] * work.counts[edges[:, 1]]).sum())
    key, value = np.empty(size, np.float32), np.empty(size, np.float32)
    index, order = np.empty((size, 3), np.int32), np.empty(size, np.int32)
    together = params.assembly == "global_sort"
    candidates = limbs.score_candidates(
        field, edges, channels, work.peaks, work.counts, KEY_BONUS if together else 0.0, params.limb_threshold,
        params.limb_ratio, math.sqrt(work.size_wh[0] * work.size_wh[1]) / NEAR, params.peak_threshold + 1e-6,
        *taps_y, *taps_x, work.across, work.grids, key, value, index, work.starts,
    )  # fmt: skip
    # No more people than limbs or peaks can start: with `pairwise` each edge at most one per peak of either end.
    most = int(work.counts[edges].max(axis=1).sum()) if len(edges) else 0
    people, scores, sizes = np.empty((most, parts), np.int32), np.empty(most), np.empty(most, np.int64)
    listed = key, value, index, order
    if together:
        count = assembly.assemble_globally(
            edges, work.peaks, *listed, candidates, work.owners, people, scores, sizes
        )  # fmt: skip
    else:
        redundant = np.isin(np.arange(len(edges)), params.redundant_edges).astype(np.uint8)
        count = assembly.assemble_pairwise(
            edges, redundant, work.peaks, work.counts, *listed, work.starts, work.used, people, scores, sizes
        )  # fmt: skip
    return _poses(people[:count], scores[:count], sizes[:count], len(edges), params, work)


def _kept(
    people: NDArray[np.int32], scores: NDArray[np.float64], sizes: NDArray[np.int64], params: Params
) -> NDArray[np.bool_]:
    """Who is whole enough; when nobody is, who would be with the feet counted."""
    feet = (people[:, list(params.foot_parts)] >= 0).sum(axis=1)
    for own, allowed in ((sizes - feet, (feet == 0) | (sizes - feet > 4)), (sizes, sizes > 0)):
        kept: NDArray[np.bool_] = allowed & (own >= params.min_parts) & (scores >= params.min_score * own)
        if kept.any():
            break
    return kept


def _poses(
    people: NDArray[np.int32],
    scores: NDArray[np.float64],
    sizes: NDArray[np.int64],
    edges: int,
    params: Params,
    work: _Workspace,
) -> Poses:
    """The rows that are whole enough, as `Poses`."""
    kept, parts = _kept(people, scores, sizes, params), people.shape[1]
    if not kept.any():
        return no_poses(parts)
    picked = people[kept]
    keypoints = work.peaks[np.arange(parts), np.maximum(picked, 0)]
    keypoints[picked < 0] = 0
    return Poses(keypoints, (scores[kept] / (parts + edges)).astype(np.float32), keypoint_boxes(keypoints))
