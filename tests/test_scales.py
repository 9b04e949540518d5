"""Averaging over several input sizes, from the picture to the people, against CMU OpenPose's steps one by one."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import media
import naive_cmu
import numpy as np
import onnx
import pytest
import tiny
from command import Run
from onnx import TensorProto, helper

from posert.cli import main
from posert.errors import PosertError
from posert.poses import Frame, Result, Skeleton
from posert.postprocess.decoders.bodyparts import Params
from posert.runtime.loop import estimate
from posert.runtime.options import ModelOptions
from posert.runtime.session import open_model
from posert.runtime.spec import METADATA_KEY, InputSpec, ModelSpec, Stage, from_json, to_json
from posert.runtime.windows import place, scaled

INPUT = InputSpec(
    "image", "NCHW", "float32", "bgr", (0, 368), "corner_pixels", multiple_of=16, rounding="round",
    align="half_pixel_blend", interpolation="linear_or_cubic", mean=(128.0,) * 3, std=(256.0,) * 3,
)  # fmt: skip
PARAMS = {
    "paf_channels": [[0, 1]], "redundant_edges": [], "foot_parts": [], "min_parts": 2, "min_score": 0.1,
    "peak_threshold": 0.2, "interpolation": "cubic",
}  # fmt: skip
STAGE = Stage("pose", "frame", INPUT, {"heatmaps": "heatmaps", "pafs": "pafs"}, "bodyparts", PARAMS)
SKELETON = Skeleton(("nose", "neck"), ((0, 1),))  # red and green


def colours(path: Path, stage: Stage = STAGE) -> Path:
    """A network of stride 8 whose two heatmaps are the picture's red and green, and whose field points right."""
    weight = np.zeros((5, 3, 1, 1), np.float32)
    weight[0, 2], weight[1, 1] = 1, 1
    constants = [
        helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.ravel()),
        helper.make_tensor("b", TensorProto.FLOAT, [5], [0.5, 0.5, 0, 1, 0]),
        helper.make_tensor("sizes", TensorProto.INT64, [2], [3, 2]),
    ]
    nodes = [
        helper.make_node("AveragePool", ["image"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["cells", "w", "b"], ["all"]),
        helper.make_node("Split", ["all", "sizes"], ["heatmaps", "pafs"], axis=1),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "h", "w"])
        for name, count in (("image", 3), ("heatmaps", 3), ("pafs", 2))
    ]
    graph = helper.make_graph(nodes, "colours", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, to_json(ModelSpec(1, "toy", "colours", SKELETON, (stage,)))
    onnx.save(model, str(path))
    return path


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """Two red spots, each with a green one to its right, on noise."""
    rng = np.random.default_rng(seed)
    bgr = rng.integers(0, 20, (height, width, 3)).astype(np.float32)
    y, x = np.mgrid[:height, :width]
    for row in (0.3, 0.7):
        for channel, column in ((2, 0.3), (1, 0.6)):
            place_x, place_y = (column + rng.uniform(-0.05, 0.05)) * width, (row + rng.uniform(-0.05, 0.05)) * height
            spot = np.exp(-((x - place_x) ** 2 + (y - place_y) ** 2) / (2 * (height / 15) ** 2))
            bgr[:, :, channel] += 230 * spot
    return bgr.clip(0, 255).astype(np.uint8)


def twin(
    bgr: np.ndarray, number: int, gap: float, net_wh: tuple[int, int] = (-1, 368)
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints in px of the picture and scores: each size drawn by OpenCV, each map up-sampled whole."""
    height, width = bgr.shape[:2]
    if net_wh[0] < 0:
        net_wh = 16 * int(min(net_wh[1] * 16 / 9, net_wh[1] * width / height) / 16 + 0.5), net_wh[1]
    several = []
    for number_of_gaps in range(number):
        w, h = (int(int(side * (1 - number_of_gaps * gap) + 0.5) / 16) * 16 for side in net_wh)
        s = min((w - 1) / (width - 1), (h - 1) / (height - 1))
        drawn = cv2.warpAffine(
            bgr, np.array([[s, 0, 0], [0, s, 0]]), (w, h), flags=cv2.INTER_CUBIC if s > 1 else cv2.INTER_LINEAR
        )
        tensor = drawn.transpose(2, 0, 1).astype(np.float32) / 256 - 0.5
        cells = tensor.reshape(3, h // 8, 8, w // 8, 8).mean(axis=(2, 4))
        several.append(np.stack([cells[2] + 0.5, cells[1] + 0.5, cells[0] * 0, cells[0] * 0 + 1, cells[0] * 0]))
    maps = naive_cmu.averaged(several, *net_wh, "cubic")
    params = Params(**json.loads(json.dumps(PARAMS)))
    keypoints, scores = naive_cmu.decode(maps[:3], maps[3:], SKELETON, params, net_wh)
    scale = max((width - 1) / (net_wh[0] - 1), (height - 1) / (net_wh[1] - 1))
    keypoints[:, :, :2] = (keypoints[:, :, :2] - 0.5) * scale + 0.5
    return keypoints, scores


@pytest.mark.parametrize(("number", "gap"), [(1, 0.25), (2, 0.25), (3, 0.15), (4, 0.25)])
@pytest.mark.parametrize("size_wh", [(640, 480), (1280, 720), (300, 200)])
def test_people_are_the_originals_steps_one_by_one(
    tmp_path: Path, number: int, gap: float, size_wh: tuple[int, int]
) -> None:
    pictures = [picture(*size_wh, seed) for seed in range(2)]
    frames = [Frame(bgr, index, 0.0, "made") for index, bgr in enumerate(pictures)]
    with open_model(colours(tmp_path / "c.onnx"), scale_number=number, scale_gap=gap) as model:
        results = list(estimate(model, frames, batch=2))
    for bgr, result in zip(pictures, results, strict=True):
        same_people(result, *twin(bgr, number, gap))


def same_people(result: Result, keypoints: np.ndarray, scores: np.ndarray) -> None:
    assert len(scores) == 2
    assert result.poses.keypoints[:, :, :2] == pytest.approx(keypoints[:, :, :2], abs=0.1)  # OpenCV: 1/32 px
    assert result.poses.keypoints[:, :, 2] == pytest.approx(keypoints[:, :, 2], abs=2e-3)
    assert result.poses.scores == pytest.approx(scores, abs=2e-3)


@pytest.mark.parametrize(("net_wh", "number"), [((-1, 736), 1), ((656, 368), 1), ((656, 368), 4)])
@pytest.mark.parametrize("size_wh", [(640, 480), (300, 500)])
def test_the_size_that_is_asked_for(
    tmp_path: Path, net_wh: tuple[int, int], number: int, size_wh: tuple[int, int]
) -> None:
    """As with OpenPose's --net_resolution: a side of -1 is the picture's, two sides are padded to, with any scales."""
    bgr = picture(*size_wh, 0)
    with open_model(colours(tmp_path / "c.onnx"), net_resolution=net_wh, scale_number=number) as model:
        (result,) = estimate(model, [Frame(bgr)])
    same_people(result, *twin(bgr, number, 0.25, net_wh))


@pytest.mark.parametrize(
    ("fit", "plus", "net_wh", "frame_wh", "expected"),
    [
        ("corner_pixels", 0, (-1, 736), (64, 48), (976, 736)), ("corner_pixels", 0, (656, -1), (640, 480), (656, 496)),
        ("corner_pixels", 0, (-1, 368), (3000, 9), (656, 368)), ("corner_pixels", 0, (656, 368), (9, 9), (656, 368)),
        ("corner", 0, (-1, 256), (640, 360), (464, 256)), ("corner", 0, (256, 0), (640, 360), (256, 144)),
        ("corner", 0, (320, 320), (640, 360), (320, 320)), ("center", 1, (641, 369), (640, 480), (641, 369)),
        ("center", 1, (-1, 369), (640, 480), (497, 369)), ("letterbox", 0, (416, 416), (100, 300), (416, 416)),
        ("stretch", 0, (432, 368), (640, 480), (432, 368)), ("stretch", 0, (-1, 368), (640, 480), (496, 368)),
    ],
)  # fmt: skip
def test_every_fit_has_that_size(fit, plus: int, net_wh, frame_wh, expected) -> None:
    spec = ModelSpec(1, "toy", "toy", SKELETON, (replace(STAGE, input=replace(INPUT, fit=fit, multiple_plus=plus)),))
    sized = ModelOptions(net_resolution=net_wh).of(spec).stages[0].input
    assert place(frame_wh, sized)[1] == expected


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"net_resolution": (-1, 730)}, "colours has sides that are multiples of 16, not 730 px", "take 720 or 736 in"),
        ({"net_resolution": (8, 368)}, "not 8 px", "take 16 or 32 in `net_resolution`"),
        ({"net_resolution": (-1, -1)}, "`net_resolution` says neither width nor height", "give one"),
        ({"net_resolution": (-1, 368), "long_edge": 368}, "`long_edge` and `net_resolution` both", "leave one away"),
        ({"net_resolution": (-2, 368)}, r"net_resolution[0] = -2, expected a whole number from -1 to 16384", ""),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be(tmp_path: Path, options: dict, message: str, hint: str) -> None:
    with pytest.raises(PosertError, match=re.escape(message)) as error:
        open_model(colours(tmp_path / "c.onnx"), **options)
    assert error.value.hint.startswith(hint)


def test_one_size_of_input_stays(tmp_path: Path, run: Run) -> None:
    model, video = tiny.bright_spot(tmp_path / "x.onnx"), media.video(tmp_path / "a.mp4", count=1)
    code, _, err = run("infer", model, video, "--net-resolution", "-1x368")
    assert (code, err) == (1, "error: bright-spot has one input size, (64, 64) px\nhint: leave --net-resolution away\n")
    code, _, err = run("infer", colours(tmp_path / "c.onnx"), video, "--net-resolution", "368")
    assert (code, err.splitlines()[0]) == (1, "error: --net-resolution '368' is no size")
    assert run("infer", colours(tmp_path / "c.onnx"), video, "--net-resolution", "-1x80")[0] == 0


def test_scales_change_what_is_found(tmp_path: Path) -> None:
    """The test above would pass if both sides ignored the scales."""
    bgr = picture(640, 480, 0)
    assert np.abs(twin(bgr, 1, 0.25)[0] - twin(bgr, 4, 0.25)[0])[:, :, 2].max() > 0.02


def test_a_file_can_ask_for_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = Frame(picture(640, 480, 0), 0, 0.0, "made")
    asked = colours(tmp_path / "a.onnx", replace(STAGE, scales=(1.0, 0.75)))
    with open_model(asked) as own, open_model(colours(tmp_path / "c.onnx"), scale_number=2) as told:
        (one,), (other,) = estimate(own, [frame]), estimate(told, [frame])
    assert one.poses.keypoints.tobytes() == other.poses.keypoints.tobytes()
    monkeypatch.setattr(sys, "argv", ["posert", "info", str(asked)])
    with pytest.raises(SystemExit):
        main()
    assert "  scales  1.0, 0.75\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("input_wh", "scale", "expected"),
    [
        ((656, 368), 1.0, (656, 368)), ((656, 368), 0.75, (480, 272)), ((656, 368), 0.5, (320, 176)),
        ((656, 368), 0.25, (160, 80)), ((368, 656), 0.75, (272, 480)), ((16, 16), 0.5, (16, 16)),
    ],
)  # fmt: skip
def test_each_size_is_cut_to_whole_steps(input_wh, scale: float, expected) -> None:
    own = scaled(INPUT, input_wh, scale)
    assert own.size_wh == expected
    assert place((1280, 720), own)[1] == expected


@pytest.mark.parametrize(
    ("number", "gap", "message"),
    [
        (5, 0.25, "5 scales 0.25 apart end at 0 of the input"), (2, 1.5, "end at -0.5"), (2, 0.0, "0.0 apart"),
        (2, float("nan"), "scale_gap = nan, expected a finite number"), (17, 0.01, "17 scales"),
    ],
)  # fmt: skip
def test_scales_that_leave_nothing(tmp_path: Path, number: int, gap: float, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        open_model(colours(tmp_path / "c.onnx"), scale_number=number, scale_gap=gap)


def test_a_model_that_cannot(tmp_path: Path) -> None:
    with pytest.raises(PosertError, match="bright-spot has one input size"):
        open_model(tiny.bright_spot(tmp_path / "x.onnx"), scale_number=2)
    other = replace(STAGE, decoder="paf", params={}, scales=(1.0, 0.5))
    with pytest.raises(PosertError, match="colours cannot average over several sizes"):
        open_model(colours(tmp_path / "c.onnx", other))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (replace(STAGE, scales=()), "1 to 16 values"),
        (replace(STAGE, scales=(1.0, 0.0)), "expected a finite number above 0 and at most 1"),
        (replace(STAGE, scales=(1.0, 0.5), region="boxes"), "the input has one size"),
        (replace(STAGE, scales=(1.0, 0.5), input=replace(INPUT, multiple_of=0)), "the input has one size"),
    ],
)
def test_scales_of_a_file_are_checked(stage: Stage, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        from_json(to_json(ModelSpec(1, "toy", "colours", SKELETON, (stage,))))


def _said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit code of the command and what it wrote to standard error."""
    monkeypatch.setattr(sys, "argv", ["posert", "infer", *map(str, words)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0), capsys.readouterr().err


def test_the_command_takes_scales_units_and_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, photo, out = colours(tmp_path / "c.onnx"), tmp_path / "photo.png", tmp_path / "out.json"
    bgr = picture(640, 480, 0)
    cv2.imwrite(str(photo), bgr)
    given = (model, photo, "-o", out, "--format", "openpose")
    code, _ = _said(monkeypatch, capsys, *given, "--scale-number", 3, "--scale-gap", 0.2, "--keypoint-scale", 3)
    assert code == 0
    points = [person["pose_keypoints_2d"][:6] for person in json.loads(out.read_text())["people"]]
    expected = twin(bgr, 3, 0.2)[0] / (640, 480, 1)
    assert np.array(points).reshape(-1, 2, 3) == pytest.approx(expected, abs=2e-3)
    assert _said(monkeypatch, capsys, *given, "--set", "peak_threshold=0.99")[0] == 0
    assert json.loads(out.read_text())["people"] == []
    for words, message in (
        (("--format", "jsonl", "--keypoint-scale", 3), "the format jsonl knows no --keypoint-scale"),
        (("--scale-number", 9), "9 scales 0.25 apart end at -1"),
        (("--set", "x"), "--set 'x' sets nothing"),
        (("--set", "maximize_positives=perhaps"), "maximize_positives = 'perhaps'"),
    ):
        code, said = _said(monkeypatch, capsys, model, photo, *words)
        assert code == 1
        assert message in said
