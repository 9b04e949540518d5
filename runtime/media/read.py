"""Frames of images, videos, folders, globs, webcams, streams and raw standard input, with their times.

Owns decoding through OpenCV: rotation and EXIF orientation applied, times from the container, every frame in order.
Knows nothing of networks and poses.
"""

import glob
import logging
import math
import os
import sys
import time
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame
from posert.runtime.devices import cpu_cores
from posert.runtime.media import ALBUMS, is_image, is_medium, matching
from posert.runtime.media.keys import KeyFrames
from posert.runtime.media.live import captures, is_live
from posert.runtime.media.members import TAR, in_tars, is_file, open_file
from posert.runtime.media.names import begun_pipe, is_utf8, name_to_read, opencv_name
from posert.runtime.media.orientation import Orientation
from posert.runtime.media.seek import Timeline, opened_at, timeline
from posert.runtime.media.whole import TRIES, check_whole
from posert.runtime.store.address import shown
from posert.runtime.store.listing import files, is_listed
from posert.runtime.store.scratch import held
from posert.typed import Index, read

_LOG = logging.getLogger("posert")
_MOST_THREADS = 16
HWACCELS = {
    "any": cv2.VIDEO_ACCELERATION_ANY,
    "d3d11": cv2.VIDEO_ACCELERATION_D3D11,
    "qsv": cv2.VIDEO_ACCELERATION_MFX,
    "vaapi": cv2.VIDEO_ACCELERATION_VAAPI,
}
"""What may decode videos instead of the processor, by FFmpeg's names."""
_NO_TIME_S = -1e9  # OpenCV 4's number for a frame without a time is less


def expand(source: str | Path | int) -> list[tuple[str, str]]:
    """The media behind one source: pairs of (what to open, its name below the folder or pattern it came from).

    A folder is searched recursively, a pattern by glob rules; both give images and videos, sorted, and leave out names
    that begin with a dot; tars stand for what is in them, see `in_tars`; addresses of stores, and of pages that list
    files, stand for files as well. Anything else stands for itself.

    Raises:
        PosertError: a missing file, a folder or pattern without media.
    """
    text = str(source)
    if "://" in text and not is_utf8(text):
        raise PosertError(f"the address {text} is not UTF-8", "write its other characters as %E9 and the like")
    if is_listed(text):
        return files(text)
    if text == "-" or text.isdigit() or "://" in text:
        name = shown(text).replace("://", "_").replace("/", "_")
        return [(text, name + ".stream" if is_image(name) else name)]
    if text.endswith(TAR):
        return in_tars(text)
    path = Path(text)
    if path.is_dir():
        found = sorted(_media_below(path))
        if not found:
            raise PosertError(
                f"no image or video in the folder {text}", "posert looks for files such as .jpg, .png, .mp4"
            )
        return [(str(item), str(item.relative_to(path))) for item in found]
    if path.exists() or is_file(text):
        return [(text, path.name)]
    if glob.has_magic(text):
        return matching(text, "image or video", is_medium)
    raise PosertError(f"{text} does not exist", "give an image, a video, a folder, a pattern, a webcam number or a URL")


def _media_below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        media = (Path(root, name) for name in names if is_medium(name) and not name.startswith("."))
        yield from (item for item in media if item.is_file())


def frames(
    source: str | Path | int,
    *,
    start_s: float = 0.0,
    stop_s: float | None = None,
    first: int = 0,
    last: int | None = None,
    stride: int = 1,
    rotate: int = 0,
    mirror: bool = False,
    size_wh: tuple[int, int] | None = None,
    fps: float = 30.0,
    live: bool | None = None,
    hwaccel: str | None = None,
    key_frames: bool = False,
    threads: int = 0,
    known: Timeline | None = None,
) -> Iterator[Frame]:
    """The frames of a source in order.

    Args:
        source: image, video, folder or glob pattern (all its media, one after the other), webcam number, stream
            address, or `-` for raw RGB bytes on standard input. A live one (`is_live`) has the clock's times, and is
            opened again whenever it is lost.
        start_s, stop_s: keep frames with start_s <= time < stop_s; pictures are always kept. What lies before is not
            decoded where the file allows that (`seek`), and is the same as if it were.
        first, last: of those, keep frames with first <= `Frame.index` <= last.
        stride: keep every stride-th frame, counted from the first one kept.
        rotate, mirror: how every picture is turned, see `Orientation`; everything found is in px of the turned one.
        size_wh: size of the frames on standard input, px; only for `-`.
        fps: rate of the frames on standard input; only for `-`.
        live: what `is_live` says of the source, for whoever has asked already: behind http that costs a connection.
        hwaccel: a name of `HWACCELS`: that hardware decodes videos and streams, whose pixels may differ a little.
        key_frames: of videos those alone that are stored without others, by PyAV, with the indices and times of the
            whole video; `stride` counts them.
        threads: that decode a video; 0 = as many as there are cores. Each holds a picture, and more than 16 are no use.
        known: the frames of the file, by `shown_when`, for whoever has asked already.

    Raises:
        PosertError: the source is missing, cannot be decoded, or not by this hardware, or a video file breaks off early
            (after its last readable frame).
    """
    if stride < 1:
        raise PosertError(f"stride {stride} is not possible", "use 1 for every frame, 2 for every other, ...")
    wrong = [name for name, value in {"start_s": start_s, "stop_s": stop_s, "fps": fps}.items() if value != value]
    if wrong or fps <= 0:
        raise PosertError(
            f"`{(wrong or ['fps'])[0]}` is no number, or not above 0", "use seconds, or frames per second"
        )
    if key_frames and hwaccel is not None:
        raise PosertError("key frames alone are decoded by the processor", "leave `key_frames` or `hwaccel` away")
    orientation = Orientation(rotate, mirror)  # type: ignore[arg-type]
    least, most = read(Index, first, "first"), math.inf if last is None else read(Index, last, "last")
    for opened, _ in expand(source):
        with held(opened) as place:
            if is_image(opened):
                yield Frame(orientation.of(_read_image(place)), 0, 0.0, shown(opened))
                continue
            opener = partial(_open_video, hwaccel=hwaccel, threads=threads)
            usual = (place, start_s, stop_s, size_wh, fps, live, opener, known)
            reader = _read_keys(place) if key_frames else _reader(*usual)
            kept = 0
            for index, time_s, load in reader:
                if stop_s is not None and time_s >= stop_s:
                    reader.close()
                    break
                if time_s >= start_s and index >= least:
                    if kept % stride == 0:
                        yield Frame(orientation.of(load()), index, time_s, shown(opened))
                    kept += 1
                if index >= most:  # here, since a camera's next frame may be long in coming
                    reader.close()
                    break


def shown_when(source: str) -> Timeline | None:
    """When each frame of a video file is shown; None where only decoding it can tell, or there is no such file."""
    if not is_file(source) or is_image(source):
        return None
    with opencv_name(source) as name, suppress(OSError):
        return timeline(source, name)
    return None


def frame_count(source: str) -> int:
    """How many frames the container says it holds, often one too many; 0 if it does not say."""
    if is_image(source):
        return 1
    return int(_video_property(source, cv2.CAP_PROP_FRAME_COUNT))


def frame_rate(source: str) -> float:
    """Mean frames per second by the container; 30 if it does not say."""
    return _video_property(source, cv2.CAP_PROP_FPS) or 30.0


def video_size_wh(source: str) -> tuple[int, int]:
    """Width and height of a video's frames by its header, px; 0, 0 if it does not say."""
    return int(_video_property(source, cv2.CAP_PROP_FRAME_WIDTH)), int(
        _video_property(source, cv2.CAP_PROP_FRAME_HEIGHT)
    )


def _video_property(source: str, name: int) -> float:
    value = 0.0
    with suppress(PosertError), held(source) as place:  # whoever reads it says what is wrong
        if is_file(place):
            with opencv_name(place) as opened:
                capture = cv2.VideoCapture(opened, cv2.CAP_FFMPEG)
            value = _positive(capture.get(name))
            capture.release()
    return value


def _positive(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else 0.0


_Reader = Generator[tuple[int, float, Callable[[], NDArray[np.uint8]]], None, None]
"""Yields index, time in seconds and a function that fetches the pixels; frames that are skipped are never fetched."""
_Opener = Callable[..., Any]
"""Source and, where it is another, its name for OpenCV -> the capture."""


def _read_image(path: str) -> NDArray[np.uint8]:
    """u8 [H,W,3] BGR of any picture: grey, alpha, 16 bits and CMYK become 8-bit BGR, EXIF orientation applied."""
    try:
        if Path(path).is_fifo():
            with begun_pipe(path) as pipe, open(pipe, "rb", closefd=False) as file:
                data = np.frombuffer(file.read(), np.uint8)
        else:
            with open_file(path) as file:  # not imread: it cannot open every path on Windows
                data = np.frombuffer(file.read(), np.uint8)
    except OSError as error:
        raise PosertError(f"{path} cannot be read: {error}", "check the file and its permissions") from None
    image = decoded(data, path)
    if Path(path).suffix.lower() in ALBUMS and Path(path).is_file():
        with opencv_name(path) as opened, suppress(cv2.error):
            if (count := cv2.imcount(opened)) > 1:
                _LOG.warning("%s has %d pictures, only the first is read; make it a video or GIF", path, count)
    return image


def decoded(data: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """u8 [H,W,3] BGR of the bytes of a picture file, as `frames` reads it; `name` is for the error.

    Raises PosertError if it cannot be decoded.
    """
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:
        raise PosertError(f"{name} cannot be decoded: {error}", "it is damaged, or larger than OpenCV reads") from None
    if image is None:
        raise PosertError(f"{name} is not a readable image ({data.size} bytes)", "it is empty, cut off or damaged")
    return np.asarray(image, np.uint8)


def _reader(
    opened: str,
    start_s: float,
    stop_s: float | None,
    size_wh: tuple[int, int] | None,
    fps: float,
    live: bool | None,
    opener: _Opener,
    known: Timeline | None,
) -> _Reader:
    if opened == "-":
        return _read_pipe(size_wh, fps)
    if live is None:
        live = is_live(opened)
    return _read_live(opened, stop_s, opener) if live else _read_video(opened, start_s, opener, known)


def _open_video(source: str, name: str = "", *, hwaccel: str | None = None, threads: int = 0) -> Any:
    """A capture; raises PosertError if it cannot be opened, or not with the hardware of that name."""
    if hwaccel is not None and hwaccel not in HWACCELS:
        raise PosertError(f"`hwaccel` {hwaccel} is not known", f"use one of {', '.join(HWACCELS)}")
    if source.isdigit():
        capture = cv2.VideoCapture(int(source))
        hint = "check that the camera is connected and not in use"
    else:
        wanted = [cv2.CAP_PROP_N_THREADS, min(threads or cpu_cores(), _MOST_THREADS)]
        if hwaccel is not None:
            wanted += [cv2.CAP_PROP_HW_ACCELERATION, HWACCELS[hwaccel]]
        capture = cv2.VideoCapture(name or source, cv2.CAP_FFMPEG, wanted)
        hint = "it has no video stream, is cut off or damaged, or its codec is unknown"
        if source.endswith((".gz", ".tgz")):
            hint = "gzip is not read: nobody can go to a place in it; unpack it to a .tar or to files"
    if hwaccel is not None and capture.get(cv2.CAP_PROP_HW_ACCELERATION) <= 0:
        raise PosertError(
            f"{source} cannot be decoded with `hwaccel` {hwaccel}: OpenCV's FFmpeg has no such hardware for it here",
            "leave `hwaccel` away, or use an OpenCV that was built with it and has a driver",
        )
    if not capture.isOpened():
        raise PosertError(f"{source} cannot be opened as a video", hint)
    return capture


def _read_video(source: str, start_s: float, opener: _Opener, known: Timeline | None) -> _Reader:
    with name_to_read(source) as name:
        opened, stored = partial(opener, source, name), is_file(source)
        capture, before_ms = opened_at(opened, source, name, start_s, known) if stored else (opened(), [])
        yield from _read_opened(source, capture, before_ms)


def _read_opened(source: str, capture: Any, before_ms: Sequence[float]) -> _Reader:
    """The frames of a capture that has left out those of these times."""
    stored, pictures = is_file(source), _Pictures()
    step_s = 1 / (_positive(capture.get(cv2.CAP_PROP_FPS)) or 30.0)
    times_ms, index, time_s = array("d", before_ms), len(before_ms), before_ms[-1] / 1000 if before_ms else -math.inf
    try:
        while any(capture.grab() for _ in range(TRIES if stored else 1)):
            before_s, time_ms = time_s, capture.get(cv2.CAP_PROP_POS_MSEC)
            time_s = time_ms / 1000
            if time_s < max(before_s, _NO_TIME_S):  # as the last of an MPEG programme stream; or two files were joined
                time_s = max(before_s + step_s, 0.0)
            if stored:
                times_ms.append(time_ms)
            yield index, time_s, lambda: pictures.fetch(capture, source)
            index += 1
        if index == 0:
            codec = (int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")
            raise PosertError(
                f"{source} has no readable frame, its codec is {codec.rstrip()}",
                "it is cut off or damaged, or OpenCV cannot decode this codec: convert the file to H.264",
            )
    finally:
        capture.release()
    if stored:
        check_whole(source, times_ms)


def _read_keys(source: str) -> _Reader:
    with name_to_read(source) as name:
        keys = KeyFrames(source, name)
        yield from ((index, time_ms / 1000, load) for index, time_ms, load in keys)
        check_whole(source, keys.times_ms.tolist())
        keys.check()


def _read_live(source: str, stop_s: float | None, opener: _Opener) -> _Reader:
    """Frames with the times at which they came; containers of live sources say none, or begin anew when one is lost."""
    began, pictures, index = time.monotonic(), _Pictures(), 0
    with closing(captures(partial(opener, source), source, stop_s)) as opened:
        for capture in opened:
            while capture.grab():
                yield index, time.monotonic() - began, partial(pictures.fetch, capture, source)
                index += 1


class _Pictures:
    """The pictures of one video. Their memory is used again once nobody holds it: fresh memory costs as much as JSON.

    The count of references tells: the views of a picture count too, so whoever keeps anything of it keeps it whole.
    """

    MOST = 16

    def __init__(self) -> None:
        unheld: list[object] = [object()]
        self._unheld = sys.getrefcount(unheld[0])
        self._kept: list[NDArray[np.uint8]] = []

    def fetch(self, capture: Any, source: str) -> NDArray[np.uint8]:
        """The picture u8 [H,W,3] that the capture has grabbed."""
        kept = self._kept
        free = next((i for i in range(len(kept)) if sys.getrefcount(kept[i]) == self._unheld), -1)
        good, image = capture.retrieve(None if free < 0 else kept[free])
        if not good:
            raise PosertError(f"a frame of {source} cannot be decoded", "the file is damaged")
        if image.ndim != 3:
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
        if free >= 0:
            kept[free] = image
        elif len(kept) < self.MOST:
            kept.append(image)
        return np.asarray(image, np.uint8)


def _read_pipe(size_wh: tuple[int, int] | None, fps: float) -> _Reader:
    """Raw RGB frames, row by row without padding, from standard input."""
    if size_wh is None:
        raise PosertError("frames on standard input carry no size", "add `size_wh`")
    width, height = size_wh
    index = 0
    while data := sys.stdin.buffer.read(width * height * 3):
        if len(data) < width * height * 3:
            raise PosertError(
                f"standard input ended inside frame {index}: {len(data)} of {width * height * 3} bytes",
                f"check that the frames are {width}x{height} RGB, 3 bytes a pixel",
            )
        rgb = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        yield index, index / fps, partial(np.ascontiguousarray, rgb[:, :, ::-1])
        index += 1
    if not index:
        raise PosertError("no frame came on standard input", "check the command before the pipe")
