"""Requests that nobody should send, as the bytes that go through a socket. For `tests/test_serve.py` and the bench."""

import asyncio
import base64
import random
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import media
import numpy as np

Rng = random.Random
SHAPES = [*((160, side) for side in range(4, 160, 10)), *((side, 160) for side in range(4, 160, 10))]
"""High and wide, px: every shape that a network's input may have."""


@dataclass(frozen=True, slots=True)
class Shot:
    """Pieces that are sent one after the other; `stall_s` lies between them, `hang_up` does not wait for an answer."""

    pieces: tuple[bytes, ...]
    stall_s: float = 0.0
    hang_up: bool = False


def post(body: bytes, path: str = "/v1/people", headers: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode("latin-1") + body


def png_bomb(width: int, height: int, rows: int | None = None) -> bytes:
    """A grey PNG of zeros; with `rows` it promises more than it has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes((height if rows is None else rows) * (width + 1)), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg_bomb(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    at = next(i for i in range(len(data)) if data[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def webp_bomb() -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\x3f\0" + b"\xff\x3f\0"
    return b"RIFF" + struct.pack("<I", len(body)) + body


def websocket(*frames: bytes, query: str = "") -> tuple[bytes, ...]:
    key = base64.b64encode(bytes(16)).decode()
    head = (
        f"GET /v1/stream{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return (head.encode(), *frames)


def frame(data: bytes, code: int = 2, *, fin: bool = True, masked: bool = True, length: int | None = None) -> bytes:
    """A frame of a WebSocket, its mask zero."""
    size = len(data) if length is None else length
    head = bytes([code | (0x80 if fin else 0), (0x80 if masked else 0) | 127]) + struct.pack(">Q", size)
    return head + (bytes(4) if masked else b"") + data


class Hostile:
    """A source of hostile requests, the same ones for the same number."""

    def __init__(self, folder: Path) -> None:
        picture = np.random.default_rng(1).integers(0, 255, (160, 160, 3), np.uint8)
        self.good = [cv2.imencode(suffix, picture)[1].tobytes() for suffix in (".jpg", ".png", ".webp")]
        self.shapes = [cv2.imencode(".png", picture[:high, :wide])[1].tobytes() for high, wide in SHAPES]
        self.big = png_bomb(7000, 5600)  # 39 million pixels in some kilobytes
        self.scans = self._progressive(picture)
        media.video(folder / "video.mp4", count=10)
        self.video = (folder / "video.mp4").read_bytes()
        self._kinds: list[tuple[int, Callable[[Rng], Shot]]] = [
            (20, self._noise), (20, self._broken), (10, self._cut), (6, self._slow), (8, self._bomb), (1, self._large),
            (10, self._form), (10, self._head), (8, self._chunks), (4, self._pipeline), (4, self._nothing),
            (8, self._socket), (6, self._film), (6, self._raw), (6, self._query),
        ]  # fmt: skip

    def fine(self) -> list[Shot]:
        """A form, a raw picture and a stream without fault."""
        part = b'--b\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n' + self.good[0]
        form = post(part + b"\r\n--b--\r\n", headers="Content-Type: multipart/form-data; boundary=b\r\n")
        raw = post(bytes(160 * 160 * 3), "/v1/people?size=160x160")
        return [Shot((form,)), Shot((raw,)), Shot(websocket(frame(self.good[0]), frame(b"", 8)))]

    def shot(self, number: int) -> Shot:
        rng = random.Random(number)
        weights, kinds = zip(*self._kinds, strict=True)
        kind: Callable[[Rng], Shot] = rng.choices(kinds, weights)[0]
        return kind(rng)

    @staticmethod
    def _progressive(picture: np.ndarray) -> bytes:
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
        at = data.rfind(b"\xff\xda")
        return data[:at] + data[at:-2] * 2000 + data[-2:]

    def _mutated(self, rng: Rng, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 3, 20))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed[: rng.randrange(1, len(changed))] if rng.random() < 0.5 else changed)

    def _noise(self, rng: Rng) -> Shot:
        kind = rng.choice(("image/jpeg", "text/plain", "application/json", "", "\x80", "a/b; c=" + "d" * 500))
        return Shot((post(rng.randbytes(rng.choice((0, 1, 10, 5000, 60000))), headers=f"Content-Type: {kind}\r\n"),))

    def _broken(self, rng: Rng) -> Shot:
        return Shot((post(self._mutated(rng, rng.choice(self.good))),))

    def _cut(self, rng: Rng) -> Shot:
        data = rng.choice(self.good)
        return Shot((post(data[: rng.randrange(len(data))], length=len(data)),), hang_up=True)

    def _slow(self, rng: Rng) -> Shot:
        whole = post(rng.choice(self.good))
        cuts = sorted(rng.randrange(1, len(whole)) for _ in range(3))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        return Shot(tuple(pieces[: rng.choice((1, 2, 3))]), stall_s=1.0)

    def _bomb(self, rng: Rng) -> Shot:
        size = rng.choice(((65500, 65500), (50000, 900), (1, 65535), (0, 10), (7000, 7000)))
        wide = rng.choice((png_bomb(*size, rows=1), jpeg_bomb(self.good[0], *size), webp_bomb(), self.scans))
        return Shot((post(wide),))

    def _large(self, rng: Rng) -> Shot:
        return Shot((post(rng.choice((self.big, bytes(17 << 20), self.big[:-20]))),))

    def _form(self, rng: Rng) -> Shot:
        part = b'--b\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
        body = rng.choice((
            part + self.good[0] + b"\r\n--b--\r\n", part * 500, b"--b\r\n" + b"a: b\r\n" * 5000, rng.randbytes(3000),
            part + self._mutated(rng, self.good[1]) + b"\r\n--b--", part + b"\r\n--b--",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 100000 + b"\r\n--b--", b"--b--",
            b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", b"--b\r\n" + b"h" * 9000 + b": x\r\n\r\n",
        ))  # fmt: skip
        boundary = rng.choice(("; boundary=b",) * 5 + ("", "; boundary=", "; boundary=" + "b" * 300))
        return Shot((post(body, headers=f"Content-Type: multipart/form-data{boundary}\r\n"),))

    def _head(self, rng: Rng) -> Shot:
        return Shot((rng.choice((
            post(b"x", headers=f"X: {'x' * 40000}\r\n"), post(b"x", headers="X: y\r\n" * 9000), rng.randbytes(2000),
            b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"\r\n" * 500,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500), b"FOO / HTTP/1.1\r\n\r\n",
            b"POST /v1/people HTTP/1.1\r\nContent-Length: -5\r\n\r\n", post(b"", length=10**30),
            b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /v1/models HTTP/1.1\r\nHost: [\r\n\r\n",
            b"GET http://[::1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", post(b"", "/metrics"), post(b"", length=10**12),
            b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        )),))  # fmt: skip

    def _chunks(self, rng: Rng) -> Shot:
        head = b"POST /v1/people HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        good = b"%x\r\n%b\r\n0\r\n\r\n" % (len(self.good[0]), self.good[0])
        body = rng.choice((
            good, b"zz\r\n\r\n", b"ffffffffffffffffff\r\n", b"-1\r\nx\r\n", good[:-5], b"5\r\nabc",
            b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n",
            b"1;" + b"e" * 50000 + b"\r\nx\r\n0\r\n\r\n",
        ))  # fmt: skip
        both = b"Content-Length: 5\r\n" if rng.random() < 0.2 else b""
        return Shot((head + both + b"\r\n" + body,), hang_up=rng.random() < 0.3)

    def _pipeline(self, rng: Rng) -> Shot:
        one = post(self.good[0]).replace(b"Connection: close\r\n", b"")
        return Shot((one * rng.choice((2, 20)) + post(rng.randbytes(50)),), hang_up=rng.random() < 0.5)

    def _nothing(self, rng: Rng) -> Shot:
        return Shot(rng.choice(((), (b"P",), (b"GET /healthz HTTP/1.1\r\nHost: ",))), hang_up=rng.random() < 0.7)

    def _socket(self, rng: Rng) -> Shot:
        good, query = (
            frame(rng.choice(self.good)),
            rng.choice(("", "?live=true", "?track=true&fps=5", "?fps=0", "?a=b")),
        )
        frames = rng.choice((
            (good,) * 3, (frame(rng.randbytes(500)),) * 20, (frame(b"", 1, length=1 << 40),), (rng.randbytes(300),),
            (frame(b"text", 1), frame(b"\xff", 1)), (frame(b"x", masked=False),), (frame(b"x", fin=False),) * 50,
            (frame(b"x", 9),) * 50, (frame(b"", 8),), (good[:50],), (frame(self.good[0], 3),), (good, frame(b"", 8)),
            (frame(png_bomb(50000, 50000, rows=1)), good), (good * 60,),
        ))  # fmt: skip
        return Shot(websocket(*frames, query=query), hang_up=rng.random() < 0.5)

    def _film(self, rng: Rng) -> Shot:
        body = rng.choice((
            self._mutated(rng, self.video), self._mutated(rng, self.video), self.video[: rng.randrange(1, 2000)],
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"\0\0\0\x18ftypmp42" + rng.randbytes(3000),
            b"\x1a\x45\xdf\xa3" + rng.randbytes(900), b"RIFF\0\0\0\0AVI " + rng.randbytes(900), self.video,
            b"GIF89a" + rng.randbytes(300), b"ffconcat version 1.0\nfile /etc/passwd\n",
        ))  # fmt: skip
        query = rng.choice(("", "?track=true", "?stride=0", "?start_s=1e999", "?name=" + "%ff" * 200, "?stop_s=-1"))
        return Shot((post(body, "/v1/videos" + query, length=len(body) + 9 if rng.random() < 0.1 else None),))

    def _raw(self, rng: Rng) -> Shot:
        size = rng.choice(("4x4", "99999x99999", "0x0", "4", "-1x5", "4x4x4", "12000x1", "1x12000", "٤x٤"))
        quoted = "".join(f"%{byte:02x}" for byte in size.encode())
        return Shot((post(bytes(rng.choice((48, 47, 36000, 0))), f"/v1/people?size={quoted}"),))

    def _query(self, rng: Rng) -> Shot:
        path = rng.choice((
            "/v1/people?model=../../etc", "/v1/people?" + "a=b&" * 2000, "/v1/people?size=" + "[" * 5000, "//",
            "/..%2f", "/v1/videos/../x", "/v1/videos/" + "%00" * 30, "/v1/people?model=%ff%fe", "/v1/stream",
            "/docs/../v1/models", "/v1/people?size=1e99999", "/v1/people?model=nano&model=x",
        ))  # fmt: skip
        return Shot((post(self.good[0], path),))


async def fire(port: int, shot: Shot, wait_s: float = 20.0) -> str:
    """Sends it; what came back: a status, `closed` without an answer, or `silent`."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return "no connection"
    try:
        answer = b""
        with suppress(OSError):
            for piece in shot.pieces:
                writer.write(piece)
                with suppress(TimeoutError):
                    await asyncio.wait_for(writer.drain(), wait_s)
                if shot.stall_s:
                    await asyncio.sleep(shot.stall_s)
            if shot.hang_up:
                return "hung up"
            answer = await asyncio.wait_for(reader.read(4096), wait_s)
        return answer.split(b" ")[1].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "closed"
    except TimeoutError:
        return "silent"
    finally:
        writer.close()
