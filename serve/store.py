"""Files that are on no disk: in memory, or, if somebody asks for it, in a folder. Owns where they lie."""

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from posert.serve.limits import Purse, Refused

_PIECE = 1 << 18


class Kept:
    """A file, written once from its beginning to its end and read by whoever has it; its bytes go with the object."""

    def __init__(self, store: "Store", file: BinaryIO, path: str) -> None:
        self.path, self.size = path, 0
        self._store, self._file = store, file

    def write(self, data: bytes) -> None:
        """Raises Refused if the store is full."""
        self._store.take(len(data))
        self.size += len(data)
        self._file.write(data)

    def flush(self) -> None:
        """Makes what was written visible under `path`."""
        self._file.flush()

    def pieces(self) -> Iterator[bytes]:
        """All of it; several may read at once."""
        at = 0
        while piece := os.pread(self._file.fileno(), _PIECE, at):
            at += len(piece)
            yield piece

    def free(self) -> None:
        """Its bytes do not count any more; whoever reads it may end that."""
        self._store.give(self.size)
        self.size = 0


class Store:
    """All files of a server.

    Args:
        most: bytes of all files together.
        folder: where they lie, in a folder of their own without names; None = in memory.
    """

    def __init__(self, most: int, folder: Path | None) -> None:
        self._purse, self._lock, self._folder = Purse(most, "videos and their results"), threading.Lock(), folder

    def file(self) -> Kept:
        """An empty file; raises Refused if this system has no files in memory and there is no folder."""
        if not hasattr(os, "pread"):
            raise Refused(501, "this system cannot read a file while it lies open", "serve videos on Linux or macOS")
        if self._folder is not None:
            file = tempfile.NamedTemporaryFile(prefix="posert-", dir=self._folder)  # noqa: SIM115 - the object keeps it
            return Kept(self, file, file.name)  # type: ignore[arg-type]
        if not hasattr(os, "memfd_create"):
            raise Refused(501, "this system has no files in memory", "start the server with a folder for videos")
        number = os.memfd_create("posert")
        return Kept(self, os.fdopen(number, "w+b"), f"/proc/self/fd/{number}")

    def take(self, count: int) -> None:
        """Counts bytes; from any thread."""
        with self._lock:
            self._purse.take(count)

    def give(self, count: int) -> None:
        """The opposite."""
        with self._lock:
            self._purse.give(count)
