"""The commands that serve. A part of the command line; they may print. Heavy imports stay inside."""

import logging
import os
import secrets
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from posert.errors import PosertError, optional
from posert.flags import (
    MODEL,
    PEOPLE,
    AcceptLicence,
    AcceptUnpinned,
    Detector,
    Device,
    Draw,
    Face,
    Hands,
    Latency,
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
    Threads,
    model_file,
    named_models,
    parse_draw,
    parse_options,
    parse_params,
    parse_resolution,
    part_files,
    whose,
)
from posert.serve.limits import Limits
from posert.typed import read

app = typer.Typer()
Anybody = Annotated[bool, typer.Option("--anybody", help="No token, whatever the address.")]


@app.command(rich_help_panel=PEOPLE)
def serve(
    models: Annotated[list[str], typer.Argument(help=f"{MODEL} NAME=FILE gives another name.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than this machine's need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 8080,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that requests need; or set POSERT_TOKEN.")
    ] = None,
    anybody: Anybody = False,
    device: Device = "auto",
    threads: Threads = 0,
    latency: Latency = False,
    long_edge: LongEdge = 0,
    net_resolution: NetResolution = None,
    params: Params = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures per network call, of whatever requests.")] = 1,
    wait_ms: Annotated[int, typer.Option(min=0, help="How long a picture waits for others of its batch.")] = 2,
    queue: Annotated[int, typer.Option(min=1, help="Pictures that may wait for a model; more get 429.")] = 64,
    store: Annotated[
        Path | None, typer.Option(help="Folder for videos and their results; without one they stay in memory.")
    ] = None,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
    limit: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of another limit, as max_bytes (docs/serve.md); repeat it.")
    ] = None,
) -> None:
    """Answer over HTTP: pictures, videos and streams in, people out; /docs says how.

    Example: posert serve nano --port 8080
    """
    given = {"batch": batch, "wait_ms": wait_ms, "queue": queue} | parse_params(limit)
    limits: Limits = read(Limits, given, "limit")
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(limits.max_pixels)  # OpenCV reads it when it is loaded
    _need_packages()
    from posert.runtime.jobs.recipe import Settings
    from posert.runtime.options import ModelOptions
    from posert.serve import run

    address = run.Address(host, port, _token(token_file), anybody)
    if address.anybody and address.token is None:
        print("warning: whoever reaches this server may use it", file=sys.stderr)
    of_model, of_people = parse_options(params, track=True, smooth=True, features=True)
    options = ModelOptions(
        device=device, threads=threads, latency=latency, long_edge=long_edge, params=of_model,
        net_resolution=parse_resolution(net_resolution),
    )  # fmt: skip
    named = [(name, model_file(file, accept_licence, accept_unpinned)) for name, file in named_models(models)]
    run.serve(
        named, options, limits, address, store, Settings(**of_people),
        lambda where: print(f"serving {', '.join(models)} at {where}, see {where}/docs", file=sys.stderr),
    )  # fmt: skip


@app.command(rich_help_panel=PEOPLE)
def live(
    model: Annotated[str, typer.Argument(help=MODEL)],
    sources: Annotated[
        list[str] | None, typer.Argument(help="Camera numbers, streams' addresses, videos; or 0.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for what is recorded from the page.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; for others than this machine's there is a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 8090,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token; or set POSERT_TOKEN. Else one is made.")
    ] = None,
    anybody: Anybody = False,
    loop: Annotated[bool, typer.Option("--loop", help="Videos begin anew at their end.")] = False,
    track: Annotated[
        bool | None, typer.Option(help="Ids that stay with the people; on where posert[track] is installed.")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the pictures on the page, as JPEG.")] = 80,
    draw: Draw = None,
    rotate: Rotate = 0,
    mirror: Mirror = False,
    max_people: MaxPeople = 0,
    person: Person = None,
    min_score: MinScore = 0.0,
    min_box_area: MinBoxArea = 0.0,
    roi: Roi = None,
    detector: Detector = None,
    hands: Hands = False,
    face: Face = False,
    parts: PartFiles = None,
    device: Device = "auto",
    threads: Threads = 0,
    latency: Latency = False,
    long_edge: LongEdge = 0,
    net_resolution: NetResolution = None,
    params: Params = None,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
) -> None:
    """Show cameras, streams and videos with their people in a browser, as they are found.

    Example: posert live nano 0 -o recordings
    """
    _need_packages()
    from posert.runtime.media.orientation import Orientation
    from posert.runtime.options import ModelOptions
    from posert.serve import live as view
    from posert.serve.access import LOOPBACK
    from posert.serve.run import Address

    token, made = _token(token_file), ""
    if token is None and host not in LOOPBACK and not anybody:
        token = made = secrets.token_urlsafe(16)
    if anybody and token is None:
        print("warning: whoever reaches this page sees the sources", file=sys.stderr)
    found = partial(model_file, accept_licence=accept_licence, accept_unpinned=accept_unpinned)
    follow = find_spec("lap") is not None if track is None else track
    of_model, of_people = parse_options(params, track=follow)
    options = ModelOptions(
        device=device, threads=threads, latency=latency, long_edge=long_edge, detector=detector and found(detector),
        params=of_model, parts=part_files(hands, face, parts, found), net_resolution=parse_resolution(net_resolution),
    )  # fmt: skip
    shown = sources or ["0"]
    query = f"/?token={made or 'TOKEN'}" if token else ""
    view.live(
        found(model), shown, options,
        view.View(
            output, follow, loop, quality, of_people["tracking"],
            whose(max_people, person, min_score, min_box_area, roi), Orientation(rotate, mirror),  # type: ignore[arg-type]
            parse_draw(draw),
        ),
        Address(host, port, token, anybody),
        lambda where: print(f"open {where}{query} in a browser", file=sys.stderr),
    )  # fmt: skip


def _need_packages() -> None:
    for package in ("uvicorn", "starlette", "httptools", "websockets", "python_multipart", "prometheus_client"):
        optional(package, f"serving needs {package}", "serve")
    for name in ("asyncio", "python_multipart", "uvicorn.error"):  # what clients do wrong fills no disk
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _token(file: Path | None) -> str | None:
    """The token of the file or of the environment; a command line is for everybody to see."""
    if file is None:
        return os.environ.get("POSERT_TOKEN") or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise PosertError(f"the token in {file} cannot be read: {error}", "give a text file") from None
