"""Videos out: which codec a file gets, which files a browser plays, and one that plays made of one that does not.

PyAV, where it is installed, writes most of them (`pyav.py`); OpenCV alone MPEG-4 Part 2, which no browser plays, and
VP8 (.webm). Knows pictures, nothing of people.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.runtime.files.atomic import whole_file
from posert.runtime.files.pyav import CODINGS, WritePicture, pyav, pyav_writer
from posert.runtime.media.names import opencv_name
from posert.runtime.media.orientation import UPRIGHT, Orientation
from posert.runtime.media.read import frame_count, frame_rate, frames

Picture = NDArray[np.uint8]
_CONTAINERS = {".mp4", ".m4v", ".mov", ".webm"}
_CODECS = {"avc1", "h264", "H264", "vp08", "VP80", "vp09", "VP90", "av01", "AV01"}
_PLAIN_FORMATS = {"I420", "NV12", ""}  # of 8 bits, colour at half the size
_OPENCV = {".avi": "MJPG", ".webm": "VP80"}
_FASTEST = 240.0  # frames per second
_LONGEST_S = 600.0  # that a picture is repeated; more is a jump of the clock, of 26 hours in a stream of MPEG


def open_writer(
    temporary: Path, path: Path, size_wh: tuple[int, int], fps: float, source: str = "", begin_s: float = 0.0
) -> AbstractContextManager[WritePicture]:
    """Writes the file `temporary`, which will be called `path`: its suffix says the container.

    With PyAV every picture has its own time, and the sound of the file `source` from its second `begin_s` on is kept.
    OpenCV alone keeps a constant rate: pictures are repeated, or left out, so that each comes at its time.

    Raises:
        PosertError: no codec takes this size, the container is unknown, or needs PyAV.
        OSError: the file cannot be written; also when the block ends.
    """
    coding, av = CODINGS.get(path.suffix.lower()), pyav()
    if coding is not None and av is not None and min(size_wh) > coding.even:
        return pyav_writer(av, temporary, coding, size_wh, fps, source, begin_s)
    if coding is not None and coding.sound is None and av is None:
        raise PosertError(f"{path} needs the package av", "pip install 'posert[video]', or write an .mp4")
    return _opencv_writer(temporary, path, size_wh, fps)


@contextmanager
def _opencv_writer(temporary: Path, path: Path, size_wh: tuple[int, int], fps: float) -> Iterator[WritePicture]:
    codec, written, jumped = _OPENCV.get(path.suffix.lower(), "mp4v"), 0, 0
    last: Picture | None = None
    with opencv_name(temporary) as opened, _silent():
        writer = cv2.VideoWriter(opened, cv2.VideoWriter.fourcc(*codec), fps, size_wh)
    if not writer.isOpened():
        raise PosertError(
            f"{path} cannot be written as a video of {size_wh} px", "use .mp4, .webm, .avi or .mkv; or .jpg, .png"
        )

    def write(bgr: Picture, time_s: float) -> None:
        nonlocal last, written, jumped
        due = round(time_s * fps) - jumped
        if due - written > _LONGEST_S * fps:
            jumped, due = jumped + due - written - 1, written + 1
        while last is not None and written < due:
            writer.write(last)
            written += 1
        last = bgr

    try:
        yield write
    finally:
        if last is not None:
            writer.write(last)
        writer.release()
    if frame_count(str(temporary)) <= written:  # OpenCV's writer does not report a full disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _silent() -> Iterator[None]:
    """Standard error leads nowhere: of a WebM OpenCV says that it knows no tag, and goes on."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def plays_in_browser(path: Path) -> bool:
    """Whether every browser of today plays a video: MP4 or WebM with H.264, VP8, VP9 or AV1."""
    if path.suffix.lower() not in _CONTAINERS:
        return False
    with opencv_name(path) as opened:
        capture = cv2.VideoCapture(opened, cv2.CAP_FFMPEG)
    codec, pixels = (_letters(capture.get(p)) for p in (cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_CODEC_PIXEL_FORMAT))
    capture.release()
    return codec in _CODECS and pixels in _PLAIN_FORMATS


def _letters(value: float) -> str:
    return (int(value) & 0xFFFFFFFF).to_bytes(4, "little").rstrip(b"\0").decode("latin-1")


def suffix_for_browser() -> str:
    """The suffix of what `encode_for_browser` makes, `.mp4` or `.webm`."""
    return ".webm" if pyav() is None else ".mp4"


def encode_for_browser(
    source: Path, path: Path, on_frame: Callable[[int], None] | None = None, orientation: Orientation = UPRIGHT
) -> None:
    """Writes a video again so that browsers play it; `path` ends as `suffix_for_browser` says.
    An odd width or height loses a pixel. With `orientation` its pictures are turned.

    Calls `on_frame` with the number of frames done. Without PyAV the rate is constant, the mean of the source's.

    Raises:
        PosertError: the source cannot be read to its end, or the file cannot be written.
    """
    turned = asdict(orientation)
    size_wh, fps = next(frames(source, **turned)).size_wh, min(frame_rate(str(source)), _FASTEST)
    with whole_file(path) as temporary, open_writer(temporary, path, size_wh, fps) as write:
        for frame in frames(source, **turned):
            write(frame.bgr, frame.time_s)
            if on_frame is not None:
                on_frame(frame.index + 1)
