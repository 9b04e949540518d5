"""Jobs: one medium, where its results go, and the run of it.

Owns what became of a job. Knows sinks and the loop, nothing of networks, processes or the terminal.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, Result, Skeleton
from posert.runtime.after import post_chain
from posert.runtime.after.clothes import Clothes
from posert.runtime.after.hindsight import wait_s, with_hindsight
from posert.runtime.choose import of_people
from posert.runtime.files.atomic import Provenance, Sink
from posert.runtime.files.formats import any_format, maps_wanted, sinks_of
from posert.runtime.files.overlay import overlay
from posert.runtime.files.partition import Rows, Spool, clip_rows, drop_rows, spooled
from posert.runtime.files.state import State, hashed, state
from posert.runtime.jobs.clip import Clip
from posert.runtime.jobs.delivery import delivered, named
from posert.runtime.jobs.recipe import Settings
from posert.runtime.look import read_boxes
from posert.runtime.loop import estimate_frames
from posert.runtime.media.live import is_live
from posert.runtime.media.read import frame_rate
from posert.runtime.session import Model
from posert.runtime.spec import ModelSpec
from posert.runtime.store.address import shown

_LOG = logging.getLogger("posert")
OnFrame = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One medium and where its results go.

    Attributes:
        output, overlay: files or folders; None = standard output, no drawing.
        pictures: the names of an overlay's pictures, one of each frame, see `overlay`; empty = it is a file.
        listed: a manifest keeps what becomes of it, so that its outcome says what was read and written.
        more: as `output`, for the second format and those after it.
        clip: the part of the source that is meant, as a list names it; None = all of it.
        rows: its results are rows of a dataset, where they are called so; they come with the outcome.
    """

    source: str
    output: Path | None
    overlay: Path | None
    listed: bool = False
    more: tuple[Path, ...] = ()
    pictures: str = ""
    clip: Clip | None = None
    rows: str = ""

    @property
    def to_terminal(self) -> bool:
        """Whether its results go to standard output."""
        return self.output is None and not self.rows

    @property
    def title(self) -> str:
        """What is written of its source: all of it but an address's secrets."""
        return shown(self.source)

    @property
    def outputs(self) -> list[Path | None]:
        """Where its results go, in the order of the formats."""
        return [self.output, *self.more]

    @property
    def files(self) -> list[Path]:
        """What it writes."""
        return [path for path in (*self.outputs, self.overlay) if path is not None]

    def moved(self, to: Callable[[Path], Path]) -> "Job":
        """The same job with other files."""
        output, overlay = (path and to(path) for path in (self.output, self.overlay))
        return replace(self, output=output, overlay=overlay, more=tuple(map(to, self.more)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job; it can be sent between processes and machines.

    Attributes:
        frames, people, seconds: frames written, people in all of them together, and how long it took; 0 if it failed.
        error: why it failed; None if it did not.
        device: that ran the network.
        states: of the source and of each of the job's files, with their hashes, if the job is listed.
        unusable: the model cannot be opened there, so that no job can be done.
        rows: of a dataset, if the job wants them; a file is removed by whoever takes them.
    """

    job: Job
    frames: int = 0
    people: int = 0
    seconds: float = 0.0
    error: PosertError | None = None
    unusable: bool = False
    device: str = ""
    states: tuple[State | None, ...] = ()
    rows: Rows = b""

    def carried(self) -> "Outcome":
        """The same for another machine: rows in a file here come along in memory."""
        if not isinstance(self.rows, Path):
            return self
        data = self.rows.read_bytes()
        drop_rows(self.rows)
        return replace(self, rows=data)


def attempt(model: Model, job: Job, settings: Settings, on_frame: OnFrame | None = None) -> Outcome:
    """What became of one job; a failure is a value, so that the next job can follow."""
    return tried(job, settings, lambda: run_job(model, job, settings, on_frame=on_frame))


def tried(job: Job, settings: Settings, run: Callable[[], Outcome]) -> Outcome:
    """What `run` says of a job, or how it failed."""
    try:
        with named(settings.places):
            return run()
    except BrokenPipeError:  # nobody reads our standard output any more
        raise
    except PosertError as error:
        return Outcome(job, error=error)
    except Exception as error:  # one odd file must not end a night's work
        _LOG.debug("unexpected failure in %s", job.title, exc_info=True)
        return Outcome(job, error=PosertError(f"{job.title}: {type(error).__name__}: {error}", "see `debug`"))


def finite_people(result: Result) -> Result:
    """Without people of whom a number is not finite: sinks have no place for it, and NaN stands for nobody."""
    poses = result.poses
    good = np.isfinite(poses.scores) & np.isfinite(poses.keypoints).all((1, 2)) & np.isfinite(poses.boxes_xyxy).all(1)
    if good.all():
        return result
    _LOG.warning("%s, frame %d: the network gave numbers that are not finite; %d people are left out",
                 result.source, result.frame_index, np.count_nonzero(~good))  # fmt: skip
    return replace(result, poses=of_people(poses, np.flatnonzero(good)))


def people_of(model: Model, source: str, settings: Settings) -> Generator[tuple[Frame, Result], None, None]:
    """Every frame of a source with its people, as the settings want them; raises PosertError as the source does."""
    stream = is_live(source)
    read, live = settings.selection.of(source, stream, model.threads), settings.live or stream
    with closing(found_in(model, read, settings, live)) as pairs:
        yield from refined(pairs, model.spec.skeleton, settings, lambda frame: frame.bgr, live)


def found_in(
    model: Model, read: Iterator[Frame], settings: Settings, live: bool = False
) -> Generator[tuple[Frame, Result], None, None]:
    """Frames with their people as the network found them, all finite; nobody has an id."""
    boxes = None if settings.boxes is None else read_boxes(Path(settings.boxes))
    maps = dict.fromkeys([*settings.drawing.maps, *maps_wanted(settings.form, model.spec.skeleton)])
    pairs = estimate_frames(
        model, read, batch=settings.batch, boxes=boxes, top_down=settings.top_down, live=live, maps=list(maps)
    )
    with closing(pairs):
        for frame, found in pairs:
            yield frame, finite_people(found)


def refined(
    pairs: Iterator[tuple[Frame, Result]],
    skeleton: Skeleton,
    settings: Settings,
    seen: Callable[[Frame], NDArray[np.uint8] | Clothes],
    live: bool = False,
) -> Generator[tuple[Frame, Result], None, None]:
    """What follows the network, over all frames of a source in order; `seen`: a frame's picture, or what is worn."""
    late = settings.smooth and wait_s(settings.smoothing) > 0 and not live
    refine = post_chain(
        skeleton, track=tracked(settings), smooth=settings.smooth, features=settings.features,
        tracking=settings.tracking, smoothing=settings.smoothing, featuring=settings.featuring,
        people=settings.people, tracked=late,
    )  # fmt: skip
    if late:  # ids first, then smoothed by what comes later; about a second of pictures is held
        follow = post_chain(skeleton, track=True, tracking=settings.tracking)
        with_ids = ((frame, follow(found, seen(frame))) for frame, found in pairs)
        pairs = with_hindsight(with_ids, settings.smoothing)
    for frame, found in pairs:
        yield frame, refine(found, seen(frame))


def tracked(settings: Settings) -> bool:
    """Whether people get ids, by themselves or for what comes after."""
    return settings.track or settings.smooth or settings.features or any_format(settings.form, "ids")


def run_job(model: Model, job: Job, settings: Settings, *, on_frame: OnFrame | None = None) -> Outcome:
    """Runs the model over one source and writes its results; calls `on_frame` with the number of frames done.

    Raises:
        PosertError: the source, the network or the output fails; what was written is kept as `<output>.partial` if the
            source broke off, and is removed if writing failed.
    """
    if job.clip is not None:
        settings = replace(settings, selection=job.clip.within(settings.selection))
    return write_job(job, settings, people_of(model, job.source, settings), model.spec, model.device, on_frame)


def write_job(
    job: Job,
    settings: Settings,
    found: Generator[tuple[Frame, Result], None, None],
    spec: ModelSpec,
    device: str,
    on_frame: OnFrame | None = None,
) -> Outcome:
    """As `run_job`, with the frames and people at hand, which are closed at the end."""
    began, done, people = time.monotonic(), 0, 0
    before = state(job.source) if job.listed else None
    with closing(found) as results, ExitStack() as stack:
        first = list(islice(results, 1))  # a source that fails at once leaves no file
        if not first:
            raise PosertError(
                f"{job.title}: no frame was selected, or there is none",
                "check `start_s`, `stop_s`, `first` and `last`, or the pipe",
            )
        spool = stack.enter_context(spooled())
        writers = [stack.enter_context(sink) for sink in _sinks(spec, job, settings, spool)]
        for frame, result in chain(first, results):
            for write in writers:
                write(frame, result)
            done += 1
            people += len(result.poses)
            if on_frame is not None:
                on_frame(done)
        states = [hashed(job.source, before, shared=job.clip is not None)] if job.listed else []
    own = [hashed(path, state(path)) for path in job.files if job.listed]
    states += delivered(job.files, own, settings.places)
    took_s = time.monotonic() - began
    return Outcome(job, done, people, took_s, device=device, states=tuple(states), rows=spool.taken())


def _sinks(spec: ModelSpec, job: Job, settings: Settings, spool: Spool) -> Iterator[Sink]:
    """What the frames of a job are written with: each of its files, or the rows of the dataset."""
    read = Provenance(settings.selection.orientation, settings.selection.key_frames)
    if job.rows:
        yield clip_rows(spool, spec, read)
        return
    sinks = sinks_of(
        settings.form, empty=settings.include_empty, unit=settings.keypoint_scale, featuring=settings.featuring,
        provenance=read if job.clip is None else replace(read, clip=job.clip.record()),
    )  # fmt: skip
    for sink, path in zip(sinks, job.outputs, strict=True):
        yield sink(path, spec, job.title)
    if job.overlay is not None:
        rate = settings.selection.fps if job.source == "-" else frame_rate(job.source)
        yield overlay(
            job.overlay, spec.skeleton, rate / settings.selection.stride, job.source, settings.drawing,
            pictures=job.pictures,
        )  # fmt: skip
