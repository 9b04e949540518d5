"""models.lock and fetching: what a broken, lying or hostile server can do to us."""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command import Run

from posert.errors import PosertError
from posert.export import weights
from posert.export.weights import Entry
from posert.runtime.files import locks

DATA = bytes(range(256)) * 2000
ENTRY = Entry(
    "toy", "toy", "onnx", "MIT", file="toy.bin", sha256=hashlib.sha256(DATA).hexdigest(), bytes=len(DATA)
)  # fmt: skip
HELLO_SHA256 = hashlib.sha256(b"hello\n").hexdigest()
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
    length = len(data) if length is None else length
    handler.send_response(status)
    handler.send_header("Content-Length", str(length))
    if status == 206:  # the rest of the file
        handler.send_header("Content-Range", f"bytes {len(DATA) - length}-{len(DATA) - 1}/{len(DATA)}")
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
        (lambda handler, _: send(handler, DATA + b"!"), f"{len(DATA) + 1} bytes or more, expected at most {len(DATA)}"),
        (lambda handler, _: send(handler, DATA, length=10**9), "sends 1000000000 bytes or more"),
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


@pytest.mark.parametrize(
    ("pin", "words"),
    [
        ({"git_blob": "ce013625030ba8dba906f756967f9e9ca394464a"}, "git's SHA-1"),  # git hash-object
        ({"md5": "b1946ac92492d2347c6235b4d2611184"}, "its authors' MD5"),
        ({"md5": "b1946ac92492d2347c6235b4d2611184", "sha256": HELLO_SHA256}, "sha256"),
    ],
    ids=["git", "md5", "md5 and sha256"],
)
def test_every_pin_is_checked_and_named(tmp_path: Path, pin: dict[str, str], words: str) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    entry = replace(ENTRY, **{"sha256": "", "bytes": 0, **pin})
    assert weights.pull(entry, from_file=tmp_path / "a")
    assert entry.pin == words
    for kind, digest in pin.items():
        wrong = digest[:-1] + ("0" if digest[-1] != "0" else "1")
        with pytest.raises(PosertError, match=f"expected {wrong}"):
            weights.pull(replace(entry, **{kind: wrong}), from_file=tmp_path / "a")


def test_eight_digits_are_no_pin(serve: Serve, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file with a given 32 bits of SHA-256 is found by minutes of trying, and these files are pickles."""
    (tmp_path / "a").write_bytes(b"hello\n")
    few = replace(ENTRY, sha256="", bytes=0, sha256_prefix="5891b5b5")
    with pytest.raises(PosertError, match=f"only 8 digits of its hash are published .sha256 {HELLO_SHA256}") as caught:
        weights.pull(few, from_file=tmp_path / "a")
    assert "`accept_unpinned`" in caught.value.hint
    assert weights.pull(few, from_file=tmp_path / "a", accept_unpinned=True)
    assert HELLO_SHA256 in caplog.text
    with pytest.raises(PosertError, match="expected 5891b5b6"):
        weights.pull(replace(few, sha256_prefix="5891b5b6"), from_file=tmp_path / "a", accept_unpinned=True)
    entry = replace(few, url=serve(lambda handler, _: send(handler, b"hello\n")).url)
    with pytest.raises(PosertError, match="only 8 digits"):  # before anything is fetched
        weights.pull(entry)
    assert not cache.exists()
    weights.pull(entry, accept_unpinned=True)
    assert weights.status(entry) == "unpinned"
    assert weights.pins(entry) == "no pin but 8 digits of its sha256"


def test_the_next_address_is_asked(serve: Serve, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each failure is said once; what a lying server sent does not hinder the next."""
    gone = serve(lambda handler, _: handler.send_error(404)).url
    lying = serve(lambda handler, _: send(handler, b"x" * len(DATA))).url

    def half_a_lie(handler: http.server.BaseHTTPRequestHandler, _: int) -> None:
        send(handler, b"x" * 1000, length=len(DATA))
        handler.close_connection = True

    cut = serve(half_a_lie).url
    good = serve(lambda handler, _: send(handler, ranged(handler), 206 if handler.headers["Range"] else 200)).url
    entry = replace(ENTRY, url=gone, mirrors=(lying, cut, good))
    assert weights.pull(entry).read_bytes() == DATA
    said = [record.getMessage() for record in caplog.records if "asking the next" in record.getMessage()]
    assert [next(url for url in (gone, lying, cut, good) if url in text) for text in said] == [gone, lying, cut]
    assert [item.name for item in cache.iterdir()] == ["toy.bin"]
    (cache / "toy.bin").unlink()
    with pytest.raises(PosertError, match=f"{lying} is not the official toy"):
        weights.pull(replace(entry, mirrors=(lying,)))


def test_halves_of_two_unpinned_files_never_meet(serve: Serve, cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.bin.part").write_bytes(b"from before")
    entry = serve(lambda handler, _: send(handler, ranged(handler), 206 if handler.headers["Range"] else 200))
    path = weights.pull(replace(entry, sha256="", bytes=0), accept_unpinned=True)
    assert path.read_bytes() == DATA


BESIDE = weights.File(file="toy.cfg", sha256=HELLO_SHA256, bytes=6)


def test_what_lies_beside_is_fetched_and_pinned(serve: Serve, cache: Path, tmp_path: Path) -> None:
    """Rows of several files: Darknet's .cfg, Caffe's .prototxt, ncnn's .param, OpenVINO's .xml."""
    good = serve(lambda handler, _: send(handler, b"hello\n")).url
    evil = serve(lambda handler, _: send(handler, b"howdy\n")).url
    entry = serve(lambda handler, _: send(handler, DATA))
    with pytest.raises(PosertError, match="its hash is"):
        weights.pull(replace(entry, beside=[replace(BESIDE, url=evil)]))
    entry = replace(entry, beside=[replace(BESIDE, url=good)])
    assert weights.status(entry) == "not fetched"
    path = weights.pull(entry)
    assert weights.beside(entry, path, ".cfg") == cache / "toy.cfg"
    assert (cache / "toy.cfg").read_bytes() == b"hello\n"
    assert weights.status(entry) == "cached"
    (cache / "toy.cfg").write_bytes(b"howdy\n")
    assert weights.status(entry) == "damaged"
    (cache / "toy.cfg").unlink()

    own = tmp_path / "own.bin"
    own.write_bytes(DATA)
    assert weights.pull(entry, from_file=own) == own
    assert weights.beside(entry, own, ".cfg") == cache / "toy.cfg"
    own.with_suffix(".cfg").write_bytes(b"howdy\n")
    assert weights.beside(entry, own, ".cfg") == own.with_suffix(".cfg")
    with pytest.raises(PosertError, match=r"own\.cfg is not the official toy"):
        weights.pull(entry, from_file=own)


def test_two_at_once(cache: Path) -> None:
    """As long as the other runs: what a killed one left, the file of its lock, is in nobody's way."""
    cache.mkdir()
    other = locks.take(cache / "toy.bin.part.lock")
    with pytest.raises(PosertError, match="another posert is fetching"):
        weights.pull(replace(ENTRY, url="http://127.0.0.1:9/"))
    other.close()
    assert (cache / "toy.bin.part.lock").exists()
    with pytest.raises(PosertError, match=r"127\.0\.0\.1:9"):
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
        for file in entry.files:
            for pin, digits in ((file.sha256, 64), (file.git_blob, 40), (file.md5, 32), (file.sha256_prefix, 8)):
                assert re.fullmatch(f"([0-9a-f]{{{digits}}})?", pin)
            assert entry.route == "embedded" or file.file
            assert "/" not in file.file
            assert not file.mirrors or file.url
            assert all(address.startswith("https:") for address in file.mirrors)
        assert all(Path(entry.file).stem == Path(file.file).stem for file in entry.beside)
        assert entry.finds
        assert bool(entry.ap) <= bool(entry.ap_on)
        assert entry.detector in ("", "none") or known[entry.detector].finds.startswith("boxes")
    addresses = {entry.file: entry.url for entry in known.values()}  # two models may share their weights
    assert all(addresses[entry.file] == entry.url for entry in known.values())
    assert len(addresses) >= len(known) - 2


def test_the_list_fits_a_terminal_and_says_what_a_name_is_worth(run: Run, cache: Path) -> None:
    out = run("models", "list")[1]
    by_name, first = out.split("\n\n")[:2]
    assert max(map(len, out.splitlines())) <= 80
    assert "\nmovenet-thunder                12.6 one, 17               Apache-2.0\n" in by_name
    assert "\nrtmpose-m                      54.3 in boxes, 17    74.9  Apache-2.0\n" in by_name
    assert re.search(r"\nopenpose-body25 +several, 25 +research only !\n", by_name)
    assert re.search(r"\nopenpifpaf-resnet50 +several, 17 +AGPL-3.0 ! [?]\n", first)
    assert re.search(r"\ntinypose-128x96 +in boxes, 17 +58.1 +Apache-2.0 [?] @\n", first)
    listed = {row["name"]: row for row in json.loads(run("models", "list", "--json")[1])}
    assert listed.keys() == weights.entries().keys()
    assert all(f"\n{name}" in out for name in listed)
    assert listed["openpifpaf-resnet50"]["pinned_by"] == "no pin but 8 digits of its sha256"
    assert listed["rtmpose-m"]["ap_on"] == "COCO val"
    assert {row["name"] for row in listed.values() if row["runs_by_name"]} == {
        line.split()[0] for line in by_name.splitlines()[2:] if not line.startswith(" ")
    }


def test_verify_says_what_a_pin_is_worth(run: Run, cache: Path) -> None:
    cache.mkdir()
    (cache / weights.find("movenet-thunder-saved-model").file).write_bytes(b"anything")
    code, out, _ = run("models", "verify", "movenet-thunder-saved-model", "yolox-nano")
    assert (code, [line.split(maxsplit=1)[1] for line in out.splitlines()]) == (
        0, ["unpinned     no pin", "not fetched  sha256"],
    )  # fmt: skip


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(PosertError, match="no model 'movenet-lightening'") as caught:
        weights.find("movenet-lightening")
    assert "movenet-lightning" in caught.value.hint
