"""A recording's people as packed columns, which `recording.js` unpacks to typed arrays: an hour is a few megabytes.

Owns that layout. Rows are one person in one frame, ordered by id and then by frame; a column has a value for each row.
The columns of a block lie one after the other, deflated; whole numbers of 16 bits as differences within their column,
the sign in the lowest bit, all low bytes before all high bytes. Angles and velocities are those of
`runtime/after/features.py`.
"""

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Result, Skeleton
from posert.runtime.after.features import Featuring

TENTHS_OF_DEGREES = 1800 / np.pi
SPEEDS = 100.0
"""Steps in a torso length a second."""
NONE = -1
_LARGEST = 32000
_Columns = dict[str, NDArray[Any]]
_TYPES = {"i2": "i16", "u1": "u8", "i4": "i32", "f4": "f32", "f8": "f64"}


@dataclass(frozen=True, slots=True)
class Table:
    """All people of a recording: T frames, R rows in the order of (id, frame), K keypoints, A angles.

    Attributes:
        times: f64 [T], seconds. frames: i32 [T], numbers in the source. size_wh: the largest width and height, px.
        position: i32 [R], the frame's place in `times`. ids: i32 [R], 0 = none.
        keypoints: f32 [R,K,3]. scores: f32 [R]. boxes_xyxy: f32 [R,4].
        angles: f32 [R,A], radians, NaN = unknown. speeds: f32 [R,K], torso lengths per second, NaN = unknown.
        joints: A names of `angles`.
    """

    times: NDArray[np.float64]
    frames: NDArray[np.int32]
    size_wh: tuple[int, int]
    position: NDArray[np.int32]
    ids: NDArray[np.int32]
    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    boxes_xyxy: NDArray[np.float32]
    angles: NDArray[np.float32]
    speeds: NDArray[np.float32]
    joints: tuple[str, ...]

    def tracks(self) -> list[tuple[int, int, int]]:
        """The id, the first row and the row after the last one of everybody."""
        starts = np.flatnonzero(np.diff(self.ids, prepend=NONE))  # ids are 0 or more
        ends = [*starts[1:], len(self.ids)]  # one too many where there is nobody
        return [(int(self.ids[begin]), int(begin), int(end)) for begin, end in zip(starts, ends, strict=False)]


def tabulate(results: Iterable[Result], skeleton: Skeleton) -> Table:
    """The table of results that come in the order of their frames. Raises PosertError if there is none."""
    featuring = Featuring(skeleton)
    about: list[tuple[float, int, int, int, int]] = []
    ids: list[NDArray[np.int32]] = []
    rows: list[tuple[NDArray[np.float32], ...]] = []
    for result in results:
        poses, features = result.poses, featuring(result.poses, result.time_s, result.size_wh)
        about.append((result.time_s, result.frame_index, *result.size_wh, len(poses)))
        ids.append(np.zeros(len(poses), np.int32) if poses.ids is None else poses.ids)
        speeds = np.linalg.norm(features.velocities, axis=2)
        rows.append((poses.keypoints, poses.scores, poses.boxes_xyxy, features.angles, speeds))
    if not about:
        raise PosertError("there is no frame to show", "run infer again")
    times, frames, widths, heights, counts = (np.array(column) for column in zip(*about, strict=True))
    position, known = np.repeat(np.arange(len(rows), dtype=np.int32), counts), np.concatenate(ids)
    order = np.lexsort((position, known))
    columns = (np.concatenate(column).astype(np.float32)[order] for column in zip(*rows, strict=True))
    keypoints, scores, boxes, angles, moved = columns
    return Table(
        np.maximum.accumulate(times), frames.astype(np.int32), (int(widths.max()), int(heights.max())),
        position[order], known[order], keypoints, scores, boxes, angles, moved, featuring.joints,
    )  # fmt: skip


def pack(table: Table, skeleton: Skeleton) -> tuple[dict[str, Any], dict[str, str]]:
    """The head (what JSON can hold) and the blocks of columns (base64) of a table: `people`, and `curves`."""
    points = table.keypoints.clip(-4 * max(table.size_wh), 4 * max(table.size_wh))
    boxes = table.boxes_xyxy.clip(-4 * max(table.size_wh), 4 * max(table.size_wh))
    largest = max(float(np.abs(values).max(initial=1)) for values in (points[:, :, :2], boxes))
    scale = 2.0 ** np.floor(np.log2(_LARGEST / largest))
    most_seen = max(1.0, float(points[:, :, 2].max(initial=0)))
    seen = points[:, :, 2] / most_seen * 255
    people: _Columns = {
        "times": table.times,
        "frames": table.frames,
        "position": table.position,
        "score": table.scores,
        "x": _steps(points[:, :, 0], scale),
        "y": _steps(points[:, :, 1], scale),
        "box": _steps(boxes, scale),
        "seen": np.where(seen > 0, seen.round().clip(1, 255), 0).astype("u1").T,
    }
    curves: _Columns = {
        "angle": _steps(table.angles, TENTHS_OF_DEGREES),
        "speed": _steps(table.speeds, SPEEDS),
    }
    blocks = {"people": people, "curves": curves}
    head = {
        "skeleton": {"names": skeleton.names, "edges": skeleton.edges},
        "size": table.size_wh,
        "scale": scale,
        "most_seen": most_seen,
        "joints": table.joints,
        "tracks": [{"id": key or None, "begin": begin, "end": end} for key, begin, end in table.tracks()],
        "blocks": {name: [_about(*column) for column in columns.items()] for name, columns in blocks.items()},
    }
    return head, {name: _packed(columns) for name, columns in blocks.items()}


def _about(name: str, values: NDArray[Any]) -> dict[str, Any]:
    return {"name": name, "type": _TYPES[values.dtype.str[1:]], "length": values.size, "columns": len(values)}


def _packed(columns: _Columns) -> str:
    return base64.b64encode(zlib.compress(b"".join(map(_bytes, columns.values())))).decode()


def _steps(values: NDArray[np.float32], scale: float) -> NDArray[np.int16]:
    """Whole steps i16 [columns, R] of values [R, columns]; NONE for NaN."""
    steps = (values * scale).round().clip(-_LARGEST, _LARGEST)
    return np.where(np.isnan(steps), NONE, steps).astype(np.int16).T


def _bytes(values: NDArray[Any]) -> bytes:
    if values.dtype != np.int16:
        return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    moved = np.diff(values, axis=1, prepend=np.int16(0))  # wraps, as the sums will
    codes = ((moved << 1) ^ (moved >> 15)).astype(np.uint16)
    return (codes & 255).astype("u1").tobytes() + (codes >> 8).astype("u1").tobytes()
