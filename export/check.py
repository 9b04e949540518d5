"""Original framework against ONNX Runtime on one picture: raw outputs and decoded people. Knows arrays and poses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.poses import Poses
from posert.postprocess import decoder
from posert.runtime.prepare import prepare
from posert.runtime.session import open_model
from posert.runtime.windows import place

Reference = Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]]
"""The original network: our input tensor -> role -> output, in our layout."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far an export is from its original on one picture.

    Attributes:
        outputs: role -> (largest difference, largest value of the original).
        people: how many people each of the two finds: (original, export).
        keypoints_px: largest distance of a keypoint that both find with a score above 0.2, px of the network input;
            None if they find different numbers of people.
    """

    outputs: dict[str, tuple[float, float]]
    people: tuple[int, int]
    keypoints_px: float | None

    def __str__(self) -> str:
        lines = [f"{role}: largest difference {diff:.2g} of {top:.3g}" for role, (diff, top) in self.outputs.items()]
        people = f"people: {self.people[0]} by the original, {self.people[1]} by the export"
        if self.keypoints_px is not None and self.people[0]:
            people += f", keypoints at most {self.keypoints_px:.2g} px apart"
        return "\n".join([*lines, people])


def compare(path: Path, reference: Reference, bgr: NDArray[np.uint8]) -> Comparison:
    """The exported model in `path` and its original on the picture u8 [H,W,3], each seeing the same tensor."""
    with open_model(path, device="cpu", threads=1) as model:
        stage = model.spec.stages[-1]
        size_wh = bgr.shape[1], bgr.shape[0]
        whole = np.array([[0, 0, *size_wh]], np.float32)  # the one region of a model that looks at boxes
        windows, input_wh = place(size_wh, stage.input, whole if stage.region == "boxes" else None)
        tensor = prepare(bgr, windows, stage.input, input_wh)
        ours, theirs = model.run(stage.name, tensor), reference(tensor)
        decode = decoder(stage.decoder).decode
        pair = [
            decode(outputs, model.spec.skeleton, model.params(stage.name), input_wh)[0] for outputs in (theirs, ours)
        ]
    outputs = {
        role: (float(np.abs(ours[role] - value).max(initial=0)), float(np.abs(value).max(initial=0)))
        for role, value in theirs.items()
    }
    return Comparison(outputs, (len(pair[0]), len(pair[1])), _distance(*pair))


def _distance(one: Poses, other: Poses) -> float | None:
    if len(one) != len(other):
        return None
    both = (one.keypoints[:, :, 2] > 0.2) & (other.keypoints[:, :, 2] > 0.2)
    apart = np.hypot(*np.moveaxis(one.keypoints[:, :, :2] - other.keypoints[:, :, :2], -1, 0))
    return float(apart[both].max(initial=0))
