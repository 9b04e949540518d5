"""The loop of a top-down model: detector, crops, poses; and what can be wrong with each."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_topdown
from typer.testing import CliRunner

from posert.cli import app
from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.postprocess.following import next_regions
from posert.runtime.look import read_boxes, regions
from posert.runtime.loop import TopDown, estimate
from posert.runtime.session import Model, open_model
from posert.runtime.spec import from_json, to_json
from posert.runtime.stage_runner import StageRunner


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A pose model with its detector beside it."""
    return tiny_topdown.pose(tmp_path / "pose.onnx", tiny_topdown.detector(tmp_path / "detector.onnx"))


def spots(*points: tuple[int, int], index: int = 0, size: int = 64, half: int = 2, source: str = "made") -> Frame:
    """A black picture with white spots of 4 px (twice `half`) around (x, y)."""
    image = np.zeros((size, size, 3), np.uint8)
    for x, y in points:
        image[max(0, y - half) : y + half, max(0, x - half) : x + half] = 255
    return Frame(image, index, index / 10, source)


def looked(model: Model, monkeypatch) -> list[tuple[str, int]]:
    """(stage, rows) of every network call from now on."""
    calls: list[tuple[str, int]] = []
    run = model.run
    monkeypatch.setattr(model, "run", lambda stage, tensor: (calls.append((stage, len(tensor))), run(stage, tensor))[1])
    return calls


def test_people_of_a_frame(pair: Path) -> None:
    with open_model(pair) as model:
        (result,) = estimate(model, [spots((8, 8), (56, 56))])
    assert len(result.poses) == 2
    found = sorted(result.poses.keypoints[:, 0, :2].round().tolist())
    assert found[0] == pytest.approx([8, 8], abs=5)  # cells of 6.7 px
    assert found[1] == pytest.approx([56, 56], abs=5)
    assert sorted(result.poses.boxes_xyxy.tolist()) == [[0, 0, 32, 32], [32, 32, 64, 64]]
    assert result.poses.scores == pytest.approx([0.95 + 1 + 1.25] * 2, abs=1e-4)  # mean + box + 1.25 best


def test_a_crop_may_hold_nobody(tmp_path: Path) -> None:
    """The others keep their own regions: a rule once took only decoders that find one person in each."""
    model = tiny_topdown.spots(tmp_path / "pose.onnx", tiny_topdown.detector(tmp_path / "detector.onnx"))
    with open_model(model) as opened:
        frames = [spots((56, 56)), spots(index=1), spots((8, 8), (56, 56), index=2)]
        boxes = [result.poses.boxes_xyxy.tolist() for result in estimate(opened, frames)]
    assert boxes == [[[32, 32, 64, 64]], [], [[0, 0, 32, 32], [32, 32, 64, 64]]]


def test_crops_of_several_frames_are_one_batch(pair: Path, monkeypatch) -> None:
    frames = [spots((8, 8), index=0), spots(index=1), spots((8, 8), (56, 56), index=2)]
    with open_model(pair) as model:
        calls = looked(model, monkeypatch)
        results = list(estimate(model, frames, batch=3))
        together = [result.poses.keypoints.tolist() for result in results]
        assert calls == [("detector", 3), ("pose", 4)]
        alone = [result.poses.keypoints.tolist() for result in estimate(model, frames)]
    assert together == alone
    assert [len(poses) for poses in together] == [1, 0, 2]  # a crop without a spot scores less than 0.3


def test_frames_without_people(pair: Path) -> None:
    with open_model(pair) as model:
        results = list(estimate(model, [spots(index=i) for i in range(3)], top_down=TopDown(detect_every=2)))
    assert [(len(r.poses), r.poses.keypoints.shape) for r in results] == [(0, (0, 2, 3))] * 3


def test_people_half_outside_the_frame(pair: Path) -> None:
    """The part outside is black; keypoints may lie there, boxes of a detector are cut, given ones are not."""
    box = np.array([[-16, 16, 16, 48]], np.float32)
    with open_model(pair) as model:
        (given,) = estimate(model, [spots((3, 32))], boxes=lambda _: box)
    assert given.poses.keypoints[0, 0, :2] == pytest.approx([3, 32], abs=5)
    assert given.poses.boxes_xyxy.tolist() == box.tolist()


@pytest.mark.parametrize(
    "box", [[8, 8, 8, 20], [8, 8, 20, 8], [20, 20, 8, 8], [0, 0, 0, 0], [np.nan, 0, 9, 9], [0, 0, np.inf, 9]]
)
def test_boxes_without_area_hold_nobody(pair: Path, box: list[float]) -> None:
    boxes = np.array([box, [0, 0, 32, 32]], np.float32)
    with open_model(pair) as model:
        (result,) = estimate(model, [spots((8, 8))], boxes=lambda _: boxes)
        (nobody,) = estimate(model, [spots((8, 8))], boxes=lambda _: boxes[:1])
    assert (len(result.poses), len(nobody.poses)) == (1, 0)
    assert np.isfinite(result.poses.keypoints).all()


@pytest.mark.parametrize(("limit", "calls"), [(64, [64, 64, 64, 8]), (1000, [200]), (7, [7] * 28 + [4])])
def test_two_hundred_boxes(pair: Path, monkeypatch, limit: int, calls: list[int]) -> None:
    corners = np.random.default_rng(0).uniform(0, 40, (200, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + 24], axis=1)
    frame = Frame(np.full((64, 64, 3), 255, np.uint8), 0, 0.0, "made")
    with open_model(pair) as model:
        seen = looked(model, monkeypatch)
        (result,) = estimate(model, [frame], boxes=lambda _: boxes, top_down=TopDown(pose_batch=limit))
    assert [rows for _, rows in seen] == calls
    assert len(result.poses) == 200


def test_an_accelerator_sees_few_shapes(pair: Path, monkeypatch) -> None:
    with open_model(pair) as model:
        model.devices = dict.fromkeys(model.devices, "cuda:0")
        calls = looked(model, monkeypatch)
        for count in (1, 3, 5, 33):
            boxes = np.tile(np.array([[0, 0, 32, 32]], np.float32), (count, 1)) + np.arange(count)[:, None] / 4
            (result,) = estimate(model, [spots((8, 8))], boxes=lambda _, boxes=boxes: boxes)
            assert len(result.poses) <= count
    assert [rows for _, rows in calls] == [1, 4, 8, 64]


def test_the_detector_runs_on_every_nth_frame(pair: Path, monkeypatch) -> None:
    """In between it looks around the last poses, and finds whoever moved a little; another source starts anew."""
    frames = [spots((10 + i, 12), index=i, half=8) for i in range(7)] + [spots((9, 9), half=8, source="other")]
    with open_model(pair, workers=2) as model:
        calls = looked(model, monkeypatch)
        results = list(estimate(model, frames, batch=4, top_down=TopDown(detect_every=3)))
    assert [stage for stage, _ in calls].count("detector") == 4  # frames 0, 3, 6 and the other source
    assert [len(result.poses) for result in results] == [1] * 8


def test_boxes_of_the_last_poses() -> None:
    frame = spots()
    keypoints = np.array([[[10, 20, 0.9], [20, 50, 0.8], [60, 60, 0.1]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]], np.float32)
    poses = replace(regions(np.zeros((2, 4))), keypoints=keypoints)
    found = next_regions(poses, frame.size_wh)
    assert found.boxes_xyxy.tolist() == [[7, 17, 23, 53]]  # a tenth of 30 px around the two sure keypoints
    assert found.scores == pytest.approx([0.6])


def test_mirrored_crops_are_averaged(pair: Path, monkeypatch) -> None:
    with open_model(pair) as model:
        calls = looked(model, monkeypatch)
        (plain,) = estimate(model, [spots((8, 8))])
        (mirrored,) = estimate(model, [spots((8, 8))], top_down=TopDown(flip=True))
    assert calls == [("detector", 1), ("pose", 2), ("detector", 1), ("pose", 2), ("pose", 2)]
    assert len(plain.poses) == len(mirrored.poses) == 1
    moved = mirrored.poses.keypoints[0, 0, 0] - plain.poses.keypoints[0, 0, 0]
    assert abs(moved) < 10
    assert mirrored.poses.keypoints[0, 0, 2] < plain.poses.keypoints[0, 0, 2]  # the two are one cell apart


def test_another_detector(pair: Path, tmp_path: Path) -> None:
    other = tiny_topdown.detector(tmp_path / "other.onnx", boxes=((1, 0),))
    with open_model(pair, detector=other) as model:
        (result,) = estimate(model, [spots((40, 8))])
    assert result.poses.boxes_xyxy.tolist() == [[32, 0, 64, 32]]
    with open_model(tiny_topdown.pose(tmp_path / "alone.onnx"), detector=other) as model:
        assert len(next(iter(estimate(model, [spots((40, 8))]))).poses) == 1


@pytest.mark.parametrize("what", ["pose", "nano"])
def test_a_file_that_is_no_detector(pair: Path, what: str) -> None:
    with pytest.raises(PosertError, match="is no detector"):
        open_model(pair, detector=pair if what == "pose" else "nano")


def test_a_model_that_needs_no_detector(pair: Path) -> None:
    with pytest.raises(PosertError, match="finds people without a detector"):
        open_model("nano", detector=pair.with_name("detector.onnx"))


def test_a_detector_with_other_classes(pair: Path, tmp_path: Path) -> None:
    other = tiny_topdown.detector(tmp_path / "other.onnx", classes=3)
    with (
        open_model(pair, detector=other) as model,
        pytest.raises(PosertError, match="knows other classes than the parameters say"),
    ):
        list(estimate(model, [spots((8, 8))]))


def test_a_missing_companion(pair: Path, tmp_path: Path) -> None:
    pair.with_name("detector.onnx").rename(tmp_path / "moved.onnx")
    with pytest.raises(PosertError, match=r"needs its companion detector.onnx in the same folder") as error:
        open_model(pair)
    assert "`detector`" in error.value.hint
    with open_model(pair, detector=tmp_path / "moved.onnx") as model:
        assert len(model.spec.stages) == 2


def test_an_altered_companion(pair: Path) -> None:
    tiny_topdown.detector(pair.with_name("detector.onnx"), boxes=((0, 1),))
    with pytest.raises(
        PosertError, match=r"is not the file that pose.onnx names: its sha256 is \w{64}, expected \w{64}"
    ):
        open_model(pair)


def test_a_model_without_detector_says_what_it_needs(tmp_path: Path) -> None:
    with open_model(tiny_topdown.pose(tmp_path / "alone.onnx")) as model:
        with pytest.raises(PosertError, match="looks at boxes and has no detector") as error:
            list(estimate(model, [spots()]))
        assert "`detector`" in error.value.hint
        assert len(list(estimate(model, [spots()], boxes=lambda _: np.zeros((0, 4), np.float32)))) == 1


@pytest.mark.parametrize(
    ("how", "message"),
    [(TopDown(flip=True), "cannot average mirrored"), (TopDown(detect_every=2), "has no detector to leave out")],
)
def test_other_models_have_no_top_down_options(how: TopDown, message: str) -> None:
    with open_model("nano") as model, pytest.raises(PosertError, match=message):
        list(estimate(model, [spots()], top_down=how))


def test_suppression_stands_in_the_metadata(pair: Path) -> None:
    with open_model(pair) as model:
        spec = model.spec
    assert from_json(to_json(spec)) == spec
    wrong = replace(spec, stages=(replace(spec.stages[0], suppress="poses"), spec.stages[1]))
    with pytest.raises(PosertError, match="does not look at boxes"):
        from_json(to_json(wrong))


ROWS = [
    {"image_id": 0, "bbox": [1, 2, 3, 4], "score": 0.5},
    {"image_id": 0, "bbox": [5, 6, 7, 8], "category_id": 1},
    {"image_id": 0, "bbox": [5, 6, 7, 8], "category_id": 2},
    {"image_id": 2, "bbox": [0, 0, 1, 1]},
]


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        [{**row, "image_id": f"{row['image_id']}.jpg"} for row in ROWS],
        {
            "annotations": [{**row, "image_id": row["image_id"] + 7} for row in ROWS],
            "images": [{"id": 7, "file_name": "val/0.jpg"}, {"id": 9, "file_name": "2.jpg"}],
        },
    ],
    ids=["numbers", "names", "images"],
)
def test_boxes_from_a_file(tmp_path: Path, data: object) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps(data))
    boxes = read_boxes(tmp_path / "boxes.json")
    assert boxes(spots()).tolist() == [[1, 2, 4, 6, 0.5], [5, 6, 12, 14, 1]]
    assert boxes(spots(index=1)).shape == (0, 5)
    assert boxes(spots(index=2)).tolist() == [[0, 0, 1, 1, 1]]
    assert boxes(spots(source="photos/000002.jpg")).tolist() == [[0, 0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "cannot be read"),
        ('{"people": []}', "holds no list of boxes"),
        ('[{"image_id": 1, "bbox": [1, 2, 3]}]', r"row 0.bbox = \[1, 2, 3\], expected 4 values"),
        ('[{"bbox": [1, 2, 3, 4]}]', "row 0 = .*, expected the fields image_id"),
        ("[7]", "row 0 = 7, expected an object"),
        ('{"annotations": []}', "images = None, expected a list"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, null]}]', r"row 0.bbox\[3\] = None, expected a finite number"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, "x"]}]', r"row 0.bbox\[3\] = 'x', expected a finite number"),
    ],
)
def test_files_that_hold_no_boxes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(PosertError, match=message):
        read_boxes(tmp_path / "boxes.json")
    with pytest.raises(PosertError, match="cannot be read"):
        read_boxes(tmp_path / "no.json")


def test_the_command_line(pair: Path, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "0.png"), spots((8, 8), (40, 8)).bgr)
    (tmp_path / "boxes.json").write_text(json.dumps([{"image_id": 0, "bbox": [32, 0, 32, 32], "score": 0.5}]))

    def people(*options: str) -> list[dict]:
        run = CliRunner().invoke(app, ["infer", str(pair), str(tmp_path / "0.png"), "-q", *options])
        assert run.exit_code == 0, run.output
        return json.loads(run.stdout.splitlines()[1])["people"]

    assert [person["box_xyxy"] for person in people()] == [[0, 0, 32, 32]]
    other = tiny_topdown.detector(tmp_path / "other.onnx", boxes=((1, 0),))
    assert [person["box_xyxy"] for person in people("--detector", str(other))] == [[32, 0, 64, 32]]
    (given,) = people("--boxes", str(tmp_path / "boxes.json"), "--pose-batch", "1", "--flip")
    assert given["box_xyxy"] == [32, 0, 64, 32]
    assert len(people("--detect-every", "3")) == 1


def test_coco100(assets: Path, tmp_path: Path) -> None:
    """The bars of a trained network of this shape; an independent program measured .541 and .507."""
    pytest.importorskip("pycocotools")
    from posert.export.convert import tag
    from posert.measure.evaluate import evaluate

    names = {"yolox-nano": "yolox_nano", "alphapose-ultralight-simplepose": "ultralight_nano_simplepose"}
    for name, file in names.items():
        detector = tmp_path / "yolox-nano.onnx" if name.startswith("alphapose") else None
        tag(assets / "models" / f"{file}.onnx", name, tmp_path / f"{name}.onnx", detector=detector)
    images = assets / "media" / "coco100"
    with open_model(tmp_path / "alphapose-ultralight-simplepose.onnx", threads=2) as model:
        for ground_truth, least in ((True, 0.535), (False, 0.50)):
            score = evaluate(
                model, images / "person_keypoints_coco100.json", images / "images", ground_truth_boxes=ground_truth
            )
            assert score.ap >= least


def test_results_keep_their_type(pair: Path) -> None:
    with open_model(pair) as model:
        (result,) = estimate(model, [spots((8, 8))])
        assert isinstance(result, Result)
        assert StageRunner(model, model.spec.stages[1]).row_count(5) == 5
