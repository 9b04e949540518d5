"""Where a model looks in each frame: the whole of it, given boxes, or around the people of the last frame.

Owns the only state of the loop. Knows stages, windows and people, nothing of networks.
"""

import numpy as np
from numpy.typing import NDArray

from posert.poses import Frame, Poses
from posert.postprocess.crop_region import next_window
from posert.postprocess.geometry import next_regions, usable
from posert.runtime.look.regions import Boxes, regions
from posert.runtime.spec import ModelSpec, Stage
from posert.runtime.windows import place


class Gaze:
    """Where to look, frame after frame; another source begins anew.

    Attributes:
        in_turn: whether a frame cannot begin before the last one's people are known.
    """

    def __init__(self, spec: ModelSpec, boxes: Boxes | None = None, detect_every: int = 1) -> None:
        self.in_turn = detect_every > 1 or (boxes is None and any(stage.region == "follow" for stage in spec.stages))
        self._spec, self._boxes, self._detect_every = spec, boxes, detect_every
        self._finds_itself = all(stage.region == "frame" for stage in spec.stages)
        self._source = ""
        self._last: Poses | None = None
        self._window: NDArray[np.float64] | None = None
        self._since_detection = 0

    def known_regions(self, group: list[Frame]) -> list[Poses] | None:
        """The regions of each frame that no detector has to find: given boxes, or those around the last poses."""
        if self.in_turn and group[0].source != self._source:
            self._source, self._last, self._window = group[0].source, None, None
        if self._finds_itself:
            return None
        if self._boxes is not None:
            return [usable(regions(self._boxes(frame))) for frame in group]
        if self._last is None or self._since_detection >= self._detect_every:
            self._since_detection = 0
            return None
        return [next_regions(self._last, group[0].size_wh)]

    def windows(self, stage: Stage, frame: Frame, found: Poses | None) -> tuple[NDArray[np.float64], tuple[int, int]]:
        """The windows of a stage in a frame, f64 [R,4], and the width and height of the input, px.

        Args:
            found: the regions from boxes or the stage before; None for the first stage that looks at whole frames.
        """
        at_boxes = stage.region == "boxes" or (stage.region == "follow" and self._boxes is not None)
        boxes = found.boxes_xyxy if at_boxes and found is not None else None
        windows, input_wh = place(frame.size_wh, stage.input, boxes)
        if stage.region == "follow" and self._window is not None:
            windows = self._window[None]
        return windows, input_wh

    def remember(self, frame: Frame, people: Poses) -> None:
        """Takes note of a frame's people, for the next frame of its source."""
        if not self.in_turn:
            return
        self._last = people
        self._since_detection += 1
        if self._boxes is None and self._spec.stages[-1].region == "follow":
            self._window = next_window(people, frame.size_wh, self._spec.skeleton)
