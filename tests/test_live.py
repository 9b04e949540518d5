"""Sources that do not wait: every result at once, the newest frame when we are slower, a lost stream opened again."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import cv2
import media
import numpy as np
import pytest
import tiny
from command import ROOT

from posert.errors import PosertError
from posert.poses import Frame
from posert.runtime.loop import estimate
from posert.runtime.media import live, read
from posert.runtime.media.live import is_live
from posert.runtime.media.read import frames
from posert.runtime.session import Model, open_model

GREY = np.full((64, 64, 3), 80, np.uint8)


@pytest.fixture
def whole_frame(tmp_path: Path) -> Path:
    return tiny.bright_spot(tmp_path / "frame.onnx", region="frame")


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_result_comes_before_the_next_frame_is_there(whole_frame: Path, workers: int) -> None:
    """They came `workers` frames late."""
    seen = threading.Semaphore(0)

    def camera() -> Iterator[Frame]:
        for index in range(6):
            yield Frame(GREY, index)
            assert seen.acquire(timeout=20), f"nobody sees frame {index} before the next one"

    with open_model(whole_frame, workers=workers) as model:
        for _ in estimate(model, camera()):
            seen.release()


@pytest.mark.parametrize("to_a_file", [False, True])
def test_frames_on_standard_input_come_out_one_by_one(whole_frame: Path, tmp_path: Path, to_a_file: bool) -> None:
    """Lines waited in a buffer until the input ended."""
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "posert.cli", "infer", str(whole_frame), "-", "--size", "64x64", "-q"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [*command, *(["-o", str(out)] if to_a_file else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | {"PYTHONPATH": str(ROOT / ".typing")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    killer = threading.Timer(60, process.kill)
    killer.start()
    for index in range(5):
        process.stdin.write(GREY.tobytes())
        process.stdin.flush()
        if not to_a_file:
            lines = [process.stdout.readline() for _ in range(1 if index else 2)]
            assert json.loads(lines[-1])["frame"] == index
    process.stdin.close()
    assert process.wait(60) == 0
    killer.cancel()
    assert not to_a_file or len(out.read_bytes().splitlines()) == 6


def slow_network(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Makes the network wait: (set once it has begun, to be set so that it goes on)."""
    begun, go_on, run = threading.Event(), threading.Event(), Model.run

    def waits(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return run(*arguments)

    monkeypatch.setattr(Model, "run", waits)
    return begun, go_on


def test_the_newest_frame_is_next_when_the_network_is_slow(whole_frame: Path, monkeypatch) -> None:
    begun, go_on = slow_network(monkeypatch)

    def camera() -> Iterator[Frame]:
        yield Frame(GREY, 0)
        assert begun.wait(20)
        yield from (Frame(GREY, index) for index in range(1, 10))
        go_on.set()

    with open_model(whole_frame) as model:
        results = list(estimate(model, camera(), live=True))
    assert [(result.frame_index, result.dropped) for result in results] == [(0, 0), (9, 8)]


def test_the_newest_frame_is_next_when_the_caller_is_slow(whole_frame: Path) -> None:
    busy, came = threading.Event(), threading.Event()

    def camera() -> Iterator[Frame]:
        yield Frame(GREY, 0)
        assert busy.wait(20)
        yield from (Frame(GREY, index) for index in range(1, 10))
        came.set()
        yield Frame(GREY, 10)

    with open_model(whole_frame, workers=8) as model:
        results = estimate(model, camera(), live=True)
        first = next(results)
        busy.set()
        assert came.wait(20)
        rest = list(results)
    assert first.dropped == 0
    assert rest[-1].frame_index == 10
    assert sum(result.dropped for result in rest) + len(rest) == 10
    assert len(rest) <= 2


def test_sources_that_wait_lose_nothing(whole_frame: Path) -> None:
    with open_model(whole_frame, workers=2) as model:
        results = list(estimate(model, [GREY] * 30))
    assert [(result.frame_index, result.dropped) for result in results] == [(index, None) for index in range(30)]


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_has_a_frame(whole_frame: Path, batch: int) -> None:
    with open_model(whole_frame) as model, pytest.raises(PosertError, match=f"batch {batch}"):
        list(estimate(model, [GREY], batch=batch))


class Camera(BaseHTTPRequestHandler):
    """JPEGs one after the other, as network cameras send them; and files, with and without their length."""

    files: ClassVar[dict[str, tuple[str, bytes, bool]]] = {}
    connections = 0

    def do_GET(self) -> None:
        kind, data, tells_length = self.files.get(self.path, ("", b"", False))
        if not kind:
            self._jpegs()
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if tells_length:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _jpegs(self) -> None:
        type(self).connections += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        jpeg = cv2.imencode(".jpg", GREY)[1].tobytes()
        for _ in range(8):
            self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
            self.wfile.write(jpeg + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    film = media.video(tmp_path / "film.avi").read_bytes()
    files = {
        "/film.avi": ("video/x-msvideo", film, True),
        "/endless": ("application/octet-stream", b"", False),
        "/film": ("video/x-msvideo", film, False),
        "/a.jpg": ("image/jpeg", cv2.imencode(".jpg", GREY)[1].tobytes(), False),
    }
    monkeypatch.setattr(Camera, "files", files)
    monkeypatch.setattr(Camera, "connections", 0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("0", True), ("rtsp://x/1", True), ("udp://:5000", True), ("srt://x:1", True), ("rtmp://x/live", True),
        ("-", False), ("file:///a.mp4", False), ("a.mp4", False),
        ("/camera", True), ("/film.avi", False), ("/endless", True), ("/film", False), ("/a.jpg", False),
        ("http://127.0.0.1:9/none", False),
    ],
)  # fmt: skip
def test_which_sources_are_live(address: str, source: str, expected: bool) -> None:
    assert is_live(address + source if source.startswith("/") else source) is expected


def test_a_lost_stream_is_opened_again(address: str, monkeypatch, caplog) -> None:
    monkeypatch.setattr(live, "_PAUSES_S", (0.01,))
    got = []
    for frame in frames(f"{address}/camera"):
        got.append(frame)
        if len(got) == 20:
            break
    assert [frame.index for frame in got] == list(range(20))
    assert Camera.connections > 3  # is it live, once, and eight pictures a connection
    assert "is lost; it is opened again in" in caplog.text
    times = [frame.time_s for frame in got]
    assert times == sorted(times)


def test_a_lost_stream_is_not_waited_for_beyond_the_end(address: str) -> None:
    assert len(list(frames(f"{address}/camera", stop_s=0.4))) == 8


def test_the_first_failure_of_a_stream_is_said() -> None:
    with pytest.raises(PosertError, match="cannot be opened"):
        list(frames("rtmp://127.0.0.1:9/none"))


def test_live_records_say_what_was_left_out(address: str, whole_frame: Path, run) -> None:
    code, out, _ = run("infer", whole_frame, f"{address}/camera", "--stop", 0.4, "-q")
    records = [json.loads(line) for line in out.splitlines()[1:]]
    assert code == 0
    assert records
    assert Camera.connections == 2  # one asks what it is, the other reads
    assert sum(record["dropped"] for record in records) + len(records) <= 8
    assert records[-1]["frame"] == 7


def test_standard_input_is_live_when_told(whole_frame: Path, run, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", type("", (), {"buffer": io.BytesIO(GREY.tobytes() * 3)}))
    _, out, _ = run("infer", whole_frame, "-", "--size", "64x64", "--live", "-q")
    assert "dropped" in json.loads(out.splitlines()[-1])
    assert read.frame_rate("-") == 30
