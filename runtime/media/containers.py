"""How the containers of videos are chained, and what an edit list hides. Knows file layouts, decodes nothing.

A container is a chain of elements that say how long they are, so a loss shows without decoding. Where a file does not
say, nothing is missing: a false alarm would fail a whole file.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from posert.runtime.media.members import open_file

_LONGEST = 282  # header of an element: an Ogg page's
_LARGEST_INDEX = 2**26  # that of 20 hours has less
_MOST_FRAMES = 2**22  # of a table that a hostile file made up
_Element = Callable[[bytes], tuple[int, int]]
"""The first bytes of an element -> how far on the next one begins, and its own length; 0, 0 if they begin none.

What encloses others has them as the next ones, and its own length where that is known. Padding has none: it is no loss.
"""


def chain_loss(path: str) -> tuple[int, int]:
    """How many bytes a cut-off video file lacks at least, and where its chain breaks inside of an element.

    Both are 0 for whole files and unknown containers; what lies behind the last element belongs to nobody.

    Raises:
        OSError: the file cannot be read.
    """
    with open_file(path) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(_LONGEST)
        for packet, sync in ((188, 0), (192, 4)):  # MPEG-TS, without and with time stamps of 4 bytes
            if head[sync::packet][:2] == b"GG":
                file.seek(end - end % packet + sync)
                return packet - end % packet if file.read(1) == b"G" else 0, 0
        at = furthest = 0
        for at, length in _elements(file):
            furthest = max(furthest, at + length) if length else furthest
    return max(0, furthest - end), at if at < furthest <= end else 0


def has_packets_of_pictures(path: str) -> bool:
    """Whether files of this kind store a picture in each packet and mark key frames: MP4, QuickTime, Matroska, WebM."""
    with open_file(path) as file:
        head = file.read(_LONGEST)
    return any(re.match(begin, head, re.DOTALL) for begin, element in _CONTAINERS if element in (_box, _ebml))


def _elements(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where each element of the chain begins, with its own length; at last where the chain ends, with 0."""
    end, at = file.seek(0, os.SEEK_END), file.seek(0)
    head = file.read(_LONGEST)
    element = next((found for begin, found in _CONTAINERS if re.match(begin, head, re.DOTALL)), None)
    while at < end and element is not None:
        file.seek(at)
        step, length = element(file.read(_LONGEST))
        if not step:
            break
        yield at, length
        at += step
    yield at, 0


def _box(head: bytes) -> tuple[int, int]:
    """MP4 and QuickTime, ISO/IEC 14496-12, 4.2; a length of 0 reaches to the end of the file."""
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
    return (length, length) if re.match(_BOX, head, re.DOTALL) and length >= 8 else (0, 0)


def _ebml(head: bytes) -> tuple[int, int]:
    """Matroska and WebM, RFC 8794 and 9559: segments and clusters are entered, their length may be unknown."""
    name = _EBML.match(head)
    if name is None or len(head) == name.end() or not head[name.end()]:
        return 0, 0
    width = 9 - head[name.end()].bit_length()
    unknown = (1 << 7 * width) - 1
    size = int.from_bytes(head[name.end() : name.end() + width], "big") & unknown
    begin = name.end() + width
    if name["master"]:
        return begin, begin + (size if size != unknown else 0)
    return begin + size, begin + size


def _chunk(head: bytes) -> tuple[int, int]:
    """AVI: files and their lists of frames are entered; a length that nobody came to write is none."""
    size = int.from_bytes(head[4:8], "little")
    if re.match(rb"(RIFF|LIST)....(AVI |AVIX|movi|rec )", head, re.DOTALL):
        return 12, 8 + size if 0 < size < 0xFFFFFF00 else 12
    step = 8 + size + size % 2
    if re.match(rb"LIST|idx1|ix\d\d|\d\d[a-z][a-z]", head):
        return step, step
    return (step, 0) if re.match(rb"[ -~]{4}", head) else (0, 0)


def _tag(head: bytes) -> tuple[int, int]:
    """Flash video: a header, then sound, pictures and data, each followed by its length."""
    if head[:3] == b"FLV":
        return (int.from_bytes(head[5:9], "big") + 4,) * 2
    return (15 + int.from_bytes(head[1:4], "big"),) * 2 if head[:1] in (b"\x08", b"\x09", b"\x12") else (0, 0)


def _packet(head: bytes) -> tuple[int, int]:
    """MPEG programme streams, ISO/IEC 13818-1, 2.5.3, and those of MPEG-1."""
    if not re.match(rb"\0\0\x01[\xb9-\xff]", head):
        return 0, 0
    if head[3] == 0xB9:  # the end
        return 4, 4
    if head[3] == 0xBA:
        return (14 + (head[13] & 7) if len(head) > 13 and head[4] >> 6 == 1 else 12,) * 2
    return (6 + int.from_bytes(head[4:6], "big"),) * 2


def _object(head: bytes) -> tuple[int, int]:
    """Windows Media (ASF): header, data, three kinds of index."""
    size = int.from_bytes(head[16:24], "little")
    return (size, size) if head[:4] in _OBJECTS and size >= 24 else (0, 0)


def _page(head: bytes) -> tuple[int, int]:
    """Ogg, RFC 3533, 6."""
    if not head.startswith(b"OggS") or len(head) < 27:
        return 0, 0
    return (27 + head[26] + sum(head[27 : 27 + head[26]]),) * 2


_BOX = rb"....(ftyp|styp|moov|moof|mdat|mfra|sidx|ssix|free|skip|wide|uuid|meta|udta|pdin|prft|emsg|pnot|imda)"
_EBML = re.compile(
    rb"(?P<master>\x18\x53\x80\x67|\x1f\x43\xb6\x75)|\x1a\x45\xdf\xa3|\x11\x4d\x9b\x74|\x15\x49\xa9\x66|\x16\x54\xae\x6b"
    rb"|\x1c\x53\xbb\x6b|\x12\x54\xc3\x67|\x19\x41\xa4\x69|\x10\x43\xa7\x70|[\xec\xbf\xe7\xa3\xa0\xa7\xab\xaf]|\x58\x54"
)
_OBJECTS = tuple(map(bytes.fromhex, ("3026B275", "3626B275", "90080033", "D329E2D6", "F803B1FE")))
_CONTAINERS: tuple[tuple[bytes, _Element], ...] = (
    (_BOX, _box),
    (rb"\x1a\x45\xdf\xa3", _ebml),
    (rb"RIFF....AVI ", _chunk),
    (rb"FLV", _tag),
    (rb"\0\0\x01\xba", _packet),
    (rb"\x30\x26\xb2\x75", _object),
    (rb"OggS", _page),
)


def indexed_frames(path: str) -> tuple[int, int]:
    """How many frames the index of an MP4 or QuickTime file lists, empty ones left out; 0 if it does not say.

    And how many of them its edit list hides, at most (ISO/IEC 14496-12, 8.6.6).
    """
    movie = b""
    with open_file(path) as file:
        for at, length in _elements(file):
            file.seek(at if length else 0)
            if file.read(8)[4:] == b"moov":
                movie = file.read(min(length, _LARGEST_INDEX))
    for track in _inner(movie, b"trak"):
        if any(handler[8:12] == b"vide" for handler in _inner(track, b"mdia", b"hdlr")):
            return int(np.count_nonzero(_table(track, b"stsz")[3:])), _hidden(track, _scale(movie, b"mvhd"))
    return 0, 0


def _hidden(track: bytes, movie_scale: int) -> int:
    steps, offsets = _runs(track, b"stts"), _runs(track, b"ctts")
    times = np.cumsum(steps) - steps
    times[: len(offsets)] += offsets[: len(times)]
    hidden = np.full(len(times), bool(edits := _edits(track)))
    for begin, shown in edits:
        hidden &= (times < begin) | (times >= begin + shown * _scale(track, b"mdia", b"mdhd") / movie_scale)
    return int(hidden.sum() + hidden.any())  # one more: programs round the ends differently


def _inner(box: bytes, *names: bytes) -> list[bytes]:
    """The contents of all boxes with this name, or of those in them with the next."""
    found, at = [], 0
    while at + 8 <= len(box):
        end = at + max(8, int.from_bytes(box[at : at + 4], "big"))
        if box[at + 4 : at + 8] == names[0]:
            found += _inner(box[at + 8 : end], *names[1:]) if names[1:] else [box[at + 8 : end]]
        at = end
    return found


def _scale(box: bytes, *names: bytes) -> int:
    """Units per second, by the header of a movie or of a track's media."""
    header = b"".join(_inner(box, *names))
    return int.from_bytes(header[20:24] if header[:1] == b"\1" else header[12:16], "big") or 1


def _edits(track: bytes) -> list[tuple[int, float]]:
    """What is shown of a track: from when on, in its own units, and how long, in the movie's. Gaps are left out."""
    table = b"".join(_inner(track, b"edts", b"elst"))
    width = 8 if table[:1] == b"\1" else 4
    rows = [table[at : at + 2 * width] for at in range(8, len(table), 2 * width + 4)]
    pairs = [(int.from_bytes(row[width:], "big", signed=True), int.from_bytes(row[:width], "big")) for row in rows]
    return [(begin, length or math.inf) for begin, length in pairs[:100] if begin >= 0]


def _table(track: bytes, name: bytes) -> NDArray[np.int64]:
    """The numbers of a table of a track's frames, after its version."""
    table = b"".join(_inner(track, b"mdia", b"minf", b"stbl", name))
    return np.frombuffer(table, ">i4", len(table) // 4).astype(np.int64)


def _runs(track: bytes, name: bytes) -> NDArray[np.int64]:
    """A table of runs (count, value), one value a frame; empty if a count is absurd."""
    rows = _table(track, name)[2:]
    counts, values = rows[: len(rows) // 2 * 2].reshape(-1, 2).T
    return np.repeat(values, counts) if counts.min(initial=0) >= 0 and counts.sum() <= _MOST_FRAMES else values[:0]
