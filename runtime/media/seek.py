"""A video from some second on, without decoding what lies before: the same frames, indices and times as with it.

Owns the decision whether a file can be trusted with that. Packets are looked at by OpenCV's own demultiplexer, up to
the second asked for; what lies before it is not decoded, so that damage there is not found.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.runtime.media.containers import has_packets_of_pictures, indexed_frames

_SAME_MS = 0.01
Opened = Callable[[], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When the frames of a file are shown, by its packets; small, so that it can be sent to another process.

    Attributes:
        times_ms: f64 [T], ascending.
        keys_ms: f64 [G], the times of key frames.
    """

    times_ms: NDArray[np.float64]
    keys_ms: NDArray[np.float64]


def timeline(path: str, name: str, until_s: float = math.inf) -> Timeline | None:
    """The frames of a file, at least those before some second; None if packets are not sure to be frames.

    Args:
        path: of the file. name: for OpenCV.

    Raises:
        OSError: the file cannot be read.
    """
    if not has_packets_of_pictures(path) or indexed_frames(path)[1]:
        return None
    packets = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    found: list[tuple[float, bool]] = []
    beyond = 0
    while beyond < 2 and packets.grab():  # pictures that are shown before a key frame come behind it
        found.append((packets.get(cv2.CAP_PROP_POS_MSEC), packets.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) > 0))
        beyond += found[-1][1] and found[-1][0] / 1000 > until_s
    packets.release()
    times_ms = np.array([time_ms for time_ms, _ in found])
    keys_ms = np.array([time_ms for time_ms, key in found if key])
    ordered: NDArray[np.float64] = np.sort(times_ms)
    if not len(keys_ms) or len(keys_ms) == len(times_ms):
        return None
    if ordered[0] != times_ms[0] or np.diff(ordered).min() < _SAME_MS:
        return None
    return Timeline(ordered, keys_ms)


def opened_at(
    opened: Opened, path: str | Path, name: str, start_s: float, known: Timeline | None = None
) -> tuple[Any, list[float]]:
    """A capture whose next frame is the first that is not before `start_s`, and the times of those before, ms.

    Where the file does not allow that, the capture from its first frame on, and no times.

    Args:
        opened: opens the capture. path: of the file. name: for OpenCV.
        known: its frames, for whoever has asked already.
    """
    capture, before = opened(), None
    with suppress(OSError):  # whoever reads it says so
        before = _frames_before(str(path), name, start_s, known) if start_s > 0 else None
    if before is None:
        return capture, []
    times_ms, begins_ms = before
    if not any(_moved(capture, times_ms, begin_ms) for begin_ms in begins_ms):
        capture.release()  # from the beginning, then
        return opened(), []
    return capture, times_ms.tolist()


def _frames_before(
    path: str, name: str, start_s: float, known: Timeline | None = None
) -> tuple[NDArray[np.float64], list[float]] | None:
    """The times of all frames before, ms, and from when on to decode them; None if packets are not sure to be frames.

    That is a whole group of pictures before the one wanted, because some need others before they are right; or several,
    because OpenCV goes to the number that a frame would have at an even rate.
    """
    line = known or timeline(path, name, start_s)
    group = 0 if line is None else int(np.count_nonzero(line.keys_ms / 1000 <= start_s))
    if line is None or group < 3:
        return None
    begins_ms: list[float] = line.keys_ms[[group - 2, max(1, group - 8)]].tolist()
    return line.times_ms[line.times_ms / 1000 < start_s], begins_ms


def _moved(capture: Any, times_ms: NDArray[np.float64], begin_ms: float) -> bool:
    """Whether the capture, decoding from some time on, is at the last of these frames and gave each at its time."""
    capture.set(cv2.CAP_PROP_POS_MSEC, begin_ms)
    index = int(np.argmin(np.abs(times_ms - capture.get(cv2.CAP_PROP_POS_MSEC))))
    while abs(capture.get(cv2.CAP_PROP_POS_MSEC) - times_ms[index]) < _SAME_MS:
        if index + 1 == len(times_ms):
            return True
        if not capture.grab():
            return False
        index += 1
    return False
