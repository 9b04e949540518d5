"""The ready-made rows of `models.lock`, by name: networks of their signatures behind their recipes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import ready_made
from command import Run
from onnx import numpy_helper

from posert.export import weights
from posert.export.recipe import read_recipe
from posert.skeletons import named_skeletons

ROWS = {name: entry for name, entry in weights.entries().items() if entry.recipe}
FAMILIES = [
    "rtmpose-m", "rtmpose-x-halpe26", "dwpose-m", "rtmw-l-384x288", "rtmpose-m-hand21", "rtmo-s", "vitpose-b",
    "tinypose-128x96", "rf-detr-keypoint", "yolo11n-pose",
]  # fmt: skip


def keypoints(name: str) -> int:
    spec = read_recipe(weights.recipe(ROWS[name]), name).spec
    return len(spec.skeleton.names)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a network of the signature of a row, and of its detector, into the mirror, and takes their pins away."""
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("POSERT_MIRROR", str(tmp_path / "mirror"))
    known = weights.entries()

    def serve(name: str) -> None:
        changed = {}
        for one in dict.fromkeys((name, ROWS[name].detector)):
            if one in ROWS:
                ready_made.write(tmp_path / "mirror", ROWS[one], keypoints(one))
                changed[one] = replace(ROWS[one], sha256="", bytes=0)
        monkeypatch.setattr(weights, "entries", lambda: known | changed)

    return serve


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    return path


def test_the_recipes_are_those_that_rows_name() -> None:
    assert {entry.recipe for entry in ROWS.values()} == set(weights.recipes())
    for name, entry in ROWS.items():
        spec = read_recipe(weights.recipe(entry), name).spec
        assert spec.skeleton in named_skeletons().values()
        assert bool(spec.skeleton.names) == (not entry.finds.startswith("boxes")), name
        assert str(len(spec.skeleton.names)) in entry.finds or not spec.skeleton.names, name
        assert (spec.licence, spec.model) == (entry.licence, name)


@pytest.mark.parametrize("name", FAMILIES)
def test_by_name(name: str, served: Callable[[str], None], run: Run, photo: Path) -> None:
    served(name)
    asked = [] if ROWS[name].permissive else ["--accept-licence"]
    code, out, err = run("infer", name, photo, "--accept-unpinned", *asked)
    assert code == 0, err
    header, frame = map(json.loads, out.splitlines())
    assert header["model"] == name
    (person,) = frame["people"]
    assert len(person["keypoints"]) == keypoints(name) == len(header["skeleton"]["names"])


def test_one_shot_keypoints_come_back_to_the_picture(
    served: Callable[[str], None], run: Run, photo: Path, tmp_path: Path
) -> None:
    """RTMO sees 160x120 px four times as large, at the top left."""
    served("rtmo-s")
    graph = onnx.load(str(tmp_path / "mirror" / ROWS["rtmo-s"].file))
    (value,) = (tensor for tensor in graph.graph.initializer if tensor.name == "keypoints_value")
    expected = numpy_helper.to_array(value)[0, 0] / (4, 4, 1)
    out = run("infer", "rtmo-s", photo, "--accept-unpinned")[1]
    found = json.loads(out.splitlines()[1])["people"][0]["keypoints"]
    assert found == pytest.approx(expected, abs=0.006)


def test_a_face_takes_boxes(served: Callable[[str], None], run: Run, photo: Path, tmp_path: Path) -> None:
    served("rtmpose-m-face106")
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"image_id": "photo.png", "bbox": [10, 10, 60, 60], "score": 1, "category_id": 1}]))
    code, out, err = run("infer", "rtmpose-m-face106", photo, "--accept-unpinned", "--boxes", boxes)
    assert code == 0, err
    assert len(json.loads(out.splitlines()[1])["people"][0]["keypoints"]) == 106


def test_agpl_is_said_loudly(served: Callable[[str], None], run: Run, photo: Path) -> None:
    served("yolo11n-pose")
    code, _, err = run("infer", "yolo11n-pose", photo, "--accept-unpinned")
    assert code == 1
    assert "not permissive, or not known: AGPL-3.0: whoever serves or ships it has to publish" in err


def test_another_network_is_refused(served: Callable[[str], None], run: Run, photo: Path, tmp_path: Path) -> None:
    served("rtmpose-m")
    served("rtmpose-x")
    mirror = tmp_path / "mirror"
    (mirror / ROWS["rtmpose-x"].file).write_bytes((mirror / ROWS["rtmpose-m"].file).read_bytes())
    code, _, err = run("infer", "rtmpose-x", photo, "--accept-unpinned")
    assert code == 1
    assert "stage.input.size_wh" in err
