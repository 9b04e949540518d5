"""Training photos, their labels and the teacher's answers, prepared once.

    python -m posert.export.nano.training.cache

Owns the files of the cache. A first call writes the pictures and their records, then it asks the teacher about one
photo after another; the same call goes on where it was stopped. Training may use a cache before all photos are asked.

    img.npy     u8 [M,S,S,3]     BGR, top left, grey elsewhere
    maps.npy    i8 [M,C,C,56]    the teacher's heatmaps * 127, then PAFs * 127, of the photo scaled by its `ratio`
    asked.npy   u8 [M]           1: `maps` has this photo
    meta.json   per photo: id, file, width, height, ratio, split, turned, people (keypoints [18,3] px, box xywh px),
                crowd (boxes xywh px of people without labels)

Photos whose people lie or stand on their heads are turned by quarters until they are upright, with their labels: the
teacher knows upright people. Crops turn them back.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.export.nano import layout

SIDE = 352  # px, the long side of the training photos
CELLS = 56  # the teacher sees photos with a long side of 8 * CELLS px at most
LARGEST_RATIO = 1.6  # smaller photos would only be blurred
PAD = 110  # grey around photos, the same value as at inference
VALIDATION = 160  # photos held out, to choose checkpoints by

Picture = NDArray[np.uint8]
Record = dict[str, Any]
Maps = NDArray[np.float32]
Teacher = Callable[[Picture], Maps]  # BGR u8 [H,W,3], sides multiples of 8 -> f32 [56,H/8,W/8]


def list_photos(document: Record, seed: int, held_out: int = VALIDATION) -> list[Record]:
    """The photos of a COCO keypoint file by id, with their splits: `val` for a random part, else `train`."""
    images = sorted(document["images"], key=lambda image: int(image["id"]))
    chosen = {image["id"] for image in random.Random(seed).sample(images, held_out)}
    by_image: dict[int, list[Record]] = {}
    for annotation in document["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    return [
        {
            "id": image["id"],
            "file": image["file_name"],
            "split": "val" if image["id"] in chosen else "train",
            **people_of(by_image.get(image["id"], [])),
        }
        for image in images
    ]


def people_of(annotations: list[Record]) -> Record:
    """`people` of a photo, `keypoints` [18,3] and `box` xywh (px) of each, and `crowd`, boxes of unlabelled ones."""
    people, crowd = [], []
    for annotation in annotations:
        if annotation["iscrowd"] or not annotation["num_keypoints"]:
            crowd.append(annotation["bbox"])
            continue
        points = layout.from_coco(np.array(annotation["keypoints"], np.float32).reshape(17, 3))
        people.append({"keypoints": points.round(2).tolist(), "box": annotation["bbox"]})
    return {"people": people, "crowd": crowd}


def read_photo(path: Path) -> Picture:
    """A BGR picture u8 [H,W,3], its long side at most `SIDE`."""
    picture = cv2.imread(str(path))
    if picture is None or max(picture.shape[:2]) > SIDE:
        raise ValueError(f"{path}: expected a picture of at most {SIDE} px (labels are in its pixels)")
    return np.asarray(picture, np.uint8)


def upright_turns(record: Record) -> int:
    """Anticlockwise quarter turns after which the torso of the only labelled person points up; 0 if that is unclear."""
    if len(record["people"]) != 1:
        return 0
    points = np.array(record["people"][0]["keypoints"])
    torso = points[[1, 8, 11]]
    if (torso[:, 2] == 0).any():
        return 0
    across, down = torso[1:, :2].mean(0) - torso[0, :2]  # from the neck to the hips
    return [0, 3, 2, 1][int(np.rint(np.degrees(np.arctan2(across, down)) / 90)) % 4]


def turned(picture: Picture, record: Record, turns: int) -> tuple[Picture, Record]:
    """The picture and its record after anticlockwise quarter turns."""
    height, width = picture.shape[:2]
    people, crowd = record["people"], record["crowd"]
    for _ in range(turns):
        people = [
            {**p, "keypoints": [[y, width - 1 - x, v] if v else [0, 0, 0] for x, y, v in p["keypoints"]]}
            for p in people
        ]
        for person in people:
            person["box"] = _turned_box(person["box"], width)
        crowd = [_turned_box(box, width) for box in crowd]
        height, width = width, height
    return np.ascontiguousarray(np.rot90(picture, turns)), record | {"people": people, "crowd": crowd, "turned": turns}


def _turned_box(box: list[float], width: int) -> list[float]:
    x, y, across, down = box
    return [y, width - x - across, down, across]


def write(out: Path, items: list[tuple[Picture, Record]], side: int) -> None:
    """Write a cache of pictures u8 [H,W,3] and their records, nobody asked yet; the teacher will see `side` px."""
    out.mkdir(parents=True, exist_ok=True)
    count = len(items)
    img = np.lib.format.open_memmap(out / "img.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    records = []
    for index, (picture, record) in enumerate(items):
        height, width = picture.shape[:2]
        ratio = min(side / max(height, width), LARGEST_RATIO)
        records.append(record | {"height": height, "width": width, "ratio": ratio})
        img[index] = PAD
        img[index, :height, :width] = picture
    img.flush()
    np.lib.format.open_memmap(out / "maps.npy", "w+", np.int8, (count, CELLS, CELLS, layout.CHANNELS)).flush()
    np.save(out / "asked.npy", np.zeros(count, np.uint8))
    (out / "meta.json").write_text(json.dumps(records))  # last: a cache without it is begun anew


def ask_all(folder: Path, teacher: Teacher) -> None:
    """Ask the teacher about every photo of a cache that has not been asked yet."""
    img, maps, asked = (np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("img", "maps", "asked"))
    records, started = json.loads((folder / "meta.json").read_text()), time.monotonic()
    for count, index in enumerate(np.flatnonzero(asked == 0)):
        record = records[index]
        picture = img[index, : record["height"], : record["width"]]
        answer = teacher(enlarged(picture, record["ratio"])).transpose(1, 2, 0)
        rows, columns = (min(size, CELLS) for size in answer.shape[:2])
        maps[index, :rows, :columns] = np.clip(np.rint(answer[:rows, :columns] * 127), -127, 127)
        asked[index] = 1
        if count % 100 == 0:
            print(f"{folder}: {int(asked.sum())}/{len(asked)} {time.monotonic() - started:.0f} s", flush=True)


def enlarged(picture: Picture, ratio: float) -> Picture:
    """The picture scaled by `ratio`, its last rows and columns repeated up to a multiple of 8."""
    height, width = (max(1, round(side * ratio)) for side in picture.shape[:2])
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = (-side % layout.STRIDE for side in (height, width))
    return np.asarray(np.pad(scaled, ((0, rows), (0, columns), (0, 0)), "edge"), np.uint8)


def read_turns(path: Path) -> dict[str, int]:
    """Quarter turns by file name, of photos whose best turn is clearly better than the others.

    Lines of a table: file, anticlockwise quarter turns, the four turns' scores.
    """
    turns = {}
    for line in path.read_text().splitlines()[1:]:
        name, best, *scores = line.split("\t")
        ordered = sorted(map(float, scores))
        if ordered[-1] > 0.2 and ordered[-1] > 1.3 * ordered[-2]:
            turns[name] = int(best)
    return turns


def main() -> None:
    """Prepare the cache from the command line."""
    parser = argparse.ArgumentParser(description="Prepare photos, labels and teacher maps for training.")
    parser.add_argument("--labels", type=Path, required=True, help="COCO keypoint annotations")
    parser.add_argument("--images", type=Path, required=True, help="folder of the photos, long side at most 352 px")
    parser.add_argument("--only", default="", help="photos whose name begins so, of PREFIX,PREFIX")
    parser.add_argument("--turns", type=Path, help="table of quarter turns: of photos without labels, only these")
    parser.add_argument("--unlabelled", type=Path, help="names of photos without labels, one a line, to take as well")
    parser.add_argument("--without", type=Path, help="COCO file of a test set: photos whose name is a source of it")
    parser.add_argument("--held-out", type=int, default=VALIDATION, help="photos of the split val")
    parser.add_argument("--side", type=int, default=8 * CELLS, help="long side the teacher sees, px")
    parser.add_argument("--teacher", type=Path, required=True, help="human-pose-estimation-0001 as ONNX")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write-only", action="store_true", help="do not ask the teacher yet")
    arguments = parser.parse_args()
    if not (arguments.out / "meta.json").exists():
        write(arguments.out, _items(arguments), arguments.side)
    if not arguments.write_only:
        from posert.export.nano.training.teacher import open_teacher

        ask_all(arguments.out, open_teacher(arguments.teacher, arguments.threads))


def _items(arguments: argparse.Namespace) -> list[tuple[Picture, Record]]:
    """The pictures and records that the command line asks for."""
    prefixes = tuple(arguments.only.split(","))
    document = json.loads(arguments.labels.read_text())
    document["images"] = [image for image in document["images"] if image["file_name"].startswith(prefixes)]
    photos = list_photos(document, arguments.seed, arguments.held_out)
    turns = read_turns(arguments.turns) if arguments.turns else {}
    test_set = json.loads(arguments.without.read_text())["images"] if arguments.without else []
    kept_out = {image["source"] for image in test_set}
    for name in arguments.unlabelled.read_text().split() if arguments.unlabelled else ():
        if name.startswith(prefixes) and (name in turns or not arguments.turns):
            photos.append({"id": name, "file": name, "split": "train", "people": [], "crowd": [], "unlabelled": True})
    items = []
    for photo in photos:
        if photo["file"] in kept_out:
            continue
        picture = read_photo(arguments.images / photo["file"])
        items.append(turned(picture, photo, turns.get(photo["file"], upright_turns(photo))))
    return items


if __name__ == "__main__":
    main()
