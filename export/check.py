"""Original framework against ONNX Runtime on one picture: raw outputs and decoded people. Knows arrays and poses."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.postprocess import decoder
from posert.runtime.prepare import prepare
from posert.runtime.session import open_model
from posert.runtime.windows import place

Reference = Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]]
"""The original network: our input tensor -> role -> output, in our layout."""


def compare(path: Path, reference: Reference, bgr: NDArray[np.uint8]) -> str:
    """How far the exported model in `path` is from its original on the picture u8 [H,W,3], in a few lines.

    Both see the same tensor. Of each role: the largest difference and the largest value of the original. Of the people:
    how many each finds and, if as many, how far apart a keypoint is at most that both find with a score above 0.2, px
    of the network input.
    """
    with open_model(path, device="cpu", threads=1) as model:
        stage = model.spec.stages[-1]
        size_wh = bgr.shape[1], bgr.shape[0]
        whole = np.array([[0, 0, *size_wh]], np.float32)  # the one region of a model that looks at boxes
        windows, input_wh = place(size_wh, stage.input, whole if stage.region == "boxes" else None)
        tensor = prepare(bgr, windows, stage.input, input_wh)
        ours, theirs = model.run(stage.name, tensor), reference(tensor)
        decode = decoder(stage.decoder).decode
        one, other = (
            decode(outputs, model.spec.skeleton, model.params(stage.name), input_wh)[0] for outputs in (theirs, ours)
        )
    lines = []
    for role, value in theirs.items():
        difference, top = np.abs(ours[role] - value).max(initial=0), np.abs(value).max(initial=0)
        lines.append(f"{role}: largest difference {difference:.2g} of {top:.3g}")
    people = f"people: {len(one)} by the original, {len(other)} by the export"
    if len(one) == len(other) > 0:
        both = (one.keypoints[:, :, 2] > 0.2) & (other.keypoints[:, :, 2] > 0.2)
        apart = np.hypot(*np.moveaxis(one.keypoints[:, :, :2] - other.keypoints[:, :, :2], -1, 0))
        people += f", keypoints at most {apart[both].max(initial=0):.2g} px apart"
    return "\n".join([*lines, people])
