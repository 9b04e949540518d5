"""One stage of a model on windows of frames: prepare, network, decoder; mirrored or at several sizes if asked for.

Fills the input tensors. Knows windows and tensors, nothing of sources, of time, or of why it looks there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.poses import Frame, Poses, join
from posert.postprocess import decoder, suppression_rule
from posert.postprocess.geometry import to_frame
from posert.runtime.devices import on_cpu
from posert.runtime.parts import put_part
from posert.runtime.prepare import prepare
from posert.runtime.session import Model
from posert.runtime.spec import Stage, skeleton_of
from posert.runtime.windows import place, scaled

Crop = tuple[Frame, NDArray[np.float64]]
"""A frame and a window in it, f64 [4] or, turned, [6], px."""
_View = tuple[tuple[int, int], bytes]
"""The size of a frame and the window in it that a tensor's row shows."""
_ROW_COUNTS = (1, 2, 4, 8, 16, 32, 64)  # batches of crops are padded to these for an accelerator, which plans per shape


class Clock:
    """Milliseconds by step, summed."""

    def __init__(self) -> None:
        self.ms = {"prepare": 0.0, "run": 0.0, "decode": 0.0}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.ms[step] += (time.perf_counter() - began) * 1000


class StageRunner:
    """Runs one stage. Stateless: each thread fills the model's input tensors again each time."""

    def __init__(self, model: Model, stage: Stage, pose_batch: int = 64, flip: bool = False) -> None:
        self.stage = stage
        self._model, self._decoder, self._params = model, decoder(stage.decoder), model.params(stage.name)
        self._skeleton = skeleton_of(model.spec, stage)
        self._most_crops = pose_batch if stage.region != "frame" else 0
        self._mirrors = flip and mirrors(stage)

    def __call__(
        self,
        crops: Sequence[Crop],
        input_wh: tuple[int, int],
        clock: Clock,
        keep: Callable[[dict[str, NDArray[Any]]], None] | None = None,
    ) -> list[Poses]:
        """A `Poses` for each crop, in pixels of the input; `keep` gets the outputs of each batch of them in turn."""
        step = max(1, self._most_crops or len(crops))
        batches = [crops[start : start + step] for start in range(0, len(crops), step)]
        return [poses for batch in batches for poses in self._decoded(batch, input_wh, clock, keep)]

    def in_frame(
        self, rows: list[Poses], windows: NDArray[np.float64], input_wh: tuple[int, int], regions: Poses | None
    ) -> Poses:
        """The people of all windows f64 [R,4] or [R,6] of one frame, in its pixels; no doubles if the stage has a rule.

        `regions` are the R regions that the windows show; None where they are none.
        """
        moved = [to_frame(row, window, input_wh) for row, window in zip(rows, windows, strict=True)]
        people = join(moved, len(self._skeleton.names))
        if self.stage.suppress is None or regions is None:
            return people
        of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])  # each person's region
        own = Poses(regions.keypoints[of], regions.scores[of], regions.boxes_xyxy[of])
        params = self._model.suppression_params(self.stage.name)
        return suppression_rule(self.stage.suppress).suppress(people, own, params)

    def put(
        self,
        rows: list[Poses],
        windows: NDArray[np.float64],
        input_wh: tuple[int, int],
        owners: NDArray[np.int64],
        people: Poses,
    ) -> None:
        """Writes what the windows f64 [R,6] of a frame show into the keypoints of their owners i64 [R,2]."""
        for row, window, (person, first) in zip(rows, windows, owners.tolist(), strict=True):
            moved = to_frame(row, window, input_wh)
            put_part(moved.keypoints, np.ascontiguousarray(moved.scores), people.keypoints[person], first)

    def _decoded(
        self,
        crops: Sequence[Crop],
        input_wh: tuple[int, int],
        clock: Clock,
        keep: Callable[[dict[str, NDArray[Any]]], None] | None,
    ) -> list[Poses]:
        """One network call, or one per scale."""
        if len(self.stage.scales) == 1:
            outputs = self._outputs("", crops, input_wh, clock)
        else:
            several = []
            given = replace(self.stage.input, multiple_of=self.stage.scale_step or self.stage.input.multiple_of)
            for scale in self.stage.scales:
                spec = scaled(given, input_wh, scale)
                again = [(frame, place(frame.size_wh, spec)[0][0]) for frame, _ in crops]
                several.append(self._outputs(str(scale), again, spec.size_wh, clock))
            with clock("decode"):
                merge = self._decoder.merge
                assert merge is not None, "opening the model has checked this"
                outputs = merge(several, self._params, input_wh)
        if keep is not None:
            keep(outputs)
        with clock("decode"):
            decoded: list[Poses] = self._decoder.decode(
                outputs, self._skeleton, self._params, input_wh, self._model.threads
            )
        return decoded

    def _outputs(
        self, name: str, crops: Sequence[Crop], input_wh: tuple[int, int], clock: Clock
    ) -> dict[str, NDArray[Any]]:
        """Role -> what the network makes of the crops, by way of the input tensor called `name`."""
        with clock("prepare"):
            tensor, shown = self._tensor(name, self.row_count(len(crops)), input_wh)
            for number, (frame, window) in enumerate(crops):
                view, row = (frame.size_wh, window.tobytes()), tensor[number : number + 1]
                prepare(frame.bgr, window[None], self.stage.input, input_wh, row, padded=shown.get(number) == view)
                shown[number] = view
        with clock("run"):
            outputs = self._model.run(self.stage.name, tensor)
            if self._mirrors:
                mirrored = tensor[..., ::-1] if self.stage.input.layout == "NCHW" else tensor[:, :, ::-1]
                again = self._model.run(self.stage.name, np.ascontiguousarray(mirrored))
                outputs |= {f"mirrored_{role}": array for role, array in again.items()}
        return {role: array[: len(crops)] for role, array in outputs.items()}

    def row_count(self, count: int) -> int:
        """Rows of the network call for `count` crops, a few unused ones included."""
        if self.stage.region == "frame" or on_cpu(self._model.devices[self.stage.name]):
            return count
        return next((rows for rows in _ROW_COUNTS if rows >= count), count)

    def _tensor(self, name: str, rows: int, input_wh: tuple[int, int]) -> tuple[NDArray[Any], dict[int, _View]]:
        """The first `rows` rows of this thread's tensor of that name, and what they show.

        Made anew only when it must grow.
        """
        width, height = input_wh
        shape = (height, width, 3) if self.stage.input.layout == "NHWC" else (3, height, width)
        kept: dict[Any, tuple[NDArray[Any], dict[int, _View]]] = self._model.tensors.__dict__
        key = self.stage.name, name
        if key not in kept or kept[key][0].shape[1:] != shape or len(kept[key][0]) < rows:
            kept[key] = np.zeros((rows, *shape), self.stage.input.dtype), {}
        tensor, shown = kept[key]
        return tensor[:rows], shown


def mirrors(stage: Stage) -> bool:
    """Whether the stage's decoder can average over the mirrored picture."""
    return any(role.startswith("mirrored_") for role in decoder(stage.decoder).KERNELS.roles)
