"""The commands that show results: parse, call, print. A part of the command line, as `cli.py` is."""

from pathlib import Path
from typing import Annotated

import typer

from posert.errors import PosertError
from posert.flags import (
    LOOK,
    MODEL,
    AcceptLicence,
    AcceptUnpinned,
    Device,
    Draw,
    First,
    Last,
    Mirror,
    Params,
    Rotate,
    Start,
    Stop,
    Stride,
    Threads,
    model_file,
    named_models,
    parse_draw,
    parse_options,
    progress,
)

app = typer.Typer()
Results = Annotated[list[Path], typer.Argument(help="Files of results (jsonl, json, npz), or the folder of a run.")]


@app.command(rich_help_panel=LOOK)
def report(
    results: Results,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .html file to write.")],
    video: Annotated[Path | None, typer.Option(help="The frames' file, if it is elsewhere now.")] = None,
    embed: Annotated[bool, typer.Option("--embed", help="The video lies in the page, not beside it.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files that posert did not write.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
) -> None:
    """Show results in a browser: people on the video, ids on a time line, angles and speeds; of many an index.

    Example: posert report walk.jsonl --video walk.mp4 -o walk.html
    """
    from posert.pages.index import entries_of, write_reports
    from posert.pages.report import write_report

    if len(results) == 1 and not results[0].is_dir():
        with progress(str(results[0]), 0, "frames", quiet) as show:
            write_report(results[0], output, video=video, embed=embed, overwrite=overwrite, on_frame=show)
        failed = 0
    else:
        if video is not None:
            raise PosertError("--video is of one file of results", "leave it away: each page finds its own")
        entries = entries_of(results)
        title = results[0].resolve().name if len(results) == 1 else f"{len(results)} results"
        with progress(title, len(entries), "pages", quiet) as show:
            failed = write_reports(entries, output, title=title, embed=embed, overwrite=overwrite, on_entry=show)
    if not quiet:
        print(f"{output}: open it in a browser")
    if failed:
        raise typer.Exit(3)


@app.command(rich_help_panel=LOOK)
def plot(
    results: Annotated[Path, typer.Argument(help="A file of results (jsonl, json, npz).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .html, .png, .svg or .pdf file to write.")],
    ids: Annotated[list[int] | None, typer.Option("--id", min=1, help="Only this person; repeat it.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files that posert did not write.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary.")] = False,
) -> None:
    """Plot the angle of every joint over time, left and right, as a page or a figure.

    Example: posert plot walk.jsonl -o angles.png
    """
    from posert.pages.plot import write_plot

    shown = [str(key) for key in write_plot(results, output, ids=ids or (), overwrite=overwrite) if key]
    if not quiet:
        print(f"{output}" + (f": id {', '.join(shown)}" if shown else ""))


@app.command(rich_help_panel=LOOK)
def compare(
    sources: Annotated[list[str], typer.Argument(help="Pictures, videos, folders or patterns.")],
    models: Annotated[list[str], typer.Option("--model", help=f"{MODEL} Repeat it; NAME=FILE gives another name.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The .html file to write.")] = None,
    figure: Annotated[Path | None, typer.Option(help="A picture for print: rows sources, columns models.")] = None,
    draw: Draw = None,
    coco: Annotated[Path | None, typer.Option(help="COCO keypoint annotations: also the AP of each model.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures of --coco.")] = None,
    start: Start = 0.0,
    stop: Stop = None,
    first: First = 0,
    last: Last = None,
    stride: Stride = 1,
    rotate: Rotate = 0,
    mirror: Mirror = False,
    device: Device = "auto",
    threads: Threads = 0,
    params: Params = None,
    accept_licence: AcceptLicence = False,
    accept_unpinned: AcceptUnpinned = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files that posert did not write.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
) -> None:
    """Several models on the same frames, side by side in a page: people, steadiness, speed, agreement.

    Example: posert compare walk.mp4 --model nano --model movenet.onnx -o compare.html
    """
    from posert.pages.compare import compare as run
    from posert.pages.compare import media_of, protect, write_comparison, write_figure
    from posert.runtime.jobs.recipe import Selection
    from posert.runtime.options import ModelOptions

    drawing = parse_draw(draw)
    if draw and (figure is None or drawing.trails or drawing.maps):
        raise PosertError("--draw is of the people in --figure", "name a picture there; it has no trails and no maps")
    if output is None and figure is None:
        raise PosertError("compare has nowhere to write to", "name a page with -o, or a picture with --figure")
    if (coco is None) != (images is None):
        raise PosertError("--coco and --images belong together", "give both, or neither")
    of_model, of_people = parse_options(params, track=True)
    media = media_of(sources)
    selection = Selection(
        start_s=start, stop_s=stop, first=first, last=last, stride=stride, rotate=rotate, mirror=mirror
    )
    named = [(name, model_file(file, accept_licence, accept_unpinned, quiet)) for name, file in _named(models)]
    protect(output, figure, media, [file for _, file in named], overwrite=overwrite)
    with progress("frames", 0, "frames", quiet) as show:
        compared = run(
            named, media, options=ModelOptions(device=device, threads=threads, params=of_model), selection=selection,
            tracking=of_people["tracking"],
            coco=None if coco is None or images is None else (coco, images), on_frame=lambda _, count: show(count),
        )  # fmt: skip
    if output is not None:
        write_comparison(compared, media, output, selection)
    if figure is not None:
        write_figure(compared, media, figure, selection, drawing)
    if not quiet:
        print(*(path for path in (output, figure) if path is not None), sep="\n")


def _named(models: list[str]) -> list[tuple[str, str]]:
    """Name and file of each; a number behind a name that is there already."""
    pairs: list[tuple[str, str]] = []
    for name, file in named_models(models):
        same = sum(known.split(" #")[0] == name for known, _ in pairs)
        pairs.append((f"{name} #{same + 1}" if same else name, file))
    return pairs
