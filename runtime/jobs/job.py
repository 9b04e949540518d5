"""Jobs: which file each medium's results go to, and the run of one.

Owns output names and what became of a job. Knows sinks and the loop, nothing of networks, processes or the terminal.
"""

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.after import post_chain
from posert.runtime.after.hindsight import wait_s, with_hindsight
from posert.runtime.choose import of_people
from posert.runtime.files.formats import FORMATS, any_format, formats_of, maps_wanted, sinks_of
from posert.runtime.files.overlay import overlay, split_pattern
from posert.runtime.files.state import State, hashed, state
from posert.runtime.jobs.recipe import Recipe, Settings
from posert.runtime.look import read_boxes
from posert.runtime.loop import estimate_frames
from posert.runtime.media import is_image
from posert.runtime.media.live import is_live
from posert.runtime.media.read import expand, frame_rate
from posert.runtime.session import Model

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
    """

    source: str
    output: Path | None
    overlay: Path | None
    listed: bool = False
    more: tuple[Path, ...] = ()
    pictures: str = ""

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
    """

    job: Job
    frames: int = 0
    people: int = 0
    seconds: float = 0.0
    error: PosertError | None = None
    unusable: bool = False
    device: str = ""
    states: tuple[State | None, ...] = ()


def plan(sources: Sequence[str], output: Path | None, overlay: Path | None, form: str) -> list[Job]:
    """One job per medium.

    With a single medium and format, `output` is a file, unless it is a folder that exists and holds something else than
    this source's results, and so is `overlay` with a single medium. Otherwise, or if a source is a folder or a list,
    they are folders that mirror the sources' own tree, `walk/a.mp4` becoming `walk/a.mp4.jsonl`. An overlay
    `drawn/%06d.jpg` stands for a picture of each frame, with its number, in the folder `drawn`, of several media in
    `drawn/walk/a.mp4`. A source `@list.txt` stands for the sources in that file, one a line.

    Raises:
        PosertError: an unknown format, several without an output, missing sources, a name for pictures that is none.
    """
    chosen = [FORMATS[name] for name in formats_of(form)]
    if len(chosen) > 1 and output is None:
        raise PosertError(f"the formats {form} need a folder", "name one with `output`")
    overlay, pictures = (None, "") if overlay is None else split_pattern(overlay)
    media = [found for source in sources for found in _media(source)]
    single = len(media) == 1 and not any(source.startswith("@") or Path(source).is_dir() for source in sources)

    def placed(given: Path | None, name: str) -> Path | None:
        return given if given is None or (single and not given.is_dir()) else given / name

    def drawn(name: str) -> Path | None:
        if pictures and overlay is not None:
            return overlay if single else overlay / name
        return placed(overlay, name if is_image(name) else name + ".mp4")

    direct = (
        output is not None
        and single
        and len(chosen) == 1
        and (not output.is_dir() or any(chosen[0].named_by(output, media[0][0])))
    )
    return [
        Job(
            source,
            output if direct or output is None else output / chosen[0].name(name),
            drawn(name),
            listed=output is not None and not direct,
            more=tuple(output / other.name(name) for other in chosen[1:] if output is not None),
            pictures=pictures,
        )
        for source, name in media
    ]


def _media(source: str) -> list[tuple[str, str]]:
    """As `expand`; a list file's media are named below their common folder."""
    if not source.startswith("@"):
        return expand(source)
    try:
        lines = Path(source[1:]).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise PosertError(f"the list {source[1:]} cannot be read: {error}", "it has one source a line") from None
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    found = [pair for entry in entries for pair in expand(entry)]
    if not found:
        raise PosertError(f"the list {source[1:]} is empty", "it has one source a line; # begins a comment")
    files = [os.path.abspath(opened) for opened, _ in found if Path(opened).is_file()]
    root = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
    return [
        (opened, os.path.relpath(os.path.abspath(opened), root) if Path(opened).is_file() else name)
        for opened, name in found
    ]


def jobs_done_by(recipe: Recipe) -> Callable[[Job], Outcome]:
    """A function that does a job, the model opened once; if it cannot be opened, each outcome says so."""
    try:
        model = recipe.open()
    except PosertError as error:
        unusable = error
        return lambda job: Outcome(job, error=unusable, unusable=True)
    return lambda job: attempt(model, job, recipe.settings)


def attempt(model: Model, job: Job, settings: Settings, on_frame: OnFrame | None = None) -> Outcome:
    """What became of one job; a failure is a value, so that the next job can follow."""
    try:
        return run_job(model, job, settings, on_frame=on_frame)
    except BrokenPipeError:  # nobody reads our standard output any more
        raise
    except PosertError as error:
        return Outcome(job, error=error)
    except Exception as error:  # one odd file must not end a night's work
        _LOG.debug("unexpected failure in %s", job.source, exc_info=True)
        return Outcome(job, error=PosertError(f"{job.source}: {type(error).__name__}: {error}", "see `debug`"))


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
    track = settings.track or any_format(settings.form, "ids")
    boxes = None if settings.boxes is None else read_boxes(Path(settings.boxes))
    stream = is_live(source)
    read, live = settings.selection.of(source, live=stream), settings.live or stream
    maps = dict.fromkeys([*settings.drawing.maps, *maps_wanted(settings.form, model.spec.skeleton)])
    pairs = estimate_frames(
        model, read, batch=settings.batch, boxes=boxes, top_down=settings.top_down, live=live, maps=list(maps)
    )
    finite = ((frame, finite_people(found)) for frame, found in pairs)
    late = settings.smooth and wait_s(settings.smoothing) > 0 and not live
    refine = post_chain(
        model.spec.skeleton, track=track, smooth=settings.smooth, features=settings.features,
        tracking=settings.tracking, smoothing=settings.smoothing, featuring=settings.featuring,
        people=settings.people, tracked=late,
    )  # fmt: skip
    with closing(pairs):
        for frame, found in _with_ids_late(model, finite, settings) if late else finite:
            yield frame, refine(found, frame.bgr)


def _with_ids_late(
    model: Model, pairs: Iterator[tuple[Frame, Result]], settings: Settings
) -> Iterator[tuple[Frame, Result]]:
    """The pairs with ids, and smoothed by what comes later; about a second of pictures is held."""
    follow = post_chain(model.spec.skeleton, track=True, tracking=settings.tracking)
    return with_hindsight(((frame, follow(found, frame.bgr)) for frame, found in pairs), settings.smoothing)


def run_job(model: Model, job: Job, settings: Settings, *, on_frame: OnFrame | None = None) -> Outcome:
    """Runs the model over one source and writes its results; calls `on_frame` with the number of frames done.

    Raises:
        PosertError: the source, the network or the output fails; what was written is kept as `<output>.partial` if the
            source broke off, and is removed if writing failed.
    """
    began, done, people = time.monotonic(), 0, 0
    before = state(job.source) if job.listed else None
    sinks = sinks_of(
        settings.form, empty=settings.include_empty, unit=settings.keypoint_scale,
        orientation=settings.selection.orientation, featuring=settings.featuring,
    )  # fmt: skip
    with closing(people_of(model, job.source, settings)) as results, ExitStack() as stack:
        first = list(islice(results, 1))  # a source that fails at once leaves no file
        if not first:
            raise PosertError(
                f"{job.source}: no frame was selected, or there is none",
                "check `start_s`, `stop_s`, `first` and `last`, or the pipe",
            )
        places = zip(sinks, job.outputs, strict=True)
        writers = [stack.enter_context(sink(path, model.spec, job.source)) for sink, path in places]
        if job.overlay is not None:
            rate = settings.selection.fps if job.source == "-" else frame_rate(job.source)
            drawing = overlay(
                job.overlay, model.spec.skeleton, rate / settings.selection.stride, job.source, settings.drawing,
                pictures=job.pictures,
            )  # fmt: skip
            writers.append(stack.enter_context(drawing))
        for frame, result in chain(first, results):
            for write in writers:
                write(frame, result)
            done += 1
            people += len(result.poses)
            if on_frame is not None:
                on_frame(done)
        states = [hashed(job.source, before)] if job.listed else []
    states += [hashed(path, state(path)) for path in job.files if job.listed]
    return Outcome(job, done, people, time.monotonic() - began, device=model.device, states=tuple(states))
