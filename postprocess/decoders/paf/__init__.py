"""Decoder `paf`: keypoint heatmaps and part-affinity fields -> people (the OpenPose family).

Roles: `heatmaps` f32 [R,>=K,h,w] (a background map may follow the K parts) and `pafs` f32 [R,2L,h,w], limbs in the
order of the skeleton's edges. The rules and the defaults are tf-pose-estimation's; every number of them is a parameter.

A keypoint's score is its heatmap value. Equal limb values are taken in the order of the peaks (part, y, x). Cells that
are not finite never become a peak.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from posert.postprocess.decoders.paf.limbs import assemble, collect, connect
from posert.postprocess.decoders.paf.peaks import find_peaks
from posert.postprocess.decoders.paf.work import MAX_PEOPLE, layout, prepared
from posert.postprocess.decoding import EDGES, FIRST_LIST, KEYPOINTS, DecoderKernels
from posert.postprocess.geometry import box_of_keypoints
from posert.postprocess.kernels.records import index_of, reader
from posert.postprocess.kernels.workspace import listed_pairs, shaped
from posert.postprocess.part_maps import MOST_BYTES, PROBLEMS, ROLES, TOO_LARGE, part_maps_problem
from posert.typed import Count, Index, Misfit, Range, settle

COCO_18_CHANNELS = (
    (12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11),
    (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27),
)  # fmt: skip
merge = None


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
        max_peaks: at most so many peaks per part, the strongest; fewer with hundreds of edges (`peaks_each`).
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

    paf_channels: tuple[tuple[Index, Index], ...] = COCO_18_CHANNELS
    upsample: Annotated[float, Range(1, 16)] = 4.0
    interpolation: Literal["area", "cubic"] = "area"
    smooth_taps: Annotated[int, Range(1, 99)] = 25
    peak_threshold: Annotated[float, Range(0)] = 0.05
    peak_radius: Annotated[int, Range(1, 32)] = 1
    refine: bool = False
    max_peaks: Annotated[int, Range(1, 512)] = 128
    limb_samples: Annotated[int, Range(2, 100)] = 10
    limb_closed: bool = False
    limb_threshold: float = 0.05
    limb_least: Annotated[int, Range(0)] = 7
    assembly: Literal["first_match", "complete"] = "first_match"
    strict_compat: bool = False
    seeding_limbs: Count = 17
    min_parts: Count = 4
    min_score: float = 0.3
    person_score: Literal["mean", "sum"] = "mean"
    offset_px: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        if self.smooth_taps % 2 == 0:
            raise Misfit("smooth_taps", "an odd number", self.smooth_taps)
        if self.limb_least > self.limb_samples:
            raise Misfit("limb_least", f"at most the {self.limb_samples} of limb_samples", self.limb_least)


_params = reader(Params)
_CUBIC, _COMPLETE = index_of(Params, "interpolation", "cubic"), index_of(Params, "assembly", "complete")
_SUM = index_of(Params, "person_score", "sum")


def paf_workspace(shapes, size, numbers, table, needs):
    """0, or a problem; needs: the workspace of any row, and `MAX_PEOPLE`. See `DecoderKernels`."""
    problem = part_maps_problem(shapes, size, table)
    if problem < 0:
        return problem
    edges = listed_pairs(table, EDGES).shape[0]
    work = layout(needs[:0], shapes[0, 2], shapes[0, 3], size[KEYPOINTS], edges, _params(numbers))
    needs[0], needs[1] = work.end, MAX_PEOPLE
    return TOO_LARGE if work.end > MOST_BYTES else 0


def paf_people(
    heatmaps, pafs, unused, unused_too, shapes, size, numbers, table, workspace, counts, keypoints, scores, boxes
):
    """The people of all rows. See `DecoderKernels`."""
    rules, edges, channels = _params(numbers), listed_pairs(table, EDGES), listed_pairs(table, FIRST_LIST)
    h, w, found = shapes[0, 2], shapes[0, 3], 0
    work = prepared(workspace, h, w, size[KEYPOINTS], edges.shape[0], rules.interpolation == _CUBIC, rules)
    for row in range(counts.shape[0]):
        find_peaks(shaped(heatmaps, row * shapes[0, 1] * h * w, (shapes[0, 1], h, w)), rules, work)
        connect(shaped(pafs, row * shapes[1, 1] * h * w, (shapes[1, 1], h, w)), edges, channels, rules, work)
        rows = assemble(edges, rules.assembly == _COMPLETE, rules, work)
        divisor = size[KEYPOINTS] if rules.person_score == _SUM else 0
        count = collect(rows, divisor, rules, work, size, keypoints[found:], scores[found:])
        for person in range(found, found + count):
            box_of_keypoints(keypoints[person], boxes[person])
        counts[row] = count
        found += count
    return found


KERNELS = DecoderKernels.of(ROLES, PROBLEMS, paf_workspace, paf_people)
decode = KERNELS.decode
