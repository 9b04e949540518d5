"""Videos and moving pictures out through PyAV: codecs that browsers play, each picture at its own time, sound kept.

Owns what a suffix means: codec, sound, clock. Knows pictures, nothing of people.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.runtime.files.sound import sound_of
from posert.runtime.media.names import opencv_name

WritePicture = Callable[[NDArray[np.uint8], float], None]
"""Takes pictures u8 [H,W,3] of one size with their times, seconds: each stays until the next, the first comes at 0."""


@dataclass(frozen=True, slots=True)
class Coding:
    """How a file of some suffix is written.

    Attributes:
        form: FFmpeg's name of the container. codec, options, pixels: of the pictures.
        ticks: of its clock, a second; a picture comes at least `apart` ticks after the last one, or is left out.
        even: sides are even; an odd width or height loses a pixel.
        kept, sound: codecs of sound that the container takes and browsers play (none = any), and the one for others'
            sound; None = it has no sound.
    """

    form: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    ticks: int = 90_000
    apart: int = 0
    even: bool = True
    kept: tuple[str, ...] = ()
    sound: str | None = None


_H264 = {"preset": "veryfast", "crf": "20"}
_VP9 = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "32", "b": "0"}
_IN_MP4 = ("aac", "mp3", "mp3float", "opus", "flac")
CODINGS = {
    ".mp4": Coding("mp4", "libx264", _H264, kept=_IN_MP4, sound="aac"),
    ".m4v": Coding("mp4", "libx264", _H264, kept=_IN_MP4, sound="aac"),
    ".mov": Coding("mov", "libx264", _H264, kept=("aac", "mp3", "mp3float"), sound="aac"),
    ".mkv": Coding("matroska", "libx264", _H264, sound="aac"),
    ".webm": Coding("webm", "libvpx-vp9", _VP9, kept=("opus", "vorbis"), sound="libopus"),
    # browsers show a picture of a GIF for a tenth of a second if it asks for less than .02 s
    ".gif": Coding("gif", "gif", {}, "pal8", ticks=100, apart=2, even=False),
    ".webp": Coding("webp", "libwebp_anim", {"quality": "80", "compression_level": "2"}, ticks=1000, even=False),
}
"""Suffix -> how its file is written."""
_LOOP = {"loop": "0"}  # for ever


def pyav() -> Any:
    """The module, or None."""
    try:
        return import_module("av")
    except ImportError:
        return None


@contextmanager
def pyav_writer(
    av: Any, path: Path, coding: Coding, size_wh: tuple[int, int], fps: float, source: str, begin_s: float
) -> Iterator[WritePicture]:
    """Writes every picture at its own time.

    Args:
        av: the module. path: the file. coding: how it is written.
        size_wh, fps: the pictures' size and mean rate. source, begin_s: whose sound is kept, see `sound_of`.

    Raises:
        OSError: the file cannot be written, or not in this size.
    """
    last, clock = -1, Fraction(1, coding.ticks)
    with (
        _as_os_error(av),
        opencv_name(path) as name,
        av.open(name, "w", format=coding.form, options=_LOOP if coding.sound is None else {}) as file,
    ):
        stream = file.add_stream(coding.codec, rate=Fraction(fps).limit_denominator(1001), options=dict(coding.options))
        stream.width, stream.height = (side & ~1 if coding.even else side for side in size_wh)
        stream.pix_fmt, stream.codec_context.time_base = coding.pixels, clock
        in_palette = _palettes(av, stream) if coding.pixels == "pal8" else lambda frame: frame
        sound = sound_of(av, source, begin_s, file, coding.kept, coding.sound) if coding.sound else lambda _: None

        def write(bgr: NDArray[np.uint8], time_s: float) -> None:
            nonlocal last
            due = round(time_s * coding.ticks)
            if last >= 0 and due < last + coding.apart:
                return
            even = np.ascontiguousarray(bgr[: stream.height, : stream.width])
            frame = av.VideoFrame.from_ndarray(even, format="bgr24")
            last = max(last + 1, due) if last >= 0 else 0
            frame.pts, frame.time_base = last, clock
            file.mux(stream.encode(in_palette(frame)))
            sound(last / coding.ticks)

        try:
            yield write
        finally:  # what an interruption leaves is whole too
            if last >= 0:
                file.mux(stream.encode())
                sound(last / coding.ticks + 1 / fps)


@contextmanager
def _as_os_error(av: Any) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


def _palettes(av: Any, stream: Any) -> Callable[[Any], Any]:
    """A function that gives a picture of 24 bits with its own best 256 colours instead."""
    graph = av.filter.Graph()
    size = f"video_size={stream.width}x{stream.height}:pix_fmt=bgr24"
    begin = graph.add("buffer", f"{size}:time_base=1/{stream.codec_context.time_base.denominator}:pixel_aspect=1/1")
    split, chosen = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    drawn, end = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=3"), graph.add("buffersink")
    begin.link_to(split)
    split.link_to(drawn, 0, 0)
    split.link_to(chosen, 1, 0)
    chosen.link_to(drawn, 0, 1)
    drawn.link_to(end)
    graph.configure()

    def in_palette(frame: Any) -> Any:
        graph.push(frame)
        return graph.pull()

    return in_palette
