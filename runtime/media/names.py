"""By which name OpenCV opens a local file. Owns names and pipes; knows nothing of what is in a file."""

import os
import select
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posert.errors import PosertError
from posert.runtime.media.members import ffmpeg_name, member

WRITER_S = 10.0
"""How long somebody may take to begin to write to a pipe."""


@contextmanager
def opencv_name(path: str | Path) -> Iterator[str]:
    """A name of the file that OpenCV and FFmpeg can open, to read or to write, while the block lasts; addresses stay.

    It is absolute, because FFmpeg takes `12:30.mp4` for an address. A name that is not UTF-8 ends the process inside of
    OpenCV: such a file gets a link.

    Raises:
        PosertError: the name is not UTF-8 and no link can be made.
    """
    span = None if "://" in str(path) or os.path.exists(path) else member(path)
    if span is not None:
        with opencv_name(span.path) as name:
            yield ffmpeg_name(span, name)
        return
    name = str(path) if "://" in str(path) else os.path.abspath(path)
    if is_utf8(name):
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="posert-") as folder:
        link = os.path.join(folder, "file" + Path(path).suffix.encode("ascii", "ignore").decode())
        try:
            if not is_utf8(link):
                raise OSError(0, "the temporary folder's is neither")
            os.symlink(name, link)
        except OSError as error:
            raise PosertError(
                f"the name of {path} is not UTF-8, and a link to it cannot be made: {error.strerror}",
                "give it another name",
            ) from None
        yield link


@contextmanager
def name_to_read(path: str | Path) -> Iterator[str]:
    """As `opencv_name`; a pipe (FIFO) is opened here, since to open one without a writer waits for ever.

    Raises:
        PosertError: also if nobody writes to the pipe.
    """
    if not Path(path).is_fifo():
        with opencv_name(path) as name:
            yield name
        return
    with begun_pipe(path) as pipe:
        yield f"pipe:{pipe}"


@contextmanager
def begun_pipe(path: str | Path) -> Iterator[int]:
    """A descriptor of a pipe that somebody has begun to write to, who may have ended too.

    Raises:
        PosertError: nobody has, for `WRITER_S`.
    """
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not select.select([pipe], [], [], WRITER_S)[0]:
            raise PosertError(f"nobody writes to the pipe {path}", "start the program that writes to it first")
        os.set_blocking(pipe, True)
        yield pipe
    finally:
        os.close(pipe)


def is_utf8(name: str) -> bool:
    """Whether a name can be written in UTF-8: Linux lets a file have any."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
