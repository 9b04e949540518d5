"""Decoder `heatmap` with DARK and UDP's coordinates: against slow twins, on bells whose place is known, in a mirror."""

from typing import Any

import cv2
import naive_mmpose as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.poses import Skeleton
from posert.postprocess.dark import set_blur
from posert.postprocess.decoders.heatmap import Params, decode
from posert.postprocess.geometry import to_frame
from posert.runtime.prepare import prepare
from posert.runtime.spec import InputSpec
from posert.skeletons import COCO_17

FORMS = {"dark": naive.dark, "dark_udp": naive.dark_udp}


def points(maps: np.ndarray, input_wh: tuple[int, int], **params: Any) -> np.ndarray:
    """[K,3] of maps [K,H,W]."""
    bones = Skeleton(tuple(map(str, range(len(maps)))), ())
    return decode({"maps": maps[None]}, bones, Params(**params), input_wh)[0].keypoints[0]


def bells(places: np.ndarray, size: tuple[int, int], sigma: float = 2.0) -> np.ndarray:
    """f32 [K,H,W]: a bell at each of places [K,2], cells."""
    y, x = np.indices(size)
    away = (x - places[:, 0, None, None]) ** 2 + (y - places[:, 1, None, None]) ** 2
    return np.exp(-away / (2 * sigma**2)).astype(np.float32)


@pytest.mark.parametrize("size", range(1, 64, 2))
def test_the_gaussian_is_opencvs(size: int) -> None:
    weights = np.zeros(size)
    set_blur(weights)
    assert weights == pytest.approx(cv2.getGaussianKernel(size, 0)[:, 0], abs=1e-15)


@pytest.mark.parametrize("refine", FORMS)
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 16),
    st.integers(1, 16),
    st.sampled_from([1, 3, 5, 9, 11, 17]),
    st.sampled_from([0.001, 0.1, 2.0]),
)
def test_steps_and_their_slow_twins(refine: str, seed: int, high: int, wide: int, size: int, noise: float) -> None:
    """Peaks anywhere, also on the border and in maps smaller than the Gaussian; noise alone has no clear peak."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (3, 2)) * (wide - 1, high - 1)
    maps = bells(places, (high, wide)) + rng.uniform(0, noise, (3, high, wide)).astype(np.float32)
    if refine == "dark_udp" and size // 2 >= min(high, wide):  # numpy mirrors at most once
        size = 1
    found = points(maps, (wide, high), refine=refine, kernel_size=size)
    expected = np.array([FORMS[refine](one, size) for one in maps])
    assert found[:, :2] == pytest.approx(expected, abs=1e-4, rel=1e-4)
    assert (found[:, 2] == maps.max((1, 2))).all()


@pytest.mark.parametrize("refine", FORMS)
def test_bells_are_found_between_the_cells(refine: str) -> None:
    """The paper's claim: a bell is found where it stands, to a fiftieth of a cell; a quarter step is a fourth off."""
    places = np.random.default_rng(0).uniform((8, 8), (39, 55), (200, 2))
    maps = bells(places, (64, 48))
    error = np.abs(points(maps, (48, 64), refine=refine)[:, :2] - places)
    quarter = np.abs(points(maps, (48, 64))[:, :2] - places)
    assert error.max() < 0.02
    assert quarter.max() > 0.24


@pytest.mark.parametrize("refine", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_maps_without_a_peak_have_no_step(refine: str, bad: float) -> None:
    maps = np.full((3, 9, 9), bad, np.float32)
    maps[0, 4, 4] = 1.0
    maps[1] = 1.0
    found = points(maps, (9, 9), refine=refine)
    assert found[1].tolist() == [0, 0, 1]
    assert found[0].tolist() == ([4, 4, 1] if bad != np.inf else [0, 0, np.inf])
    assert found[2].tolist() == [0, 0, np.inf if bad == np.inf else 0]


def test_cells_and_their_pixels() -> None:
    """UDP: the first and the last cell are the input's edges; otherwise each cell begins its share of the input."""
    maps = np.zeros((3, 4, 5), np.float32)
    maps[0, 0, 0] = maps[1, 3, 4] = maps[2, 1, 2] = 1
    assert points(maps, (20, 16), refine="none")[:, :2].tolist() == [[0, 0], [16, 12], [8, 4]]
    udp = points(maps, (20, 16), refine="none", udp=True)[:, :2]
    assert udp == pytest.approx(np.array([[0, 0], [20, 16], [10, 16 / 3]]))
    assert points(maps[:, :1, :1], (20, 16), refine="none", udp=True).tolist()[0] == [0, 0, 1]


@pytest.mark.parametrize(("align", "udp"), [("origin", False), ("edges", True)])
def test_a_pixel_of_the_frame_comes_back(align: str, udp: bool) -> None:
    """Through the crop, a network that shows what it sees, and back: the crop's rule and the cells' belong together."""
    wide, high = (24, 32)
    spec = InputSpec("i", "NCHW", "float32", "bgr", (wide, high), "boxes", align=align)  # type: ignore[arg-type]
    steps = (wide - 1, high - 1) if udp else (wide, high)
    window = np.array([10.0, 20, 10 + 2 * steps[0], 20 + 3 * steps[1]])
    for column, line in ((0, 0), (5, 7), (wide - 1, high - 1)):
        frame = np.zeros((130, 90, 3), np.uint8)
        frame[20 + 3 * line, 10 + 2 * column] = 255
        maps = prepare(frame, window[None], spec, (wide, high))[:, :1]
        (found,) = decode({"maps": maps}, Skeleton(("a",), ()), Params(refine="none", udp=udp), (wide, high))
        (x, y, _), *_ = to_frame(found, window, (wide, high)).keypoints[0]
        assert (x, y) == pytest.approx((10 + 2 * column, 20 + 3 * line), abs=1e-4)


@pytest.mark.parametrize(("udp", "last"), [(True, 47), (False, 48)])
def test_a_picture_and_its_mirror_image_agree(udp: bool, last: int) -> None:
    """With UDP the last column mirrors the first; without, the maps of a mirrored input lie a column to the left."""
    places = np.random.default_rng(1).uniform((8, 8), (39, 55), (17, 2))
    mirrored = np.stack([last - places[:, 0], places[:, 1]], 1)[list(COCO_17.flip)]
    outputs = {"maps": bells(places, (64, 48))[None], "mirrored_maps": bells(mirrored, (64, 48))[None]}
    params = Params(refine="dark", udp=udp)
    (both,), (one,) = (decode(given, COCO_17, params, (192, 256)) for given in (outputs, {"maps": outputs["maps"]}))
    assert both.keypoints == pytest.approx(one.keypoints, abs=1e-3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"kernel_size": 4}, "an odd number"), ({"kernel_size": 65}, "from 1 to 63"), ({"refine": "half"}, "quarter")],
)
def test_parameters_are_checked(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=f"expected .*{said}"):
        Params(**wrong)
