"""COCO's two layouts: results, and a dataset, pictures with the category and annotations. Knows nothing of models.

Unlike the list of results, tools for annotation and training open it: it says what the keypoints are, whatever the
skeleton. Annotations are written as they come, the list of pictures after them; memory does not grow with the video.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, Poses, Result, Skeleton
from posert.runtime.files.atomic import DECIMALS_PX, DECIMALS_SCORE, Write, compact, items, needed, whole_file
from posert.runtime.media import is_image
from posert.runtime.spec import ModelSpec
from posert.skeletons import coco_order

NAME = "person_keypoints_default.json"
_WRITTEN = (".jpg", ".jpeg", ".png")
_SEEN = 2  # COCO: 0 = not labelled, 1 = labelled and hidden, 2 = labelled and seen


@contextmanager
def dataset(path: Path | None, spec: ModelSpec, source: str) -> Iterator[Write]:
    """Writes COCO's folder: pictures in `images/default`, and `annotations/person_keypoints_default.json`.

    `images`: one a frame, frames without people too: `id` (a video's frame index; the last number in a picture's name,
    1 without one), `file_name`, `width`, `height`. `categories`: `person`, with `keypoints` (names) and `skeleton`
    (pairs of their numbers from 1). `annotations`: one a person: `id` from 1, `image_id`, `category_id`, `keypoints`
    (x px, y px, 2 = found; or 0, 0, 0), `num_keypoints`, `bbox` (x, y, width, height), `area` (the box's), `iscrowd`,
    `segmentation` (none), `score`, and with ids `attributes.track_id`.
    """
    title = {"description": f"{spec.model} on {source}"}
    begin = compact({"info": title, "licenses": [], "categories": [category(spec.skeleton)]})[:-1]
    with whole_file(needed(path, "coco-dataset")) as folder, TemporaryFile("w+", encoding="utf-8") as listed:
        images = folder / "images" / "default"
        images.mkdir(parents=True)
        (folder / "annotations").mkdir()
        with (folder / "annotations" / NAME).open("w", encoding="utf-8", newline="\n") as file:
            file.write(begin + ',"annotations":[')
            count = 0

            def write(frame: Frame, result: Result) -> None:
                nonlocal count
                image = image_of(result)
                _write_picture(images / image["file_name"], frame.bgr)
                _add(listed, image, first=not listed.tell())
                for annotation in annotations(result.poses, image["id"]):
                    count += 1
                    _add(file, {"id": count} | annotation, first=count == 1)

            yield write
            file.write('\n],"images":[')
            listed.seek(0)
            shutil.copyfileobj(listed, file)
            file.write("\n]}\n")


def _add(file: TextIO, value: dict[str, Any], *, first: bool) -> None:
    file.write(("\n" if first else ",\n") + compact(value))


def _write_picture(path: Path, bgr: NDArray[np.uint8]) -> None:
    path.write_bytes(cv2.imencode(path.suffix, bgr)[1].tobytes())


def category(skeleton: Skeleton) -> dict[str, Any]:
    """COCO's category of a skeleton; its edges count from 1.

    >>> category(Skeleton(("head", "hip"), ((0, 1),)))["skeleton"]
    [[1, 2]]
    """
    edges = [[a + 1, b + 1] for a, b in skeleton.edges]
    return {"id": 1, "name": "person", "supercategory": "person", "keypoints": skeleton.names, "skeleton": edges}


def image_of(result: Result) -> dict[str, Any]:
    """COCO's record of a frame: a picture keeps its name and the number in it, if OpenCV writes such pictures well.

    Frames of a video are called `frame_000012.jpg`; so are all but the first of a picture that holds several.
    """
    name, (width, height) = Path(result.source), result.size_wh
    number, called = result.frame_index, f"frame_{result.frame_index:06d}.jpg"
    if is_image(result.source):
        own = _numbers(result.source)
        number += int(own[-1]) if own else 1
        if not result.frame_index:
            called = name.name if name.suffix.lower() in _WRITTEN else f"{name.stem}.jpg"
    return {"id": number, "file_name": called, "width": width, "height": height}


def annotations(poses: Poses, number: int) -> Iterator[dict[str, Any]]:
    """COCO's records of the people of a frame, but for their `id`."""
    found = poses.keypoints[:, :, 2:] > 0
    points = np.where(found, poses.keypoints[:, :, :2].astype(np.float64).round(DECIMALS_PX), 0)
    triples = np.concatenate([points, np.where(found, _SEEN, 0)], axis=2)
    boxes = poses.boxes_xyxy.astype(np.float64).round(DECIMALS_PX)
    sizes = (boxes[:, 2:] - boxes[:, :2]).round(DECIMALS_PX)
    for person in range(len(poses)):
        known = {} if poses.ids is None else {"attributes": {"track_id": int(poses.ids[person])}}
        yield {
            "image_id": number,
            "category_id": 1,
            "keypoints": triples[person].ravel().tolist(),
            "num_keypoints": int(found[person].sum()),
            "bbox": [*boxes[person, :2].tolist(), *sizes[person].tolist()],
            "area": round(float(sizes[person].prod()), DECIMALS_PX),
            "iscrowd": 0,
            "segmentation": [],
            "score": round(float(poses.scores[person]), DECIMALS_SCORE),
        } | known


def coco_results(poses: Poses, image_id: int, order: list[int]) -> list[dict[str, Any]]:
    """The people of one picture as COCO results: 17 x (x px, y px, score) by `coco_order`, and the person's score."""
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": points[order].round(2).ravel().tolist(),
            "score": score,
        }
        for points, score in zip(poses.keypoints.astype(np.float64), poses.scores.tolist(), strict=True)
    ]


@contextmanager
def coco(path: Path | None, spec: ModelSpec, source: str) -> Iterator[Write]:
    """Writes COCO keypoint results; `image_id` is the last number in a picture's name, a video's frame index.

    Raises:
        PosertError: the skeleton lacks keypoints of COCO, or a picture's name has no number.
    """
    order, number = coco_order(spec.skeleton), _numbers(source)
    if is_image(source) and not number:
        raise PosertError(f"the picture {source} has no number in its name", "COCO results name pictures by number")
    with items(needed(path, "coco")) as add:

        def write(_: Frame, result: Result) -> None:
            image_id = int(number[-1]) if is_image(source) else result.frame_index
            for record in coco_results(result.poses, image_id, order):
                add(compact(record))

        yield write


def _numbers(source: str) -> list[str]:
    return "".join(c if c.isdecimal() else " " for c in Path(source).stem).split()
