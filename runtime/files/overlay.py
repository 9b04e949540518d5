"""Writes drawn frames: a picture, a video, or a folder with a picture of each frame. Knows files, nothing of models."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Result, Skeleton
from posert.runtime.files.atomic import Write, whole_file
from posert.runtime.files.drawing import DrawOptions, drawer
from posert.runtime.files.pyav import CODINGS, WritePicture
from posert.runtime.files.state import names_below
from posert.runtime.files.video import open_writer
from posert.runtime.media import is_image

_NUMBER = re.compile(r"%(?:0(\d+))?d")
_Put = Callable[[NDArray[np.uint8], Result], None]


@contextmanager
def overlay(
    path: Path,
    skeleton: Skeleton,
    fps: float,
    source: str = "",
    options: DrawOptions | None = None,
    *,
    pictures: str = "",
) -> Iterator[Write]:
    """Writes the drawn frames: one picture if `path` and `source` end like one, else a video whose first frame is shown
    at 0, and each until the next one's time.

    Args:
        path: its suffix says what is written. fps: of the video, in the mean.
        source: the file whose sound is kept, where the video has some (`open_writer`).
        options: how people are drawn; None = `DrawOptions()`.
        pictures: names such as `%06d.jpg` for a picture of each frame, with its number; then `path` is their folder.

    Raises:
        PosertError: the place or the format cannot be written, or frames of several sizes go to one video.
    """
    single = is_image(path) and (path.suffix.lower() not in CODINGS or is_image(source))
    drawn = drawer(skeleton, options)
    with whole_file(path) as temporary, ExitStack() as stack:
        if pictures:
            put = _pictures(temporary, pictures)
        else:
            put = _picture(temporary, path) if single else _video(stack, temporary, path, fps, source)
        yield lambda frame, result: put(drawn(frame, result), result)


def split_pattern(path: Path) -> tuple[Path, str]:
    """The folder and the names of pictures, if the path's name has a place for a number; else the path itself and "".

    Raises:
        PosertError: it has, but is no picture's, or has no folder of its own.

    >>> split_pattern(Path("drawn/%06d.jpg"))[1], split_pattern(Path("drawn.mp4"))[1]
    ('%06d.jpg', '')
    """
    if not _NUMBER.search(path.name):
        return path, ""
    if not is_image(path.name) or len(_NUMBER.findall(path.name)) > 1 or not path.parent.name:
        raise PosertError(f"{path} names no pictures of frames", "take a folder of their own: drawn/%06d.jpg")
    return path.parent, path.name


def named_by(folder: Path, pictures: str) -> list[bool]:
    """Of every file in a folder whether it has a name that `overlay` gives."""
    before, after = map(re.escape, _NUMBER.sub("\0", pictures).split("\0"))
    return [re.fullmatch(rf"{before}\d+{after}", name) is not None for name in names_below(folder)]


def _pictures(folder: Path, pictures: str) -> _Put:
    folder.mkdir()

    def put(drawn: NDArray[np.uint8], result: Result) -> None:
        name = _NUMBER.sub(lambda found: f"{result.frame_index:0{found[1] or 0}d}", pictures)
        _write_image(folder / name, drawn)

    return put


def _picture(temporary: Path, path: Path) -> _Put:
    def put(drawn: NDArray[np.uint8], result: Result) -> None:
        if temporary.exists():
            raise PosertError(f"{path} is one picture, {result.source} has several frames", "draw them to an .mp4")
        _write_image(temporary, drawn)

    return put


def _video(stack: ExitStack, temporary: Path, path: Path, fps: float, source: str) -> _Put:
    write: WritePicture | None = None
    begin_s, size_wh = 0.0, (0, 0)

    def put(drawn: NDArray[np.uint8], result: Result) -> None:
        nonlocal write, begin_s, size_wh
        if write is None:
            begin_s, size_wh = result.time_s, result.size_wh
            write = stack.enter_context(open_writer(temporary, path, size_wh, fps, source, begin_s))
        if size_wh != result.size_wh:
            raise PosertError(f"{path}: frames of {size_wh} and of {result.size_wh} px", "use one overlay a source")
        write(drawn, result.time_s - begin_s)

    return put


def _write_image(path: Path, bgr: NDArray[np.uint8]) -> None:
    good, data = cv2.imencode(path.suffix, bgr)
    if not good:
        raise OSError(0, f"OpenCV cannot write {path.suffix} files")
    path.write_bytes(data.tobytes())
