"""OpenVINO's own package behind the loop, and the commands of docs/devices.md about it (`make test-openvino`)."""

import json
import logging
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_topdown
from doc_blocks import BLOCKS
from media import numbered, video

import posert.runtime.devices as devices
from posert import estimate_image, open_model
from posert.errors import PosertError

pytest.importorskip("openvino", reason="needs OpenVINO: pip install 'posert[openvino]', or make test-openvino")
pytestmark = pytest.mark.openvino


@pytest.mark.parametrize("size", [(320, 256), (256, 384), (128, 128)])
def test_the_same_maps_as_by_onnx_runtime(size: tuple[int, int]) -> None:
    """nano takes any multiples of 64, so one compiled network sees several shapes."""
    with open_model("nano", device="cpu") as ours, open_model("nano", device="openvino") as theirs:
        assert theirs.device == "openvino:CPU"
        tensor = np.random.default_rng(0).uniform(-1, 1, (2, 3, size[1], size[0])).astype(np.float32)
        expected, found = ours.run("pose", tensor), theirs.run("pose", tensor)
    assert expected.keys() == found.keys()
    for role, value in expected.items():
        np.testing.assert_allclose(found[role], value, atol=1e-4, err_msg=role)


def test_calls_side_by_side_are_right_and_keep_their_outputs() -> None:
    """Two streams of one network in OpenVINO gave heat maps of 1e10: the test compared them with each other alone."""
    tensors = [np.random.default_rng(n).uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32) for n in range(24)]
    with open_model("nano", device="openvino", workers=2) as model, open_model("nano", device="cpu") as usual:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda tensor: model.run("pose", tensor), tensors))
        for tensor, outputs in zip(tensors, together, strict=True):
            for role, value in usual.run("pose", tensor).items():
                np.testing.assert_allclose(outputs[role], value, atol=1e-4)


def test_a_shape_that_comes_again_and_again_gets_a_network_of_its_own() -> None:
    tensors = [np.random.default_rng(n).uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32) for n in range(40)]
    with open_model("nano", device="openvino") as model, open_model("nano", device="cpu") as usual:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda tensor: model.run("pose", tensor), tensors))
        copy = model._sessions["pose"]._free.queue[-1]
        assert [dict(key)["image"] for key in copy.fixed] == [(1, 3, 128, 128)]
        other = np.zeros((1, 3, 64, 128), np.float32)
        for tensor, outputs in [*zip(tensors, found, strict=True), (other, model.run("pose", other))]:
            for role, value in usual.run("pose", tensor).items():
                np.testing.assert_allclose(outputs[role], value, atol=1e-4)


def test_auto_measures_once_keeps_the_choice_and_says_so(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING, "posert"), open_model("nano") as model:
        first = model.device
    assert "OpenVINO is" in caplog.text
    assert str(home / "devices.jsonl") in caplog.text
    (row,) = map(json.loads, (home / "devices.jsonl").read_text().splitlines())
    assert row["device"] == first
    assert set(row["ms"]) == {"cpu", "openvino:CPU"}
    caplog.clear()
    with open_model("nano") as model:
        assert model.device == first
    assert not caplog.text
    row["device"] = other = next(name for name in row["ms"] if name != first)
    (home / "devices.jsonl").write_text("no json\n[1]\n" + json.dumps(row) + "\n")
    with open_model("nano") as model:
        assert model.device == other  # what is kept decides
    with open_model("nano", threads=1) as model:  # another question
        assert len((home / "devices.jsonl").read_text().splitlines()) == 4


def test_topdown_stages_run_on_it(tmp_path: Path) -> None:
    detector = tiny_topdown.detector(tmp_path / "detector.onnx")
    file, picture = tiny_topdown.pose(tmp_path / "pose.onnx", detector), numbered(3)
    with open_model(file, device="cpu") as ours, open_model(file, device="openvino:CPU") as theirs:
        assert set(theirs.devices.values()) == {"openvino:CPU"}
        expected, found = estimate_image(ours, picture).poses, estimate_image(theirs, picture).poses
    assert len(expected) == len(found) > 0
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=1e-2)


def test_a_unit_that_is_not_there_is_refused() -> None:
    import openvino

    there = {name.partition(".")[0] for name in openvino.Core().available_devices}
    absent = next((unit for unit in ("NPU", "GPU") if unit not in there), None)
    if absent is None:
        pytest.skip("this machine has every unit of OpenVINO")
    with pytest.raises(PosertError, match=r"OpenVINO finds only .*CPU"):
        open_model("nano", device=f"openvino:{absent}")


def test_a_network_that_it_cannot_run_is_refused(tmp_path: Path, run: Any) -> None:
    damaged = tmp_path / "cut.onnx"
    damaged.write_bytes(Path(devices.__file__).with_name("nano.onnx").read_bytes()[:-5000])
    code, _, err = run("infer", damaged, "nothing.mp4", "--device", "openvino")
    assert code == 1
    assert "error:" in err
    assert "Traceback" not in err


def test_the_commands_of_the_document(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "walk.mp4", count=4)
    blocks = [one for one in BLOCKS if one.mark == "run by" and one.why == "tests/test_openvino.py"]
    commands = [shlex.split(line) for one in blocks for line in one.text.splitlines() if line.startswith("posert ")]
    assert len(commands) == 3
    for words in commands:
        code, out, err = run(*words[1:])
        assert code == 0, err
        assert words[1] != "info" or "OpenVINO: " in out
    assert len((tmp_path / "walk.jsonl").read_text().splitlines()) == 5  # a line of metadata, and one for each frame
