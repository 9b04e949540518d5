"""Frames in: pictures, videos, folders, cameras, streams, raw bytes. Knows no models.

Here: which files are pictures and which are videos, by their names.
"""

from pathlib import Path

IMAGES = {".bmp", ".dib", ".jpeg", ".jpg", ".jp2", ".png", ".webp", ".avif", ".pbm", ".pgm", ".ppm", ".tif", ".tiff"}
VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
ALBUMS = {".avif", ".png", ".webp", ".tif", ".tiff"}  # pictures that may hold several
VIDEOS |= {".3gp", ".ogv", ".gif", ".mjpeg"}


def is_image(source: str | Path) -> bool:
    """Whether the name is a picture's. An address is none: what a camera sends as `.jpg` may go on for ever.

    >>> is_image("walk/a.JPG"), is_image("0"), is_image("http://camera/a.jpg")
    (True, False, False)
    """
    return Path(source).suffix.lower() in IMAGES and "://" not in str(source)


def is_medium(source: str | Path) -> bool:
    """Whether the name is a picture's or a video's."""
    return Path(source).suffix.lower() in IMAGES | VIDEOS
