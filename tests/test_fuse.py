"""A fused network alone gives the people that `estimate` gives."""

from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
import tiny_many
import tiny_rows
import tiny_topdown
from onnx import helper

from posert import estimate, frames, open_model
from posert.errors import PosertError
from posert.export.embed.fuse import fuse
from posert.export.embed.fuse.graph import Graph
from posert.export.embed.fuse.picture import frame_tensor
from posert.runtime.loop import estimate_image
from posert.runtime.prepare import prepare
from posert.runtime.spec import Fit, InputSpec
from posert.runtime.windows import place


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


def test_parameters_are_the_networks_or_the_librarys(tmp_path: Path) -> None:
    model, bright = tiny.bright_spot(tmp_path / "m.onnx"), np.full((20, 30, 3), 200, np.uint8)
    for params, people in (({}, 1), ({"pose.min_score": 0.95}, 0)):
        assert len(run(fuse(model, tmp_path / "fused.onnx", params), bright)[0]) == people
    with pytest.raises(PosertError, match="are not in the network, but in the library"):
        fuse("nano", tmp_path / "nano.onnx", {"pose.min_parts": 6})


POSES = [name for name, network in tiny_rows.NETWORKS.items() if network.params.get("keypoints") != 0]


def noise(size_wh: tuple[int, int]) -> np.ndarray:
    return cv2.blur(np.random.default_rng(2).integers(0, 255, (*size_wh[::-1], 3), np.uint8), (3, 3))


def assert_same(model: Path, fused: Path, frame: np.ndarray) -> int:
    """The number of people, which are those of `estimate`."""
    with open_model(model, device="cpu", threads=1) as opened:
        poses = estimate_image(opened, frame).poses
    keypoints, scores = run(fused, frame)
    assert keypoints.shape == poses.keypoints.shape
    np.testing.assert_allclose(keypoints, poses.keypoints, rtol=0, atol=1e-6)  # another sigmoid
    np.testing.assert_allclose(scores, poses.scores, rtol=0, atol=1e-6)
    return len(poses)


@pytest.mark.parametrize("size_wh", [(256, 256), (640, 427), (31, 90)])
def test_several_people_of_a_frame(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    """MoveNet multipose's signature: the input's size follows the frame's."""
    model = tiny_many.rows(tmp_path / "m.onnx")
    assert assert_same(model, fuse(model, tmp_path / "fused.onnx"), noise(size_wh)) > 2


@pytest.mark.parametrize(
    ("name", "fit"), [*zip(POSES, cycle(["corner", "letterbox", "stretch", "center"]), strict=False)]
)
def test_networks_that_list_people(tmp_path: Path, name: str, fit: Fit) -> None:
    model = tiny_rows.model(tmp_path / "m.onnx", name, fit=fit, rounding="round", std=(255.0, 255.0, 255.0))
    fused = fuse(model, tmp_path / "fused.onnx")
    assert {node.domain for node in onnx.load(fused).graph.node} == {""}
    people = [assert_same(model, fused, noise(size_wh)) for size_wh in ((64, 48), (333, 517))]
    assert min(people) > 1


def test_nobody_among_rows(tmp_path: Path) -> None:
    model = tiny_rows.model(tmp_path / "m.onnx", "yolo-pose-end-to-end", params={"person": 7})
    assert assert_same(model, fuse(model, tmp_path / "fused.onnx"), noise((64, 48))) == 0


def test_another_interpolation_keeps_the_input(tmp_path: Path) -> None:
    model = tiny_rows.model(tmp_path / "m.onnx", "yolo-pose", fit="stretch", interpolation="area")
    frame = noise((320, 320))
    session = onnxruntime.InferenceSession(str(fuse(model, tmp_path / "f.onnx")), providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape) for value in session.get_inputs()] == [("image", [1, 3, 320, 320])]
    (keypoints,) = session.run(["keypoints"], {"image": frame.transpose(2, 0, 1)[None].astype(np.float32)})
    with open_model(model, device="cpu", threads=1) as opened:
        expected = estimate_image(opened, frame).poses.keypoints
    np.testing.assert_allclose(keypoints, expected, rtol=0, atol=1e-6)


SPECS = [
    *(InputSpec("i", "NCHW", "float32", "rgb", (64, 48), fit, rounding=rounding, pad_value=(114, 0, 3), mean=(1, 2, 3),
                std=(50, 255, 3)) for fit in ("stretch", "corner", "letterbox", "center")
      for rounding in ("none", "round", "truncate")),
    *(InputSpec("i", "NHWC", "uint8", "bgr", size, fit, 16, multiple_plus=1)
      for fit in ("stretch", "corner", "letterbox", "center") for size in ((0, 48), (64, 0), (0, 0), (64, 48))),
    InputSpec("i", "NHWC", "int32", "rgb", (64, 64), "square", align="corners", rounding="truncate"),
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.fit} {spec.rounding} {spec.size_wh}")
@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_every_pixel_is_the_same(spec: InputSpec, opset: int) -> None:
    op, kind = Graph(), helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    frame_tensor(op, spec, "out")
    image, out = (helper.make_tensor_value_info(*each) for each in (("frame", 2, ["h", "w", 3]), ("out", kind, None)))
    graph = helper.make_graph(op.nodes, "prepared", [image], [out], op.constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for size_wh in ((64, 48), (30, 90), (200, 200), (1, 1), (333, 77)):
        frame = noise(size_wh)
        window, input_wh = place(size_wh, spec)
        expected = prepare(frame, window, spec, input_wh)
        (got,) = session.run(["out"], {"frame": np.ascontiguousarray(frame[:, :, ::-1])})
        assert got.shape == expected.shape
        assert got.tobytes() == expected.tobytes()


def test_other_networks_are_refused(tmp_path: Path) -> None:
    pair = tiny_topdown.pose(tmp_path / "pose.onnx", tiny_topdown.detector(tmp_path / "detector.onnx"))
    with pytest.raises(PosertError, match="works in several steps"):
        fuse(pair, tmp_path / "fused.onnx")
    assert not (tmp_path / "fused.onnx").exists()
