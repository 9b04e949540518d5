"""Draws people on frames and writes the pictures or the video. Knows pixels and skeletons, nothing of models."""

import colorsys
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, Poses, Result, Skeleton
from posert.runtime.files.atomic import Write, whole_file
from posert.runtime.files.video import VideoWriter, open_writer
from posert.runtime.media import is_image
from posert.runtime.media.read import frame_count

_SUBPIXEL_BITS = 4


def draw(bgr: NDArray[np.uint8], poses: Poses, skeleton: Skeleton) -> NDArray[np.uint8]:
    """A copy of the picture u8 [H,W,3] with everybody's limbs, keypoints above 0 and ids; each limb has its own hue."""
    canvas = np.ascontiguousarray(bgr).copy()
    thickness = max(1, round(max(canvas.shape[:2]) / 250))
    colors = [_hue(limb / max(1, len(skeleton.edges))) for limb in range(len(skeleton.edges))]
    for person in range(len(poses)):
        points = poses.keypoints[person]
        for color, (a, b) in zip(colors, skeleton.edges, strict=True):
            if min(points[a, 2], points[b, 2]) > 0:
                cv2.line(canvas, _at(points[a]), _at(points[b]), color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        for point in points[points[:, 2] > 0]:
            radius = (thickness + 1) << _SUBPIXEL_BITS
            cv2.circle(canvas, _at(point), radius, (255, 255, 255), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        if poses.ids is not None:
            x, y = poses.boxes_xyxy[person, :2].round().astype(int).tolist()
            cv2.putText(canvas, str(poses.ids[person]), (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    return canvas


def _at(point: NDArray[np.float32]) -> tuple[int, int]:
    """A point in OpenCV's fixed-point coordinates, kept within what 32 bits hold."""
    x, y = np.clip(point[:2], -1e6, 1e6) * (1 << _SUBPIXEL_BITS)
    return int(x), int(y)


def _hue(value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(value, 0.9, 1.0)
    return int(blue * 255), int(green * 255), int(red * 255)


@contextmanager
def overlay(path: Path, skeleton: Skeleton, fps: float, *, timed: bool = False) -> Iterator[Write]:
    """Writes the drawn frames: a picture if `path` ends like one, else a video of constant rate `fps`.

    With `timed` each frame is shown from its own time on, the first at 0: some of a live source are left out.

    Raises:
        PosertError: the place or the format cannot be written, or frames of several sizes go to one video.
    """
    with whole_file(path) as temporary:
        writer: VideoWriter | None = None
        size_wh, written, due = (0, 0), 0, 0
        picture = is_image(path)

        def write(frame: Frame, result: Result) -> None:
            nonlocal writer, size_wh, written, due
            if picture and written:
                raise PosertError(f"{path} is one picture, {frame.source} has several frames", "draw them to an .mp4")
            drawn = draw(frame.bgr, result.poses, skeleton)
            if picture:
                _write_image(temporary, drawn)
                written = 1
                return
            if writer is None:
                size_wh = frame.size_wh
                writer = open_writer(temporary, path, size_wh, fps)
            if size_wh != frame.size_wh:
                raise PosertError(f"{path}: frames of {size_wh} and of {frame.size_wh} px", "use one overlay a source")
            time_s = result.time_s if timed else written / fps
            writer.write(drawn, time_s)
            written, due = written + 1, round(time_s * fps) + 1

        try:
            yield write
        finally:
            if writer is not None:
                writer.release()
        least = min(written, due)  # two frames may be due as one
        if writer is not None and frame_count(str(temporary)) < least:  # OpenCV's writer does not report a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write_image(path: Path, bgr: NDArray[np.uint8]) -> None:
    good, data = cv2.imencode(path.suffix, bgr)
    if not good:
        raise OSError(0, f"OpenCV cannot write {path.suffix} files")
    path.write_bytes(data.tobytes())
