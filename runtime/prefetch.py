"""Frames on their way to the networks: read ahead by a thread of their own, and grouped into batches.

Owns the bounded queue and how a failure crosses it. Knows frames, nothing of models.
"""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from posert.poses import Frame

T = TypeVar("T")
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


@contextmanager
def read_ahead(items: Generator[T, None, None], depth: int) -> Iterator[Iterator[T]]:
    """Iterates over `items` in a thread of its own, at most `depth` ahead; its errors reach the caller."""
    fifo: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)  # an item, or why there are no more
    stop = threading.Event()

    def offer(item: Any, end: BaseException | None = None) -> bool:
        while not stop.is_set():
            try:
                fifo.put((item, end), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        end: BaseException = StopIteration()
        try:
            with closing(items):
                for item in items:
                    if not offer(item):
                        break
        except BaseException as error:  # the consumer must see everything, a KeyboardInterrupt too
            end = error
        offer(None, end)

    def taken() -> Iterator[T]:
        item, end = fifo.get()
        while end is None:
            yield item
            item, end = fifo.get()
        if not isinstance(end, StopIteration):
            raise end

    thread = threading.Thread(target=read, name="posert-reader", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        thread.join(timeout=5)
