"""MediaPipe's hand network beside a body, by name and in one line, on the development files."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command import Run

from posert import open_model
from posert.export.readers import tensorflow_nodes, tfjs
from posert.skeletons import whole_body_hand


@pytest.fixture
def mirror(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the official files, in place of their addresses."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for kind in ("movenet_tfjs", "mediapipe_tfjs"):
        if not (assets / "models" / kind).is_dir():
            pytest.skip(f"needs the development files {assets / 'models' / kind}")
        for file in (assets / "models" / kind).iterdir():
            os.symlink(file, folder / file.name)
    monkeypatch.setenv("POSERT_MIRROR", str(folder))
    return folder


def test_hands_of_a_dancer_in_one_line(assets: Path, mirror: Path, tmp_path: Path, run: Run) -> None:
    """He stands, his arms hanging: both hands in nearly every frame, each with its wrist at the arm's."""
    video = assets / "media" / "videos" / "movenet_dance_keith.mp4"
    words = ("infer", "movenet-thunder", video, "--hands", "--stop", "1.5")
    code, _, err = run(*words, "-o", tmp_path / "dance.jsonl")
    assert code == 0, err
    assert "mediapipe-hand: licence Apache-2.0" in err
    header, *frames = map(json.loads, (tmp_path / "dance.jsonl").read_text().splitlines())
    names, people = header["skeleton"]["names"], np.array([frame["people"][0]["keypoints"] for frame in frames])
    assert people.shape[1] == len(names) == 17 + 2 * 21
    for side in ("left", "right"):
        root = people[:, names.index(f"{side}_hand_root")]
        found = root[:, 2] > 0
        assert found.mean() > 0.9
        apart = np.linalg.norm(root[found, :2] - people[found, names.index(f"{side}_wrist"), :2], axis=1)
        assert np.median(apart) < 12
    assert run(*words, "--format", "openpose", "-o", tmp_path / "dance_json")[0] == 0
    files = sorted((tmp_path / "dance_json").iterdir())
    first = json.loads(files[0].read_text())["people"][0]
    own = np.array(first["hand_left_keypoints_2d"]).reshape(21, 3)
    expected = people[0, [names.index(name) for name in whole_body_hand("left")]]
    assert np.abs(own - expected).max() < 0.01
    assert first["face_keypoints_2d"] == []


def test_the_network_is_the_official_one(mirror: Path, run: Run) -> None:
    """Two crops at once give what the official network gives for each: keypoints in px, presence as their score."""
    assert run("info", "mediapipe-hand")[0] == 0
    official = tensorflow_nodes.to_onnx(tfjs.read(mirror / "handlandmark-full.json"))
    session = onnxruntime.InferenceSession(official.SerializeToString())
    home = Path(os.environ["POSERT_HOME"])
    (file,) = home.rglob("mediapipe-hand.onnx")
    crops = np.random.default_rng(0).random((2, 224, 224, 3), np.float32)
    with open_model(file, device="cpu", threads=1) as model:
        keypoints = model.run("hands", crops)["keypoints"]
    for crop, own in zip(crops, keypoints, strict=True):
        points, presence = session.run(["Identity@output", "Identity_1@output"], {"input_1": crop[None]})
        assert own[0, :, 1::-1] * 224 == pytest.approx(points.reshape(21, 3)[:, :2], abs=1e-3)
        assert own[0, :, 2] == pytest.approx(np.full(21, presence.item()), abs=1e-6)


def test_another_file_is_no_hand_network(mirror: Path, tmp_path: Path, run: Run) -> None:
    for kind in ("json", "bin"):
        shutil.copyfile(mirror / f"movenet-thunder.{kind}", tmp_path / f"movenet-thunder.{kind}")
    code, _, err = run("export", "mediapipe-hand", "--from", tmp_path / "movenet-thunder.json", "-o", tmp_path)
    assert (code, "is not the official mediapipe-hand" in err) == (1, True)
