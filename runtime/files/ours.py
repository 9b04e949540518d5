"""Which files posert wrote itself, so that it may write them again: they say so, or a list of the user's does.

Owns this list, `written.jsonl` in posert's folder, and the place of that folder. Knows how each format begins.
"""

import json
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from posert.runtime.files.state import State, state

_OPENING = b'{"posert":'
_MOST_BYTES = 2**22  # of the list; then it is put aside, and the list before it is forgotten


def cache_folder() -> Path:
    """What posert keeps for the user lies here: POSERT_HOME, else the user's cache folder of this system."""
    if home := os.environ.get("POSERT_HOME"):
        return Path(home)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "posert"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posert"


def replaceable(path: Path) -> bool:
    """Whether nothing of anybody else's is lost with `path`.

    It is not there, empty, says itself that posert wrote it, or is as it was when posert noted it. Of a folder that
    goes for everything in it.
    """
    found = state(path)
    if found is None:
        return not os.path.exists(path)
    if not found["bytes"] and (path.is_file() or not os.listdir(path)):
        return True
    return says_so(path) or _noted(_line(path, found))


def says_so(path: Path) -> bool:
    """Whether a file itself says that posert wrote it."""
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), path.open("rb") as file:
        begin = file.read(len(_OPENING))
        if begin.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive, archive.open("header.npy") as header:
                return _OPENING.decode().encode("utf-32-le") in header.read(1000)
        return begin == _OPENING or (begin.startswith(b"PAR1") and b"posert.frames" in _footer(file))
    return False


def note(path: Path, written: State | None) -> None:
    """Notes what posert is about to put at `path`, as far as the user's folder can be written."""
    with suppress(OSError, RuntimeError):
        listed = cache_folder() / "written.jsonl"
        listed.parent.mkdir(parents=True, exist_ok=True)
        if listed.exists() and listed.stat().st_size > _MOST_BYTES:
            os.replace(listed, listed.with_suffix(".before"))
        with listed.open("ab") as file:
            file.write(_line(path, written or {}))


def _line(path: Path, found: State) -> bytes:
    return json.dumps({"path": os.path.realpath(path)} | found).encode() + b"\n"


def _noted(line: bytes) -> bool:
    for suffix in (".jsonl", ".before"):
        with suppress(OSError, RuntimeError):
            if line in (cache_folder() / "written").with_suffix(suffix).read_bytes():
                return True
    return False


def _footer(file: BinaryIO) -> bytes:
    """The metadata at the end of a Parquet file."""
    file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(-8 - length, os.SEEK_END)
    return file.read(length)
