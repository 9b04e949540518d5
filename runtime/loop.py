"""The loop: frames -> people. One for every model: the stages in the metadata say what happens.

Owns the order of work and its threads. Knows neither systems nor files; `prepare` never sees keypoints, decoders never
see frames, `to_frame` is where they meet.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, PartMap, Poses, Result
from posert.runtime.look import Boxes, Gaze
from posert.runtime.map_tap import map_tap, maps_of
from posert.runtime.parts import with_room, without_doubles
from posert.runtime.prefetch import FramesAhead, Pictures
from posert.runtime.session import Model
from posert.runtime.spec import body_stages
from posert.runtime.stage_runner import Clock, StageRunner, mirrors


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
    frames: Pictures,
    *,
    batch: int = 1,
    boxes: Boxes | None = None,
    top_down: TopDown | None = None,
    live: bool = False,
    maps: Sequence[str] = (),
) -> Iterator[Result]:
    """The people of every frame, in order, one `Result` per frame.

    Args:
        model: from `open_model`.
        frames: from `frames`, or any iterable of `Frame` or of arrays u8 [H,W,3] (BGR); read ahead by a thread of its
            own. Arrays are copied, so a source may fill one buffer again and again; a `Frame` is not: give each its
            own pixels.
        batch: frames per network call; they must have one size, and the network a free batch axis.
        boxes: frame -> f32 [N,4] xyxy px, or [N,5] with a score; the regions of a model that looks at boxes or follows
            a person, instead of its own.
        top_down: for a model that looks at boxes.
        live: the source is a camera or the like, which does not wait: whenever the network or the caller is slower, the
            newest frame comes next, and `Result.dropped` says how many were left out before it.
        maps: of the network that are wanted too, in `Result.maps`: `heatmap:nose`, `paf:neck-nose`, `heatmap:all`.

    Raises:
        PosertError: the model has no detector and there are no boxes, or it has no such maps; whatever the source, the
            network or the decoder says, after the frames before it.
    """
    for _, result in estimate_frames(model, frames, batch=batch, boxes=boxes, top_down=top_down, live=live, maps=maps):
        yield result


def estimate_image(
    model: Model,
    picture: Frame | NDArray[np.uint8],
    *,
    boxes: Boxes | None = None,
    top_down: TopDown | None = None,
    maps: Sequence[str] = (),
) -> Result:
    """The people of one picture, u8 [H,W,3] (BGR) or a `Frame`; the other arguments as in `estimate`."""
    frame = picture if isinstance(picture, Frame) else Frame(picture)
    ((_, result),) = People(model, boxes, top_down, maps)([frame])
    return result


def estimate_frames(
    model: Model,
    frames: Pictures,
    *,
    batch: int = 1,
    boxes: Boxes | None = None,
    top_down: TopDown | None = None,
    live: bool = False,
    maps: Sequence[str] = (),
) -> Generator[tuple[Frame, Result], None, None]:
    """As `estimate`, each result with its frame."""
    if batch < 1:
        raise PosertError(f"batch {batch} is not possible", "use 1 or more")
    people = People(model, boxes, top_down, maps)
    workers, size = (1, 1) if people.gaze.in_turn else (model.workers, batch)
    pool = ThreadPoolExecutor(workers, "posert")
    try:
        with FramesAhead(frames, size, live=live) as ahead:
            yield from _in_order(people, ahead, pool, workers, live)
    finally:  # nobody waits for a network that runs in vain
        pool.shutdown(wait=False, cancel_futures=True)


_Found = list[tuple[Frame, Result]]


def _in_order(
    people: "People", ahead: FramesAhead, pool: ThreadPoolExecutor, workers: int, live: bool
) -> Generator[tuple[Frame, Result], None, None]:
    """Every group's people as soon as they are found, in order; meanwhile groups go to the pool as they come."""
    pending: deque[tuple[Future[_Found], int]] = deque()
    most = workers if live else workers + 1  # one more, so that no worker ever waits

    def found() -> bool:
        return bool(pending) and pending[0][0].done()

    def fits() -> bool:
        return len(pending) < most and ahead.ready()

    def wake(_: Future[_Found]) -> None:
        with ahead.changed:
            ahead.changed.notify_all()

    while True:
        with ahead.changed:
            ahead.changed.wait_for(lambda: found() or fits() or (not pending and ahead.ended()))
        while fits() and not (live and found()):  # what a live source shows later is newer
            group, dropped = ahead.take()
            pending.append((pool.submit(people, group), dropped))
            pending[-1][0].add_done_callback(wake)
        if not pending:
            return
        if found():
            yield from _newest(pending) if live else pending.popleft()[0].result()


def _newest(pending: "deque[tuple[Future[_Found], int]]") -> _Found:
    """The last of the groups at the head whose people are found, with the number of frames that nobody will see."""
    future, dropped = pending.popleft()
    while pending and pending[0][0].done():
        dropped += len(future.result()) + pending[0][1]
        future, _ = pending.popleft()
    (first_frame, first), *others = future.result()
    return [
        (first_frame, replace(first, dropped=dropped)),
        *((frame, replace(each, dropped=0)) for frame, each in others),
    ]


class People:
    """Frames -> their people: where the model looks, and what runs there, stage after stage.

    Called with a group of frames, all of one input size; by several threads, unless `gaze.in_turn`, which also takes
    but one frame at a time.
    """

    def __init__(
        self, model: Model, boxes: Boxes | None = None, top_down: TopDown | None = None, maps: Sequence[str] = ()
    ) -> None:
        """Raises PosertError if the model cannot do what is asked for."""
        how, name, stages = top_down or TopDown(), model.spec.model, body_stages(model.spec)
        if stages[0].parts is not None and boxes is None:
            raise PosertError(
                f"{name} looks at parts of people whom another model finds", "give this one with `parts`, beside that"
            )
        if stages[0].region == "boxes" and boxes is None:
            raise PosertError(
                f"{name} looks at boxes and has no detector", "give one with `detector`, or boxes with `boxes`"
            )
        if how.flip and not any(mirrors(stage) for stage in stages):
            raise PosertError(f"{name} cannot average mirrored pictures", "leave `flip` away")
        turned = any(stage.turn is not None for stage in stages)
        if turned and (boxes is not None or how.detect_every > 1):
            given = "boxes" if boxes is not None else "detect_every"
            raise PosertError(f"{name} turns its regions by keypoints that only it finds", f"leave `{given}` away")
        if how.detect_every > 1 and len(stages) == 1 and stages[0].region != "boxes":
            raise PosertError(f"{name} has no detector to leave out", "leave `detect_every` away")
        self.gaze = Gaze(model.spec, boxes, how.detect_every, model.follow)
        self.runners = [StageRunner(model, stage, how.pose_batch, how.flip) for stage in stages]
        parts = model.spec.stages[len(stages) :]
        self.part_runners = [StageRunner(model, stage, how.pose_batch) for stage in parts]
        self._count = len(model.spec.skeleton.names)
        self._maps = [map_tap(model, stages[-1], asked) for asked in maps]

    def __call__(self, group: list[Frame]) -> list[tuple[Frame, Result]]:
        clock = Clock()
        people = known = self.gaze.known_regions(group)
        maps: list[tuple[PartMap, ...]] = [()] * len(group)
        for runner in self.runners:
            if known is None or runner.stage.region != "frame":
                people = self._of_stage(runner, group, people, clock, maps)
        assert people is not None, "a model has at least one stage"
        people[-1] = self.gaze.remember(group[-1], people[-1])
        if self.part_runners:
            people = self._with_parts(group, people, clock)
        timings = {step: ms / len(group) for step, ms in clock.ms.items()}
        return [
            (frame, Result(frame.index, frame.time_s, frame.size_wh, frame.source, poses, timings, maps=own))
            for frame, poses, own in zip(group, people, maps, strict=True)
        ]

    def _of_stage(
        self,
        runner: StageRunner,
        group: list[Frame],
        found: list[Poses] | None,
        clock: Clock,
        maps: list[tuple[PartMap, ...]],
    ) -> list[Poses]:
        """One stage on all windows of all frames: the poses of each frame, in its pixels; the last one fills `maps`."""
        stage = runner.stage
        each: Sequence[Poses | None] = found or [None] * len(group)
        placed = [self.gaze.windows(stage, frame, known) for frame, known in zip(group, each, strict=True)]
        input_wh = placed[0][1]
        crops = [(frame, window) for frame, (own, _) in zip(group, placed, strict=True) for window in own]
        kept: list[dict[str, NDArray[Any]]] = []
        mapped = bool(self._maps) and runner is self.runners[-1]
        rows = iter(runner(crops, input_wh, clock, kept.append if mapped else None))
        if mapped:
            maps[:] = maps_of(self._maps, kept, [own for own, _ in placed], input_wh)
        with clock("decode"):
            people = [
                runner.in_frame(list(islice(rows, len(own))), own, input_wh, regions)
                for (own, _), regions in zip(placed, each, strict=True)
            ]
        if runner is self.runners[-1]:
            return people
        after = self.runners[self.runners.index(runner) + 1].stage
        return [self.gaze.regions(frame, poses, after) for frame, poses in zip(group, people, strict=True)]

    def _with_parts(self, group: list[Frame], found: list[Poses], clock: Clock) -> list[Poses]:
        """The people of all frames with what each stage finds of their parts."""
        people = [with_room(poses, self._count) for poses in found]
        for runner in self.part_runners:
            placed = [
                self.gaze.part_windows(runner.stage, frame, each) for frame, each in zip(group, people, strict=True)
            ]
            crops = [(frame, window) for frame, (own, _) in zip(group, placed, strict=True) for window in own]
            input_wh = runner.stage.input.size_wh
            rows = iter(runner(crops, input_wh, clock))
            with clock("decode"):
                for each, (windows, owners) in zip(people, placed, strict=True):
                    runner.put(list(islice(rows, len(windows))), windows, input_wh, owners, each)
                    without_doubles(self.gaze.rules[runner.stage.name], each)
        self.gaze.remember_parts(group[-1], people[-1])
        return people
