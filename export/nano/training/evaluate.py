"""How well a model does where `posert eval` does not ask: the drawn clip, nobody there, people who lie, crowds.

numpy and OpenCV beside the runtime; no torch. Crowds alone need the `eval` extra.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.export.nano import clip, layout
from posert.export.nano.figures import Picture
from posert.export.nano.training import drawn
from posert.measure.evaluate import Score
from posert.measure.evaluate import evaluate as score
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


def share_found(find: Find, labels: Path, images: Path) -> dict[str, tuple[int, int]]:
    """People found and people labelled, by `kind` of picture: found are those like somebody of the model's by `SAME`.

    `labels` is a COCO keypoint file whose images have a `kind`; how many more the model finds does not count.
    """
    document = json.loads(labels.read_text())
    shares: dict[str, tuple[int, int]] = {}
    for image in document["images"]:
        people = [annotation for annotation in document["annotations"] if annotation["image_id"] == image["id"]]
        points = np.array([person["keypoints"] for person in people], np.float32).reshape(-1, 17, 3)
        truth = Truth(np.stack([layout.from_coco(one) for one in points]), np.array([p["area"] for p in people]))
        (poses,) = find([np.asarray(cv2.imread(str(images / image["file_name"])), np.uint8)])
        best = similarity(truth, poses, hidden=True).max(axis=1, initial=0)
        found, labelled = shares.get(image["kind"], (0, 0))
        shares[image["kind"]] = found + int((best >= SAME).sum()), labelled + len(people)
    return shares


def false_people_in_photos(find: Find, labels: Path, images: Path, seed: int = 0) -> float:
    """People found per photo crop that no labelled box touches: the largest of 40 random ones of each photo, if any."""
    document, rng = json.loads(labels.read_text()), np.random.default_rng(seed)
    crops = []
    for image in document["images"]:
        boxes = np.array([a["bbox"] for a in document["annotations"] if a["image_id"] == image["id"]]).reshape(-1, 4)
        picture = np.asarray(cv2.imread(str(images / image["file_name"])), np.uint8)
        height, width = picture.shape[:2]
        sides = np.sort(rng.uniform(0.3, 0.95, 40))[::-1] * min(height, width)
        corners = rng.uniform(0, 1, (40, 2)) * (width, height)
        for side, (x, y) in zip(sides, corners, strict=True):
            left, top = x * (1 - side / width), y * (1 - side / height)
            apart = (boxes[:, 0] > left + side) | (boxes[:, 0] + boxes[:, 2] < left)
            apart |= (boxes[:, 1] > top + side) | (boxes[:, 1] + boxes[:, 3] < top)
            if apart.all():
                crops.append(picture[int(top) : int(top + side), int(left) : int(left + side)])
                break
    return sum(len(poses) for poses in find(crops)) / max(len(crops), 1)


def crowds(document: dict[str, Any], least: int) -> dict[str, Any]:
    """The part of a COCO keypoint file whose photos have at least `least` people with keypoints."""
    people = Counter(a["image_id"] for a in document["annotations"] if a["num_keypoints"] and not a["iscrowd"])
    kept = {image for image, count in people.items() if count >= least}
    return document | {
        "images": [image for image in document["images"] if image["id"] in kept],
        "annotations": [a for a in document["annotations"] if a["image_id"] in kept],
    }


def on_crowds(model: Model, labels: Path, images: Path, least: int) -> Score:
    """COCO's figures on those photos."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "crowds.json"
        part.write_text(json.dumps(crowds(json.loads(labels.read_text()), least)))
        return score(model, part, images)


def main() -> None:
    """Measure a model from the command line."""
    parser = argparse.ArgumentParser(description="Measure a model where posert eval does not ask.")
    parser.add_argument("model", help="an .onnx file, or: nano")
    parser.add_argument("--step", type=int, default=4, help="every so many frames of the clip")
    parser.add_argument("--lying", type=Path, help="COCO keypoint file of people who lie: tests/lying.json")
    parser.add_argument("--nobody", type=Path, help="COCO keypoint file of photos: crops of them with nobody in them")
    parser.add_argument("--crowds", type=Path, help="COCO keypoint file of photos: those with many people")
    parser.add_argument("--least", type=int, default=5, help="many: at least so many people with keypoints")
    parser.add_argument("--images", type=Path, help="folder of the photos of --lying, --nobody or --crowds")
    parser.add_argument("--long-edge", type=int, default=0, help="long side of the network's input, px; 0: its own")
    arguments = parser.parse_args()
    with open_model(arguments.model, device="cpu", threads=1, long_edge=arguments.long_edge) as model:
        find = find_with(model)
        if arguments.crowds:
            print(on_crowds(model, arguments.crowds, arguments.images, arguments.least))
            return
        if arguments.lying:
            shares = share_found(find, arguments.lying, arguments.images)
            found, people = np.sum(list(shares.values()), axis=0)
            print(f"people who lie, found: {found / people:.3f} of {people}", shares)
            return
        if arguments.nobody:
            print(f"false people a photo crop: {false_people_in_photos(find, arguments.nobody, arguments.images):.3f}")
            return
        every, shown = (on_clip(find, arguments.step, hidden=hidden) for hidden in (True, False))
        print(f"changes of id on the clip: {id_changes(clip_truth(), tracked_clip(model))}")
        print(f"clip AP {every:.3f}, over seen keypoints {shown:.3f}")
        print(f"false people a drawn picture: {false_people(find):.2f}")


if __name__ == "__main__":
    main()
