"""Pictures to calibrate with and others to judge by, evenly spread over a source, and what networks are fed on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from posert.errors import PosertError
from posert.measure.calls import network_calls
from posert.poses import Frame
from posert.runtime.media.read import expand, frames
from posert.runtime.session import Model

MOST = 128
"""Pictures in all; the half of them is enough to calibrate with, and to tell .97 from .99 of some people in each."""
_LEAST = 4


@dataclass(frozen=True, slots=True)
class Pictures:
    """Frames of a source: those that say how large values get, and those that judge."""

    source: str
    calibrating: list[Frame]
    judging: list[Frame]

    def __str__(self) -> str:
        return f"{len(self.calibrating)} pictures of {self.source} to calibrate with, {len(self.judging)} to judge by"


def chosen_frames(source: str | Path) -> Pictures:
    """At most `MOST` frames of a video, a folder or a pattern, evenly spread; every other one judges.

    Raises:
        PosertError: there are fewer than four, or the source cannot be read.
    """
    kept, step = list[Frame](), 1
    for number, frame in enumerate(_all(source)):
        if number % step == 0:
            kept.append(frame)
        if len(kept) > MOST:
            kept, step = kept[::2], 2 * step
    if len(kept) < _LEAST:
        raise PosertError(
            f"{source} has {len(kept)} pictures, at least {_LEAST} are needed",
            "give a video or a folder that shows what the model will see",
        )
    return Pictures(str(source), kept[::2], kept[1::2])


def _all(source: str | Path) -> Iterator[Frame]:
    for path, _ in expand(source):
        yield from frames(path)


def tensors_of(model: Model, pictures: Sequence[Frame]) -> dict[str, list[dict[str, NDArray[Any]]]]:
    """Stage -> what its network is fed while the model looks at the pictures: input name -> tensor, run after run."""
    fed: dict[str, list[dict[str, NDArray[Any]]]] = {stage.name: [] for stage in model.spec.stages}
    for stage, tensor in network_calls(model, [replace(frame) for frame in pictures]):
        rows = [row[None] for row in tensor] if model.single_row(stage) else [tensor]
        fed[stage] += [model.feeds(stage, each) for each in rows]
    return fed
