"""A network's input for a drawn picture, for whoever tries one and has no picture. Knows stages, no sessions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.runtime.constants import constants_of
from posert.runtime.prepare import prepare
from posert.runtime.spec import Stage
from posert.runtime.windows import place

Feeds = dict[str, NDArray[Any]]
"""Input -> tensor."""
_PICTURES = ((640, 480), (480, 640))


def input_sizes(stage: Stage) -> list[tuple[int, int]]:
    """Width and height of the inputs that the network may get, px: those of two pictures, if it follows their shape."""
    if stage.region != "frame" or not stage.input.multiple_of:
        return [stage.input.size_wh]
    return [place(size_wh, stage.input)[1] for size_wh in _PICTURES]


def drawn_feeds(session: Any, stage: Stage, input_wh: tuple[int, int]) -> Feeds:
    """All tensors for one picture of soft spots of colour, in the range that the network knows.

    Raises:
        PosertError: a constant that the network has no input for.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    picture = np.ascontiguousarray(np.kron(coarse, np.ones((80, 80, 1), np.uint8)))
    whole = np.array([[0, 0, picture.shape[1], picture.shape[0]]], np.float64)
    tensor = prepare(picture, whole, stage.input, input_wh)
    return {stage.input.name: tensor} | {
        one.name: one.tensor(1, input_wh) for one in constants_of(session.get_inputs(), stage)
    }
