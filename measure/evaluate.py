"""OKS average precision on a COCO keypoint file. Owns the scoring, not the people; needs the `eval` extra."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError, optional
from posert.runtime.files.dataset import coco_results
from posert.runtime.loop import TopDown, estimate_frames
from posert.runtime.media.read import frames
from posert.runtime.session import Model
from posert.skeletons import coco_order
from posert.typed import Misfit, Px, Range, read


class _Picture(TypedDict):
    id: int
    file_name: str


class _Person(TypedDict):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[Px, Px, Px, Px]
    area: Annotated[float, Range(0, 1e18)]
    keypoints: tuple[Px, ...]
    num_keypoints: int
    iscrowd: int


class _Category(TypedDict):
    id: int


class _Coco(TypedDict):
    """What the scoring reads of a COCO keypoint file."""

    images: tuple[_Picture, ...]
    annotations: tuple[_Person, ...]
    categories: tuple[_Category, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """COCO's figures, 0..1: AP over OKS .50 to .95, AP at .50, AP of medium and large people, average recall."""

    ap: float
    ap50: float
    ap_medium: float
    ap_large: float
    ar: float
    images: int
    people: int

    def __str__(self) -> str:
        return (
            f"AP {self.ap:.3f}  AP50 {self.ap50:.3f}  AP medium {self.ap_medium:.3f}  AP large {self.ap_large:.3f}  "
            f"AR {self.ar:.3f}  ({self.images} images, {self.people} people)"
        )


def evaluate(
    model: Model,
    annotations: Path,
    images: Path,
    *,
    ground_truth_boxes: bool = False,
    flip: bool = False,
    on_image: Callable[[int], None] | None = None,
) -> Score:
    """COCO keypoint AP of a model.

    Args:
        annotations: COCO keypoint file.
        images: folder of the pictures it names.
        ground_truth_boxes: look at the annotated boxes instead of finding people; for models that look at boxes or
            follow one person.
        flip: average with the mirrored pictures, for models that look at boxes.
        on_image: called after each picture with the number done.

    Raises:
        PosertError: pycocotools is missing, a file cannot be read, or the skeleton lacks COCO's keypoints.
    """
    coco = optional("pycocotools.coco", "eval needs pycocotools", "eval")
    scoring = optional("pycocotools.cocoeval", "eval needs pycocotools", "eval")
    order = coco_order(model.spec.skeleton)
    quiet = redirect_stdout(io.StringIO())  # pycocotools prints its progress; the caller prints its own
    try:
        given: _Coco = read(_Coco, json.loads(annotations.read_bytes()), "coco")
        for person in given["annotations"]:
            if len(person["keypoints"]) != 3 * len(order):
                raise Misfit(f"keypoints of {person['id']}", f"{3 * len(order)} numbers", person["keypoints"])
    except (OSError, ValueError, RecursionError) as error:
        hint = "give person_keypoints_*.json"
        raise PosertError(f"{annotations} is not a COCO keypoint file: {error}", hint) from None
    with quiet:
        truth = coco.COCO(str(annotations))
    results: list[dict[str, Any]] = []
    pictures = truth.loadImgs(sorted(truth.getImgIds()))
    by_path = {str(images / picture["file_name"]): picture["id"] for picture in pictures}
    source = (frame for path in by_path for frame in frames(path))
    lookup = (lambda frame: _boxes(truth, by_path[frame.source])) if ground_truth_boxes else None
    pairs = estimate_frames(model, source, boxes=lookup, top_down=TopDown(flip=flip))
    for done, (frame, result) in enumerate(pairs, 1):
        results += coco_results(result.poses, by_path[frame.source], order)
        if on_image is not None:
            on_image(done)
    if not results:
        return Score(0, 0, 0, 0, 0, len(by_path), 0)
    with quiet:
        scored = scoring.COCOeval(truth, truth.loadRes(results), "keypoints")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    ap, ap50, _, medium, large, ar = (float(value) for value in scored.stats[:6])
    return Score(ap, ap50, medium, large, ar, len(by_path), len(results))


def _boxes(truth: Any, image_id: int) -> NDArray[np.float32]:
    people = truth.loadAnns(truth.getAnnIds(imgIds=[image_id], iscrowd=False))
    rows = [person["bbox"] for person in people if person.get("num_keypoints", 0) > 0]
    xywh = np.array(rows, np.float32).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
