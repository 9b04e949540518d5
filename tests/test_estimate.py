"""The loop: order, failures, threads, batches; on a toy network whose answer is the picture's brightness."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from posert.errors import PosertError
from posert.poses import Frame
from posert.runtime.loop import estimate, estimate_frames, estimate_image
from posert.runtime.prefetch import grouped
from posert.runtime.session import open_model


def pictures(count: int, size_wh: tuple[int, int] = (64, 64)) -> Iterator[Frame]:
    """Even grey pictures, each 5 brighter than the last."""
    for index in range(count):
        yield Frame(np.full((size_wh[1], size_wh[0], 3), 5 * index, np.uint8), index, index / 10, "made")


@pytest.fixture
def whole_frame(tmp_path: Path) -> Path:
    """Looks at the whole frame, so that frames do not depend on each other."""
    return tiny.bright_spot(tmp_path / "frame.onnx", region="frame")


def brightness(results: list) -> list[float]:
    return [float(result.poses.keypoints[0, 0, 0]) for result in results if len(result.poses)]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_results_come_in_order_whatever_the_threads(whole_frame: Path, workers: int, batch: int) -> None:
    with open_model(whole_frame, workers=workers) as model:
        results = list(estimate(model, pictures(20), batch=batch))
    assert [result.frame_index for result in results] == list(range(20))
    assert brightness(results) == pytest.approx([5 * i / 255 * 64 for i in range(20)], rel=1e-5)
    assert all(set(result.timings_ms) == {"prepare", "run", "decode"} for result in results)


def test_pictures_of_several_sizes_in_one_run(whole_frame: Path) -> None:
    mixed = [*pictures(3), *pictures(2, (30, 90)), *pictures(1, (1, 1))]
    with open_model(whole_frame, workers=2) as model:
        results = list(estimate(model, mixed, batch=2))
    assert [result.size_wh for result in results] == [(64, 64)] * 3 + [(30, 90)] * 2 + [(1, 1)]


def test_the_padding_of_one_picture_is_not_the_next_ones(whole_frame: Path) -> None:
    """White pictures of which the square around them shows a half or a quarter; the rest is black each time."""
    sides = [(64, 32), (64, 32), (32, 64), (64, 16), (64, 32), (64, 64), (16, 64)]
    white = [np.full((high, wide, 3), 255, np.uint8) for wide, high in sides]
    with open_model(whole_frame, workers=1) as model:
        found = list(estimate(model, white))
    alone = [estimate_image(open_model(whole_frame), picture) for picture in white]
    assert brightness(found) == brightness(alone) == [32, 32, 16, 16, 32, 64, -8]


def test_a_failure_of_the_source_reaches_the_caller_after_the_good_frames(whole_frame: Path) -> None:
    def breaks() -> Iterator[Frame]:
        yield from pictures(5)
        raise PosertError("the tape is torn")

    got = []
    with open_model(whole_frame, workers=2) as model, pytest.raises(PosertError, match="torn"):
        for result in estimate(model, breaks()):
            got.append(result.frame_index)
    assert got == list(range(5))


def test_leaving_early_stops_the_reader(whole_frame: Path) -> None:
    read, closed = [], threading.Event()

    def endless() -> Iterator[Frame]:
        try:
            for index in range(10**9):
                read.append(index)
                yield from pictures(1)
        finally:
            closed.set()

    with open_model(whole_frame, workers=2) as model:
        results = estimate_frames(model, endless())
        next(results)
        results.close()
    assert closed.wait(5)
    before = len(read)
    time.sleep(0.1)
    assert len(read) == before < 50


def test_a_network_of_one_row_gets_the_rows_one_by_one(whole_frame: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(str(whole_frame))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(tmp_path / "one.onnx"))
    with open_model(tmp_path / "one.onnx") as one, open_model(whole_frame) as many:
        assert brightness(list(estimate(one, pictures(4), batch=2))) == brightness(list(estimate(many, pictures(4))))


def test_boxes_replace_the_regions_of_a_model_that_follows(tmp_path: Path) -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[100:, 100:] = 255
    frame = Frame(image, 0, 0.0, "made")
    boxes = np.array([[110, 110, 190, 190], [10, 10, 60, 60], [110, 110, 190, 190]], np.float32)
    with open_model(tiny.bright_spot(tmp_path / "m.onnx")) as model:
        (result,) = estimate(model, [frame], boxes=lambda _: boxes)
    assert len(result.poses) == 3
    assert result.poses.keypoints[0].tolist() == result.poses.keypoints[2].tolist()
    assert result.poses.keypoints[0, 0, 0] > 180  # white: the far corner of its window
    assert result.poses.keypoints[1, 0, 0] < 60  # black: the near corner of the other one


def test_a_model_that_follows_sees_every_frame_in_turn(tmp_path: Path) -> None:
    """A batch would give all its frames the window of the first."""
    with open_model(tiny.bright_spot(tmp_path / "m.onnx")) as model:
        alone, batched = (list(estimate(model, pictures(9), batch=batch)) for batch in (1, 4))
    assert len(batched) == 9
    assert brightness(batched) == brightness(alone)


def test_plain_arrays_are_frames(whole_frame: Path) -> None:
    arrays = [frame.bgr for frame in pictures(4)]
    with open_model(whole_frame, workers=2) as model:
        results = list(estimate(model, arrays))
        assert [(result.frame_index, result.source) for result in results] == [(i, "array") for i in range(4)]
        assert brightness(results) == brightness(list(estimate(model, pictures(4))))
        one = estimate_image(model, arrays[3])
    assert one.poses.keypoints.tolist() == results[3].poses.keypoints.tolist()


def test_a_source_may_fill_one_array_again(whole_frame: Path) -> None:
    """Frames are read ahead: the next picture stood in the buffer when the network looked at it."""

    def camera() -> Iterator[np.ndarray]:
        buffer = np.empty((64, 64, 3), np.uint8)
        for index in range(12):
            buffer[:] = 5 * index
            yield buffer

    with open_model(whole_frame, workers=3) as model:
        results = list(estimate(model, camera()))
    assert brightness(results) == pytest.approx([5 * i / 255 * 64 for i in range(12)], rel=1e-5)


@pytest.mark.parametrize(
    ("picture", "got"),
    [
        (np.zeros((8, 8), np.uint8), "uint8 [8, 8]"),
        (np.zeros((8, 8, 4), np.uint8), "uint8 [8, 8, 4]"),
        (np.zeros((8, 8, 1), np.uint8), "uint8 [8, 8, 1]"),
        (np.zeros((8, 8, 3), np.float32), "float32 [8, 8, 3]"),
        (np.zeros((0, 8, 3), np.uint8), "uint8 [0, 8, 3]"),
        ("walk.mp4", "str"),
    ],
)
def test_other_pixels_are_refused(whole_frame: Path, picture: Any, got: str) -> None:
    """A grey picture was read past its end, and RGBA gave people at wrong places."""
    with pytest.raises(PosertError, match=re.escape(got)):
        Frame(picture)
    with open_model(whole_frame) as model, pytest.raises(PosertError, match=re.escape(got)):
        list(estimate(model, [picture]))


def test_pixels_of_a_frame_lie_one_after_the_other() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert Frame(image).bgr is image
    turned = Frame(image[:, ::-1])
    assert turned.bgr.flags.c_contiguous
    assert turned.bgr.tolist() == image[:, ::-1].tolist()


def test_a_source_that_cannot_be_closed_fails_loudly(whole_frame: Path) -> None:
    """Its failure ended the reader, and the loop waited for ever."""

    class Camera:
        def __iter__(self) -> Iterator[Frame]:
            return pictures(3)

        def close(self) -> None:
            raise OSError("the cable is out")

    with open_model(whole_frame) as model, pytest.raises(OSError, match="cable"):
        list(estimate(model, Camera()))


def test_another_source_is_looked_at_anew(tmp_path: Path) -> None:
    """The window of the last video's person is no place to look in the next one."""
    slope = np.repeat(np.arange(0, 192, 2, np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    first = [Frame(np.full_like(slope, 20), index, index / 10, "one") for index in range(3)]
    with open_model(tiny.bright_spot(tmp_path / "m.onnx"), params={"follow.rule": "tutorial"}) as model:
        alone = brightness(list(estimate(model, [Frame(slope, 0, 0.0, "two")])))
        after = brightness(list(estimate(model, [*first, Frame(slope, 0, 0.0, "two")])))
        same = brightness(list(estimate(model, [*first, Frame(slope, 3, 0.3, "one")])))
    assert after[3:] == alone
    assert same[3:] != alone


def test_a_batch_has_frames_of_one_source_and_size() -> None:
    frames = [*pictures(3), *(replace(frame, source="other") for frame in pictures(3)), *pictures(2, (30, 90))]
    groups = list(grouped(iter(frames), 2))
    assert [len(group) for group in groups] == [2, 1, 2, 1, 2]
    assert all(len({(frame.source, frame.size_wh) for frame in group}) == 1 for group in groups)
