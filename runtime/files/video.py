"""Videos out: which codec a file gets, which files a browser plays, and one that plays made of one that does not.

Owns codecs. PyAV, where it is installed, writes H.264 (.mp4) and VP9 (.webm); OpenCV alone MPEG-4 Part 2, which no
browser plays, and VP8. Knows pictures, nothing of people.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.runtime.files.atomic import whole_file
from posert.runtime.media.names import opencv_name
from posert.runtime.media.read import frame_rate, frames

Picture = NDArray[np.uint8]
_CONTAINERS = {".mp4", ".m4v", ".mov", ".webm"}
_CODECS = {"avc1", "h264", "H264", "vp08", "VP80", "vp09", "VP90", "av01", "AV01"}
_PLAIN_FORMATS = {"I420", "NV12", ""}  # of 8 bits, colour at half the size
_OPENCV = {".avi": "MJPG", ".webm": "VP80"}
_PYAV = {
    ".mp4": ("libx264", {"preset": "veryfast", "crf": "20"}),
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "32", "b": "0"}),
}
_TICKS = 90_000  # a second
_FASTEST = 240.0  # frames per second


class VideoWriter(Protocol):
    """Pictures u8 [H,W,3] of one size become a video; each stays until the next, the first is there from the start."""

    def write(self, bgr: Picture, time_s: float) -> None: ...

    def release(self) -> None: ...


class _OpenCvWriter:
    """Of constant rate: a picture is written again and again until the next is due."""

    def __init__(self, writer: Any, fps: float) -> None:
        self._writer, self._fps, self._written = writer, fps, 0
        self._last: Picture | None = None

    def write(self, bgr: Picture, time_s: float) -> None:
        last = bgr if self._last is None else self._last
        while self._written < round(time_s * self._fps):
            self._put(last)
        self._last = bgr

    def _put(self, bgr: Picture) -> None:
        self._writer.write(bgr)
        self._written += 1

    def release(self) -> None:
        if self._last is not None:
            self._put(self._last)
        self._writer.release()


class _PyAvWriter:
    """Every picture at its own time."""

    def __init__(self, av: Any, name: str, suffix: str, size_wh: tuple[int, int], fps: float) -> None:
        codec, options = _PYAV[suffix]
        self._av, self._file, self._last = av, av.open(name, "w"), -1
        self._stream = self._file.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        self._stream.width, self._stream.height = (side & ~1 for side in size_wh)
        self._stream.pix_fmt, self._stream.codec_context.time_base = "yuv420p", Fraction(1, _TICKS)

    def write(self, bgr: Picture, time_s: float) -> None:
        even = np.ascontiguousarray(bgr[: self._stream.height, : self._stream.width])
        frame = self._av.VideoFrame.from_ndarray(even, format="bgr24")
        self._last = max(self._last + 1, round(time_s * _TICKS)) if self._last >= 0 else 0
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._file.mux(self._stream.encode(frame))

    def release(self) -> None:
        self._file.mux(self._stream.encode())
        self._file.close()


def open_writer(temporary: Path, path: Path, size_wh: tuple[int, int], fps: float) -> VideoWriter:
    """A writer of the file `temporary`, which will be called `path`: its suffix says the container.

    Raises:
        PosertError: no codec takes this size, or the container is unknown.
    """
    suffix = path.suffix.lower()
    with opencv_name(temporary) as opened:
        if suffix in _PYAV and (av := _pyav()) is not None:
            return _PyAvWriter(av, opened, suffix, size_wh, fps)
        with _silent():
            writer = cv2.VideoWriter(opened, cv2.VideoWriter.fourcc(*_OPENCV.get(suffix, "mp4v")), fps, size_wh)
    if not writer.isOpened():
        raise PosertError(
            f"{path} cannot be written as a video of {size_wh} px", "use .mp4, .webm, .avi or .mkv; or .jpg, .png"
        )
    return _OpenCvWriter(writer, fps)


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


def _pyav() -> Any:
    try:
        return import_module("av")
    except ImportError:
        return None


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
    return ".webm" if _pyav() is None else ".mp4"


def encode_for_browser(source: Path, path: Path, on_frame: Callable[[int], None] | None = None) -> None:
    """Writes a video again so that browsers play it; `path` ends as `suffix_for_browser` says.
    An odd width or height loses a pixel.

    Calls `on_frame` with the number of frames done. Without PyAV the rate is constant, the mean of the source's.

    Raises:
        PosertError: the source cannot be read to its end, or the file cannot be written.
    """
    size_wh, fps = next(frames(source)).size_wh, min(frame_rate(str(source)), _FASTEST)
    with whole_file(path) as temporary:
        writer = open_writer(temporary, path, size_wh, fps)
        try:
            for frame in frames(source):
                writer.write(frame.bgr, frame.time_s)
                if on_frame is not None:
                    on_frame(frame.index + 1)
        finally:
            writer.release()
