"""The loop: frames -> people. One for every model: the stages in the metadata say what happens.

Owns the order of work and its threads. Knows neither systems nor files; `prepare` never sees keypoints, decoders never
see frames, `to_frame` is where they meet.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from posert.postprocess import decoder
from posert.postprocess._follow import next_window
from posert.postprocess.poses import Poses, join, to_frame
from posert.runtime.features import Features
from posert.runtime.frames import Frame
from posert.runtime.prepare import place, prepare
from posert.runtime.session import Model
from posert.runtime.spec import Stage

T = TypeVar("T")
Boxes = Callable[[Frame], NDArray[np.float32]]


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


def estimate(model: Model, frames: Iterable[Frame], *, batch: int = 1, boxes: Boxes | None = None) -> Iterator[Result]:
    """The people of every frame, in order, one `Result` per frame.

    Args:
        model: from `open_model`.
        frames: from `frames`, or any iterable of `Frame`; read by a thread of its own.
        batch: frames per network call; they must have one size, and the network a free batch axis.
        boxes: frame -> f32 [N,4] xyxy px; the regions of a model that looks at boxes or follows a person, instead of
            its own.

    Raises:
        PosertError: whatever the source, the network or the decoder says; the frames before it have been yielded.
    """
    for _, result in estimate_frames(model, frames, batch=batch, boxes=boxes):
        yield result


def estimate_frames(
    model: Model, frames: Iterable[Frame], *, batch: int = 1, boxes: Boxes | None = None
) -> Generator[tuple[Frame, Result], None, None]:
    """As `estimate`, each result with its frame."""
    worker = _Worker(model, boxes)
    pending: deque[Future[list[tuple[Frame, Result]]]] = deque()
    failure: BaseException | None = None
    with ThreadPoolExecutor(model.workers, "posert") as pool, _read_ahead(frames, 2) as ahead:
        groups = _grouped(ahead, batch)
        try:
            while failure is None:
                try:
                    pending.append(pool.submit(worker, next(groups)))
                except StopIteration:
                    break
                except Exception as error:  # the frames read before it come out first
                    failure = error
                while len(pending) > (model.workers if failure is None else 0):
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    if failure is not None:
        raise failure


class _Worker:
    """Runs all stages on a group of frames. Holds the followed window and one input tensor per thread and stage."""

    def __init__(self, model: Model, boxes: Boxes | None) -> None:
        self.model = model
        self.boxes = boxes
        self.window: NDArray[np.float64] | None = None
        self.followed = ""
        self.buffers = threading.local()

    def __call__(self, group: list[Frame]) -> list[tuple[Frame, Result]]:
        timings = {"prepare": 0.0, "run": 0.0, "decode": 0.0}
        people: list[Poses] = []
        for stage in self.model.spec.stages:
            windows, input_wh = self.windows(stage, group, people)
            people = self.stage(stage, group, windows, input_wh, timings)
        share = {step: ms / len(group) for step, ms in timings.items()}
        return [
            (frame, Result(frame.index, frame.time_s, frame.size_wh, frame.source, poses, share))
            for frame, poses in zip(group, people, strict=True)
        ]

    def windows(
        self, stage: Stage, group: list[Frame], people: list[Poses]
    ) -> tuple[list[NDArray[np.float64]], tuple[int, int]]:
        """The windows of each frame of the group, f64 [R,4], and the input size they share."""
        placed = []
        for number, frame in enumerate(group):
            regions = None
            if stage.region != "frame" and self.boxes is not None:
                regions = self.boxes(frame)
            elif stage.region == "boxes":
                regions = people[number].boxes_xyxy
            placed.append(place(frame.size_wh, stage.input, regions))
        if stage.region == "follow" and self.boxes is None:
            if self.followed == group[0].source and self.window is not None:
                placed[0] = (self.window[None], placed[0][1])
            self.followed = group[0].source
        return [windows for windows, _ in placed], placed[0][1]

    def stage(
        self,
        stage: Stage,
        group: list[Frame],
        windows: list[NDArray[np.float64]],
        input_wh: tuple[int, int],
        timings: dict[str, float],
    ) -> list[Poses]:
        """One stage on all windows of all frames as one batch: the poses of each frame, in its pixels."""
        skeleton = self.model.spec.skeleton
        counts = [len(rows) for rows in windows]
        if sum(counts) == 0:
            return [join([], len(skeleton.names)) for _ in group]
        with _clock(timings, "prepare"):
            tensor = self.tensor(stage, sum(counts), input_wh)
            for frame, rows, start in zip(group, windows, np.cumsum([0, *counts[:-1]]), strict=True):
                if len(rows):
                    prepare(frame.bgr, rows, stage.input, input_wh, tensor[start : start + len(rows)])
        with _clock(timings, "run"):
            outputs = self.model.run(stage.name, tensor)
        with _clock(timings, "decode"):
            rows = iter(decoder(stage.decoder).decode(outputs, skeleton, self.model.params(stage.name), input_wh))
            people = [
                join([to_frame(next(rows), window, input_wh) for window in own], len(skeleton.names)) for own in windows
            ]
        if stage.region == "follow" and self.boxes is None:
            self.window = next_window(people[0], group[0].size_wh, skeleton)
        return people

    def tensor(self, stage: Stage, rows: int, input_wh: tuple[int, int]) -> NDArray[Any]:
        """This thread's input tensor of the stage, made anew only when the shape changes."""
        width, height = input_wh
        shape = (rows, height, width, 3) if stage.input.layout == "NHWC" else (rows, 3, height, width)
        kept: dict[str, NDArray[Any]] = self.buffers.__dict__
        if stage.name not in kept or kept[stage.name].shape != shape:
            kept[stage.name] = np.empty(shape, stage.input.dtype)
        return kept[stage.name]


@contextmanager
def _clock(timings: dict[str, float], step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    timings[step] += (time.perf_counter() - began) * 1000


def _grouped(frames: Iterable[Frame], batch: int) -> Iterator[list[Frame]]:
    """Runs of up to `batch` frames of one size and one source."""
    group: list[Frame] = []
    try:
        for frame in frames:
            if group and (frame.size_wh, frame.source) != (group[0].size_wh, group[0].source):
                yield group
                group = []
            group.append(frame)
            if len(group) == batch:
                yield group
                group = []
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


@contextmanager
def _read_ahead(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Iterates over `items` in a thread of its own, at most `depth` ahead; its errors reach the caller."""
    fifo: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()
    end = object()

    def offer(item: Any) -> bool:
        while not stop.is_set():
            try:
                fifo.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        last: Any = end
        try:
            for item in items:
                if not offer(item):
                    break
        except BaseException as error:  # the consumer must see everything, a KeyboardInterrupt too
            last = _Failure(error)
        finally:
            if hasattr(items, "close"):
                items.close()
            offer(last)

    def taken() -> Iterator[T]:
        while (item := fifo.get()) is not end:
            if isinstance(item, _Failure):
                raise item.error
            yield item

    thread = threading.Thread(target=read, name="posert-reader", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        thread.join(timeout=5)


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException
