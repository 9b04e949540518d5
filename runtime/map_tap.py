"""Maps of a network for whoever asks: taken from its outputs, with their place in the frame.

Owns that place. Knows outputs by their roles and windows, nothing of what is done with maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from posert.poses import PartMap, Poses
from posert.postprocess.geometry import to_frame
from posert.postprocess.maps import ReadMap, map_reader
from posert.runtime.session import Model
from posert.runtime.spec import Stage, skeleton_of

Cells = Literal["middle", "ends", "begins"]


@dataclass(frozen=True, slots=True, eq=False)
class MapTap:
    """One map that is asked for.

    Attributes:
        asked: see `maps`. read: takes it out of the outputs.
        cells: where they lie in the input: the first and the last at its `ends`, each in the `middle` of its share, or
            where its share `begins`.
    """

    asked: str
    read: ReadMap
    cells: Cells


def map_tap(model: Model, stage: Stage, asked: str) -> MapTap:
    """The tap for a map of a stage's network; raises PosertError if it has none."""
    params = model.params(stage.name)
    read = map_reader(asked, stage.outputs, skeleton_of(model.spec, stage), params)
    cells: Cells = "middle"
    if "cif" in stage.outputs or getattr(params, "udp", False):
        cells = "ends"
    elif "maps" in stage.outputs:
        cells = "begins"
    return MapTap(asked, read, cells)


def maps_of(
    taps: Sequence[MapTap],
    outputs: Sequence[dict[str, NDArray[Any]]],
    windows: Sequence[NDArray[np.float64]],
    input_wh: tuple[int, int],
) -> list[tuple[PartMap, ...]]:
    """For each frame its maps.

    Args:
        outputs: of the network, batch after batch. windows: of each frame, f64 [R,4] or turned [R,6], in that order.
        input_wh: width and height of the network input, px.
    """
    ends = np.cumsum([len(own) for own in windows])
    found: list[list[PartMap]] = [[] for _ in windows]
    for tap in taps if outputs else ():
        values = np.concatenate([tap.read(each) for each in outputs])
        cell = _cell_to_input(values.shape[-2:], input_wh, tap.cells)
        for maps, own, end in zip(found, windows, ends.tolist(), strict=True):
            places = [_input_to_frame(window, input_wh) @ cell for window in own]
            maps.append(PartMap(tap.asked, values[end - len(own) : end], np.array(places).reshape(-1, 2, 3)))
    return [tuple(maps) for maps in found]


def _cell_to_input(cells_hw: tuple[int, ...], input_wh: tuple[int, int], cells: Cells) -> NDArray[np.float64]:
    """f64 [3,3]: a cell (column, row, 1) -> px of the input, the middle of its first pixel being 0, 0."""
    place = np.eye(3)
    for axis, (count, side) in enumerate(zip(reversed(cells_hw), input_wh, strict=True)):
        step = (side - 1) / max(1, count - 1) if cells == "ends" else side / count
        first = {"ends": 0.0, "middle": (step - 1) / 2, "begins": -0.5}
        place[axis, axis], place[axis, 2] = step, first[cells]
    return place


def _input_to_frame(window: NDArray[np.float64], input_wh: tuple[int, int]) -> NDArray[np.float64]:
    """f64 [2,3]: px of the input -> px of the frame, the middle of its first pixel being 0, 0."""
    corners = np.array([[(0, 0, 1), (input_wh[0], 0, 1), (0, input_wh[1], 1)]], np.float32)
    moved = to_frame(Poses(corners, np.zeros(1, np.float32), np.zeros((1, 4), np.float32)), window, input_wh)
    begin, right, down = moved.keypoints[0, :, :2].astype(np.float64)
    across, along = (right - begin) / input_wh[0], (down - begin) / input_wh[1]
    return np.stack([across, along, begin + (across + along) / 2 - 0.5], axis=1)
