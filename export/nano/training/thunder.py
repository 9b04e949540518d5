"""The second teacher, MoveNet Thunder (Apache-2.0), on each person's crop: joints and people that labels lack.

    python -m posert.export.nano.training.thunder CACHE --thunder THUNDER.onnx --detector YOLOX-NANO.onnx

Owns what is added to a cache's records, once: faces to people labelled without one; people where a box is known but no
keypoints, or where the detector sees somebody on a photo without labels. A box that lies is asked in four turns, and
the surest answer counts. Whom Thunder is not sure of stays a box (`crowd`), which costs nothing in training.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from posert.export.nano import layout
from posert.export.nano.training.cache import Picture, Record
from posert.export.nano.training.crops import FACE
from posert.poses import Frame
from posert.runtime.loop import estimate
from posert.runtime.session import open_model

SIDE = 256  # px, what Thunder sees
ROOM = 1.25  # side of its square crop by the box's long side
SURE = 0.4  # least mean score of a person: of people of COCO from 64 px on, 93 in 100 then have an OKS of .5 and more
JOINT = 0.3  # least score of one joint: from .2 to .3 the mean OKS of a joint is .50, from .3 to .4 it is .64
SMALLEST = 48  # px, long side of a box worth asking about
SEEN = 0.35  # least score of the detector's boxes
TURNS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # cosine and sine of anticlockwise quarter turns

Points = NDArray[np.float64]
Ask = Callable[[Picture, list[float], int], Points]


def open_thunder(path: Path) -> Ask:
    """A function of a picture, a box (xywh px) and quarter turns: COCO keypoints f64 [17,3], px and score."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    network = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = network.get_inputs()[0].name

    def ask(picture: Picture, box: list[float], turns: int) -> Points:
        linear, shift = window(box, turns)
        crop = cv2.warpAffine(picture, np.c_[linear, shift], (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        (rows,) = network.run(None, {name: crop[None, :, :, ::-1].astype(np.int32)})
        y, x, score = rows.reshape(17, 3).T.astype(np.float64)
        points = np.stack([x, y], axis=1) * SIDE - 0.5
        return np.asarray(np.c_[(points - shift) @ np.linalg.inv(linear).T, score])

    return ask


def window(box: list[float], turns: int) -> tuple[Points, Points]:
    """The square around a box after quarter turns: `crop_px = linear @ photo_px + shift`."""
    x, y, width, height = box
    (cosine, sine), scale = TURNS[turns % 4], SIDE / (ROOM * max(width, height))
    linear = scale * np.array([[cosine, sine], [-sine, cosine]])
    return linear, (SIDE - 1) / 2 - linear @ [x + width / 2 - 0.5, y + height / 2 - 0.5]


def surest(ask: Ask, picture: Picture, box: list[float]) -> Points:
    """Thunder's answer as the picture is or, if the box is no upright one, in the best of four turns."""
    turns = range(4) if box[2] > 0.8 * box[3] else range(1)
    answers = [ask(picture, box, turn) for turn in turns]
    return max(answers, key=lambda points: float(points[:, 2].mean()))


def labelled(points: Points) -> NDArray[np.float32]:
    """Keypoints f32 [18,3] of layout's order of Thunder's, where it is sure enough of them."""
    coco = np.array(points, np.float32)
    coco[:, 2] = 2 * (coco[:, 2] >= JOINT)
    return layout.from_coco(coco)


def completed(record: Record, picture: Picture, boxes: list[list[float]], ask: Ask) -> Record:
    """The record with Thunder's people and joints; `boxes` (xywh px) are of people nobody labelled."""
    people, crowd = [], []
    for person in record["people"]:
        points = np.array(person["keypoints"], np.float32)
        if not points[list(FACE), 2].any() and person.get("teacher") != 0:
            points[list(FACE)] = labelled(ask(picture, person["box"], 0))[list(FACE)]
            person = person | {"keypoints": points.round(2).tolist()}
        people.append(person)
    for box in boxes:
        answer = surest(ask, picture, box) if max(box[2:]) >= SMALLEST else np.zeros((17, 3))
        if answer[:, 2].mean() >= SURE:
            people.append({"keypoints": labelled(answer).round(2).tolist(), "box": list(box), "by": "thunder"})
        else:
            crowd.append(list(box))
    return record | {"people": people, "crowd": crowd}


def complete(folder: Path, ask: Ask, detect: Callable[[Picture], list[list[float]]]) -> dict[str, int]:
    """Complete all records of a cache; how many people and faces there were before and are now."""
    records: list[dict[str, Any]] = json.loads((folder / "meta.json").read_text())
    pictures, started, before = np.load(folder / "img.npy", mmap_mode="r"), time.monotonic(), counted(records)
    for place, record in enumerate(records):
        picture = np.ascontiguousarray(pictures[place, : record["height"], : record["width"]])
        unlabelled = bool(record.get("unlabelled"))
        records[place] = completed(record, picture, detect(picture) if unlabelled else record["crowd"], ask)
        if unlabelled and records[place]["people"]:
            del records[place]["unlabelled"]  # there is something to train on, also before the first teacher is asked
        if place % 200 == 0:
            print(f"{folder}: {place}/{len(records)} {time.monotonic() - started:.0f} s", flush=True)
    (folder / "meta.json").write_text(json.dumps(records))
    return {f"{what} before": count for what, count in before.items()} | counted(records)


def counted(records: list[dict[str, Any]]) -> dict[str, int]:
    """People, those with a face, and boxes without keypoints."""
    people = [np.array(person["keypoints"]) for record in records for person in record["people"]]
    return {
        "people": len(people),
        "faces": sum(bool(points[list(FACE), 2].any()) for points in people),
        "boxes": sum(len(record["crowd"]) for record in records),
    }


def main() -> None:
    """Complete a cache from the command line."""
    parser = argparse.ArgumentParser(description="Label people in a cache by MoveNet Thunder.")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--thunder", type=Path, required=True, help="movenet-thunder as ONNX")
    parser.add_argument("--detector", type=Path, required=True, help="yolox-nano as ONNX")
    arguments = parser.parse_args()
    with open_model(arguments.detector, device="cpu", threads=1) as detector:

        def detect(picture: Picture) -> list[list[float]]:
            (result,) = estimate(detector, [Frame(picture, 0, 0.0, "photo")])
            seen = result.poses.boxes_xyxy[result.poses.scores >= SEEN].astype(float)
            boxes: list[list[float]] = np.c_[seen[:, :2], seen[:, 2:] - seen[:, :2]].round(2).tolist()
            return boxes

        print(complete(arguments.cache, open_thunder(arguments.thunder), detect))


if __name__ == "__main__":
    main()
