"""Videos from some second on, without decoding what lies before, and decoded by hardware."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from posert.errors import PosertError
from posert.poses import Frame
from posert.runtime.jobs.recipe import Recipe, Selection, Settings
from posert.runtime.media import read, seek
from posert.runtime.media.read import frames

COUNT, STEP_MS = 120, 40
CLIPS: dict[str, tuple[str, str, dict[str, str]]] = {
    "b_frames": (".mp4", "libx264", {"g": "12", "bf": "3"}),
    "open_groups": (".mp4", "libx264", {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=12:min-keyint=12"}),
    "refreshed_bit_by_bit": (".mkv", "libx264", {"x264-params": "intra-refresh=1:keyint=16"}),
    "uneven_times": (".mov", "libx264", {"g": "10", "bf": "2"}),
    "vp9": (".webm", "libvpx-vp9", {"g": "12", "lag-in-frames": "10", "deadline": "realtime", "cpu-used": "8"}),
}
OTHERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "without_times": (".avi", "mpeg4", {"g": "12", "bf": "2"}),
    "a_stream": (".ts", "libx264", {"g": "12", "bf": "2"}),
    "one_group": (".mp4", "libx264", {"g": "500"}),
    "key_frames_alone": (".mov", "mjpeg", {}),
}


def drawn(folder: Path, name: str) -> Path:
    """A clip of a moving disc, its frames numbered."""
    av = pytest.importorskip("av")
    suffix, codec, options = (CLIPS | OTHERS)[name]
    rng, path = np.random.default_rng(0), folder / (name + suffix)
    times = np.cumsum(rng.integers(10, 120, COUNT)) if name == "uneven_times" else np.arange(COUNT) * STEP_MS
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000 // STEP_MS, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_ms in enumerate(times.tolist()):
            picture = np.full((64, 96, 3), 60, np.uint8)
            cv2.circle(picture, (10 + index % 70, 30), 9, (0, 255, index), -1)
            cv2.putText(picture, str(index), (20, 55), 0, 1, (255, 255, 255))
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def same(ours: list[Frame], expected: list[Frame]) -> bool:
    return [(one.index, one.time_s, one.bgr.tobytes()) for one in ours] == [
        (one.index, one.time_s, one.bgr.tobytes()) for one in expected
    ]


def left_out(path: Path, start_s: float) -> int:
    """How many frames are not even asked for."""
    capture, before_ms = seek.opened_at(lambda: cv2.VideoCapture(str(path)), path, str(path), start_s)
    capture.release()
    return len(before_ms)


@pytest.mark.parametrize("name", CLIPS)
def test_frames_from_a_second_on_are_those_of_the_whole_video(tmp_path: Path, name: str) -> None:
    """Indices, times and pixels, whichever second: between key frames, at one, at the last frame, beyond it."""
    path = drawn(tmp_path, name)
    whole = list(frames(path))
    assert len(whole) == COUNT
    last, skipped = whole[-1].time_s, []
    for start_s in (0.1, whole[50].time_s, whole[60].time_s - 0.001, whole[72].time_s, last, last + 1):
        kept = [frame for frame in whole if frame.time_s >= start_s]
        assert same(list(frames(path, start_s=start_s)), kept), start_s
        if start_s > 2:
            skipped.append(left_out(path, start_s))
            assert skipped[-1] in (COUNT - len(kept), 0)
    assert any(skipped) if name == "uneven_times" else all(skipped)


@pytest.mark.parametrize("name", OTHERS)
def test_files_that_do_not_say_enough_are_decoded_from_their_first_frame(tmp_path: Path, name: str) -> None:
    path = drawn(tmp_path, name)
    assert left_out(path, 3.0) == 0
    assert same(list(frames(path, start_s=3.0)), [frame for frame in frames(path) if frame.time_s >= 3.0])


def test_a_decoder_that_says_other_times_than_the_packets_begins_anew(tmp_path: Path, monkeypatch: Any) -> None:
    path = drawn(tmp_path, "b_frames")
    said = seek._frames_before

    def half_a_step_off(*given: Any) -> Any:
        times_ms, begins_ms = said(*given)
        return times_ms + STEP_MS / 2, begins_ms

    monkeypatch.setattr(seek, "_frames_before", half_a_step_off)
    assert left_out(path, 3.0) == 0
    assert same(list(frames(path, start_s=3.0)), [frame for frame in frames(path) if frame.time_s >= 3.0])


def test_what_is_missing_behind_is_said(tmp_path: Path) -> None:
    path = drawn(tmp_path, "refreshed_bit_by_bit")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(PosertError, match="is cut off"):
        list(frames(path, start_s=3.0))


class Capture:
    """OpenCV's, of a video that some hardware decodes."""

    opened: tuple[Any, ...] = ()
    hardware = 0

    def __init__(self, *given: Any) -> None:
        Capture.opened = given

    def get(self, name: int) -> float:
        return float(self.hardware) if name == cv2.CAP_PROP_HW_ACCELERATION else 0.0

    def isOpened(self) -> bool:
        return True


def test_hardware_is_asked_for_and_must_be_there(monkeypatch: Any) -> None:
    """OpenCV decodes without a word on the processor instead."""
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    with pytest.raises(PosertError, match="cannot be decoded with `hwaccel` any"):
        read._open_video("walk.mp4", hwaccel="any")
    monkeypatch.setattr(Capture, "hardware", cv2.VIDEO_ACCELERATION_VAAPI)
    read._open_video("walk.mp4", hwaccel="vaapi")
    assert Capture.opened[2][-2:] == [cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_VAAPI]


def test_a_video_is_decoded_by_its_share_of_the_threads(monkeypatch: Any) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    for threads, wanted in ((0, min(16, read.cpu_cores())), (3, 3), (90, 16)):
        read._open_video("walk.mp4", threads=threads)
        assert Capture.opened[2] == [cv2.CAP_PROP_N_THREADS, wanted]


@pytest.mark.parametrize("source", ["0", "walk.mp4"])
def test_hardware_that_nobody_knows_is_refused(source: str) -> None:
    with pytest.raises(PosertError, match="`hwaccel` abacus is not known"):
        read._open_video(source, hwaccel="abacus")


def test_results_by_hardware_are_others() -> None:
    """The manifest says so, and `--resume` does them again."""
    records = [Recipe("nano", Settings(selection=Selection(hwaccel=name))).record() for name in (None, "vaapi")]
    assert [record["selection"]["hwaccel"] for record in records] == [None, "vaapi"]
