"""Many sources, one model: which file each result goes to, and what is done with one source.

Owns output names and the settings of a job. Knows sinks and the loop, nothing of networks or the terminal.
"""

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Result, Skeleton
from posert.runtime.after.features import Featuring
from posert.runtime.after.smooth import Smoother
from posert.runtime.after.track import Tracker
from posert.runtime.files.formats import FORMATS, sink_of
from posert.runtime.look.regions import read_boxes
from posert.runtime.loop import TopDown, estimate_frames
from posert.runtime.media.read import expand, frame_rate, frames
from posert.runtime.media.suffixes import is_image
from posert.runtime.session import Model


@dataclass(frozen=True, slots=True)
class Job:
    """One medium and where its results go; `output` None = standard output, `overlay` None = no drawing."""

    source: str
    output: Path | None
    overlay: Path | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which frames of every source; see `frames`."""

    start_s: float = 0.0
    stop_s: float | None = None
    stride: int = 1
    size_wh: tuple[int, int] | None = None
    fps: float = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What is done with every source.

    Attributes:
        form: a name of `FORMATS`.
        selection: which frames.
        batch: frames per network call.
        track, smooth, features: ids, steady keypoints, features; smooth and features bring ids.
        keypoint_scale: unit of the keypoints in the file, see `in_units`; for formats that know it.
        params: NAME=VALUE of the decoder, over the model file's.
        include_empty: a record for frames without people in formats that leave them out.
        long_edge: longer side of the network input, px; 0 = the model's own.
        scale_number, scale_gap: average over several sizes of the input, see `open_model`.
        detector, boxes: files with the detector, or the boxes, of a top-down model; None = its own.
        top_down: how a top-down model works.
    """

    form: str = "jsonl"
    selection: Selection = field(default_factory=Selection)
    batch: int = 1
    track: bool = False
    smooth: bool = False
    features: bool = False
    include_empty: bool = False
    long_edge: int = 0
    scale_number: int = 1
    scale_gap: float = 0.25
    detector: str | None = None
    boxes: str | None = None
    top_down: TopDown = field(default_factory=TopDown)
    keypoint_scale: int = 0
    params: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.keypoint_scale:
            sink_of(self.form, unit=self.keypoint_scale)

    def record(self) -> dict[str, Any]:
        """As JSON; equal settings give equal records."""
        values = asdict(self)
        size_wh = self.selection.size_wh
        values["selection"]["size_wh"] = None if size_wh is None else list(size_wh)
        values["params"] = list(self.params)
        return values


@dataclass(frozen=True, slots=True)
class Report:
    """What one job did: frames written, people in all of them together, seconds it took."""

    frames: int
    people: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: its report, or its error."""

    job: Job
    report: Report | None
    error: PosertError | None


def plan(sources: Sequence[str], output: Path | None, overlay: Path | None, form: str) -> list[Job]:
    """One job per medium.

    With a single medium, `output` and `overlay` are files, unless they are folders that exist; with more, or if a
    source is a folder or a list, they are folders that mirror the sources' own tree, `walk/a.mp4` becoming
    `walk/a.mp4.jsonl`. A source `@list.txt` stands for the sources in that file, one a line.

    Raises:
        PosertError: an unknown format, missing sources, two media with one output file.
    """
    sink_of(form)
    output_name = FORMATS[form].name
    media = [found for source in sources for found in _media(source)]
    single = len(media) == 1 and not any(source.startswith("@") or Path(source).is_dir() for source in sources)
    jobs = [
        Job(
            source,
            output and (output if single and not output.is_dir() else output / output_name(name)),
            overlay and (overlay if single and not overlay.is_dir() else overlay / _overlay_name(name)),
        )
        for source, name in media
    ]
    for paths in ([job.output for job in jobs], [job.overlay for job in jobs]):
        given = [path for path in paths if path is not None]
        twice = sorted({str(path) for path in given if given.count(path) > 1}) if len(set(given)) < len(given) else []
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


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """The numbers of `I/N`: a shard is every N-th job from the I-th; None stays None.

    >>> parse_shard("2/4")
    (2, 4)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match.group(1)) <= int(match.group(2)):
        raise PosertError(f"--shard {text!r} is no shard", "write it as I/N with I from 1 to N, for example 1/4")
    return int(match.group(1)), int(match.group(2))


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Width and height of `WIDTHxHEIGHT`; None stays None.

    >>> parse_size("640x480")
    (640, 480)
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise PosertError(f"--size {text!r} is no size", "write it as WIDTHxHEIGHT, for example 640x480")
    return int(match.group(1)), int(match.group(2))


def parse_params(texts: Sequence[str]) -> dict[str, Any]:
    """Name -> value of `NAME=VALUE` texts; a value that is no JSON is text.

    >>> parse_params(["min_parts=2", "assembly=pairwise", "maximize_positives=true"])
    {'min_parts': 2, 'assembly': 'pairwise', 'maximize_positives': True}
    """
    params = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise PosertError(f"--set {text!r} sets nothing", "write it as NAME=VALUE; posert info MODEL shows them")
        try:
            given = json.loads(value)
        except ValueError:
            given = value.strip()
        params[name.strip().replace("-", "_")] = given
    return params


def _overlay_name(name: str) -> str:
    return name if is_image(name) else name + ".mp4"


def run_job(model: Model, job: Job, settings: Settings, *, on_frame: Callable[[int], None] | None = None) -> Report:
    """Runs the model over one source and writes its results.

    Args:
        batch, boxes, top_down: as in `estimate`.
        on_frame: called after each frame with the number of frames done.

    Raises:
        PosertError: the source, the network or the output fails; what was written is kept as `<output>.partial` if the
            source broke off, and is removed if writing failed.
    """
    chosen = settings.selection
    began, done, people = time.monotonic(), 0, 0
    source = frames(
        job.source,
        start_s=chosen.start_s,
        stop_s=chosen.stop_s,
        stride=chosen.stride,
        size_wh=chosen.size_wh,
        fps=chosen.fps,
    )
    refine = refiner(model.spec.skeleton, settings)
    sink = sink_of(settings.form, empty=settings.include_empty, unit=settings.keypoint_scale)
    boxes = None if settings.boxes is None else read_boxes(Path(settings.boxes))
    pairs = estimate_frames(model, source, batch=settings.batch, boxes=boxes, top_down=settings.top_down)
    with closing(pairs) as results, ExitStack() as stack:
        first = list(islice(results, 1))  # a source that fails at once leaves no file
        writers = [stack.enter_context(sink(job.output, model.spec, job.source))]
        if job.overlay is not None:
            from posert.runtime.files.overlay import overlay

            rate = chosen.fps if job.source == "-" else frame_rate(job.source)
            writers.append(stack.enter_context(overlay(job.overlay, model.spec.skeleton, rate / chosen.stride)))
        for frame, found in chain(first, results):
            result = refine(found, frame.bgr)
            for write in writers:
                write(frame, result)
            done += 1
            people += len(result.poses)
            if on_frame is not None:
                on_frame(done)
    return Report(done, people, time.monotonic() - began)


def refiner(skeleton: Skeleton, settings: Settings) -> Callable[[Result, NDArray[np.uint8]], Result]:
    """What happens to the results of one source, in order: ids, then smoothing, then features, as the settings say."""
    track = Tracker(skeleton) if settings.track or settings.smooth or settings.features else None
    smooth = Smoother() if settings.smooth else None
    feature = Featuring(skeleton) if settings.features else None

    def refine(result: Result, picture: NDArray[np.uint8]) -> Result:
        if track is not None:
            result = replace(result, poses=track(result.poses, result.time_s, picture))
        if smooth is not None:
            result = replace(result, poses=smooth(result.poses, result.time_s))
        if feature is not None:
            result = replace(result, features=feature(result.poses, result.time_s, result.size_wh))
        return result

    return refine
