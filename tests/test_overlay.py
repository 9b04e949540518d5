"""Drawn videos as files: each picture at its own time, sound kept, GIF and WebP, one picture for each frame."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import media
import numpy as np
import pytest
import tiny
from command import ROOT, Run
from PIL import Image, ImageSequence

from posert import DrawOptions, Frame, Result
from posert.poses import no_poses
from posert.runtime.media.read import frames
from posert.serve.recorder import Recorder

TIMES_MS = [0, 100, 200, 500, 600, 900]


def shown_ms(path: Path) -> list[int]:
    """How long each picture of a GIF or a WebP is shown."""
    durations = []
    for picture in ImageSequence.Iterator(Image.open(path)):
        picture.load()
        durations.append(int(picture.info["duration"]))
    return durations


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".webm"])
def test_every_picture_keeps_its_time(run: Run, model: Path, tmp_path: Path, suffix: str) -> None:
    """Of a variable rate too; they had the mean rate, and drew apart from the sound."""
    video, drawn = media.variable_rate_video(tmp_path / "a.mp4", TIMES_MS), tmp_path / f"drawn{suffix}"
    assert run("infer", model, video, "--overlay", drawn)[0] == 0
    assert [frame.time_s * 1000 for frame in frames(drawn)] == pytest.approx(TIMES_MS, abs=0.6)
    if suffix == ".mkv" and cv2.__version__ < "5":
        pytest.skip("OpenCV 4 reads another time of the second of two pictures in Matroska")
    assert run("infer", model, video, "--overlay", drawn, "--start", 0.15, "--stride", 2)[0] == 0
    assert [frame.time_s * 1000 for frame in frames(drawn)] == pytest.approx([0, 400], abs=0.6)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_moving_pictures_keep_their_times(run: Run, model: Path, tmp_path: Path, suffix: str) -> None:
    video, drawn = media.variable_rate_video(tmp_path / "a.mp4", TIMES_MS), tmp_path / f"drawn{suffix}"
    assert run("infer", model, video, "--overlay", drawn)[0] == 0
    assert shown_ms(drawn)[:-1] == [100, 100, 300, 100, 300]
    assert Image.open(drawn).info["loop"] == 0


def test_a_gif_is_as_fast_as_browsers_show_it(run: Run, model: Path, tmp_path: Path) -> None:
    """They show what asks for less than .02 s for .1 s: of 60 pictures a second some are left out, the pace stays."""
    video, drawn = media.video(tmp_path / "a.mp4", count=60, fps=60), tmp_path / "drawn.gif"
    assert run("infer", model, video, "--overlay", drawn)[0] == 0
    durations = shown_ms(drawn)
    assert min(durations) >= 20
    assert sum(durations) == pytest.approx(1000, abs=30)


@pytest.mark.parametrize("size_wh", [(63, 47), (64, 48)])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_moving_pictures_keep_their_size_and_colours(
    run: Run, model: Path, tmp_path: Path, suffix: str, size_wh
) -> None:
    video, drawn = media.video(tmp_path / "a.avi", count=3, size_wh=size_wh), tmp_path / f"drawn{suffix}"
    assert run("infer", model, video, "--overlay", drawn)[0] == 0
    *_, last = frames(video)
    moving = Image.open(drawn)
    moving.seek(2)
    assert moving.size == last.size_wh
    assert moving.convert("RGB").getpixel((58, 6)) == pytest.approx(tuple(last.rgb[6, 58]), abs=12)


def test_a_webp_of_a_picture_is_a_picture(run: Run, model: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), media.numbered(3))
    assert run("infer", model, tmp_path / "a.png", "--overlay", tmp_path / "drawn.webp")[0] == 0
    assert not getattr(Image.open(tmp_path / "drawn.webp"), "is_animated", False)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_moving_pictures_need_pyav(
    run: Run, model: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = media.video(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, err = run("infer", model, video, "--overlay", tmp_path / f"drawn{suffix}")
    assert code == 1
    assert "needs the package av" in err
    assert "posert[video]" in err


SOUNDS = [
    ("a.mp4", "aac", ".mp4", "aac"), ("a.mp4", "libmp3lame", ".mp4", "mp3float"), ("a.mkv", "libopus", ".mp4", "opus"),
    ("a.mkv", "libopus", ".webm", "opus"), ("a.avi", "pcm_s16le", ".mkv", "pcm_s16le"), ("a.ts", "aac", ".mp4", "aac"),
    ("a.avi", "pcm_s16le", ".mp4", "aac"), ("a.mpg", "mp2", ".mov", "aac"), ("a.mp4", "aac", ".webm", "opus"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec", "suffix", "kept"), SOUNDS)
def test_the_sound_is_kept(
    run: Run, model: Path, tmp_path: Path, name: str, codec: str, suffix: str, kept: str
) -> None:
    """At its time, in a part of the video too, and no longer than the pictures."""
    video, drawn = media.beeping(tmp_path / name, codec), tmp_path / f"drawn{suffix}"
    assert media.beep_at(video)[1] == pytest.approx(2.0, abs=0.06)
    for more, at_s, end_s in (([], 2.0, 3.0), (["--start", 1, "--stop", 2.6, "--stride", 3], 1.0, 1.6)):
        assert run("infer", model, video, "--overlay", drawn, *more)[0] == 0
        found, beep_s, last_s = media.beep_at(drawn)
        assert found.removeprefix("lib") == kept
        assert beep_s == pytest.approx(at_s, abs=0.06)
        assert last_s == pytest.approx(end_s, abs=0.15)


def test_packets_of_sound_stay_as_they_are(run: Run, model: Path, tmp_path: Path) -> None:
    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    video, drawn = media.beeping(tmp_path / "a.mp4"), tmp_path / "drawn.mp4"
    assert run("infer", model, video, "--overlay", drawn)[0] == 0
    kept = packets(drawn)
    assert len(kept) > 100
    assert set(kept) <= set(packets(video))


def test_damaged_sound_costs_no_picture(
    run: Run, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends with a warning where it cannot be read any more."""
    video, drawn = media.beeping(tmp_path / "a.mkv", "flac"), tmp_path / "drawn.webm"
    data = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        damaged = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size and packet.pts > 500]
    for begin, size in damaged:
        data[begin + 12 : begin + size] = bytes(max(0, size - 12))
    video.write_bytes(bytes(data))
    assert run("infer", model, video, "--overlay", drawn)[0] == 0
    assert "a.mkv is not kept to its end" in caplog.text
    assert len(list(frames(drawn))) == 75


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_a_full_disk_leaves_no_drawing(model: Path, tmp_path: Path, suffix: str) -> None:
    def limit() -> None:  # a file may grow to 4 kB, as if the disk were full then
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    video = media.encoded(tmp_path / "a.mp4", "mpeg4")
    command = [sys.executable, "-m", "posert.cli", "infer", str(model), str(video), "--overlay"]
    done = subprocess.run(
        [*command, str(tmp_path / "out" / f"drawn{suffix}")], preexec_fn=limit, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".typing")},
    )  # fmt: skip
    assert done.returncode == 1
    assert f"drawn{suffix} cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_of_a_broken_video_the_drawn_part_plays(run: Run, model: Path, tmp_path: Path, suffix: str) -> None:
    code, _, err = run("infer", model, media.cut_off_video(tmp_path), "--overlay", tmp_path / f"drawn{suffix}")
    assert code == 1
    assert "is cut off" in err
    kept = tmp_path / f"drawn{suffix}.partial"
    if suffix in (".gif", ".webp"):
        assert len(shown_ms(kept)) > 5
    else:
        assert len(list(frames(kept.rename(tmp_path / f"part{suffix}")))) > 5


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp", ".mkv"])
def test_the_smallest_pictures_are_drawn_or_refused(run: Run, model: Path, tmp_path: Path, suffix: str) -> None:
    for size_wh in ((1, 1), (2, 2), (3, 40)):
        cv2.imwrite(str(tmp_path / "a.png"), np.full((size_wh[1], size_wh[0], 3), 99, np.uint8))
        (tmp_path / "a.png").rename(tmp_path / "a.gif")  # which the reader takes as a video
        code, _, err = run("infer", model, tmp_path / "a.gif", "--overlay", tmp_path / f"drawn{suffix}")
        assert code == 0 or ("cannot be written" in err and "Traceback" not in err), err


def test_recordings_of_live_sources_are_drawn_so(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "a", tiny.SPEC, [], 10, drawing=DrawOptions(background="black"))
    recorder.start(drawn=True)
    for index in range(3):
        frame = Frame(media.numbered(index), index, index / 10)
        recorder.write(frame, Result(index, index / 10, frame.size_wh, "a", no_poses(17), {}))
    recorder.stop()
    drawn = list(frames(next(tmp_path.glob("*.mp4"))))
    assert len(drawn) == 3
    assert all(frame.bgr.max() < 8 for frame in drawn)


def test_workers_draw_pictures_of_frames(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the trial that chooses their number draws elsewhere."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a", "b", "c"):
        media.video(Path(f"in/{name}.mp4"), count=4)
    for workers in (0, 2):
        code, _, err = run("infer", model, "in", "-o", "out", "--overlay", "drawn/%02d.png", "--workers", workers)
        assert code == 0, err
        assert len(list(Path("drawn").rglob("*.png"))) == 12
