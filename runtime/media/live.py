"""Sources that do not wait: cameras and streams. Which ones they are, and opening them again when they are lost.

Owns these two rules. Knows nothing of frames and their pixels.
"""

import logging
import time
import urllib.request
from collections.abc import Callable, Generator
from typing import Any

import cv2

from posert.errors import PosertError
from posert.runtime.store.address import is_stored, shown

_LOG = logging.getLogger("posert")
_PAUSES_S = (0.5, 1, 2, 4, 8, 15, 30)
"""Before a lost stream is opened again; the last one from then on."""
_TIMEOUT_S = 10.0


def is_live(source: str) -> bool:
    """Whether a source gives frames in its own time: a camera number, or an address that is no file's.

    Behind http it is live if it is `multipart/...`, as cameras send JPEGs, or has neither length nor duration.
    """
    if is_stored(source):
        return False
    scheme, is_address, _ = source.partition("://")
    if not is_address or not scheme.startswith("http"):
        return source.isdigit() or (bool(is_address) and scheme != "file")
    try:
        with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as answer:
            kind, length = answer.headers.get_content_maintype(), answer.headers.get("Content-Length")
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return False
    return kind == "multipart" or (kind != "image" and length is None and _endless(source))


def _endless(source: str) -> bool:
    capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG)
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    return count <= 0


def captures(opened: Callable[[], Any], source: str, stop_s: float | None) -> Generator[Any, None, None]:
    """The capture of a live source, and another one whenever the last has no frames any more, after growing pauses.

    Args:
        opened: opens it. stop_s: seconds from now after which it is not opened again; None = never.

    Raises:
        PosertError: it cannot be opened the first time.
    """
    began, pauses = time.monotonic(), iter(_PAUSES_S)
    capture = opened()
    while True:
        since = time.monotonic()
        try:
            yield capture
        finally:
            capture.release()
        if time.monotonic() - since > _PAUSES_S[-1]:
            pauses = iter(_PAUSES_S)
        while True:
            pause = next(pauses, _PAUSES_S[-1])
            if stop_s is not None and time.monotonic() + pause - began > stop_s:
                return
            _LOG.warning("%s is lost; it is opened again in %g s", shown(source), pause)
            time.sleep(pause)
            try:
                capture = opened()
            except PosertError:
                continue
            break
