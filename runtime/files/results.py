"""Results read again, as posert wrote them: JSON lines, one JSON document, npz. Memory does not grow with the file.

Owns the reading of these layouts; what they look like is written in `atomic.py`, `formats.py` and `arrays.py`. What a
file says is checked: it may come from anywhere.
"""

import json
import logging
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, NotRequired, TextIO, TypedDict

import numpy as np

from posert.errors import PosertError
from posert.poses import Poses, Result, Skeleton
from posert.runtime.media.orientation import Orientation
from posert.typed import Index, read

_LOG = logging.getLogger("posert")
_FRAMES = ',"frames":['
_MOST_KEYPOINTS = 1000
_LARGEST_PX = 1 << 20
_BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError)  # RuntimeError: encrypted, or a method that nobody knows


class _Skeleton(TypedDict):
    names: tuple[str, ...]
    edges: tuple[tuple[Index, Index], ...]


class _Header(TypedDict):
    posert: Literal[1]
    model: str
    skeleton: _Skeleton
    source: str
    rotate: NotRequired[Literal[0, 90, 180, 270]]
    mirror: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of results.

    Attributes:
        path: the file. model, source: what it says of them. orientation: how the source's pictures were turned.
        skeleton: names and edges of its keypoints.
        results: its frames in order, read as they are asked for, once, without features; raises PosertError where the
            file is damaged. A last line that is cut off is left out with a warning.
    """

    path: Path
    model: str
    skeleton: Skeleton
    source: str
    orientation: Orientation
    results: Iterator[Result]


def read_results(path: str | Path) -> Recording:
    """The recording in a file of the formats jsonl, json and npz.

    Raises:
        PosertError: the file cannot be read, or is none of these.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"PK"
    except OSError as error:
        why = error.strerror or error
        raise PosertError(f"{path} cannot be read: {why}", "name a file that infer wrote") from None
    return _read_npz(path) if packed else _read_text(path)


def _read_text(path: Path) -> Recording:
    file = path.open(encoding="utf-8", errors="replace")
    try:
        first = file.readline().rstrip("\n")
        document = first.endswith(_FRAMES)
        header = _header(path, first.removesuffix(_FRAMES) + "}" if document else first)
    except BaseException:
        file.close()
        raise
    return _recording(path, header, _rows(path, file, header))


def _header(path: Path, text: str) -> _Header:
    try:
        header: _Header = read(_Header, json.loads(text), "header")
        names, edges = header["skeleton"]["names"], header["skeleton"]["edges"]
        if not 0 < len(names) <= _MOST_KEYPOINTS or any(max(edge) >= len(names) for edge in edges):
            raise ValueError("its skeleton is no skeleton")
    except (ValueError, RecursionError) as error:
        raise PosertError(
            f"{path} does not begin as posert's results do: {error}", "run infer with `form` jsonl, json or npz"
        ) from None
    return header


def _recording(path: Path, header: _Header, results: Iterator[Result]) -> Recording:
    skeleton = Skeleton(header["skeleton"]["names"], header["skeleton"]["edges"])
    orientation = Orientation(header.get("rotate", 0), header.get("mirror", False))
    return Recording(path, header["model"], skeleton, header["source"], orientation, results)


def _rows(path: Path, file: TextIO, header: _Header) -> Iterator[Result]:
    keypoints, last = len(header["skeleton"]["names"]), -1
    with closing(file):
        for number, line in enumerate(file, 2):
            text = line.rstrip("\n").removesuffix(",")
            if text in ("", "]}"):
                continue
            try:
                row = json.loads(text, parse_constant=_refused)
                result = _result(row, keypoints, header["source"])
                if result.frame_index <= last:
                    raise ValueError(f"frame {result.frame_index} after frame {last}")
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                if not line.endswith("\n"):
                    _LOG.warning("%s is cut off in line %d, which is left out", path, number)
                    return
                raise PosertError(
                    f"{path}, line {number}, is no frame of posert's: {error!r}", "run infer again"
                ) from None
            last = result.frame_index
            yield result


def _refused(constant: str) -> NoReturn:
    raise ValueError(constant)


def _result(row: Any, keypoints: int, source: str) -> Result:
    people = row["people"]
    points = np.array([person["keypoints"] for person in people], np.float32).reshape(len(people), keypoints, 3)
    boxes = np.array([person["box_xyxy"] for person in people], np.float32).reshape(len(people), 4)
    scores = np.array([person["score"] for person in people], np.float32).reshape(len(people))
    ids = [person.get("id") for person in people]
    known = np.array(ids, np.int32) if people and None not in ids else None
    marks = [person.get("filled") for person in people]
    filled = np.array(marks, bool).reshape(len(people), keypoints) if people and None not in marks else None
    return _checked(row["frame"], row["time_s"], row["size_wh"], source, Poses(points, scores, boxes, known, filled))


def _checked(index: Any, time_s: Any, size_wh: Any, source: str, poses: Poses) -> Result:
    width, height = map(int, size_wh)
    index, time_s = int(index), float(time_s)
    if not (0 < width <= _LARGEST_PX and 0 < height <= _LARGEST_PX and 0 <= index < 1 << 31 and math.isfinite(time_s)):
        raise ValueError(f"frame {index}, {time_s} s, {width}x{height} px")
    if not all(np.isfinite(values).all() for values in (poses.keypoints, poses.scores, poses.boxes_xyxy)):
        raise ValueError("a number is not finite")
    if poses.ids is not None and poses.ids.min(initial=1) < 1:
        raise ValueError("an id below 1")
    return Result(index, time_s, (width, height), source, poses, {})


def _read_npz(path: Path) -> Recording:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            header = _header(path, str(arrays["header"]))
            names = ("frame_index", "time_s", "size_wh", "scores", "ids", "boxes_xyxy", "keypoints")
            columns = [arrays[name] for name in (*names, *({"filled"} & set(arrays.files)))]
        (count, most), keypoints = columns[3].shape, len(header["skeleton"]["names"])
        shapes = [(count,), (count,), (count, 2), (count, most), (count, most), (count, most, 4)]
        shapes += [(count, most, keypoints, 3), (count, most, keypoints)]
        if [column.shape for column in columns] != shapes[: len(columns)]:
            raise ValueError("its arrays do not fit each other")
    except (*_BROKEN, OSError, ValueError, KeyError, EOFError, MemoryError) as error:
        raise PosertError(f"{path} is no npz of posert's: {error}", "run infer with `form` npz") from None
    return _recording(path, header, _frames_of(path, header, columns))


def _frames_of(path: Path, header: _Header, columns: list[Any]) -> Iterator[Result]:
    for index, time_s, size_wh, scores, ids, boxes, keypoints, *marks in zip(*columns, strict=True):
        there = np.isfinite(scores)
        known = ids[there].astype(np.int32) if ids[there].any() else None
        found, score, box = (values[there].astype(np.float32) for values in (keypoints, scores, boxes))
        filled = marks[0][there] > 0 if marks else None
        try:
            yield _checked(index, time_s, size_wh, header["source"], Poses(found, score, box, known, filled))
        except (ValueError, TypeError, OverflowError) as error:
            raise PosertError(f"{path} is damaged: {error}", "run infer again") from None
