"""A fused network alone gives the people that `estimate` gives."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import tiny
import tiny_topdown

from posert import estimate, frames, open_model
from posert.errors import PosertError
from posert.export.embed.fuse import fuse


def run(path: Path, bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["frame"]
    keypoints, scores = session.run(["keypoints", "scores"], {"frame": np.ascontiguousarray(bgr[:, :, ::-1])})
    return keypoints, scores


@pytest.mark.parametrize("size_wh", [(64, 48), (30, 90), (200, 200), (1, 1)])
def test_people_of_a_frame(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    model = tiny.bright_spot(tmp_path / "m.onnx")
    keypoints, scores = run(fuse(model, tmp_path / "fused.onnx"), picture)
    with open_model(model, device="cpu") as opened:
        poses = next(iter(estimate(opened, frames(tmp_path / "a.png")))).poses
    assert keypoints.shape == (1, 17, 3)
    assert keypoints.tobytes() == poses.keypoints.tobytes()
    np.testing.assert_allclose(scores, poses.scores, atol=1e-6)  # another order of summation


def test_nobody(tmp_path: Path) -> None:
    model = tiny.bright_spot(tmp_path / "m.onnx", params={"min_score": 0.95})
    keypoints, scores = run(fuse(model, tmp_path / "fused.onnx"), np.zeros((20, 30, 3), np.uint8))
    assert (keypoints.shape, scores.shape) == ((0, 17, 3), (0,))


def test_other_networks_are_refused(tmp_path: Path) -> None:
    pair = tiny_topdown.pose(tmp_path / "pose.onnx", tiny_topdown.detector(tmp_path / "detector.onnx"))
    with pytest.raises(PosertError, match="works in several steps"):
        fuse(pair, tmp_path / "fused.onnx")
    spec = replace(tiny.SPEC, stages=(replace(tiny.STAGE, input=replace(tiny.INPUT, fit="center")),))
    with pytest.raises(PosertError, match="cannot be fused with standard operators"):
        fuse(tiny.bright_spot(tmp_path / "m.onnx", spec=spec), tmp_path / "fused.onnx")
    assert not (tmp_path / "fused.onnx").exists()
