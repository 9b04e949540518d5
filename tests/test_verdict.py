"""What a comparison of an export with its original says, and what it lets pass: figures that can be counted by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny

from posert.export.nano import clip
from posert.export.verdict import Differences, Verdict, differences, verdict
from posert.runtime.session import Model, open_model


@pytest.fixture
def opened(model: Path) -> Iterator[Model]:
    """A network whose keypoints all lie where the mean brightness says, of 64 px."""
    with open_model(model, device="cpu") as one:
        yield one


def said(outputs: float, apart_px: list[float], rounded: str = "") -> Verdict:
    measured = Differences({"maps": outputs}, np.array(apart_px), 192, (3, 2))
    return verdict(measured, "the original", "a drawn scene", rounded)


def test_outputs_decide() -> None:
    expected = (
        "equal to the original on a drawn scene: largest differences maps 0.0009 of the largest value; people 3 and 2"
    )
    assert said(0.0009, []) == Verdict(expected, True)
    line = "differs from the original on a drawn scene by more than it may: largest differences maps 0.0011"
    assert said(0.0011, []) == Verdict(f"{line} of the largest value; people 3 and 2", False)


def test_equal_outputs_of_rounded_numbers_are_equal() -> None:
    assert said(0.0009, [90.0], "int8 does").line.startswith("equal to")


def test_places_decide_where_numbers_are_rounded() -> None:
    """A keypoint that a rounding error moves to the other side does not, as long as it is one of ten."""
    line = (
        "differs from the original on a drawn scene as int8 does: half of 10 sure keypoints within 4 px of 192, nine "
        "of ten within 4 px (allowed 3.8 and 9.6); largest differences maps 0.4 of the largest value; people 3 and 2"
    )
    assert said(0.4, [1.0] * 4 + [4.0] * 5 + [90.0], "int8 does") == Verdict(
        line.replace("as int8 does", "by more than it may"), False
    )
    assert said(0.4, [1.0] * 9 + [90.0] * 1, "int8 does").allowed
    assert not said(0.4, [1.0] * 8 + [90.0] * 2, "int8 does").allowed
    assert not said(0.4, [np.inf] * 2, "int8 does").allowed


def test_without_a_keypoint_outputs_decide_again() -> None:
    assert said(0.09, [], "int8 does").allowed
    assert not said(0.11, [], "int8 does").allowed
    assert "nobody to judge by" in said(0.11, [], "int8 does").line


PICTURES = [clip.alone(0, 2), clip.alone(30, 3)]


def like(model: Model, change: Callable[[np.ndarray], np.ndarray]) -> Differences:
    """The model beside itself with other outputs."""
    return differences(model, lambda tensor: {"keypoints": change(model.run("pose", tensor)["keypoints"])}, PICTURES)


def test_a_model_is_itself(opened: Model) -> None:
    same = like(opened, lambda found: found)
    assert (same.outputs, same.side_px, same.people) == ({"keypoints": 0}, 64, (2, 2))
    assert same.apart_px.tolist() == [0] * 2 * len(tiny.NAMES)


def test_how_far_it_is(opened: Model) -> None:
    """A quarter of the input to the right: 16 px."""
    moved = like(opened, lambda found: found + np.float32([0, 0.25, 0]))
    assert moved.apart_px == pytest.approx(np.full(2 * len(tiny.NAMES), 16), abs=0.3)
    assert 0.2 < moved.outputs["keypoints"] < 0.3


def test_keypoints_that_the_original_is_not_sure_of_do_not_count(opened: Model) -> None:
    unsure = np.where(np.arange(17)[:, None] == 3, np.float32([1, 1, 0.2]), np.float32([1, 1, 1]))
    assert len(like(opened, lambda found: found * unsure).apart_px) == 2 * (len(tiny.NAMES) - 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_only_one_gives_is_infinitely_far(opened: Model, value: float) -> None:
    def spoilt(found: np.ndarray) -> np.ndarray:
        found = found.copy()
        found[0, 0, 0, 0] = value
        return found

    assert like(opened, spoilt).outputs == {"keypoints": np.inf}
