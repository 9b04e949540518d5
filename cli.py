"""The command line: parse, call, print. The only place that prints or exits (with the `commands.py` of the rooms, its
parts); heavy imports stay inside the commands.

Results go to standard output, progress and messages to standard error. Exit: 0 ok, 1 user error, 2 wrong usage, 3 some
of several inputs failed, 130 interrupted.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from posert.errors import PosertError
from posert.export import commands
from posert.flags import (
    AFTER,
    DRAW,
    MODEL,
    NETWORK,
    OUTPUT,
    PEOPLE,
    RUN,
    SOURCES,
    TOPDOWN,
    AcceptLicence,
    AcceptUnpinned,
    Device,
    Draw,
    Face,
    First,
    Hands,
    Last,
    LongEdge,
    MaxPeople,
    MinBoxArea,
    MinScore,
    Mirror,
    NetResolution,
    Params,
    PartFiles,
    Person,
    Roi,
    Rotate,
    ScaleGap,
    ScaleNumber,
    Start,
    Stop,
    Stride,
    Threads,
    model_file,
    parse_draw,
    parse_options,
    parse_resolution,
    parse_shard,
    parse_size,
    part_files,
    progress,
    whose,
    with_flags,
)  # fmt: skip
from posert.measure import commands as measuring
from posert.pages import commands as pages
from posert.serve import commands as serving

if TYPE_CHECKING:
    from posert.runtime.jobs.job import Job, Outcome
    from posert.runtime.jobs.manifest import Manifest


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.add_typer(commands.app)
app.add_typer(pages.app)
app.add_typer(serving.app)
app.add_typer(measuring.app)

_FORMATS = (
    "jsonl, json, npz, parquet, csv, trc, openpose, alphapose(-cmu, -open), openpifpaf, coco(-dataset), "
    "heatmaps, pafs, candidates; repeat it."
)
_UNITS = "With --format openpose: 0, 2 = px of the frame, 1 = of the network input, 3 = 0..1, 4 = -1..1."


@app.callback()
def options(
    debug: Annotated[bool, typer.Option(help="Log everything and show the traceback of an error.")] = False,
) -> None:
    """Human pose estimation: AlphaPose, OpenPose, OpenPifPaf and MoveNet on ONNX Runtime."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])
    logging.getLogger("posert").setLevel(logging.DEBUG if debug else logging.WARNING)


@app.command(rich_help_panel=PEOPLE)
def infer(
    model: Annotated[str, typer.Argument(help=MODEL)],
    sources: Annotated[
        list[str], typer.Argument(help="Image, video, folder, pattern, @list.txt, webcam number, URL, or -.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", rich_help_panel=OUTPUT, help="File, or folder for several sources.")
    ] = None,
    forms: Annotated[list[str] | None, typer.Option("--format", rich_help_panel=OUTPUT, help=_FORMATS)] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(rich_help_panel=DRAW, help="Draw the people: .mp4, .jpg, drawn/%06d.jpg; a folder for several."),
    ] = None,
    draw: Draw = None,
    start: Start = 0.0,
    stop: Stop = None,
    first: First = 0,
    last: Last = None,
    stride: Stride = 1,
    rotate: Rotate = 0,
    mirror: Mirror = False,
    max_people: MaxPeople = 0,
    person: Person = None,
    min_score: MinScore = 0.0,
    min_box_area: MinBoxArea = 0.0,
    roi: Roi = None,
    device: Device = "auto",
    threads: Threads = 0,
    batch: Annotated[int, typer.Option(min=1, rich_help_panel=NETWORK, help="Frames per network call.")] = 1,
    long_edge: LongEdge = 0,
    net_resolution: NetResolution = None,
    scale_number: ScaleNumber = 1,
    scale_gap: ScaleGap = 0.25,
    detector: Annotated[
        str | None,
        typer.Option(rich_help_panel=TOPDOWN, help="File or name of what finds boxes, for a one-person model."),
    ] = None,
    hands: Hands = False,
    face: Face = False,
    parts: PartFiles = None,
    boxes: Annotated[
        Path | None, typer.Option(rich_help_panel=TOPDOWN, help="COCO-style JSON of boxes, instead of a detector.")
    ] = None,
    detect_every: Annotated[
        int, typer.Option(min=1, rich_help_panel=TOPDOWN, help="Run the detector on every n-th frame.")
    ] = 1,
    pose_batch: Annotated[
        int, typer.Option(min=1, rich_help_panel=TOPDOWN, help="People per network call of a top-down model.")
    ] = 64,
    flip: Annotated[
        bool,
        typer.Option("--flip", rich_help_panel=TOPDOWN, help="Average with the mirrored picture (top-down models)."),
    ] = False,
    track: Annotated[
        bool, typer.Option("--track", rich_help_panel=AFTER, help="Ids that stay with the people.")
    ] = False,
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth", rich_help_panel=AFTER, help="Steady keypoints; tracks. --set smooth.NAME=VALUE says how."
        ),
    ] = False,
    features: Annotated[
        bool,
        typer.Option(
            "--features",
            rich_help_panel=AFTER,
            help="Also normalised points, angles of joints and segments, velocities, visibility; tracks.",
        ),
    ] = False,
    person_height: Annotated[
        float,
        typer.Option(min=0, max=3, rich_help_panel=AFTER, help="Of everybody, metres: features and trc are in metres."),
    ] = 0.0,
    keypoint_scale: Annotated[int, typer.Option(min=0, max=4, rich_help_panel=OUTPUT, help=_UNITS)] = 0,
    params: Params = None,
    include_empty: Annotated[
        bool,
        typer.Option(
            "--include-empty",
            rich_help_panel=OUTPUT,
            help="Frames without people in csv and the alphapose formats too.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel=RUN, help="Skip what is finished and unchanged.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", rich_help_panel=RUN, help="With --resume: compare all hashes, not sizes and times."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Also replace files that posert did not write.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, rich_help_panel=RUN, help="Processes for many sources; 0 = by measurement.")
    ] = 0,
    shard: Annotated[
        str | None, typer.Option(rich_help_panel=RUN, help="I/N: only every N-th source, from the I-th.")
    ] = None,
    on: Annotated[
        str | None, typer.Option(rich_help_panel=RUN, help="ray or ray://ADDRESS: run the sources on a Ray cluster.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(rich_help_panel=SOURCES, help="WIDTHxHEIGHT of raw RGB frames on stdin.")
    ] = None,
    fps: Annotated[float, typer.Option(min=0.001, rich_help_panel=SOURCES, help="Frames per second on stdin.")] = 30.0,
    live: Annotated[
        bool, typer.Option("--live", rich_help_panel=SOURCES, help="Leave frames out rather than lag, as with cameras.")
    ] = False,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel=RUN, help="No progress and no summary.")
    ] = False,
) -> None:
    """Find the people in images and videos.

    Example: posert infer nano walk.mp4 -o walk.jsonl --overlay walk_overlay.mp4
    """
    from posert.runtime.files.formats import any_format
    from posert.runtime.jobs.guard import protect
    from posert.runtime.jobs.job import plan
    from posert.runtime.jobs.manifest import Manifest
    from posert.runtime.jobs.pool import run_anywhere
    from posert.runtime.jobs.recipe import Recipe, Selection, Settings
    from posert.runtime.loop import TopDown
    from posert.runtime.options import ModelOptions

    form = ",".join(forms or ["jsonl"])
    jobs = plan(sources, output, overlay, form)  # first: what is wrong here should cost no download
    found = partial(model_file, accept_licence=accept_licence, accept_unpinned=accept_unpinned, quiet=quiet)
    tall = [f"features.person_height_m={person_height}"] if person_height else []
    of_model, of_people = parse_options(
        [*(params or ()), *tall], smooth=smooth, track=track or smooth or features or any_format(form, "ids"),
        features=features or any_format(form, "featuring"),
    )  # fmt: skip
    options = ModelOptions(
        device=device, threads=threads, long_edge=long_edge, net_resolution=parse_resolution(net_resolution),
        scale_number=scale_number, scale_gap=scale_gap,
        detector=detector and found(detector), params=of_model, parts=part_files(hands, face, parts, found),
    )  # fmt: skip
    drawing = parse_draw(draw)
    if overlay is None and draw:
        raise PosertError("--draw draws nothing without --overlay", "name a picture or a video with --overlay")
    settings = Settings(
        form=form, batch=batch, track=track, smooth=smooth, features=features, include_empty=include_empty,
        selection=Selection(
            start_s=start, stop_s=stop, first=first, last=last, stride=stride, rotate=rotate, mirror=mirror,
            size_wh=parse_size(size), fps=fps,
        ),
        people=whose(max_people, person, min_score, min_box_area, roi),
        boxes=None if boxes is None else str(boxes), keypoint_scale=keypoint_scale, live=live,
        drawing=drawing,
        top_down=TopDown(detect_every=detect_every, pose_batch=pose_batch, flip=flip), **of_people,
    )  # fmt: skip
    recipe = Recipe(found(model), settings, options)
    part = parse_shard(shard)
    folder = any(job.listed for job in jobs)
    if not folder and (resume or on):
        raise PosertError("--resume and --on need a folder for the results", "name one with -o")
    manifest = Manifest(output, recipe, shard=part) if output is not None and folder else None
    protect(jobs, sources, recipe, manifest, overwrite=overwrite)
    if part is not None:
        jobs = jobs[part[0] - 1 :: part[1]]
    todo = jobs if manifest is None else manifest.begin(jobs, resume=resume, verify=verify)

    _heed_signals()
    bar = partial(progress, quiet=quiet)
    try:
        with closing(run_anywhere(recipe, todo, workers, on, bar)) as outcomes:
            failed = _run_jobs(outcomes, todo, manifest, quiet)
    finally:
        if manifest is not None:
            manifest.end(jobs)
    if len(todo) < len(jobs) and not quiet:
        _say(f"{len(jobs) - len(todo)} sources were finished before")
    if failed:
        raise typer.Exit(3 if len(jobs) > 1 else 1)


def _run_jobs(outcomes: "Iterator[Outcome]", jobs: "list[Job]", manifest: "Manifest | None", quiet: bool) -> int:
    """Notes every outcome, reports each failure and the sum; returns the number of failures."""
    failed = frames = people = 0
    began = time.monotonic()
    try:
        for outcome in outcomes:
            if manifest is not None:
                manifest.add(outcome)
            if outcome.error is not None:
                failed += 1
                _print_error(outcome.error)
            frames, people = frames + outcome.frames, people + outcome.people
    except KeyboardInterrupt:
        from posert.runtime.files.atomic import partial_of

        kept = [str(partial) for path in jobs[0].files if (partial := partial_of(path)).exists()]
        what = f"; what was finished is in {', '.join(kept)}" if kept else ""
        _say("interrupted" + ("; --resume goes on from here" if manifest else what))
        raise typer.Exit(130) from None
    if not quiet and len(jobs) > failed:
        _say(_summary(jobs, failed, frames, people, time.monotonic() - began))
    return failed


def _summary(jobs: "list[Job]", failed: int, frames: int, people: int, seconds: float) -> str:
    text = f"{frames} frames, {people / max(1, frames):.1f} people a frame, {frames / max(seconds, 1e-9):.1f} frames/s"
    if len(jobs) > 1:
        text += f"; {len(jobs) - failed} of {len(jobs)} sources"
    written = jobs[0].files if len(jobs) == 1 else []
    return text + "".join(f"\n{path}" for path in written)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return with_flags(super().format(record))


def _heed_signals() -> None:
    """An ended session and a polite kill are as Ctrl-C; `nohup` stays what it is."""
    for name in ("SIGTERM", "SIGHUP"):
        sent = getattr(signal, name, None)  # Windows has no SIGHUP
        if sent is not None and signal.getsignal(sent) != signal.SIG_IGN:
            signal.signal(sent, signal.default_int_handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _print_error(error: PosertError) -> None:
    _say(f"error: {with_flags(error.what)}")
    if error.hint:
        _say(f"hint: {with_flags(error.hint)}")


def _reopen_standard_streams() -> None:
    """A stream that the caller closed leads nowhere; else the next file would take its number, and what is said."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def main() -> None:
    """The `posert` command."""
    _reopen_standard_streams()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what goes wrong is said once, by us
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        app()
    except PosertError as error:
        if logging.getLogger("posert").isEnabledFor(logging.DEBUG):
            raise
        _print_error(error)
        sys.exit(1)
    except SystemExit as done:
        if done.code == 130:
            sys.stdout.flush()
            os._exit(130)  # a network or a decoder that has begun would be waited for
        raise
    except BrokenPipeError:  # the reader of our standard output has gone, for example `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
