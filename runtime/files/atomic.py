"""Files that are whole or not there: a temporary name, renamed at the end. And posert's own format, JSON lines.

Owns output files. Knows results and skeletons, nothing of models or video reading.
"""

import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Features, Frame, Poses, Result
from posert.runtime.files.locks import take
from posert.runtime.files.ours import note, replaceable, says_so
from posert.runtime.files.state import state
from posert.runtime.media.orientation import UPRIGHT, Orientation
from posert.runtime.spec import ModelSpec

Write = Callable[[Frame, Result], None]
Sink = AbstractContextManager[Write]
DECIMALS_PX = 2
DECIMALS_SCORE = 4
DECIMALS_FEATURES = 5
_TEMPORARY = ".posert-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name for a file or a folder, which gets its place when the block ends well.

    An interruption (Ctrl-C) or an input that breaks off keeps what was written so far as `<name>.partial`; a failure to
    write removes it. What was there before stays untouched in both cases; a success removes an earlier `.partial`.
    Only what was there when the block began is replaced, or what posert wrote since. A link stays a link, and what is
    no file (`written_through`) is written into at the end.

    Raises:
        PosertError: the folder cannot be made or written, the disk is full, or somebody else wrote there meanwhile.
    """
    through, path = written_through(path), Path(os.path.realpath(path) if path.is_symlink() else path)
    before = state(path)
    with _said(path), workshop(None if through else path.parent) as folder:
        temporary = folder / f"whole{path.suffix}"
        try:
            yield temporary
            if through:
                with temporary.open("rb") as made, path.open("wb") as target:
                    shutil.copyfileobj(made, target)
                return
            if state(path) != before and not replaceable(path):
                raise PosertError(
                    f"{path} was written by somebody else meanwhile", "choose another place with `output`"
                )
            _put(temporary, path)
            if replaceable(partial_of(path)):
                _remove(partial_of(path))
        except (PosertError, KeyboardInterrupt, GeneratorExit, BrokenPipeError):
            if temporary.exists() and not through:
                _put(temporary, _free(partial_of(path)))
            raise


@contextmanager
def whole_text(path: Path) -> Iterator[TextIO]:
    """The file behind `whole_file` (or the device or pipe), open for text, and on the disk before it gets its name."""
    if written_through(path):
        with _said(path), path.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def text_output(path: Path | None) -> Iterator[TextIO]:
    """As `whole_text`; standard output without a path."""
    if path is None and sys.stdout is None:
        raise PosertError("standard output is closed", "name a file with `output`")
    with nullcontext(sys.stdout) if path is None else whole_text(path) as file:
        yield file
        file.flush()


def written_through(path: Path) -> bool:
    """Whether a path is a device, a pipe or an open file of this process (`/dev/stdout`): never a file's new name."""
    place = os.path.join(os.path.realpath(path.parent), path.name)
    target = os.readlink(place) if os.path.islink(place) else place
    opened = any(name.startswith("/proc/") for name in (place, target))
    return os.path.exists(path) and (opened or not (path.is_file() or path.is_dir()))


def partial_of(path: Path) -> Path:
    """Where the part is kept that was written before an interruption."""
    return path.with_name(os.fsdecode(os.fsencode(path.name)[:247]) + ".partial")  # of 255 bytes at most


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Removes from these folders what killed processes left; what somebody is writing stays."""
    for folder in set(folders):
        for item in folder.glob(_TEMPORARY + "[0-9]*-????????"):
            with suppress(OSError):  # it is locked, or on a file system without locks
                with take(item / "lock"):
                    _remove(item)
                _remove(item)  # Windows keeps open files


@contextmanager
def workshop(place: Path | None) -> Iterator[Path]:
    """A new folder in `place` (the system's own for None), locked while it is used."""
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    lock: AbstractContextManager[Any] | None = None
    while lock is None:
        folder = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=place))
        try:
            lock = take(folder / "lock")
        except (BlockingIOError, FileNotFoundError):  # taken for a leftover before it was locked
            continue
        except OSError:
            lock = nullcontext()
    try:
        with lock:
            yield folder
    finally:
        _remove(folder)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) and not written_through(path):
            raise  # of standard output
        raise PosertError(
            f"{path} cannot be written: {error.strerror or error}",
            "free some space, or choose another place with `output`",
        ) from error


def _put(temporary: Path, path: Path) -> None:
    """Gives what was made its place; a folder cannot be renamed onto a full one, which goes with the workshop."""
    if not says_so(temporary):
        note(path, state(temporary))
    if temporary.is_dir() and path.exists():
        os.replace(path, temporary.with_name("before"))
    os.replace(temporary, path)


def _free(path: Path) -> Path:
    """The path, with a number if something of somebody else's is there."""
    names = (path.with_name(f"{path.name}{number or ''}") for number in itertools.count())
    return next(name for name in names if replaceable(name))


def _remove(path: Path) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):  # its folder may not exist either
        path.unlink()


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


@contextmanager
def items(path: Path, opening: str = "[", closing: str = "]") -> Iterator[Callable[[str], None]]:
    """A JSON list or object written item by item, so that memory stays flat."""
    with whole_text(path) as file:
        file.write(opening)
        first = True

        def add(item: str) -> None:
            nonlocal first
            file.write(("\n" if first else ",\n") + item)
            first = False

        yield add
        file.write("\n" + closing + "\n")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What of a source the pictures are, beyond its name.

    Attributes:
        orientation: how they were turned.
        key_frames: they are those alone.
        clip: which of a list they are, `Clip.record`.
    """

    orientation: Orientation = UPRIGHT
    key_frames: bool = False
    clip: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """As JSON, what applies: `rotate` and `mirror`, `key_frames`, `clip`."""
        turned = asdict(self.orientation) if self.orientation else {}
        return turned | ({"key_frames": True} if self.key_frames else {}) | ({"clip": self.clip} if self.clip else {})


WHOLE = Provenance()
"""All pictures of a source, as they are."""


@contextmanager
def json_lines(path: Path | None, spec: ModelSpec, source: str, *, provenance: Provenance = WHOLE) -> Iterator[Write]:
    """Writes JSON lines, to standard output without a path: `file_header`, then `frame_record` of every frame."""
    with text_output(path) as file:
        write_line(file, file_header(spec, source, provenance))
        yield lambda _, result: write_line(file, frame_record(result))


def file_header(spec: ModelSpec, source: str, provenance: Provenance = WHOLE) -> dict[str, Any]:
    """What a file says about itself: format version, model, skeleton, source and its provenance."""
    about = {
        "posert": 1,
        "model": spec.model,
        "skeleton": {"names": spec.skeleton.names, "edges": spec.skeleton.edges},
        "source": source,
    }
    return about | provenance.record()


def frame_record(result: Result) -> dict[str, Any]:
    """One frame as JSON: `frame`, `time_s`, `size_wh`, `people` (id if tracked, score, box_xyxy, keypoints).

    Where gaps were to be filled also `filled`, 0 or 1 for each keypoint; of a live source also `dropped`.
    """
    people = _people(result.poses)
    if result.features is not None:
        for person, features in zip(people, _features(result.features), strict=True):
            person["features"] = features
    record = {"frame": result.frame_index, "time_s": round(result.time_s, 6), "size_wh": result.size_wh}
    return record | ({} if result.dropped is None else {"dropped": result.dropped}) | {"people": people}


def _features(features: Features) -> list[dict[str, Any]]:
    """Of each person; `metres` only if they are known, `_deg` after the names of angles in degrees."""
    suffix = "_deg" if features.degrees else ""
    angles = [dict(zip(features.joints, person, strict=True)) for person in _or_null(features.angles)]
    segments = [dict(zip(features.segment_names, person, strict=True)) for person in _or_null(features.segments)]
    columns = {
        "normalised": _or_null(features.normalised),
        "velocities": _or_null(features.velocities),
        "angles" + suffix: angles,
        "visible": features.visible.astype(int).tolist(),
        "segments" + suffix: segments,
        "floor_angle" + suffix: _or_null(features.floor_angle),
    }
    for name in ("metres", "metres_per_px"):
        if (values := getattr(features, name)) is not None:
            columns[name] = _or_null(values)
    return [dict(zip(columns, person, strict=True)) for person in zip(*columns.values(), strict=True)]


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
        | ({} if poses.filled is None else {"filled": poses.filled[person].astype(int).tolist()})
        for person in range(len(poses))
    ]
