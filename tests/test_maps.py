"""Heatmaps and limbs' fields: read by name from what networks give, where they lie in the frame, and drawn."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import media
import numpy as np
import pytest
import tiny_kinds
from command import Run

from posert import Frame, PosertError, drawer, estimate, estimate_image, open_model
from posert.poses import PartMap, Result, no_poses
from posert.postprocess.maps import map_reader
from posert.skeletons import COCO_17

RNG = np.random.default_rng(5)
PICTURE = Frame(RNG.integers(100, 255, (150, 200, 3), np.uint8))
KINDS = ["limbs", "bodies", "crops", "stars"]


def read(asked: str, outputs: dict[str, np.ndarray], **params: object) -> np.ndarray:
    return map_reader(asked, {role: role for role in outputs}, COCO_17, SimpleNamespace(**params))(outputs)


def test_maps_are_read_by_name() -> None:
    heatmaps, pafs = (RNG.normal(size=(2, count, 3, 4)).astype(np.float32) for count in (18, 40))
    channels = [(2 * limb + 1, 2 * limb) for limb in range(16)]
    outputs = {"heatmaps": heatmaps, "pafs": pafs}
    assert np.array_equal(read("heatmap:left_elbow", outputs), heatmaps[:, 7])
    assert np.array_equal(read("heatmap:all", outputs), heatmaps[:, :17].max(axis=1))
    for name in ("left_shoulder-left_elbow", "left_elbow-left_shoulder"):
        assert np.array_equal(read(f"paf:{name}", outputs, paf_channels=channels), pafs[:, [11, 10]])
    longest = read("paf:all", outputs, paf_channels=channels)
    assert np.hypot(*longest[1]) == pytest.approx(np.hypot(pafs[1, 1:32:2], pafs[1, 0:32:2]).max(axis=0))


def test_logits_and_composite_fields() -> None:
    maps = RNG.normal(size=(2, 17, 3, 4)).astype(np.float32)
    for integral, first in ((0, 17), (-1, 0), (5, 12)):
        got = np.stack([read(f"heatmap:{name}", {"maps": maps}, integral=integral) for name in COCO_17.names], axis=1)
        assert np.array_equal(got[:, :first], maps[:, :first])
        assert got[:, first:] == pytest.approx(1 / (1 + np.exp(-maps[:, first:])), abs=1e-6)
    cif, caf = RNG.uniform(size=(1, 17, 5, 3, 4)), RNG.uniform(size=(1, 16, 8, 3, 4))
    assert np.array_equal(read("heatmap:nose", {"cif": cif, "caf": caf}), cif[:, 0, 1].astype(np.float32))
    field = read("paf:left_hip-left_knee", {"cif": cif, "caf": caf})
    limb = COCO_17.edges.index((11, 13))
    assert np.hypot(*field[0]) == pytest.approx(caf[0, limb, 1], abs=1e-5)
    assert np.arctan2(*field[0]) == pytest.approx(np.arctan2(*(caf[0, limb, 4:6] - caf[0, limb, 2:4])), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_lie_where_their_keypoints_are(tmp_path: Path, kind: str) -> None:
    """Whole frames and crops: at a keypoint's place the map has nearly the keypoint's score. Composite fields have not
    at every: a joint may come from its neighbour's."""
    with open_model(getattr(tiny_kinds, kind)(tmp_path), device="cpu", threads=1) as model:
        names = model.spec.skeleton.names
        result = estimate_image(model, PICTURE, maps=[f"heatmap:{name}" for name in names])
    assert len(result.poses) > 1
    shares = []
    for k, one in enumerate(result.maps):
        assert one.asked == f"heatmap:{names[k]}"
        for x, y, score in result.poses.keypoints[:, k]:
            if score > 0 and 0 <= x < 199 and 0 <= y < 149:
                shares.append(near(one, x, y) / score)
    assert len(shares) > 3
    assert (np.quantile(shares, 0.4) > 0.5) if kind == "stars" else (min(shares) > 0.7)


def near(one: PartMap, x: float, y: float) -> float:
    """The greatest value of the cells around a place in the frame, over all windows."""
    best = 0.0
    for values, to_frame in zip(one.values, one.to_frame, strict=True):
        column, row = np.linalg.solve(to_frame[:, :2], (x, y) - to_frame[:, 2])
        around = values[max(0, int(row)) : int(row) + 2, max(0, int(column)) : int(column) + 2]
        best = max(best, float(around.max(initial=0)))
    return best


@pytest.mark.parametrize("kind", KINDS)
def test_people_are_the_same_with_maps(tmp_path: Path, kind: str) -> None:
    """Batches and threads as well; the maps are each frame's own."""
    path = getattr(tiny_kinds, kind)(tmp_path)
    pictures = [RNG.integers(0, 50 * k + 10, (150, 200, 3), np.uint8) for k in range(5)]
    with open_model(path, device="cpu", threads=2, workers=2) as model:
        asked = ["heatmap:all"]
        plain = list(estimate(model, pictures))
        batch = 2 if not model.single_row("pose") else 1
        mapped = list(estimate(model, pictures, maps=asked, batch=batch))
        each = [estimate_image(model, picture, maps=asked) for picture in pictures]
    for one, other, alone in zip(plain, mapped, each, strict=True):
        assert np.array_equal(one.poses.keypoints, other.poses.keypoints)
        assert one.maps == ()
        assert len(other.maps) == len(alone.maps)
        for own, again in zip(other.maps, alone.maps, strict=True):
            assert own.values == pytest.approx(again.values, rel=1e-5, abs=1e-6, nan_ok=True)
            assert np.array_equal(own.to_frame, again.to_frame)


def result_with(one: PartMap) -> Result:
    return Result(0, 0.0, (100, 80), "a", no_poses(17), {}, maps=(one,))


def test_a_heatmap_is_drawn_where_it_is() -> None:
    values = np.zeros((1, 8, 10), np.float32)
    values[0, 2, 7] = 1
    one = PartMap("heatmap:nose", values, np.array([[[10, 0, 4.5], [0, 10, 4.5]]]))
    frame = Frame(np.full((80, 100, 3), 50, np.uint8))
    picture = drawer(COCO_17, maps=("heatmap:nose",))(frame, result_with(one))
    changed = np.abs(picture.astype(int) - 50).sum(axis=2)
    assert np.argwhere(changed).mean(axis=0) == pytest.approx((24.5, 74.5), abs=1)
    assert not changed[40:].any()
    assert np.array_equal(drawer(COCO_17)(frame, result_with(one)), frame.bgr)


@pytest.mark.parametrize(("x", "y", "rgb"), [(1, 0, (255, 0, 0)), (0, 1, (128, 255, 0)), (-1, 0, (0, 255, 255))])
@pytest.mark.parametrize("turned", [False, True])
def test_a_field_has_the_hue_of_its_direction(x: float, y: float, rgb: tuple[int, ...], turned: bool) -> None:
    """In the frame: a window that is turned turns it too."""
    values = np.zeros((1, 2, 8, 8), np.float32)
    values[0, :, 2:6, 2:6] = np.array((x, y))[:, None, None]
    to_frame = np.array([[[10, 0, 4.5], [0, 10, 4.5]]], float)
    if turned:  # a quarter, clockwise: right is down
        values = np.stack([values[:, 1], -values[:, 0]], axis=1)
        to_frame = np.array([[[0, -10, 74.5], [10, 0, 4.5]]], float)
    one = PartMap("paf:all", values, to_frame)
    frame = Frame(np.zeros((80, 80, 3), np.uint8))
    picture = drawer(COCO_17, maps=("paf:all",))(frame, result_with(one))
    assert picture[40, 40, ::-1] == pytest.approx(0.85 * np.array(rgb), abs=8)


def test_numbers_that_are_none_are_not_drawn() -> None:
    values = np.full((1, 4, 4), np.nan, np.float32)
    values[0, 0] = np.inf
    one = PartMap("heatmap:all", values, np.array([[[10, 0, 4.5], [0, 10, 4.5]]]))
    frame = Frame(np.full((40, 40, 3), 50, np.uint8))
    picture = drawer(COCO_17, maps=("heatmap:all",))(frame, result_with(one))
    assert (picture[25:] == 50).all()


WRONG = [("heatmap:nose", "none of them heatmaps or maps or cif"), ("paf:all", "none of them pafs or caf"),
         ("zap:nose", "none of them ")]  # fmt: skip


@pytest.mark.parametrize(("asked", "message"), WRONG)
def test_a_model_without_maps_says_which_have_some(
    run: Run, model: Path, tmp_path: Path, asked: str, message: str
) -> None:
    code, _, err = run(
        "infer", model, media.video(tmp_path / "a.mp4"), "--overlay", tmp_path / "b.mp4", "--draw", asked
    )
    assert code == 1
    assert f"{asked}: the network's outputs are keypoints, {message}" in err
    assert "decoders paf, bodyparts and cifcaf" in err
    assert not (tmp_path / "b.mp4").exists()


def test_unknown_names_are_listed() -> None:
    with pytest.raises(PosertError, match="there is no 'noze'") as error:
        read("heatmap:noze", {"heatmaps": np.zeros((1, 17, 2, 2))})
    assert "nose, left_eye" in error.value.hint
    with pytest.raises(PosertError, match="there is no 'nose-left_knee'"):
        read("paf:nose-left_knee", {"pafs": np.zeros((1, 38, 2, 2))})


def test_the_command_draws_maps(run: Run, tmp_path: Path) -> None:
    path = tiny_kinds.limbs(tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE.bgr)
    flags = ["--draw", "heatmap:part_3", "--draw", "paf:all", "--draw", "line_width=0", "--draw", "radius=0"]
    code, _, err = run("infer", path, tmp_path / "a.png", "--overlay", tmp_path / "b.png", *flags)
    assert code == 0, err
    with open_model(path, device="cpu") as model:
        asked = ("heatmap:part_3", "paf:all")
        result = estimate_image(model, PICTURE, maps=asked)
        expected = drawer(model.spec.skeleton, maps=asked, line_width=0, radius=0)(PICTURE, result)
    assert np.array_equal(cv2.imread(str(tmp_path / "b.png")), expected)
    assert not np.array_equal(expected, PICTURE.bgr)
