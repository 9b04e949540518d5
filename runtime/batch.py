"""Many sources, one model: which file each result goes to, and one job after the other.

Owns output names and per-source failures. Knows sinks and the loop, nothing of networks or the terminal.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from posert.postprocess.errors import PosertError
from posert.runtime.estimate import TopDown, estimate_frames
from posert.runtime.frames import IMAGES, expand, frame_rate, frames
from posert.runtime.regions import Boxes
from posert.runtime.session import Model
from posert.runtime.sinks import FORMATS


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
class Report:
    """What one job did: frames written, people in all of them together, seconds it took."""

    frames: int
    people: int
    seconds: float


def plan(sources: Sequence[str], output: Path | None, overlay: Path | None, form: str) -> list[Job]:
    """One job per medium.

    With a single medium, `output` and `overlay` are files, unless they are folders that exist or end with a slash; with
    more they are folders that mirror the sources' own tree, `walk/a.mp4` becoming `walk/a.mp4.jsonl`.

    Raises:
        PosertError: an unknown format, missing sources, two media with one output file.
    """
    if form not in FORMATS:
        raise PosertError(f"unknown format {form!r}", f"use one of: {', '.join(FORMATS)}")
    suffix = FORMATS[form][1]
    media = [found for source in sources for found in expand(source)]
    single = len(media) == 1
    jobs = [
        Job(
            source,
            output and (output if single and not _is_folder(output) else output / (name + suffix)),
            overlay and (overlay if single and not _is_folder(overlay) else overlay / _overlay_name(name)),
        )
        for source, name in media
    ]
    for paths in ([job.output for job in jobs], [job.overlay for job in jobs]):
        given = [path for path in paths if path is not None]
        twice = sorted({str(path) for path in given if given.count(path) > 1}) if len(set(given)) < len(given) else []
        if twice:
            raise PosertError(
                f"several sources would write {', '.join(twice)}", "give their common folder as the source"
            )
    return jobs


def _is_folder(path: Path) -> bool:
    return path.is_dir()


def _overlay_name(name: str) -> str:
    return name if Path(name).suffix.lower() in IMAGES else name + ".mp4"


def run_job(
    model: Model,
    job: Job,
    *,
    form: str = "jsonl",
    selection: Selection | None = None,
    batch: int = 1,
    boxes: Boxes | None = None,
    top_down: TopDown | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Report:
    """Runs the model over one source and writes its results.

    Args:
        batch, boxes, top_down: as in `estimate`.
        on_frame: called after each frame with the number of frames done.

    Raises:
        PosertError: the source, the network or the output fails; what was written is kept as `<output>.partial` if the
            source broke off, and is removed if writing failed.
    """
    chosen = selection or Selection()
    began, done, people = time.monotonic(), 0, 0
    source = frames(
        job.source,
        start_s=chosen.start_s,
        stop_s=chosen.stop_s,
        stride=chosen.stride,
        size_wh=chosen.size_wh,
        fps=chosen.fps,
    )
    with (
        closing(estimate_frames(model, source, batch=batch, boxes=boxes, top_down=top_down)) as results,
        ExitStack() as stack,
    ):
        first = list(islice(results, 1))  # a source that fails at once leaves no file
        writers = [stack.enter_context(FORMATS[form][0](job.output, model.spec, job.source))]
        if job.overlay is not None:
            from posert.runtime.overlay import overlay

            rate = chosen.fps if job.source == "-" else frame_rate(job.source)
            writers.append(stack.enter_context(overlay(job.overlay, model.spec.skeleton, rate / chosen.stride)))
        for frame, result in chain(first, results):
            for write in writers:
                write(frame, result)
            done += 1
            people += len(result.poses)
            if on_frame is not None:
                on_frame(done)
    return Report(done, people, time.monotonic() - began)
