"""Members of tars as files: `clips.tar/000.mp4` is read where it lies, nothing is unpacked.

Owns where in a tar a member lies, and how FFmpeg is told so. Knows nothing of what is in a member.
"""

import glob
import io
import os
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from posert.errors import PosertError
from posert.runtime.media import is_medium, matching

TAR = ".tar"


class Span(NamedTuple):
    """Bytes begin <= n < end of a file."""

    path: str
    begin: int
    end: int


def spans_in(path: str, file: Any) -> dict[str, Span]:
    """Every file in a tar, by its name there, in order; raises PosertError if it is none, or cut off.

    Args:
        file: the tar, open for reading. path: its name.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            plain = [member for member in tar if member.isreg() and not member.issparse()]
            names = [member.name.removeprefix("./") for member in plain]
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise PosertError(f"{path} is no whole tar: {error}", "copy or download it again; gzip is not read") from None
    spans = (Span(path, member.offset_data, member.offset_data + member.size) for member in plain)
    return dict(zip(names, spans, strict=True))


def spans(tar: str) -> dict[str, Span]:
    """As `spans_in`, of a tar that is here."""
    found = os.stat(tar)
    return _spans(os.path.abspath(tar), found.st_size, found.st_mtime_ns)


def in_tars(text: str) -> list[tuple[str, str]]:
    """The media in a tar, or in those that match a pattern and there named below their tar: pairs as of `expand`.

    Raises PosertError if there is none, or one is no tar.
    """
    if not glob.has_magic(text) or os.path.isfile(text):
        return [(f"{text}/{name}", name) for name in spans(text) if is_medium(name)]
    tars = matching(text, "tar", os.path.exists)
    found = ((tar, below, name) for tar, below in tars for name in spans(tar) if is_medium(name))
    return [(f"{tar}/{name}", f"{Path(below).as_posix()}/{name}") for tar, below, name in found]


def member(source: str | Path) -> Span | None:
    """Where a member of a tar lies that is called like a file in a folder; None if it is none."""
    text = str(source).replace(os.sep, "/")
    tar, inside, name = text.partition(f"{TAR}/")
    return spans(tar + TAR).get(name) if inside and os.path.isfile(tar + TAR) else None


def is_file(source: str | Path) -> bool:
    """Whether there is such a file, or such a member of a tar."""
    return os.path.isfile(source) or member(source) is not None


def open_file(source: str | Path) -> io.BufferedReader:
    """A file or a member, to be read; raises OSError as `open` does."""
    span = None if os.path.isfile(source) else member(source)
    return open(source, "rb") if span is None else io.BufferedReader(_Part(span))


def ffmpeg_name(span: Span, path: str) -> str:
    """What FFmpeg calls these bytes of a file; `path` is its name for FFmpeg."""
    return f"subfile,,start,{span.begin},end,{span.end},,:{path}"


@lru_cache(32)
def _spans(tar: str, _size: int, _time_ns: int) -> dict[str, Span]:
    with open(tar, "rb") as file:
        return spans_in(tar, file)


class _Part(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, span: Span) -> None:
        self._file = open(span.path, "rb")  # noqa: SIM115 (closed with this)
        self._span, self._at = span, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._span.end - self._span.begin}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        left = max(0, min(len(buffer), self._span.end - self._span.begin - self._at))
        self._file.seek(self._span.begin + self._at)
        count = self._file.readinto(memoryview(buffer)[:left])
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
