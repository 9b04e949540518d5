"""Jobs: which file each medium's results go to, and the run of one.

Owns output names and what became of a job. Knows sinks and the loop, nothing of networks, processes or the terminal.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path

from posert.errors import PosertError
from posert.runtime.after import post_chain
from posert.runtime.files.formats import FORMATS, sink_of
from posert.runtime.files.overlay import overlay
from posert.runtime.jobs.recipe import Recipe, Settings
from posert.runtime.look import read_boxes
from posert.runtime.loop import estimate_frames
from posert.runtime.media import is_image
from posert.runtime.media.live import is_live
from posert.runtime.media.read import expand, frame_rate, frames
from posert.runtime.session import Model

_LOG = logging.getLogger("posert")
OnFrame = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One medium and where its results go; `output` None = standard output, `overlay` None = no drawing."""

    source: str
    output: Path | None
    overlay: Path | None

    @property
    def files(self) -> list[Path]:
        """What it writes."""
        return [path for path in (self.output, self.overlay) if path is not None]

    def moved(self, to: Callable[[Path], Path]) -> "Job":
        """The same job with other files."""
        return replace(self, output=self.output and to(self.output), overlay=self.overlay and to(self.overlay))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job; it can be sent between processes and machines.

    Attributes:
        frames, people, seconds: frames written, people in all of them together, and how long it took; 0 if it failed.
        error: why it failed; None if it did not.
        unusable: the model cannot be opened there, so that no job can be done.
    """

    job: Job
    frames: int = 0
    people: int = 0
    seconds: float = 0.0
    error: PosertError | None = None
    unusable: bool = False


def plan(sources: Sequence[str], output: Path | None, overlay: Path | None, form: str) -> list[Job]:
    """One job per medium.

    With a single medium, `output` and `overlay` are files, unless they are folders that exist; with more, or if a
    source is a folder or a list, they are folders that mirror the sources' own tree, `walk/a.mp4` becoming
    `walk/a.mp4.jsonl`. A source `@list.txt` stands for the sources in that file, one a line.

    Raises:
        PosertError: an unknown format, missing sources, two media with one output file.
    """
    sink_of(form)
    media = [found for source in sources for found in _media(source)]
    single = len(media) == 1 and not any(source.startswith("@") or Path(source).is_dir() for source in sources)

    def placed(given: Path | None, name: str) -> Path | None:
        return given if given is None or (single and not given.is_dir()) else given / name

    names = [(source, FORMATS[form].name(name), name if is_image(name) else name + ".mp4") for source, name in media]
    jobs = [Job(source, placed(output, name), placed(overlay, drawing)) for source, name, drawing in names]
    for paths in ([job.output for job in jobs], [job.overlay for job in jobs]):
        twice = sorted(str(path) for path, count in Counter(paths).items() if path is not None and count > 1)
        if twice:
            raise PosertError(
                f"several sources would write {', '.join(twice)}",
                "give their common folder as the source, or give them names of their own",
            )
    return jobs


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
    except PosertError as error:
        return Outcome(job, error=error)
    except Exception as error:  # one odd file must not end a night's work
        _LOG.debug("unexpected failure in %s", job.source, exc_info=True)
        return Outcome(job, error=PosertError(f"{job.source}: {type(error).__name__}: {error}", "see `debug`"))


def run_job(model: Model, job: Job, settings: Settings, *, on_frame: OnFrame | None = None) -> Outcome:
    """Runs the model over one source and writes its results; calls `on_frame` with the number of frames done.

    Raises:
        PosertError: the source, the network or the output fails; what was written is kept as `<output>.partial` if the
            source broke off, and is removed if writing failed.
    """
    began, done, people = time.monotonic(), 0, 0
    refine = post_chain(model.spec.skeleton, track=settings.track, smooth=settings.smooth, features=settings.features)
    sink = sink_of(settings.form, empty=settings.include_empty, unit=settings.keypoint_scale)
    boxes = None if settings.boxes is None else read_boxes(Path(settings.boxes))
    source = frames(job.source, **asdict(settings.selection))
    live = settings.live or is_live(job.source)
    pairs = estimate_frames(model, source, batch=settings.batch, boxes=boxes, top_down=settings.top_down, live=live)
    with closing(pairs) as results, ExitStack() as stack:
        first = list(islice(results, 1))  # a source that fails at once leaves no file
        if not first:
            raise PosertError(
                f"{job.source}: no frame was selected, or there is none", "check `start_s` and `stop_s`, or the pipe"
            )
        writers = [stack.enter_context(sink(job.output, model.spec, job.source))]
        if job.overlay is not None:
            rate = settings.selection.fps if job.source == "-" else frame_rate(job.source)
            drawing = overlay(job.overlay, model.spec.skeleton, rate / settings.selection.stride)
            writers.append(stack.enter_context(drawing))
        for frame, found in chain(first, results):
            result = refine(found, frame.bgr)
            for write in writers:
                write(frame, result)
            done += 1
            people += len(result.poses)
            if on_frame is not None:
                on_frame(done)
    return Outcome(job, done, people, time.monotonic() - began)
