"""What a written model gives for a picture, alone. Knows no system, no file format."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.postprocess import decoder
from posert.runtime.prepare import prepare
from posert.runtime.session import Model
from posert.runtime.windows import place


def tensor_of(model: Model, bgr: NDArray[np.uint8]) -> tuple[NDArray[Any], tuple[int, int]]:
    """The input of the last stage for the whole picture u8 [H,W,3], and its width and height, px."""
    stage, size_wh = model.spec.stages[-1], (bgr.shape[1], bgr.shape[0])
    whole = np.array([[0, 0, *size_wh]], np.float32)  # the one region of a model that looks at boxes
    windows, input_wh = place(size_wh, stage.input, whole if stage.region == "boxes" else None)
    return prepare(bgr, windows, stage.input, input_wh), input_wh


def trial(model: Model, bgr: NDArray[np.uint8]) -> list[str]:
    """What the last network and its decoder give for the picture u8 [H,W,3]: a line for each role, one for the people.

    Raises:
        PosertError: the network does not run, or its outputs do not fit the decoder and the skeleton.
    """
    stage, (tensor, input_wh) = model.spec.stages[-1], tensor_of(model, bgr)
    try:
        outputs = model.run(stage.name, tensor)
    except PosertError as error:
        own = "nodes[0], nodes[1], ... are the recipe's: check what this one is given against its operator"
        raise PosertError(error.what, own if "nodes[" in error.what else error.hint) from None
    try:
        found = decoder(stage.decoder).decode(outputs, model.spec.skeleton, model.params(stage.name), input_wh)[0]
    except PosertError as error:
        skeleton = model.spec.skeleton
        counts = f"the skeleton has {len(skeleton.names)} keypoints and {len(skeleton.edges)} edges"
        raise PosertError(
            error.what,
            f"{counts}, the input {input_wh[0]}x{input_wh[1]} px: "
            "check the recipe's outputs, skeleton, decoder and params against the shapes named here",
        ) from None
    lines = [f"input {list(tensor.shape)}: {_range(tensor)}"]
    lines += [f"{role} {list(value.shape)}: {_range(value)}" for role, value in outputs.items()]
    scores = f", scores {_range(found.scores)}" if len(found) else ""
    if model.single_row(stage.name):
        lines.append("the network takes one picture at a time")
    return [*lines, f"people in a drawn picture: {len(found)}{scores}"]


def takes_rows(model: Model, bgr: NDArray[np.uint8]) -> bool:
    """Whether the last network gives a picture u8 [H,W,3] the same outputs with another one in its batch as alone."""
    stage, (tensor, _) = model.spec.stages[-1], tensor_of(model, bgr)
    if model.single_row(stage.name):
        return True
    alone = model.run(stage.name, tensor)
    try:
        together = model.run(stage.name, np.concatenate([tensor, np.zeros_like(tensor)]))
    except PosertError:
        return False
    same = [together[role].shape == (2, *value.shape[1:]) for role, value in alone.items()]
    return all(same) and all(
        np.allclose(together[role][:1], value, rtol=1e-2, atol=1e-3 * float(np.abs(value).max(initial=0)))
        for role, value in alone.items()
    )


def _range(values: NDArray[Any]) -> str:
    return f"{values.min():.3g} to {values.max():.3g}" if values.size else "empty"
