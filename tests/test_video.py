"""Which codec a video gets, and that one which no browser plays becomes one that they do, frame by frame."""

import sys
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
from command import Run

from posert.poses import Frame, Result, no_poses
from posert.runtime.files.overlay import overlay
from posert.runtime.files.video import encode_for_browser, open_writer, plays_in_browser, suffix_for_browser
from posert.runtime.media.read import frames
from posert.skeletons import COCO_17


def again(source: Path) -> Path:
    """The video, written again for browsers."""
    made = source.with_name("again" + suffix_for_browser())
    encode_for_browser(source, made)
    assert plays_in_browser(made)
    return made


@pytest.fixture(params=["PyAV", "OpenCV alone"])
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether OpenCV has to do without PyAV."""
    if request.param == "PyAV":
        pytest.importorskip("av")
        return False
    monkeypatch.setitem(sys.modules, "av", None)
    return True


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_overlays_play_in_browsers_where_pyav_is_installed(
    plain: bool, suffix: str, run: Run, model: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / f"drawn{suffix}"
    video = media.video(tmp_path / "walk.mp4", count=12)
    assert run("infer", model, video, "--overlay", drawn)[0] == 0
    assert plays_in_browser(drawn) is not (plain and suffix == ".mp4")
    assert len(list(frames(drawn))) == 12


def test_opencv_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It said "tag 0x30385056/'VP80' is not supported with codec id 139" and then wrote VP8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        with open_writer(tmp_path / "a.webm", Path("a.webm"), (64, 48), 10) as write:
            write(media.numbered(0), 0)
    assert capfd.readouterr().err == ""


def test_every_picture_keeps_its_place(plain: bool, tmp_path: Path) -> None:
    video = media.video(tmp_path / "walk.mp4", count=12)
    assert not plays_in_browser(video)
    made = again(video)
    assert made.suffix == (".webm" if plain else ".mp4")
    for one, other in zip(frames(video), frames(made), strict=True):
        assert one.time_s == pytest.approx(other.time_s, abs=0.001)  # WebM counts in milliseconds
        assert np.abs(one.bgr.astype(int) - other.bgr).mean() < 8


TIMES_MS = [0, 100, 200, 500, 600, 900]


def test_pictures_that_come_at_other_times_keep_them(tmp_path: Path) -> None:
    video = media.variable_rate_video(tmp_path / "walk.mp4", TIMES_MS)
    for one, other in zip(frames(video), frames(again(video)), strict=True):
        assert one.time_s == pytest.approx(other.time_s, abs=0.001)


def test_opencv_alone_keeps_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a constant rate, the mean: a picture stays until the next, and what comes faster is left out."""
    video = media.variable_rate_video(tmp_path / "walk.mp4", TIMES_MS)
    monkeypatch.setitem(sys.modules, "av", None)
    *_, last = frames(video)
    made = list(frames(again(video)))
    assert made[-1].time_s == pytest.approx(0.9, abs=0.075)  # half of a step of 6.67 a second
    assert np.abs(made[-1].bgr.astype(int) - last.bgr).mean() < 15


def test_an_odd_size_loses_a_pixel(plain: bool, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "odd.png"), media.numbered(3, (63, 47)))
    (tmp_path / "odd.png").rename(tmp_path / "odd.gif")  # a video of one picture
    assert [frame.size_wh for frame in frames(again(tmp_path / "odd.gif"))] == [(62, 46)]


@pytest.mark.parametrize("name", ["x.mkv", "x.avi"])
def test_what_some_browsers_play_is_not_enough(name: str, tmp_path: Path) -> None:
    media.encoded(tmp_path / name, "libx264")
    assert cv2.VideoCapture(str(tmp_path / name)).isOpened()
    assert not plays_in_browser(tmp_path / name)


@pytest.mark.parametrize(
    ("times_s", "expected"), [((0, 0.5, 0.6), 7), ((0, 0.01, 0.02), 1), ((0, 0.1, 95443.7, 95443.9), 5)]
)
def test_drawn_frames_are_shown_from_their_times_on(tmp_path: Path, times_s: tuple[float, ...], expected: int) -> None:
    """Of frames due as one picture the last is shown, which is no full disk; a jump of the clock fills none."""
    with overlay(tmp_path / "a.avi", COCO_17, 10) as write:
        for index, time_s in enumerate(times_s):
            frame = Frame(media.numbered(index), index)
            write(frame, Result(index, time_s, frame.size_wh, "a", no_poses(17), {}))
    assert len(list(frames(tmp_path / "a.avi"))) == expected
