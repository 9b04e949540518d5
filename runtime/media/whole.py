"""Whether a video file was read to its end: what its container holds against the frames that came out.

Owns that comparison. Packets are counted by OpenCV's own demultiplexer; nothing is decoded.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.runtime.media.containers import chain_loss, indexed_frames
from posert.runtime.media.names import opencv_name

TRIES = 128
"""Grabs that may fail in a row: a damaged picture takes those along that are built on it, up to the next key frame; and
OpenCV gives up after 4096 packets of sound, where a picture stands still for minutes."""
_PAUSE_MS = 10_000.0  # shorter than any such pause


def check_whole(source: str, times_ms: Sequence[float]) -> None:
    """Raises PosertError if frames are missing, or the file itself by now."""
    try:
        loss = shortfall(source, times_ms)
    except OSError as error:
        loss = f"went away while it was read ({error.strerror})"
    if loss:
        raise PosertError(f"{source} {loss}; {len(times_ms)} frames could be read", "copy or download it again")


def shortfall(path: str, times_ms: Sequence[float]) -> str:
    """What a video file lacks, given the times of the frames that came out, by its container; empty if nothing.

    Raises:
        OSError: the file is no longer there.
    """
    missing, broken_at = chain_loss(path)
    if missing:
        return f"is cut off: {missing} bytes are missing"
    with opencv_name(path) as name:
        packets = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    try:
        said = packets.get(cv2.CAP_PROP_FRAME_COUNT)
        if 0 < said <= len(times_ms):
            return ""
        listed, hidden = indexed_frames(path)
        lost = _lost_frames(packets, np.array(times_ms), listed if listed == said else 0, hidden)
    finally:
        packets.release()
    if lost:
        return f"is damaged: {lost} frames cannot be decoded"
    return f"is damaged at byte {broken_at}" if broken_at else ""


def _lost_frames(packets: Any, shown_ms: NDArray[np.float64], listed: int, hidden: int) -> int:
    """How many packets gave no frame, or are in the container's list alone.

    Those before the first frame do not count, since a file may begin in the midst of a group of pictures; nor those
    close to a frame, since a picture may have two packets, one for each field.
    """
    due_ms: list[float] = []
    damaged = found = 0
    while (tried := next((tried for tried in range(TRIES) if packets.grab()), TRIES)) < TRIES:
        found += tried + 1
        time_ms = packets.get(cv2.CAP_PROP_POS_MSEC)
        if time_ms >= shown_ms[0]:
            due_ms.append(time_ms)
            damaged += tried
    due = np.sort(due_ms)
    if np.diff(due).max(initial=0) > _PAUSE_MS:
        damaged = 0
    shown = np.concatenate([[-np.inf], np.sort(shown_ms), [np.inf]])
    after = np.searchsorted(shown, due)
    apart_ms = np.minimum(due - shown[after - 1], shown[after] - due)
    step_ms = np.median(np.diff(shown[1:-1])) if len(shown_ms) > 1 else 0.0
    alone = int(np.count_nonzero(apart_ms > 0.75 * step_ms))
    return max(0, listed - hidden - found) + damaged + max(0, min(alone, len(due) - hidden - len(shown_ms)))
