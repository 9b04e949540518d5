"""Sources: every kind, every broken one, times, rotation."""

import io
import os
import re
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import command
import cv2
import media
import numpy as np
import pytest

from posert.errors import PosertError
from posert.runtime.media import names
from posert.runtime.media.read import expand, frame_count, frame_rate, frames


def test_a_video_gives_every_frame_with_its_time(tmp_path: Path) -> None:
    path = media.video(tmp_path / "a.mp4", count=12, fps=10)
    got = list(frames(path))
    assert [frame.index for frame in got] == list(range(12))
    assert [frame.time_s for frame in got] == pytest.approx([i / 10 for i in range(12)])
    assert [round(int(frame.bgr[40, 40, 0]) / 20) for frame in got] == list(range(12))
    assert (frame_count(str(path)), frame_rate(str(path))) == (12, 10)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served under."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_an_address_is_no_picture_by_its_name(served: tuple[Path, str]) -> None:
    """Cameras' addresses end in .jpg; such a one was looked for on this machine."""
    folder, address = served
    cv2.imwrite(str(folder / "a.jpg"), media.numbered(3))
    assert [frame.size_wh for frame in frames(f"{address}/a.jpg")] == [(64, 48)]
    assert expand(f"{address}/a.jpg")[0][1].endswith("_a.jpg.stream")


def test_a_stream_has_the_times_of_its_container(served: tuple[Path, str]) -> None:
    folder, address = served
    media.video(folder / "a.avi", count=12, fps=10)
    got = list(frames(f"{address}/a.avi"))
    assert [frame.time_s for frame in got] == pytest.approx([i / 10 for i in range(12)])


def test_rgb_is_bgr_reversed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 5, 3), (1, 2, 3), np.uint8))
    frame = next(frames(tmp_path / "a.png"))
    assert frame.bgr[0, 0].tolist() == [1, 2, 3]
    assert frame.rgb[0, 0].tolist() == [3, 2, 1]
    assert frame.size_wh == (5, 4)


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        ({"stride": 5}, [0, 5, 10]),
        ({"start_s": 0.5}, [5, 6, 7, 8, 9, 10, 11]),
        ({"stop_s": 0.3}, [0, 1, 2]),
        ({"start_s": 0.25, "stop_s": 0.9, "stride": 3}, [3, 6]),
        ({"start_s": 0.35, "stride": 3}, [4, 7, 10]),
        ({"start_s": 99}, []),
        ({"first": 9}, [9, 10, 11]),
        ({"last": 2}, [0, 1, 2]),
        ({"first": 4, "last": 4}, [4]),
        ({"first": 2, "last": 8, "stride": 3}, [2, 5, 8]),
        ({"first": 3, "start_s": 0.5, "stop_s": 0.9, "last": 7}, [5, 6, 7]),
        ({"first": 5, "last": 4}, []),
        ({"first": 99}, []),
    ],
)
def test_selection(tmp_path: Path, options: dict, indices: list[int]) -> None:
    path = media.video(tmp_path / "a.mp4", count=12, fps=10)
    assert [frame.index for frame in frames(path, **options)] == indices


def test_variable_frame_rate_times_come_from_the_container(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 500, 520, 1900]
    path = media.variable_rate_video(tmp_path / "v.mp4", times_ms)
    assert [frame.time_s * 1000 for frame in frames(path)] == pytest.approx(times_ms)


def test_rotation_metadata_is_applied(tmp_path: Path) -> None:
    path = media.turn_quarter(media.video(tmp_path / "r.mp4", count=3))
    frame = next(frames(path))
    assert frame.size_wh == (48, 64)  # the frames in the file are 64 x 48
    assert int(frame.bgr[5, 40, 0]) > 200  # the white quarter was top left: turned clockwise it is top right
    assert int(frame.bgr[5, 5, 0]) < 50


@pytest.mark.parametrize(
    ("options", "white"),
    [
        ({}, "top left"), ({"rotate": 90}, "top right"), ({"rotate": 180}, "bottom right"),
        ({"rotate": 270}, "bottom left"), ({"mirror": True}, "top right"),
        ({"rotate": 90, "mirror": True}, "top left"), ({"rotate": 270, "mirror": True}, "bottom right"),
    ],
)  # fmt: skip
def test_pictures_are_rotated_clockwise_and_then_mirrored(tmp_path: Path, options: dict, white: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), media.numbered(0))
    for source in (tmp_path / "a.png", media.video(tmp_path / "a.mp4", count=1)):
        frame = next(frames(source, **options))
        assert frame.size_wh == ((48, 64) if options.get("rotate", 0) % 180 else (64, 48))
        corners = {"top left": (5, 5), "top right": (5, -5), "bottom left": (-5, 5), "bottom right": (-5, -5)}
        assert {name for name, (y, x) in corners.items() if frame.bgr[y, x].min() > 150} == {white}
        assert frame.bgr.flags.c_contiguous


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotate": 45}, "rotate = 45, expected 0 | 90 | 180 | 270"), ({"rotate": "90"}, "rotate = '90'"),
        ({"mirror": 1}, "mirror = 1, expected true or false"), ({"first": -1}, "first = -1, expected a whole number"),
        ({"last": 1.5}, "last = 1.5, expected a whole number"),
    ],
)  # fmt: skip
def test_selections_that_say_nothing(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(PosertError, match=re.escape(message)):
        next(frames(media.video(tmp_path / "a.mp4", count=2), **options))


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("grey.png", np.full((6, 8), 77, np.uint8), (77, 77, 77)),
        ("rgba.png", np.full((6, 8, 4), (10, 20, 30, 128), np.uint8), (10, 20, 30)),
        ("sixteen.png", np.full((6, 8, 3), 20000, np.uint16), (78, 78, 78)),
        ("sixteen_grey.tiff", np.full((6, 8), 40000, np.uint16), (156, 156, 156)),
    ],
)
def test_every_picture_becomes_8_bit_bgr(tmp_path: Path, name: str, image: np.ndarray, expected: tuple) -> None:
    assert cv2.imwrite(str(tmp_path / name), image)
    bgr = next(frames(tmp_path / name)).bgr
    assert bgr.dtype == np.uint8
    assert bgr.shape == (6, 8, 3)
    assert np.abs(bgr[0, 0].astype(int) - expected).max() <= 1


def test_cmyk_jpeg(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    blue, green, red = next(frames(tmp_path / "cmyk.jpg")).bgr[3, 3].tolist()
    assert red > 150
    assert max(blue, green) < 100


@pytest.mark.parametrize("side", [1, 8000])
def test_smallest_and_largest_picture(tmp_path: Path, side: int) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((side, side, 3), np.uint8))
    assert next(frames(tmp_path / "a.png")).size_wh == (side, side)


def test_pictures_share_memory_only_when_nobody_looks_any_more(tmp_path: Path) -> None:
    """Pictures that are kept, whole or as a view, stay as they were; dropped ones make room for the next."""
    path = media.video(tmp_path / "a.mp4", count=30)
    one_by_one = [int(frame.bgr[40, 40, 0]) for frame in frames(path)]
    assert len(set(one_by_one)) > 10
    whole = [frame.bgr for frame in frames(path)]
    assert [int(picture[40, 40, 0]) for picture in whole] == one_by_one
    views = [frame.rgb[40:, 40:] for frame in frames(path)]
    assert [int(view[0, 0, 2]) for view in views] == one_by_one
    places = {frame.bgr.__array_interface__["data"][0] for frame in frames(path)}
    assert len(places) <= 2


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_only_the_first_of_several_pictures_is_said(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Animations and pages but for the first were left out silently."""
    if suffix != "tiff" and not hasattr(cv2, "imreadanimation"):
        pytest.skip("this OpenCV knows no animations")
    image = pytest.importorskip("PIL.Image")
    pictures = [image.fromarray(np.full((48, 64, 3), 50 * number, np.uint8)) for number in range(3)]
    pictures[0].save(tmp_path / f"one.{suffix}")
    pictures[0].save(tmp_path / f"three.{suffix}", save_all=True, append_images=pictures[1:])
    assert len(list(frames(tmp_path))) == 2
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"three.{suffix} has 3 pictures, only the first is read" in said


fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")


@fifos
@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a", "a.png"])
def test_a_fifo_is_read_as_it_is_written(tmp_path: Path, name: str) -> None:
    fifo, source = tmp_path / name, tmp_path / f"written{Path(name).suffix or '.mkv'}"
    if name == "a.png":
        cv2.imwrite(str(source), media.numbered(1))
    else:
        media.encoded(source, "libx264")
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(source.read_bytes()))
    writer.start()
    assert len(list(frames(fifo))) == (1 if name == "a.png" else 30)
    writer.join()


@fifos
@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_a_fifo_that_nobody_writes_to_is_not_waited_for(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "WRITER_S", 0.1)
    os.mkfifo(tmp_path / name)
    with pytest.raises(PosertError, match=f"nobody writes to the pipe .*{name}"):
        next(frames(tmp_path / name))


def _named(folder: Path, name: bytes) -> Path:
    path = folder / os.fsdecode(name)
    try:
        path.touch()
    except OSError:
        pytest.skip("this system's names are UTF-8")
    path.unlink()
    return path


def test_a_name_that_is_not_utf8(tmp_path: Path, model: Path) -> None:
    """It ended the process inside of OpenCV, with all that was still to be done."""
    source = _named(tmp_path, b"b\xe9.mp4")
    media.video(tmp_path / "c.mp4", count=3).rename(source)
    media.video(tmp_path / "c.mp4", count=2)
    cv2.imwrite(str(tmp_path / "a.png"), media.numbered(1))
    (tmp_path / "a.png").rename(_named(tmp_path, b"a\xe9.png"))
    drawn, out = _named(tmp_path, b"x\xff.mp4"), tmp_path / "out"
    for arguments in (["--overlay", drawn], ["-o", out / "one.npz", "--format", "npz"]):
        done = command.posert("infer", model, source, *arguments)
        assert done.returncode == 0, done.stderr
    assert frame_count(str(drawn)) == 3
    drawn.unlink()
    done = command.posert("infer", model, tmp_path, "-o", out, "--overlay", tmp_path / "drawn", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "drawn").iterdir())) == 3


def test_a_name_with_a_colon_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    media.video(Path("a.mp4"), count=2).rename(_named(tmp_path, b"12:30.mp4"))
    assert len(list(frames("12:30.mp4"))) == 2


def test_an_address_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(PosertError, match="is not UTF-8"):
        expand(os.fsdecode(b"http://127.0.0.1:9/\xe9.mp4"))


BROKEN = {
    "missing": (lambda p: p / "none.mp4", "does not exist"),
    "empty image": (lambda p: _bytes(p / "a.jpg", b""), "not a readable image"),
    "text as image": (lambda p: _bytes(p / "a.jpg", b"hello"), "not a readable image"),
    "half a jpeg header": (lambda p: _bytes(p / "a.jpg", b"\xff\xd8\xff\xe0\x00"), "not a readable image"),
    "empty video": (lambda p: _bytes(p / "a.mp4", b""), "cannot be opened"),
    "text as video": (lambda p: _bytes(p / "a.mp4", b"hello" * 99), "cannot be opened"),
    "cut before its index": (
        lambda p: _bytes(p / "b.mp4", media.video(p / "a.mp4").read_bytes()[:900]),
        "cannot be opened",
    ),
    "audio only": (lambda p: media.audio_only(p / "a.mp4"), "cannot be opened"),
    "folder without media": (lambda p: p, "no image or video in the folder"),
    "pattern without media": (lambda p: p / "*.mp4", "no image or video matches"),
    "no such stream": (lambda p: "http://127.0.0.1:9/none.mp4", "cannot be opened"),
    "stdin without size": (lambda p: "-", "carry no size"),
}


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", BROKEN)
def test_broken_sources_say_what_is_wrong(tmp_path: Path, case: str) -> None:
    make, message = BROKEN[case]
    with pytest.raises(PosertError, match=message) as caught:
        list(frames(make(tmp_path)))
    assert caught.value.hint


def test_a_video_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "zero.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    writer.release()
    with pytest.raises(PosertError, match=r"cannot be opened|no readable frame"):
        list(frames(path))


def test_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    media.video(tmp_path / "in" / "deep" / "b.mp4", count=2)
    cv2.imwrite(str(tmp_path / "in" / "a.jpg"), media.numbered(1))
    (tmp_path / "in" / "notes.txt").write_text("no media")
    for hidden in ("._b.mp4", ".a.1234.jpg", ".bin/a.jpg"):  # of macOS, of a run that was killed, a bin
        (tmp_path / "in" / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / hidden).write_bytes(b"not for us")
    assert [name for _, name in expand(tmp_path / "in")] == ["a.jpg", os.path.join("deep", "b.mp4")]
    assert [name for _, name in expand(str(tmp_path / "in" / "**" / "*"))] == ["a.jpg", os.path.join("deep", "b.mp4")]
    got = list(frames(tmp_path / "in"))
    assert [(Path(frame.source).name, frame.index) for frame in got] == [("a.jpg", 0), ("b.mp4", 0), ("b.mp4", 1)]


def _pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_raw_frames_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (3, 4, 6, 3), np.uint8)
    _pipe(monkeypatch, rgb.tobytes())
    got = list(frames("-", size_wh=(6, 4), fps=5))
    assert [frame.time_s for frame in got] == [0, 0.2, 0.4]
    assert all((frame.rgb == picture).all() for frame, picture in zip(got, rgb, strict=True))


def test_no_more_is_read_than_the_last_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one may be long in coming; here it would be cut off."""
    _pipe(monkeypatch, bytes(2 * 4 * 5 * 3 + 7))
    assert [frame.index for frame in frames("-", size_wh=(5, 4), first=1, last=1)] == [1]


def test_standard_input_that_ends_inside_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    _pipe(monkeypatch, bytes(6 * 4 * 3 + 5))
    with pytest.raises(PosertError, match="inside frame 1: 5 of 72 bytes"):
        list(frames("-", size_wh=(6, 4)))
