"""The commands that show results: parse, call, print. A part of the command line, as `cli.py` is."""

from pathlib import Path
from typing import Annotated

import typer

from posert.errors import PosertError
from posert.flags import progress

app = typer.Typer()
LOOK = "look"
Results = Annotated[list[Path], typer.Argument(help="Files of results (jsonl, json, npz), or the folder of a run.")]


@app.command(rich_help_panel=LOOK)
def report(
    results: Results,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .html file to write.")],
    video: Annotated[Path | None, typer.Option(help="The frames' file, if it is elsewhere than at `infer`.")] = None,
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
