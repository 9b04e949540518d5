"""Networks that list people or boxes, against rtmlib: the same ONNX file and pictures.

Pictures of exactly the input's size reach both networks as the same numbers. Of others, rtmlib cuts the content's sides
to whole pixels but maps back by the ratio before that; posert rounds them, and maps back by what they really are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rtmlib_oracle as oracle
import tiny_rows

from posert import open_model
from posert.export import convert
from posert.poses import Poses
from posert.runtime.loop import estimate_image

pytestmark = pytest.mark.export
GREY: dict[str, Any] = {"odd": 0, "pad_value": (114.0, 114.0, 114.0), **oracle.LIKE_RTMLIB}
LIKE_OTHERS = {"mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}
RULE = {"min_score": 0.3, "max_iou": 0.45}


def pictures(input_wh: tuple[int, int], assets: Path | None = None) -> Iterator[np.ndarray]:
    """Those of the oracle, in the input's size."""
    import cv2

    for picture in oracle.pictures(assets):
        yield cv2.resize(picture, input_wh)


def people(file: Path, picture: np.ndarray, params: dict[str, Any]) -> Poses:
    with open_model(file, device="cpu", params=params) as model:
        return estimate_image(model, picture).poses


def assert_same_boxes(ours: np.ndarray, theirs: np.ndarray) -> int:
    """The number of boxes f32 [N,4], in any order."""
    order = [np.lexsort(boxes.round(1).T) for boxes in (ours, theirs)]
    assert len(ours) == len(theirs)
    assert ours[order[0]] == pytest.approx(theirs[order[1]], abs=oracle.MOST_PX)
    return len(ours)


def test_rtmo(tmp_path: Path) -> None:
    """Scores, and people in the same order."""
    file = tiny_rows.model(tmp_path / "rtmo.onnx", "rtmo", **GREY)
    theirs, seen = oracle.tool("RTMO", file, (640, 640), score_thr=0.3, nms_thr=0.45), 0
    for picture in pictures((640, 640)):
        keypoints, scores = theirs(picture)
        ours = people(file, picture, RULE).keypoints
        assert ours.shape[:2] == keypoints.shape[:2]
        assert not oracle.far_apart(ours, keypoints, scores).any()
        seen += len(ours)
    assert seen > 9


@pytest.mark.parametrize(("wide", "high"), [(1280, 720), (333, 500), (500, 333)])
def test_rtmo_on_other_sizes(tmp_path: Path, wide: int, high: int) -> None:
    """Content of 426.24 x 640 px fills 426 pixels: rtmlib says that they are .24 px wider, which at the right border is
    .19 px of the frame. Where nothing is cut both say the same. (Without suppression: rtmlib adds 1 px of the frame to
    sides before it compares, so that the same boxes overlap more in a small frame.)"""
    file = tiny_rows.model(tmp_path / "rtmo.onnx", "rtmo", **GREY)
    theirs = oracle.tool("RTMO", file, (640, 640), score_thr=0.3, nms_thr=1.0)
    picture = np.full((high, wide, 3), 200, np.uint8)
    keypoints, scores = theirs(picture)
    ratio = min(640 / wide, 640 / high)
    really = np.array([wide, high]) / np.floor(np.array([wide, high]) * ratio)
    ours = people(file, picture, {"min_score": 0.3}).keypoints
    assert ours.shape[:2] == keypoints.shape[:2]
    assert not oracle.far_apart(ours, keypoints * ratio * really, scores).any()
    assert len(ours) > 3


def test_rtmdet(tmp_path: Path) -> None:
    """Suppression inside the network: [1,n,5]."""
    file = tiny_rows.model(tmp_path / "rtmdet.onnx", "rtmo", **GREY, **LIKE_OTHERS)
    theirs, seen = oracle.tool("RTMDet", file, (640, 640)), 0
    for picture in pictures((640, 640)):
        seen += assert_same_boxes(people(file, picture, {"keypoints": 0}).boxes_xyxy, theirs(picture))
    assert seen > 9


def test_rf_detr(tmp_path: Path) -> None:
    """rtmlib looks at the 300 highest scores of all classes first, unless it is told otherwise; posert at people."""
    file = tiny_rows.model(tmp_path / "detr.onnx", "rf-detr", fit="stretch", odd=0, mean=(123.675, 116.28, 103.53),
                           std=(58.395, 57.12, 57.375), **oracle.LIKE_RTMLIB)  # fmt: skip
    theirs, seen = oracle.tool("RFDETR", file, (560, 560), num_select=300 * 91), 0
    for picture in [*pictures((560, 560)), np.full((480, 640, 3), 128, np.uint8)]:
        seen += assert_same_boxes(people(file, picture, {}).boxes_xyxy, theirs(picture))
    assert seen > 9


def test_yolox_on_photos(tmp_path: Path, assets: Path) -> None:
    """The real network. rtmlib asks each class for itself, posert (as YOLOX does) for the best class of a row: people
    who are a bit more a chair are rtmlib's alone, so both are asked for the rows that are surely people."""
    file = convert.tag(assets / "models" / "yolox_nano.onnx", "yolox-nano", tmp_path)
    theirs, seen = oracle.tool("YOLOX", file, (416, 416), det_mode="multiclass", score_thr=0.5, nms_thr=0.45), 0
    for picture in pictures((416, 416), assets):
        boxes, classes = theirs(picture)
        ours = people(file, picture, {"min_score": 0.5, "max_iou": 0.45}).boxes_xyxy
        seen += assert_same_boxes(ours, boxes[classes == 0].reshape(-1, 4))
    assert seen > 3
