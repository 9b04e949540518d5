"""Decoder `bodyparts`: part heatmaps and part-affinity fields -> people, peak by centroid and limb by sorted list.

Roles: `heatmaps` f32 [R,>=K,h,w] (a background map may follow the K parts) and `pafs` f32 [R,2L,h,w]. The maps are
up-sampled to the size of the network input, the grid on which peaks and limbs are looked for. The rules and the
defaults are CMU OpenPose's for BODY_25, as its CUDA build has them; its CPU build is `interpolation = "cubic"`,
`peak_rule = "ring"`, `assembly = "pairwise"`.

People come in the order in which they came to be. A keypoint's score is its heatmap value, a person's the sum of its
keypoints' and limbs' over K + L. Equal limbs are taken from the last edge and peak to the first. Cells that are not
finite never become a peak.
"""

import math
from collections import namedtuple
from dataclasses import dataclass
from typing import Annotated, Literal

from posert.postprocess import part_maps
from posert.postprocess.decoders.bodyparts.assembly import assemble_globally, assemble_pairwise, collect
from posert.postprocess.decoders.bodyparts.peaks import find_peaks, score_candidates
from posert.postprocess.decoders.bodyparts.scales import merge as merge
from posert.postprocess.decoders.bodyparts.work import layout, prepared
from posert.postprocess.decoding import EDGES, FIRST_LIST, HEIGHT, KEYPOINTS, WIDTH, DecoderKernels
from posert.postprocess.kernels.records import index_of, reader
from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.resample import CUBIC, KEYS
from posert.postprocess.kernels.workspace import listed, listed_pairs, outside, shaped
from posert.postprocess.part_maps import MOST_BYTES, ROLES, TOO_LARGE, part_maps_problem
from posert.typed import Count, Range, settle

BODY_25_CHANNELS = (
    (0, 1), (14, 15), (22, 23), (16, 17), (18, 19), (24, 25), (26, 27), (6, 7), (2, 3), (4, 5), (8, 9), (10, 11),
    (12, 13), (30, 31), (32, 33), (36, 37), (34, 35), (38, 39), (20, 21), (28, 29), (40, 41), (42, 43), (44, 45),
    (46, 47), (48, 49), (50, 51),
)  # fmt: skip
_KEY_BONUS = 0.1  # OpenPose's global list: key = limb value + 0.1 * both peaks' scores
_NEAR = 150  # OpenPose: two peaks closer than 1/150 of the input's geometric mean side are joined even without a field
_REDUNDANT, _FEET = FIRST_LIST + 1, FIRST_LIST + 2
_PROBLEMS = (*part_maps.PROBLEMS, "foot_parts must be among the skeleton's keypoints")


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
        max_peaks: at most so many peaks per part, the first in scan order; fewer with hundreds of edges (`peaks_each`).
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
    interpolation: Literal["cubic", "keys"] = "keys"
    peak_rule: Literal["interior", "ring"] = "interior"
    peak_threshold: Annotated[float, Range(0)] = 0.05
    max_peaks: Annotated[int, Range(1, 512)] = 127
    offset_px: float = 0.5
    limb_threshold: float = 0.05
    limb_ratio: Annotated[float, Range(0, below=1)] = 0.95
    assembly: Literal["global_sort", "pairwise"] = "global_sort"
    redundant_edges: tuple[int, ...] = (18, 19)
    foot_parts: tuple[int, ...] = (19, 20, 21, 22, 23, 24)
    min_parts: Count = 3
    min_score: float = 0.4
    maximize_positives: bool = False

    def __post_init__(self) -> None:
        settle(self)


_params = reader(Params)
_CUBIC, _RING = index_of(Params, "interpolation", "cubic"), index_of(Params, "peak_rule", "ring")
_GLOBAL = index_of(Params, "assembly", "global_sort")

Rules = namedtuple(
    "Rules",
    "interpolation ring peak_threshold max_peaks offset limb_threshold limb_ratio near near_value together "
    "key_bonus min_parts min_score feet",
)
"""`Params` as they really apply: `maximize_positives` replaces some.

interpolation: of `resample`. ring: the peak rule. offset: added to x and y of peaks.
together: whether the limbs of all edges are in one list. key_bonus: weight of both peaks' scores in its order.
near, near_value: a refused pair that is closer than `near` (samples) gets this value.
feet: whether there are parts that do not count.
"""


@jit
def _rules(numbers, size):
    """`Rules` for a network input of this size."""
    given = _params(numbers)
    low, together = given.maximize_positives == 1, given.assembly == _GLOBAL
    peak_threshold = 0.02 if low else given.peak_threshold
    return Rules(
        CUBIC if given.interpolation == _CUBIC else KEYS,
        given.peak_rule == _RING,
        peak_threshold,
        given.max_peaks,
        given.offset_px,
        0.01 if low else given.limb_threshold,
        0.75 if low else given.limb_ratio,
        math.sqrt(size[WIDTH] * size[HEIGHT]) / _NEAR,
        peak_threshold + 1e-6,
        together,
        _KEY_BONUS if together else 0.0,
        2 if low else given.min_parts,
        0.05 if low else given.min_score,
        not low,
    )


def bodyparts_workspace(shapes, size, numbers, table, needs):
    """0, or a problem; needs: the workspace of any row, and the most people of one. See `DecoderKernels`."""
    problem = part_maps_problem(shapes, size, table)
    if problem < 0:
        return problem
    if outside(listed(table, _FEET), size[KEYPOINTS]):
        return -len(_PROBLEMS)
    edges, h, w = listed_pairs(table, EDGES).shape[0], shapes[0, 2], shapes[0, 3]
    work = layout(needs[:0], h, w, size[HEIGHT], size[WIDTH], size[KEYPOINTS], edges, _params(numbers).max_peaks)
    needs[0], needs[1] = work.end, len(work.people)
    return TOO_LARGE if work.end > MOST_BYTES else 0


def bodyparts_people(
    heatmaps, pafs, unused, unused_too, shapes, size, numbers, table, workspace, counts, keypoints, scores, boxes
):
    """The people of all rows. See `DecoderKernels`."""
    rules, edges, channels = _rules(numbers, size), listed_pairs(table, EDGES), listed_pairs(table, FIRST_LIST)
    redundant, feet = listed(table, _REDUNDANT), listed(table, _FEET)
    if not rules.feet:
        feet = feet[:0]
    h, w, found = shapes[0, 2], shapes[0, 3], 0
    work = prepared(workspace, h, w, size[HEIGHT], size[WIDTH], size[KEYPOINTS], edges.shape[0], redundant, rules)
    for row in range(counts.shape[0]):
        find_peaks(shaped(heatmaps, row * shapes[0, 1] * h * w, (shapes[0, 1], h, w)), rules, work)
        fields = shaped(pafs, row * shapes[1, 1] * h * w, (shapes[1, 1], h, w))
        candidates = score_candidates(fields, edges, channels, rules, work)
        rows = assemble_globally(edges, candidates, work) if rules.together else assemble_pairwise(edges, work)
        counts[row] = collect(rows, edges.shape[0], feet, rules, work, keypoints[found:], scores[found:], boxes[found:])
        found += counts[row]
    return found


KERNELS = DecoderKernels.of(ROLES, _PROBLEMS, bodyparts_workspace, bodyparts_people)
decode = KERNELS.decode
