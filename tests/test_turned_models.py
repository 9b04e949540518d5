"""Models that turn their regions, as a user runs them: what is seen in a turned crop is where it is in the frame."""

from dataclasses import replace
from pathlib import Path

import media
import naive_turned
import numpy as np
import pytest
import tiny_topdown
import tiny_turned
from command import Run
from hypothesis import given, settings
from hypothesis import strategies as st

from posert import estimate, open_model
from posert.errors import PosertError
from posert.poses import Frame, Poses
from posert.postprocess import decoder
from posert.postprocess.geometry import to_frame
from posert.runtime.look import Gaze
from posert.runtime.loop import TopDown
from posert.runtime.prepare import prepare
from posert.runtime.spec import skeleton_of
from posert.runtime.windows import place


@pytest.fixture(scope="module")
def palms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_turned.palms(tmp_path_factory.mktemp("palms") / "palms.onnx")


def window_of(people: Poses, person: int) -> np.ndarray:
    """The window around one palm, by the slow twin."""
    stage = tiny_turned.HANDS
    assert stage.turn is not None
    found = naive_turned.region(people, person, stage.turn)
    assert found is not None
    centre, wide, high, radians = found
    width = max(wide, high * 24 / 32) * 1.5
    half = complex(width, width * 32 / 24) / 2
    low, high_ = centre - half, centre + half
    return np.array([low.real, low.imag, high_.real, high_.imag, np.cos(radians), np.sin(radians)])


def found_palms(model: object, frame: Frame) -> Poses:
    """What the first stage finds, in the frame."""
    spec, stage = model.spec, model.spec.stages[0]
    windows, input_wh = place(frame.size_wh, stage.input)
    outputs = model.run("detector", prepare(frame.bgr, windows, stage.input, input_wh))
    (people,) = decoder("direct").decode(outputs, skeleton_of(spec, stage), model.params("detector"), input_wh)
    return to_frame(people, windows[0], input_wh)


@settings(max_examples=20, deadline=None)
@given(across=st.floats(0.1, 0.9), down=st.floats(0.1, 0.9), grey=st.integers(0, 90), person=st.integers(0, 1))
def test_a_spot_in_a_turned_crop_is_where_it_is_in_the_frame(palms, across, down, grey, person) -> None:
    image = np.full((150, 200, 3), grey, np.uint8)
    with open_model(palms, device="cpu", threads=1) as model:
        window = window_of(found_palms(model, Frame(image)), person)
        centre = complex(window[0] + window[2], window[1] + window[3]) / 2
        own = complex((across - 0.5) * (window[2] - window[0]), (down - 0.5) * (window[3] - window[1]))
        spot = centre + own * complex(window[4], window[5])
        x, y = round(spot.real), round(spot.imag)
        if not (4 <= x < 196 and 4 <= y < 146):
            return
        image[y - 3 : y + 4, x - 3 : x + 4] = 255
        (result,) = estimate(model, [Frame(image)])
    assert len(result.poses) == 2  # the third palm lacks a keypoint
    got = result.poses.keypoints[person, :, :2].mean(axis=0)
    cell = (window[2] - window[0]) / 6  # px of the frame
    assert np.hypot(*(got - [x, y])) < cell + 4


def test_a_window_follows_the_last_frames_own_keypoints(tmp_path: Path) -> None:
    """By the slow twin; where both keypoints are one place, the whole frame is looked at again."""
    path, rng = tiny_turned.follow(tmp_path / "m.onnx"), np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(8)]
    pictures[4][:] = 0
    pictures[4][40, 60] = 255
    frames = [Frame(picture, number, 0.0, "made") for number, picture in enumerate(pictures)]
    turns = 0
    with open_model(path, device="cpu", threads=1) as model:
        stage, gaze = model.spec.stages[0], Gaze(model.spec)
        gaze.known_regions(frames[:1])
        for frame, result in zip(frames, estimate(model, frames), strict=True):
            gaze.remember(frame, result.poses)
            windows, _ = gaze.windows(stage, frame, None)
            found = naive_turned.region(result.poses, 0, stage.turn)
            if found is None:
                assert (windows == place(frame.size_wh, stage.input)[0]).all()
                continue
            centre, wide, _, radians = found
            half = complex(wide, wide * 32 / 24) * 2.5 / 2
            corners = [(corner.real, corner.imag) for corner in (centre - half, centre + half)]
            assert windows[0, :4] == pytest.approx(np.ravel(corners), rel=1e-6)
            assert windows[0, 4:] == pytest.approx([np.cos(radians), np.sin(radians)], abs=1e-9)
            turns += 1
    assert 0 < turns < len(frames)


def test_as_a_user_runs_it(palms: Path, tmp_path: Path, run: Run) -> None:
    media.video(tmp_path / "v.mp4")
    code, out, err = run("infer", palms, tmp_path / "v.mp4")
    assert (code, "12 frames, 2.0 people a frame" in err) == (0, True)
    code, other, _ = run("infer", palms, tmp_path / "v.mp4", "--detector", tiny_turned.detector(tmp_path / "d.onnx"))
    assert (code, other) == (0, out)


def test_a_detector_without_enough_keypoints(palms: Path, tmp_path: Path, run: Run) -> None:
    video = media.video(tmp_path / "v.mp4")
    code, _, err = run("infer", palms, video, "--detector", tiny_topdown.detector(tmp_path / "d.onnx"))
    assert code == 1
    assert "two-boxes finds 0 keypoints, 3 are needed to turn the regions" in " ".join(err.split())


def test_what_only_the_detector_knows_is_not_left_away(palms: Path) -> None:
    frame = Frame(np.zeros((20, 30, 3), np.uint8))
    with open_model(palms, device="cpu") as model:
        with pytest.raises(PosertError, match="keypoints that only it finds") as caught:
            next(estimate(model, [frame], top_down=TopDown(detect_every=2)))
        assert caught.value.hint == "leave `detect_every` away"
        with pytest.raises(PosertError, match="keypoints that only it finds"):
            next(estimate(model, [frame], boxes=lambda _: np.zeros((0, 4), np.float32)))


def test_a_detector_of_boxes_alone_turns_nothing(tmp_path: Path) -> None:
    companion = tiny_topdown.detector(tmp_path / "d.onnx")
    first = replace(tiny_topdown.first_stage(companion), keypoint_count=3)
    with pytest.raises(PosertError, match="the decoder 'detect' of stage 'detector' finds boxes, no keypoints"):
        open_model(tiny_topdown.pose(tmp_path / "m.onnx", stages=(first, tiny_turned.HANDS)))
