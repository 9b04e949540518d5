"""Videos in the site of `posert web`: Python's people in each frame, by models that follow too where Python looks."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import browser
from web_browser import (
    apart,
    boxes_of,
    decided_as_in_python,
    in_boxes,
    in_video,
    official,
    pair,
    python,
    ready,
    serving,
    site_of,
    until,
)  # fmt: skip

from posert.export.nano import clip
from posert.poses import Frame
from posert.runtime.loop import People
from posert.runtime.media.read import frames
from posert.runtime.session import Model, open_model

pytestmark = pytest.mark.pages
COUNT = 10


def webm(path: Path, pictures: list[np.ndarray]) -> Path:
    """A video that every browser plays."""
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 10, (width, height))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def test_frames_of_the_embedded_network_have_pythons_people(tmp_path: Path) -> None:
    site = site_of(["nano"], tmp_path / "site")
    webm(site / "walk.webm", [clip.render(80 + 2 * index)[0] for index in range(24)])
    with serving(site) as (address, _), browser() as chromium, open_model("nano", device="cpu", threads=1) as model:
        pictures, people = in_video(ready(chromium.new_page(), address), "walk.webm", COUNT)
        assert len({frame.bgr.tobytes() for frame in pictures}) == COUNT
        assert max(apart(found, python(model, frame.bgr)) for frame, found in zip(pictures, people, strict=True)) < 1e-3
        assert sum(map(len, people)) >= COUNT


def regions(model: Model, pictures: list[Frame]) -> list[list[float]]:
    """Where Python looks in each frame, as the box [left, top, right, bottom] that its window is made of."""
    people, found = People(model), []
    placed = people.gaze.windows

    def noted(*where: Any) -> Any:
        windows, input_wh = placed(*where)
        found.append(windows[0])
        return windows, input_wh

    people.gaze.windows = noted  # type: ignore[method-assign]
    for frame in pictures:
        people([frame])
    margin = model.spec.stages[0].input.margin or 1.2
    return [
        [x - half, y - half, x + half, y + half]
        for left, top, right, bottom in found
        for x, y, half in [((left + right) / 2, (top + bottom) / 2, (right - left) / 2 / margin)]
    ]


@pytest.mark.assets
def test_a_model_that_follows_has_pythons_keypoints_in_pythons_regions(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MoveNet and a dancer; `boxes` of the module are Python's own."""
    site = site_of(["nano"], tmp_path / "site")
    model = official("movenet-lightning", assets / "models/movenet_tfjs/movenet-lightning.json", tmp_path, monkeypatch)
    dance = [frame.bgr for frame in frames(str(assets / "media/videos/movenet_dance_keith.mp4"))][60:180:10]
    webm(site / "dance.webm", dance)
    with serving(site) as (address, _), browser() as chromium, open_model(model, device="cpu", threads=1) as own:
        tab = ready(chromium.new_page(), address)
        tab.set_input_files("input[type=file]", model)
        until(tab, f"posert.model?.name === '{own.spec.model}'")
        pictures, _ = in_video(tab, "dance.webm", COUNT)
        given = np.float32(regions(own, pictures))
        again, people = in_video(tab, "dance.webm", COUNT, [[box] for box in given.tolist()])
        for frame, same, box, found in zip(pictures, again, given, people, strict=True):
            assert np.array_equal(frame.bgr, same.bgr)
            poses = in_boxes(own, frame, box[None])
            assert (poses.keypoints[..., 2] > 0.2).sum() > 8
            assert apart(found, poses, 0.2) < 1e-3
        assert len(np.unique(given, axis=0)) > 1


@pytest.mark.assets
def test_a_detector_and_a_network_for_its_crops_have_pythons_people(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python's boxes; in the page's own, too, but for one keypoint in fifty: see `decided_as_in_python`."""
    site = site_of(["nano"], tmp_path / "site")
    file = assets / "models/ultralight_nano_simplepose.onnx"
    model = official("alphapose-ultralight-simplepose", file, tmp_path, monkeypatch)
    walkers = [frame.bgr for frame in frames(str(assets / "media/videos/pose2sim_multi_cam02.mp4"))][:60:6]
    webm(site / "walkers.webm", [cv2.resize(picture, (960, 540)) for picture in walkers])
    with pair(model, site) as (tab, own, detector):
        tab.evaluate(f"posert.open('{model.name}')")
        pictures, everybody = in_video(tab, "walkers.webm", COUNT)
        given = [boxes_of(detector, frame) for frame in pictures]
        again, exact = in_video(tab, "walkers.webm", COUNT, [boxes.tolist() for boxes in given])
        for frame, same_frame, boxes, people in zip(pictures, again, given, exact, strict=True):
            assert np.array_equal(frame.bgr, same_frame.bgr)
            assert apart(people, in_boxes(own, frame, boxes)) < 1e-3
        total, jumped = 0, 0
        for frame, people in zip(pictures, everybody, strict=True):
            same = decided_as_in_python(own, detector, frame, people)
            total, jumped = total + same.size, jumped + np.count_nonzero(~same)
        assert total > 17 * COUNT
        assert jumped < 0.02 * total
