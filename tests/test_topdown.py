"""Decoders `heatmap` and `detect`, suppression rule `poses`: against AlphaPose's own outputs and slow twins."""

from dataclasses import replace
from pathlib import Path

import naive_alphapose as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.errors import PosertError
from posert.poses import Poses, Skeleton, join, no_poses
from posert.postprocess import decoder, suppression_params, suppression_rule
from posert.postprocess.decoders import detect, heatmap
from posert.postprocess.geometry import box_nms, to_frame
from posert.postprocess.suppression import poses as rule
from posert.runtime.prepare import prepare
from posert.runtime.spec import InputSpec
from posert.runtime.windows import place

FLIP = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
BODY = Skeleton(tuple(map(str, range(17))), (), (), FLIP)
INPUT_WH = (192, 256)
PX = 1e-4  # float32 pixels of a few hundred


def skeleton(count: int) -> Skeleton:
    return Skeleton(tuple(map(str, range(count))), ())


@pytest.mark.parametrize(
    ("integral", "gain", "xy", "score"), [(0, 1, "simple_xy", "simple_score"), (-1, 8, "regress_xy", "regress_score")]
)
def test_maps_decode_as_the_original_does(golden: Path, integral: int, gain: float, xy: str, score: str) -> None:
    made = np.load(golden / "alphapose.npz")
    rows = heatmap.decode({"maps": made["heatmaps"] * gain}, BODY, heatmap.Params(integral), INPUT_WH)
    found = join([to_frame(row, box, INPUT_WH) for row, box in zip(rows, made["cropped_boxes"], strict=False)], 17)
    assert found.keypoints[:, :, :2] == pytest.approx(made[xy][:3], abs=PX)
    assert found.keypoints[:, :, 2:] == pytest.approx(made[score][:3], abs=1e-6)


def test_combined_decodes_the_last_keypoints_by_mass(golden: Path) -> None:
    maps = {"maps": np.load(golden / "alphapose.npz")["heatmaps"]}
    both, peaks, means = (
        join(heatmap.decode(maps, BODY, heatmap.Params(n), INPUT_WH), 17).keypoints for n in (5, 0, -1)
    )
    assert (both[:, :12] == peaks[:, :12]).all()
    assert (both[:, 12:] == means[:, 12:]).all()
    assert (peaks != means).any()


def unmirrored(maps: np.ndarray) -> np.ndarray:
    """f32 [R,K,H,W] of mirrored inputs as of the inputs themselves."""
    out = np.empty_like(maps)
    for row, k in np.ndindex(maps.shape[:2]):
        heatmap.unmirror(maps[row, FLIP[k]].ravel(), maps.shape[3], 1, out[row, k].reshape(-1))
    return out


def test_mirrored_maps_come_back(golden: Path) -> None:
    made = np.load(golden / "alphapose.npz")
    assert (unmirrored(made["heatmaps"][:1]) == made["flipped_first"]).all()


def test_mirrored_maps_are_averaged(golden: Path) -> None:
    maps = np.load(golden / "alphapose.npz")["heatmaps"]
    mirrored = unmirrored(maps)
    averaged = heatmap.decode({"maps": maps, "mirrored_maps": maps}, BODY, heatmap.Params(), INPUT_WH)
    expected = heatmap.decode({"maps": (maps + mirrored) / 2}, BODY, heatmap.Params(), INPUT_WH)
    assert (join(averaged, 17).keypoints == join(expected, 17).keypoints).all()
    means = [join(heatmap.decode({"maps": m}, BODY, heatmap.Params(-1), INPUT_WH), 17) for m in (maps, mirrored)]
    both = join(heatmap.decode({"maps": maps, "mirrored_maps": maps}, BODY, heatmap.Params(-1), INPUT_WH), 17)
    assert (both.keypoints == (means[0].keypoints + means[1].keypoints) / 2).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_maps_and_their_slow_twins(seed: int, height: int, width: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 1, (2, 3, height, width)).astype(np.float32)
    if ties:
        maps = np.round(maps)
    found = heatmap.decode({"maps": maps}, skeleton(3), heatmap.Params(1), (width, height))
    for row in range(2):
        expected = [naive.peak(maps[row, 0]), naive.peak(maps[row, 1]), naive.mean(maps[row, 2])]
        assert found[row].keypoints[0] == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_maps_without_a_number_are_not_found(bad: float) -> None:
    maps = np.full((1, 2, 4, 4), bad, np.float32)
    maps[0, 1, 1, 1] = 2.0
    (pose,) = heatmap.decode({"maps": maps}, skeleton(2), heatmap.Params(), (4, 4))
    assert pose.keypoints.tolist() == [[[0, 0, 0], [1, 1, 2]]]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"fields": np.zeros((1, 17, 2, 2))}, "it needs maps"),
        ({"maps": np.zeros((1, 16, 2, 2))}, r"maps \[1, 16, 2, 2\]: maps must be \[R,K,H,W\]"),
        ({"maps": np.zeros((1, 17, 0, 2))}, r"must be \[R,K,H,W\]"),
        ({"maps": np.zeros((1, 17, 2, 2, 1))}, r"must be \[R,K,H,W\]"),
        ({"maps": np.zeros((1, 17, 2, 2)), "mirrored_maps": np.zeros((1, 17, 2, 3))}, "the shape of maps"),
    ],
)
def test_maps_that_do_not_fit(outputs: dict, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        heatmap.decode(outputs, BODY, heatmap.Params(), INPUT_WH)


@pytest.mark.parametrize("flip", [(), (1,), (1, 2), (-1, 0)])
def test_mirroring_needs_to_know_left_from_right(flip: tuple) -> None:
    maps = np.zeros((1, 2, 4, 4), np.float32)
    with pytest.raises(PosertError, match="swap sides"):
        heatmap.decode({"maps": maps, "mirrored_maps": maps}, replace(skeleton(2), flip=flip), heatmap.Params(), (4, 4))


def test_the_letterbox_is_the_originals(golden: Path) -> None:
    """One grey level where OpenCV's fixed-point cubic rounds the other way."""
    image = np.ascontiguousarray(np.load(golden / "alphapose_crops.npz")["img_rgb"][:, :, ::-1])
    spec = InputSpec(
        "i", "NHWC", "float32", "bgr", (608, 608), "letterbox", interpolation="cubic", rounding="round",
        pad_value=(128.0, 128.0, 128.0),
    )  # fmt: skip
    windows, input_wh = place((image.shape[1], image.shape[0]), spec)
    rows = prepare(image, windows, spec, input_wh)[0, ::16]
    difference = np.abs(rows - np.load(golden / "alphapose.npz")["letterbox_every_16th_row"])
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


def test_heads_give_the_boxes_of_the_original(golden: Path) -> None:
    """The original counted the crowd over its whole batch (182 boxes), which made it use the stricter overlap."""
    made = np.load(golden / "alphapose_yolo.npz")
    heads = {f"head{stride}": made[f"head{stride}"] for stride in (8, 16, 32)}
    found = detect.decode(heads, BODY, detect.Params(crowd=0), (96, 96))
    for image, boxes in enumerate(found):
        rows = made["dets_net"][:, 0] == image
        expected, in_frame = made["dets_net"][rows], made["dets_img"][rows]
        assert len(boxes) == len(expected)
        assert boxes.boxes_xyxy == pytest.approx(expected[:, 1:5], abs=5e-6)  # one last digit: another exp
        assert boxes.scores == pytest.approx(expected[:, 5], abs=1e-7)
        width, height = made["orig_wh"][image].tolist()
        scale = min(96 / width, 96 / height)
        pad = (96 - width * scale) / 2, (96 - height * scale) / 2
        window = [-pad[0] / scale, -pad[1] / scale, (96 - pad[0]) / scale, (96 - pad[1]) / scale]
        moved = to_frame(boxes, window, (96, 96)).boxes_xyxy.clip(0, [width, height, width, height])
        assert moved == pytest.approx(in_frame[:, 1:5], abs=PX)


def test_a_crowd_gets_the_stricter_overlap(golden: Path) -> None:
    made = np.load(golden / "alphapose_yolo.npz")
    heads = {f"head{stride}": made[f"head{stride}"] for stride in (8, 16, 32)}
    counts = [
        [len(row) for row in detect.decode(heads, BODY, detect.Params(crowd=crowd), (96, 96))] for crowd in (99, 100)
    ]
    assert counts == [[98, 85], [100, 85]]


def grid_rows(people: dict[int, tuple], classes: int = 80, size: int = 64) -> np.ndarray:
    """Rows of an empty picture, with (x, y, log w, log h, objectness, class, class score) at some cells."""
    cells = sum((size // stride) ** 2 for stride in (8, 16, 32))
    rows = np.zeros((1, cells, 5 + classes), np.float32)
    for cell, (x, y, w, h, objectness, kind, score) in people.items():
        rows[0, cell, :5] = x, y, w, h, objectness
        rows[0, cell, 5 + kind] = score
    return rows


def test_rows_of_a_grid() -> None:
    big = (0.5, 0.25, np.log(2), np.log(3), 0.9, 0, 0.8)  # cell 64 + 5 is column 1, line 1 of stride 16
    rows = grid_rows({69: big, 0: (0.5, 0.5, 0, 0, 0.3, 0, 0.3), 1: (0.5, 0.5, 0, 0, 0.9, 2, 0.9)})
    (found,) = detect.decode({"grid_rows": rows}, BODY, detect.Params(), (64, 64))
    assert found.boxes_xyxy == pytest.approx(np.array([[8, -4, 40, 44]]), abs=1e-5)
    assert found.scores.tolist() == [np.float32(0.9)]  # the objectness, not the product
    assert found.keypoints.shape == (1, 0, 3)


def test_nobody_is_a_result() -> None:
    (found,) = detect.decode({"grid_rows": grid_rows({})}, BODY, detect.Params(), (64, 64))
    assert (len(found), found.keypoints.shape) == (0, (0, 0, 3))


def test_two_hundred_people() -> None:
    rng = np.random.default_rng(0)
    people = {int(cell): (0.5, 0.5, 0, 0, 0.5 + 0.4 * rng.random(), 0, 1) for cell in range(200)}
    (found,) = detect.decode({"grid_rows": grid_rows(people, size=128)}, BODY, detect.Params(), (128, 128))
    assert len(found) == 200
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"boxes": np.zeros((1, 2))}, "needs grid_rows, or head8, head16 and head32"),
        ({"grid_rows": grid_rows({}, classes=3)}, r"grid_rows \[1, 84, 8\]: it knows other classes"),
        ({"grid_rows": np.zeros((1, 10, 85))}, r"grid_rows must be \[R,P,5\+C\]"),
        ({"grid_rows": np.zeros((2, 84))}, "grid_rows must be"),
        ({f"head{s}": np.zeros((1, 24, 64 // s, 64 // s)) for s in (8, 16, 32)}, "it knows other classes"),
        ({f"head{s}": np.zeros((1, 255, 3, 3)) for s in (8, 16, 32)}, "with the cells of 8, 16 and 32 px"),
        ({f"head{s}": np.zeros((s, 255, 64 // s, 64 // s)) for s in (8, 16, 32)}, "head8, head16 and head32 must be"),
        ({"grid_rows": grid_rows({}), "head8": np.zeros((2, 255, 8, 8))}, "grid_rows must be"),
    ],
)
def test_detectors_that_do_not_fit(outputs: dict, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        detect.decode(outputs, BODY, detect.Params(), (64, 64))


def test_params_are_checked() -> None:
    with pytest.raises(ValueError, match="person = 80, expected from 0 to 79"):
        detect.Params(person=80)
    with pytest.raises(ValueError, match="integral = -2, expected a whole number at least -1"):
        heatmap.Params(-2)
    with pytest.raises(PosertError, match="has no parameters gama"):
        suppression_params("poses", {"gama": 1})


def test_rules_are_no_decoders_and_decoders_no_rules() -> None:
    with pytest.raises(PosertError, match="asks for the decoder 'poses'"):
        decoder("poses")
    assert suppression_rule("poses") is rule
    for name in ("heatmap", "../poses", "os", ""):
        with pytest.raises(PosertError, match="suppression rule"):
            suppression_rule(name)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.booleans())
def test_boxes_and_their_slow_twin(seed: int, count: int, inclusive: bool) -> None:
    rng = np.random.default_rng(seed)
    corner, side = rng.integers(0, 12, (count, 2)), rng.integers(0, 9, (count, 2))
    score = rng.integers(0, 6, (count, 1)) / 8  # small whole numbers: ties and overlaps of exactly a half
    boxes = np.concatenate([corner, corner + side, score], axis=1).astype(np.float32)
    picks = np.empty(count, np.int64)
    kept = box_nms(boxes, count, 0.5, float(inclusive), int(inclusive), np.empty(count, np.uint8), picks)
    assert picks[:kept].tolist() == naive.boxes_kept(boxes.astype(float), 0.5, float(inclusive), inclusive)


def golden_people(golden: Path) -> tuple[dict, Poses, Poses]:
    made = dict(np.load(golden / "alphapose.npz"))
    keypoints = np.concatenate([made["simple_xy"], made["simple_score"]], axis=2)
    regions = Poses(np.zeros((6, 0, 3), np.float32), made["nms_in_box_scores"][:, 0], made["boxes"])
    return made, Poses(keypoints, keypoints[:, :, 2].mean(axis=1), made["boxes"]), regions


def test_people_found_twice_are_merged_as_the_original_does(golden: Path) -> None:
    made, poses, regions = golden_people(golden)
    kept = rule.suppress(poses, regions, rule.Params())
    assert kept.keypoints[:, :, :2] == pytest.approx(made["nms_xy"], abs=PX)
    assert kept.keypoints[:, :, 2] == pytest.approx(made["nms_kp_scores"], abs=1e-6)
    assert kept.scores == pytest.approx(made["proposal_scores"], abs=1e-6)
    assert (kept.boxes_xyxy == made["nms_boxes"]).all()
    assert (regions.boxes_xyxy[made["nms_pick"]] == kept.boxes_xyxy).all()


def crowd(seed: int, count: int, keypoints: int, spread: float) -> tuple[Poses, Poses]:
    """`count` people, some of them the same person a little moved."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, 120, (1 + count // 2, keypoints, 2))
    xy = base[rng.integers(0, len(base), count)] + rng.normal(0, spread, (count, keypoints, 2))
    score = rng.uniform(0, 1, (count, keypoints, 1)) * rng.uniform(0.2, 1, (count, 1, 1))
    points = np.concatenate([xy, score], axis=2).astype(np.float32)
    corner, side = rng.uniform(0, 50, (count, 2)), rng.uniform(1, 100, (count, 2))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, count).astype(np.float32)
    return Poses(points, points[:, :, 2].mean(axis=1), boxes), Poses(points[:, :0], scores, boxes)


WHOLE = {"whole_body": True, "mu": 1.65, "delta2": 8.0, "gamma": 3.6, "min_score": 0.01, "matches": 3.0, "alpha": 0.15}


@pytest.mark.parametrize(
    ("keypoints", "values"),
    [(17, {}), (17, {"min_area": 9000.0}), (136, WHOLE), (133, WHOLE), (136, {"whole_body": True})],
)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.sampled_from([0.1, 1.0, 4.0]))
def test_people_and_their_slow_twin(keypoints: int, values: dict, seed: int, count: int, spread: float) -> None:
    poses, regions = crowd(seed, count, keypoints, spread)
    params = rule.Params(**values)
    kept = rule.suppress(poses, regions, params)
    picks, merged = naive.people(poses.keypoints, regions.boxes_xyxy, regions.scores, params)
    assert (kept.boxes_xyxy == regions.boxes_xyxy[picks]).all()
    for person, (points, score) in enumerate(merged):
        assert kept.keypoints[person] == pytest.approx(points, abs=PX)
        assert kept.scores[person] == pytest.approx(score, abs=1e-5)


def test_suppressing_nobody() -> None:
    assert len(rule.suppress(no_poses(17), no_poses(0), rule.Params())) == 0


def test_suppression_needs_a_region_for_each_pose(golden: Path) -> None:
    _, poses, _ = golden_people(golden)
    with pytest.raises(ValueError, match="6 poses of 17 keypoints, 0 regions: each pose needs a region"):
        rule.suppress(poses, no_poses(0), rule.Params())
    with pytest.raises(ValueError, match="at least 111 keypoints"):
        rule.suppress(poses, poses, rule.Params(whole_body=True))
