"""A source as somebody watches it: a file's frames when they are due, a camera's as they come.

Owns the pace. Knows times of frames, nothing of their pixels.
"""

import time
from collections.abc import Generator
from dataclasses import asdict, replace

from posert.errors import PosertError
from posert.poses import Frame
from posert.runtime.media import is_image
from posert.runtime.media.live import is_live
from posert.runtime.media.orientation import UPRIGHT, Orientation
from posert.runtime.media.read import expand, frame_rate, frames


def watched(source: str) -> str:
    """The one camera, stream or video behind a source; raises PosertError if it is none, or missing."""
    media = expand(source)
    if len(media) != 1 or source == "-" or is_image(media[0][0]):
        raise PosertError(f"{source} does not move", "give a camera number, a stream's address or a video")
    return media[0][0]


def paced(source: str, *, loop: bool = False, orientation: Orientation = UPRIGHT) -> Generator[Frame, None, None]:
    """The frames of a camera, a stream or a video, none of them before its time.

    Args:
        source: of `watched`. orientation: how pictures are turned.
        loop: a video begins anew at its end; indices and times go on.

    Raises:
        PosertError: as `frames` does.
    """
    if is_live(source):
        yield from frames(source, **asdict(orientation), live=True)
        return
    began, index, offset_s, step_s = time.monotonic(), 0, 0.0, 1 / frame_rate(source)
    while True:
        time_s = offset_s
        for frame in frames(source, **asdict(orientation), live=False):
            time_s = offset_s + frame.time_s
            time.sleep(max(0.0, began + time_s - time.monotonic()))
            yield replace(frame, index=index, time_s=time_s)
            index += 1
        if not loop:
            return
        offset_s = time_s + step_s
