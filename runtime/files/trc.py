"""Results as TRC, the file of marker paths that OpenSim, Pose2Sim and Sports2D read: a folder with a file for each id.

Owns this layout. Rows wait on disk until the video ends, since the header says how many there are; memory holds a few
numbers a frame. Knows nothing of models.
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.after.body import HEIGHT_QUANTILE, Stature
from posert.runtime.after.features import found_points, level
from posert.runtime.after.options import FeatureOptions
from posert.runtime.files.atomic import Write, needed, whole_file
from posert.runtime.spec import ModelSpec

_ABOUT = [
    "DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame", "OrigNumFrames",
]  # fmt: skip
Rows = NDArray[np.float64]


@contextmanager
def trc(path: Path | None, spec: ModelSpec, source: str, *, featuring: FeatureOptions | None = None) -> Iterator[Write]:
    """Writes `<stem>_px_person01.trc` and so on, the number being the id; `_m_` instead of `_px_` if a height is known.

    A file has a row for each frame from the person's first to the last, with empty fields for what was not found;
    markers are named as Pose2Sim names them, z is 0. Pixels are those of the picture, y downwards, as Sports2D writes
    and reads them. Metres have y upwards, their zero in the lower left corner of the picture, one scale for each person
    (see `Stature`: the upper quartile of all heights), and are turned so that `featuring.floor_angle_deg` is level.

    Raises:
        PosertError: people without ids.
    """
    stem, how = Path(source).stem, featuring or FeatureOptions()
    with whole_file(needed(path, "trc")) as folder:
        spool = _Spool(folder.with_name("rows"))
        yield spool.add
        folder.mkdir()
        for key in sorted(spool.keys):
            frames, points = spool.person(key, len(spec.skeleton.names))
            unit, scaled = "px", points
            if how.person_height_m:
                unit, scaled = "m", _in_metres(points, spool.heights[frames], spec.skeleton.names, how)
            target = folder / f"{stem}_{unit}_person{key:02d}.trc"
            _write(target, spec.skeleton.names, unit, spool, frames, scaled)


class _Spool:
    """Everybody's rows on disk, one file an id: place of the frame, then x and y of each keypoint, NaN = not found."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, set[int]()
        self.numbers, self.times = array("q"), array("d")
        self._heights = array("q")
        folder.mkdir()

    @property
    def heights(self) -> NDArray[np.int64]:
        """Of the frames, px."""
        return np.array(self._heights, np.int64)

    def add(self, _: Frame, result: Result) -> None:
        poses = result.poses
        if len(poses) and poses.ids is None:
            raise PosertError("the format trc has a file for each id, and people have none", "ask for `track`")
        for key, person in zip([] if poses.ids is None else poses.ids.tolist(), found_points(poses), strict=True):
            self.keys.add(key)
            with (self.folder / str(key)).open("ab") as file:
                file.write(np.concatenate([[len(self.times)], person.ravel()]).tobytes())
        self.numbers.append(result.frame_index)
        self.times.append(result.time_s)
        self._heights.append(result.size_wh[1])

    def person(self, key: int, keypoints: int) -> tuple[NDArray[np.int64], Rows]:
        """The places i64 [T] of an id's frames, and its points f64 [T,K,2], read from the disk as they are needed."""
        rows = np.memmap(self.folder / str(key), np.float64, "r").reshape(-1, 1 + 2 * keypoints)
        return rows[:, 0].astype(np.int64), rows[:, 1:].reshape(len(rows), keypoints, 2)

    @property
    def rate(self) -> float:
        """Frames per second on average; 1 for a single one."""
        length = self.times[-1] - self.times[0]
        return (len(self.times) - 1) / length if length > 0 else 1.0


def _in_metres(points: Rows, heights_px: NDArray[np.int64], names: tuple[str, ...], how: FeatureOptions) -> Rows:
    """f64 [T,K,2], y upwards; NaN where the person's height in pixels is never known."""
    tall = Stature(names)(points)
    known = tall[np.isfinite(tall)]
    scale = how.person_height_m / np.quantile(known, HEIGHT_QUANTILE) if len(known) else np.nan
    from_corner = points - np.stack([np.zeros_like(heights_px), heights_px], axis=1)[:, None]
    metres: Rows = level(from_corner, np.deg2rad(how.floor_angle_deg)) * [scale, -scale]
    return metres


def marker(keypoint: str) -> str:
    """What Pose2Sim and its OpenSim models call a keypoint.

    >>> marker("left_big_toe"), marker("nose"), marker("mid_hip"), marker("right_hand_root")
    ('LBigToe', 'Nose', 'Hip', 'RHandRoot')
    """
    side, _, rest = keypoint.partition("_")
    begin = {"left": "L", "right": "R", "mid": ""}.get(side) if rest else None
    words = (keypoint if begin is None else rest).split("_")
    return (begin or "") + "".join(word.capitalize() for word in words)


def _write(
    path: Path, names: tuple[str, ...], unit: str, spool: _Spool, frames: NDArray[np.int64], points: Rows
) -> None:
    """One file; frames in which the person was not there are rows too."""
    first, last = int(frames[0]), int(frames[-1])
    count, rate, many = last - first + 1, f"{spool.rate:.6g}", len(names)
    about = [rate, rate, count, many, unit, rate, spool.numbers[first], count]
    head = [
        ["PathFileType", "4", "(X/Y/Z)", " ".join(path.name.split())],
        _ABOUT,
        map(str, about),
        ["Frame#", "Time", *(cell for name in names for cell in (marker(name), "", ""))],
        ["", "", *(f"{axis}{number}" for number in range(1, many + 1) for axis in "XYZ")],
    ]
    places = np.full(count, -1)
    places[frames - first] = np.arange(len(frames))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(cells) + "\n" for cells in head)
        for place, number in enumerate(places.tolist(), first):
            cells = _cells(points[number]) if number >= 0 else [""] * (3 * many)
            file.write("\t".join([str(spool.numbers[place]), f"{spool.times[place]:.6f}", *cells]) + "\n")


def _cells(points: Rows) -> list[str]:
    """x, y, z of each keypoint of [K,2] as text."""
    return [
        cell for x, y in points.tolist() for cell in (("", "", "") if x != x else (f"{x:.5f}", f"{y:.5f}", "0.00000"))
    ]
