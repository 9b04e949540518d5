"""`posert live` without a browser: a real process, real WebSockets, frames with people, recordings, who may look."""

import json
import re
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import media
import numpy as np
import pytest
import tiny
from command import ROOT, Run
from serving import Server, serving

pytest.importorskip("uvicorn", reason="posert[serve] is not installed")
pytest.importorskip("prometheus_client", reason="posert[serve] is not installed")
client = pytest.importorskip("websockets.sync.client", reason="posert[serve] is not installed")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from posert.errors import PosertError  # noqa: E402
from posert.runtime.files.drawing import DrawOptions  # noqa: E402
from posert.runtime.files.results import read_results  # noqa: E402
from posert.runtime.media.orientation import Orientation  # noqa: E402
from posert.runtime.media.paced import paced, watched  # noqa: E402
from posert.runtime.media.read import frame_count  # noqa: E402
from posert.serve.live import View  # noqa: E402

COUNT, FPS = 12, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    tiny.bright_spot(folder / "dot.onnx")
    media.video(folder / "walk.mp4", count=COUNT, fps=FPS)
    media.video(folder / "short.mp4", count=90, fps=30)
    media.video(folder / "long.mp4", count=600, fps=30, size_wh=(96, 64))
    (folder / "gate").touch()
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with live(folder, "long.mp4", "walk.mp4", "--loop") as started:
        yield started


def live(folder: Path, *arguments: object) -> Any:
    return serving(folder, "dot.onnx", *arguments, "-o", folder / "kept", "--no-track", command="live")


class Viewer:
    def __init__(self, socket: Any) -> None:
        self._socket, self.told = socket, dict[str, Any]()

    def say(self, **message: Any) -> None:
        self._socket.send(json.dumps(message))

    def next(self, timeout_s: float = 20) -> tuple[dict[str, Any], np.ndarray]:
        """The next frame's JSON and picture; what is told on the way is in `told`."""
        while isinstance(message := self._socket.recv(timeout_s), str):
            self.told = json.loads(message)
        length = int.from_bytes(message[:4], "little")
        picture = cv2.imdecode(np.frombuffer(message, np.uint8, offset=4 + length), cv2.IMREAD_COLOR)
        return json.loads(message[4 : 4 + length]), picture

    def drawn(self) -> dict[str, Any]:
        """The next frame, answered."""
        head, _ = self.next()
        self.say(drawn=head["number"])
        return head

    def until(self, what: Any) -> dict[str, Any]:
        """Draws until something is told."""
        while not (self.told and what(self.told)):
            message = self._socket.recv(20)
            if isinstance(message, str):
                self.told = json.loads(message)
            else:
                self.say(drawn=json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])["number"])
        return self.told


@contextmanager
def viewer(server: Server, number: int = 0, **more: Any) -> Iterator[Viewer]:
    with client.connect(f"ws://127.0.0.1:{server.port}/live/{number}", max_size=None, **more) as socket:
        yield Viewer(socket)


def known(server: Server) -> dict[str, str]:
    """The header with the token that the server has announced, if it has."""
    found = re.search(r"\?token=(\S+)", server.announced)
    return {"Authorization": f"Bearer {found[1]}"} if found else {}


def lines(run: Run, *arguments: object) -> list[dict[str, Any]]:
    code, out, err = run("infer", *arguments, "-q")
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()[1:]]


def test_frames_come_with_the_people_of_infer(server: Server, folder: Path, run: Run) -> None:
    expected = lines(run, folder / "dot.onnx", folder / "walk.mp4")
    with viewer(server, 1) as looking:
        for _ in range(5):
            head, picture = looking.next()
            frame = expected[head["frame"] % COUNT]
            assert (head["size_wh"], head["people"]) == (frame["size_wh"], frame["people"])
            assert picture.shape == (48, 64, 3)
            assert picture[40, 50].mean() == pytest.approx(media.numbered(frame["frame"])[40, 50].mean(), abs=8)
            looking.say(drawn=head["number"])


def test_who_does_not_draw_gets_no_more_and_then_the_newest(server: Server) -> None:
    """Frames must not queue up between the server and a slow page; the others wait for nobody."""
    with viewer(server) as slow, viewer(server) as quick:
        first, second = slow.next()[0]["number"], slow.next()[0]["number"]
        for _ in range(8):
            newest = quick.drawn()["number"]
        with pytest.raises(TimeoutError):
            slow.next(0.3)
        slow.say(drawn=first)
        third = slow.next()[0]["number"]
        assert first < second < newest < third


def test_the_delay_and_all_sources_are_told(server: Server) -> None:
    with viewer(server) as looking:
        told = looking.until(lambda told: told["delay_ms"]["median"] > 0)
        assert told["delay_ms"]["median"] <= told["delay_ms"]["p95"]
        assert [source["state"] for source in told["sources"]] == ["runs", "runs"]
        assert all(source["fps"] > 0 and source["people"] == 1 for source in told["sources"])


def test_a_recording_is_read_again(server: Server, folder: Path) -> None:
    with viewer(server) as looking:
        looking.drawn()
        looking.say(record=True, overlay=True)
        looking.until(lambda told: told["recording"]["runs"] and told["recording"]["frames"] >= 10)
        looking.say(record=False)
        told = looking.until(lambda told: not told["recording"]["runs"])
    found = re.fullmatch(r"(long_mp4_1_\S+\.jsonl) and (\S+\.mp4): (\d+) frames", told["recording"]["said"])
    assert found, told
    recording = read_results(folder / "kept" / found[1])
    results = list(recording.results)
    assert (len(results), recording.model, recording.source) == (int(found[3]), "bright-spot", "long.mp4")
    assert (results[0].frame_index, results[0].time_s) == (0, 0.0)
    assert [result.frame_index for result in results[1:]] == [round(30 * result.time_s) for result in results[1:]]
    drawn = frame_count(str(folder / "kept" / found[2]))
    assert drawn >= 10
    assert {path.suffix for path in (folder / "kept").iterdir()} <= {".jsonl", ".mp4"}


@pytest.mark.parametrize(("drawing", "track"), [(DrawOptions(maps=("paf:all",)), True), (DrawOptions(trails=1), False)])
def test_recordings_are_drawn_as_they_can_be(drawing: DrawOptions, track: bool) -> None:
    with pytest.raises(PosertError, match="no `maps`, and no `trails` without ids"):
        View(track=track, drawing=drawing)


def test_pictures_are_turned_and_people_chosen(folder: Path) -> None:
    turned = live(folder, "long.mp4", "--rotate", 90, "--mirror", "--min-score", 0.95)
    with turned as started, viewer(started) as looking:
        head, picture = looking.next()
        assert (head["size_wh"], head["people"]) == ([64, 96], [])
        assert picture[5, 5].min() > 200  # the white quarter, once to the right and back
        assert picture[5, -5].max() < 250
        looking.say(drawn=head["number"])
        looking.say(record=True)
        looking.until(lambda told: told["recording"]["frames"] >= 3)
        looking.say(record=False)
        said = looking.until(lambda told: not told["recording"]["runs"])["recording"]["said"]
    recording = read_results(folder / "kept" / said.split(":")[0])
    assert (recording.orientation, next(recording.results).size_wh) == (Orientation(90, True), (64, 96))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_recorded_at_the_end_is_finished(folder: Path, tmp_path: Path, number: int) -> None:
    with serving(
        folder, "dot.onnx", "long.mp4", "-o", tmp_path / "kept", "--no-track", command="live"
    ) as started, viewer(started) as looking:  # fmt: skip
        looking.say(record=True)
        looking.until(lambda told: told["recording"]["frames"] >= 3)
        started.process.send_signal(number)
        started.process.wait(30)
    (file,) = (tmp_path / "kept").iterdir()
    assert file.suffix == ".jsonl"
    assert len(list(read_results(file).results)) >= 3


def test_a_video_ends_and_its_recording_with_it(folder: Path, tmp_path: Path) -> None:
    with serving(
        folder, "dot.onnx", "short.mp4", "-o", tmp_path / "kept", "--no-track", command="live"
    ) as started, viewer(started) as looking:  # fmt: skip
        looking.say(record=True)
        told = looking.until(lambda told: told["sources"][0]["state"] == "ended" and not told["recording"]["runs"])
        assert told["recording"]["said"].endswith(" frames"), told
        looking.say(record=True)
        assert not looking.until(lambda told: not told["recording"]["runs"])["recording"]["frames"]
        assert started.ask("GET", "/healthz").status == 200
    (file,) = (tmp_path / "kept").iterdir()
    assert list(read_results(file).results)
    with serving(folder, "dot.onnx", "short.mp4", command="live") as started, viewer(started) as looking:
        looking.say(record=True)
        told = looking.until(lambda told: told["recording"]["said"])
        assert (told["recording"]["runs"], told["recording"]["said"]) == (False, "there is no folder for recordings")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"drawn": -1}', '{"record": 3}', '{"other": 1}', "[" * 9000])
def test_other_messages_end_the_socket(server: Server, text: str) -> None:
    with viewer(server) as looking:
        looking._socket.send(text)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                looking.next()
        assert closed.value.rcvd.code == 1007
    assert server.ask("GET", "/healthz").status == 200


def test_the_page_and_what_is_not_there(server: Server) -> None:
    page = server.ask("GET", "/")
    assert (page.status, page.headers["content-security-policy"]) == (200, "frame-ancestors 'none'")
    assert b"connect-src 'self'" in page.body
    with pytest.raises(InvalidStatus, match="404"), viewer(server, 2):
        pass
    with pytest.raises(InvalidStatus, match="403"), viewer(server, origin="http://evil.example"):
        pass


def test_for_others_there_is_a_token(folder: Path) -> None:
    with serving(folder, "dot.onnx", "long.mp4", "--host", "0.0.0.0", command="live") as started:
        (token,) = re.findall(r"\?token=(\S+)", started.announced)
        assert [started.ask("GET", path).status for path in ("/", "/?token=guess", "/v1/models")] == [401] * 3
        with pytest.raises(InvalidStatus, match="401"), viewer(started):
            pass
        given = started.ask("GET", f"/?token={token}")
        cookie, *rules = given.headers["set-cookie"].split("; ")
        assert (given.status, given.headers["location"], token in cookie) == (303, "/", False)
        assert {"HttpOnly", "SameSite=strict"} <= set(rules)
        assert started.ask("GET", "/", Cookie=cookie).status == 200
        own, other = f"http://127.0.0.1:{started.port}", "http://evil.example"
        with viewer(started, additional_headers={"Cookie": cookie}, origin=own) as looking:
            assert looking.drawn()["number"] >= 1
        with (
            pytest.raises(InvalidStatus, match="401"),
            viewer(started, additional_headers={"Cookie": cookie}, origin=other),
        ):
            pass
        assert started.ask("GET", "/", Authorization=f"Bearer {token}").status == 200


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("photo.png", "photo.png does not move"), (".", ". does not move"), ("-", "- does not move"),
        ("nothing.mp4", "nothing.mp4 does not exist"), ("broken.mp4", "broken.mp4 cannot be opened as a video"),
    ],
)  # fmt: skip
def test_what_cannot_be_watched_is_said(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    monkeypatch.chdir(folder)
    cv2.imwrite("photo.png", media.numbered(1))
    Path("broken.mp4").write_bytes(b"no video")
    code, _, err = run("live", "dot.onnx", source, "--port", 0)
    assert (code, said in err, "Traceback" in err) == (1, True, False), err


def test_a_video_is_played_at_its_own_rate_and_again(folder: Path) -> None:
    began, passed = time.monotonic(), []
    for frame in paced(watched(str(folder / "walk.mp4")), loop=True):
        assert time.monotonic() - began >= frame.time_s - 1e-3
        passed.append((frame.index, round(frame.time_s, 6)))
        if len(passed) == COUNT + 3:
            break
    assert passed == [(index, round(index / FPS, 6)) for index in range(COUNT + 3)]


class _Door(BaseHTTPRequestHandler):
    """A network camera that breaks off after 40 pictures."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        jpeg = cv2.imencode(".jpg", media.numbered(3))[1].tobytes()
        for _ in range(40):
            self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
            self.wfile.write(jpeg + b"\r\n")
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        pass


def test_a_stream_goes_on_after_it_was_lost(folder: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Door) as camera:
        threading.Thread(target=camera.serve_forever, daemon=True).start()
        source = f"http://127.0.0.1:{camera.server_address[1]}/door?key=secret"
        with live(folder, source) as started, viewer(started) as looking:
            while looking.drawn()["frame"] <= 60:
                pass
            page = started.ask("GET", "/").body.decode()
        assert '"sources":["door"]' in page
        assert "secret" not in page + json.dumps(looking.told)
        camera.shutdown()


def test_of_several_media_none_is_watched(folder: Path) -> None:
    with pytest.raises(PosertError, match="does not move"):
        watched(str(folder / "*.mp4"))


def test_the_commands_of_the_documents_run(tmp_path: Path) -> None:
    """A video stands for the camera."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("docs/see.md", "docs/live.md")]
    commands = {line for text in texts for line in re.findall(r"^posert live (.+?)(?:  #.*)?$", text, re.MULTILINE)}
    for name in ("walk.mp4", "other.mp4"):
        media.video(tmp_path / name, count=300, fps=10)
    (tmp_path / "gate").touch()
    assert len(commands) == 3
    for command in commands:
        words = ["walk.mp4" if word == "0" else word for word in shlex.split(command)]
        with (
            serving(tmp_path, *words, command="live") as started,
            viewer(started, additional_headers=known(started)) as looking,
        ):
            assert looking.drawn()["size_wh"] == [64, 48]
