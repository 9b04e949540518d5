"""The command line: parse, call, print. The only place that prints or exits (with the `commands.py` of the rooms, its
parts); heavy imports stay inside the commands.

Results go to standard output, progress and messages to standard error. Exit: 0 ok, 1 user error, 2 wrong usage, 3 some
of several inputs failed, 130 interrupted.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
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
    HwAccel,
    KeyFrames,
    Last,
    Latency,
    LongEdge,
    MaxPeople,
    MinBoxArea,
    MinScore,
    Mirror,
    NetResolution,
    Output,
    Overlay,
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
    parse_size,
    part_files,
    progress,
    whose,
    with_flags,
)  # fmt: skip
from posert.measure import commands as measuring
from posert.pages import commands as pages
from posert.runtime.process import heed_signals, reopen_standard_streams
from posert.serve import commands as serving

if TYPE_CHECKING:
    from posert.runtime.jobs.delivery import Delivery
    from posert.runtime.jobs.job import Job, Outcome
    from posert.runtime.jobs.ledger import Account


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
        list[str],
        typer.Argument(
            help="Image, video, folder, pattern, s3://, @list.txt (.csv, .parquet), webcam number, URL, or -."
        ),
    ],
    output: Output = None,
    forms: Annotated[list[str] | None, typer.Option("--format", rich_help_panel=OUTPUT, help=_FORMATS)] = None,
    overlay: Overlay = None,
    draw: Draw = None,
    start: Start = 0.0,
    stop: Stop = None,
    first: First = 0,
    last: Last = None,
    stride: Stride = 1,
    hwaccel: HwAccel = None,
    key_frames: KeyFrames = False,
    rotate: Rotate = 0,
    mirror: Mirror = False,
    max_people: MaxPeople = 0,
    person: Person = None,
    min_score: MinScore = 0.0,
    min_box_area: MinBoxArea = 0.0,
    roi: Roi = None,
    device: Device = "auto",
    threads: Threads = 0,
    latency: Latency = False,
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
        int,
        typer.Option(min=0, rich_help_panel=RUN, help="Processes; long videos are shared out. 0 = by measurement."),
    ] = 0,
    shard: Annotated[
        str | None,
        typer.Option(rich_help_panel=RUN, help="I/N: every N-th source from the I-th; env: by SLURM or Kubernetes."),
    ] = None,
    partition: Annotated[
        str | None, typer.Option(rich_help_panel=OUTPUT, help="N or size: one dataset of parquet, in so many files.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(rich_help_panel=RUN, help="ray or ray://ADDRESS: on a Ray cluster. --set ray.NAME=VALUE."),
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
    from posert.runtime.jobs.delivery import Delivery
    from posert.runtime.jobs.guard import protect
    from posert.runtime.jobs.ledger import manifest_of
    from posert.runtime.jobs.planning import plan
    from posert.runtime.jobs.pool import run_anywhere
    from posert.runtime.jobs.recipe import Recipe, Selection, Settings
    from posert.runtime.jobs.shard import read_shard
    from posert.runtime.loop import TopDown
    from posert.runtime.options import ModelOptions

    form = ",".join(forms or ["jsonl"])
    output = None if output == "-" else output  # standard output, as everywhere
    delivery = Delivery(output, overlay)
    place, drawn = delivery.here(output), delivery.here(overlay)
    # first: what is wrong here should cost no download
    jobs = plan(sources, place, drawn, form, dataset=partition is not None)
    found = partial(model_file, accept_licence=accept_licence, accept_unpinned=accept_unpinned, quiet=quiet)
    tall = [f"features.person_height_m={person_height}"] if person_height else []
    of_model, of_people = parse_options(
        [*(params or ()), *tall], smooth=smooth, track=track or smooth or features or any_format(form, "ids"),
        features=features or any_format(form, "featuring"), ray=on is not None,
    )  # fmt: skip
    options = ModelOptions(
        device=device, threads=threads, latency=latency, long_edge=long_edge,
        net_resolution=parse_resolution(net_resolution), scale_number=scale_number, scale_gap=scale_gap,
        detector=detector and found(detector), params=of_model, parts=part_files(hands, face, parts, found),
    )  # fmt: skip
    cluster, drawing = of_people.pop("ray"), parse_draw(draw)
    if overlay is None and draw:
        raise PosertError("--draw draws nothing without --overlay", "name a picture or a video with --overlay")
    settings = Settings(
        form=form, batch=batch, track=track, smooth=smooth, features=features, include_empty=include_empty,
        selection=Selection(
            start_s=start, stop_s=stop, first=first, last=last, stride=stride, rotate=rotate, mirror=mirror,
            size_wh=parse_size(size), fps=fps, hwaccel=hwaccel, key_frames=key_frames,
        ),
        people=whose(max_people, person, min_score, min_box_area, roi),
        boxes=None if boxes is None else str(boxes), keypoint_scale=keypoint_scale, live=live,
        drawing=drawing, places=delivery.places,
        top_down=TopDown(detect_every=detect_every, pose_batch=pose_batch, flip=flip), **of_people,
    )  # fmt: skip
    recipe = Recipe(found(model), settings, options)
    part = None if shard is None else read_shard(shard, os.environ)
    if not jobs[0].listed and (resume or on):
        raise PosertError("--resume and --on need a folder for the results", "name one with -o")
    heed_signals()
    bar = partial(progress, quiet=quiet)
    with closing(delivery), delivery.named():
        manifest = manifest_of(
            place, jobs, recipe, part, partition,
            overwrite=overwrite, unchanged=delivery.unchanged, whole=delivery.whole,
        )  # fmt: skip
        protect(jobs, sources, recipe, manifest, overwrite=overwrite)
        if part is not None:
            jobs = jobs[part[0] - 1 :: part[1]]
        todo = jobs if manifest is None else manifest.begin(jobs, resume=resume, verify=verify)
        try:
            delivery.push()  # from now on these places are ours
            with closing(run_anywhere(recipe, todo, workers, on, bar, cluster)) as outcomes:
                failed = _run_jobs(outcomes, todo, manifest, quiet, delivery)
        finally:
            if manifest is not None:
                manifest.end(jobs)
            delivery.push()
    if len(todo) < len(jobs) and not quiet:
        _say(f"{len(jobs) - len(todo)} sources were finished before")
    if failed:
        raise typer.Exit(3 if len(jobs) > 1 else 1)


def _run_jobs(
    outcomes: "Iterator[Outcome]", jobs: "Sequence[Job]", manifest: "Account | None", quiet: bool, delivery: "Delivery"
) -> int:
    """Notes every outcome, reports each failure and the sum; returns the number of failures."""
    failed = frames = people = 0
    began = time.monotonic()
    try:
        for outcome in outcomes:
            if manifest is not None:
                manifest.add(outcome)
                delivery.push(now=False)
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
        _say(delivery.naming(_summary(jobs, failed, frames, people, time.monotonic() - began)))
    return failed


def _summary(jobs: "Sequence[Job]", failed: int, frames: int, people: int, seconds: float) -> str:
    text = f"{frames} frames, {people / max(1, frames):.1f} people a frame, {frames / max(seconds, 1e-9):.1f} frames/s"
    if len(jobs) > 1:
        text += f"; {len(jobs) - failed} of {len(jobs)} sources"
    return text + "".join(f"\n{path}" for path in (jobs[0].files if len(jobs) == 1 else []))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return with_flags(super().format(record))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _print_error(error: PosertError) -> None:
    _say(f"error: {with_flags(error.what)}")
    if error.hint:
        _say(f"hint: {with_flags(error.hint)}")


def main() -> None:
    """The `posert` command."""
    reopen_standard_streams()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what goes wrong is said once, by us
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        app()
    except PosertError as error:
        if logging.getLogger("posert").isEnabledFor(logging.DEBUG):
            raise
        _print_error(error)
        sys.exit(1)
    except (ImportError, AttributeError):
        from posert.runtime.opencv import broken

        if (explained := broken()) is None or logging.getLogger("posert").isEnabledFor(logging.DEBUG):
            raise
        _print_error(explained)
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
