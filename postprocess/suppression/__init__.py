"""The rules that drop people found twice, after a decoder. A file here is a rule by its name.

`SuppressionRule` is what each of them has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from posert.poses import Poses
from posert.postprocess.kernels.registry import Kernel


@dataclass(frozen=True, slots=True)
class RuleKernels:
    """The two kernels of a rule, for Python and C.

    Attributes:
        problems: what the negative numbers of both kernels say: -1 is the first.
        workspace: (people, keypoints, numbers f64 [n]) -> bytes, or a problem.
        people: (keypoints f32 [N,K,3], region_boxes f32 [N,4], region_scores f32 [N], numbers, workspace u8; merged f32
            [N,K,3], scores f32 [N], boxes f32 [N,4]) -> how many people the last three hold, or a problem.
    """

    problems: tuple[str, ...]
    workspace: Kernel
    people: Kernel


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
    from posert.postprocess.suppression import poses

    def _held_to_it(*rules: SuppressionRule) -> None: ...

    _held_to_it(poses)
