"""Frames in: pictures, videos, folders, cameras, streams, raw bytes. Knows no models.

Here: which files are pictures and which are videos, by their names, and what a pattern matches.
"""

import glob
import os
from collections.abc import Callable
from pathlib import Path

from posert.errors import PosertError
from posert.runtime.store.address import is_stored, suffix

IMAGES = {".bmp", ".dib", ".jpeg", ".jpg", ".jp2", ".png", ".webp", ".avif", ".pbm", ".pgm", ".ppm", ".tif", ".tiff"}
VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
ALBUMS = {".avif", ".png", ".webp", ".tif", ".tiff"}  # pictures that may hold several
VIDEOS |= {".3gp", ".ogv", ".gif", ".mjpeg"}


def is_image(source: str | Path) -> bool:
    """Whether the name is a picture's. An address is none: what a camera sends as `.jpg` may go on for ever; a store's
    is.

    >>> is_image("walk/a.JPG"), is_image("0"), is_image("http://camera/a.jpg"), is_image("s3://set/a.jpg")
    (True, False, False, True)
    """
    if is_stored(source):
        return suffix(str(source)) in IMAGES
    return Path(source).suffix.lower() in IMAGES and "://" not in str(source)


def is_medium(source: str | Path) -> bool:
    """Whether the name is a picture's or a video's."""
    return Path(source).suffix.lower() in IMAGES | VIDEOS


def matching(pattern: str, what: str, wanted: Callable[[str], bool]) -> list[tuple[str, str]]:
    """The files that match a pattern, sorted: pairs of path and name below the folder that they have in common.

    Raises PosertError if none is wanted; `what` they would be.
    """
    found = sorted(path for path in glob.glob(pattern, recursive=True) if wanted(path))
    if not found:
        raise PosertError(f"no {what} matches {pattern}", "quote the pattern so that the shell leaves it alone")
    root = os.path.commonpath([os.path.dirname(path) for path in found]) or "."
    return [(path, os.path.relpath(path, root)) for path in found]
