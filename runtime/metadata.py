"""The metadata in an .onnx file, read without opening the network. Knows protobuf's outermost fields and no more."""

import mmap
from collections.abc import Iterator
from pathlib import Path

_ENTRY, _KEY, _VALUE = 14, 1, 2  # onnx.proto: ModelProto.metadata_props, StringStringEntryProto.key and .value
_FIXED = {1: 8, 5: 4}  # wire type -> bytes
_LONGEST = 10  # bytes of an integer


def metadata_text(file: Path, key: str) -> str | None:
    """The text that the file has under `key`; None if there is none, or it is no whole ONNX file."""
    found = None
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            for number, begin, end in _fields(data, 0, len(data)):
                if number == _ENTRY:
                    entry = {field: data[low:high] for field, low, high in _fields(data, begin, end)}
                    if entry.get(_KEY) == key.encode():
                        found = entry.get(_VALUE, b"").decode("utf-8", "replace")
        except (IndexError, KeyError):
            return None
    return found


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of every field that has a length; raises IndexError or KeyError where there is none."""
    while at < end:
        tag, at = _integer(data, at)
        if tag & 7 == 0:
            _, at = _integer(data, at)
        elif tag & 7 == 2:
            length, at = _integer(data, at)
            yield tag >> 3, at, at + length
            at += length
        else:
            at += _FIXED[tag & 7]
    if at > end:
        raise IndexError(at)


def _integer(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of protobuf, seven bits a byte, the lowest first; and where it ends."""
    value = 0
    for place in range(_LONGEST):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise IndexError(at)
