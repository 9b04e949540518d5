"""Whether a file is still what it was: its size, time of change and hash; a folder's are those of all that is in it.

Owns these records. Knows nothing of who wrote a file, or why.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from posert.errors import PosertError
from posert.runtime.media.members import member, open_file
from posert.runtime.store.address import is_stored
from posert.runtime.store.remote import Facts
from posert.runtime.store.scratch import held_facts

State = dict[str, Any]
"""`bytes` and `modified_ns` of a file; of a folder their sum and the newest, and `listing`, a hash of all of them; of
a stored address (in a tar: of that) `bytes` and `etag`, what its store says instead of a time and a hash."""


def state(path: str | Path) -> State | None:
    """What the system says of a file or a folder, or a store of an address; None of what is neither or not there."""
    if is_stored(path):
        return _stored(str(path))
    try:
        if (span := None if os.path.exists(path) else member(path)) is not None:
            return {"bytes": span.end - span.begin, "modified_ns": os.stat(span.path).st_mtime_ns}
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            return {"bytes": found.st_size, "modified_ns": found.st_mtime_ns}
        if not stat.S_ISDIR(found.st_mode):
            return None
        items = [(name, os.lstat(Path(path, name))) for name in names_below(path)]
    except (OSError, ValueError):
        return None
    listing = [(name, item.st_size, item.st_mtime_ns) for name, item in items]
    return {
        "bytes": sum(size for _, size, _ in listing),
        "modified_ns": max((time_ns for _, _, time_ns in listing), default=0),
        "listing": hashlib.sha256(repr(listing).encode()).hexdigest(),
    }


def _stored(address: str) -> State | None:
    with suppress(PosertError):  # whoever reads it says so
        found = held_facts(address)
        return {"bytes": found.bytes, "etag": found.tag}
    return None


def sha256_of(path: str | Path) -> str:
    """The hash of a file, as hexadecimal digits, or of the names and hashes of a folder's files.

    Raises PosertError if it cannot be read.
    """
    try:
        if os.path.isdir(path):
            whole = "".join(f"{sha256_of(Path(path, name))} {name}\n" for name in names_below(path))
            return hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()
        with open_file(path) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise PosertError(f"{path} cannot be read: {error}", "check the file and its permissions") from None


def hashed(path: str | Path, before: State | None, *, shared: bool = False) -> State | None:
    """`before` and the `sha256` of what is there now; None as the hash if it is not what it was `before`.

    Of a stored address `before` alone, since its ETag is one. A file that is `shared` by many who ask is read once.
    """
    if before is None or is_stored(path):
        return before
    digest = None
    if state(path) == before:
        digest = _digest(path, *before.values()) if shared else sha256_of(path)
    return before | {"sha256": digest if state(path) == before else None}


@lru_cache(64)
def _digest(path: str | Path, *_: object) -> str:
    """The hash of a file of that size and time of change."""
    return sha256_of(path)


def unchanged(path: str | Path, known: State | None, *, verify: bool = False) -> bool:
    """Whether a file is still what it was when it was `hashed`; also true of a stream, of which nothing is known.

    Size and time of change decide; the hash does if the time differs, or with `verify`.
    """
    now = state(path)
    if now is None or known is None:
        return now is known
    if is_stored(path):
        return bool(now["etag"]) and all(known.get(name) == value for name, value in now.items())
    if now["bytes"] != known.get("bytes") or known.get("sha256") is None:
        return False
    same = all(known.get(name) == value for name, value in now.items())
    return (same and not verify) or sha256_of(path) == known["sha256"]


def as_listed(known: State | None, said: Facts | None) -> bool:
    """Whether a file of a store is what it was, by what a listing says of it now, which may know another tag."""
    if known is None or said is None or not said.tag:
        return False
    return (known.get("bytes"), known.get("etag")) == (said.bytes, said.tag)


def names_below(folder: str | Path) -> Iterator[str]:
    """The names below a folder of all files in it, and of links and folders that hold nothing, in order."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        empty = [name for name in folders if Path(root, name).is_symlink() or not os.listdir(Path(root, name))]
        yield from (os.path.relpath(os.path.join(root, name), folder) for name in sorted([*files, *empty]))
