"""Frames on their way to the networks: read ahead by a thread of their own, and grouped into batches.

Owns what lies between the source's thread and the loop, and how a failure crosses it. Knows frames, nothing of models.
"""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Self

import numpy as np
from numpy.typing import NDArray

from posert.poses import Frame

Pictures = Iterable[Frame | NDArray[np.uint8]]
"""Frames, or plain arrays u8 [H,W,3] (BGR)."""


def as_frames(pictures: Pictures) -> Generator[Frame, None, None]:
    """Frames; an array becomes one with its place as index, copied, since its source may fill it again meanwhile.

    Closes its source if that can be closed.

    Raises:
        PosertError: neither a frame nor an array u8 [H,W,3].
    """
    try:
        for index, picture in enumerate(pictures):
            if isinstance(picture, Frame):
                yield picture
            else:
                yield Frame(picture.copy() if isinstance(picture, np.ndarray) else picture, index)
    finally:
        if hasattr(pictures, "close"):
            pictures.close()


def grouped(frames: Iterable[Frame], batch: int) -> Iterator[list[Frame]]:
    """Runs of up to `batch` frames of one size and one source."""
    group: list[Frame] = []
    try:
        for frame in frames:
            if group and (frame.size_wh, frame.source) != (group[0].size_wh, group[0].source):
                yield group
                group = []
            group.append(frame)
            if len(group) == batch:
                yield group
                group = []
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


class FramesAhead:
    """Groups of frames, read by a thread of their own before anybody asks for them; a context that stops the thread.

    Args:
        frames: any source of frames or arrays.
        batch: frames in a group.
        live: the source does not wait, so that the newest group alone is kept; else the source waits for us.

    Attributes:
        changed: notified when a group has come or the source has ended; for whoever waits for other things as well.
    """

    DEPTH = 2

    def __init__(self, frames: Pictures, batch: int, *, live: bool = False) -> None:
        self.changed = threading.Condition()
        self._source, self._batch, self._live = as_frames(frames), batch, live
        self._waiting: deque[list[Frame]] = deque()
        self._dropped = 0
        self._stopped = self._ended = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="posert-reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self._stopped = True
            self.changed.notify_all()
        self._thread.join(timeout=1)  # a camera that gives no picture cannot be hurried

    def ready(self) -> bool:
        """Whether `take` has a group."""
        return bool(self._waiting)

    def take(self) -> tuple[list[Frame], int]:
        """The oldest group, and how many frames of a live source were dropped since the last one."""
        with self.changed:
            self.changed.notify_all()
            dropped, self._dropped = self._dropped, 0
            return self._waiting.popleft(), dropped

    def ended(self) -> bool:
        """Whether no group will come any more.

        Raises:
            BaseException: what the source failed with, once all its groups are taken.
        """
        if self._failure is not None and not self._waiting:
            raise self._failure
        return self._ended and not self._waiting

    def _read(self) -> None:
        failure: BaseException | None = None
        try:
            with closing(self._source) as frames:
                for group in grouped(frames, self._batch):
                    if not self._offer(group):
                        break
        except BaseException as error:  # the consumer must see everything, a KeyboardInterrupt too
            failure = error
        with self.changed:
            self._ended, self._failure = True, failure
            self.changed.notify_all()

    def _offer(self, group: list[Frame]) -> bool:
        with self.changed:
            if self._live:
                self._dropped += sum(map(len, self._waiting))
                self._waiting.clear()
            self.changed.wait_for(lambda: self._stopped or len(self._waiting) < self.DEPTH)
            self._waiting.append(group)
            self.changed.notify_all()
            return not self._stopped
