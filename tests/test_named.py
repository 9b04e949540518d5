"""Models by name: fetched once, made once, kept; what a licence, a bad server, a full disk and two processes do."""

import hashlib
import http.server
import resource
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tfjs_files
from command import Run, found, rows
from tfjs_files import node

import posert
from posert.errors import PosertError
from posert.export import named, weights
from posert.export.weights import Entry, File
from posert.runtime.files import locks


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def toy_network(folder: Path) -> Path:
    """A MoveNet that finds every keypoint in the middle: the signature, and nothing inside."""
    points = np.tile(np.float32([0.5, 0.5, 0.9]), (1, 1, 17, 1))
    nodes = [
        tfjs_files.placeholder("input", "DT_INT32", 1, 192, 192, 3),
        node("f", "Cast", "input", DstT="DT_FLOAT"),
        node("m", "Mean", "f", "axes", keep_dims=True),
        node("n", "Mul", "m", "none"),
        node("y", "AddV2", "n", "points"),
    ]
    constants = {
        "axes": np.array([1, 2, 3], np.int32), "none": np.float32(0), "points": points,
        "more": np.zeros(30_000, np.float32),
    }  # fmt: skip
    return tfjs_files.write(
        folder / "toy.json", nodes, {key: np.asarray(value) for key, value in constants.items()}, ["y"]
    )


class Served:
    """A folder behind an address; what was asked for, and what to do instead of sending it."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.instead: Callable[[http.server.BaseHTTPRequestHandler], bool] = lambda _: False
        served = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                served.asked.append(self.path)
                if not served.instead(self):
                    super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *arguments: Handler(*arguments, directory=str(folder))
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """POSERT_MIRROR is a server of an own folder."""
    (tmp_path / "mirror").mkdir()
    served = Served(tmp_path / "mirror")
    monkeypatch.setenv("POSERT_MIRROR", served.url)
    monkeypatch.delenv("POSERT_OFFLINE", raising=False)
    yield served
    served.server.shutdown()


@pytest.fixture
def toy(mirror: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Entry]:
    """Adds a name to the list, `toy`, whose files the mirror has; fields of its entry can be changed."""
    first = toy_network(tmp_path / "mirror")
    shard = first.with_suffix(".bin")
    beside = File(file="toy.bin", url="https://x.invalid/toy.bin", sha256=sha256(shard), bytes=shard.stat().st_size)
    entry = Entry(
        file="toy.json", url="https://x.invalid/toy.json", sha256=sha256(first), bytes=first.stat().st_size,
        name="toy", system="movenet", route="tfjs", licence="MIT", source="our own tests", beside=[beside],
    )  # fmt: skip
    known = weights.entries()

    def change(**fields: Any) -> Entry:
        changed = replace(entry, **fields)
        monkeypatch.setattr(weights, "entries", lambda: {**known, "toy": changed})
        return changed

    change()
    return change


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.full((60, 80, 3), 90, np.uint8))
    return path


def files(home: Path) -> list[str]:
    return sorted(
        str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and path.name != "written.jsonl"
    )


KEPT = [f"models/{posert.__version__}/toy.onnx", "toy.bin", "toy.json"]


def test_a_name_is_fetched_and_made_once(
    toy: Callable[..., Entry], mirror: Served, run: Run, photo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run("infer", "toy", photo)
    assert code == 0
    assert '"model":"toy"' in out
    assert "[40.0,30.0,0.9]" in out
    assert "licence MIT" in err
    assert "toy.json: fits sha256" in err
    assert files(home) == KEPT
    assert mirror.asked == ["/toy.json", "/toy.bin"]
    monkeypatch.setenv("POSERT_OFFLINE", "1")
    assert run("infer", "toy", photo)[1] == out
    assert len(mirror.asked) == 2
    (home / KEPT[0]).unlink()  # made again of what is in the cache
    assert run("infer", "toy", photo, "--quiet")[1:] == (out, "")
    assert len(mirror.asked) == 2


def test_python_takes_names_too(toy: Callable[..., Entry], mirror: Served) -> None:
    for _ in range(2):
        with posert.open_model("toy", device="cpu") as model:
            assert model.spec.model == "toy"
    assert len(mirror.asked) == 2
    with posert.open_model("nano", device="cpu") as model:
        assert model.spec.model == "posert-nano"


def test_other_commands_take_names(toy: Callable[..., Entry], run: Run, tmp_path: Path) -> None:
    assert "model     toy (movenet)" in run("info", "toy")[1]
    assert run("fuse", "toy", "-o", tmp_path / "fused.onnx")[0] == 0
    assert (tmp_path / "fused.onnx").is_file()


def test_a_file_comes_before_a_name(
    toy: Callable[..., Entry], mirror: Served, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(model, "toy")
    with posert.open_model("toy", device="cpu") as opened:
        assert opened.spec.model != "toy"
    assert not mirror.asked


@pytest.mark.parametrize("licence", ["AGPL-3.0", "none stated", "some university, research only"])
def test_a_licence_that_is_not_for_everybody_is_asked_about(
    licence: str, toy: Callable[..., Entry], mirror: Served, run: Run, photo: Path
) -> None:
    toy(licence=licence)
    code, _, err = run("infer", "toy", photo)
    assert code == 1
    assert f"not permissive, or not known: {licence}" in err
    assert "read it at our own tests; if it allows what you do, add --accept-licence" in err
    with pytest.raises(PosertError, match="not permissive"):
        posert.open_model("toy")
    assert not mirror.asked
    posert.open_model("toy", accept_licence=True, device="cpu").close()
    assert run("infer", "toy", photo)[0] == 0  # asked once


def test_what_has_no_pin_is_asked_about(toy: Callable[..., Entry], mirror: Served, run: Run, photo: Path) -> None:
    toy(sha256="")
    code, _, err = run("infer", "toy", photo)
    assert code == 1
    assert "add --accept-unpinned" in err
    assert not mirror.asked
    assert run("infer", "toy", photo, "--accept-unpinned")[0] == 0


@pytest.mark.parametrize(
    ("name", "extra", "command"),
    [
        ("movenet-lightning-int8", "export-tf", "posert export movenet-lightning-int8; then"),
        ("alphapose-fastpose-res50", "export-torch", "posert export alphapose-fastpose-res50 --accept-unpinned; then"),
        ("movenet", "export", "posert export movenet --from FILE --accept-unpinned; then"),
    ],
)
def test_a_heavy_route_is_one_command_away(name: str, extra: str, command: str, run: Run, photo: Path) -> None:
    code, _, err = run("infer", name, photo)
    assert code == 1
    assert f"pip install 'posert[{extra}]'" in err
    assert command in err


def test_what_has_no_address_says_where_it_comes_from(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSERT_MIRROR", raising=False)
    code, _, err = run("infer", "tinypose-128x96", photo)
    assert code == 1
    assert "has no address to fetch it from: PaddleDetection" in err
    assert "posert export tinypose-128x96 --from FILE --accept-unpinned; and give tinypose-128x96.onnx" in err


def test_without_the_package_onnx_nothing_is_fetched(
    toy: Callable[..., Entry], mirror: Served, run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = run("infer", "toy", photo)
    assert code == 1
    assert "hint: pip install 'posert[convert]'\n" in err
    assert not mirror.asked


def test_nearly_a_name(run: Run, photo: Path) -> None:
    code, _, err = run("infer", "movenet-thundr", photo)
    assert code == 1
    assert "did you mean movenet-thunder" in err
    for no_name in ("zap", "movenet-thunde.onnx", "models/movenet-thunder"):
        assert "there is no model file" in run("infer", no_name, photo)[2]


def test_a_source_that_is_not_there_costs_no_download(toy: Callable[..., Entry], mirror: Served, run: Run) -> None:
    assert "absent.jpg does not exist" in run("infer", "toy", "absent.jpg")[2]
    assert not mirror.asked


def cut(handler: http.server.BaseHTTPRequestHandler) -> bool:
    """Half of what was promised, and of the rest nothing."""
    if not handler.path.endswith(".bin"):
        return False
    if handler.headers.get("Range"):
        handler.send_error(503)
        return True
    handler.send_response(200)
    handler.send_header("Content-Length", "120000")
    handler.end_headers()
    handler.wfile.write(bytes(500))
    handler.close_connection = True
    return True


def other_bytes(handler: http.server.BaseHTTPRequestHandler) -> bool:
    if not handler.path.endswith(".bin"):
        return False
    handler.send_response(200)
    handler.send_header("Content-Length", "12")
    handler.end_headers()
    handler.wfile.write(b"other bytes!")
    return True


@pytest.mark.parametrize(
    ("instead", "message", "left"),
    [(cut, "cannot be fetched", ["toy.bin.part"]), (other_bytes, "is not the official toy", [])],
)
def test_a_bad_download_is_no_model(
    instead: Callable, message: str, left: list[str], toy: Callable[..., Entry], mirror: Served, run: Run, photo: Path,
    home: Path,
) -> None:  # fmt: skip
    """Of one that broke off, the beginning is kept, to go on from; under another name."""
    mirror.instead = instead
    code, _, err = run("infer", "toy", photo)
    assert code == 1
    assert message in err
    assert files(home) == [*left, "toy.json"]
    mirror.instead = lambda _: False
    assert run("infer", "toy", photo)[0] == 0
    assert files(home) == KEPT


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """No file can become larger than this: what a full disk does to a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
@pytest.mark.parametrize(("of", "left"), [("toy.bin", ["toy.json"]), ("toy.onnx", ["toy.bin", "toy.json"])])
def test_a_full_disk_leaves_nothing_half(
    of: str, left: list[str], toy: Callable[..., Entry], mirror: Served, run: Run, photo: Path, home: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    if of == "toy.onnx":
        weights.pull(weights.entries()["toy"])
    with full_after({"toy.onnx": 500, "toy.bin": 100_000}[of]):
        code, _, err = run("infer", "toy", photo)
    assert code == 1
    assert f"{of} cannot be written: File too large" in err
    assert "free some space" in err
    assert files(home) == left
    assert run("infer", "toy", photo)[0] == 0
    assert files(home) == KEPT


def test_two_at_once_make_it_once(toy: Callable[..., Entry], mirror: Served, home: Path) -> None:
    """The second waits, says so, and takes what the first made."""
    made: list[object] = []
    waiting = threading.Event()

    def ask(*_: object) -> None:
        made.append(
            named.model_file("toy", named.Terms(report=lambda line: waiting.set() if "waiting" in line else None))
        )

    lock = locks.take(home / "models.lock")
    both = [threading.Thread(target=ask) for _ in range(2)]
    for thread in both:
        thread.start()
    assert waiting.wait(20)
    assert not mirror.asked
    locks.release(lock)
    for thread in both:
        thread.join(30)
    assert made == [home / KEPT[0]] * 2
    assert mirror.asked == ["/toy.json", "/toy.bin"]
    assert files(home) == KEPT


def test_a_cache_that_cannot_be_written(
    toy: Callable[..., Entry], run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "file"))
    code, _, err = run("infer", "toy", photo)
    assert code == 1
    assert "cannot be written" in err


# The official files


@pytest.mark.parametrize("name", ["movenet-lightning", "movenet-thunder", "movenet-multipose-lightning"])
def test_the_official_networks_by_name(
    name: str, mirror: Served, assets: Path, tmp_path: Path, run: Run, home: Path
) -> None:
    golden = np.load(assets.parent / "golden" / "movenet_official.npz")
    for path in (assets / "models" / "movenet_tfjs").iterdir():
        (tmp_path / "mirror" / path.name).symlink_to(path)
    photos = [assets / "media" / "coco100" / "images" / str(photo) for photo in golden["photos"]]
    first = run("infer", name, *photos, "-o", tmp_path / "first")
    assert first[0] == 0, first[2]
    assert len(mirror.asked) == 2
    assert run("infer", name, *photos, "-o", tmp_path / "second")[0] == 0
    assert len(mirror.asked) == 2
    for photo in photos:
        found_twice = [rows(tmp_path / folder, f"{photo.name}.jsonl") for folder in ("first", "second")]
        assert found_twice[0] == found_twice[1]
        assert found_twice[0][1]["people"]
        if name != "movenet-multipose-lightning":
            short = name.removeprefix("movenet-")
            expected = golden[f"{short}_keypoints_xys"][list(golden["photos"]).index(photo.name)]
            assert np.abs(np.array(found_twice[0][1]["people"][0]["keypoints"]) - expected).max() < 0.01


def test_a_detector_comes_along(mirror: Served, assets: Path, tmp_path: Path, run: Run, home: Path) -> None:
    for here, there in (("ultralight_nano_simplepose.onnx",) * 2, ("yolox_nano.onnx",) * 2):
        (tmp_path / "mirror" / there).symlink_to(assets / "models" / here)
    photo = assets / "media" / "coco100" / "images" / "000000000785.jpg"
    name = "alphapose-ultralight-simplepose"
    assert "not permissive, or not known: none stated" in run("infer", name, photo)[2]
    code, out, err = run("infer", name, photo, "--accept-licence")
    assert code == 0, err
    assert '"people":[{"score"' in out
    made = [path.name for path in found(home, "*.onnx") if path.parent.name == posert.__version__]
    assert sorted(made) == [f"{name}.onnx", "yolox-nano.onnx"]
    assert run("infer", name, photo, "--detector", "yolox-nano")[1] == out
    assert len(mirror.asked) == 2
    (home / "models" / posert.__version__ / "yolox-nano.onnx").unlink()
    assert run("infer", name, photo, "--accept-licence")[1] == out  # what is missing is made again
    assert len(mirror.asked) == 2
