"""The decoder `direct` and the window that follows one person."""

from pathlib import Path

import numpy as np
import pytest
from people import keypoint_boxes

from posert.errors import PosertError
from posert.poses import Poses, Skeleton, no_poses
from posert.postprocess.decoders.direct import Params, decode
from posert.postprocess.following import next_window
from posert.postprocess.geometry import to_frame, usable
from posert.runtime.prepare import prepare
from posert.runtime.spec import InputSpec
from posert.skeletons import COCO_17

SKELETON = Skeleton(COCO_17.names, ())


def single(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.9, (2, 1, 17, 3)).astype(np.float32)


def test_one_person_in_input_pixels() -> None:
    raw = single()
    first, second = decode({"keypoints": raw}, SKELETON, Params(), (192, 128))
    assert first.keypoints[0, 4] == pytest.approx([raw[0, 0, 4, 1] * 192, raw[0, 0, 4, 0] * 128, raw[0, 0, 4, 2]])
    assert first.scores[0] == pytest.approx(raw[0, 0, :, 2].mean())
    assert len(second) == 1
    left, top, right, bottom = first.boxes_xyxy[0]
    assert (left, bottom) == (first.keypoints[0, :, 0].min(), first.keypoints[0, :, 1].max())
    assert right > left
    assert bottom > top


def test_several_people() -> None:
    raw = np.zeros((1, 6, 56), np.float32)
    raw[0, 0, :51] = single()[0].ravel()
    raw[0, 0, 51:] = 0.1, 0.2, 0.6, 0.7, 0.9
    raw[0, 3, 51:] = 0.1, 0.2, 0.6, 0.7, 0.09
    (poses,) = decode({"people": raw}, SKELETON, Params(), (256, 160))
    assert len(poses) == 1
    assert poses.scores[0] == pytest.approx(0.9)
    assert poses.boxes_xyxy[0] == pytest.approx([0.2 * 256, 0.1 * 160, 0.7 * 256, 0.6 * 160])


def test_an_empty_room_holds_nobody() -> None:
    raw = single()
    raw[..., 2] = 0.05
    assert [len(poses) for poses in decode({"keypoints": raw}, SKELETON, Params(), (192, 192))] == [0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_not_found(bad: float) -> None:
    raw = single()
    raw[0, 0, 3] = bad
    raw[1] = bad
    for poses in decode({"keypoints": raw}, SKELETON, Params(0.0), (192, 192)):
        assert np.isfinite(poses.keypoints).all()
        assert np.isfinite(poses.scores).all()
        assert np.isfinite(poses.boxes_xyxy).all()
        assert (poses.keypoints[:, 3] == 0).all()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"maps": np.zeros((1, 2))}, "needs keypoints or people"),
        ({"keypoints": np.zeros((1, 17, 3))}, r"must be \[R,1,K,3\]"),
        ({"keypoints": np.zeros((1, 1, 17, 3)), "people": np.zeros((2, 6, 56))}, r"have \[1, 2\] rows"),
        ({"people": np.zeros((1, 6, 55))}, r"must be \[R,P,K\*3\+5\]"),
    ],
)
def test_outputs_that_do_not_fit(outputs: dict, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        decode(outputs, SKELETON, Params(), (192, 192))


def test_params_are_checked() -> None:
    with pytest.raises(ValueError, match="min_score = 2, expected a finite number from 0 to 1"):
        Params(2)


def test_the_window_that_follows_and_its_crop(golden: Path) -> None:
    """The original's arithmetic is float32 from the keypoints on; regions and pixels are the same bits."""
    movenet, image = np.load(golden / "movenet.npz"), np.load(golden / "alphapose_crops.npz")["img_rgb"]
    height, width = movenet["image_hw"].tolist()
    spec = InputSpec("i", "NHWC", "uint8", "bgr", (192, 192), "square", align="corners", rounding="truncate")
    followed = 0
    for number, region in enumerate(movenet["crop_regions_y0x0y1x1hw"]):
        yxs = movenet["keypoints_yxs"][number, 0]
        keypoints = yxs[:, [1, 0, 2]] * np.array([width, height, 1], np.float32)
        poses = Poses(keypoints[None], np.ones(1, np.float32), np.zeros((1, 4), np.float32))
        window = next_window(poses, (width, height), SKELETON)
        if window is None:
            assert (region == movenet["init_region"]).all()
            continue
        followed += 1
        sides = np.array([height, width, height, width], np.float32)
        assert (window[[1, 0, 3, 2]].astype(np.float32) / sides == region[:4]).all()
        assert (prepare(image, window[None], spec, (192, 192))[0] == movenet["crops_uint8"][number]).all()
    assert followed == 5


def test_nobody_is_not_followed() -> None:
    assert next_window(no_poses(17), (100, 100), SKELETON) is None


def test_output_maps_back_through_its_window(golden: Path) -> None:
    movenet = np.load(golden / "movenet.npz")
    height, width = movenet["image_hw"].tolist()
    y0, x0, y1, x1 = movenet["crop_regions_y0x0y1x1hw"][0][:4]
    (poses,) = decode({"keypoints": movenet["raw_out"]}, SKELETON, Params(0.0), (192, 192))
    mapped = to_frame(poses, [x0 * width, y0 * height, x1 * width, y1 * height], (192, 192)).keypoints[0]
    expected = movenet["raw_out_mapped_with_region0"][0, 0]
    assert mapped[:, :2] / [width, height] == pytest.approx(expected[:, [1, 0]], abs=2e-7)  # one bit of float32


def test_only_found_keypoints_are_in_the_box() -> None:
    keypoints = np.array([[[3, 4, 1], [5, 9, 1], [99, -99, -1], [-99, 99, 0]], [[3, 4, -1]] * 4], np.float32)
    assert keypoint_boxes(keypoints).tolist() == [[3, 4, 5, 9], [0, 0, 0, 0]]


def test_regions_are_cut_only_at_a_frame() -> None:
    boxes = np.array([[-3, 2, 50, 9], [60, 0, 70, 9], [1, 1, np.nan, 4]], np.float32)
    found = Poses(np.zeros((3, 0, 3), np.float32), np.array([0.5, 0.6, 0.7], np.float32), boxes)
    assert usable(found).boxes_xyxy.tolist() == boxes[:2].tolist()
    assert usable(found, (40, 8)).boxes_xyxy.tolist() == [[0, 2, 40, 8]]
    assert usable(found, (65, 8)).scores == pytest.approx([0.5, 0.6])
