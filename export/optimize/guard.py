"""Whether a model in fewer bits is as good as before: the same people on other pictures, or the same AP; and how fast.

Owns what is compared. Knows open models and pictures, nothing of bits.
"""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.export.optimize.pictures import Pictures
from posert.measure.evaluate import evaluate
from posert.measure.tracks import likeness
from posert.measure.truths import COUNTS, Annotated
from posert.poses import Frame, Poses
from posert.runtime.loop import estimate
from posert.runtime.session import Model

ALIKE = 0.9
"""Object-keypoint similarity, or overlap of boxes without keypoints, of people who count as the same."""
POINT = 0.01
"""Of average precision, that may be lost where annotations are given."""
ROOM = 0.5
"""The part of what may be lost that may be lost while searching."""
SURE = 0.2
"""Least score of a keypoint that counts: where nothing is seen, a network's best guess is anywhere."""
_ROUNDS = 25


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a model's people compare with those before.

    Attributes:
        people: how many were found before, and after. again: how many of them are the same.
        ap: average precision before and after, where annotations were given.
        keep: see `optimize`.
    """

    people: tuple[int, int]
    again: int
    keep: float
    ap: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        """Of people who are the same, of those before or after, whichever are more; 0..1."""
        return self.again / max(1, *self.people)

    @property
    def good(self) -> bool:
        """Whether it is good enough."""
        if self.ap is not None:
            return self.ap[1] >= self.ap[0] - POINT
        return self.share >= self.keep

    @property
    def fault(self) -> str:
        """What is wrong with it if it is not."""
        return "finds other people" if self.ap is None else "loses average precision"

    def __str__(self) -> str:
        text = f"{self.people[0]} people before, {self.people[1]} after, {self.again} the same at {ALIKE} "
        text += f"({self.share:.3f}, wanted {self.keep:g})" if self.ap is None else f"({self.share:.3f})"
        return text if self.ap is None else f"{text}; AP {self.ap[0]:.3f} before, {self.ap[1]:.3f} after"


class Guard:
    """The people that a model finds before, and what others find is compared with them.

    Attributes:
        keep: see `optimize`.
    """

    def __init__(
        self, model: Model, pictures: Pictures, coco: Path | None, images: Path | None, keep: float, folder: Path
    ) -> None:
        """Two files of annotations come into `folder`: every other picture of `coco` in each.

        Raises:
            PosertError: the model finds nobody, or the annotations cannot be read.
        """
        self._names, self.keep, self._images = model.spec.skeleton.names, keep, images
        self._judging, self._calibrating = pictures.judging, pictures.calibrating
        self._before, self._known = people_of(model, self._judging), people_of(model, self._calibrating)
        if not self.people or not any(map(len, self._known)):
            raise PosertError(
                f"{model.spec.model} finds nobody in half of the pictures of {pictures.source}",
                "calibrate on pictures of people as the model will see them",
            )
        self._annotated = [] if coco is None or images is None else _halves(model, coco, images, folder)
        self._ap = [self._ap_of(model, number) for number in range(len(self._annotated))]

    @property
    def people(self) -> int:
        """How many were found before in the pictures that judge."""
        return sum(map(len, self._before))

    def judge(self, model: Model) -> Verdict:
        """On pictures that were not used for calibration, and with annotations not for the search."""
        return self._compared(model, 1, self._before, self._judging)

    def while_searching(self, model: Model) -> Verdict:
        """On those that were."""
        return self._compared(model, 0, self._known, self._calibrating)

    def enough(self, verdict: Verdict) -> bool:
        """Whether the search may stop: with some room, because it chooses what suits its own pictures."""
        if verdict.ap is not None:
            return verdict.ap[1] >= verdict.ap[0] - ROOM * POINT
        return verdict.share >= 1 - ROOM * (1 - self.keep)

    def _compared(self, model: Model, number: int, before: list[Poses], pictures: list[Frame]) -> Verdict:
        after = people_of(model, pictures)
        again = sum(same_people(one, other, self._names) for one, other in zip(before, after, strict=True))
        ap = (self._ap[number], self._ap_of(model, number)) if self._ap else None
        return Verdict((sum(map(len, before)), sum(map(len, after))), again, self.keep, ap)

    def _ap_of(self, model: Model, number: int) -> float:
        assert self._images is not None
        return evaluate(model, self._annotated[number], self._images).ap


def _halves(model: Model, coco: Path, images: Path, folder: Path) -> list[Path]:
    """Annotations of every other picture, and those of the others, in files of their own."""
    evaluate(model, coco, images)  # says what is wrong with them
    whole = json.loads(coco.read_bytes())
    files = [folder / f"annotations_{number}.json" for number in range(2)]
    for number, file in enumerate(files):
        pictures = sorted(whole["images"], key=lambda picture: picture["id"])[number::2]
        own = {picture["id"] for picture in pictures}
        people = [person for person in whole["annotations"] if person["image_id"] in own]
        file.write_text(json.dumps({**whole, "images": pictures, "annotations": people}))
    return files


def people_of(model: Model, pictures: Sequence[Frame]) -> list[Poses]:
    """The people of each picture of whom a keypoint is `SURE`, or who have none at all by their kind."""
    found = [result.poses for result in estimate(model, list(pictures))]
    return list(map(_sure, found))


def _sure(poses: Poses) -> Poses:
    if not poses.keypoints.shape[1]:
        return poses
    chosen = np.any(poses.keypoints[:, :, 2] >= SURE, axis=1)
    return Poses(poses.keypoints[chosen], poses.scores[chosen], poses.boxes_xyxy[chosen])


def same_people(before: Poses, after: Poses, names: Sequence[str]) -> int:
    """How many people of one picture are `ALIKE` in another result, each with one person at most.

    The similarity is COCO's, the first result being the truth, by its keypoints that are `SURE`.
    """
    if not len(before) or not len(after):
        return 0
    sides = np.maximum(before.boxes_xyxy[:, 2:] - before.boxes_xyxy[:, :2], 1).astype(np.float64)
    there = Annotated(
        np.arange(1, len(before) + 1, dtype=np.int32), before.boxes_xyxy.astype(np.float64), sides.prod(axis=1),
        np.full(len(before), COUNTS, np.int8), before.keypoints * (before.keypoints[:, :, 2:] >= SURE).astype(float),
    )  # fmt: skip
    alike, count = likeness(there, after, range(len(names)), names), 0
    while alike.size and alike.max() >= ALIKE:
        row, column = np.unravel_index(alike.argmax(), alike.shape)
        alike[row], alike[:, column], count = -1, -1, count + 1
    return count


def medians_ms(models: Sequence[Model], stage: str, tensor: NDArray[Any]) -> list[float]:
    """Milliseconds of one run of each model's network for a tensor, medians of interleaved runs."""
    taken: list[list[float]] = [[] for _ in models]
    for _ in range(_ROUNDS):
        for model, times in zip(models, taken, strict=True):
            began = time.perf_counter()
            model.run(stage, tensor)
            times.append((time.perf_counter() - began) * 1000)
    return [statistics.median(times) for times in taken]
