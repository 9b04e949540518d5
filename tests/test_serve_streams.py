"""`posert serve` for videos and streams: the lines of `posert infer`, jobs that end, are asked for and deleted."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
import tiny
from command import Run
from serving import Answer, Server, serving

pytest.importorskip("uvicorn", reason="posert[serve] is not installed")
pytest.importorskip("prometheus_client", reason="posert[serve] is not installed")
client = pytest.importorskip("websockets.sync.client", reason="posert[serve] is not installed")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

LIMITS = [f"--limit={text}" for text in ("videos=3", "streams=2", "max_pixels=300000", "max_bytes=400000")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    tiny.bright_spot(folder / "dot.onnx")
    media.video(folder / "walk.mp4", count=12)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    (folder / "gate").touch()
    with serving(folder, "nano", "dot.onnx", *LIMITS) as started:
        yield started


def hand_in(server: Server, body: bytes, query: str = "") -> Answer:
    return server.ask("POST", "/v1/videos" + query, body)


def ended(server: Server, key: str) -> dict:
    while (video := server.ask("GET", f"/v1/videos/{key}").json)["state"] in ("queued", "running"):
        time.sleep(0.02)
    return video


def lines(run: Run, *arguments: object) -> list[str]:
    code, out, err = run("infer", *arguments, "-q")
    assert code == 0, err
    return out.splitlines()


@pytest.mark.parametrize(
    ("query", "flags"),
    [
        ("?name=walk.mp4", []), ("?track=true&model=dot", ["--track"]), ("?features=true", ["--features"]),
        ("?first=2&last=5&rotate=90&mirror=true", ["--first", 2, "--last", 5, "--rotate", 90, "--mirror"]),
        ("?model=dot&track=true&person=1", ["--track", "--person", 1]),
        ("?start_s=0.1&stop_s=0.3&stride=2&smooth=true", ["--start", 0.1, "--stop", 0.3, "--stride", 2, "--smooth"]),
    ],
)  # fmt: skip
def test_a_video_gives_the_lines_of_infer(
    server: Server, folder: Path, run: Run, query: str, flags: list[object]
) -> None:
    given = hand_in(server, (folder / "walk.mp4").read_bytes(), query)
    assert given.status == 202
    assert given.headers["location"] == f"/v1/videos/{given.json['id']}"
    video = ended(server, given.json["id"])
    answer = server.ask("GET", given.headers["location"] + "/result")
    model = folder / "dot.onnx" if "dot" in query else "nano"
    header, *expected = lines(run, model, folder / "walk.mp4", *flags)
    first, *rest = answer.body.decode().splitlines()
    assert rest == expected
    assert json.loads(first) == json.loads(header) | {"source": "walk.mp4" if "name" in query else "video"}
    assert (video["state"], video["frames"], video["of"]) == ("done", len(expected), 12)
    assert server.ask("DELETE", given.headers["location"]).status == 204
    assert server.ask("GET", given.headers["location"]).status == 404


@pytest.mark.parametrize(
    ("body", "query", "status", "said"),
    [
        (b"#EXTM3U\nfile:///etc/passwd\n", "", 415, "no video of a known kind"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "", 415, "no video of a known kind"),
        (b"", "", 415, "no video of a known kind"),
        (b"", "?stride=0", 422, "query.stride = 0, expected a whole number at least 1"),
        (b"", "?stop_s=-1", 422, "stop_s"),
        (b"", "?track=7", 422, "true or false"),
        (b"", "?model=x", 404, "no model"),
        (b"", "?person=1", 422, "person 1 is an id, and people have none"),
    ],
)
def test_what_is_no_video_is_said_at_once(server: Server, body: bytes, query: str, status: int, said: str) -> None:
    answer = hand_in(server, body, query)
    assert (answer.status, said in answer.json["error"]) == (status, True), answer.json


def test_a_video_that_fails_says_why(server: Server, folder: Path) -> None:
    """By the name that it was given: its file has none that means anything."""
    whole = (folder / "walk.mp4").read_bytes()
    media.video(folder / "wide.avi", count=2, size_wh=(1280, 720))
    cases = ((whole[:900], "damaged.mp4"), ((folder / "wide.avi").read_bytes(), "1280 x 720 pixels"))
    for body, said in cases:
        given = hand_in(server, body, "?name=damaged.mp4")
        video = ended(server, given.json["id"])
        assert (video["state"], said in video["error"], "/proc" in video["error"]) == ("failed", True, False), video
        answer = server.ask("GET", given.headers["location"] + "/result")
        assert (answer.status, answer.json["error"]) == (422, video["error"])
        server.ask("DELETE", given.headers["location"])


def test_videos_have_a_place_each_and_end_when_they_are_deleted(folder: Path) -> None:
    (folder / "gate").unlink(missing_ok=True)
    video = (folder / "walk.mp4").read_bytes()
    with serving(folder, "nano", *LIMITS, "--threads", 1) as held:
        places = [hand_in(held, video).headers["location"] for _ in range(3)]
        full = hand_in(held, video)
        assert (full.status, full.headers["retry-after"]) == (429, "60")
        early = held.ask("GET", places[0] + "/result")
        assert (early.status, early.headers["retry-after"]) == (409, "1")
        assert held.figure("posert_open") == 3
        assert [held.ask("DELETE", place).status for place in (places[0], places[1])] == [204, 204]
        held.open()
        assert ended(held, places[2].rsplit("/", 1)[1])["state"] == "done"
        assert held.figure("posert_open") == 1


def test_parameters_are_the_servers(folder: Path, run: Run) -> None:
    """Those of the model and those of ids, in videos and in streams: nobody is seen, or nobody is known again."""
    pytest.importorskip("lap")
    (folder / "gate").touch()
    forgets = ["--set", "track.min_alike=1", "--set", "pose.min_score=.2", "--set", "features.degrees=true"]
    with serving(folder, "dot.onnx", *forgets) as started:
        place = hand_in(started, (folder / "walk.mp4").read_bytes(), "?name=walk.mp4&features=true").headers["location"]
        assert ended(started, place.rsplit("/", 1)[1])["state"] == "done"
        answer = started.ask("GET", place + "/result").body.decode().splitlines()
        assert answer[1:] == lines(run, folder / "dot.onnx", folder / "walk.mp4", "--features", *forgets)[1:]
        assert answer[1:] != lines(run, folder / "dot.onnx", folder / "walk.mp4", "--features")[1:]
        picture = cv2.imencode(".png", np.full((48, 64, 3), 200, np.uint8))[1].tobytes()
        with client.connect(f"ws://127.0.0.1:{started.port}/v1/stream?track=true") as socket:
            ids = []
            for _ in range(2):
                socket.send(picture)
                ids += [person["id"] for person in json.loads(socket.recv(20))["people"]]
        assert ids == [1, 2]


def test_a_time_is_over(folder: Path) -> None:
    (folder / "gate").touch()
    with serving(folder, "nano", "--limit", "keep_s=0.001") as brief:
        place = hand_in(brief, (folder / "walk.mp4").read_bytes()).headers["location"]
        while brief.ask("GET", place).status != 404:
            pass


def test_nothing_lies_on_a_disk_unless_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    """Large files of forms lay in temporary files."""
    for name in ("tmp", "store"):
        (tmp_path / name).mkdir()
    video, here = (folder / "walk.mp4").read_bytes(), {"TMPDIR": str(tmp_path / "tmp"), "POSERT_HOME": str(tmp_path)}
    head = b"POST /v1/people HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n"
    form = b'--p\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n' + bytes(3 << 20)
    for arguments, expected in (([], 0), (["--store", str(tmp_path / "store")], 2)):
        (folder / "gate").unlink(missing_ok=True)
        with serving(folder, "nano", *arguments, **here) as held, socket.socket() as sending:
            before = set((tmp_path / "tmp").iterdir())
            sending.connect(("127.0.0.1", held.port))
            sending.sendall(head + b"Content-Type: multipart/form-data; boundary=p\r\n\r\n" + form)
            held.until("posert_held_bytes", len(form))
            place = hand_in(held, video).headers["location"]
            opened = {path.resolve() for path in Path(f"/proc/{held.process.pid}/fd").iterdir()}
            assert sum(tmp_path in path.parents for path in opened) == expected
            assert set((tmp_path / "tmp").iterdir()) == before
            assert len(list((tmp_path / "store").iterdir())) == expected
            held.open()
            assert ended(held, place.rsplit("/", 1)[1])["state"] == "done"
        assert not list((tmp_path / "store").iterdir())


def address(server: Server, query: str = "") -> str:
    return f"ws://127.0.0.1:{server.port}/v1/stream{query}"


def test_a_stream_gives_the_lines_of_infer(server: Server, folder: Path, run: Run) -> None:
    """Of a model that follows somebody: the stream remembers where, whatever else is asked meanwhile."""
    frames = [np.full((48, 64, 3), 30 + 12 * number, np.uint8) for number in range(12)]
    writer = cv2.VideoWriter(str(folder / "grey.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 30, (64, 48))
    for frame in frames:
        writer.write(frame)
    writer.release()
    expected = [json.loads(line) for line in lines(run, folder / "dot.onnx", folder / "grey.avi", "--track")[1:]]
    with client.connect(address(server, "?model=dot&track=true&size=64x48&fps=30")) as camera:
        for frame, record in zip(frames, expected, strict=True):
            server.people(frames[-1].tobytes(), "?model=dot&size=64x48")
            camera.send(frame.tobytes())
            found = json.loads(camera.recv(timeout=60))
            assert found | {"time_s": 0} == record | {"time_s": 0}
            assert found["time_s"] == pytest.approx(record["time_s"], abs=0.001)


def test_a_stream_says_what_is_wrong_and_goes_on(server: Server) -> None:
    good = cv2.imencode(".png", media.numbered(1))[1].tobytes()
    with client.connect(address(server)) as camera:
        for message in (good, b"none", "text", good[:60], good):
            camera.send(message)
        answers = [json.loads(camera.recv(timeout=60)) for _ in range(5)]
    assert [each["frame"] for each in answers] == [0, 1, 2, 3, 4]
    assert ["people" in each for each in answers] == [True, False, False, False, True]
    assert all(each["hint"] for each in answers[1:4])


def test_a_live_stream_takes_the_newest(folder: Path) -> None:
    (folder / "gate").unlink(missing_ok=True)
    pictures = [cv2.imencode(".png", media.numbered(number))[1].tobytes() for number in range(9)]
    with serving(folder, "nano", "--threads", 1) as held, client.connect(address(held, "?live=true")) as camera:
        camera.send(pictures[0])
        while held.figure("posert_waiting") or not held.figure("posert_open"):
            pass
        for picture in pictures[1:]:
            camera.send(picture)
        camera.ping().wait(60)  # all have come
        held.open()
        found = [json.loads(camera.recv(timeout=60)) for _ in range(2)]
    assert [(each["frame"], each["dropped"]) for each in found] == [(0, 0), (8, 7)]
    assert found[1]["time_s"] >= found[0]["time_s"] == 0


@pytest.mark.parametrize("query", ["?fps=0", "?model=none", "?size=9", "?a=b"])
def test_a_stream_is_refused_with_a_reason(server: Server, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused, client.connect(address(server, query)):
        pass
    assert set(json.loads(refused.value.response.body)) == {"error", "hint"}
    assert refused.value.response.status_code in (404, 422)


def test_streams_have_a_place_each(server: Server) -> None:
    with client.connect(address(server)), client.connect(address(server)):
        with pytest.raises(InvalidStatus) as refused, client.connect(address(server)):
            pass
        assert refused.value.response.status_code == 429
    while server.figure("posert_open"):
        pass
    with client.connect(address(server)) as camera, pytest.raises(ConnectionClosed):
        camera.send(bytes(400001))
        camera.recv(timeout=60)
