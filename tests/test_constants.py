"""Networks that take more than a picture: their numbers come from the metadata, and nothing else will do."""

from pathlib import Path

import media
import numpy as np
import pytest
import tiny
import tiny_fed
import tiny_topdown
from command import Run

from posert import open_model
from posert.errors import PosertError
from posert.runtime.constants import Constant


def test_rows_and_wholes_and_sides_of_the_input() -> None:
    per_row = Constant("a", "int64", True, (2,), ("height", "width"))
    assert per_row.tensor(3, (24, 32)).tolist() == [[32, 24]] * 3
    whole = Constant("b", "float16", False, (2, 2), (0.1, 1, 2, 3))
    assert whole.tensor(3, (24, 32)).tobytes() == np.float16([[0.1, 1], [2, 3]]).tobytes()
    assert Constant("c", "float32", False, (), (7,)).tensor(1, (1, 1)).shape == ()
    assert Constant("d", "uint8", True, (2, 3), (1,)).tensor(2, (1, 1)).tolist() == [[[1] * 3] * 2] * 2


def test_the_network_gets_them(tmp_path: Path) -> None:
    """Scores are halved by `scale_factor`; the picture's own size over `im_shape` is 1; outputs come as float32."""
    with open_model(tiny_fed.fed(tmp_path / "m.onnx"), device="cpu") as model:
        maps = model.run("pose", np.ones((3, 3, 32, 24), np.float16))["maps"]
    assert (maps.dtype, maps.shape) == (np.float32, (3, 2, 8, 6))
    assert (maps[:, 0] == 0.5).all()


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        ({}, ("nothing feeds the input 'scale_factor' float16 ['n', 2], 'im_shape' int64 ['n', 2]", "stage 'pose'")),
        ({"mask": (1,)}, ("nothing feeds the input 'scale_factor'",)),
        ({"scale": (1,), **tiny_fed.NUMBERS}, ("has no input 'scale'",)),
        ({**tiny_fed.NUMBERS, "scale_factor": (1, 2, 3)}, ("[1, 2, 3] do not fit", "row for each", "float16 ['n', 2]")),
        ({**tiny_fed.NUMBERS, "mask": (1, 1)}, ("'mask'", "one tensor: float32 [8, 6]")),
        ({**tiny_fed.NUMBERS, "im_shape": (0.5, 1)}, ("[0.5, 1] do not fit the input 'im_shape'", "int64")),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, constants: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(PosertError) as caught:
        open_model(tiny_fed.fed(tmp_path / "m.onnx", constants=constants))
    assert all(word in caught.value.what for word in words), caught.value.what
    assert caught.value.hint


def test_a_network_that_takes_a_picture_alone_has_no_constants(tmp_path: Path) -> None:
    with pytest.raises(PosertError, match="has no input 'scale' for its constants") as caught:
        open_model(tiny.bright_spot(tmp_path / "m.onnx", constants={"scale": (1,)}))
    assert "it has none besides the picture" in str(caught.value.hint)


def test_as_a_user_runs_it(tmp_path: Path, run: Run) -> None:
    """The same people row by row, where the network has one row only."""
    media.video(tmp_path / "v.mp4")
    first = tiny_topdown.first_stage(tiny_topdown.detector(tmp_path / "detector.onnx"))
    said = [
        run("infer", tiny_fed.fed(tmp_path / "fed.onnx", first, rows=rows), tmp_path / "v.mp4") for rows in ("n", 1)
    ]
    assert [code for code, _, _ in said] == [0, 0]
    assert all("12 frames, 2.0 people a frame" in err for _, _, err in said)
    assert said[0][1] == said[1][1]
