"""Files that are whole or not there: a temporary name, renamed at the end. And posert's own format, JSON lines.

Owns output files. Knows results and skeletons, nothing of models or video reading.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Features, Frame, Poses, Result
from posert.runtime.spec import ModelSpec

Write = Callable[[Frame, Result], None]
Sink = AbstractContextManager[Write]
DECIMALS_PX = 2
DECIMALS_SCORE = 4
DECIMALS_FEATURES = 5


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, for a file or a folder, renamed to it when the block ends well.

    An interruption (Ctrl-C) or an input that breaks off keeps what was written so far as `<name>.partial`; a failure to
    write removes it. What was there before stays untouched in both cases; a success removes an earlier `.partial`.

    Raises:
        PosertError: the folder cannot be made or written, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _replace(temporary, path)
        _remove(path.with_name(path.name + ".partial"))
    except (PosertError, KeyboardInterrupt, GeneratorExit):
        if temporary.exists():
            _replace(temporary, path.with_name(path.name + ".partial"))
        raise
    except OSError as error:
        _remove(temporary)
        raise PosertError(
            f"{path} cannot be written: {error.strerror or error}",
            "free some space, or choose another place with `output`",
        ) from error
    except BaseException:
        _remove(temporary)
        raise


def _replace(temporary: Path, path: Path) -> None:
    if temporary.is_dir():  # a folder cannot be renamed onto a full one
        shutil.rmtree(path, ignore_errors=True)
    os.replace(temporary, path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):  # its folder may not exist either
        path.unlink()


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Removes the temporary names that killed processes left beside these paths; nobody may be writing them."""
    wanted: dict[Path, set[tuple[str, str]]] = {}
    for path in paths:
        wanted.setdefault(path.parent, set()).add((path.stem, path.suffix))
    for folder, ours in wanted.items():  # each folder is listed once, it may hold many thousands
        with suppress(OSError):  # no folder, no leftovers
            for item in list(folder.iterdir()):
                found = re.fullmatch(r"\.(.*?)\.\d+((?:\.[^.]*)?)(\.rows)?", item.name)
                if found and (found.group(1), found.group(2)) in ours:
                    _remove(item)


@contextmanager
def json_lines(path: Path | None, spec: ModelSpec, source: str) -> Iterator[Write]:
    """Writes JSON lines: a header, then one line per frame, frames without people included.

    Args:
        path: the file to write; None = standard output.
        spec: names the model and the skeleton in the header.
        source: named in the header.
    """
    header = file_header(spec, source)
    if path is None:
        yield _json_writer(sys.stdout, header)
        sys.stdout.flush()
        return
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield _json_writer(file, header)
        file.flush()
        os.fsync(file.fileno())


def file_header(spec: ModelSpec, source: str) -> dict[str, Any]:
    """What a file says about itself: format version, model, skeleton, source."""
    return {
        "posert": 1,
        "model": spec.model,
        "skeleton": {"names": spec.skeleton.names, "edges": spec.skeleton.edges},
        "source": source,
    }


def _json_writer(file: TextIO, header: dict[str, Any]) -> Write:
    def line(record: dict[str, Any]) -> None:
        file.write(json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n")
        file.flush()  # whoever reads along sees the frame now

    def write(_: Frame, result: Result) -> None:
        line(frame_record(result))

    line(header)
    return write


def frame_record(result: Result) -> dict[str, Any]:
    """One frame as JSON: `frame`, `time_s`, `size_wh`, `people` (id if tracked, score, box_xyxy, keypoints).

    Of a live source also `dropped`.
    """
    people = _people(result.poses)
    if result.features is not None:
        for person, values in zip(people, feature_records(result.features), strict=True):
            person["features"] = values
    record = {"frame": result.frame_index, "time_s": round(result.time_s, 6), "size_wh": result.size_wh}
    return record | ({} if result.dropped is None else {"dropped": result.dropped}) | {"people": people}


def feature_records(features: Features) -> list[dict[str, Any]]:
    """One JSON object per person; null stands for NaN."""
    return [
        {
            "normalised": _or_null(features.normalised[person]),
            "velocities": _or_null(features.velocities[person]),
            "angles": dict(zip(features.joints, _or_null(features.angles[person]), strict=True)),
            "visible": features.visible[person].astype(int).tolist(),
        }
        for person in range(len(features.visible))
    ]


def _or_null(values: NDArray[np.float32]) -> list[Any]:
    rounded = values.astype(np.float64).round(DECIMALS_FEATURES).astype(object)
    rounded[np.isnan(values)] = None
    listed: list[Any] = rounded.tolist()
    return listed


def _people(poses: Poses) -> list[dict[str, Any]]:
    keypoints = poses.keypoints.astype(np.float64)  # f32 would print 12.300000190734863 for 12.3
    keypoints[:, :, :2] = keypoints[:, :, :2].round(DECIMALS_PX)
    keypoints[:, :, 2] = keypoints[:, :, 2].round(DECIMALS_SCORE)
    people = []
    for person in range(len(poses)):
        record: dict[str, Any] = {} if poses.ids is None else {"id": int(poses.ids[person])}
        record["score"] = round(float(poses.scores[person]), DECIMALS_SCORE)
        record["box_xyxy"] = _rounded(poses.boxes_xyxy[person])
        record["keypoints"] = keypoints[person].tolist()
        people.append(record)
    return people


def _rounded(values: NDArray[np.float32]) -> list[float]:
    rounded: list[float] = values.astype(np.float64).round(DECIMALS_PX).tolist()
    return rounded
