"""Metadata: what goes in comes out, and hostile documents are refused by name."""

import json
from dataclasses import replace

import pytest

from posert.errors import PosertError
from posert.poses import Skeleton
from posert.runtime.region_spec import Turn
from posert.runtime.spec import METADATA_LIMIT_BYTES, InputSpec, ModelSpec, Stage, from_json, to_json

INPUT = InputSpec("image", "NCHW", "float32", "bgr", (384, 384), "corner", multiple_of=32, pad_value=(110, 110, 110))
STAGE = Stage("pose", "frame", INPUT, {"heatmaps": "h", "pafs": "p"}, "paf", {"peak_threshold": 0.1})
SPEC = ModelSpec(1, "nano", "tiny", Skeleton(("a", "b"), ((0, 1),), (0.1, 0.2), (1, 0)), (STAGE,), "MIT")


def test_round_trip() -> None:
    two = replace(SPEC, stages=(STAGE, replace(STAGE, name="second", file="other.onnx", sha256="00")))
    assert from_json(to_json(two)) == two


def test_a_file_that_says_nothing_new_is_of_the_first_format() -> None:
    """Older posert refuses fields that it does not know, without a word of what would help."""
    data = json.loads(to_json(SPEC))
    assert data["format"] == 1
    assert "margin" not in data["stages"][0]["input"]
    assert not {"constants", "turn", "keypoint_count", "max_iou"} & data["stages"][0].keys()


@pytest.mark.parametrize(
    "stage",
    [
        replace(STAGE, input=replace(INPUT, margin=1.5)),
        replace(STAGE, input=replace(INPUT, dtype="float16")),
        replace(STAGE, input=replace(INPUT, align="edges")),
        replace(STAGE, keypoint_count=7),
        replace(STAGE, max_iou=0.5),
        replace(STAGE, region="follow", turn=Turn((0, 1))),
        replace(STAGE, constants={"im_shape": ("height", "width"), "scale_factor": (1, 1.5)}),
    ],
)
def test_a_file_that_says_something_new_is_of_the_second_format(stage: Stage) -> None:
    """An older posert then says to update."""
    before = () if stage.region == "follow" else (STAGE,)
    spec = replace(SPEC, stages=(*before, replace(stage, name="second")))
    assert json.loads(to_json(spec))["format"] == 2
    assert from_json(to_json(spec)) == spec


def _edit(**changes: object) -> str:
    return json.dumps(json.loads(to_json(SPEC)) | changes)


def _edit_stage(**changes: object) -> str:
    data = json.loads(to_json(SPEC))
    data["stages"][0] |= changes
    return json.dumps(data)


def _edit_turned(**changes: object) -> str:
    given = json.loads(to_json(SPEC))["stages"][0]["input"] | changes
    return _edit_stage(region="follow", turn={"keypoints": [0, 1]}, input=given)


def _edit_input(**changes: object) -> str:
    return _edit_stage(input=json.loads(to_json(SPEC))["stages"][0]["input"] | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{" * 100_000, "not JSON"),
        ("[1]", "expected an object"),
        ("x" * (METADATA_LIMIT_BYTES + 1), "at most 1000000"),
        (_edit(format=3), "format 3; this posert reads up to 2"),
        (_edit(format="1"), "posert.format"),
        (_edit(format=True), "posert.format"),
        (_edit(surprise=1), "surprise"),
        (_edit(stages=[]), "at least one stage"),
        (_edit(stages={}), "a list"),
        (_edit(skeleton={"names": ["a"], "edges": [[0, 1]]}), "keypoint indices 0..0"),
        (_edit(skeleton={"names": ["a"], "edges": [[0]]}), "2 values"),
        (_edit(skeleton={"names": ["a", "b"], "edges": [], "sigmas": [0.1]}), "2 values or none"),
        (_edit(skeleton={"names": ["a", "b"], "edges": [], "flip": [1]}), "flip = (1,), expected 2 values or none"),
        (json.dumps({"format": 1}), "system, model, skeleton, stages"),
        (_edit_stage(region="everywhere"), "frame | boxes | follow"),
        (_edit_stage(file="../../etc/passwd"), "a bare file name"),
        (_edit_stage(file=".."), "a bare file name"),
        (_edit_stage(params=[1]), "an object"),
        (_edit_stage(outputs={"heatmaps": 3}), "outputs.heatmaps"),
        (_edit_stage(scales=[1.0] * 17), "1 to 16 values"),
        (_edit_stage(scales=[]), "1 to 16 values"),
        (_edit_stage(constants={"a": []}), "one number or more of each"),
        (_edit_stage(constants={"image": [1]}), "one number or more of each, and not the picture"),
        (_edit_stage(constants={"a": ["depth"]}), "constants.a[0] = 'depth', expected width | height"),
        (_edit_stage(constants={"a": [True]}), "constants.a[0] = True"),
        (
            _edit_stage(region="follow", turn={"keypoints": [0, 2]}),
            "turn.keypoints = (0, 2), expected two of 2 keypoints, from 0 on",
        ),
        (
            _edit_stage(region="follow", turn={"keypoints": [1, 1]}),
            "turn.keypoints = (1, 1), expected two of 2 keypoints",
        ),
        (_edit_stage(turn={"keypoints": [0, 1]}), "expected none, the whole frame is not turned"),
        (_edit_stage(region="boxes", turn={"keypoints": [0, 0]}), "turn.keypoints = (0, 0), expected two of"),
        (_edit_stage(region="follow", turn={"keypoints": [0, 1], "points": "away"}), "turn.points = 'away'"),
        (_edit_turned(align="corners"), "input.align = 'corners', expected another one, of turned regions"),
        (_edit_turned(interpolation="area"), "input.interpolation = 'area', expected linear, of turned regions"),
        (_edit_input(margin=0), "input.margin = 0"),
        (_edit_input(size_wh=[-1, 2]), "from 0 to 16384"),
        (_edit_input(size_wh=[0, 256], fit="boxes"), "two sides other than 0"),
        (_edit_input(interpolation="cubic", align="corners"), "half_pixel unless linear"),
        (_edit_input(size_wh=[1e9, 2]), "size_wh"),
        (_edit_input(size_wh=[10**9, 2]), "from 0 to 16384"),
        (_edit_input(std=[1, 0, 1]), "other than 0"),
        (_edit_input(layout="CHWN"), "NCHW | NHWC"),
        (_edit_input(mean=[0, float("nan"), 0]), "input.mean[1] = nan, expected a finite number"),
        (_edit_input(std=[1, 1, float("inf")]), "input.std[2] = inf, expected a finite number"),
        (_edit_input(pad_value=[0, 0, 10**400]), "input.pad_value[2]"),
        (_edit_input(multiple_of=-1), "input.multiple_of = -1"),
        ("1" + "0" * 400, "expected an object"),
        ("1" + "0" * 5000, "not JSON"),
        (_edit(format=10**400), "format 1000"),
        (_edit_stage(scales=[1.0, 0]), "scales[1] = 0, expected a finite number above 0 and at most 1"),
        (_edit_stage(region="follow"), "to follow takes left_hip, right_hip, left_shoulder, right_shoulder"),
        (_edit(stages=json.loads(to_json(SPEC))["stages"] * 2), "pose.name = 'pose', expected a name of its own"),
    ],
)
def test_bad_metadata_says_where(text: str, message: str) -> None:
    with pytest.raises(PosertError) as caught:
        from_json(text)
    assert message in caught.value.what
    assert caught.value.hint
