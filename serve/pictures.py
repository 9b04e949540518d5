"""A picture's bytes -> a frame. What is too large is refused by its header, before anything is decoded.

Owns the kinds of pictures that may come. Knows bytes and pixels, nothing of HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from posert.poses import Frame
from posert.runtime.media.read import decoded
from posert.serve.limits import Refused

KINDS = "JPEG, PNG or WebP, or raw RGB with size=WIDTHxHEIGHT in the query"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset(range(0xD0, 0xDA)) | {0x01, 0xFF, 0x00}  # markers without a length, fill bytes, and no marker
_SCANS = 16
"""As much work as decoding so many pictures of the largest size, which a JPEG can ask for by many scans."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of a picture; with `size_wh` raw RGB, row by row without padding."""

    data: bytes
    size_wh: tuple[int, int] | None = None

    def checked(self, max_pixels: int, name: str) -> "Picture":
        """Itself; raises Refused if its header is no known one's, or names more pixels than it may have."""
        width, height = self.size_wh or _size_of(self.data, name)
        if not width * height:
            raise Refused(422, f"{name} has {width} x {height} pixels", "it is damaged")
        scans = self.data.count(b"\xff\xda") if self.data[:2] == b"\xff\xd8" and self.size_wh is None else 1
        if width * height > max_pixels or scans * width * height > _SCANS * max_pixels:
            what = f"{name} has {width} x {height} pixels" + (f" in {scans} scans" if scans > _SCANS else "")
            raise Refused(413, f"{what}, at most {max_pixels} are taken", "make it smaller")
        if self.size_wh is not None and len(self.data) != width * height * 3:
            expected = f"{width} x {height} RGB has {width * height * 3}"
            raise Refused(422, f"{name} has {len(self.data)} bytes, {expected}", "check its size")
        return self

    def frame(self, name: str, index: int = 0, time_s: float = 0.0) -> Frame:
        """The picture's pixels; raises PosertError if it cannot be decoded."""
        data = np.frombuffer(self.data, np.uint8)
        if self.size_wh is None:
            return Frame(decoded(data, "the picture"), index, time_s, name)
        width, height = self.size_wh
        return Frame(data.reshape(height, width, 3)[:, :, ::-1], index, time_s, name)


def _size_of(data: bytes, name: str) -> tuple[int, int]:
    """Width and height by the header of a JPEG, PNG or WebP."""
    kinds: list[tuple[bool, Callable[[], tuple[int, int]]]] = [
        (data[:2] == b"\xff\xd8", partial(_jpeg_size, data)),
        (data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR", partial(_png_size, data)),
        (data[:4] == b"RIFF" and data[8:12] == b"WEBP", partial(_webp_size, data)),
    ]
    for known, size in kinds:
        if known:
            return size()
    raise Refused(415, f"{name} ({len(data)} bytes) is no picture of a known kind", f"send {KINDS}")


def _png_size(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """By its first start of a frame; 0, 0 without one. What lies between markers is passed over, as decoders do."""
    at = data.find(b"\xff", 2)
    while 0 <= at < len(data) - 9:
        marker = data[at + 1]
        if marker in _START_OF_FRAME:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        after = at + 1 if marker in _ALONE else at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        at = data.find(b"\xff", after)
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    kind, little = data[12:16], partial(int.from_bytes, byteorder="little")
    if kind == b"VP8X":
        return little(data[24:27]) + 1, little(data[27:30]) + 1
    if kind == b"VP8L":
        bits = little(data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return little(data[26:28]) & 0x3FFF, little(data[28:30]) & 0x3FFF
