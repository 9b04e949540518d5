"""Addresses that are more than a file: a member of a zip, and Google Drive with its page about large files.

Drive itself was out of reach: a local server plays it, page and all.
"""

import hashlib
import http.server
import io
import resource
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posert.errors import PosertError
from posert.export import addresses, weights
from posert.export.weights import Entry

DATA = bytes(range(256)) * 1000
Answer = Callable[[http.server.BaseHTTPRequestHandler], bytes | None]


def zipped(*members: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return made.getvalue()


GOOD = zipped(("20230831/net/deploy.json", b"{}"), ("20230831/net/end2end.onnx", DATA))


class Site:
    """Answers by a function of the request: the bytes of an answer, or None for 404; what was asked for."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: None
        self.asked: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                data = site.answer(self)
                begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
                self.send_response(404 if data is None else 206 if begin else 200)
                data = data or b""
                self.send_header("Content-Length", str(len(data) - begin))
                if begin:
                    self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                self.wfile.write(data[begin:])

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("POSERT_MIRROR", "POSERT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    made = Site()
    yield made
    made.server.shutdown()


def entry(*urls: str, pinned: bool = True) -> Entry:
    pin = hashlib.sha256(DATA).hexdigest() if pinned else ""
    return Entry(
        "toy", "toy", "onnx", "MIT", file="toy.onnx", url=urls[0], mirrors=urls[1:], sha256=pin,
        bytes=len(DATA) if pinned else 0,
    )  # fmt: skip


def test_a_member_of_a_zip_is_the_file(site: Site, home: Path) -> None:
    site.answer = lambda _: GOOD
    for pinned in (True, False):
        row = entry(f"{site.url}/net.zip#end2end.onnx", pinned=pinned)
        assert weights.pull(row, accept_unpinned=True).read_bytes() == DATA
        assert [path.name for path in home.iterdir()] == ["toy.onnx"]
        (home / "toy.onnx").unlink()
    assert site.asked == ["/net.zip"] * 2


def test_the_next_address_may_be_the_bare_file(site: Site, home: Path) -> None:
    """A mirror without the zip; and a zip that is broken."""
    site.answer = lambda request: DATA if "bare" in request.path else GOOD[:3000]
    row = entry(f"{site.url}/net.zip#end2end.onnx", f"{site.url}/bare.onnx")
    assert weights.pull(row).read_bytes() == DATA
    assert [path.name for path in home.iterdir()] == ["toy.onnx"]


def test_a_zip_that_began_elsewhere_is_fetched_again(site: Site, home: Path) -> None:
    site.answer = lambda _: GOOD
    (home / "toy.onnx.part.zip").write_bytes(b"PK of somebody else")
    assert weights.pull(entry(f"{site.url}/net.zip#end2end.onnx")).read_bytes() == DATA
    (home / "toy.onnx").unlink()
    (home / "toy.onnx.part.zip").write_bytes(GOOD[:1000])
    site.asked.clear()
    assert weights.pull(entry(f"{site.url}/net.zip#end2end.onnx")).read_bytes() == DATA
    assert site.asked == ["/net.zip"]


def encrypted() -> bytes:
    data = bytearray(zipped(("end2end.onnx", DATA)))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(("a.onnx", DATA)), "has 0 files end2end.onnx, expected one"),
        (zipped(("a/end2end.onnx", DATA), ("b/end2end.onnx", DATA)), "has 2 files end2end.onnx, expected one"),
        (zipped(("end2end.onnx", DATA + b"!")), f"has more than {len(DATA)} bytes"),
        (zipped(("end2end.onnx", bytes(10**8))), f"has more than {len(DATA)} bytes"),
        (zipped(("end2end.onnx", DATA[:-1])), f"{len(DATA) - 1} bytes, expected {len(DATA)}"),
        (b"no zip at all", "is no zip that can be read"),
        (GOOD[:-40], "is no zip that can be read"),
        (encrypted(), "is no zip that can be read"),
        (b"PK\x05\x06" + bytes(18), "has 0 files"),
    ],
    ids=["absent", "two", "too long", "bomb", "too short", "text", "cut", "encrypted", "empty"],
)
def test_what_zips_can_do_to_us(data: bytes, message: str, site: Site, home: Path) -> None:
    site.answer = lambda _: data
    with pytest.raises(PosertError) as caught:
        weights.pull(entry(f"{site.url}/net.zip#end2end.onnx"))
    assert message in caught.value.what
    assert not list(home.iterdir())


def test_names_in_a_zip_lead_nowhere(site: Site, home: Path) -> None:
    site.answer = lambda _: zipped(("../../end2end.onnx", DATA), ("/etc/passwd", b"x"))
    assert weights.pull(entry(f"{site.url}/net.zip#end2end.onnx")).read_bytes() == DATA
    assert [path.name for path in home.iterdir()] == ["toy.onnx"]
    assert not (home.parent.parent / "end2end.onnx").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
@pytest.mark.parametrize("limit", [500, 100_000], ids=["the zip", "the member"])
def test_a_full_disk(limit: int, site: Site, home: Path) -> None:
    site.answer = lambda _: GOOD
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(PosertError, match="cannot be written: File too large"):
            weights.pull(entry(f"{site.url}/net.zip#end2end.onnx"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(home.iterdir())


# Google Drive

PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title><style>form{}</style></head><body>
<p>Google Drive can't scan this file for viruses.</p><a href="/open?id=X">fast.pth</a> (155M) is too large.
<form id="download-form" action="%s/download" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="X"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="a-b"></form></body></html>"""
FULL = "<html><head><title>Google Drive - Quota exceeded</title></head><body>Sorry</body></html>"


@pytest.fixture
def drive(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(addresses, "_DRIVE", ("127.0.0.1",))
    return site


def test_a_small_file_comes_at_once(drive: Site, home: Path) -> None:
    drive.answer = lambda _: DATA
    path = weights.pull(entry(f"{drive.url}/uc?export=download&id=X", pinned=False), accept_unpinned=True)
    assert path.read_bytes() == DATA
    assert len(drive.asked) == 1


@pytest.mark.parametrize("pinned", [False, True])
def test_a_large_file_comes_behind_the_page(pinned: bool, drive: Site, home: Path) -> None:
    drive.answer = lambda request: DATA if "confirm=t" in request.path else (PAGE % drive.url).encode()
    path = weights.pull(entry(f"{drive.url}/uc?export=download&id=X", pinned=pinned), accept_unpinned=True)
    assert path.read_bytes() == DATA
    assert drive.asked == ["/uc?export=download&id=X", "/download?id=X&export=download&confirm=t&uuid=a-b"]
    assert [item.name for item in home.iterdir()] == ["toy.onnx"]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (FULL, "gives a page instead of the file (Google Drive - Quota exceeded)"),
        ("<html><form action='https://elsewhere.invalid/'><input type=hidden name=id value=X></form>", "gives a page"),
        ("<html><title>\x1b[31mred", "gives a page instead of the file (\\x1b[31mred)"),
        (PAGE % "", "gives a page instead of the file, again"),
    ],
    ids=["quota", "leads elsewhere", "escapes", "for ever"],
)
def test_other_pages_are_no_weights(page: str, message: str, drive: Site, home: Path) -> None:
    drive.answer = lambda _: page.encode()
    with pytest.raises(PosertError) as caught:
        weights.pull(entry(f"{drive.url}/uc?id=X", pinned=False), accept_unpinned=True)
    assert message in caught.value.what
    assert "`from_file`" in caught.value.hint
    assert not list(home.iterdir())


def test_every_file_that_the_list_had_on_drive_has_its_address() -> None:
    known = weights.entries()
    rows = [row for row in known.values() if "Google Drive" in row.source]
    assert len(rows) == 14
    for row in rows:
        assert row.url == f"https://drive.google.com/uc?export=download&id={row.source.split()[2].rstrip(',')}"
