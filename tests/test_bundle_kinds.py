"""Models of several kinds as C bundles: many people of one network, a detector and crops, and what C does not have."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import fields
import media
import numpy as np
import onnx
import pytest
import tiny_follow
import tiny_many
import tiny_maps
import tiny_topdown
from bundles import PLAIN, assert_same_people, built, noise
from command import Run
from tiny_kinds import KINDS

from posert import estimate, open_model
from posert.errors import PosertError
from posert.export.embed import bundle as embedded
from posert.export.embed import library
from posert.export.embed.bundle import bundle
from posert.poses import Frame
from posert.postprocess.decoders import paf
from posert.postprocess.following import FollowOptions
from posert.postprocess.kernels.records import numbers_of
from posert.runtime.loop import TopDown
from posert.runtime.spec import InputSpec, ModelSpec, Stage

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]


@pytest.fixture(scope="module")
def top_down(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("top_down")
    return built(tiny_topdown.pose(folder / "pose.onnx", tiny_topdown.detector(folder / "detector.onnx")), folder / "c")


def test_rows_of_people_are_the_same(tmp_path: Path) -> None:
    """MoveNet multipose's signature: six rows of keypoints, box and score; those over the least score remain."""
    model = tiny_many.rows(tmp_path / "rows.onnx")
    pictures = noise()
    assert assert_same_people(model, built(model, tmp_path / "c"), pictures) > 3 * len(pictures)


def test_a_detector_and_its_crops_give_the_same_people(top_down: Path) -> None:
    assert assert_same_people(top_down / "pose.onnx", top_down, noise()) >= 4


def test_parameters_are_the_bundles(top_down: Path, tmp_path: Path, run: Run) -> None:
    """A rule that takes everybody for one: C has it from `bundle`, and Python is told so."""
    folder, video = tmp_path / "c", media.video(tmp_path / "v.mp4", size_wh=(128, 96))
    assert run("bundle", top_down / "pose.onnx", "-o", folder, "--set", "suppress.gamma=0")[0] == 0
    subprocess.run(["make", "-s", "-C", folder], check=True)
    verified = run("verify", "--c", folder, "--source", video)
    assert verified[:2] == (0, "12 frames, 12 people, largest difference 0\n")


def test_what_a_network_takes_besides_is_the_same(tmp_path: Path, run: Run) -> None:
    """Float16 in and out, three further inputs, windows with a margin of their own; then as a user compares."""
    folder = built(KINDS["fed"](tmp_path), tmp_path / "c")
    assert assert_same_people(folder / "fed.onnx", folder, noise()) >= 4
    video = media.video(tmp_path / "v.mp4", size_wh=(128, 96))
    code, out, _ = run("verify", "--c", folder, "--source", video)
    assert (code, out) == (0, "12 frames, 24 people, largest difference 0\n")


@pytest.mark.parametrize("kind", ["palms", "turned"])
def test_turned_regions_are_the_same(tmp_path: Path, run: Run, kind: str) -> None:
    """After a detector's keypoints, and after the last picture's; and the detector cannot be left out in between."""
    folder = built(KINDS[kind](tmp_path), tmp_path / "c")
    assert assert_same_people(folder / f"{kind}.onnx", folder, [*noise(), *noise()]) >= 8
    video = media.video(tmp_path / "v.mp4", size_wh=(128, 96))
    code, out, _ = run("verify", "--c", folder, "--source", video)
    people = 24 if kind == "palms" else 12
    assert (code, out) == (0, f"12 frames, {people} people, largest difference 0\n")
    with pytest.raises(PosertError, match="detect_every 2: the model turns its regions by keypoints"):
        library.NativeModel(folder, detect_every=2)


def test_too_much_besides_the_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_MOST_CONSTANTS", 2)
    with pytest.raises(PosertError, match="fed takes 3 tensors besides the picture; C gives at most 2, of"):
        bundle(KINDS["fed"](tmp_path), tmp_path / "c")


def moving(count: int) -> list[Frame]:
    """A bright spot that walks, a second that comes and goes, noise behind; every seventh frame is black."""
    rng, frames = np.random.default_rng(4), []
    for index in range(count):
        image = rng.integers(0, 60, (96, 128, 3), np.uint8)
        image[20 + index : 30 + index, 10 + index : 22 + index] = 255
        if index % 5 > 2:
            image[70:80, 100:110] = 200
        frames.append(Frame(image * (index % 7 != 6), index, index / 10, "made"))
    return frames


@pytest.mark.parametrize("every", [1, 2, 4])
def test_the_detector_may_run_on_every_nth_frame(top_down: Path, every: int) -> None:
    assert 0 in same_people(top_down, moving(24), every)


@pytest.mark.parametrize("rule", ["steady", "tutorial"])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_everybody_is_followed_alike(tmp_path: Path, every: int, rule: str) -> None:
    """Two people cross, a third comes and leaves again, and a few frames are noise or black."""
    folder = built(KINDS["everybody"](tmp_path), tmp_path / "c", params={"follow.rule": rule})
    walks = [[(20 + 2 * i, 40), (108 - 2 * i, 46), *[(60, 76)] * (9 < i < 30)] * (i != 33) for i in range(48)]
    frames = [tiny_follow.scene(*squares, index=i) for i, squares in enumerate(walks)]
    frames[36:36] = [replace(frames[0], bgr=image) for image in noise()]
    assert {0, 2, 3} <= set(same_people(folder, frames, every, **{"follow.rule": rule}))


def same_people(
    folder: Path, frames: list[Frame], every: int, follow: dict[str, float] | None = None, **params: Any
) -> list[int]:
    """Compares the bits of both, C twice over; the number of people of each frame."""
    people = []
    with open_model(folder / "pose.onnx", device="cpu", threads=1, params=params) as model:
        python = [result.poses for result in estimate(model, frames, top_down=TopDown(detect_every=every))]
    with library.NativeModel(folder, detect_every=every, follow=follow) as model:
        for again in range(2):
            for number, (frame, own) in enumerate(zip(frames, python, strict=True)):
                theirs = model.estimate(frame.bgr)
                people.append(len(own))
                for name in ("keypoints", "scores", "boxes_xyxy"):
                    assert getattr(theirs, name).tobytes() == getattr(own, name).tobytes(), (again, number, name)
            model.reset()
    assert sum(people) > 20
    return people


def test_the_rule_of_following_is_an_option_in_c(tmp_path: Path) -> None:
    """A person who walks, a cut, another person: by either rule as in Python, and not as by the other rule."""
    folder = built(tiny_follow.pose(tmp_path / "pose.onnx"), tmp_path / "c")
    walk = [tiny_follow.scene((20 + 3 * i, 40 + i % 3), index=i) for i in range(15)]
    rest = [tiny_follow.scene((20, 30), (66, 52), index=15 + i) for i in range(6)]
    walk += [
        replace(frame, bgr=255 - frame.bgr // 2 if number == 0 else frame.bgr) for number, frame in enumerate(rest)
    ]
    asked = [{}, {"rule": 0}, {"rule": 1}, {"cut": 0}, {"share": 0.1, "slack": 0.2, "patience": 2}]
    found = []
    for follow in asked:
        words = {name: ("steady", "tutorial")[value] if name == "rule" else value for name, value in follow.items()}
        same_people(folder, walk, 1, follow, **{f"follow.{name}": value for name, value in words.items()})
        with library.NativeModel(folder, follow=follow) as model:
            found.append(b"".join(model.estimate(frame.bgr).keypoints.tobytes() for frame in walk))
    assert found[0] == found[1]
    assert len(set(found)) == len(asked) - 1


def test_a_bundle_follows_as_it_was_told_and_c_by_its_own_options(tmp_path: Path) -> None:
    """The record has the fields of `FollowOptions`, and begins with what `bundle --set` says."""
    written = FollowOptions(rule="tutorial", share=0.25, slack=0.5, patience=7, cut=3)
    params = {f"follow.{name}": value for name, value in asdict(written).items()}
    folder = built(tiny_follow.pose(tmp_path / "pose.onnx"), tmp_path / "c", params=params)
    record = re.search(
        r"typedef struct posert_follow \{(.*?)\} posert_follow;", (folder / "posert.h").read_text(), re.S
    )
    assert record is not None
    assert re.findall(r"^ {4}\w+ (\w+);", record[1], re.M) == [field.name for field in fields_of(FollowOptions)]
    (folder / "told.c").write_text(TOLD)
    subprocess.run(["cc", *PLAIN, folder / "told.c", "-L", folder, "-lposert", "-o", folder / "told"], check=True)
    told = subprocess.run(
        folder / "told", env={"LD_LIBRARY_PATH": str(folder)}, capture_output=True, text=True, check=True
    )
    assert [float(word) for word in told.stdout.split()] == numbers_of(written).tolist()


TOLD = """
#include "posert.h"
#include <stdio.h>
int main(void)
{
    const posert_follow follow = posert_default_options().follow;
    printf("%d %g %g %d %g", (int)follow.rule, follow.share, follow.slack, follow.patience, follow.cut);
    return 0;
}
"""


def test_every_picture_of_a_folder_is_looked_at_anew(tmp_path: Path) -> None:
    """`posert verify` once followed from one photo to the next in C alone: another number of people, "inf" apart."""
    folder = built(KINDS["follow"](tmp_path), tmp_path / "c")
    frames = [Frame(image, number, 0.0, f"{number}.jpg") for number, image in enumerate(noise())]
    with library.NativeModel(folder) as model:
        without = [model.estimate(frame.bgr).keypoints for frame in frames]
        model.reset()
        assert without[1].tobytes() != model.estimate(frames[1].bgr).keypoints.tobytes()
    seen, _, largest_px = library.compare(folder, frames)
    assert (seen, largest_px) == (len(frames), 0)


@pytest.mark.parametrize("every", [-1, 2])
def test_a_detector_that_is_not_there_cannot_be_left_out(tmp_path: Path, every: int) -> None:
    folder = built(tiny_many.rows(tmp_path / "rows.onnx"), tmp_path / "c")
    with pytest.raises(PosertError, match=f"detect_every {every}: "):
        library.NativeModel(folder, detect_every=every)


def several_sizes(path: Path) -> Path:
    spec = InputSpec("image", "NCHW", "float32", "bgr", (64, 64), "corner_pixels", 16)
    maps = {"heatmaps": np.zeros((19, 8, 8), np.float32), "pafs": np.zeros((38, 8, 8), np.float32)}
    params = {"paf_channels": paf.COCO_18_CHANNELS}
    stage = Stage("pose", "frame", spec, {role: role for role in maps}, "bodyparts", params, scales=(1.0, 0.5))
    model = onnx.load(tiny_maps.shown(path, maps, ModelSpec(1, "toy", "sizes", fields.BODY_18, (stage,))))
    for axis, name in ((2, "h"), (3, "w")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (tiny_topdown.pose, "bright-person looks at boxes and has no detector"),
        (several_sizes, "sizes averages over several sizes, which C cannot"),
    ],
)
def test_what_c_does_not_have_is_refused(tmp_path: Path, model: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(PosertError, match=message):
        bundle(model(tmp_path / "model.onnx"), tmp_path / "c")
    assert not (tmp_path / "c").exists()
