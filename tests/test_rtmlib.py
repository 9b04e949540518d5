"""SimCC and ViTPose against rtmlib: the same ONNX file, pictures and boxes; the network's own output apart.

rtmlib rounds crops to grey levels as OpenCV does, so that one pixel in thousands differs by one level from posert's
exact ones; a network of random weights then moves a keypoint whose two best bins are nearly equal. Hence three claims:
on the same output every keypoint is the same, crops are the same but for such pixels, and from picture to keypoint all
are the same where the crops are, bit for bit, or where the network does not tell levels apart.
"""

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_mmpose
from rtmlib_oracle import LIKE_RTMLIB, MOST_PX, boxes_in, crop, far_apart, people, pictures, tool

from posert.postprocess.decoders import simcc
from posert.postprocess.geometry import to_frame
from posert.runtime.prepare import prepare
from posert.runtime.session import Model, open_model
from posert.runtime.windows import place

pytestmark = pytest.mark.export
LEVELS = 1 if int(cv2.__version__.split(".")[0]) >= 5 else 5  # OpenCV 4 takes coordinates in 1/32 px
KINDS = {
    "RTMPose": (tiny_mmpose.simcc, {"score": "mean"}),
    "ViTPose": (tiny_mmpose.heatmaps, {"refine": "dark_udp", "udp": True}),
}
SIZES = [((192, 256), 17), ((192, 256), 26), ((288, 384), 133), ((256, 256), 21), ((256, 256), 106)]
NOISY = {"RTMPose": (1.0, 0.3), "ViTPose": (1.0, 0.02)}


def opened(folder: Path, kind: str, input_wh: tuple[int, int], keypoints: int, weights: tuple[float, float]) -> tuple:
    """rtmlib's and posert's model of one file."""
    make, params = KINDS[kind]
    file = make(
        folder / f"{kind}.onnx", input_wh, keypoints, weights=weights, seed=keypoints, image=LIKE_RTMLIB, params=params
    )
    return tool(kind, file, input_wh), open_model(file, device="cpu", threads=1)


def of_one_output(theirs: object, model: Model, picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, ...]:
    """posert's keypoints [1,K,3] and rtmlib's places and scores, of what the network says of rtmlib's own crop."""
    tensor, centre, size = crop(theirs, picture, box)
    stage = model.spec.stages[-1]
    outputs = model.run(stage.name, tensor)
    again = [array.copy() for array in outputs.values()]  # rtmlib's ViTPose writes into what it is given
    (found,) = decoded(model, outputs)
    ours = to_frame(found, np.array([*(centre - size / 2), *(centre + size / 2)]), stage.input.size_wh)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return ours.keypoints, *theirs.postprocess(again, centre, size)  # type: ignore[attr-defined]


def decoded(model: Model, outputs: dict) -> list:
    from posert.postprocess import decoder

    stage = model.spec.stages[-1]
    return decoder(stage.decoder).decode(outputs, model.spec.skeleton, model.params(stage.name), stage.input.size_wh)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("input_wh", "keypoints"), SIZES)
def test_the_same_output_is_decoded_alike(
    tmp_path: Path, assets: Path, kind: str, input_wh: tuple[int, int], keypoints: int
) -> None:
    theirs, model = opened(tmp_path, kind, input_wh, keypoints, NOISY[kind])
    with model:
        for picture in pictures(assets):
            for box in boxes_in(picture):
                assert not far_apart(*of_one_output(theirs, model, picture, box)).any()


def test_random_bins_are_decoded_alike(tmp_path: Path) -> None:
    theirs, model = opened(tmp_path, "RTMPose", (192, 256), 17, (0.0, 1.0))
    with model:
        for picture in pictures():
            for box in boxes_in(picture):
                assert not far_apart(*of_one_output(theirs, model, picture, box)).any()


def test_random_maps_are_decoded_alike_where_there_is_a_peak(tmp_path: Path) -> None:
    """Where the blurred map is no peak DARK steps away without end, in float32 by rtmlib: up to 30,000 px here.

    posert stays on the cell where the step would leave the map; steps within a cell are the same.
    """
    theirs, model = opened(tmp_path, "ViTPose", (192, 256), 17, (0.0, 1.0))
    near = beyond = 0
    with model:
        for picture in pictures():
            for box in boxes_in(picture):
                ours, xy, score = of_one_output(theirs, model, picture, box)
                tensor, centre, size = crop(theirs, picture, box)
                maps = model.run("pose", tensor)["maps"][0]
                high, wide = maps.shape[1:]
                highest = np.array([np.unravel_index(one.argmax(), one.shape)[::-1] for one in maps])
                cells = (xy[0] - centre + size / 2) / size * (wide - 1, high - 1)
                outside = ((cells < 0) | (cells > (wide - 1, high - 1))).any(1)
                small = ~outside & (np.abs(cells - highest).max(1) <= 1)
                assert not far_apart(ours, xy, score)[0][small].any()
                assert (np.abs(ours[0, :, :2] - centre) <= size / 2 + MOST_PX).all()
                near, beyond = near + small.sum(), beyond + outside.sum()
    assert near > 50
    assert beyond > 0


@pytest.mark.parametrize("input_wh", [(192, 256), (288, 384), (256, 256)])
def test_crops_are_the_same_but_for_rounding(tmp_path: Path, assets: Path, input_wh: tuple[int, int]) -> None:
    theirs, model = opened(tmp_path, "RTMPose", input_wh, 17, (1, 0))
    image, differ, count = model.spec.stages[-1].input, 0, 0
    for picture in pictures(assets):
        boxes = boxes_in(picture)
        windows, _ = place(picture.shape[1::-1], image, boxes)
        for box, ours in zip(boxes, prepare(picture, windows, image, input_wh), strict=True):
            levels = np.abs(ours - crop(theirs, picture, box)[0][0]) * np.array(image.std)[:, None, None]
            assert levels.max() < LEVELS + 0.1
            differ, count = differ + (levels > 0.5).sum(), count + levels.size
    assert differ < count / (1000 if LEVELS == 1 else 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("input_wh", "keypoints"), SIZES)
@pytest.mark.parametrize("count", [1, 5])
def test_from_picture_to_keypoints(
    tmp_path: Path, assets: Path, kind: str, input_wh: tuple[int, int], keypoints: int, count: int
) -> None:
    """A network that the picture does not move: any box, one or several in one call."""
    theirs, model = opened(tmp_path, kind, input_wh, keypoints, (1, 0))
    with model:
        for picture in pictures(assets):
            boxes = boxes_in(picture, count)
            assert not far_apart(people(model, picture, boxes).keypoints, *theirs(picture, boxes)).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1, 2])
def test_from_picture_to_keypoints_where_crops_are_whole_pixels(
    tmp_path: Path, assets: Path, kind: str, step: int
) -> None:
    """Boxes whose window takes every pixel or every second one: both crops are equal bits, whatever the network."""
    wide, high = 192, 256
    theirs, model = opened(tmp_path, kind, (wide, high), 17, NOISY[kind])
    half = np.array([wide, high]) * step / 2 / 1.25
    with model:
        for picture in pictures(assets):
            middle = np.array([[200, 180], [310, 222], [20, 400]])
            boxes = np.concatenate([middle - half, middle + half], 1).astype(np.float32)
            windows, _ = place(picture.shape[1::-1], model.spec.stages[-1].input, boxes)
            for box, ours in zip(
                boxes, prepare(picture, windows, model.spec.stages[-1].input, (wide, high)), strict=True
            ):
                assert np.abs(ours - crop(theirs, picture, box)[0][0]).max() < 1e-5
            assert not far_apart(people(model, picture, boxes).keypoints, *theirs(picture, boxes)).any()


def test_the_lower_score_is_that_of_the_networks_with_depth() -> None:
    """rtmlib takes the mean for RTMPose but, as MMPose does, the lower one for RTMW3D."""
    pytest.importorskip("rtmlib")
    from rtmlib.tools.pose_estimation.post_processings import get_simcc_maximum3d

    rng = np.random.default_rng(0)
    x, y, z = (rng.normal(0, 1, (3, 133, size)).astype(np.float32) for size in (576, 768, 576))
    places, scores = get_simcc_maximum3d(x, y, z)
    outputs = {"simcc_x": x, "simcc_y": y}
    skeleton = tiny_mmpose.Skeleton(tuple(map(str, range(133))), ())
    for row, found in enumerate(simcc.decode(outputs, skeleton, simcc.Params(), (288, 384))):
        assert not far_apart(found.keypoints, places[row, :, :2] / 2, scores[row]).any()
