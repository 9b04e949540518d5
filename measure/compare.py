"""Several models on the same frames: how many people, how steady, how fast, and how far they agree.

Owns these figures. Knows results, models and skeletons; pages and pictures of them are made elsewhere.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.poses import Frame, Poses, Result, Skeleton
from posert.runtime.after import post_chain
from posert.runtime.after.options import TrackOptions
from posert.runtime.loop import estimate_frames
from posert.runtime.session import Model
from posert.skeletons import COCO_17, OPENPOSE_18

SIGMAS = dict(zip(OPENPOSE_18.names, OPENPOSE_18.sigmas, strict=True)) | dict(
    zip(COCO_17.names, COCO_17.sigmas, strict=True)
)
"""Keypoint -> COCO's constant of object-keypoint similarity; keypoints without one do not count."""


@dataclass(frozen=True, slots=True)
class Run:
    """One model on the frames of one source, in order: results with ids, and the seconds from the first to the last."""

    results: list[Result]
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run says of a model.

    Attributes:
        people: in a frame, the mean. missing: share of keypoints of the people found that were not, 0..1.
        jitter: how far a keypoint is from the middle of its places a frame before and after, median, in shares of the
            person's height; NaN without three frames of anybody.
        steps_ms: milliseconds a frame by step, medians. frames_a_second: reading and everything else included.
    """

    people: float
    missing: float
    jitter: float
    steps_ms: dict[str, float]
    frames_a_second: float


def run(
    model: Model,
    frames: Iterable[Frame],
    on_frame: Callable[[int], None] | None = None,
    tracking: TrackOptions | None = None,
) -> Run:
    """The people that a model finds in all frames of one source, followed by ids."""
    refine = post_chain(model.spec.skeleton, track=True, tracking=tracking)
    results: list[Result] = []
    began = time.monotonic()
    with closing(estimate_frames(model, iter(frames))) as pairs:
        for frame, found in pairs:
            results.append(replace(refine(found, frame.bgr), source=frame.source))
            if on_frame is not None:
                on_frame(len(results))
    return Run(results, time.monotonic() - began)


def figures(runs: Sequence[Run]) -> Figures:
    """The figures of one model over all its runs."""
    results = [result for run in runs for result in run.results]
    people = sum(len(result.poses) for result in results)
    scores = [result.poses.keypoints[:, :, 2] for result in results if len(result.poses)]
    moved = np.concatenate([np.zeros(0), *(jitter(run.results) for run in runs)])
    steps = list(dict.fromkeys(name for result in results for name in result.timings_ms))
    return Figures(
        people / max(1, len(results)),
        float(np.mean([np.mean(score == 0) for score in scores])) if scores else 0.0,
        float(np.median(moved)) if len(moved) else float("nan"),
        {name: float(np.median([r.timings_ms.get(name, 0.0) for r in results])) for name in steps},
        len(results) / max(1e-9, sum(run.seconds for run in runs)),
    )


def jitter(results: Sequence[Result]) -> NDArray[np.float64]:
    """Of every keypoint that was found in three frames in a row the way to the middle of its neighbours in time, in
    shares of the person's height."""
    found = [np.zeros(0)]
    for before, now, after in zip(results, results[1:], results[2:], strict=False):
        rows = [
            {} if r.poses.ids is None else {key: i for i, key in enumerate(r.poses.ids.tolist())}
            for r in (before, now, after)
        ]
        for key in rows[1].keys() & rows[0].keys() & rows[2].keys():
            one, two, three = (r.poses.keypoints[row[key]] for r, row in zip((before, now, after), rows, strict=True))
            box = now.poses.boxes_xyxy[rows[1][key]]
            there = (one[:, 2] > 0) & (two[:, 2] > 0) & (three[:, 2] > 0)
            way = np.linalg.norm(two[there, :2] - (one[there, :2] + three[there, :2]) / 2, axis=1)
            found.append(way.astype(np.float64) / max(1.0, float(box[3] - box[1])))
    return np.concatenate(found)


def agreement(
    one: Sequence[Result], other: Sequence[Result], skeletons: tuple[Skeleton, Skeleton]
) -> NDArray[np.float64]:
    """How far two models agree in each frame, f64 [T], 0..1: the similarity (OKS) of the people that belong together,
    those most alike first, summed and divided by the larger number of people; 1 where both found nobody.

    Keypoints are those that both skeletons name and COCO has a constant for.
    """
    names = [name for name in skeletons[0].names if name in skeletons[1].names and name in SIGMAS]
    columns = [[skeleton.names.index(name) for name in names] for skeleton in skeletons]
    variance = (2 * np.array([SIGMAS[name] for name in names])) ** 2
    return np.array([
        _alike(a.poses, b.poses, columns, variance) for a, b in zip(one, other, strict=True)
    ])  # fmt: skip


def _alike(one: Poses, other: Poses, columns: list[list[int]], variance: NDArray[np.float64]) -> float:
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    a, b = (poses.keypoints[:, rows].astype(np.float64) for poses, rows in zip((one, other), columns, strict=True))
    sizes = [np.prod(p.boxes_xyxy[:, 2:] - p.boxes_xyxy[:, :2], axis=1).astype(np.float64) for p in (one, other)]
    area = np.maximum((sizes[0][:, None] + sizes[1]) / 2, 1.0)
    both = (a[:, None, :, 2] > 0) & (b[None, :, :, 2] > 0)
    either = (a[:, None, :, 2] > 0) | (b[None, :, :, 2] > 0)
    square = ((a[:, None, :, :2] - b[None, :, :, :2]) ** 2).sum(axis=3)
    oks = (np.exp(-square / (2 * variance * area[:, :, None])) * both).sum(axis=2) / np.maximum(either.sum(axis=2), 1)
    total = 0.0
    for _ in range(min(oks.shape)):
        row, column = np.unravel_index(oks.argmax(), oks.shape)
        total += float(oks[row, column])
        oks[row], oks[:, column] = -1, -1
    return float(total / max(oks.shape))


def as_record(found: Figures) -> dict[str, Any]:
    """The figures for JSON: None for what is not known."""
    return asdict(found) | {"jitter": None if np.isnan(found.jitter) else found.jitter}
