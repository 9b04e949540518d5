"""Reports of many recordings: a page for each and an index of them, with pictures, totals and what failed.

Owns the index. What a folder's manifest says of its sources is said again; results without one are found by what they
say themselves.
"""

import base64
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from posert.errors import PosertError
from posert.pages.html import page
from posert.pages.pack import Table
from posert.pages.report import address, source_of, write_report
from posert.poses import Poses
from posert.runtime.files.atomic import whole_text
from posert.runtime.files.drawing import draw
from posert.runtime.files.formats import FORMATS
from posert.runtime.files.ours import says_so
from posert.runtime.files.results import Recording
from posert.runtime.jobs.guard import protect_files
from posert.runtime.jobs.manifest import rows_below
from posert.runtime.media.read import frames

READABLE = tuple(FORMATS[form].suffix for form in ("jsonl", "json", "npz"))
_OTHERS = tuple(
    suffix
    for other in FORMATS.values()
    for suffix in (other.suffix, other.picture)
    if suffix and suffix not in READABLE
)
_THUMBNAIL_PX = 320
_LOOKED_AT = 100  # frames from the first on, among which a picture is chosen


@dataclass(frozen=True, slots=True)
class Entry:
    """One source in an index.

    Attributes:
        name: its own below the folder. results: their file; None if there is none to show. words: why.
        failed: the words are an error.
    """

    name: str
    results: Path | None
    words: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Card:
    entry: Entry
    page: Path | None = None
    frames: int = 0
    people: int = 0
    picture: str = ""


def entries_of(given: Sequence[Path]) -> list[Entry]:
    """What files and folders of results hold, in order.

    Raises:
        PosertError: a folder without results.
    """
    found = [
        entry for path in given for entry in (_below(path) if path.is_dir() else [Entry(_source_name(path.name), path)])
    ]
    if not found:
        what = f"no results in {', '.join(map(str, given))}"
        raise PosertError(what, "name what infer wrote with `form` jsonl, json or npz")
    return found


def _below(folder: Path) -> Iterator[Entry]:
    listed = rows_below(folder)
    for row in listed:
        names = [file["path"] for file in row.get("files", [])]
        readable = (name for name in names if _readable(name) and says_so(folder / name))
        name = next(readable, row["output"])
        if row["status"] != "done":
            words = row.get("error") or "it was begun and not finished"
            yield Entry(_source_name(name), None, str(words), failed=True)
        elif not _readable(name):
            yield Entry(_source_name(name), None, "results of this format are not shown")
        else:
            yield Entry(_source_name(name), folder / name)
    if not listed:
        for path in sorted(folder.rglob("*")):
            if _readable(path.name) and path.is_file() and says_so(path):
                yield Entry(_source_name(path.relative_to(folder).as_posix()), path)


def _readable(name: str) -> bool:
    """Whether a file has the name of a layout that can be read, and not a longer one of another layout."""
    return name.endswith(READABLE) and not name.endswith(_OTHERS)


def _source_name(results: str) -> str:
    return next((results.removesuffix(suffix) for suffix in READABLE if results.endswith(suffix)), results)


def write_reports(
    entries: Sequence[Entry], output: Path, *, title: str, embed: bool = False, overwrite: bool = False,
    on_entry: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """Writes the pages of all entries into the folder `<output>_pages` and the index; returns how many failed.

    Calls `on_entry` with the number of entries done.

    Raises:
        PosertError: nothing can be written.
    """
    protect_files([output], [entry.results for entry in entries if entry.results is not None], overwrite=overwrite)
    pages = output.with_name(f"{output.stem}_pages")
    write = partial(_card, pages=pages, home=output, embed=embed, overwrite=overwrite)
    cards = []
    for done, entry in enumerate(entries, 1):
        cards.append(write(entry))
        if on_entry is not None:
            on_entry(done)
    with whole_text(output) as file:
        file.write(page(f"{title} - posert", body=_body(title, cards, output)))
    return sum(card.entry.failed for card in cards)


def _card(entry: Entry, *, pages: Path, home: Path, embed: bool, overwrite: bool) -> _Card:
    if entry.results is None:
        return _Card(entry)
    place = pages / f"{entry.name}.html"
    try:
        recording, table = write_report(entry.results, place, embed=embed, home=home, overwrite=overwrite)
        picture = _thumbnail(recording, table)
    except PosertError as error:
        return _Card(Entry(entry.name, None, error.what, failed=True))
    return _Card(entry, place, len(table.times), len(table.ids), picture)


def _thumbnail(recording: Recording, table: Table) -> str:
    """A JPEG of the first frame with the most people, drawn, as an address of data."""
    counts = np.bincount(table.position[table.position < _LOOKED_AT], minlength=1)
    best = int(counts.argmax())
    there = table.position == best
    poses = Poses(table.keypoints[there], table.scores[there], table.boxes_xyxy[there], table.ids[there])
    source = source_of(recording)
    number = int(table.frames[best])
    turned = asdict(recording.orientation)
    read = () if source is None else frames(source, **turned, first=number, last=number)
    found = next(iter(read), None)
    width, height = table.size_wh
    drawn = draw(np.full((height, width, 3), 28, np.uint8) if found is None else found.bgr, poses, recording.skeleton)
    small = _THUMBNAIL_PX / max(drawn.shape[:2])
    drawn = np.asarray(cv2.resize(drawn, None, fx=small, fy=small, interpolation=cv2.INTER_AREA), np.uint8)
    data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _body(title: str, cards: Sequence[_Card], output: Path) -> str:
    failed = sum(card.entry.failed for card in cards)
    total, people = sum(card.frames for card in cards), sum(card.people for card in cards)
    numbers = {
        "sources": len(cards), "failed": failed, "frames": total, "people in all frames": people,
        "people a frame": f"{people / max(1, total):.2f}",
    }  # fmt: skip
    said = "".join(
        f"<div><b>{number if isinstance(number, str) else f'{number:,}'}</b>{name}</div>"
        for name, number in numbers.items()
    )
    listed = "".join(_html(card, output) for card in cards)
    head = f"<header><h1>{html.escape(title)}</h1></header>"
    return f'{head}<div class="totals">{said}</div><main class="cards">{listed}</main>'


def _html(card: _Card, output: Path) -> str:
    name, words = html.escape(card.entry.name), html.escape(card.entry.words)
    picture = (
        f'<img alt="" loading="lazy" src="{card.picture}">' if card.picture else '<span class="none">no page</span>'
    )
    count = f"{card.frames:,} frames, {card.people / max(1, card.frames):.1f} people a frame"
    inner = f"{picture}<div><strong>{name}</strong><small>{words or count}</small></div>"
    if card.page is None:
        return f'<article class="card{" failed" if card.entry.failed else ""}">{inner}</article>'
    return f'<a class="card" href="{html.escape(address(card.page, output))}">{inner}</a>'
