"""What a hostile server can do to `posert models pull`: an error and a hint, within seconds, and no wrong byte kept.

The server of these tests speaks bytes, not HTTP, so that it can say anything.
"""

import itertools
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command import Run

from posert.errors import PosertError
from posert.export import fetch

Script = Callable[[str], Iterable[bytes]]
"""The request's head -> what is sent, piece by piece."""
DATA = bytes(range(256)) * 64
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(DATA), DATA)
ENDLESS = itertools.repeat(bytes(1 << 16))


class Server:
    """Answers every connection by a script, until the test is over."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self.script, self.context, self.over, self.heads = script, context, threading.Event(), list[str]()
        self.listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if context else "http"
        self.url = f"{scheme}://localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with suppress(OSError):  # the listener is closed at the end
            while not self.over.is_set():
                threading.Thread(target=self.talk, args=self.listener.accept()[:1], daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1 << 16)
            self.heads.append(head.decode())
            for piece in self.script(head.decode()):
                if self.over.is_set():
                    return
                connection.sendall(piece)

    def close(self) -> None:
        self.over.set()
        self.listener.close()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts a `Server` and makes it the mirror of an empty cache."""
    servers = []

    def start(script: Script, context: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(script, context))
        monkeypatch.setenv("POSERT_MIRROR", servers[-1].url)
        return servers[-1]

    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "cache"))
    yield start
    for server in servers:
        server.close()


def pull_by_command(run: Run, cache: Path, name: str = "yolox-nano", *more: str) -> str:
    """What `posert models pull` said; it failed in the decent way and kept nothing under the model's name."""
    code, out, err = run("models", "pull", name, *more)
    assert (code, out) == (1, "")
    assert err.count("error: ") == err.count("hint: ") == 1
    assert "\x1b" not in err
    assert not [path for path in cache.iterdir() if path.suffix in (".onnx", ".lock")]
    return err


def dripping(start: bytes) -> Iterator[bytes]:
    yield start
    while True:
        time.sleep(0.02)
        yield b"x"


HOSTILE: dict[str, tuple[list[bytes], str]] = {
    "nothing": ([], "cannot be fetched"),
    "no HTTP": ([b"220 ftp ready\r\n\r\n"], "cannot be fetched"),
    "a terminal's escapes": ([b"HTTP/1.1 \x1b[31m no\r\n\r\n"], "cannot be fetched"),
    "no number": ([b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", DATA], "its Content-Length is 'many'"),
    "less than nothing": ([b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", DATA], "its Content-Length is '-5'"),
    "5000 digits": ([b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000)], "its Content-Length is '999"),
    "101 headers": ([b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 101 + b"\r\n"], "got more than 100 headers"),
    "a header of 100 kB": ([b"HTTP/1.1 200 OK\r\nX-A: %s\r\n\r\n" % (b"b" * 100_000)], "header line"),
    "416": ([b"HTTP/1.1 416 no\r\nContent-Length: 0\r\n\r\n"], "answers 416"),
    "204": ([b"HTTP/1.1 204 nothing\r\n\r\n"], "answers 204"),
    "404 with escapes": ([b"HTTP/1.1 404 \x1b[31mgone\r\nContent-Length: 0\r\n\r\n"], "answers 404"),
    "cut": ([b"HTTP/1.1 200 OK\r\nContent-Length: 3660092\r\n\r\n", DATA], f"only {len(DATA)} of 3660092 bytes came"),
    "another part": (
        [b"HTTP/1.1 206 part\r\nContent-Length: 5\r\nContent-Range: bytes 5-9/3660092\r\n\r\nabcde"],
        "sends another part of the file",
    ),
    "too little of it": (
        [b"HTTP/1.1 206 part\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/3660092\r\n\r\nabcde"],
        "sends another part of the file",
    ),
    "chunks without a size": ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"], "cannot be fetched"),
    "chunks that end early": ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"], "cannot be fetched"),
    "to a file": ([b"HTTP/1.1 302 there\r\nLocation: file:///etc/passwd\r\n\r\n"], "answers 302"),
    "to ftp": ([b"HTTP/1.1 302 there\r\nLocation: ftp://localhost/x\r\n\r\n"], "not encrypted"),
    "round and round": ([b"HTTP/1.1 302 there\r\nLocation: /yolox_nano.onnx\r\n\r\n"], "answers 302"),
    "nowhere": ([b"HTTP/1.1 302 there\r\nLocation: http://[::/\r\n\r\n"], "cannot be fetched"),
    "only what fits is read": ([WHOLE], "is not the official yolox-nano: 16384 bytes, expected 3660092"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_it_says_is_an_error_with_a_hint(
    case: str, serve: Callable[..., Server], run: Run, tmp_path: Path
) -> None:
    script, message = HOSTILE[case]
    serve(lambda _: script)
    assert message in pull_by_command(run, tmp_path / "cache")


@pytest.mark.parametrize("case", ["cut", "another part", "too little of it", "416", "only what fits is read"])
def test_what_was_left_of_it_is_not_trusted(
    case: str, serve: Callable[..., Server], run: Run, tmp_path: Path, assets: Path
) -> None:
    """The next command, with a server that continues a `.part` as it should, gets the official bytes."""
    official = (assets / "models" / "yolox_nano.onnx").read_bytes()
    serve(lambda _: HOSTILE[case][0])
    pull_by_command(run, tmp_path / "cache")

    def good(head: str) -> Iterator[bytes]:
        start = int(head.partition("bytes=")[2].partition("-")[0] or 0)
        last = len(official) - 1
        status = b"206 part\r\nContent-Range: bytes %d-%d/%d" % (start, last, last + 1) if start else b"200 OK"
        yield b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, last + 1 - start)
        yield official[start:]

    serve(good)
    assert run("models", "pull", "yolox-nano")[0] == 0
    assert (tmp_path / "cache" / "yolox_nano.onnx").read_bytes() == official
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 419430400\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n",
    ],
    ids=["promised", "without an end", "one endless chunk"],
)
def test_no_more_is_taken_than_the_row_says(
    head: bytes, serve: Callable[..., Server], run: Run, tmp_path: Path
) -> None:
    """It once stored 419 MB for a pinned file of 3.66 MB."""
    serve(lambda _: itertools.chain([head], ENDLESS))
    assert "expected at most 3660092" in pull_by_command(run, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_file_without_a_size_has_a_limit_too(
    serve: Callable[..., Server], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = ("yolox-tiny", "--accept-unpinned")
    serve(lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\n"])
    assert "expected at most 1073741824" in pull_by_command(run, tmp_path / "cache", *name)
    serve(lambda _: [b"HTTP/1.1 200 OK\r\n\r\n", DATA])
    assert "does not say how long the file is" in pull_by_command(run, tmp_path / "cache", *name)


@pytest.mark.parametrize(
    "script",
    [
        lambda _: iter(lambda: time.sleep(0.02) or b"", None),
        lambda _: dripping(b""),
        lambda _: dripping(b"HTTP/1.1 200 OK\r\nX-A: "),
        lambda _: dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 3660092\r\n\r\n"),
        lambda _: dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;"),
        lambda _: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda _: itertools.chain(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"], itertools.repeat(b"X-A: b\r\n")
        ),
    ],
    ids=["silence", "status", "headers", "body", "chunk", "100 for ever", "trailers for ever"],
)
def test_nothing_goes_on_for_ever(
    script: Script, serve: Callable[..., Server], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patience is cut short here, and every byte of the server's comes long before it ends."""
    monkeypatch.setattr(fetch, "_PATIENCE_S", 0.4)
    monkeypatch.setattr(fetch, "_TRIES", 2)
    serve(script)
    assert "too slow" in pull_by_command(run, tmp_path / "cache")


def test_the_body_of_a_redirect_is_not_read(serve: Callable[..., Server], run: Run, tmp_path: Path) -> None:
    """urllib would read it to its end, into memory."""
    there = serve(lambda _: [b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n"]).url
    head = f"HTTP/1.1 302 there\r\nLocation: {there}/x\r\n\r\n".encode()
    serve(lambda _: itertools.chain([head], ENDLESS))
    assert "answers 404" in pull_by_command(run, tmp_path / "cache")


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS; what this process asks trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    pem = tmp_path / "localhost.pem"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*words.split(), "-keyout", pem, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "cert.pem").read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_never_from_https_down_to_http(
    serve: Callable[..., Server], tls: ssl.SSLContext, run: Run, tmp_path: Path
) -> None:
    plain = serve(lambda _: [WHOLE])
    down = f"HTTP/1.1 302 down\r\nLocation: {plain.url}/\r\n\r\n".encode()
    secret = serve(lambda head: [WHOLE] if "/x" in head else [down], tls)
    assert f"leads to {plain.url}/, which is not encrypted" in pull_by_command(run, tmp_path / "cache")
    assert not plain.heads
    fetch.download(f"{secret.url}/x", tmp_path / "x", 1 << 20)
    assert (tmp_path / "x").read_bytes() == DATA
    serve(lambda _: [f"HTTP/1.1 302 up\r\nLocation: {secret.url}/x\r\n\r\n".encode()])
    assert "16384 bytes, expected 3660092" in pull_by_command(run, tmp_path / "cache")  # up is allowed


def test_what_cannot_be_written_is_not_tried_again(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(lambda _: [WHOLE])
    with pytest.raises(FileNotFoundError):
        fetch.download(server.url, tmp_path / "no folder" / "x", 1 << 20)
    assert len(server.heads) == 1


def test_a_file_address(tmp_path: Path) -> None:
    """POSERT_MIRROR may be one."""
    (tmp_path / "x").write_bytes(DATA)
    fetch.download((tmp_path / "x").as_uri(), tmp_path / "y", len(DATA))
    assert (tmp_path / "y").read_bytes() == DATA
    with pytest.raises(PosertError, match="cannot be fetched"):
        fetch.download((tmp_path / "z").as_uri(), tmp_path / "y", len(DATA))
