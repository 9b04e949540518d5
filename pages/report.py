"""The report of one recording: its people on its video, with time line and plots, as one page.

Owns what a report says. Knows results and media; drawing is the browser's.
"""

import base64
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2

from posert.errors import PosertError
from posert.pages.events import events_of
from posert.pages.html import page
from posert.pages.pack import Table, pack, tabulate
from posert.runtime.files.atomic import whole_file, whole_text
from posert.runtime.files.results import Recording, read_results
from posert.runtime.files.video import encode_for_browser, plays_in_browser, suffix_for_browser
from posert.runtime.jobs.guard import protect_files
from posert.runtime.media import is_image
from posert.runtime.media.orientation import UPRIGHT, Orientation
from posert.runtime.media.read import frames

_MOST_EMBEDDED = 100 * 2**20
_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".png": "image/png",
    ".webp": "image/webp", ".bmp": "image/bmp", ".avif": "image/avif",
}  # fmt: skip
OnFrame = Callable[[int], None]
Medium = dict[str, Any]


def write_report(
    results: Path,
    output: Path,
    *,
    video: Path | None = None,
    embed: bool = False,
    home: Path | None = None,
    overwrite: bool = False,
    on_frame: OnFrame | None = None,
) -> tuple[Recording, Table]:
    """Writes one recording as a page; returns what it read.

    Args:
        results: a file of the formats jsonl, json or npz.
        video: the file of the frames; None = what the results say, if it is there. What no browser plays, or was
            rotated or mirrored for the results, is written again, beside the page.
        embed: it lies in the page. home: the index that the page belongs to.
        overwrite: files that posert did not write may be replaced.
        on_frame: called with the number of frames written again.

    Raises:
        PosertError: the results or the video cannot be read, the page cannot be written, or would be written over one
            of them.
    """
    recording = read_results(results)
    source = source_of(recording, video)
    suffix = "" if source is None else _suffix_again(source, recording.orientation)
    again = output.with_suffix(suffix) if suffix else None
    written = [output] if again is None or embed else [output, again]
    protect_files(written, [results] if source is None else [results, source], overwrite=overwrite)
    table = tabulate(recording.results, recording.skeleton)
    medium: Medium | None = None
    blocks: dict[str, str] = {}
    if source is not None and embed:
        medium, blocks = embedded(source, "medium", on_frame, recording.orientation)
    elif source is not None:
        if again is not None:
            _write_again(source, again, on_frame, recording.orientation)
        medium = _about(source) | {"address": address(again or source, output)}
    head, columns = pack(table, recording.skeleton)
    data = {
        "title": title_of(recording),
        "facts": facts_of(recording, table),
        "home": None if home is None else address(home, output),
        "medium": medium,
        "recording": head | {"events": events_of(table)},
    }
    text = page(f"{data['title']} - posert", entry="report", data=data, blocks=blocks | columns)
    with whole_text(output) as file:
        file.write(text)
    return recording, table


def title_of(recording: Recording) -> str:
    """The name of a recording's source without its folders."""
    return Path(recording.source).name or recording.source


def facts_of(recording: Recording, table: Table) -> list[tuple[str, str]]:
    """What stands in the head of the page: name and value."""
    known = len({key for key, _, _ in table.tracks() if key})
    found = [
        ("model", recording.model),
        ("size", "{}x{} px".format(*table.size_wh)),
        ("frames", f"{len(table.times):,}"),
        ("people a frame", f"{len(table.ids) / len(table.times):.2f}"),
        ("frames without people", f"{len(table.times) - len(set(table.position.tolist())):,}"),
    ]
    return [*found, ("ids", str(known))] if known else found


def source_of(recording: Recording, video: Path | None = None) -> Path | None:
    """The file of the frames; None if none was named and that of the results is not there."""
    if video is not None and not video.is_file():
        raise PosertError(f"{video} is no file", "name the file of the frames with `video`, or leave it away")
    named = [Path(recording.source), recording.path.parent / Path(recording.source).name]
    return video or next((path for path in named if path.is_file()), None)


def _suffix_again(source: Path, orientation: Orientation) -> str:
    """Of what has to be made of a source, so that a browser shows the pictures of the results; empty if nothing has."""
    if is_image(source):
        return ".picture.png" if orientation else ""
    return f".video{suffix_for_browser()}" if orientation or not plays_in_browser(source) else ""


def _write_again(source: Path, path: Path, on_frame: OnFrame | None, orientation: Orientation) -> None:
    if not is_image(source):
        encode_for_browser(source, path, on_frame, orientation)
        return
    picture = next(frames(source, **asdict(orientation))).bgr
    with whole_file(path) as temporary:
        temporary.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def _about(source: Path) -> Medium:
    return {"kind": "picture" if is_image(source) else "video", "name": source.name}


def embedded(
    source: Path, block: str, on_frame: OnFrame | None = None, orientation: Orientation = UPRIGHT
) -> tuple[Medium, dict[str, str]]:
    """What a page is told of a picture or a video that lies in it, turned, and the block of this name that holds it.

    Raises:
        PosertError: it cannot be read, or is too large for a page.
    """
    with tempfile.TemporaryDirectory(prefix="posert-") as folder:
        shown = source
        if suffix := _suffix_again(source, orientation):
            shown = Path(folder, "again" + suffix)
            _write_again(source, shown, on_frame, orientation)
        if shown.stat().st_size > _MOST_EMBEDDED:
            what = f"{source} takes more than {_MOST_EMBEDDED >> 20} MB in a page"
            raise PosertError(what, "leave `embed` away, or take a part of it")
        text = base64.b64encode(shown.read_bytes()).decode()
    kind = _TYPES.get(shown.suffix.lower(), "image/jpeg")
    return _about(source) | {"block": block, "type": kind}, {block: text}


def address(target: Path, page_file: Path) -> str:
    """The address of a file in a page: relative, so that both can move together; never one with a scheme of its own."""
    try:
        relative = os.path.relpath(target.absolute(), page_file.absolute().parent)
    except ValueError:  # another drive of Windows
        return target.absolute().as_uri()
    return "./" + quote(os.fsencode(Path(relative).as_posix()))
