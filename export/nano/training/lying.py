"""The pictures of `tests/lying.json`, made anew of what each was taken from. Knows no model.

    python -m posert.export.nano.training.lying --photos DIR --video staged_falls.mp4 --out DIR

An image's `source` says what that is: a photo's name, `FILE, frame N` of the video, or `drawn, scene N`.
"""

import argparse
import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from posert.export.nano.figures import Picture, draw, place, pose_body
from posert.export.nano.training import drawn
from posert.runtime.media.read import frames

SEED = 777021
FINER = 2  # drawn scenes are drawn at so many times their size


def make(labels: Path, photos: Path, video: Path, out: Path) -> None:
    """Write all pictures of a test set whose sources are these."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(labels.read_text())["images"]
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in wanted}
    of_video: dict[int, str] = {}
    for image in wanted:
        name, (source, number) = image["file_name"], _parts(image["source"])
        if number is None:
            shutil.copy(photos / source, out / name)
        elif source == "drawn":
            _write(out / name, scene(number, sizes[name]))
        else:
            of_video[number] = name
    for frame in frames(video) if of_video else ():
        if (found := of_video.get(frame.index)) is not None:
            _write(out / found, np.asarray(cv2.resize(frame.bgr, sizes[found], interpolation=cv2.INTER_AREA), np.uint8))


def scene(number: int, size_wh: tuple[int, int]) -> Picture:
    """A drawn figure in a room; those of the test set were chosen because it lies."""
    rng = np.random.default_rng([SEED, number])
    pose = drawn.random_pose(rng)
    width, height = (FINER * side for side in size_wh)
    canvas, owner = drawn.room(rng, (width, height)), np.full((height, width), -1, np.int32)
    stature = rng.uniform(0.5, 0.95) * height
    foot = rng.uniform(0.4, 0.6) * width, rng.uniform(0.75, 0.97) * height
    draw(canvas, owner, place(pose_body(pose), foot, stature), drawn.random_clothes(rng), stature, 0)
    return np.asarray(cv2.resize(canvas, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _parts(source: str) -> tuple[str, int | None]:
    """What a source is, and which frame or scene of it."""
    name, _, number = source.partition(", ")
    return name, int(number.split()[1]) if number else None


def _write(path: Path, picture: Picture) -> None:
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise OSError(f"{path} could not be written")


def main() -> None:
    """Make the pictures from the command line."""
    parser = argparse.ArgumentParser(description="Make the pictures of the test set of people who lie.")
    parser.add_argument("--labels", type=Path, default="tests/lying.json", help="the test set's labels")
    parser.add_argument("--photos", type=Path, required=True, help="folder of the photos it was taken from")
    parser.add_argument("--video", type=Path, required=True, help="the video it was taken from: staged_falls.mp4")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    arguments = parser.parse_args()
    make(arguments.labels, arguments.photos, arguments.video, arguments.out)


if __name__ == "__main__":
    main()
