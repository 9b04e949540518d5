"""The command that serves. A part of the command line; it may print. Heavy imports stay inside."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from posert.errors import PosertError, optional
from posert.flags import MODEL, AcceptLicence, AcceptUnpinned, model_file, named_models, parse_params
from posert.serve.limits import Limits
from posert.typed import read

app = typer.Typer()


@app.command()
def serve(
    models: Annotated[list[str], typer.Argument(help=f"{MODEL} NAME=FILE gives another name.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than this machine's need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 8080,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that requests need; or set POSERT_TOKEN.")
    ] = None,
    anybody: Annotated[bool, typer.Option("--anybody", help="No token, whatever the address.")] = False,
    device: Annotated[str, typer.Option(help="As for infer.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 = all cores.")] = 0,
    long_edge: Annotated[
        int, typer.Option(min=0, help="Longer side of the network input, px; 0 = the model's own.")
    ] = 0,
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
    for package in ("uvicorn", "starlette", "httptools", "websockets", "python_multipart", "prometheus_client"):
        optional(package, f"serving needs {package}", "serve")
    from posert.runtime.options import ModelOptions
    from posert.serve import run

    for name in ("asyncio", "python_multipart", "uvicorn.error"):  # what clients do wrong fills no disk
        logging.getLogger(name).setLevel(logging.CRITICAL)
    address = run.Address(host, port, _token(token_file), anybody)
    if address.anybody and address.token is None:
        print("warning: whoever reaches this server may use it", file=sys.stderr)
    options = ModelOptions(device=device, threads=threads, long_edge=long_edge)
    named = [(name, model_file(file, accept_licence, accept_unpinned)) for name, file in named_models(models)]
    run.serve(
        named, options, limits, address, store,
        lambda where: print(f"serving {', '.join(models)} at {where}, see {where}/docs", file=sys.stderr),
    )  # fmt: skip


def _token(file: Path | None) -> str | None:
    """The token of the file or of the environment; a command line is for everybody to see."""
    if file is None:
        return os.environ.get("POSERT_TOKEN") or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise PosertError(f"the token in {file} cannot be read: {error}", "give a text file") from None
