"""The network calls that a model makes while it looks at pictures, for whoever repeats them. Knows open models."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from posert.poses import Frame
from posert.runtime.look import Boxes
from posert.runtime.loop import estimate
from posert.runtime.session import Model


class _Noted(Model):
    """An open model that remembers its calls."""

    def __init__(self, model: Model) -> None:
        self.__dict__.update(model.__dict__)
        self.calls: list[tuple[str, NDArray[Any]]] = []

    def run(self, stage: str, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        self.calls.append((stage, tensor.copy()))
        return super().run(stage, tensor)


def network_calls(
    model: Model, pictures: Sequence[Frame], boxes: Boxes | None = None
) -> list[tuple[str, NDArray[Any]]]:
    """Stage and tensor of every network call for the pictures, looked at in `boxes` if they are given (`estimate`)."""
    noted = _Noted(model)
    assert len(list(estimate(noted, pictures, boxes=boxes))) == len(pictures)
    return noted.calls
