"""How well a model does on what we draw: keypoint AP on the clip, false people on pictures without any.

Photos are measured by `posert eval`. numpy and OpenCV beside the runtime; no torch, no pycocotools.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posert.export.nano import clip, layout
from posert.export.nano.figures import Picture
from posert.export.nano.training import drawn
from posert.poses import Frame, Poses
from posert.runtime.after.track import Tracker
from posert.runtime.loop import estimate, estimate_frames
from posert.runtime.session import Model, open_model

THRESHOLDS = np.arange(0.5, 1.0, 0.05)  # COCO's
RECALLS = np.linspace(0, 1, 101)
SAME = 0.5  # object-keypoint similarity from which a person found is taken for a figure
LEAST_SEEN = 5  # a figure with fewer seen keypoints in a frame is neither asked for nor held against the model

Find = Callable[[Iterable[Picture]], list[Poses]]


@dataclass(frozen=True, slots=True)
class Truth:
    """The figures of one frame: keypoints f32 [N,18,3] as `clip.render` gives them, areas px f64 [N]."""

    keypoints: NDArray[np.float32]
    areas: NDArray[np.float64]


def _as_frames(pictures: Iterable[Picture]) -> Iterator[Frame]:
    return (Frame(picture, index, index / clip.FPS, "drawn") for index, picture in enumerate(pictures))


def find_with(model: Model) -> Find:
    """A function of BGR pictures: the people of each."""

    def find(pictures: Iterable[Picture]) -> list[Poses]:
        return [result.poses for result in estimate(model, _as_frames(pictures))]

    return find


def similarity(truth: Truth, poses: Poses, *, hidden: bool) -> NDArray[np.float64]:
    """Object-keypoint similarity f64 [figures, people], 0..1, over the seen keypoints or, if `hidden`, over all."""
    counted = truth.keypoints[:, :, 2] > (0 if hidden else 0.5)
    apart = truth.keypoints[:, None, :, :2] - poses.keypoints[None, :, :, :2]
    spread = 2 * np.array(layout.SKELETON.sigmas)
    error = np.square(apart).sum(axis=3) / (2 * truth.areas[:, None, None] * spread**2)
    alike = np.exp(-error) * counted[:, None] * (poses.keypoints[None, :, :, 2] > 0)
    return np.asarray(alike.sum(axis=2) / np.maximum(counted.sum(axis=1), 1)[:, None])


def average_precision(truths: Sequence[Truth], found: Sequence[Poses], *, hidden: bool = True) -> float:
    """COCO's AP over OKS .50 to .95: people by falling score, each takes the free figure most like it."""
    alike = [similarity(truth, poses, hidden=hidden) for truth, poses in zip(truths, found, strict=True)]
    return float(np.mean([_precision(threshold, truths, found, alike) for threshold in THRESHOLDS]))


def _precision(
    threshold: float, truths: Sequence[Truth], found: Sequence[Poses], alike: list[NDArray[np.float64]]
) -> float:
    """AP at one threshold, at 101 recalls."""
    scores: list[float] = []
    right: list[bool] = []
    asked = 0
    for truth, poses, table in zip(truths, found, alike, strict=True):
        wanted = (truth.keypoints[:, :, 2] > 0.5).sum(axis=1) >= LEAST_SEEN
        asked += int(wanted.sum())
        free = np.ones(len(wanted), bool)
        for person in np.argsort(-poses.scores, kind="stable"):
            match = _best(table[:, person], free & wanted, threshold)
            if match is None and _best(table[:, person], free & ~wanted, threshold) is not None:
                continue
            scores.append(float(poses.scores[person]))
            right.append(match is not None)
            if match is not None:
                free[match] = False
    order = np.argsort(-np.array(scores), kind="stable")
    hits = np.cumsum(np.array(right, bool)[order])
    if not len(hits):
        return 0.0
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(hits / max(asked, 1), RECALLS, side="left")
    return float(np.where(places < len(hits), precision[np.minimum(places, len(hits) - 1)], 0).mean())


def _best(row: NDArray[np.float64], allowed: NDArray[np.bool_], threshold: float) -> int | None:
    """The allowed figure most like this person, if it reaches the threshold."""
    values = np.where(allowed, row, -1)
    best = int(values.argmax()) if len(values) else -1
    return best if best >= 0 and values[best] >= threshold else None


def clip_truth(step: int = 1) -> list[Truth]:
    """The truth of every `step`-th frame of the clip."""
    return [Truth(clip.render(i)[1], clip.areas(i)) for i in range(0, clip.FRAMES, step)]


def on_clip(find: Find, step: int = 1, *, hidden: bool = True) -> float:
    """AP on every `step`-th frame of the clip."""
    found = find(clip.render(i)[0] for i in range(0, clip.FRAMES, step))
    return average_precision(clip_truth(step), found, hidden=hidden)


def id_changes(truths: Sequence[Truth], tracked: Sequence[Poses]) -> int:
    """How often a figure gets another id than before, over all frames in order.

    In each frame the figures and the people found go together by falling similarity, down to .5.
    """
    last: dict[int, int] = {}
    changes = 0
    for truth, poses in zip(truths, tracked, strict=True):
        alike = similarity(truth, poses, hidden=True)
        while alike.size and alike.max() >= SAME:
            figure, person = np.unravel_index(int(alike.argmax()), alike.shape)
            name = int(poses.ids[person]) if poses.ids is not None else 0
            changes += last.get(int(figure), name) != name
            last[int(figure)] = name
            alike[figure], alike[:, person] = -1, -1
    return changes


def tracked_clip(model: Model) -> list[Poses]:
    """The people of every frame of the clip, with ids."""
    track, found = Tracker(model.spec.skeleton), []
    pictures = (clip.render(index)[0] for index in range(clip.FRAMES))
    for frame, result in estimate_frames(model, _as_frames(pictures)):
        found.append(track(result.poses, frame.time_s, frame.bgr))
    return found


def false_people(find: Find, count: int = 100, seed: int = 1000) -> float:
    """People found per drawn picture with nobody in it."""
    rooms = (drawn.room(np.random.default_rng([seed, i]), (640, 480)) for i in range(count))
    return sum(len(poses) for poses in find(rooms)) / count


def main() -> None:
    """Measure a model from the command line."""
    parser = argparse.ArgumentParser(description="Measure a model on what we draw.")
    parser.add_argument("model", help="an .onnx file, or: nano")
    parser.add_argument("--step", type=int, default=4, help="every so many frames of the clip")
    arguments = parser.parse_args()
    with open_model(arguments.model, device="cpu", threads=1) as model:
        find = find_with(model)
        every, shown = (on_clip(find, arguments.step, hidden=hidden) for hidden in (True, False))
        print(f"changes of id on the clip: {id_changes(clip_truth(), tracked_clip(model))}")
        print(f"clip AP {every:.3f}, over seen keypoints {shown:.3f}")
        print(f"false people a drawn picture: {false_people(find):.2f}")


if __name__ == "__main__":
    main()
