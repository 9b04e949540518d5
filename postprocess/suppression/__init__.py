"""The rules that drop people found twice, after a decoder. A file here is a rule by its name.

`SuppressionRule` is what each of them has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from posert.poses import Poses
from posert.postprocess.kernels.records import numbers_of
from posert.postprocess.kernels.registry import Kernel


@dataclass(frozen=True, slots=True)
class RuleKernels:
    """The two kernels of a rule, for Python and C.

    Attributes:
        problems: what the negative numbers of both kernels say: -1 is the first.
        workspace: (people, keypoints, numbers f64 [n]) -> bytes, or a problem.
        people: (keypoints f32 [N,K,3], region_boxes f32 [N,4], region_scores f32 [N], numbers, workspace u8; merged f32
            [N,K,3], scores f32 [N], boxes f32 [N,4]) -> how many people the last three hold, or a problem.
        counts_keypoints: whether a problem may be their number, which errors then say.
    """

    problems: tuple[str, ...]
    workspace: Kernel
    people: Kernel
    counts_keypoints: bool = False

    def suppress(self, poses: Poses, regions: Poses, params: Any) -> Poses:
        """The people of `poses` without doubles, best first; boxes are those of the regions they were found in.

        Args:
            poses: N people, px of the frame.
            regions: the N regions they were looked for in, in the same order; their boxes and scores are used.
            params: the rule's `Params`.

        Raises:
            ValueError: the numbers of poses and regions differ, or what else the rule's `problems` say.
        """
        people, count = poses.keypoints.shape[:2]
        if not people or not count:
            return poses
        keypoints = np.array(poses.keypoints, np.float32, order="C")  # which a rule may change
        around, trust = (np.ascontiguousarray(a, np.float32) for a in (regions.boxes_xyxy, regions.scores))
        kept, scores, boxes = np.empty_like(keypoints), np.empty(people, np.float32), np.empty((people, 4), np.float32)
        numbers, found = _needs(self, people, count, params)
        if found >= 0:
            workspace = np.empty(found, np.uint8)
            found = self.people(keypoints, around, trust, numbers, workspace, kept, scores, boxes)
        if found < 0:
            of = f" of {count} keypoints" if self.counts_keypoints else ""
            raise ValueError(f"{people} poses{of}, {len(regions)} regions: {self.problems[-found - 1]}")
        return Poses(kept[:found], scores[:found], boxes[:found])


@lru_cache(maxsize=256)
def _needs(rule: RuleKernels, people: int, keypoints: int, params: Any) -> tuple[NDArray[np.float64], int]:
    """The parameters as numbers, and the bytes of the workspace, or a problem."""
    numbers = numbers_of(params)
    return numbers, int(rule.workspace(people, keypoints, numbers))


class SuppressionRule(Protocol):
    """What a file of this folder has.

    Attributes:
        Params: a frozen dataclass with defaults for everything, which checks itself.
        KERNELS: see `RuleKernels`.
    """

    @property
    def Params(self) -> Callable[..., Any]: ...

    @property
    def KERNELS(self) -> RuleKernels: ...

    def suppress(self, poses: Poses, regions: Poses, params: Any) -> Poses:
        """The people without doubles, best first; `regions` are where they were looked for, in the same order."""


if TYPE_CHECKING:
    from posert.postprocess.suppression import oks, poses

    def _held_to_it(*rules: SuppressionRule) -> None: ...

    _held_to_it(oks, poses)
