"""A detector and a network for its crops in the site of `posert web`, each given what Python's is given.

Together a pair decides like Python but where rounding does: `decided_as_in_python`, and tests/bench/web_pairs.py.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from web_browser import LOOKING, apart, boxes_of, in_boxes, official, pair, python, site_of

from posert.poses import Frame

pytestmark = [pytest.mark.pages, pytest.mark.assets]
PAIRS = {
    "alphapose-ultralight-simplepose": "ultralight_nano_simplepose.onnx",
    "movenet-thunder-people": "movenet_tfjs/movenet-thunder.json",
}
PHOTOS = 12


@pytest.mark.parametrize("name", PAIRS)
def test_both_networks_have_pythons_results(
    name: str, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every box, and in Python's boxes every keypoint of everybody, whatever its score."""
    site, people = site_of(["nano"], tmp_path / "site"), 0
    model = official(name, assets / "models" / PAIRS[name], tmp_path, monkeypatch)
    with pair(model, site) as (tab, own, detector):
        for photo in sorted(assets.glob("media/coco100/images/*.jpg"))[:PHOTOS]:
            frame = Frame(cv2.imread(str(photo)))
            cv2.imwrite(str(site / f"{photo.stem}.png"), frame.bgr)
            detected = tab.evaluate(LOOKING, [own.files["detector"].name, f"{photo.stem}.png", None])
            boxes = python(detector, frame.bgr).boxes_xyxy
            assert len(detected) == len(boxes) >= 1
            assert np.abs([found["box"] for found in detected] - boxes).max() < 1e-3
            given = boxes_of(detector, frame)
            poses = in_boxes(own, frame, given)
            assert apart(tab.evaluate(LOOKING, [model.name, f"{photo.stem}.png", given.tolist()]), poses) < 1e-3
            people += len(poses)
        assert people > 4 * PHOTOS
        assert tab.problems == []
