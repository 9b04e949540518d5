"""Locks that end with their process, however it ends. Knows the system's locks, nothing of what they are for."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def take(path: Path) -> TextIO:
    """The file at `path`, made if need be, and locked until it is closed.

    Raises:
        BlockingIOError: somebody else has it.
        OSError: it cannot be made, or its file system knows no locks.
    """
    file = path.open("a", encoding="utf-8")
    try:
        if sys.platform == "win32":
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except PermissionError as error:
                raise BlockingIOError(error.errno, error.strerror) from None
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
            raise BlockingIOError(0, "removed by who had it")
    except OSError:
        file.close()
        raise
    return file


def release(lock: TextIO | None) -> None:
    """Ends what `take` gave, and removes its file; None where nothing could be locked."""
    if lock is not None:
        with suppress(OSError):  # Windows keeps open files
            os.unlink(lock.name)
        lock.close()
