"""Where a network looks and what it sees there: TensorFlow's values bit for bit, OpenCV's within one grey level."""

import itertools
import os
import typing
from dataclasses import replace
from pathlib import Path

import cv2
import naive_sample
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.poses import Poses
from posert.postprocess.geometry import to_frame
from posert.runtime.prepare import prepare
from posert.runtime.sample import sample_window, sample_workspace
from posert.runtime.spec import Fit, InputSpec
from posert.runtime.windows import place, spec_numbers

COMPILED = os.environ.get("NUMBA_DISABLE_JIT") != "1"
FEW = slice(None) if COMPILED else slice(0, 2)  # plain Python takes seconds for each golden crop
PLAIN = InputSpec("image", "NHWC", "float32", "bgr", (64, 64), "stretch")


def seen(image: np.ndarray, spec: InputSpec) -> np.ndarray:
    windows, input_wh = place((image.shape[1], image.shape[0]), spec)
    return prepare(image, windows, spec, input_wh)[0]


@pytest.mark.parametrize("side", [192, 256])
def test_resize_with_pad_is_tensorflows(golden: Path, side: int) -> None:
    ops = np.load(golden / "tf_ops.npz")
    spec = replace(PLAIN, size_wh=(side, side), fit="center")
    assert (seen(ops["img"], spec) == ops[f"rwp{side}"]).all()
    truncated = seen(ops["img"], replace(spec, dtype="int32", rounding="truncate"))
    assert truncated.dtype == np.int32
    assert (truncated == ops[f"rwp{side}_int32"]).all()


@pytest.mark.parametrize("side", [128, 192, 256])
def test_the_padding_of_every_frame_size_is_tensorflows(side: int) -> None:
    """A frame 147 px wide once lost a column of 192: the ratio was taken as 1 / (1 / ratio), a bit too large."""
    for width in range(1, 700):
        height = 480 if width % 2 else width
        ratio = max(width / side, height / side)
        content = max(1, int(width / ratio)), max(1, int(height / ratio))
        (window,), _ = place((width, height), replace(PLAIN, size_wh=(side, side), fit="center"))
        px_per_column, px_per_row = (window[2] - window[0]) / side, (window[3] - window[1]) / side
        assert (px_per_column, px_per_row) == pytest.approx((width / content[0], height / content[1])), width
        pads = -window[0] / px_per_column, -window[1] / px_per_row
        assert pads == pytest.approx((int((side - width / ratio) / 2), int((side - height / ratio) / 2))), width


def test_crop_and_resize_is_tensorflows(golden: Path) -> None:
    ops = np.load(golden / "tf_ops.npz")
    height, width = ops["img"].shape[:2]
    windows = ops["boxes"][:, [1, 0, 3, 2]].astype(float) * [width, height, width, height]
    assert (prepare(ops["img"], windows, replace(PLAIN, align="corners"), (64, 64)) == ops["crop64"]).all()


def test_movenet_crops(golden: Path) -> None:
    movenet, image = np.load(golden / "movenet.npz"), np.load(golden / "alphapose_crops.npz")["img_rgb"]
    height, width = image.shape[:2]
    windows = movenet["crop_regions_y0x0y1x1hw"][FEW][:, [1, 0, 3, 2]] * [width, height, width, height]
    spec = InputSpec("i", "NHWC", "uint8", "bgr", (192, 192), "square", align="corners", rounding="truncate")
    assert (prepare(image, windows, spec, (192, 192)) == movenet["crops_uint8"][FEW]).all()


def test_the_square_of_the_whole_frame(golden: Path) -> None:
    movenet = np.load(golden / "movenet.npz")
    height, width = movenet["image_hw"].tolist()
    (window,), _ = place((width, height), replace(PLAIN, fit="square"))
    y0, x0, y1, x1 = movenet["init_region"][:4]
    assert window == pytest.approx([x0 * width, y0 * height, x1 * width, y1 * height], abs=1e-12)


def test_area_is_tensorflows_when_it_shrinks(golden: Path) -> None:
    ops = np.load(golden / "tf_ops.npz")
    spec = replace(PLAIN, size_wh=(29, 17), interpolation="area")
    assert np.abs(seen(ops["img"], spec) - ops["resize_area_17x29"]).max() < 1e-3  # float32 sums in another order


def test_crops_of_boxes_are_alphaposes(golden: Path) -> None:
    """warpAffine of OpenCV 4 rounds coordinates to 1/32 px: up to 4 grey levels from exact sampling."""
    crops = np.load(golden / "alphapose_crops.npz")
    spec = InputSpec("i", "NCHW", "float32", "bgr", (192, 256), "boxes", align="origin")
    height, width = crops["img_rgb"].shape[:2]
    windows, input_wh = place((width, height), spec, crops["boxes"])
    assert windows == pytest.approx(crops["cropped_boxes"].astype(float), abs=1e-3)
    seen_levels = prepare(crops["img_rgb"], windows, replace(spec, dtype="uint8", rounding="round"), input_wh)
    difference = np.abs(seen_levels.astype(int) - crops["crops_u8"])
    assert difference.max() <= 4
    assert difference.mean() < 0.5


def test_crops_of_udp_reach_from_edge_to_edge() -> None:
    """MMPose's matrix with use_udp: the window's left edge on pixel 0, its right edge on the last pixel."""
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8), (15, 15), 0)
    spec = InputSpec("i", "NHWC", "float32", "bgr", (48, 64), "boxes", align="edges")
    windows, input_wh = place((160, 120), spec, np.array([[30.5, 20, 77, 99], [-20, 40, 90, 130]], np.float32))
    for window, found in zip(windows, prepare(image, windows, spec, input_wh), strict=True):
        step = (input_wh[0] - 1) / (window[2] - window[0]), (input_wh[1] - 1) / (window[3] - window[1])
        matrix = np.array([[step[0], 0, -window[0] * step[0]], [0, step[1], -window[1] * step[1]]])
        difference = np.abs(found - cv2.warpAffine(image, matrix, input_wh))
        assert difference.max() <= 1  # grey levels are rounded, and OpenCV 4 takes coordinates in 1/32 px
        assert difference.mean() < 0.5


OPENCV = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}


CASES = set(itertools.product(OPENCV, [(40, 30), (53, 37), (17, 64), (7, 5)]))
ENLARGED = ("area", (17, 64))  # of a picture of 53x37: there OpenCV's `area` is something else


@pytest.mark.parametrize(("rule", "size_wh"), sorted(CASES - {ENLARGED}))
def test_one_grey_level_from_opencv(golden: Path, rule: str, size_wh: tuple[int, int]) -> None:
    image = np.load(golden / "tf_ops.npz")["img"]
    spec = replace(PLAIN, size_wh=size_wh, interpolation=rule, rounding="round")
    expected = cv2.resize(image, size_wh, interpolation=OPENCV[rule])
    assert np.abs(seen(image, spec) - expected).max() <= 1


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["bgr", "rgb"])
def test_layout_color_and_dtype_change_only_the_order(dtype: str, layout: str, color: str) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    spec = replace(PLAIN, size_wh=(30, 20), dtype=dtype, layout=layout, color=color)
    out = seen(image, spec)
    assert out.dtype == dtype
    upright = out.transpose(1, 2, 0) if layout == "NCHW" else out
    assert (upright == (image if color == "bgr" else image[:, :, ::-1])).all()


def test_mean_std_and_pad_are_in_the_order_of_the_tensor() -> None:
    image = np.full((10, 10, 3), (30, 20, 10), np.uint8)  # blue 30, green 20, red 10
    spec = InputSpec(
        "i", "NCHW", "float32", "rgb", (20, 10), "corner", pad_value=(1, 2, 3), mean=(10, 10, 10), std=(1, 2, 4)
    )
    out = seen(image, spec)
    assert out[:, 5, 5] == pytest.approx([0, 5, 5])
    assert out[:, 5, 15] == pytest.approx([-9, -4, -1.75])


def test_the_given_buffer_is_used() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    out = np.empty((1, 64, 64, 3), np.float32)
    windows, input_wh = place((8, 8), PLAIN)
    assert prepare(image, windows, PLAIN, input_wh, out) is out


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("int32", -900, 900)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_integers_are_cut_off_and_stay_in_their_range(dtype: str, low: int, high: int, layout: str) -> None:
    """Cubic overshoots 0..255 at an edge; as uint8 that once wrapped to the other end."""
    image = np.zeros((9, 9, 3), np.uint8)
    image[:, 4:] = 255
    spec = replace(PLAIN, interpolation="cubic", layout=layout, size_wh=(29, 31))
    floats = seen(image, spec)
    assert floats.min() < 0
    assert floats.max() > 255
    assert (seen(image, replace(spec, dtype=dtype)) == np.clip(floats, low, high).astype(dtype)).all()


@settings(max_examples=40 if COMPILED else 10, deadline=None)
@given(
    seed=st.integers(0, 99), rule=st.sampled_from(sorted(OPENCV)), layout=st.sampled_from(["NCHW", "NHWC"]),
    mean=st.floats(-300, 300), std=st.sampled_from([1.0, 58.0, -3.0, 1e-3, 2e6, 1e8, 1e12]),
)  # fmt: skip
def test_float16_is_what_numpy_makes_of_float32(seed, rule, layout, mean, std) -> None:
    """From infinity down to the smallest numbers, and nothing."""
    image = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8)
    spec = replace(PLAIN, size_wh=(5, 6), interpolation=rule, layout=layout, mean=(mean,) * 3, std=(std, std, 1))
    with np.errstate(over="ignore"):
        expected = seen(image, spec).astype(np.float16)
    assert seen(image, replace(spec, dtype="float16")).tobytes() == expected.tobytes()


@pytest.mark.parametrize("crop", [np.s_[:, ::-1], np.s_[::2, 3:9], np.s_[:, :, ::-1]])
def test_frames_that_are_views(crop: tuple) -> None:
    view = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)[crop]
    assert (seen(view, PLAIN) == seen(view.copy(), PLAIN)).all()


PLACES = [
    # fit, size_wh, multiple_of, frame_wh -> input_wh, window
    ("stretch", (432, 368), 0, (640, 480), (432, 368), (0, 0, 640, 480)),
    ("stretch", (0, 368), 16, (640, 480), (496, 368), (0, 0, 640, 480)),
    ("corner", (384, 384), 32, (640, 360), (384, 224), (0, 0, 640, 224 / 216 * 360)),
    ("corner", (384, 384), 32, (360, 640), (224, 384), (0, 0, 224 / 216 * 360, 640)),
    ("corner", (416, 416), 0, (208, 104), (416, 416), (0, 0, 208, 208)),
    ("corner", (0, 0), 16, (50, 33), (64, 48), (0, 0, 64, 48)),
    ("corner", (384, 384), 32, (1, 1), (384, 384), (0, 0, 1, 1)),
    ("corner", (384, 384), 32, (10000, 1), (384, 32), (0, 0, 10000, 32)),
    ("center", (100, 100), 0, (200, 100), (100, 100), (0, -50, 200, 150)),
    ("corner_pixels", (0, 368), 16, (440, 375), (432, 368), (-0.009536785, -0.009536785, 440.23025, 375.00954)),
    ("corner_pixels", (0, 368), 16, (3000, 100), (656, 368), (-1.789313, -1.789313, 3001.78931, 1683.14504)),
    ("corner_pixels", (432, 368), 0, (432, 100), (432, 368), (0, 0, 432, 368)),
    ("corner_pixels", (656, 656), 16, (656, 320), (656, 320), (0, 0, 656, 320)),
    ("corner_pixels", (400, 0), 16, (400, 192), (400, 192), (0, 0, 400, 192)),
    ("corner_pixels", (0, 368), 16, (1, 1), (368, 368), (0, 0, 368, 368)),
    ("square", (192, 192), 0, (200, 100), (192, 192), (0, -50, 200, 150)),
]


CORNERS = replace(
    PLAIN, layout="NCHW", color="bgr", size_wh=(0, 368), fit="corner_pixels", multiple_of=16, rounding="round",
    align="half_pixel_blend", interpolation="linear_or_cubic",
)  # fmt: skip


@pytest.mark.skipif(cv2.__version__ < "5", reason="OpenCV 4 warps in steps of 1/32 px")
@pytest.mark.parametrize("frame_wh", [(640, 480), (1280, 720), (500, 375), (375, 500), (3000, 500), (300, 200)])
def test_corner_pixels_are_opencvs_warp(frame_wh: tuple[int, int]) -> None:
    """Scaled so that corner pixels meet, drawn top left, blended into black: one grey level apart at most.

    Enlarged by cubic interpolation, the frame's border is repeated where OpenCV goes on with black: 4 samples.
    """
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (*frame_wh[::-1], 3), np.uint8), (0, 0), 2)
    windows, (width, height) = place(frame_wh, CORNERS)
    scale = min((width - 1) / (frame_wh[0] - 1), (height - 1) / (frame_wh[1] - 1))
    rule = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    expected = cv2.warpAffine(image, np.array([[scale, 0, 0], [0, scale, 0]]), (width, height), flags=rule)
    apart = np.abs(prepare(image, windows, CORNERS, (width, height))[0].transpose(1, 2, 0) - expected)
    if scale > 1:
        right, bottom = int(scale * (frame_wh[0] - 1)) + 1, int(scale * (frame_wh[1] - 1)) + 1
        apart = apart[4 : bottom - 4, 4 : right - 4]
    assert apart.max() <= 1


@pytest.mark.parametrize("frame_wh", [(640, 480), (1920, 1080), (300, 200)])
def test_half_a_pixel_on_the_input_is_half_a_pixel_on_the_frame(frame_wh: tuple[int, int]) -> None:
    """The window of `corner_pixels` takes sample c, at c + 0.5, to c steps and half a pixel of the frame."""
    windows, input_wh = place(frame_wh, CORNERS)
    points = np.array([[[0.5, 0.5, 1], [100.5, 200.5, 1]]], np.float32)
    poses = Poses(points, np.ones(1, np.float32), np.zeros((1, 4), np.float32))
    step = max((side - 1) / (size - 1) for side, size in zip(frame_wh, input_wh, strict=True))
    got = to_frame(poses, windows[0], input_wh).keypoints[0, :, :2]
    assert got == pytest.approx(np.array([[0.5, 0.5], [100 * step + 0.5, 200 * step + 0.5]]), abs=1e-3)


@pytest.mark.parametrize(("fit", "size_wh", "multiple_of", "frame_wh", "input_wh", "window"), PLACES)
def test_places(fit, size_wh, multiple_of, frame_wh, input_wh, window) -> None:
    windows, got = place(frame_wh, replace(PLAIN, fit=fit, size_wh=size_wh, multiple_of=multiple_of))
    assert got == input_wh
    assert windows[0] == pytest.approx(window)


def test_boxes_widen_to_the_aspect_of_the_input() -> None:
    spec = replace(PLAIN, fit="boxes", size_wh=(192, 256))
    boxes = np.array([[10, 10, 20, 90], [0, 0, 100, 10], [5, 5, 5, 5]], np.float32)
    windows, input_wh = place((100, 100), spec, boxes)
    sides = windows[:, 2:] - windows[:, :2]
    assert input_wh == (192, 256)
    assert sides[0] == pytest.approx([75, 100])
    assert sides[1] == pytest.approx([125, 125 / 0.75])
    assert sides[2] == pytest.approx([0, 0])
    assert place((100, 100), spec)[0].shape == (0, 4)
    wider = place((100, 100), replace(spec, margin=1.5), boxes)[0]
    assert wider[:2, 2:] - wider[:2, :2] == pytest.approx(sides[:2] * 1.5 / 1.25)
    assert wider[0] == pytest.approx([-30, -10, 60, 110])


@pytest.mark.parametrize("fit", [fit for fit in typing.get_args(Fit) if fit != "boxes"])
@pytest.mark.parametrize("frame_wh", [(1, 1), (1, 9000), (8000, 8000) if COMPILED else (200, 100)])
def test_extreme_frames(fit: str, frame_wh: tuple[int, int]) -> None:
    image = np.full((frame_wh[1], frame_wh[0], 3), 200, np.uint8)
    for rule in OPENCV:
        out = seen(image, replace(PLAIN, fit=fit, interpolation=rule, rounding="round", pad_value=(7, 7, 7)))
        assert set(np.unique(out)) <= {7, 200}
        assert (out == 200).any() or fit == "square"  # one column in a square of 9000 falls between the samples


@pytest.mark.parametrize("rule", OPENCV)
@pytest.mark.parametrize("window", [(-900, 0, -800, 50), (3, 3, 3, 3), (50, 50, 200, 200), (5, 60, 5, 90)])
def test_windows_without_any_frame_in_them(rule: str, window: tuple) -> None:
    spec = replace(PLAIN, interpolation=rule, pad_value=(9, 9, 9))
    out = prepare(np.full((40, 40, 3), 100, np.uint8), np.array([window], float), spec, (8, 8))
    assert np.isfinite(out).all()
    if window[0] != 3:
        assert (out == 9).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # without compilation numpy mentions the overflow
@pytest.mark.parametrize(
    ("rule", "align"),
    [(rule, "half_pixel") for rule in OPENCV] + [("linear", align) for align in ("corners", "origin", "edges")],
)
@pytest.mark.parametrize("window", [(np.nan,) * 4, (-np.inf, -np.inf, np.inf, np.inf), (-1e300, 0, -1e299, 40)])
def test_windows_that_are_no_place(rule: str, align: str, window: tuple) -> None:
    """What a broken detector may ask for: padding, not a crash and not a buffer of 1e300 taps."""
    spec = replace(PLAIN, interpolation=rule, align=align, pad_value=(9, 9, 9))
    out = prepare(np.full((40, 40, 3), 100, np.uint8), np.array([window], float), spec, (8, 8))
    assert (out == 9).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rule", OPENCV)
def test_absurd_sides_of_windows_read_no_other_memory(rule: str) -> None:
    """A window from 5 to minus infinity once asked for the pixel that is not a number, and got it."""
    sides = [np.nan, np.inf, -np.inf, 1e300, 5.0, -0.0]
    windows = np.array(list(itertools.product(sides, sides)))[:, [0, 0, 1, 1]]
    spec = replace(PLAIN, interpolation=rule)
    assert np.isfinite(prepare(np.full((40, 40, 3), 100, np.uint8), windows, spec, (8, 8))).all()


def test_pixels_that_are_rgb_give_the_same_tensor() -> None:
    image, row = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8), np.empty(3 * 8 * 6, np.float32)
    window, numbers = np.array([2.0, 3.0, 25.0, 17.0]), spec_numbers(PLAIN)
    workspace = np.empty(sample_workspace(numbers, 30, 20, window, 8, 6), np.uint8)
    rgb = np.ascontiguousarray(image[:, :, ::-1]).reshape(20, 90)
    none = np.empty(0, np.uint8), np.empty(0, np.int32)
    assert sample_window(1, 0, rgb, window, numbers, 8, 6, workspace, row, *none) == 6
    assert row.tobytes() == prepare(image, window[None], PLAIN, (8, 6)).tobytes()


@pytest.mark.parametrize("part", ["numbers", "window", "workspace", "row", "pixels", "kind"])
def test_what_does_not_fit_is_not_sampled(part: str) -> None:
    """C programs call the kernel too: it must never write where nothing is."""
    numbers, window, row = spec_numbers(PLAIN), np.array([2.0, 3.0, 25.0, 17.0]), np.empty(3 * 8 * 6, np.float32)
    given = {"pixels": np.zeros((20, 90), np.uint8), "window": window, "numbers": numbers, "row": row}
    given["workspace"] = np.empty(sample_workspace(numbers, 30, 20, window, 8, 6), np.uint8)
    floats, bytes, ints = given["row"], np.empty(0, np.uint8), np.empty(0, np.int32)
    if part == "kind":
        floats, ints = np.empty(0, np.float32), np.empty(3 * 8 * 6, np.int32)
    elif part == "pixels":
        given["pixels"] = np.zeros((20, 91), np.uint8)
    else:
        given[part] = given[part][:-1].copy()
        floats = given["row"] if part == "row" else floats
    passed = given["pixels"], given["window"], given["numbers"], 8, 6, given["workspace"]
    assert sample_window(0, 0, *passed, floats, bytes, ints) == -1
    for sides in ((0, 20, 8, 6), (30, 20, 8, 0), (-1, 20, 8, 6), (30, 1 << 40, 8, 6)):
        assert sample_workspace(numbers, *sides[:2], window, *sides[2:]) == -1


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("align", ["half_pixel", "half_pixel_blend"])
@pytest.mark.parametrize("window", [(0, 0, 24, 16), (1, 3, 25, 19), (-6, -5, 26, 21), (-8, 2, 40, 34)])
def test_half_the_size_is_the_mean_of_two_by_two_pixels(window: tuple, align: str, color: str) -> None:
    """To the bit, and beside the frame the pad value, of which some share a sample with its border's pixel."""
    image = np.random.default_rng(3).integers(0, 256, (22, 28, 3), np.uint8)
    spec = replace(PLAIN, align=align, color=color, pad_value=(9, 9, 9))
    size = (window[2] - window[0]) // 2, (window[3] - window[1]) // 2
    around = np.pad(image.astype(np.float32), ((8, 20), (8, 20), (0, 0)), "constant", constant_values=9)
    if align == "half_pixel" and window[1] % 2:
        around[7] = around[8]  # a sample half in the frame has the border's pixel twice
    cut = around[window[1] + 8 : window[3] + 8, window[0] + 8 : window[2] + 8]
    means = cut.reshape(size[1], 2, size[0], 2, 3).mean(axis=(1, 3), dtype=np.float32)
    got = prepare(image, np.array([window], float), spec, size)[0]
    assert (got == (means if color == "bgr" else means[:, :, ::-1])).all()


@pytest.mark.parametrize("rule", OPENCV)
def test_padding_that_is_there_is_left_alone(rule: str) -> None:
    """A detector's padding is the same in every frame of a video, and may be half of its tensor."""
    first, second = np.random.default_rng(4).integers(0, 256, (2, 18, 32, 3), np.uint8)
    spec = replace(PLAIN, fit="letterbox", interpolation=rule, layout="NCHW", pad_value=(7, 8, 9))
    windows, input_wh = place((32, 18), spec)
    out = prepare(first, windows, spec, input_wh)
    out[:, :, 0] = -1
    again = prepare(second, windows, spec, input_wh, out, padded=True)
    assert (again[:, :, 0] == -1).all()
    assert (again[:, :, 1:] == prepare(second, windows, spec, input_wh)[:, :, 1:]).all()


def test_a_tensor_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="8 x 9 px do not go into a tensor"):
        prepare(np.zeros((9, 8, 3), np.uint8), np.zeros((1, 4)), PLAIN, (5, 5), np.empty((1, 4, 4, 3), np.float32))


edge = st.floats(-30, 60, allow_nan=False)
extent = st.floats(0.5, 60, allow_nan=False)


@settings(max_examples=60 if COMPILED else 20, deadline=None)
@given(
    seed=st.integers(0, 99), left=edge, top=edge, width=extent, height=extent,
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)), frame_hw=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    rule=st.sampled_from(sorted(OPENCV)), align=st.sampled_from(["half_pixel", "corners", "origin", "edges"]),
    color=st.sampled_from(["bgr", "rgb"]), layout=st.sampled_from(["NCHW", "NHWC"]),
)  # fmt: skip
def test_the_slow_twin_agrees(seed, left, top, width, height, size, frame_hw, rule, align, color, layout) -> None:
    if rule != "linear":
        align = "half_pixel"  # the only one with wider taps
    image = np.random.default_rng(seed).integers(0, 255, (*frame_hw, 3), np.uint8)
    spec = replace(PLAIN, interpolation=rule, align=align, color=color, layout=layout, pad_value=(11, 50, 90))
    window = np.array([left, top, left + width, top + height])
    got = prepare(image, window[None], spec, size)[0]
    got = got.transpose(1, 2, 0) if layout == "NCHW" else got
    expected = naive_sample.sample(image, window, spec, size)
    close = np.abs(got - expected).max(axis=2) < 0.05
    # a sample within rounding of the frame's edge may fall on either side of it
    for axis, count, length in ((0, size[1], frame_hw[0]), (1, size[0], frame_hw[1])):
        low, high = (window[1], window[3]) if axis == 0 else (window[0], window[2])
        for i in range(count):
            x = naive_sample.source(i, low, high, count, length, align)
            if min(abs(x - e) for e in (-1, -0.5, 0, length - 1, length - 0.5, length)) < 1e-4:
                close[i if axis == 0 else slice(None), slice(None) if axis == 0 else i] = True
    assert close.all()


@pytest.mark.parametrize(
    ("frame_wh", "long_edge", "input_wh", "window"),
    [
        ((640, 480), 0, (641, 481), (0, 0, 641, 481)),
        ((641, 481), 0, (641, 481), (0, 0, 641, 481)),
        ((642, 500), 0, (657, 513), (-7, -6, 650, 507)),
        ((1280, 720), 641, (641, 369), (0, -4 * 2, 1280, 365 * 2)),
    ],
)
def test_sides_of_sixteen_and_one(frame_wh, long_edge, input_wh, window) -> None:
    """OpenPifPaf pads to 16 k + 1: half of it (rounded down) on the left and on top, the rest right and below."""
    spec = InputSpec(
        "i", "NCHW", "float32", "rgb", (long_edge, long_edge), "center", multiple_of=16, multiple_plus=1
    )  # fmt: skip
    (got,), size = place(frame_wh, spec)
    assert size == input_wh
    assert got == pytest.approx(window, abs=1e-9)
