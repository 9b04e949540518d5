"""Lists of clips in tables: CSV and Parquet with the columns `path`, `start`, `stop`, `id` and any others.

Owns these two layouts of lists. Rows are read as they are asked for, so that a million of them take no memory; what
they name is not looked at. Knows nothing of results and models.
"""

import csv
import math
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from posert.errors import PosertError, optional
from posert.runtime.jobs.clip import Clip, Value
from posert.runtime.store.address import path_of, shown
from posert.runtime.store.listing import beside, list_file

_BATCH = 8192
_COLUMNS = ("path", "start", "stop", "id")
_Row = Mapping[str, Any]


def is_table(path: str) -> bool:
    """Whether the name is that of a list in columns, and not of one source a line."""
    return path_of(path).lower().endswith((".csv", ".parquet"))


def clips(path: str) -> Iterator[tuple[str, Clip]]:
    """What each row names, a file or an address, and the clip of it that the row means.

    Files are relative to where the program runs; those of a list that is behind an address, to that. A row without `id`
    is called by its path below the folder that all of them have in common, or by its address without the scheme, with
    `@start-stop` behind it if the row has these.

    Raises:
        PosertError: the list cannot be read, has no column `path`, or says something that is no clip.
    """
    with list_file(path) as file:
        yield from _clips(path, file)


def _clips(path: str, file: str) -> Iterator[tuple[str, Clip]]:
    number = 0
    common = cache(lambda: _common_folder(file))
    for number, row in enumerate(_rows(file), 1):
        try:
            clip = _clip(path, row, common)
        except ValueError as error:
            hint = "start and stop are seconds, the id is a name without .. in it; what is empty is left out"
            raise PosertError(f"row {number} of the list {file}: {error}", hint) from None
        yield clip
    if not number:
        raise PosertError(f"the list {file} is empty", "it has one clip a row, below the names of its columns")


def _clip(path: str, row: _Row, common: Callable[[], str]) -> tuple[str, Clip]:
    source, name = _text(row["path"]), _text(row.get("id"))
    start_s, stop_s = _seconds(row, "start"), _seconds(row, "stop")
    if not source:
        raise ValueError("it has no path")
    source = beside(path, source)
    if (start_s or 0) < 0 or (stop_s is not None and stop_s <= (start_s or 0)):
        raise ValueError(f"from {start_s or 0} to {stop_s} s there is nothing")
    if not name:
        times = "" if start_s is stop_s is None else f"@{start_s or 0.0}-{'' if stop_s is None else stop_s}"
        name = clip_name(source, common()) + times
    if name.startswith("/") or {"..", ""} & set(name.replace(os.sep, "/").split("/")) or "\0" in name:
        raise ValueError(f"the id {name!r} is no name for results")
    more = tuple((key, _value(key, value)) for key, value in row.items() if key not in _COLUMNS)
    return source, Clip(name, start_s or 0.0, stop_s, more)


def clip_name(source: str, folder: str) -> str:
    """What a source is called: a file by its path below a folder, an address without its scheme."""
    if "://" in source or source.isdigit():
        return path_of(shown(source)).rpartition("://")[2].strip("/")
    return Path(os.path.relpath(os.path.abspath(source), folder)).as_posix()


def _common_folder(path: str) -> str:
    paths = (_text(row["path"]) for row in _rows(path, ("path",)))
    folders = {os.path.dirname(os.path.abspath(name)) for name in paths if "://" not in name and not name.isdigit()}
    return os.path.commonpath(folders) if folders else ""


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _seconds(row: _Row, name: str) -> float | None:
    given = row.get(name)
    if given is None or given == "" or given != given:
        return None
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        raise ValueError(f"its {name} is {given!r}") from None
    if not math.isfinite(seconds):
        raise ValueError(f"its {name} is {given!r}")
    return seconds


def _value(name: str, value: Any) -> Value:
    """What JSON and every table can hold; a number that is not finite is as good as none, dates become text."""
    if value is None or isinstance(value, str | bool | int):
        return value or None if isinstance(value, str) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | dict | bytes):
        raise ValueError(f"the column {name} holds neither text nor numbers, but {value!r}"[:200])
    return str(value)


def _rows(path: str, columns: tuple[str, ...] | None = None) -> Iterator[_Row]:
    """The rows, of some columns alone if a table can do that."""
    read = _parquet if Path(path).suffix.lower() == ".parquet" else _csv
    return read(path, columns)


def _csv(path: str, _: tuple[str, ...] | None) -> Iterator[_Row]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # as Excel writes it too
            reader = csv.DictReader(file)
            _check(path, reader.fieldnames or ())
            for row in reader:
                if None in row:
                    raise csv.Error(f"line {reader.line_num} has more fields than names")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from None


def _parquet(path: str, columns: tuple[str, ...] | None) -> Iterator[_Row]:
    parquet = optional("pyarrow.parquet", "lists in Parquet need pyarrow", "parquet")
    import pyarrow

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check(path, names)
            for batch in file.iter_batches(_BATCH, columns=columns and list(columns)):
                names = batch.schema.names
                yield from (dict(zip(names, row, strict=True)) for row in zip(*batch.to_pydict().values(), strict=True))
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from None


def _check(path: str, names: Any) -> None:
    if "path" not in names:
        said = ", ".join(map(str, names)) or "none"
        hint = f"its columns are: {said}" + ("; a comma stands between them" if ";" in said or "\t" in said else "")
        raise PosertError(f"the list {path} has no column path", hint)
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise PosertError(f"the list {path} has two columns {twice}", "give each a name of its own")


def _unreadable(path: str, error: Exception) -> PosertError:
    said = str(error).partition("\n")[0]
    return PosertError(f"the list {path} cannot be read: {said}", "it is a CSV file in UTF-8, or Parquet")
