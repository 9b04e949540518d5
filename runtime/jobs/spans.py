"""Long videos in spans, so that several workers share one: cut where key frames are, found one by one.

Owns where a source is cut, and the people of a span. Ids, smoothing and features need what came before, so they are of
`todo`, which joins the spans in order: nothing is done twice and no seam shows. Knows nothing of processes.
"""

import logging
import math
import pickle
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Result
from posert.runtime.after.clothes import Clothes, worn
from posert.runtime.files.formats import FORMATS, formats_of
from posert.runtime.jobs.job import Job, Outcome, attempt, found_in, tracked
from posert.runtime.jobs.lanes import EVEN, bytes_of, laid_out
from posert.runtime.jobs.recipe import Recipe, Selection, Settings
from posert.runtime.media.read import frames, shown_when
from posert.runtime.media.seek import Timeline
from posert.runtime.session import Model
from posert.runtime.spec import ModelSpec

_LOG = logging.getLogger("posert")
LEAST = 250
"""Frames of a span: each begins with one or two groups of pictures that are decoded for nothing, often as many. The
last one may have half as many: spans become shorter and shorter, so that all workers end at about the same time."""
_PARTS = 4  # spans for each worker
_SAME_MS = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Some frames of a job's source, those of other spans left out; small, so that it can be sent to another process.

    Attributes:
        number: its place among the job's spans.
        selection: that gives these frames and no others.
        indices, times_ms: what they must be, i64 [T] and f64 [T]: whether a decoder agrees shows only when it runs.
        known: the whole source.
    """

    job: Job
    number: int
    selection: Selection
    indices: NDArray[np.int64]
    times_ms: NDArray[np.float64]
    known: Timeline


@dataclass(frozen=True, slots=True)
class Found:
    """The people of a span; it can be sent between processes and machines.

    Attributes:
        rows: of each frame its `Result`, and its `Clothes` if people are to be followed, pickled: they wait like that
            for the spans before. Empty = the span is not as planned, so that the source must be done in one pass.
        spec, device: of the model that found them.
    """

    rows: bytes
    spec: ModelSpec | None = None
    device: str = ""


Unit = Job | Span
"""What a worker does at once."""


def work_done_by(recipe: Recipe) -> Callable[[Unit], Outcome | Found]:
    """A function that does a job or a span, the model opened once; if it cannot be opened, each outcome says so."""
    try:
        model = recipe.open()
    except PosertError as error:
        unusable = error
        return lambda unit: Outcome(unit if isinstance(unit, Job) else unit.job, error=unusable, unusable=True)

    def done(unit: Unit) -> Outcome | Found:
        if isinstance(unit, Span):
            return find(model, unit, recipe.settings)
        return attempt(model, unit, recipe.settings)

    return done


def find(model: Model, span: Span, settings: Settings) -> Found:
    """The people of a span; whatever is wrong with the source is found again, and said, by who does all of it."""
    selection = span.selection
    read = frames(
        span.job.source, start_s=selection.start_s, stop_s=selection.stop_s, first=selection.first,
        last=selection.last, stride=selection.stride, rotate=selection.rotate, mirror=selection.mirror, live=False,
        threads=model.threads, known=span.known,
    )  # fmt: skip
    rows: list[tuple[Result, Clothes | None]] = []
    follow, skeleton = tracked(settings), model.spec.skeleton
    try:
        with closing(found_in(model, read, settings)) as pairs:
            for frame, result in pairs:
                rows.append((result, worn(skeleton, result.poses, frame.bgr) if follow else None))
    except Exception:
        _LOG.debug("frames %d.. of %s", span.indices[0], span.job.source, exc_info=True)
        return Found(b"")
    times_ms = np.array([1000 * result.time_s for result, _ in rows])
    if [result.frame_index for result, _ in rows] != span.indices.tolist():
        return Found(b"")
    if np.abs(times_ms - span.times_ms).max() > _SAME_MS:
        return Found(b"")
    return Found(pickle.dumps(rows, pickle.HIGHEST_PROTOCOL), model.spec, model.device)


def cut(recipe: Recipe, jobs: Sequence[Job], workers: int) -> dict[int, list[Span]]:
    """The spans of those jobs, by their place, that would otherwise keep one worker busy when the others have ended.

    Sizes of files stand for lengths. Pictures, streams and clips that a list names by both ends stay whole.
    """
    sizes = [bytes_of(job) for job in jobs]
    share = sum(sizes) / workers  # of each worker
    if max(sizes, default=0) <= (1 - EVEN) * share or share >= EVEN * laid_out(sizes, workers)[0]:
        return {}
    long = [n for n, job in enumerate(jobs) if sizes[n] * _PARTS > share and _may_be_long(job)]
    spans = {n: _spans(jobs[n], recipe.settings, math.ceil(sizes[n] * _PARTS / share)) for n in long}
    spans = {n: parts for n, parts in spans.items() if parts}
    if spans and (why := _whole(recipe)):
        _LOG.warning("%s is not shared out among the workers: %s", jobs[min(spans)].source, why)
        return {}
    return spans


def _may_be_long(job: Job) -> bool:
    return job.overlay is None and (job.clip is None or job.clip.stop_s is None)


def _whole(recipe: Recipe) -> str:
    """Why a source cannot be cut with this recipe; empty if it can."""
    settings = recipe.settings
    if recipe.in_turn():
        return "the model looks where it saw the people of the frame before"
    if settings.drawing.maps or any(FORMATS[form].maps for form in formats_of(settings.form)):
        return "the network's maps are wanted"
    if any(FORMATS[form].pictures for form in formats_of(settings.form)):
        return "pictures of the frames are wanted"
    selection = settings.selection
    if settings.live or selection.hwaccel is not None or selection.key_frames or recipe.options.latency:
        return "`live`, `hwaccel`, `key_frames` and `latency` are for one pass"
    return ""


def _spans(job: Job, settings: Settings, parts: int) -> list[Span]:
    """The spans of a job; none if it is too short for two, or only decoding tells which frames it has."""
    line = shown_when(job.source)
    if line is None:
        return []
    selection = settings.selection if job.clip is None else job.clip.within(settings.selection)
    times_s = line.times_ms / 1000
    stop_s, last = (np.inf if end is None else end for end in (selection.stop_s, selection.last))
    numbers = np.arange(len(times_s))
    kept = (times_s >= selection.start_s) & (times_s < stop_s) & (numbers >= selection.first) & (numbers <= last)
    chosen = numbers[kept][:: selection.stride]
    begins = _begins(times_s[chosen], line.keys_ms / 1000, parts, settings.batch)
    spans = []
    for number, (begin, end) in enumerate(zip(begins, [*begins[1:], len(chosen)], strict=True)):
        own = chosen[begin:end]
        here = selection if number == 0 else replace(selection, start_s=_before(times_s, own[0]), first=int(own[0]))
        if end < len(chosen):
            here = replace(here, last=int(own[-1]))
        spans.append(Span(job, number, here, own, line.times_ms[own], line))
    return spans if len(spans) > 1 else []


def _begins(times_s: NDArray[np.float64], keys_s: NDArray[np.float64], parts: int, batch: int) -> list[int]:
    """Where at most so many spans begin: at the first frame from a key frame on that begins a batch too."""
    parts = min(parts, int((math.sqrt(1 + 16 * len(times_s) / LEAST) - 1) / 2))  # of n, n - 1, ... 1 times LEAST / 2
    ends = np.cumsum(np.arange(parts, 0, -1))
    places = -(-np.searchsorted(times_s, keys_s - _SAME_MS / 1000) // batch) * batch
    places = np.unique(places[(places > 0) & (places < len(times_s))])
    wanted: list[float] = (len(times_s) * ends[:-1] / ends[-1:]).tolist() if len(places) else []
    near = {int(places[np.argmin(np.abs(places - place))]) for place in wanted}
    return [0, *sorted(near)]


def _before(times_s: NDArray[np.float64], index: int) -> float:
    """A second between a frame and the one before."""
    return float(times_s[index - 1] + times_s[index]) / 2
