"""Hands and faces in C: body and parts in one call, the same bits as in Python, followed from picture to picture."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import media
import numpy as np
import pytest
import tiny_parts
from bundles import built, noise
from command import Run
from tiny_parts import BODY, BOTH, arm, hand, scene

from posert import estimate, open_model
from posert.errors import PosertError
from posert.export.embed import library
from posert.export.embed.bundle import bundle
from posert.poses import Frame, Skeleton
from posert.runtime.region_spec import Parts

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]


def dance() -> list[Frame]:
    """Two people whose arms and hands move, at times one, at times nobody; noise in between."""
    frames = []
    for i in range(24):
        sway, still = 6 * np.sin(i / 3), arm(44 + 12j, 44 + 24j, 44 + 36j)
        moved = arm(12 + 10j, 14 + sway + 20j, 12 + 1.5 * sway + 30j)
        drawn = [hand(44 + 37j, 1 + 2j), hand(12 + 1.5 * sway + 31j, sway / 6 + 2j)]
        bodies = [np.vstack([moved, still]), np.vstack([still, still])][: 2 - (i % 7 == 3) - (i % 9 == 5)]
        frames.append(scene(bodies, drawn if i % 5 else drawn[:1], i))
    frames[10:10] = [Frame(image, 0, 0.0, "made") for image in noise()]
    return [replace(frame, index=i) for i, frame in enumerate(frames)]


def same(folder: Path, parts: tuple[Path, ...], frames: list[Frame]) -> np.ndarray:
    """Compares the bits of both, C twice over; how many keypoints of parts there are in each frame."""
    found = []
    with open_model(folder / library.main_file(folder), device="cpu", threads=1, parts=parts) as model:
        python = [result.poses for result in estimate(model, frames)]
        body = len(model.spec.skeleton.names) - sum(len(part.names) for part in _parts(model.spec.stages))
    with library.NativeModel(folder) as native:
        for again in range(2):
            for frame, own in zip(frames, python, strict=True):
                theirs = native.estimate(frame.bgr)
                for name in ("keypoints", "scores", "boxes_xyxy"):
                    assert getattr(theirs, name).tobytes() == getattr(own, name).tobytes(), (again, frame.index, name)
                found.append(np.count_nonzero(own.keypoints[:, body:, 2]))
            native.reset()
    return np.array(found)


def _parts(stages: tuple) -> list:
    return [part for stage in stages if stage.region == "parts" for part in stage.parts.each]


@pytest.mark.parametrize("kind", ["followed", "mirrored", "alone"])
def test_hands_are_the_same(tmp_path: Path, kind: str) -> None:
    mirrored = tuple(replace(part, mirrored=True, up=None) for part in BOTH.each)
    parts = {
        "followed": replace(BOTH, apart=0.2),
        "mirrored": replace(BOTH, each=mirrored),
        "alone": replace(BOTH, again=None),
    }[kind]
    hands, body = tiny_parts.hands(tmp_path / "hands.onnx", parts), tiny_parts.arms(tmp_path / "arms.onnx")
    folder = built(body, tmp_path / "c", parts=(hands,))
    found = same(folder, (hands,), dance())
    assert found.max() >= 6
    assert 0 in found


def test_a_face_and_hands_are_the_same(tmp_path: Path, run: Run) -> None:
    """Three networks behind one body, in the shapes of CMU OpenPose's and with weights of nobody's; then `verify`."""
    body = tiny_parts.arms(tmp_path / "body.onnx", Skeleton((*BODY.names, "nose", "neck", "left_eye", "right_eye"), ()))
    names = ("openpose-face", "openpose-hand")
    parts = tuple(tiny_parts.maps(tmp_path / f"{name}.onnx", name) for name in names)
    more = tiny_parts.hands(tmp_path / "more.onnx", Parts(BOTH.each[:1], BOTH.again))
    code, out, err = run(
        "bundle", body, "-o", tmp_path / "c", *(word for one in (*parts, more) for word in ("--parts", one))
    )
    assert code == 0, err
    subprocess.run(["make", "-s", "-C", tmp_path / "c"], check=True)
    assert library.part_files(tmp_path / "c") == tuple(tmp_path / "c" / file.name for file in (*parts, more))
    head = np.array([[32, 14, 0.9], [32, 24, 0.9], [35, 12, 0.9], [29, 12, 0.9]])
    body, frames = np.vstack([arm(44 + 20j, 46 + 28j, 48 + 36j), arm(20 + 20j, 16 + 28j, 12 + 36j), head]), []
    for i in range(3):
        drawn = [hand(48.5 + i + 38.5j, 1 + 2j), hand(12.5 + 39.5j, -1 + 2j), np.array([[30, 14], [33, 16], [36, 12]])]
        frames.append(scene([body], drawn, i, 1))
    assert same(tmp_path / "c", (*parts, more), frames).min() > 70
    video = media.video(tmp_path / "v.mp4", size_wh=(64, 64))
    code, out, _ = run("verify", "--c", tmp_path / "c", "--source", video)
    assert (code, out.endswith("largest difference 0\n")) == (0, True)


def test_two_networks_of_one_file_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    hands, body = tiny_parts.hands(tmp_path / "model.onnx"), tiny_parts.arms(tmp_path / "other" / "model.onnx")
    with pytest.raises(PosertError, match=r"two files are called model.onnx"):
        bundle(body, tmp_path / "c", parts=(hands,))
