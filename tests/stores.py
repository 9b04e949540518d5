"""A local object store, and a proxy before it that fails as networks and servers do."""

import http.client
import http.server
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import media
import pytest
from command import tree

from posert.runtime.store import remote

BUCKET = "s3://our-set"


@dataclass
class Faults:
    """What the proxy does with the next requests that match, each once; and the requests that came.

    Attributes:
        waiting: (what the method and address must hold, kind): `500`, `403`, `expired` (the token of a listing), `cut`
            (half of the body), `stalled` (half of it, then nothing), `short` (a whole body that is too short), `slow`.
    """

    waiting: deque[tuple[str, str]] = field(default_factory=deque)
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, kind: str, times: int = 1) -> None:
        self.waiting.extend([(what, kind)] * times)

    def of(self, request: str) -> str:
        with self.lock:
            self.asked.append(request)
            found = next((each for each in self.waiting if re.search(each[0], request)), None)
            if found is None:
                return ""
            self.waiting.remove(found)
            return found[1]


KEY = "AKIAOURS"
ERRORS = {
    "500": (500, "InternalError", "We encountered an internal error."),
    "403": (403, "AccessDenied", "Access Denied"),
    "expired": (400, "InvalidArgument", "The continuation token provided is incorrect"),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands requests on to `target` (host, port), unless the server's faults say otherwise."""

    protocol_version = "HTTP/1.1"
    server: Any

    def handle_any(self) -> None:
        body = self.request_body()
        fault = self.server.faults.of(f"{self.command} {self.path}")
        if fault in ERRORS:
            status, code, text = ERRORS[fault]
            self.answer(status, [], f"<Error><Code>{code}</Code><Message>{text}</Message></Error>".encode())
            return
        link = http.client.HTTPConnection(*self.server.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        link.request(self.command, self.path, body, headers)
        came = link.getresponse()
        data = came.read()
        self.answer(came.status, came.getheaders(), data, fault)
        link.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def request_body(self) -> bytes | None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return data
        length = int(self.headers.get("Content-Length", 0))
        return self.rfile.read(length) if length else None

    def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, fault: str = "") -> None:
        if fault == "short":
            data = data[: len(data) // 2]
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        known = {name.lower(): value for name, value in headers}
        said = known.get("content-length", str(len(data))) if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", said)
        self.end_headers()
        if fault in ("cut", "stalled"):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.server.released.wait(5 if fault == "stalled" else 0)
            self.close_connection = True
        elif fault == "slow":
            for at in range(0, len(data), 1 + len(data) // 10):
                self.wfile.write(data[at : at + 1 + len(data) // 10])
                time.sleep(0.05)
        else:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxy(target: tuple[str, int]) -> Iterator[tuple[str, Faults]]:
    """The address of a server before another one, and its faults."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.target, server.faults, server.released = target, Faults(), threading.Event()
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.faults
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


@contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """Moto's server of S3."""
    moto = pytest.importorskip("moto.server", reason="needs moto[server] and s3fs (`make test-readers`)")
    pytest.importorskip("s3fs", reason="needs moto[server] and s3fs (`make test-readers`)")
    from werkzeug.serving import make_server

    app = moto.DomainDispatcherApplication(moto.create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield "127.0.0.1", server.server_port
    finally:
        server.shutdown()
        server.server_close()


def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which the libraries find an account."""
    known = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": "hush-hush", "DEFAULT_REGION": "us-east-1"}
    for name, value in known.items():
        monkeypatch.setenv(f"AWS_{name}", value)


def fill(address: str, server: tuple[str, int], files: dict[str, Path | bytes]) -> None:
    """Puts files below `s3://bucket/...`; moto looks at no signature."""
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    data = {name: what if isinstance(what, bytes) else what.read_bytes() for name, what in files.items()}
    for path, body in {f"/{bucket}": b"", **{f"/{bucket}/{prefix}{name}": body for name, body in data.items()}}.items():
        link = http.client.HTTPConnection(*server, timeout=30)
        link.request(
            "PUT",
            quote(path),
            body,
            {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAOURS/1/us-east-1/s3/aws4_request"},
        )
        answer = link.getresponse()
        assert answer.status in (200, 409), (answer.status, answer.read())  # the bucket may be there
        link.close()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def fetched(address: str, folder: Path) -> dict[str, bytes]:
    for name in remote.listing(address):
        path = folder / name.removeprefix(address)
        path.parent.mkdir(parents=True, exist_ok=True)
        remote.read(name, path)
    return tree(folder)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three videos in a tree."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    media.video(folder / "deep" / "a.mp4", count=5)
    media.video(folder / "b.mp4", count=4)
    media.video(folder / "c.mp4", count=3)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with s3_server() as server:
        yield server


@pytest.fixture
def faults(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> Iterator[Faults]:
    """The clips in a store, whose proxy has these faults; scratch in a folder that must be empty in the end."""
    account(monkeypatch)
    with proxy(server) as (address, faults):
        found = {path.relative_to(clips).as_posix(): path for path in clips.rglob("*.mp4")}
        fill(f"{BUCKET}/clips/", server, {**found, "notes.txt": b"no clip"})
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setattr(remote, "PAUSES_S", (0.01,) * 4)
        (tmp_path / "scratch").mkdir()
        monkeypatch.setenv("POSERT_SCRATCH", str(tmp_path / "scratch"))
        remote._system.cache_clear()
        yield faults
        remote._system.cache_clear()
        assert not list((tmp_path / "scratch").iterdir())
