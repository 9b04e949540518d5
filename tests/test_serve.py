"""`posert serve` for pictures: a real server, real sockets, the lines of `posert infer`, errors with hints, tokens."""

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
import tiny
from command import ROOT, Run
from serving import Server, form, serving

for _package in ("uvicorn", "starlette", "httptools", "websockets", "python_multipart", "prometheus_client"):
    pytest.importorskip(_package, reason="posert[serve] is not installed")

from posert.errors import PosertError  # noqa: E402
from posert.export.nano import clip  # noqa: E402
from posert.serve.app import ROUTES  # noqa: E402
from posert.serve.limits import Refused  # noqa: E402
from posert.serve.pictures import Picture  # noqa: E402
from posert.serve.run import Address  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two models, nothing held up."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "gate").touch()
    tiny.bright_spot(folder / "spot.onnx")
    with serving(folder, "nano", "dot=spot.onnx", "--threads", 2, "--queue", 8) as started:
        yield started


def pictures(folder: Path) -> list[Path]:
    """Drawn people as JPEG, progressive JPEG, PNG with alpha, 16 bits and grey, WebP; one JPEG turned by EXIF."""
    bgr = clip.render(40)[0]
    made = {
        "a.jpg": bgr, "b.png": np.dstack([bgr, bgr[:, :, 0]]), "c.png": bgr.astype(np.uint16) * 257,
        "d.webp": bgr, "e.png": cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), "f.jpg": bgr[:, :200],
    }  # fmt: skip
    for name, image in made.items():
        cv2.imwrite(str(folder / name), image)
    (folder / "g.jpg").write_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes())
    jpeg = (folder / "f.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (folder / "h.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    return sorted(folder.iterdir())


def line_of(run: Run, *arguments: object) -> bytes:
    code, out, err = run("infer", *arguments, "-q")
    assert code == 0, err
    return out.splitlines(keepends=True)[-1].encode()


def test_a_picture_gives_the_line_of_infer(server: Server, tmp_path: Path, run: Run) -> None:
    sizes, people = [], 0
    for path in pictures(tmp_path):
        answer = server.people(path.read_bytes(), Content_Type="image/jpeg")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.body == line_of(run, "nano", path), path
        sizes.append(tuple(answer.json["size_wh"]))
        people += len(answer.json["people"])
    assert {(640, 360), (200, 360), (360, 200)} == set(sizes)
    assert people > 3


def test_a_raw_picture_gives_the_line_of_infer(server: Server, tmp_path: Path, run: Run) -> None:
    bgr = clip.render(40)[0]
    cv2.imwrite(str(tmp_path / "raw.png"), bgr)
    expected = line_of(run, "nano", tmp_path / "raw.png")
    assert json.loads(expected)["people"]
    assert server.people(bgr[:, :, ::-1].tobytes(), "?size=640x360").body == expected


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("?max_people=1", ["--max-people", 1]), ("?person=largest", ["--person", "largest"]),
        ("?min_score=1.7&min_box_area=0.01", ["--min-score", 1.7, "--min-box-area", 0.01]),
        ("?roi=0,0,0.5,1", ["--roi", "0,0,.5,1"]),
    ],
)  # fmt: skip
def test_a_request_says_whose_poses_it_wants(
    server: Server, tmp_path: Path, run: Run, query: str, options: list[object]
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), clip.render(40)[0])
    answer = server.people(path.read_bytes(), query)
    assert answer.body == line_of(run, "nano", path, *options)
    assert 0 < len(answer.json["people"]) < len(server.people(path.read_bytes()).json["people"])


def test_several_pictures_give_a_line_each(server: Server, tmp_path: Path, run: Run) -> None:
    paths = pictures(tmp_path)[:4]
    files = [path.read_bytes() for path in paths]
    body, kind = form(files[0], b"no picture", files[1], files[2][:200], files[3])
    answer = server.people(body, Content_Type=kind)
    lines = answer.body.splitlines(keepends=True)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [lines[0], lines[2], lines[4]] == [line_of(run, "nano", path) for path in (paths[0], paths[1], paths[3])]
    assert all(set(json.loads(lines[number])) == {"error", "hint"} for number in (1, 3))


def test_models_have_names(server: Server, tmp_path: Path, run: Run) -> None:
    model, picture = tiny.bright_spot(tmp_path / "m.onnx"), tmp_path / "p.png"
    cv2.imwrite(str(picture), media.numbered(9))
    for _ in range(3):  # a model that follows somebody begins anew with each picture
        assert server.people(picture.read_bytes(), "?model=dot").body == line_of(run, model, picture)
    named = server.ask("GET", "/v1/models").json
    assert [(each["name"], each["model"]) for each in named] == [("nano", "posert-nano"), ("dot", "bright-spot")]
    assert named[1]["skeleton"]["names"] == list(tiny.NAMES)
    answer = server.people(picture.read_bytes(), "?model=other")
    assert (answer.status, answer.json["hint"]) == (404, "take one of: nano, dot")


JPEG = cv2.imencode(".jpg", media.numbered(3))[1].tobytes()
BODY, FORM = form(*[JPEG] * 9)


@pytest.mark.parametrize(
    ("status", "query", "body", "kind", "said"),
    [
        (415, "", b"", "image/jpeg", "is no picture of a known kind"),
        (415, "", b"II*\0" + bytes(100), "", "is no picture of a known kind"),
        (422, "", b"\xff\xd8\xff", "", "has 0 x 0 pixels"),
        (422, "", JPEG[:300], "", "is not a readable image"),
        (422, "?size=4x4", bytes(47), "", "has 47 bytes, 4 x 4 RGB has 48"),
        (422, "?size=4", bytes(48), "", "query.size = '4' is no size"),
        (422, "?form=npz", JPEG, "", "query.form = 'npz', expected one of the keys max_people, person"),
        (422, "?person=me", JPEG, "", "person = 'me', expected largest, central, best, first, or an id"),
        (422, "?roi=0,0", JPEG, "", "roi = [0.0, 0.0], expected x, y, width, height"),
        (422, "?person=3", cv2.imencode(".png", clip.render(40)[0])[1].tobytes(), "", "people have none"),
        (413, "?size=9999x9999", bytes(48), "", "9999 x 9999 pixels, at most 40000000 are taken"),
        (413, "", bytes((16 << 20) + 1), "", "more than 16777216 bytes"),
        (400, "", BODY, FORM, "Too many files"),
        (400, "", BODY, "multipart/form-data", "boundary"),
        (422, "", b"--part--\r\n", FORM, "no file"),
    ],
)
def test_what_cannot_be_read_is_said(
    server: Server, status: int, query: str, body: bytes, kind: str, said: str
) -> None:
    answer = server.people(body, query, Content_Type=kind)
    assert (answer.status, set(answer.json)) == (status, {"error", "hint"})
    assert said in answer.json["error"]
    assert answer.json["hint"]


def test_other_addresses_and_methods(server: Server) -> None:
    for method, path, status in (("GET", "/", 404), ("GET", "/v1/people", 405), ("GET", "/v1/videos/x", 404)):
        answer = server.ask(method, path)
        assert (answer.status, set(answer.json)) == (status, {"error", "hint"})


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp", "VP8L", "VP8X"])
def test_sizes_come_from_headers(kind: str) -> None:
    """Of every kind of WebP too, and of a JPEG with other segments and junk before its frame."""
    image = np.random.default_rng(0).integers(0, 255, (34, 57, 3), np.uint8)
    options = [cv2.IMWRITE_WEBP_QUALITY, 101 if kind == "VP8L" else 50] if kind in (".webp", "VP8L", "VP8X") else []
    if kind == "VP8X":
        image = np.dstack([image, image[:, :, 0]])
    data = cv2.imencode(kind if kind.startswith(".") else ".webp", image, options)[1].tobytes()
    if kind == ".jpg":
        data = data[:2] + b"\xff\xff\xfe\x00\x04\xff\xc0junk" + data[2:]
    assert kind.startswith(".") or data[12:16] == kind.encode()
    assert Picture(data).checked(34 * 57, "it").frame("it").size_wh == (57, 34)
    with pytest.raises(Refused, match="57 x 34 pixels"):
        Picture(data).checked(34 * 57 - 1, "it")


def test_scans_count_as_pixels() -> None:
    """A small progressive JPEG of a thousand scans took as long as a thousand pictures."""
    data = cv2.imencode(".jpg", media.numbered(3), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    at = data.rfind(b"\xff\xda")
    many = data[:at] + data[at:-2] * 1000 + data[-2:]
    pixels = 64 * 48
    assert Picture(data).checked(pixels, "it")
    with pytest.raises(Refused, match="scans"):
        Picture(many).checked(pixels, "it")


def test_opencv_itself_holds_the_limit(tmp_path: Path) -> None:
    """Should its decoder read another size than we do."""
    (tmp_path / "gate").touch()
    with serving(tmp_path, "nano", "--limit", "max_pixels=3072") as started:
        assert started.people(JPEG).status == 200
        environment = Path(f"/proc/{started.process.pid}/environ")
        if environment.exists():
            assert started.people(cv2.imencode(".png", media.numbered(3, (65, 48)))[1].tobytes()).status == 413


def test_a_server_for_others_needs_a_token() -> None:
    for address in ("0.0.0.0", "::", "192.168.1.1", "example.com"):
        with pytest.raises(PosertError, match="whoever reaches"):
            Address(address)
        Address(address, anybody=True)
        Address(address, token="x" * 16)
    with pytest.raises(PosertError, match="15 characters"):
        Address(token="x" * 15)


def test_the_token(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    (tmp_path / "token").write_text("correct horse battery\n")
    with serving(tmp_path, "nano", "--token-file", "token", "--host", "0.0.0.0") as started:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic correct horse battery"}):
            for path in ("/v1/people", "/v1/models", "/metrics", "/nowhere", "/v1/stream"):
                answer = started.ask("GET", path, **given)
                assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
                assert "Authorization: Bearer TOKEN" in answer.json["hint"]
        assert started.people(JPEG, Authorization="Bearer correct horse battery", Host="any.example").status == 200
        assert {started.ask("GET", path).status for path in ("/healthz", "/readyz", "/docs", "/openapi.json")} == {200}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:80"}, 200), ({"Host": "localhost"}, 200), ({"Host": "[::1]:8080"}, 200),
        ({"Host": "rebound.example"}, 403), ({"Host": "["}, 403), ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403), ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
    ],
)  # fmt: skip
def test_without_a_token_other_pages_cannot_ask(server: Server, headers: dict[str, str], status: int) -> None:
    assert server.ask("GET", "/v1/models", **headers).status == status


def test_the_description_has_every_address(server: Server) -> None:
    described = json.loads((ROOT / "serve" / "openapi.json").read_text(encoding="utf-8"))
    methods = {(route.path, method.lower()) for route in ROUTES for method in getattr(route, "methods", ["GET"])}
    methods -= {(path, "head") for path, _ in methods}
    verbs = ("get", "post", "delete")
    assert {(path, verb) for path, about in described["paths"].items() for verb in about if verb in verbs} == methods
    refs = set(re.findall(r'"#/components/([^"]+)"', json.dumps(described)))
    assert all(kind in described["components"] and name in described["components"][kind]
               for kind, name in (ref.split("/") for ref in refs))  # fmt: skip
    assert server.ask("GET", "/openapi.json").json == described
    page = server.ask("GET", "/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.findall(rb"(?:src|href)=.?https?:", page.body)


def test_queries_are_described(server: Server) -> None:
    from dataclasses import fields

    from posert.serve.asked import PeopleQuery
    from posert.serve.stream import StreamQuery
    from posert.serve.videos import VideoQuery

    described = json.loads((ROOT / "serve" / "openapi.json").read_text(encoding="utf-8"))["paths"]
    for kind, path, verb in (
        (PeopleQuery, "/v1/people", "post"), (VideoQuery, "/v1/videos", "post"), (StreamQuery, "/v1/stream", "get"),
    ):  # fmt: skip
        assert [each["name"] for each in described[path][verb]["parameters"]] == [each.name for each in fields(kind)]


def test_figures(server: Server) -> None:
    before = server.figure("posert_pictures_total")
    server.people(JPEG)
    assert server.figure("posert_pictures_total") == before + 1
    text = server.ask("GET", "/metrics").body.decode()
    assert 'posert_requests_total{status="200",to="people"}' in text
    assert 'posert_waiting{model="nano"} 0.0' in text
    assert 'posert_step_seconds_total{model="nano",step="run"}' in text


def test_a_port_that_is_taken_and_a_model_that_is_not_there(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = run("serve", "nano", "--port", taken.getsockname()[1])
    assert code == 1
    assert "hint: choose another --port or --host" in err
    assert run("serve", tmp_path / "none.onnx")[0] == 1
    code, _, err = run("serve", "movenet-thunde")
    assert (code, "did you mean movenet-thunder" in err) == (1, True)
    code, _, err = run("serve", "nano", "nano")
    assert (code, "several models would be called nano" in err) == (1, True)
    code, _, err = run("serve", "nano", "--limit", "max_bites=3")
    assert (code, "max_bytes" in err) == (1, True)
    assert run("serve", "nano", "--host", "0.0.0.0")[0] == 1


def test_without_the_packages_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = run("serve", "nano")
    assert (code, "pip install 'posert[serve]'" in err) == (1, True)
    assert os.environ.pop("OPENCV_IO_MAX_IMAGE_PIXELS")
