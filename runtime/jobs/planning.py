"""From sources to jobs: what is behind each source, and where its results go.

Owns output names. Jobs are made as they are asked for, so that a list of a million clips takes no memory. Knows the
names of formats and media, opens nothing but lists.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from posert.errors import PosertError
from posert.runtime.files.formats import FORMATS, formats_of
from posert.runtime.files.overlay import split_pattern
from posert.runtime.jobs.job import Job
from posert.runtime.jobs.lists import clips, is_table
from posert.runtime.jobs.many import Jobs, Medium
from posert.runtime.media.read import expand
from posert.runtime.store.address import shown
from posert.runtime.store.listing import beside, list_file, stands_for_several


def plan(
    sources: Sequence[str], output: Path | None, overlay: Path | None, form: str, *, dataset: bool = False
) -> Jobs:
    """One job per medium, or per clip of a list.

    With a single medium and format, `output` is a file, unless it is a folder that exists and holds something else than
    this source's results, and so is `overlay` with a single medium. Otherwise, or if a source is a folder or a list,
    they are folders that mirror the sources' own tree, `walk/a.mp4` becoming `walk/a.mp4.jsonl`. An overlay
    `drawn/%06d.jpg` stands for a picture of each frame, with its number, in the folder `drawn`, of several media in
    `drawn/walk/a.mp4`. A source `@list.txt` stands for the sources in that file, one a line, `@list.csv` and
    `@list.parquet` for the clips in their rows, see `clips`. An address ends in `/` if it is a folder's.

    Args:
        dataset: no job has files of its own, the results of all of them are rows of one dataset in the folder `output`.

    Raises:
        PosertError: an unknown format, several without an output, missing sources, a name for pictures that is none,
            a dataset that cannot be one.
    """
    return Jobs(*_arranged(sources, output, overlay, form, dataset))


def planned(sources: Sequence[str], output: Path | None, overlay: Path | None, form: str) -> Iterator[Job]:
    """As `plan`, one job after the other; what is wrong with the arguments is said at once."""
    media, job_of = _arranged(sources, output, overlay, form)
    return map(job_of, media)


def _arranged(
    sources: Sequence[str], output: Path | None, overlay: Path | None, form: str, dataset: bool = False
) -> tuple[Iterator[Medium], Callable[[Medium], Job]]:
    chosen = [FORMATS[name] for name in formats_of(form)]
    if dataset:
        _check_dataset(output, overlay, form)
    if len(chosen) > 1 and output is None:
        raise PosertError(f"the formats {form} need a folder", "name one with `output`")
    overlay, pictures = (None, "") if overlay is None else split_pattern(overlay)
    media = (_inside(found) for source in sources for found in _media(source))
    first = list(islice(media, 2))
    if dataset:
        return chain(first, media), _row_job
    single = len(first) == 1 and not any(
        source.startswith("@") or Path(source).is_dir() or stands_for_several(source) for source in sources
    )

    def placed(given: Path | None, name: str) -> Path | None:
        return given if given is None or (single and not given.is_dir()) else given / name

    def drawn(medium: Medium) -> Path | None:
        if pictures and overlay is not None:
            return overlay if single else overlay / medium.name
        return placed(overlay, medium.drawn())

    direct = (
        output is not None
        and single
        and len(chosen) == 1
        and (not output.is_dir() or any(chosen[0].named_by(output, first[0].source)))
    )

    def job_of(medium: Medium) -> Job:
        return Job(
            medium.source,
            output if direct or output is None else output / medium.output(chosen[0]),
            overlay and drawn(medium),
            listed=output is not None and not direct,
            more=tuple(output / medium.output(other) for other in chosen[1:] if output is not None),
            pictures=pictures,
            clip=medium.clip,
        )

    return chain(first, media), job_of


def _check_dataset(output: Path | None, overlay: Path | None, form: str) -> None:
    if output is None:
        raise PosertError("a dataset needs a folder", "name one with `output`")
    if formats_of(form) != ["parquet"]:
        raise PosertError(f"`partition` is for the format parquet, not {form}", "say `form` parquet")
    if overlay is not None:
        raise PosertError("`overlay` writes a file for each source, `partition` none", "leave one of them away")


def _row_job(medium: Medium) -> Job:
    return Job(medium.source, None, None, listed=True, rows=medium.name, clip=medium.clip)


def _media(source: str) -> Iterator[Medium]:
    if not source.startswith("@"):
        return (Medium(*found) for found in expand(source))
    if is_table(source[1:]):
        return (Medium(opened, clip.id, clip) for opened, clip in clips(source[1:]))
    return _of_lines(source[1:])


def _inside(medium: Medium) -> Medium:
    """The medium; raises PosertError if its results would not lie in their folder, as a store or a tar may want it."""
    if medium.name.startswith("/") or ".." in medium.name.split("/"):
        what = f"{shown(medium.source)} is called {medium.name}, which leads out of the folder of the results"
        raise PosertError(what, "rename it, or name it in a list, with an id of its own")
    return medium


def _of_lines(path: str) -> Iterator[Medium]:
    """As `expand` of every line; the media are named below their common folder, addresses by themselves."""
    with list_file(path) as file:
        entries = [beside(path, entry) for entry in _lines(file)]
    found = [pair for entry in entries for pair in expand(entry)]
    files = [os.path.abspath(opened) for opened, _ in found if Path(opened).is_file()]
    root = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
    for opened, name in found:
        yield Medium(opened, os.path.relpath(os.path.abspath(opened), root) if Path(opened).is_file() else name)


def _lines(path: str) -> list[str]:
    """The entries of a list; a line that begins with # is a comment."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise PosertError(f"the list {path} cannot be read: {error}", "it has one source a line") from None
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not entries:
        raise PosertError(f"the list {path} is empty", "it has one source a line; # begins a comment")
    return entries
