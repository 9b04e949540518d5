"""How well ids stay with people: HOTA, IDF1 and MOTA against annotated tracks.

Owns how people found go with people annotated; the figures themselves are trackeval's metric classes. Knows results and
truths, and runs a model through the loop; nothing of files' layouts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.measure.compare import SIGMAS
from posert.measure.truths import COUNTS, EXCUSED, Annotated, Truth, read_mot
from posert.poses import Frame, Poses
from posert.runtime.after import post_chain
from posert.runtime.after.options import TrackOptions
from posert.runtime.after.track import SIGMA, box_overlap
from posert.runtime.files.results import read_results
from posert.runtime.loop import estimate_frames
from posert.runtime.media import is_image
from posert.runtime.media.read import expand, frames
from posert.runtime.session import Model

Floats = NDArray[np.float64]
_FIGURES = ("HOTA", "DetA", "AssA", "IDF1", "MOTA")
_SAME = 0.5  # likeness from which somebody found is an excused person
RESULTS = (".jsonl", ".json", ".npz", ".txt")
"""Endings of what `read_tracked` reads."""
_INSTALL = "pip install --no-deps trackeval scipy tabulate"  # it asks for an OpenCV that overwrites the headless one


@dataclass(frozen=True, slots=True)
class TrackScore:
    """The figures: HOTA and its parts (detection, association), IDF1, MOTA, 0..1 (MOTA may be below 0).

    Attributes:
        switches: how often a person's id changes. people, ids: annotated, and found. frames: that were scored.
    """

    hota: float
    deta: float
    assa: float
    idf1: float
    mota: float
    switches: int
    people: int
    ids: int
    frames: int

    def __str__(self) -> str:
        return (
            f"HOTA {self.hota:.3f}  DetA {self.deta:.3f}  AssA {self.assa:.3f}  IDF1 {self.idf1:.3f}  "
            f"MOTA {self.mota:.3f}  ({self.switches} changes of id, {self.ids} ids "
            f"for {self.people} people, {self.frames} frames)"
        )


@dataclass(frozen=True, slots=True)
class Tracked:
    """A video's people as somebody found them: names of the keypoints, frame index -> people with ids."""

    names: tuple[str, ...]
    frames: Mapping[int, Poses]


def track(
    model: Model,
    given: Iterable[Frame],
    on_frame: Callable[[int], None] | None = None,
    tracking: TrackOptions | None = None,
) -> Tracked:
    """The people that a model finds in all frames of one video, with ids."""
    refine = post_chain(model.spec.skeleton, track=True, tracking=tracking)
    found = {}
    for index, (frame, result) in enumerate(estimate_frames(model, iter(given))):
        found[index] = refine(result, frame.bgr).poses
        if on_frame is not None:
            on_frame(index + 1)
    return Tracked(model.spec.skeleton.names, found)


def read_tracked(path: Path) -> Tracked:
    """The people of a file that infer wrote (jsonl, json, npz), or of a tracker's in MOTChallenge's layout (.txt).

    Raises:
        PosertError: it cannot be read, or its people have no ids.
    """
    if path.suffix == ".txt":
        return Tracked((), read_mot(path))
    recording = read_results(path)
    found = {result.frame_index: result.poses for result in recording.results}
    if any(poses.ids is None for poses in found.values() if len(poses)):
        raise PosertError(f"the people in {path} have no ids", "run infer with `track`")
    return Tracked(recording.skeleton.names, found)


def pictures(truth: Truth, images: Path, fps: float) -> Iterator[Frame]:
    """The frames that a truth is about: of a video, or the pictures of a folder as one (at `fps`).

    A folder has the files that the truth names; where it names none, all pictures in it are meant, sorted.
    """
    if not images.is_dir():
        yield from frames(images)
        return
    named = [str(images / name) for name in truth.files]
    for index, file in enumerate(named or [opened for opened, _ in expand(images) if is_image(opened)]):
        for frame in frames(file):
            yield replace(frame, index=index, time_s=index / fps, source=str(images))


def score(pairs: Sequence[tuple[Truth, Tracked]]) -> TrackScore:
    """The figures over one video or several.

    People are as alike as their object keypoint similarity (COCO's, over the annotated keypoints that both name), or as
    their boxes overlap (IoU) where the truth has boxes alone.

    Raises:
        PosertError: trackeval is missing, there is nobody to score, or one id is given twice in a frame.
    """
    try:
        metrics = import_module("trackeval.metrics")
    except ImportError as error:
        raise PosertError(f"the figures of tracks need trackeval: {error}", _INSTALL) from None
    sequences = [_sequence(truth, found) for truth, found in pairs]
    if not sum(each["num_gt_dets"] for each in sequences):
        raise PosertError("nobody is annotated there", "give the truth of this video")
    quiet = {"PRINT_CONFIG": False}
    figures: dict[str, Any] = {}
    for metric in (metrics.HOTA(), metrics.CLEAR(quiet), metrics.Identity(quiet)):
        each = {str(number): metric.eval_sequence(data) for number, data in enumerate(sequences)}
        figures |= metric.combine_sequences(each)
    hota, deta, assa, idf1, mota = (float(np.mean(figures[name])) for name in _FIGURES)
    people, ids, count = (
        sum(each[f"num_{name}"] for each in sequences) for name in ("gt_ids", "tracker_ids", "timesteps")
    )
    return TrackScore(hota, deta, assa, idf1, mota, int(figures["IDSW"]), people, ids, count)


def _sequence(truth: Truth, found: Tracked) -> dict[str, Any]:
    """One video as trackeval's metrics take it, ids counted from 0."""
    own = [found.names.index(name) if name in found.names else -1 for name in truth.names]
    indices = sorted(set(truth.frames) | set(found.frames)) if truth.every else sorted(truth.frames)
    nobody = Annotated(np.zeros(0, np.int32), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int8),
                       np.zeros((0, len(own), 3)))  # fmt: skip
    rows = [_frame(truth.frames.get(index, nobody), found.frames.get(index), own, truth.names) for index in indices]
    wanted, people = _numbered([row[0] for row in rows])
    given, ids = _numbered([row[1] for row in rows])
    return {
        "gt_ids": wanted,
        "tracker_ids": given,
        "similarity_scores": [row[2] for row in rows],
        "num_gt_ids": people,
        "num_tracker_ids": ids,
        "num_gt_dets": sum(map(len, wanted)),
        "num_tracker_dets": sum(map(len, given)),
        "num_timesteps": len(indices),
    }


def _frame(
    there: Annotated, poses: Poses | None, own: Sequence[int], names: Sequence[str]
) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """Ids asked for, ids given and how alike they are f64 [asked,given], without whom it is no fault to find."""
    asked = there.roles == COUNTS
    if poses is None or not len(poses) or poses.ids is None:
        return there.ids[asked], np.zeros(0, np.int32), np.zeros((int(asked.sum()), 0))
    for ids, whose in ((there.ids[asked], "annotated"), (poses.ids, "found")):
        if len(set(ids.tolist())) < len(ids):
            raise PosertError(f"one id stands twice among the people {whose} in one frame", "check the file")
    alike = likeness(there, poses, own, names)
    kept = ~_excused(alike, there, poses)
    return there.ids[asked], poses.ids[kept], alike[asked][:, kept]


def _excused(alike: Floats, there: Annotated, poses: Poses) -> NDArray[np.bool_]:
    """Who of those found is nobody's fault, bool [N]: an excused person, or in a region where nobody is annotated."""
    from scipy.optimize import linear_sum_assignment

    out = np.zeros(len(poses), bool)
    fitting = np.where(alike >= _SAME, alike, 0)
    rows, columns = linear_sum_assignment(-fitting)
    matched = fitting[rows, columns] > 0
    out[columns[matched & (there.roles[rows] == EXCUSED)]] = True
    if there.regions:
        import cv2

        free = np.setdiff1d(np.arange(len(poses)), columns[matched])
        centres = (poses.boxes_xyxy[:, :2] + poses.boxes_xyxy[:, 2:]) / 2
        for person in free:
            x, y = (float(value) for value in centres[person])
            out[person] = any(
                cv2.pointPolygonTest(region.astype(np.float32), (x, y), False) >= 0 for region in there.regions
            )
    return out


def likeness(there: Annotated, poses: Poses, own: Sequence[int], names: Sequence[str]) -> Floats:
    """How alike annotated people and people found are, f64 [N,M], 0..1; `own`: each name's place in `poses`, or -1."""
    both = np.array([k for k, place in enumerate(own) if place >= 0], int)
    if not len(both):
        return box_overlap(there.boxes_xyxy[:, None], poses.boxes_xyxy[None].astype(np.float64))
    wanted, found = there.keypoints[:, both], poses.keypoints[:, np.array(own)[both]].astype(np.float64)
    sigmas = np.array([SIGMAS.get(names[k], SIGMA) for k in both])
    square = ((wanted[:, None, :, :2] - found[None, :, :, :2]) ** 2).sum(axis=3)
    near = np.exp(-square / (2 * (2 * sigmas) ** 2 * np.maximum(there.areas, 1)[:, None, None]))
    counted = (wanted[:, :, 2] > 0)[:, None]
    oks: Floats = (near * counted * (found[None, :, :, 2] > 0)).sum(axis=2) / np.maximum(counted.sum(axis=2), 1)
    return oks


def _numbered(frames: Sequence[NDArray[np.int32]]) -> tuple[list[NDArray[np.intp]], int]:
    """The ids of each frame counted from 0, and how many there are."""
    every, numbers = np.unique(np.concatenate([*frames, np.zeros(0, np.int32)]), return_inverse=True)
    ends = np.cumsum([len(ids) for ids in frames])[:-1]
    return list(np.split(numbers, ends)), len(every)
