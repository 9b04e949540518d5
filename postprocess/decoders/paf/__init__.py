"""Decoder `paf`: keypoint heatmaps and part-affinity fields -> people (the OpenPose family).

Roles: `heatmaps` f32 [R,>=K,h,w] (a background map may follow the K parts) and `pafs` f32 [R,2L,h,w]. The rules and the
defaults are tf-pose-estimation's; every number of them is a parameter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Float32Array, Poses, Skeleton, no_poses
from posert.postprocess.decoders.paf import limbs, peaks
from posert.postprocess.geometry import keypoint_boxes

COCO_18_CHANNELS = (
    (12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11),
    (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27),
)  # fmt: skip
_ASSEMBLY = {"first_match": limbs.FIRST_MATCH, "complete": limbs.COMPLETE}
MAX_PEOPLE = 256


@dataclass(frozen=True, slots=True)
class Params:
    """Thresholds and rules; the defaults are tf-pose's.

    Attributes:
        paf_channels: x and y channel of each of the skeleton's edges.
        upsample: samples per cell and axis; the grid on which peaks and limbs are looked for.
        interpolation: `area` or `cubic`, of the up-sampling.
        smooth_taps: odd length of the smoothing kernel in samples, 1 = none (25: a sigma of about 5 samples).
        peak_threshold: least smoothed value of a peak.
        peak_radius: a peak is the largest value within so many samples.
        refine: move peaks between samples, to the top of a parabola.
        max_peaks: at most so many peaks per part, the strongest; bounds time and memory.
        limb_samples: points of the field read along a limb.
        limb_closed: whether the last of them lies on the second end (else one step before it).
        limb_threshold: least alignment of a point that counts.
        limb_least: so many points must count.
        assembly: `first_match` extends a person from a limb's first end only; `complete` from either end, and never
            over a part that is there.
        strict_compat: repeat tf-pose's mistake of taking peak number 0 for none when it merges.
        seeding_limbs: only the first so many edges start a person.
        min_parts: least number of keypoints of a person.
        min_score: least score per keypoint of a person.
        person_score: `mean` = score per keypoint; `sum` = their sum over the skeleton's K, which ranks whole people
            above fragments.
        offset_px: added to x and y, px of the network input.
    """

    paf_channels: tuple[tuple[int, int], ...] = COCO_18_CHANNELS
    upsample: float = 4.0
    interpolation: str = "area"
    smooth_taps: int = 25
    peak_threshold: float = 0.05
    peak_radius: int = 1
    refine: bool = False
    max_peaks: int = 128
    limb_samples: int = 10
    limb_closed: bool = False
    limb_threshold: float = 0.05
    limb_least: int = 7
    assembly: str = "first_match"
    strict_compat: bool = False
    seeding_limbs: int = 17
    min_parts: int = 4
    min_score: float = 0.3
    person_score: str = "mean"
    offset_px: float = 0.0

    def __post_init__(self) -> None:
        rules = {
            "interpolation": self.interpolation in ("area", "cubic"),
            "assembly": self.assembly in _ASSEMBLY,
            "person_score": self.person_score in ("mean", "sum"),
            "upsample": 1 <= self.upsample <= 16,
            "smooth_taps": 1 <= self.smooth_taps <= 99 and self.smooth_taps % 2 == 1,
            "peak_threshold": 0 <= self.peak_threshold < math.inf,
            "peak_radius": 1 <= self.peak_radius <= 32,
            "max_peaks": 1 <= self.max_peaks <= 512,
            "limb_samples": 2 <= self.limb_samples <= 100,
            "limb_threshold": math.isfinite(self.limb_threshold),
            "limb_least": 0 <= self.limb_least <= self.limb_samples,
            "seeding_limbs": self.seeding_limbs >= 1,
            "min_parts": self.min_parts >= 1,
            "min_score": math.isfinite(self.min_score),
            "offset_px": math.isfinite(self.offset_px),
            "paf_channels": all(len(pair) == 2 and min(pair) >= 0 for pair in self.paf_channels),
        }
        wrong = [f"{name} = {getattr(self, name)!r}" for name, good in rules.items() if not good]
        if wrong:
            raise ValueError(", ".join(wrong))
        # a model's metadata has lists for tuples and may have 0 for 0.0; kernels and the plan's cache want these
        object.__setattr__(self, "paf_channels", tuple((int(x), int(y)) for x, y in self.paf_channels))
        for name in ("upsample", "peak_threshold", "limb_threshold", "min_score", "offset_px"):
            object.__setattr__(self, name, float(getattr(self, name)))


def decode(
    outputs: Mapping[str, NDArray[Any]], skeleton: Skeleton, params: Params, input_wh: tuple[int, int]
) -> list[Poses]:
    """One `Poses` per row of the batch, in pixels of the network input.

    Args:
        outputs: `heatmaps` f32 [R,>=K,h,w] and `pafs` f32 [R,2L,h,w].
        skeleton: K keypoints and L edges, in the order in which limbs are looked for.
        input_wh: width and height of the network input, px.

    A keypoint's score is its heatmap value. Equal limb values are taken in the order of the peaks (part, y, x). Cells
    that are not finite never become a peak.

    Raises:
        PosertError: the maps do not fit the skeleton.
    """
    maps = np.ascontiguousarray(outputs["heatmaps"], np.float32)
    pafs = np.ascontiguousarray(outputs["pafs"], np.float32)
    _check(maps, pafs, skeleton, params)
    work = _Workspace(_plan((maps.shape[2], maps.shape[3]), skeleton, params), params)
    return [_decode_row(heat, field, work, params, input_wh) for heat, field in zip(maps, pafs, strict=True)]


def _check(maps: Float32Array, pafs: Float32Array, skeleton: Skeleton, params: Params) -> None:
    parts, edges = len(skeleton.names), len(skeleton.edges)
    problems = []
    if maps.ndim != 4 or maps.shape[1] < parts:
        problems.append(f"heatmaps {list(maps.shape)}, expected [R,>={parts},h,w]")
    if pafs.ndim != 4 or len(params.paf_channels) != edges:
        problems.append(f"{len(params.paf_channels)} PAF channel pairs for {edges} edges")
    elif max((max(pair) for pair in params.paf_channels), default=0) >= pafs.shape[1]:
        problems.append(f"pafs {list(pafs.shape)}, expected [R,{2 * edges},h,w]")
    if not problems and (maps.shape[0], *maps.shape[2:]) != (pafs.shape[0], *pafs.shape[2:]):
        problems.append(f"heatmaps {list(maps.shape)} and pafs {list(pafs.shape)} of different sizes")
    if problems:
        raise PosertError("the decoder paf cannot use " + "; ".join(problems), "export the model again")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What follows from the maps' size, the skeleton and the parameters: shared by threads, never written to.

    Attributes:
        map_hw, grid_hw: height and width of the maps (cells) and of the grid the peaks are looked for on (samples).
        smooth: taps of y and x with smoothing. plain: without, and their gain.
        floor: magnitude that some cell must exceed before a smoothed sample of it can exceed the threshold.
    """

    map_hw: tuple[int, int]
    grid_hw: tuple[int, int]
    parts: int
    edges: NDArray[np.int64]
    channels: NDArray[np.int64]
    smooth: tuple[Any, ...]
    plain: tuple[Any, ...]
    floor: float


@lru_cache(maxsize=16)
def _plan(map_hw: tuple[int, int], skeleton: Skeleton, params: Params) -> _Plan:
    h, w = map_hw
    high, wide = max(1, int(h * params.upsample)), max(1, int(w * params.upsample))
    rule, taps = params.interpolation, params.smooth_taps
    smooth = *peaks.smooth_taps(h, high, rule, taps), *peaks.smooth_taps(w, wide, rule, taps)
    *plain_y, gain_y = peaks.plain_taps(h, high, rule)
    *plain_x, gain_x = peaks.plain_taps(w, wide, rule)
    gain = max(1.0, float(np.abs(smooth[1]).sum(axis=1).max() * np.abs(smooth[3]).sum(axis=1).max()))
    return _Plan(
        map_hw=map_hw,
        grid_hw=(high, wide),
        parts=len(skeleton.names),
        edges=np.array(skeleton.edges, np.int64).reshape(-1, 2),
        channels=np.array(params.paf_channels, np.int64).reshape(-1, 2),
        smooth=smooth,
        plain=(*plain_y, *plain_x, float(np.float32(gain_y * gain_x))),
        floor=params.peak_threshold / gain * (1 - 1e-5),  # less the rounding of the sums
    )


class _Workspace:
    """Everything the kernels write to: made anew for each call, so that threads share nothing."""

    def __init__(self, plan: _Plan, params: Params) -> None:
        self.plan = plan
        (h, _), (high, wide), most = plan.map_hw, plan.grid_hw, params.max_peaks
        taken_as_is = params.smooth_taps == 1 and params.upsample == 1
        self.hot, self.done = np.empty((h, 2), np.int64), np.empty((h, 2), np.int64)
        self.span = np.empty((high, 2), np.int64)
        self.across = np.empty((1, 1) if taken_as_is else (h, wide), np.float32)
        self.grid = np.empty((1, 1) if taken_as_is else (high, wide), np.float32)
        self.peaks, self.counts = np.empty((plan.parts, most, 4), np.float32), np.empty(plan.parts, np.int64)
        self.pairs = np.empty(most**2, np.float32), np.empty((most**2, 2), np.int32), np.empty(most**2, np.int32)
        self.used = np.empty((2, most), np.uint8)
        self.links = np.empty((len(plan.edges), most, 3), np.float32)
        self.link_counts = np.empty(len(plan.edges), np.int64)
        self.people = np.empty((MAX_PEOPLE, plan.parts), np.int32)
        self.scores, self.sizes = np.empty(MAX_PEOPLE, np.float32), np.empty(MAX_PEOPLE, np.int64)


def _find_peaks(heat: Float32Array, work: _Workspace, params: Params) -> None:
    peaks.find_peaks(
        heat, work.plan.parts, params.peak_threshold, work.plan.floor, params.peak_radius, int(params.refine),
        *work.plan.smooth, *work.plan.plain, work.hot, work.done, work.span, work.across, work.grid, work.peaks,
        work.counts,
    )  # fmt: skip


def _decode_row(
    heat: Float32Array, field: Float32Array, work: _Workspace, params: Params, input_wh: tuple[int, int]
) -> Poses:
    plan = work.plan
    _find_peaks(heat, work, params)
    limbs.connect(
        field, plan.edges, plan.channels, work.peaks, work.counts, params.limb_samples, int(params.limb_closed),
        params.limb_threshold, params.limb_least, *plan.plain, *work.pairs, work.used, work.links, work.link_counts,
    )  # fmt: skip
    rows = limbs.assemble(
        plan.edges, params.seeding_limbs, work.peaks, work.counts, work.links, work.link_counts,
        _ASSEMBLY[params.assembly], int(params.strict_compat), work.people, work.scores, work.sizes,
    )  # fmt: skip
    keypoints, scores = np.zeros((rows, plan.parts, 3), np.float32), np.empty(rows, np.float32)
    count = limbs.collect(
        work.people, work.scores, work.sizes, rows, work.peaks, work.counts, params.min_parts, params.min_score,
        0 if params.person_score == "mean" else plan.parts, float(plan.grid_hw[1]), float(plan.grid_hw[0]),
        float(input_wh[0]), float(input_wh[1]), params.offset_px, keypoints, scores,
    )  # fmt: skip
    if count == 0:
        return no_poses(plan.parts)
    return Poses(keypoints[:count], scores[:count], keypoint_boxes(keypoints[:count]))
