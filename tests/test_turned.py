"""Regions turned by two keypoints: against slow twins, OpenCV's warp, and figures worked out by hand."""

import math
import os
from dataclasses import replace

import cv2
import naive_turned
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.poses import Poses
from posert.postprocess.geometry import to_frame
from posert.runtime.prepare import prepare
from posert.runtime.region_spec import Turn
from posert.runtime.spec import InputSpec
from posert.runtime.turned import turned_regions, turned_windows
from posert.runtime.windows import place

COMPILED = os.environ.get("NUMBA_DISABLE_JIT") != "1"
PLAIN = InputSpec("image", "NHWC", "float32", "bgr", (24, 24), "boxes", align="origin")
ALIGNS = ["half_pixel", "half_pixel_blend", "origin", "edges"]
number, side, angle = st.floats(-30, 60), st.floats(0.5, 60), st.floats(-7, 7)


def one(keypoints: list[tuple[float, float, float]], box: tuple[float, ...] = (10, 20, 50, 40)) -> Poses:
    return Poses(np.float32([keypoints]), np.ones(1, np.float32), np.float32([box]))


def turned_window(x: float, y: float, wide: float, high: float, radians: float) -> np.ndarray:
    return np.array([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2, math.cos(radians), math.sin(radians)])


@settings(max_examples=100 if COMPILED else 15, deadline=None)
@given(
    seed=st.integers(0, 99), x=number, y=number, wide=side, high=side, radians=angle, align=st.sampled_from(ALIGNS),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)), frame_hw=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    layout=st.sampled_from(["NCHW", "NHWC"]),
)  # fmt: skip
def test_samples_are_the_slow_twins(seed, x, y, wide, high, radians, align, size, frame_hw, layout) -> None:
    image = np.random.default_rng(seed).integers(0, 255, (*frame_hw, 3), np.uint8)
    spec, window = (
        replace(PLAIN, align=align, layout=layout, pad_value=(11, 50, 90)),
        turned_window(x, y, wide, high, radians),
    )
    got = prepare(image, window[None], spec, size)[0]
    got = got.transpose(1, 2, 0) if layout == "NCHW" else got
    expected, places = naive_turned.sample(image, window, spec, size)
    # a sample within rounding of the frame's edge may fall on either side of it
    edges = [(places.real, frame_hw[1]), (places.imag, frame_hw[0])]
    unsure = [abs(along - end) < 1e-6 for along, most in edges for end in (-1, -0.5, most - 0.5, most)]
    assert ((np.abs(got - expected).max(axis=2) < 0.01) | np.any(unsure, axis=0)).all()


@pytest.mark.parametrize("align", ALIGNS)
def test_a_window_that_is_not_turned_is_sampled_as_ever(align: str) -> None:
    """To the byte; and one turned by next to nothing is the same to a thousandth of a grey level."""
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    spec, upright = replace(PLAIN, align=align, pad_value=(1, 2, 3)), np.array([-7.3, 4.1, 33.9, 52.2])
    plain = prepare(image, upright[None], spec, (24, 17))
    assert prepare(image, np.array([[*upright, 1, 0]]), spec, (24, 17)).tobytes() == plain.tobytes()
    assert np.abs(prepare(image, np.array([[*upright, 1, 1e-9]]), spec, (24, 17)) - plain).max() < 1e-3


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarters_turn_the_picture(quarters: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    cosine, sine = [(0, 1), (-1, 0), (0, -1)][quarters - 1]
    spec = replace(PLAIN, align="half_pixel", size_wh=(20, 20))
    got = prepare(image, np.array([[0, 0, 20, 20, cosine, sine]], float), spec, (20, 20))[0]
    assert (got == np.rot90(image, quarters)).all()


def udp(x: float, y: float, wide: float, high: float, radians: float, size_wh: tuple[int, int]) -> np.ndarray:
    """The warp of unbiased data processing (Huang et al. 2020; MMPose): corners on corners, S - 1 steps."""
    across, down = (size_wh[0] - 1) / wide, (size_wh[1] - 1) / high
    c, s = math.cos(radians), math.sin(radians)
    turn = np.array([[c * across, s * across], [-s * down, c * down]])
    middle = np.array([(size_wh[0] - 1) / 2, (size_wh[1] - 1) / 2])
    return np.hstack([turn, (middle - turn @ [x, y])[:, None]])


@pytest.mark.parametrize("degrees", [0, 17, 90, 200])
@pytest.mark.parametrize("size_wh", [(192, 256), (64, 48)])
def test_unbiased_samples_are_opencvs_warp(degrees: int, size_wh: tuple[int, int]) -> None:
    """warpAffine of OpenCV 4 rounds coordinates to 1/32 px: up to 4 grey levels from exact sampling."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    image, radians = cv2.GaussianBlur(noise, (0, 0), 2), math.radians(degrees)
    spec = replace(PLAIN, align="edges", rounding="round")
    window = turned_window(180.3, 141.7, 250, 250 * size_wh[1] / size_wh[0], radians)
    window = window if degrees else window[:4]
    got = prepare(image, window[None], spec, size_wh)[0]
    warp = udp(180.3, 141.7, 250, 250 * size_wh[1] / size_wh[0], radians, size_wh)
    assert np.abs(got - cv2.warpAffine(image, warp, size_wh, flags=cv2.INTER_LINEAR)).max() <= 4


def test_unbiased_cells_map_back_to_where_they_were_sampled() -> None:
    """A decoder's first and last cell are 0 and S; MMPose: cell / (cells - 1) * input, / input * scale + corner."""
    spec = replace(PLAIN, align="edges", size_wh=(192, 256))
    (window,), input_wh = place((400, 300), spec, np.float32([[100, 50, 200, 250]]))
    image = np.tile(np.arange(400, dtype=np.float32)[:, None] / 2, (300, 1, 3)).astype(np.uint8)
    seen = prepare(image, window[None], spec, input_wh)[0, 128, :, 0]
    cells = np.arange(48) / 47 * 192
    keypoints = np.stack([cells, np.zeros(48), np.ones(48)], axis=1)
    back = to_frame(one(keypoints.tolist()), window, input_wh).keypoints[0, :, 0]
    assert back[[0, -1]] == pytest.approx(window[[0, 2]])
    sampled = np.interp(cells / 192 * 191, np.arange(192), np.linspace(window[0], window[2], 192))
    assert back == pytest.approx(sampled, abs=1e-3)
    inside = (back[[5, 40]] > 0) & (back[[5, 40]] < 399)
    assert inside.all()
    columns = np.round(cells[[5, 40]] / 192 * 191).astype(int)
    assert seen[columns] == pytest.approx(back[[5, 40]] / 2, abs=1.5)


finite = st.floats(-1000, 1000, width=32)
keypoint = st.tuples(finite, finite, st.sampled_from([0.0, 0.1, 0.9]))


@settings(max_examples=200 if COMPILED else 30, deadline=None)
@given(
    people=st.lists(st.tuples(st.lists(keypoint, min_size=4, max_size=4), st.tuples(*[finite] * 4)), max_size=4),
    indices=st.permutations(range(4)), points=st.sampled_from(sorted(naive_turned.UP)), margin=st.floats(0.1, 3),
    around=st.sampled_from(["box", "keypoints", "line"]), shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
)  # fmt: skip
def test_regions_are_the_slow_twins(people, indices, points, margin, around, shift) -> None:
    poses = Poses(
        np.array([keypoints for keypoints, _ in people], np.float32).reshape(-1, 4, 3),
        np.arange(len(people), dtype=np.float32), np.array([box for _, box in people], np.float32).reshape(-1, 4),
    )  # fmt: skip
    turn = Turn((indices[0], indices[1]), points, around, shift)
    expected = {n: found for n in range(len(people)) if (found := naive_turned.region(poses, n, turn)) is not None}
    regions = turned_regions(poses, turn)
    spec = replace(PLAIN, size_wh=(24, 32), margin=margin)
    windows = turned_windows(regions, turn, spec)
    assert regions.scores.tolist() == sorted(expected)
    for window, (centre, wide, high, radians) in zip(windows, expected.values(), strict=True):
        width = max(wide, high * 24 / 32) * margin
        twin = turned_window(centre.real, centre.imag, width, width * 32 / 24, radians)
        assert window == pytest.approx(twin, rel=1e-9, abs=1e-6)


@settings(max_examples=100 if COMPILED else 20, deadline=None)
@given(x=number, y=number, wide=side, high=side, radians=angle, seed=st.integers(0, 99))
def test_what_is_found_goes_back_to_where_it_was(x, y, wide, high, radians, seed) -> None:
    """Keypoints by the twin's way into the window; boxes hold all that the box in the crop held, and touch it."""
    rng, window = np.random.default_rng(seed), turned_window(x, y, wide, high, radians)
    spots = rng.uniform(0, 24, (5, 2))
    box = np.array([*spots.min(axis=0), *spots.max(axis=0)])
    corners = [(box[0], box[1]), (box[2], box[1]), (box[0], box[3]), (box[2], box[3])]
    crop = one([(*spot, 1) for spot in (*spots, *corners)] + [(0, 0, 0)], tuple(box))
    back = to_frame(crop, window, (24, 24))
    for found, (across, down) in zip(back.keypoints[0], crop.keypoints[0, :-1, :2], strict=False):
        own = naive_turned.place(complex(*found[:2]), window)
        assert (own.real, own.imag) == pytest.approx((across * wide / 24, down * high / 24), abs=1e-4)
    assert back.keypoints[0, -1].tolist() == [0, 0, 0]
    turned = back.keypoints[0, 5:9, :2]
    assert back.boxes_xyxy[0] == pytest.approx([*turned.min(axis=0), *turned.max(axis=0)], abs=1e-4)


def test_keypoints_on_one_line_have_a_region() -> None:
    """One side is nothing, or next to it, as rounding has it: the window has the input's aspect all the same."""
    for angle in (0.0, 0.3, 1.0, 2.5):
        line = one([(10, 20, 1), (10 + 50 * math.cos(angle), 20 + 50 * math.sin(angle), 1)])
        turn = Turn((0, 1), around="keypoints")
        (window,) = turned_windows(turned_regions(line, turn), turn, replace(PLAIN, margin=1))
        assert (window[2] - window[0], window[3] - window[1]) == pytest.approx((50, 50), abs=1e-4)


def test_a_hand_after_its_forearm() -> None:
    """Elbow to wrist points up; the centre lies a third of the forearm beyond the wrist, the side is 1.2 forearms."""
    turn = Turn((0, 1), "up", "line", (0, -1.33 / 2))
    spec = replace(PLAIN, size_wh=(224, 224), margin=0.6)
    arm = one([(100, 200, 1), (160, 120, 1)])
    (window,) = turned_windows(turned_regions(arm, turn), turn, spec)
    centre = (window[0] + window[2]) / 2, (window[1] + window[3]) / 2
    assert centre == pytest.approx((160 + 0.33 * 60, 120 - 0.33 * 80))
    assert (window[2] - window[0], window[3] - window[1]) == pytest.approx((120, 120))
    assert window[4:] == pytest.approx([0.8, 0.6])
    up = to_frame(one([(112, 112, 1), (112, 0, 1)]), window, (224, 224)).keypoints[0]
    assert up[1, :2] - up[0, :2] == pytest.approx([36, -48], abs=1e-3)


@pytest.mark.parametrize(
    ("keypoints", "box"),
    [
        ([(1, 2, 1), (1, 2, 1)], (0, 0, 9, 9)), ([(1, 2, 0), (5, 6, 1)], (0, 0, 9, 9)),
        ([(1, 2, 1), (5, math.nan, 1)], (0, 0, 9, 9)), ([(1, 2, 1), (5, math.inf, 1)], (0, 0, 9, 9)),
        ([(1, 2, math.nan), (5, 6, 1)], (0, 0, 9, 9)), ([(1, 2, 1), (5, 6, 1)], (9, 0, 0, 9)),
        ([(1, 2, 1), (5, 6, 1)], (0, 0, math.nan, 9)), ([(1, 2, 1)], (0, 0, 9, 9)),
    ],
)  # fmt: skip
def test_who_has_no_region(keypoints: list, box: tuple) -> None:
    assert len(turned_regions(one(keypoints, box), Turn((0, 1)))) == 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("which", range(6))
def test_turned_windows_that_are_no_place(bad: float, which: int) -> None:
    window = np.array([3, 4, 20, 30, 0.6, 0.8])
    window[which] = bad
    for align in ALIGNS:
        out = prepare(np.full((40, 40, 3), 100, np.uint8), window[None], replace(PLAIN, align=align), (8, 8))
        assert set(np.unique(out)) <= {0, 100}


@pytest.mark.parametrize("edit", [{"interpolation": "area", "align": "half_pixel"}, {"align": "corners"}])
def test_what_cannot_be_turned(edit: dict) -> None:
    window = np.array([[3, 4, 20, 30, 0.6, 0.8]])
    with pytest.raises(ValueError, match="do not go into a tensor"):
        prepare(np.zeros((40, 40, 3), np.uint8), window, replace(PLAIN, **edit), (8, 8))
