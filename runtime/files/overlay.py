"""Draws people on frames and writes the pictures or the video. Knows pixels and skeletons, nothing of models."""

import colorsys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Poses, Result, Skeleton
from posert.runtime.files.atomic import Write, whole_file
from posert.runtime.files.pyav import CODINGS, WritePicture
from posert.runtime.files.video import open_writer
from posert.runtime.media import is_image

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
def overlay(path: Path, skeleton: Skeleton, fps: float, source: str = "") -> Iterator[Write]:
    """Writes the drawn frames: one picture if `path` and `source` end like one, else a video whose first frame is shown
    at 0, and each until the next one's time.

    Args:
        path: its suffix says what is written. fps: of the video, in the mean.
        source: the file whose sound is kept, where the video has some (`open_writer`).

    Raises:
        PosertError: the place or the format cannot be written, or frames of several sizes go to one video.
    """
    single = is_image(path) and (path.suffix.lower() not in CODINGS or is_image(source))
    with whole_file(path) as temporary, ExitStack() as stack:
        put = _picture(temporary, path) if single else _video(stack, temporary, path, fps, source)
        yield lambda frame, result: put(draw(frame.bgr, result.poses, skeleton), result)


_Put = Callable[[NDArray[np.uint8], Result], None]


def _picture(temporary: Path, path: Path) -> _Put:
    def put(drawn: NDArray[np.uint8], result: Result) -> None:
        if temporary.exists():
            raise PosertError(f"{path} is one picture, {result.source} has several frames", "draw them to an .mp4")
        _write_image(temporary, drawn)

    return put


def _video(stack: ExitStack, temporary: Path, path: Path, fps: float, source: str) -> _Put:
    write: WritePicture | None = None
    begin_s, size_wh = 0.0, (0, 0)

    def put(drawn: NDArray[np.uint8], result: Result) -> None:
        nonlocal write, begin_s, size_wh
        if write is None:
            begin_s, size_wh = result.time_s, result.size_wh
            write = stack.enter_context(open_writer(temporary, path, size_wh, fps, source, begin_s))
        if size_wh != result.size_wh:
            raise PosertError(f"{path}: frames of {size_wh} and of {result.size_wh} px", "use one overlay a source")
        write(drawn, result.time_s - begin_s)

    return put


def _write_image(path: Path, bgr: NDArray[np.uint8]) -> None:
    good, data = cv2.imencode(path.suffix, bgr)
    if not good:
        raise OSError(0, f"OpenCV cannot write {path.suffix} files")
    path.write_bytes(data.tobytes())
