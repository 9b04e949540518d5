"""The files of a large job's manifest: entries of clips in columns, and what one file says of all of its own.

Owns this layout. Knows Parquet and names of files, nothing of recipes, or of what is done with the entries.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from posert.errors import PosertError, optional
from posert.runtime.jobs.names import MANIFEST

_KEY = "posert.manifest"
_BATCH = 2**16
_COLUMNS = {
    "clip": "string", "source": "string", "columns": "string", "start_s": "float64", "stop_s": "float64",
    "status": "string",
    "frames": "int64", "people": "int64", "seconds": "float64", "ended_s": "float64", "error": "string",
    "kind": "string", "device": "string", "bytes": "int64", "modified_ns": "int64", "etag": "string",
    "sha256": "string",
}  # fmt: skip
_OFTEN = ["source", "columns", "status", "kind", "device", "sha256", "etag"]
"""Columns whose values come again and again."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One file of entries, each of a clip, and what they have in common.

    Attributes:
        name: the file, below the output's folder.
        shard: whose it is, `2of4`; empty = of a run without shards.
        terms: what the results depend on, see `Terms`. posert: its version.
        holder: the file, below the output's folder, that has the rows of its clips; empty = there are none.
        bytes, sha256: of that file.
        replaces: names of sheets whose entries are in this one.
        open: more clips may come into the same file.
        clips: number of entries.
        written_s: when, seconds since 1970.
    """

    name: str
    shard: str
    terms: dict[str, Any]
    posert: str
    holder: str = ""
    bytes: int = 0
    sha256: str = ""
    replaces: tuple[str, ...] = ()
    open: bool = True
    clips: int = 0
    written_s: float = 0.0


def pyarrow() -> Any:
    """The package; raises PosertError without it."""
    optional("pyarrow.parquet", "a dataset in parts needs pyarrow", "parquet")
    return optional("pyarrow", "a dataset in parts needs pyarrow", "parquet")


@cache
def _schema() -> Any:
    return pyarrow().schema([(name, getattr(pyarrow(), kind)()) for name, kind in _COLUMNS.items()])


def as_table(entries: Sequence[Mapping[str, Any]]) -> Any:
    """Entries in columns; what one does not say is null."""
    columns = {name: [entry.get(name) for entry in entries] for name in _COLUMNS}
    return pyarrow().table(columns, schema=_schema())


def write_sheet(path: Path, sheet: Sheet, table: Any) -> None:
    """Writes a file of entries at this place."""
    said = json.dumps(asdict(sheet))
    written = table.replace_schema_metadata({_KEY: said})
    pyarrow().parquet.write_table(written, str(path), use_dictionary=_OFTEN, compression="zstd")


def read_sheet(folder: Path, name: str) -> Sheet:
    """What a file says of all its entries; raises PosertError if it is none of posert's."""
    try:
        metadata = pyarrow().parquet.read_metadata(folder / name).metadata or {}
        said = json.loads(metadata[_KEY.encode()])
        return replace(Sheet(**said), name=name, replaces=tuple(said["replaces"]))
    except (OSError, ValueError, KeyError, TypeError, pyarrow().ArrowException) as error:
        hint = "remove it, or choose another folder with `output`"
        raise PosertError(f"{folder / name} is no manifest of posert's: {error}", hint) from None


def read_entries(folder: Path, sheet: Sheet, columns: Iterable[str] | None = None) -> Any:
    """A table of the entries, of all columns or some."""
    path = folder / sheet.name
    return pyarrow().parquet.read_table(path, columns=None if columns is None else list(columns))


def entry_batches(folder: Path, sheet: Sheet, columns: Sequence[str]) -> Iterator[Any]:
    """The entries in batches of some ten thousand."""
    with pyarrow().parquet.ParquetFile(folder / sheet.name) as file:
        yield from file.iter_batches(_BATCH, columns=list(columns))


def name_number(name: str) -> int:
    """The number in the name of a file.

    >>> name_number("manifest/rows-2of4-00012-0a1b2c3d.parquet")
    12
    """
    match = re.search(r"(\d+)-[0-9a-f]{8}\.parquet$", name)
    return int(match[1]) if match else 0


def kind_of(error: str, source: str, clip: str) -> str:
    """An error without what is of one source alone, so that equal ones can be counted.

    >>> kind_of("in/a.mp4: 12 of 30 frames can be read", "in/a.mp4", "a.mp4")
    'SOURCE: N of N frames can be read'
    >>> kind_of("out/a.jsonl cannot be written", "in/a.mp4", "a")  # a clip's name only where a path ends in it
    'out/SOURCE.jsonl cannot be written'
    """
    places = {clip: rf"(?:(?<=/)|^){re.escape(clip)}(?!\w)", source: rf"(?<!\w){re.escape(source)}(?!\w)"}
    for name in sorted({source, clip} - {""}, key=len, reverse=True):
        error = re.sub(places[name], "SOURCE", error)
    return re.sub(r"\d+(\.\d+)?", "N", error)


def sheets(folder: Path) -> list[Sheet]:
    """The sheets of a job's folder, the newest first, without those that others replace."""
    names = (f"{MANIFEST}/{path.name}" for path in (folder / MANIFEST).glob("rows-*.parquet"))
    found = [read_sheet(folder, name) for name in names]
    replaced = {name for sheet in found for name in sheet.replaces}
    return sorted((sheet for sheet in found if sheet.name not in replaced), key=_age, reverse=True)


def _age(sheet: Sheet) -> tuple[float, int]:
    return sheet.written_s, name_number(sheet.name)
