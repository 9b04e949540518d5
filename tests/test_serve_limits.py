"""What `posert serve` bears: full queues, slow and cut and huge requests, many connections, its own end."""

import asyncio
import http.client
import json
import signal
import socket
from pathlib import Path

import cv2
import media
import pytest
from command import Run
from hostile import Hostile, fire, png_bomb, post
from serving import Server, serving

pytest.importorskip("uvicorn", reason="posert[serve] is not installed")
pytest.importorskip("prometheus_client", reason="posert[serve] is not installed")
client = pytest.importorskip("websockets.sync.client", reason="posert[serve] is not installed")

from posert.export.nano import clip  # noqa: E402

JPEG = cv2.imencode(".jpg", media.numbered(3))[1].tobytes()


def test_a_full_queue_is_said_and_everybody_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path, "nano", "--threads", 1, "--queue", 3) as server:
        first = server.later(JPEG)
        server.until_held()
        waiting = [server.later(JPEG) for _ in range(3)]
        server.until("posert_waiting", 3)
        refused = server.people(JPEG)
        assert (refused.status, refused.json) == (
            429, {"error": "3 pictures wait already", "hint": "try again later"},
        )  # fmt: skip
        assert int(refused.headers["retry-after"]) >= 1
        assert server.ask("GET", "/readyz").status == 200
        server.open()
        assert [later.answer().status for later in (first, *waiting)] == [200] * 4


def test_pictures_of_several_requests_share_a_batch(tmp_path: Path, run: Run) -> None:
    """And get what they get alone; those of another input size have a network call of their own."""
    files = [clip.render(number)[0] for number in (0, 30, 60, 90)] + [clip.render(50)[0][:, :200]]
    for number, bgr in enumerate(files):
        cv2.imwrite(str(tmp_path / f"{number}.png"), bgr)
    names = [str(tmp_path / f"{number}.png") for number in range(5)]
    expected = [run("infer", "nano", name, "-q")[1].splitlines()[1] for name in names]
    with serving(tmp_path, "nano", "--threads", 1, "--batch", 5, "--wait-ms", 0) as server:
        first = server.later(Path(names[0]).read_bytes())
        server.until_held()
        others = []
        for place, name in enumerate(names):
            others.append(server.later(Path(name).read_bytes()))
            server.until("posert_waiting", place + 1)
        server.open()
        assert first.answer().body.decode().rstrip("\n") == expected[0]
        assert [later.answer().body.decode().rstrip("\n") for later in others] == expected
        assert server.figure("posert_pictures_total") == 6
        assert server.figure("posert_batches_total") == 3


def test_what_waits_too_long_is_said(tmp_path: Path) -> None:
    with serving(tmp_path, "nano", "--limit", "answer_s=0.2") as server:
        answer = server.people(JPEG)
        assert (answer.status, answer.headers["retry-after"]) == (504, "5")


def test_the_bytes_of_all_requests_have_an_end(tmp_path: Path) -> None:
    with serving(tmp_path, "nano", "--threads", 1, "--limit", f"held_bytes={2 * len(JPEG) - 1}") as server:
        first = server.later(JPEG)
        server.until_held()
        refused = server.people(JPEG)
        assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        assert "requests that are under way" in refused.json["error"]
        server.open()
        assert first.answer().status == 200
        assert server.people(JPEG).status == 200


@pytest.mark.parametrize(
    ("limit", "status", "state", "said"),
    [
        ("store_bytes={size}", 202, "failed", "videos and their results take"),
        ("store_bytes=1000", 429, None, "videos and their results take"),
        ("video_s=1e-9", 202, "failed", "takes more than 1e-09 s"),
    ],
)
def test_a_video_that_takes_too_much_is_said(
    tmp_path: Path, limit: str, status: int, state: str | None, said: str
) -> None:
    (tmp_path / "gate").touch()
    video = media.video(tmp_path / "v.mp4", 8).read_bytes()
    with serving(tmp_path, "nano", "--limit", limit.format(size=len(video))) as server:
        answer = server.ask("POST", "/v1/videos", video)
        assert answer.status == status
        while (
            state is not None
            and (answer := server.ask("GET", f"/v1/videos/{answer.json['id']}")).json["state"] != state
        ):
            assert answer.json["state"] in ("queued", "running")
        assert said in answer.json["error"]


def test_whoever_takes_nothing_loses_the_connection(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(tmp_path, "nano", "--limit", "stalled_s=2", "--limit", "connections=1") as server:
        size = len(server.ask("GET", "/openapi.json").body)
        count = (20 << 20) // size  # more than the sockets' buffers hold
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as taking:
            taking.sendall(asked * count)
            assert _full(server)
            while _full(server):
                pass  # until its place is free
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as taking:
            taking.sendall(asked * count)
            taken = 0
            while taken < count * size:
                taken += len(taking.recv(1 << 20))


def _full(server: Server) -> bool:
    """Whether no connection has a place; whoever comes while another is sent away is not even told."""
    try:
        return server.ask("GET", "/healthz").status == 503
    except (ConnectionError, http.client.HTTPException):
        return True


def test_what_is_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, "nano", "--threads", 1) as server:
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        kept.request("GET", "/readyz")
        assert kept.getresponse().read() == b'{"status":"ready"}'
        begun, waiting = server.later(JPEG), server.later(JPEG)
        server.until_held()
        server.until("posert_waiting", 1)
        coming = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        coming.sendall(post(JPEG)[:-9])
        server.until("posert_held_bytes", 3 * len(JPEG) - 9)
        server.process.send_signal(signal.SIGTERM)
        while True:
            try:
                socket.create_connection(("127.0.0.1", server.port)).close()
            except OSError:
                break
        coming.sendall(post(JPEG)[-9:])
        server.open()
        assert [begun.answer().status, waiting.answer().status] == [200, 200]
        late = http.client.HTTPResponse(coming)
        late.begin()
        assert (late.status, server.process.wait(60)) == (200, 0)
        coming.close()
        kept.close()
    assert server.said == []


def test_an_interruption_ends_it_as_every_command(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    with serving(tmp_path, "nano") as server, client.connect(f"ws://127.0.0.1:{server.port}/v1/stream"):
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 130
    assert server.said == ["interrupted\n"]


SLOW = ["--limit=head_s=0.3", "--limit=body_s=0.3", "--limit=connections=6"]


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"", 408, "did not come in time"),
        (b"POST /v1/people HT", 408, "did not come in time"),
        (post(JPEG)[:-5], 408, "did not come in time"),
        (post(b"", length=10**15), 413, "more than 16777216 bytes"),
        (post(JPEG, headers=f"X: {'x' * 40000}\r\n"), 431, "headers"),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 300000, 431, "headers"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "Invalid HTTP request"),
        (post(png_bomb(65000, 65000, rows=1)), 413, "65000 x 65000 pixels"),
    ],
)
def test_what_comes_slowly_or_is_too_large_gets_an_answer(slow: Server, sent: bytes, status: int, said: str) -> None:
    with socket.create_connection(("127.0.0.1", slow.port), timeout=60) as sending:
        sending.sendall(sent)
        answer = http.client.HTTPResponse(sending)
        answer.begin()
        body = json.loads(answer.read())
    assert (answer.status, said in body["error"]) == (status, True), body
    assert body["hint"]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("slow")
    (folder / "gate").touch()
    with serving(folder, "nano", *SLOW) as server:
        yield server


def test_a_kept_connection_ends_without_a_request(slow: Server) -> None:
    """Empty lines between requests kept it for ever."""
    with socket.create_connection(("127.0.0.1", slow.port), timeout=60) as sending:
        for sent, status in ((b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200), (b"\r\n" * 9, 408)):
            sending.sendall(sent)
            answer = http.client.HTTPResponse(sending)
            answer.begin()
            answer.read()
            assert answer.status == status


def test_connections_have_a_place_each(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    with serving(tmp_path, "nano", "--limit", "connections=3") as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        answer = server.ask("GET", "/healthz")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "connections are open" in answer.json["error"]
        for each in idle:
            each.close()
        while server.ask("GET", "/healthz").status != 200:
            pass


def test_hostile_requests_change_nothing(tmp_path: Path, run: Run) -> None:
    """A few of `python tests/bench/serve.py hostile`, which has 10,000 and looks at the memory."""
    cv2.imwrite(str(tmp_path / "people.png"), clip.render(40)[0])
    expected = run("infer", "nano", tmp_path / "people.png", "-q")[1].splitlines()[1]
    (tmp_path / "gate").touch()
    source = Hostile(tmp_path)

    async def all_of(port: int) -> list[str]:
        free = asyncio.Semaphore(32)

        async def one(number: int) -> str:
            async with free:
                return await fire(port, source.shot(number))

        return await asyncio.gather(*map(one, range(150)))

    with serving(tmp_path, "nano", "--limit", "body_s=1", "--limit", "head_s=1") as server:
        outcomes = asyncio.run(all_of(server.port))
        assert not {"500", "silent", "no connection"} & set(outcomes)
        assert len(set(outcomes)) > 8
        assert server.people((tmp_path / "people.png").read_bytes()).body.decode() == expected + "\n"
        server.until("posert_held_bytes", 0)
    assert not [line for line in server.said if "Traceback" in line]
