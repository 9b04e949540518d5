"""How far an exported network is from its original: measured on pictures, judged by its kind, said in one line.

Knows no system, no file format.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posert.export.trial import tensor_of
from posert.poses import Poses
from posert.postprocess import decoder
from posert.runtime.session import Model

if TYPE_CHECKING:
    from posert.export.onnx_file import Reference

_EQUAL = 1e-3  # of an output's largest value; sums of float32 in another order are 1e-6 to 1e-4 apart
_SURE = 0.3  # the least score of a keypoint that counts
_MAY_OUTPUTS = 0.1  # of an output's largest value, where numbers are rounded and there is no keypoint to judge
_MAY = {50: 0.02, 90: 0.05}
"""Share of the keypoints, % -> how far apart they may be where numbers are rounded, as a share of the input's longer
side: twice what MoveNet's int8 file has between the two kernels of TensorFlow Lite itself (docs/parity.md)."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Between an export and its original, over some pictures.

    Attributes:
        outputs: role -> the largest difference, as a share of the original's largest value.
        apart_px: f64 [M], from each keypoint that the original is sure of to that of the export's nearest person, px of
            the network input; inf if there is none. side_px: the input's longer side.
        people: how many the original finds, and how many the export.
    """

    outputs: Mapping[str, float]
    apart_px: NDArray[np.float64]
    side_px: int
    people: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison says, in one line, and whether exports of this kind may differ as much."""

    line: str
    allowed: bool


def differences(model: Model, reference: "Reference", pictures: Sequence[NDArray[np.uint8]]) -> Differences:
    """What the last network and its original make of pictures u8 [H,W,3]; both see the same tensors."""
    stage, outputs, apart, found, side = model.spec.stages[-1], dict[str, float](), list[float](), [0, 0], 1
    for bgr in pictures:
        tensor, input_wh = tensor_of(model, bgr)
        ours, theirs = model.run(stage.name, tensor), reference(tensor)
        for role, value in theirs.items():
            outputs[role] = max(outputs.get(role, 0), _share(ours[role], value))
        one, other = (
            decoder(stage.decoder).decode(given, model.spec.skeleton, model.params(stage.name), input_wh)[0]
            for given in (theirs, ours)
        )
        apart += _apart(one, other)
        found, side = [found[0] + len(one), found[1] + len(other)], max(input_wh)
    return Differences(outputs, np.array(apart), side, (found[0], found[1]))


def _share(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The largest difference as a share of the original's largest value; inf where only one is a number."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(np.where(same, 0, ours - theirs)), nan=np.inf, posinf=np.inf).max(initial=0)
    top = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
    return float(apart / top) if top else float("inf" if apart else 0)


def _apart(theirs: Poses, ours: Poses) -> list[float]:
    """See `Differences.apart_px`; a person with no such keypoint does not count."""
    found = list[float]()
    for person in theirs.keypoints:
        sure = person[:, 2] > _SURE
        ways = [np.hypot(*(other[sure, :2] - person[sure, :2]).T) for other in ours.keypoints] if sure.any() else []
        found += min(ways, key=np.median).tolist() if ways else [np.inf] * int(sure.sum())
    return found


def verdict(measured: Differences, of: str, on: str, rounded: str = "") -> Verdict:
    """The verdict on these differences.

    Args:
        of: what the export was compared with. on: on what; both in words.
        rounded: why its outputs cannot be equal, in words; the places of keypoints decide then. Empty: they must be.
    """
    outputs = ", ".join(f"{role} {share:.2g}" for role, share in measured.outputs.items())
    told = f"largest differences {outputs} of the largest value; people {measured.people[0]} and {measured.people[1]}"
    largest = max(measured.outputs.values(), default=0)
    if largest <= _EQUAL:
        return Verdict(f"equal to {of} on {on}: {told}", True)
    if not rounded:
        return Verdict(f"differs from {of} on {on} by more than it may: {told}", False)
    if not len(measured.apart_px):
        allowed, told = largest <= _MAY_OUTPUTS, f"nobody to judge by, {told}"
    else:
        shares = np.percentile(measured.apart_px, list(_MAY), method="inverted_cdf")
        limits = np.array(list(_MAY.values())) * measured.side_px
        allowed = bool((shares <= limits).all())
        told = (
            f"half of {len(measured.apart_px)} sure keypoints within {shares[0]:.2g} px of {measured.side_px}, nine of "
            f"ten within {shares[1]:.2g} px (allowed {limits[0]:.2g} and {limits[1]:.2g}); {told}"
        )
    return Verdict(
        f"differs from {of} on {on} {f'as {rounded}' if allowed else 'by more than it may'}: {told}", allowed
    )
