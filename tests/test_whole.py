"""Whole files of every kind pass, cut and damaged ones are reported with what was read."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import media
import numpy as np
import pytest
from command import Run
from hypothesis import given
from hypothesis import strategies as st

from posert.errors import PosertError
from posert.runtime.jobs.job import Job, run_job
from posert.runtime.jobs.recipe import Settings
from posert.runtime.media.containers import chain_loss, indexed_frames
from posert.runtime.media.read import frames
from posert.runtime.session import open_model

pytest.importorskip("av")
Make = Callable[[Path], Path]
X264 = {"preset": "veryfast", "g": "10", "bf": "2"}
UNEVEN = [0, 1, 2, 9, 10, 30, 31, 35, 36, 37, 60]


def h264(path: Path, **options: object) -> Path:
    return media.encoded(path, "libx264", encoder=X264, **options)


def unseekable(path: Path, codec: str, form: str) -> Path:
    with media.Unseekable(path) as file:
        media.encoded(path, codec, form=form, into=file)
    return path


WHOLE: dict[str, tuple[Make, int]] = {
    "mp4": (h264, 30),
    "index first.mp4": (partial(h264, muxer={"movflags": "faststart"}), 30),
    "fragments.mp4": (partial(h264, muxer={"movflags": "frag_keyframe+empty_moov"}), 30),
    "uneven.mp4": (partial(h264, times=UNEVEN), 11),
    "late.mp4": (partial(h264, times=range(50, 80)), 30),
    "more sound.mp4": (partial(h264, audio_s=3), 30),
    "mov": (partial(media.encoded, codec="mjpeg"), 30),
    "3gp": (h264, 30),
    "mkv": (h264, 30),
    "more sound.mkv": (partial(h264, audio_s=3), 30),
    "live.mkv": (partial(h264, muxer={"live": "1"}), 30),
    "uneven.mkv": (partial(h264, times=UNEVEN), 11),
    "webm": (partial(media.encoded, codec="libvpx-vp9", encoder={"cpu-used": "8"}), 30),
    "unseekable.webm": (partial(unseekable, codec="libvpx", form="webm"), 30),
    "avi": (partial(media.encoded, codec="mpeg4"), 30),
    "empty packets.avi": (partial(media.encoded, codec="mpeg4", times=UNEVEN), 11),
    "more sound.avi": (partial(media.encoded, codec="mjpeg", audio_s=3), 30),
    "unseekable.avi": (partial(unseekable, codec="mpeg4", form="avi"), 30),
    "ts": (h264, 30),
    "more sound.ts": (partial(h264, audio_s=3), 30),
    "m2ts": (partial(h264, form="mpegts", muxer={"mpegts_m2ts_mode": "1"}), 30),
    "mpg": (partial(media.encoded, codec="mpeg2video", encoder={"bf": "2"}), 30),
    "vob": (partial(media.encoded, codec="mpeg2video", audio_s=3), 30),
    "mpeg1.mpg": (partial(media.encoded, codec="mpeg1video"), 30),
    "flv": (h264, 30),
    "wmv": (partial(media.encoded, codec="wmv2"), 30),
    "ogv": (partial(media.encoded, codec="libvpx", form="ogg"), 30),
    "a pause of minutes.mkv": (partial(h264, times=[0, 1, 2, 3, 2900, 2901, 2902], audio_s=118), 7),
    "a pause of minutes.ts": (partial(h264, times=[0, 1, 2, 3, 2900, 2901, 2902], audio_s=118), 7),
    "one.mp4": (partial(h264, times=[0]), 1),
    "one.mkv": (partial(h264, times=[0]), 1),
}


def in_folder(folder: Path, kind: str) -> Path:
    return WHOLE[kind][0](folder / (kind if "." in kind else "a." + kind))


def read(path: Path) -> tuple[list[float], str]:
    """The times of the frames, and what was said in the end."""
    times: list[float] = []
    try:
        for frame in frames(path):
            times.append(frame.time_s)
    except PosertError as error:
        return times, error.what
    return times, ""


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_is_whole_whatever_lies_behind_it(tmp_path: Path, kind: str) -> None:
    """Bytes behind a whole MP4 once were "1247104575 bytes are missing"; MPEG's last frame once was at 0 s."""
    path = in_folder(tmp_path, kind)
    times, said = read(path)
    assert (len(times), said) == (WHOLE[kind][1], "")
    assert times == sorted(times)
    assert chain_loss(str(path)) == (0, 0)
    data = path.read_bytes()
    for behind in (b"JUNKjunkJUNK", bytes(5000), np.random.default_rng(1).bytes(333)):
        path.write_bytes(data + behind)
        assert read(path)[1] == "", behind[:9]


HIDDEN: dict[str, Make] = {
    "an edit list": lambda path: media.copied(
        h264(path), path.with_name("b.mp4"), shift_s=-0.5, muxer={"avoid_negative_ts": "disabled"}
    ),
    "begins between key frames": lambda path: media.copied(h264(path), path.with_name("b.mkv"), skip=5),
    "begins between key frames, mp4": lambda path: media.copied(h264(path), path.with_name("b.mp4"), skip=5),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_file_that_shows_less_than_it_holds_is_whole(tmp_path: Path, kind: str) -> None:
    times, said = read(HIDDEN[kind](tmp_path / "a.mp4"))
    assert 15 <= len(times) < 25
    assert said == ""


def test_two_joined_files_go_on(tmp_path: Path) -> None:
    """Their time stamps begin anew in the midst: times once jumped back."""
    one = media.encoded(tmp_path / "a.ts", "mpeg2video").read_bytes()
    (tmp_path / "b.ts").write_bytes(one + one)
    times, said = read(tmp_path / "b.ts")
    assert (len(times), said) == (60, "")
    assert times == pytest.approx([number / 25 for number in range(60)])


def test_real_videos_are_whole(assets: Path) -> None:
    """An edit list hides frames of one: 493 in its table, 422 shown. It must not count as cut off."""
    found = {path.name: read(path) for path in sorted((assets / "media" / "videos").glob("*.mp4"))}
    assert {name: said for name, (_, said) in found.items() if said} == {}
    assert len(found["staged_falls.mp4"][0]) == 422
    assert indexed_frames(str(assets / "media" / "videos" / "staged_falls.mp4")) == (493, 72)


CUT = [kind for kind in WHOLE if not kind.startswith(("one", "a pause", "unseekable.avi"))]


@pytest.mark.parametrize("kind", CUT)
def test_a_cut_off_video_gives_its_frames_and_then_says_so(tmp_path: Path, kind: str) -> None:
    path = in_folder(tmp_path, kind)
    if kind in {"mp4", "uneven.mp4", "late.mp4", "more sound.mp4", "mov", "3gp"}:  # their index lies behind
        path = media.copied(path, path.with_name("first" + path.suffix), muxer={"movflags": "faststart"})
    data, whole = path.read_bytes(), len(read(path)[0])
    for share in (0.6, 0.8, 0.93):
        path.write_bytes(data[: int(len(data) * share) + 1])
        times, said = read(path)
        assert 0 < len(times) <= whole
        assert f"{len(times)} frames could be read" in said
        assert "is cut off" in said or len(times) < whole
        assert "is cut off" in said


@pytest.mark.parametrize("kind", ["mp4", "fragments.mp4", "mkv", "live.mkv", "webm", "avi", "flv", "mov"])
def test_lost_frames_are_reported(tmp_path: Path, kind: str) -> None:
    """A packet of noise in the midst: OpenCV goes on behind it."""
    import av

    path = in_folder(tmp_path, kind)
    whole, data = len(read(path)[0]), bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][12]
        begin, size = packet.pos, packet.size
    at = data.index(bytes(packet), begin)
    data[at : at + size] = bytes([0xFF]) * size
    path.write_bytes(data)
    times, said = read(path)
    assert 12 < len(times) < whole
    assert f"{len(times)} frames could be read" in said
    assert f"is damaged: {whole - len(times)} frames cannot be decoded" in said


BEGINNINGS = [
    b"\0\0\0\x18ftypisom",
    b"\0\0\0\1moov" + b"\xff" * 8,
    b"\0\0\0\x20moov\0\0\0\x18trak",
    bytes.fromhex("1A45DFA3801853806701FFFFFFFFFFFFFF1F43B675"),
    b"RIFF\xff\xff\xff\xffAVI LIST",
    b"FLV\1\5\0\0\0\x09",
    b"\0\0\1\xba\x44",
    bytes.fromhex("3026B275"),
    b"OggS",
    (b"G" + bytes(187)) * 2,
]


@given(st.sampled_from(BEGINNINGS), st.lists(st.sampled_from(BEGINNINGS) | st.binary(max_size=40), max_size=6))
def test_no_file_is_too_odd(begin: bytes, parts: list[bytes]) -> None:
    """A length of 64 bits once led beyond what a file can be sought to."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(begin + b"".join(parts))
        missing, broken_at = chain_loss(str(path))
        assert missing >= 0
        assert 0 <= broken_at <= path.stat().st_size
        assert min(indexed_frames(str(path))) >= 0


@pytest.mark.parametrize(("others", "code"), [(0, 1), (1, 3)])
def test_the_command_keeps_what_was_read(run: Run, model: Path, tmp_path: Path, others: int, code: int) -> None:
    """Cut Matroska, AVI, WebM and MPEG files once were marked as done."""
    path = h264(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    sources = [path, *(media.video(tmp_path / f"{number}.mp4", count=2) for number in range(others))]
    out = tmp_path / "out" if others else tmp_path / "a.mkv.jsonl"
    done, _, err = run("infer", model, *sources, "-o", out)
    assert done == code
    assert "is cut off" in err
    kept = (out / "a.mkv.jsonl.partial") if others else tmp_path / "a.mkv.jsonl.partial"
    assert 10 < len(kept.read_text().splitlines()) < 31
    assert not kept.with_suffix("").exists()


def test_a_video_that_goes_away_while_it_is_read(tmp_path: Path, model: Path) -> None:
    """Every finished frame was lost, and the message blamed the output and its free space."""
    path, output = h264(tmp_path / "a.mkv"), tmp_path / "a.jsonl"
    job = Job(str(path), output, None)
    with (
        open_model(model) as opened,
        pytest.raises(PosertError, match=r"a.mkv went away while it was read .*; 30 frames could be read"),
    ):
        run_job(opened, job, Settings(), on_frame=lambda _: path.unlink(missing_ok=True))
    assert len((tmp_path / "a.jsonl.partial").read_text().splitlines()) == 31


def test_a_codec_that_opencv_does_not_know_is_named(tmp_path: Path) -> None:
    """AV1 was called damaged."""
    import av

    if "libsvtav1" not in av.codecs_available:
        pytest.skip("PyAV without an AV1 encoder")
    path = media.encoded(tmp_path / "a.mp4", "libsvtav1", encoder={"preset": "12"})
    times, said = read(path)
    assert times or "its codec is AV01" in said  # a later OpenCV may know it
