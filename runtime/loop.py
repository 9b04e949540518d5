"""The loop: frames -> people. One for every model: the stages in the metadata say what happens.

Owns the order of work and its threads. Knows neither systems nor files; `prepare` never sees keypoints, decoders never
see frames, `to_frame` is where they meet.
"""

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Poses, join
from posert.postprocess import decoder, suppression
from posert.postprocess.crop_region import next_window
from posert.postprocess.geometry import next_regions, to_frame, usable
from posert.runtime.after.features import Features
from posert.runtime.look.regions import Boxes, regions
from posert.runtime.media.read import Frame
from posert.runtime.prefetch import grouped, read_ahead
from posert.runtime.prepare import prepare
from posert.runtime.session import Model
from posert.runtime.spec import Stage
from posert.runtime.windows import place, scaled

_ROW_COUNTS = (1, 2, 4, 8, 16, 32, 64)  # batches of crops are padded to these for an accelerator, which plans per shape


@dataclass(frozen=True, slots=True)
class Result:
    """The people of one frame.

    Attributes:
        frame_index: the frame's place in its source.
        time_s: seconds since the start of the source.
        size_wh: the frame's width and height, px.
        source: where the frame came from.
        poses: in pixels of the frame; nobody is a value too.
        timings_ms: milliseconds by step, `prepare`, `run` and `decode`, each summed over the stages.
        features: what `Featuring` derived from the poses; None unless asked for.
    """

    frame_index: int
    time_s: float
    size_wh: tuple[int, int]
    source: str
    poses: Poses
    timings_ms: dict[str, float]
    features: Features | None = None


@dataclass(frozen=True, slots=True)
class TopDown:
    """How a model that looks at boxes works.

    Attributes:
        detect_every: run the detector on every n-th frame only, and look around the last poses in between; one frame
            after the other, so `batch` and the model's workers do not apply.
        pose_batch: at most so many crops in one network call.
        flip: run every crop mirrored too, and average.
    """

    detect_every: int = 1
    pose_batch: int = 64
    flip: bool = False


def estimate(
    model: Model,
    frames: Iterable[Frame],
    *,
    batch: int = 1,
    boxes: Boxes | None = None,
    top_down: TopDown | None = None,
) -> Iterator[Result]:
    """The people of every frame, in order, one `Result` per frame.

    Args:
        model: from `open_model`.
        frames: from `frames`, or any iterable of `Frame`; read by a thread of its own.
        batch: frames per network call; they must have one size, and the network a free batch axis.
        boxes: frame -> f32 [N,4] xyxy px, or [N,5] with a score; the regions of a model that looks at boxes or follows
            a person, instead of its own.
        top_down: for a model that looks at boxes.

    Raises:
        PosertError: the model has no detector and there are no boxes; whatever the source, the network or the decoder
            says, after the frames before it.
    """
    for _, result in estimate_frames(model, frames, batch=batch, boxes=boxes, top_down=top_down):
        yield result


def estimate_frames(
    model: Model,
    frames: Iterable[Frame],
    *,
    batch: int = 1,
    boxes: Boxes | None = None,
    top_down: TopDown | None = None,
) -> Generator[tuple[Frame, Result], None, None]:
    """As `estimate`, each result with its frame."""
    how = top_down or TopDown()
    _check(model, boxes, how)
    worker = _Worker(model, boxes, how)
    follows = boxes is None and any(stage.region == "follow" for stage in model.spec.stages)
    in_turn = follows or how.detect_every > 1  # each frame needs the last one's poses
    pending: deque[Future[list[tuple[Frame, Result]]]] = deque()
    failure: BaseException | None = None
    workers = 1 if in_turn else model.workers
    with ThreadPoolExecutor(workers, "posert") as pool, read_ahead(frames, 2) as ahead:
        groups = grouped(ahead, 1 if in_turn else batch)
        try:
            while failure is None:
                try:
                    pending.append(pool.submit(worker, next(groups)))
                except StopIteration:
                    break
                except Exception as error:  # the frames read before it come out first
                    failure = error
                while len(pending) > (workers if failure is None else 0):
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    if failure is not None:
        raise failure


def _check(model: Model, boxes: Boxes | None, how: TopDown) -> None:
    """Raises PosertError if the model cannot do what is asked for."""
    stages = model.spec.stages
    if stages[0].region == "boxes" and boxes is None:
        raise PosertError(
            f"{model.spec.model} looks at boxes and has no detector",
            "give one with --detector FILE, or boxes with --boxes FILE",
        )
    if how.flip and not any(_mirrors(stage) for stage in stages):
        raise PosertError(f"{model.spec.model} cannot average mirrored pictures", "leave --flip away")
    if how.detect_every > 1 and not any(stage.region == "boxes" for stage in stages):
        raise PosertError(f"{model.spec.model} has no detector to leave out", "leave --detect-every away")


def _mirrors(stage: Stage) -> bool:
    return getattr(decoder(stage.decoder), "MIRRORS", False)


class _Worker:
    """Runs all stages on a group of frames. Keeps what the next frame needs of the last, and each thread's tensors."""

    def __init__(self, model: Model, boxes: Boxes | None, how: TopDown) -> None:
        self.model = model
        self.boxes = boxes
        self.how = how
        self.window: NDArray[np.float64] | None = None
        self.last: Poses | None = None
        self.since_detection = 0
        self.followed = ""
        self.buffers = threading.local()

    def __call__(self, group: list[Frame]) -> list[tuple[Frame, Result]]:
        timings = {"prepare": 0.0, "run": 0.0, "decode": 0.0}
        known = self.known_regions(group)
        people = known or []
        for stage in self.model.spec.stages:
            if stage.region != "frame" or known is None:
                people = self.stage(stage, group, people, timings)
        self.last = people[-1]
        share = {step: ms / len(group) for step, ms in timings.items()}
        return [
            (frame, Result(frame.index, frame.time_s, frame.size_wh, frame.source, poses, share))
            for frame, poses in zip(group, people, strict=True)
        ]

    def known_regions(self, group: list[Frame]) -> list[Poses] | None:
        """The regions of each frame that no detector has to find: given boxes, or those around the last poses."""
        if all(stage.region == "frame" for stage in self.model.spec.stages):
            return None
        if self.boxes is not None:
            return [usable(regions(self.boxes(frame))) for frame in group]
        if self.how.detect_every == 1:
            return None
        due = self.last is None or self.followed != group[0].source or self.since_detection >= self.how.detect_every
        self.followed = group[0].source
        self.since_detection = 1 if due else self.since_detection + 1
        return None if due or self.last is None else [next_regions(self.last, group[0].size_wh)]

    def windows(
        self, stage: Stage, group: list[Frame], known: list[Poses]
    ) -> tuple[list[NDArray[np.float64]], tuple[int, int]]:
        """The windows of each frame of the group, f64 [R,4], and the input size they share."""
        look = stage.region == "boxes" or (stage.region == "follow" and self.boxes is not None)
        placed = [
            place(frame.size_wh, stage.input, known[number].boxes_xyxy if look else None)
            for number, frame in enumerate(group)
        ]
        if stage.region == "follow" and self.boxes is None:
            if self.followed == group[0].source and self.window is not None:
                placed[0] = (self.window[None], placed[0][1])
            self.followed = group[0].source
        return [windows for windows, _ in placed], placed[0][1]

    def stage(self, stage: Stage, group: list[Frame], known: list[Poses], timings: dict[str, float]) -> list[Poses]:
        """One stage on all windows of all frames: the poses of each frame, in its pixels."""
        skeleton = self.model.spec.skeleton
        windows, input_wh = self.windows(stage, group, known)
        crops = [(frame, window) for frame, own in zip(group, windows, strict=True) for window in own]
        size = self.how.pose_batch if stage.region == "boxes" else len(crops)
        rows: list[Poses] = []
        for start in range(0, len(crops), max(1, size)):
            rows += self.rows(stage, crops[start : start + size], input_wh, timings)
        with _clock(timings, "decode"):
            each = iter(rows)
            people = [
                join(
                    [to_frame(row, window, input_wh) for row, window in zip(islice(each, len(own)), own, strict=True)],
                    len(skeleton.names),
                )
                for own in windows
            ]
            if stage.suppress is not None:
                rule, params = suppression(stage.suppress), self.model.suppression_params(stage.name)
                people = [rule.suppress(*pair, params) for pair in zip(people, known, strict=True)]
        if stage is not self.model.spec.stages[-1]:
            return [usable(poses, frame.size_wh) for poses, frame in zip(people, group, strict=True)]
        if stage.region == "follow" and self.boxes is None:
            self.window = next_window(people[0], group[0].size_wh, skeleton)
        return people

    def rows(
        self,
        stage: Stage,
        crops: list[tuple[Frame, NDArray[np.float64]]],
        input_wh: tuple[int, int],
        timings: dict[str, float],
    ) -> list[Poses]:
        """One network call on some windows, or one per scale: a `Poses` for each, in pixels of the input."""
        tool = decoder(stage.decoder)
        if len(stage.scales) == 1:
            outputs = self.outputs(stage, stage.name, crops, input_wh, timings)
        else:
            several = []
            for number, scale in enumerate(stage.scales):
                own = scaled(stage.input, input_wh, scale)
                again = [(frame, place(frame.size_wh, own)[0][0]) for frame, _ in crops]
                several.append(self.outputs(stage, f"{stage.name} {number}", again, own.size_wh, timings))
            with _clock(timings, "decode"):
                outputs = tool.merge(several, self.model.params(stage.name), input_wh)
        with _clock(timings, "decode"):
            params = self.model.params(stage.name)
            decoded: list[Poses] = tool.decode(outputs, self.model.spec.skeleton, params, input_wh)
        return decoded

    def outputs(
        self,
        stage: Stage,
        buffer: str,
        crops: list[tuple[Frame, NDArray[np.float64]]],
        input_wh: tuple[int, int],
        timings: dict[str, float],
    ) -> dict[str, NDArray[Any]]:
        """Role -> what the network makes of some windows; `buffer` names the tensor that is filled again each time."""
        with _clock(timings, "prepare"):
            tensor = self.tensor(stage, buffer, self.row_count(stage, len(crops)), input_wh)
            for number, (frame, window) in enumerate(crops):
                prepare(frame.bgr, window[None], stage.input, input_wh, tensor[number : number + 1])
        with _clock(timings, "run"):
            outputs = self.model.run(stage.name, tensor)
            if self.how.flip and _mirrors(stage):
                mirrored = tensor[..., ::-1] if stage.input.layout == "NCHW" else tensor[:, :, ::-1]
                again = self.model.run(stage.name, np.ascontiguousarray(mirrored))
                outputs |= {f"mirrored_{role}": array for role, array in again.items()}
        return {role: array[: len(crops)] for role, array in outputs.items()}

    def row_count(self, stage: Stage, count: int) -> int:
        """Rows of the network call for `count` crops, a few unused ones included."""
        if stage.region != "boxes" or self.model.device == "cpu":
            return count
        return next((rows for rows in _ROW_COUNTS if rows >= count), count)

    def tensor(self, stage: Stage, name: str, rows: int, input_wh: tuple[int, int]) -> NDArray[Any]:
        """The first `rows` rows of this thread's input tensor of that name, made anew only when it must grow."""
        width, height = input_wh
        shape = (height, width, 3) if stage.input.layout == "NHWC" else (3, height, width)
        kept: dict[str, NDArray[Any]] = self.buffers.__dict__
        if name not in kept or kept[name].shape[1:] != shape or len(kept[name]) < rows:
            kept[name] = np.zeros((rows, *shape), stage.input.dtype)
        return kept[name][:rows]


@contextmanager
def _clock(timings: dict[str, float], step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    timings[step] += (time.perf_counter() - began) * 1000
