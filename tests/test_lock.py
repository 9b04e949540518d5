"""models.lock and fetching: what a broken, lying or hostile server can do to us."""

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from posert.errors import PosertError
from posert.export import weights
from posert.export.weights import Entry

DATA = bytes(range(256)) * 2000
ENTRY = Entry(
    "toy", "toy", "onnx", "MIT", file="toy.bin", sha256=hashlib.sha256(DATA).hexdigest(), bytes=len(DATA)
)  # fmt: skip
Serve = Callable[[Callable[[http.server.BaseHTTPRequestHandler, int], None]], Entry]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("POSERT_MIRROR", raising=False)
    monkeypatch.delenv("POSERT_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers request number n by `answer(handler, n)`; gives an entry that points to it."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(answer: Callable[[http.server.BaseHTTPRequestHandler, int], None]) -> Entry:
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.headers.get("Range"))
                answer(self, len(asked))

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return replace(ENTRY, url=f"http://127.0.0.1:{server.server_port}/toy.bin")

    yield start
    for server in servers:
        server.shutdown()


def send(
    handler: http.server.BaseHTTPRequestHandler, data: bytes, status: int = 200, length: int | None = None
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    handler.end_headers()
    handler.wfile.write(data)


def ranged(handler: http.server.BaseHTTPRequestHandler) -> bytes:
    asked = handler.headers.get("Range")
    return DATA[int(asked.removeprefix("bytes=").rstrip("-")) :] if asked else DATA


def test_a_plain_fetch(serve: Serve, cache: Path) -> None:
    seen = []
    entry = serve(lambda handler, _: send(handler, DATA))
    path = weights.pull(entry, progress=lambda done, whole: seen.append((done, whole)))
    assert path == cache / "toy.bin"
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert weights.status(entry) == "cached"
    assert [item.name for item in cache.iterdir()] == ["toy.bin"]


def test_a_connection_that_breaks_off_is_taken_up_again(serve: Serve) -> None:
    ranges = []

    def answer(handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        ranges.append(handler.headers.get("Range"))
        data = ranged(handler)
        if number < 3:  # promises all, sends a third
            send(handler, data[: len(DATA) // 3], 206 if ranges[-1] else 200, len(data))
            handler.close_connection = True
        else:
            send(handler, data, 206)

    assert weights.pull(serve(answer)).read_bytes() == DATA
    assert ranges[0] is None
    assert ranges[1] == f"bytes={len(DATA) // 3}-"
    assert len(ranges) == 3


def test_a_broken_fetch_is_continued_by_the_next_command(serve: Serve, cache: Path) -> None:
    def breaks(handler: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if number == 1:
            send(handler, DATA[:1000], length=len(DATA))
        else:
            handler.send_error(503)

    with pytest.raises(PosertError, match="cannot be fetched") as caught:
        weights.pull(serve(breaks))
    assert "same command again" in caught.value.hint
    assert (cache / "toy.bin.part").stat().st_size == 1000
    assert weights.pull(serve(lambda handler, _: send(handler, ranged(handler), 206))).read_bytes() == DATA


def test_a_server_that_ignores_ranges(serve: Serve, cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.bin.part").write_bytes(b"from before")
    assert weights.pull(serve(lambda handler, _: send(handler, DATA))).read_bytes() == DATA


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda handler, _: send(handler, b"x" * len(DATA)), "its hash is"),
        (lambda handler, _: send(handler, DATA[:-1]), f"{len(DATA) - 1} bytes, expected {len(DATA)}"),
        (lambda handler, _: send(handler, DATA + b"!"), f"{len(DATA) + 1} bytes, expected {len(DATA)}"),
        (lambda handler, _: send(handler, DATA, length=10**9), "cannot be fetched"),
        (lambda handler, _: handler.send_error(404), "answers 404"),
        (lambda handler, _: handler.send_error(500), "answers 500"),
    ],
    ids=["other bytes", "too short", "too long", "promises more", "404", "500"],
)
def test_wrong_answers_never_become_a_model(serve: Serve, cache: Path, answer: Callable, message: str) -> None:
    with pytest.raises(PosertError) as caught:
        weights.pull(serve(answer))
    assert message in caught.value.what
    assert not (cache / "toy.bin").exists()


def test_nobody_listens() -> None:
    with pytest.raises(PosertError, match="cannot be fetched"):
        weights.pull(replace(ENTRY, url="http://127.0.0.1:9/toy.bin"))


def test_mirror_folder_and_mirror_address(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "toy.bin").write_bytes(DATA)
    monkeypatch.setenv("POSERT_MIRROR", str(tmp_path / "mirror"))
    assert weights.pull(ENTRY, offline=True).read_bytes() == DATA
    weights.pull(ENTRY).unlink()
    entry = serve(lambda handler, _: send(handler, DATA))
    monkeypatch.setenv("POSERT_MIRROR", entry.url.removesuffix("/toy.bin"))
    assert weights.pull(ENTRY).read_bytes() == DATA
    monkeypatch.setenv("POSERT_MIRROR", str(tmp_path / "empty"))
    with pytest.raises(PosertError, match="the mirror has no"):
        weights.pull(replace(ENTRY, file="other.bin"))


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PosertError, match="posert is offline"):
        weights.pull(ENTRY, offline=True)
    monkeypatch.setenv("POSERT_OFFLINE", "1")
    with pytest.raises(PosertError, match="posert is offline"):
        weights.pull(ENTRY)


@pytest.mark.parametrize(
    ("data", "message"), [(b"short", "5 bytes, expected"), (b"x" * len(DATA), "its hash is")], ids=["size", "hash"]
)
def test_a_file_at_hand_is_verified_too(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "own.bin").write_bytes(data)
    with pytest.raises(PosertError) as caught:
        weights.pull(ENTRY, from_file=tmp_path / "own.bin")
    assert message in caught.value.what
    assert (tmp_path / "own.bin").read_bytes() == data


def test_pins_by_git_blob_and_by_prefix(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    blob = replace(ENTRY, sha256="", bytes=0, git_blob="ce013625030ba8dba906f756967f9e9ca394464a")  # git hash-object
    assert weights.pull(blob, from_file=tmp_path / "a")
    prefix = replace(ENTRY, sha256="", bytes=0, sha256_prefix="5891b5b5")
    assert weights.pull(prefix, from_file=tmp_path / "a")
    with pytest.raises(PosertError, match="expected 5891b5b6"):
        weights.pull(replace(prefix, sha256_prefix="5891b5b6"), from_file=tmp_path / "a")


def test_unpinned_files_need_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    unpinned = replace(ENTRY, sha256="", bytes=0)
    with pytest.raises(PosertError, match="sha256 5891b5b5") as caught:
        weights.pull(unpinned, from_file=tmp_path / "a")
    assert "`accept_unpinned`" in caught.value.hint
    assert weights.pull(unpinned, from_file=tmp_path / "a", accept_unpinned=True)
    assert "5891b5b5" in caplog.text


def test_two_at_once(cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.bin.part.lock").touch()
    with pytest.raises(PosertError, match="another posert is fetching"):
        weights.pull(replace(ENTRY, url="http://127.0.0.1:9/"))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "file"))
    with pytest.raises(PosertError, match="cannot be written"):
        weights.pull(replace(ENTRY, url="http://127.0.0.1:9/"))


def test_the_list_itself() -> None:
    known = weights.entries()
    assert known["nano"].route == "embedded"
    for entry in known.values():
        assert entry.licence
        assert entry.source
        assert sum(map(bool, (entry.sha256, entry.sha256_prefix, entry.git_blob))) <= 1
        assert not entry.sha256 or len(entry.sha256) == 64
        assert not entry.git_blob or len(entry.git_blob) == 40
        assert entry.route == "embedded" or entry.file
        assert "/" not in entry.file
    addresses = {entry.file: entry.url for entry in known.values()}  # two models may share their weights
    assert all(addresses[entry.file] == entry.url for entry in known.values())
    assert len(addresses) >= len(known) - 1


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(PosertError, match="no model 'movenet-lightening'") as caught:
        weights.find("movenet-lightening")
    assert "movenet-lightning" in caught.value.hint
