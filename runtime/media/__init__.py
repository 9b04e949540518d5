"""Frames in: pictures, videos, folders, cameras, streams, raw bytes. Knows no models.

Here: which files are pictures and which are videos, by their names.
"""

from pathlib import Path

IMAGES = {".bmp", ".dib", ".jpeg", ".jpg", ".jp2", ".png", ".webp", ".avif", ".pbm", ".pgm", ".ppm", ".tif", ".tiff"}
VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
VIDEOS |= {".3gp", ".ogv", ".gif", ".mjpeg"}


def is_image(source: str | Path) -> bool:
    """Whether the name is a picture's.

    >>> is_image("walk/a.JPG"), is_image("0")
    (True, False)
    """
    return Path(source).suffix.lower() in IMAGES


def is_medium(source: str | Path) -> bool:
    """Whether the name is a picture's or a video's."""
    return Path(source).suffix.lower() in IMAGES | VIDEOS
