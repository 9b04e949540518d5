"""Training photos, their labels and the teacher's answers, prepared once.

    python -m posert.export.nano.training.cache

Owns the files of the cache. The teacher (openvino human-pose-estimation-0001 as ONNX, Apache-2.0) is asked about each
photo and its mirror image; its maps are averaged over both, its inner features become a hint of a few principal
components. Values are stored as int8: the cache is small enough to stay in memory.

    img.npy     u8 [M,S,S,3]     BGR, top left, grey elsewhere
    maps.npy    i8 [M,C,56,C]    heatmaps * 127, then PAFs * 127; C = S / 8, laid out [M,row,column,channel]
    hint.npy    i8 [M,2,C,C,F]   principal components of the teacher's features, of the photo and of its mirror image
    meta.json   per photo: id, width, height, split, people (keypoints [18,3] px, box xywh px)
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.export.nano import layout

SIDE = 352  # px, the long side of the training photos
CELLS = SIDE // layout.STRIDE
HINT_CHANNELS = 48
HINT_STEPS = 80.0  # int8 steps per unit of the hint
PAD = 110  # grey around photos, the same value as at inference
VALIDATION = 160  # photos held out, to choose checkpoints by
_HEAT, _PAF, _FEATURES = "Mconv7_stage2_L2", "Mconv7_stage2_L1", "relu4_4_CPM"

BASIS = 60  # photos the principal components are taken from

Maps = NDArray[np.float32]
Picture = NDArray[np.uint8]
Record = dict[str, Any]
Teacher = Callable[[Picture], tuple[Maps, Maps]]
Ask = Callable[[Picture], tuple[Maps, Maps]]


def open_teacher(path: Path, threads: int) -> Teacher:
    """A function of a BGR picture u8 [H,W,3]: maps f32 [56,H/8,W/8] and features f32 [128,H/8,W/8]."""
    import onnx
    import onnxruntime as ort

    graph = onnx.load(path)
    graph.graph.output.append(onnx.helper.make_tensor_value_info(_FEATURES, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def ask(picture: Picture) -> tuple[Maps, Maps]:
        tensor = picture.transpose(2, 0, 1)[None].astype(np.float32)
        heat, paf, features = session.run([_HEAT, _PAF, _FEATURES], {name: tensor})
        return np.concatenate([heat[0, : layout.KEYPOINTS], paf[0]]), features[0]

    return ask


def both_sides(teacher: Teacher, picture: Picture) -> tuple[Maps, Maps]:
    """Maps f32 [56,H,W] averaged over mirroring, and features f32 [2,128,H,W] of the picture and its mirror image."""
    maps, features = teacher(picture)
    mirrored_maps, mirrored_features = teacher(np.ascontiguousarray(picture[:, ::-1]))
    return (maps + layout.unmirror(mirrored_maps)) * np.float32(0.5), np.stack([features, mirrored_features])


def principal_components(teacher: Teacher, pictures: list[Picture]) -> tuple[Maps, Maps]:
    """Mean f32 [128] and projection f32 [F,128] of the features; projected values are about -1..1."""
    samples = np.concatenate([teacher(picture)[1].reshape(128, -1).T[::7] for picture in pictures])
    mean = samples.mean(0)
    variances, vectors = np.linalg.eigh(np.cov((samples - mean).T))
    projection = vectors[:, ::-1][:, :HINT_CHANNELS].T / np.sqrt(variances.sum())
    return np.asarray(mean, np.float32), np.asarray(projection, np.float32)


def people_of(annotations: list[Record]) -> list[Record]:
    """The labelled people of one photo: `keypoints` [18,3] (px), `box` xywh (px)."""
    people = []
    for annotation in annotations:
        if annotation["iscrowd"] or not annotation["num_keypoints"]:
            continue
        points = layout.from_coco(np.array(annotation["keypoints"], np.float32).reshape(17, 3))
        people.append({"keypoints": points.round(2).tolist(), "box": annotation["bbox"]})
    return people


def list_photos(labels: Path, seed: int) -> list[Record]:
    """The photos of a COCO keypoint file by id, each with its split: `val` for a fixed random part, else `train`."""
    document = json.loads(labels.read_text())
    images = sorted(document["images"], key=lambda image: int(image["id"]))
    held_out = {image["id"] for image in random.Random(seed).sample(images, VALIDATION)}
    by_image: dict[int, list[Record]] = {}
    for annotation in document["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    return [
        {
            "id": image["id"],
            "file": image["file_name"],
            "split": "val" if image["id"] in held_out else "train",
            "people": people_of(by_image.get(image["id"], [])),
        }
        for image in images
    ]


def read_photo(path: Path) -> Picture:
    """A BGR picture u8 [H,W,3], shrunk so that its long side is at most `SIDE`."""
    picture = cv2.imread(str(path))
    if picture is None or max(picture.shape[:2]) > SIDE:
        raise ValueError(f"{path}: expected a picture of at most {SIDE} px (labels are in its pixels)")
    return np.asarray(picture, np.uint8)


def fill(out: Path, items: Iterable[tuple[Picture, Record]], count: int, ask: Ask) -> None:
    """Write a cache of `count` pictures u8 [H,W,3] and their records (`split`, `people`) to the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    create = np.lib.format.open_memmap
    img = create(out / "img.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    maps = create(out / "maps.npy", "w+", np.int8, (count, CELLS, CELLS, layout.CHANNELS))
    hint = create(out / "hint.npy", "w+", np.int8, (count, 2, CELLS, CELLS, HINT_CHANNELS))
    started, records = time.monotonic(), []
    for index, (picture, record) in enumerate(items):
        height, width = picture.shape[:2]
        records.append(record | {"height": height, "width": width})
        img[index] = PAD
        img[index, :height, :width] = picture
        average, parts = ask(pad(picture))
        rows, columns = average.shape[1:]
        maps[index, :rows, :columns] = quantised(average.transpose(1, 2, 0), 127)
        hint[index, :, :rows, :columns] = quantised(parts, HINT_STEPS)
        if index % 100 == 0:
            print(f"{index}/{count} {time.monotonic() - started:.0f} s", flush=True)
    for array in (img, maps, hint):
        array.flush()
    (out / "meta.json").write_text(json.dumps(records))


def open_asker(teacher_path: Path, pictures: list[Picture], threads: int) -> Ask:
    """A function of a picture: mirror-averaged maps f32 [56,H,W] and hints f32 [2,H,W,F].

    The principal components of the hints are those of `pictures`, always the same: the first training photos.
    """
    teacher = open_teacher(teacher_path, threads)
    mean, projection = principal_components(teacher, [pad(picture) for picture in pictures])

    def ask(picture: Picture) -> tuple[Maps, Maps]:
        average, features = both_sides(teacher, picture)
        return average, np.einsum("fd,mdhw->mhwf", projection, features - mean[:, None, None])

    return ask


def quantised(values: Maps, steps: float) -> NDArray[np.int8]:
    """Values as int8, `steps` per unit."""
    steps_of: NDArray[np.int8] = np.clip(np.rint(values * steps), -127, 127).astype(np.int8)
    return steps_of


def pad(picture: Picture) -> Picture:
    """The picture with its last rows and columns repeated up to a multiple of 8."""
    rows, columns = (-side % layout.STRIDE for side in picture.shape[:2])
    return np.pad(picture, ((0, rows), (0, columns), (0, 0)), "edge")


def main() -> None:
    """Prepare the cache from the command line."""
    parser = argparse.ArgumentParser(description="Prepare photos, labels and teacher maps for training.")
    parser.add_argument("--labels", type=Path, required=True, help="COCO keypoint annotations")
    parser.add_argument("--images", type=Path, required=True, help="folder of the photos, long side at most 352 px")
    parser.add_argument("--teacher", type=Path, required=True, help="human-pose-estimation-0001 as ONNX")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    photos = list_photos(arguments.labels, arguments.seed)
    basis = [read_photo(arguments.images / photo["file"]) for photo in photos[:BASIS]]
    ask = open_asker(arguments.teacher, basis, arguments.threads)
    items = ((read_photo(arguments.images / photo["file"]), photo) for photo in photos)
    fill(arguments.out, items, len(photos), ask)


if __name__ == "__main__":
    main()
