"""Files that are whole or not there: a temporary name, renamed at the end. And posert's own format, JSON lines.

Owns output files. Knows results and skeletons, nothing of models or video reading.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, Poses, Result
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


@contextmanager
def whole_text(path: Path) -> Iterator[TextIO]:
    """The file behind `whole_file`, open for text, and on the disk before it gets its name."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def needed(path: Path | None, form: str) -> Path:
    """The path; raises PosertError without one: the format needs a file."""
    if path is None:
        raise PosertError(f"the format {form} cannot go to standard output", "name a file or folder with `output`")
    return path


def compact(value: Any) -> str:
    """JSON without spaces; a NaN is a ValueError."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def write_line(file: TextIO, value: Any) -> None:
    """One line of JSON, at once: somebody may be reading along."""
    file.write(compact(value) + "\n")
    file.flush()


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
    """Writes JSON lines, to standard output without a path: `file_header`, then `frame_record` of every frame."""
    with nullcontext(sys.stdout) if path is None else whole_text(path) as file:
        write_line(file, file_header(spec, source))
        yield lambda _, result: write_line(file, frame_record(result))
        file.flush()


def file_header(spec: ModelSpec, source: str) -> dict[str, Any]:
    """What a file says about itself: format version, model, skeleton, source."""
    return {
        "posert": 1,
        "model": spec.model,
        "skeleton": {"names": spec.skeleton.names, "edges": spec.skeleton.edges},
        "source": source,
    }


def frame_record(result: Result) -> dict[str, Any]:
    """One frame as JSON: `frame`, `time_s`, `size_wh`, `people` (id if tracked, score, box_xyxy, keypoints).

    Of a live source also `dropped`.
    """
    people, features = _people(result.poses), result.features
    if features is not None:
        columns = [_or_null(values) for values in (features.normalised, features.velocities, features.angles)]
        for person, points, moved, bent, seen in zip(people, *columns, features.visible.astype(int), strict=True):
            angles = dict(zip(features.joints, bent, strict=True))
            person["features"] = {"normalised": points, "velocities": moved, "angles": angles, "visible": seen.tolist()}
    record = {"frame": result.frame_index, "time_s": round(result.time_s, 6), "size_wh": result.size_wh}
    return record | ({} if result.dropped is None else {"dropped": result.dropped}) | {"people": people}


def _or_null(values: NDArray[np.float32]) -> Any:
    """Nested lists; None stands for NaN."""
    rounded = values.astype(np.float64).round(DECIMALS_FEATURES).astype(object)
    rounded[np.isnan(values)] = None
    return rounded.tolist()


def _people(poses: Poses) -> list[dict[str, Any]]:
    keypoints = poses.keypoints.astype(np.float64)  # f32 would print 12.300000190734863 for 12.3
    keypoints[:, :, :2] = keypoints[:, :, :2].round(DECIMALS_PX)
    keypoints[:, :, 2] = keypoints[:, :, 2].round(DECIMALS_SCORE)
    boxes = poses.boxes_xyxy.astype(np.float64).round(DECIMALS_PX)
    return [
        ({} if poses.ids is None else {"id": int(poses.ids[person])})
        | {
            "score": round(float(poses.scores[person]), DECIMALS_SCORE),
            "box_xyxy": boxes[person].tolist(),
            "keypoints": keypoints[person].tolist(),
        }
        for person in range(len(poses))
    ]
