"""Decoder `simcc`: against a slow twin, in a mirror, and what it refuses."""

import naive_mmpose as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.errors import PosertError
from posert.poses import Poses, Skeleton
from posert.postprocess.decoders.simcc import Params, decode
from posert.skeletons import COCO_17

INPUT_WH = (12, 16)


def skeleton(count: int) -> Skeleton:
    return Skeleton(tuple(map(str, range(count))), (), (), tuple(range(count))[::-1])


def bins(rng: np.random.Generator, rows: int, count: int, ratio: float, kind: str) -> tuple[np.ndarray, np.ndarray]:
    made = [rng.normal(0.2, 1, (rows, count, int(side * ratio))).astype(np.float32) for side in INPUT_WH]
    for values in made:
        if kind == "ties":
            values[:] = np.round(values)
        elif kind == "hostile":
            for bad in (np.nan, np.inf, -np.inf, 1e38):
                values[rng.random(values.shape) < 0.1] = bad
    return made[0], made[1]


def assert_like(found: Poses, expected: np.ndarray) -> None:
    assert found.keypoints[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)
    with np.errstate(invalid="ignore"):
        assert found.scores[0] == pytest.approx(expected[:, 2].mean(), rel=1e-5, nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 2.0, 2.5, 3.0]),
    st.sampled_from(["lower", "mean"]),
    st.sampled_from(["plain", "ties", "hostile"]),
    st.booleans(),
)
def test_bins_and_their_slow_twin(seed: int, ratio: float, score: str, kind: str, mirrored: bool) -> None:
    rng, bones = np.random.default_rng(seed), skeleton(3)
    x, y = bins(rng, 2, 3, ratio, kind)
    outputs = {"simcc_x": x, "simcc_y": y}
    if mirrored:
        again = bins(rng, 2, 3, ratio, kind)
        outputs |= {"mirrored_simcc_x": again[0], "mirrored_simcc_y": again[1]}
    found = decode(outputs, bones, Params(ratio, score), INPUT_WH)
    with np.errstate(invalid="ignore", over="ignore"):
        for row in range(2):
            own = x[row], y[row]
            if mirrored:
                back = naive.unmirrored(again[0][row], again[1][row], ratio, INPUT_WH[0], list(bones.flip))
                own = (own[0] + back[0]) / 2, (own[1] + back[1]) / 2
            assert_like(found[row], naive.simcc(*own, ratio, score == "mean"))


@pytest.mark.parametrize("count", [17, 21, 26, 106, 133])
def test_any_number_of_keypoints_and_float16(count: int) -> None:
    """What a float16 network gives is decoded as the float32 of the same values."""
    x, y = (values.astype(np.float16) for values in bins(np.random.default_rng(count), 3, count, 2, "plain"))
    found = decode({"simcc_x": x, "simcc_y": y}, skeleton(count), Params(), INPUT_WH)
    for row in range(3):
        assert_like(found[row], naive.simcc(x[row].astype(np.float32), y[row].astype(np.float32), 2, False))


def peaked(points: np.ndarray, ratio: float) -> dict[str, np.ndarray]:
    """What a network would say of points [K,2], px: a bell on each."""
    made = []
    for axis, side in enumerate(INPUT_WH):
        away = np.arange(int(side * ratio)) - points[:, axis : axis + 1] * ratio
        made.append(np.exp(-(away**2) / (2 * 3.0**2)).astype(np.float32)[None])
    return {"simcc_x": made[0], "simcc_y": made[1]}


@pytest.mark.parametrize("ratio", [1.0, 2.0, 3.0])
def test_a_picture_and_its_mirror_image_agree(ratio: float) -> None:
    """Whole pixels come back exactly, left and right swapped; MMPose's way is half a pixel off at ratio 2."""
    points = np.random.default_rng(3).integers(0, INPUT_WH, (17, 2))
    seen_in_a_mirror = np.stack([INPUT_WH[0] - 1 - points[:, 0], points[:, 1]], 1)[list(COCO_17.flip)]
    outputs = peaked(points, ratio)
    outputs |= {f"mirrored_{role}": array for role, array in peaked(seen_in_a_mirror, ratio).items()}
    (both,), (one,) = (decode(given, COCO_17, Params(ratio), INPUT_WH) for given in (outputs, peaked(points, ratio)))
    assert (both.keypoints == one.keypoints).all()
    assert (both.keypoints[0, :, :2] == points).all()


def test_what_is_not_above_zero_is_not_found() -> None:
    """MMPose and rtmlib put such points at -1, -1 of the bins, which becomes a place in the frame like any other."""
    x, y = np.full((1, 3, 24), -1.0, np.float32), np.full((1, 3, 32), -1.0, np.float32)
    x[0, :, 4], y[0, :, 6] = (0.5, 0.5, 0.5), (-0.2, 0.7, 0.0)
    (lower,) = decode({"simcc_x": x, "simcc_y": y}, skeleton(3), Params(), INPUT_WH)
    (mean,) = decode({"simcc_x": x, "simcc_y": y}, skeleton(3), Params(score="mean"), INPUT_WH)
    assert lower.keypoints[0].tolist() == [[0, 0, 0], [2, 3, 0.5], [0, 0, 0]]
    assert mean.keypoints[0] == pytest.approx(np.array([[2, 3, 0.15], [2, 3, 0.6], [2, 3, 0.25]]))
    assert lower.scores[0] == pytest.approx(0.5 / 3)
    assert lower.boxes_xyxy[0].tolist() == [2, 3, 2, 3]


GOOD = {"simcc_x": np.zeros((1, 2, 24)), "simcc_y": np.zeros((1, 2, 32))}
SHAPES = r"must be \[R,K,X\] and \[R,K,Y\] with the skeleton's K keypoints"


@pytest.mark.parametrize(
    ("outputs", "flip", "message"),
    [
        ({"maps": np.zeros((1, 2, 4, 4))}, (), "needs simcc_x and simcc_y"),
        ({"simcc_x": GOOD["simcc_x"]}, (), "needs simcc_x and simcc_y"),
        (GOOD | {"simcc_x": np.zeros((1, 3, 24))}, (), SHAPES),
        (GOOD | {"simcc_y": np.zeros((1, 2, 32, 1))}, (), SHAPES),
        (GOOD | {"simcc_x": np.zeros((1, 2, 0))}, (), SHAPES),
        (GOOD | {"simcc_y": np.zeros((2, 2, 32))}, (), SHAPES),
        (GOOD | {"simcc_x": np.zeros((1, 2, 36))}, (), "split_ratio bins for each px"),
        ({"simcc_x": GOOD["simcc_y"], "simcc_y": GOOD["simcc_x"]}, (), "split_ratio bins for each px"),
        (GOOD | {"mirrored_simcc_x": GOOD["simcc_x"]}, (1, 0), "must have the shapes of"),
        (GOOD | {f"mirrored_{role}": array for role, array in GOOD.items()}, (), "swap sides"),
        (GOOD | {f"mirrored_{role}": array for role, array in GOOD.items()}, (2, 0), "swap sides"),
    ],
)
def test_bins_that_do_not_fit(outputs: dict, flip: tuple, message: str) -> None:
    with pytest.raises(PosertError, match=message):
        decode(outputs, Skeleton(("a", "b"), (), (), flip), Params(), INPUT_WH)


@pytest.mark.parametrize(("wrong", "said"), [({"split_ratio": 0}, "above 0"), ({"score": "max"}, r"lower \| mean")])
def test_parameters_are_checked(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=f"expected .*{said}"):
        Params(**wrong)
