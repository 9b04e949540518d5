"""Today's networks from one end to the other: infer, eval, bundle, make, verify, each as a user types it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_mmpose
import tiny_rows
import tiny_topdown
from bundles import noise
from command import Run

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]
UDP = {"refine": "dark_udp", "udp": True}
Maker = Callable[[Path, Path], Path]
"""The file to write, and a detector's -> the file."""
TOP_DOWN: dict[str, Maker] = {
    "rtmpose": lambda path, detector: tiny_mmpose.simcc(
        path, (48, 64), 17, companion=tiny_topdown.detector(detector), suppress="poses"
    ),
    "vitpose": lambda path, detector: tiny_mmpose.heatmaps(
        path,
        (48, 64),
        17,
        companion=tiny_topdown.detector(detector),
        params=UDP,
        image={"align": "edges"},
        suppress="poses",
    ),
    "hrnet": lambda path, detector: tiny_mmpose.heatmaps(
        path, (48, 64), 17, weights=(1, 0.2), companion=tiny_topdown.detector(detector), params={"refine": "dark"}
    ),
    "rtmdet and rtmpose": lambda path, detector: tiny_mmpose.simcc(
        path, (48, 64), 17, companion=tiny_rows.labelled(detector)
    ),
}
ONE_SHOT: dict[str, Maker] = {
    name: lambda path, _, name=name: tiny_rows.model(path, name)  # type: ignore[misc]
    for name, network in tiny_rows.NETWORKS.items()
    if network.keypoints == 17
}


def photos(folder: Path) -> tuple[Path, Path]:
    """A folder of pictures and COCO annotations of a person in each."""
    people, images = [], []
    for number, picture in enumerate(noise(), 1):
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)
        high, wide = picture.shape[:2]
        points = np.random.default_rng(number).uniform(0, 1, (17, 3)) * (wide, high, 0) + (0, 0, 2)
        person = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": 17}
        person |= {"bbox": [0, 0, wide, high], "area": wide * high, "keypoints": points.ravel().tolist()}
        people.append(person)
        images.append({"id": number, "file_name": f"{number}.png", "width": wide, "height": high})
    whole = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    annotations = folder / "coco.json"
    annotations.write_text(json.dumps(whole))
    return folder, annotations


@pytest.mark.parametrize("kind", [*TOP_DOWN, *ONE_SHOT])
def test_from_one_end_to_the_other(tmp_path: Path, run: Run, kind: str) -> None:
    looks = kind in TOP_DOWN
    model = (TOP_DOWN | ONE_SHOT)[kind](tmp_path / "model.onnx", tmp_path / "boxes.onnx")
    (pictures := tmp_path / "pictures").mkdir()
    _, annotations = photos(pictures)
    code, out, err = run("infer", model, pictures, "-o", tmp_path / "out", *(["--flip"] if looks else []))
    assert code == 0, err
    lines = [json.loads(line) for file in sorted(tmp_path.glob("out/*.jsonl")) for line in file.open()]
    assert sum(len(line["people"]) for line in lines if "frame" in line) >= 4
    wanted = ["--boxes"] if looks else []
    assert run("eval", model, "--coco", annotations, "--images", pictures, *wanted)[0] == 0
    assert run("bundle", model, "-o", tmp_path / "c")[0] == 0
    subprocess.run(["make", "-s", "-C", tmp_path / "c"], check=True)
    code, out, err = run("verify", "--c", tmp_path / "c", "--source", pictures)
    assert code == 0, err
    assert out.endswith("people, largest difference 0\n"), out
