"""`posert tag --guess`: families of networks by their shapes alone, and what nobody can know left open."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import own_networks
import pytest
import tiny_topdown
from command import Run
from onnx import TensorProto, helper

import posert
from posert.errors import PosertError
from posert.export.onnx_file import read_metadata
from posert.postprocess import names

TALL, WIDE, SQUARE = (1, 3, 256, 192), (1, 3, 256, 320), (1, 3, 640, 640)
HALPE = {"skeleton": "halpe_26"}
COCO = {"skeleton": "coco_17"}
BY_EYE = {"stage.input.color": "rgb", "stage.input.mean": [0, 0, 0], "stage.input.std": [255, 255, 255]}


def _zeros(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.zeros((1, *shape)) for name, shape in shapes.items()}


# name: input, outputs, decoder, roles, some params, what is filled in
FAMILIES: dict[str, tuple[Any, dict[str, np.ndarray], str, dict[str, str], dict[str, Any], dict[str, Any]]] = {
    "rtmpose": (TALL, _zeros(simcc_x=(26, 384), simcc_y=(26, 512)), "simcc",
                {"simcc_x": "simcc_x", "simcc_y": "simcc_y"}, {"split_ratio": 2.0}, HALPE),
    "rtmpose, odd names": (TALL, _zeros(b=(17, 768), a=(17, 1024)), "simcc",
                           {"simcc_x": "b", "simcc_y": "a"}, {"split_ratio": 4.0}, COCO),
    "vitpose": (TALL, _zeros(output=(17, 64, 48)), "heatmap", {"maps": "output"}, {}, COCO),
    "keras": ((1, 256, 192, 3), _zeros(output=(64, 48, 17)), "heatmap", {"maps": "output_nchw"}, {}, COCO),
    "hourglass": ((1, 3, 256, 256), _zeros(one=(15, 64, 64), two=(15, 64, 64)), "heatmap", {"maps": "two"}, {},
                  {"skeleton": "mpi_15"}),
    "hourglass, one tensor": ((1, 3, 256, 256), _zeros(out=(8, 16, 64, 64)), "heatmap", {"maps": "maps"}, {},
                              {"skeleton": {"names": [f"p{k}" for k in range(16)], "edges": []}}),
    "openpose": (WIDE, _zeros(paf=(38, 32, 40), heat=(19, 32, 40)), "paf", {"heatmaps": "heat", "pafs": "paf"}, {},
                 {"skeleton": "openpose_18", "stage.input.fit": "corner",
                  "stage.params.paf_channels": [[2 * i, 2 * i + 1] for i in range(19)]}),
    "openpose, one tensor": ((1, 256, 320, 3), _zeros(out=(32, 40, 57)), "paf",
                             {"heatmaps": "heatmaps", "pafs": "pafs"}, {},
                             {"skeleton": "openpose_18", "stage.input.fit": "corner",
                              "stage.params.paf_channels": [[2 * i, 2 * i + 1] for i in range(19)]}),
    "pifpaf": ((1, 3, 129, 193), _zeros(cif=(17, 5, 17, 25), caf=(16, 8, 17, 25)), "cifcaf",
               {"cif": "cif", "caf": "caf"}, {}, COCO | {"stage.input.fit": "center"}),
    "movenet": ((1, 192, 192, 3), _zeros(output_0=(1, 17, 3)), "direct", {"keypoints": "output_0"}, {},
                {"skeleton": "coco_17_movenet", "stage.region": "follow"}),
    "movenet multipose": ((1, 256, 256, 3), _zeros(output_0=(6, 56)), "direct", {"people": "output_0"}, {},
                          {"skeleton": "coco_17_movenet"}),
    "regression": ((1, 3, 224, 224), _zeros(xy=(17, 2)), "direct", {"keypoints": "keypoints"}, {}, COCO),
    "yolox": ((1, 3, 416, 416), _zeros(output=(3549, 85)), "detect", {"grid_rows": "output"}, {}, {}),
    "yolov3": ((1, 3, 416, 416), _zeros(a=(255, 13, 13), b=(255, 26, 26), c=(255, 52, 52)), "detect",
               {"head8": "c", "head16": "b", "head32": "a"}, {}, {}),
    "yolo-pose": (SQUARE, _zeros(output0=(56, 8400)), "rows", {"rows": "output0"},
                  {"columns": ["box", "scores", "keypoints"], "box": "cxcywh", "max_iou": 0.65},
                  COCO | {"stage.input.fit": "letterbox"}),
    "yolo-pose of version 7": (SQUARE, _zeros(output=(25200, 57)), "rows", {"rows": "output"},
                               {"columns": ["box", "objectness", "scores", "keypoints"], "box": "cxcywh"},
                               COCO | {"stage.input.fit": "letterbox"}),
    "yolo-pose, end to end": (SQUARE, _zeros(output0=(300, 57)), "rows", {"rows": "output0"},
                              {"columns": ["box", "scores", "label", "keypoints"]},
                              COCO | {"stage.input.fit": "letterbox"}),
    "yolo detector": (SQUARE, _zeros(output0=(84, 8400)), "rows", {"rows": "output0"},
                      {"columns": ["box", "scores"], "classes": 80, "keypoints": 0}, {"stage.input.fit": "letterbox"}),
    "yolo detector, end to end": (SQUARE, _zeros(output0=(300, 6)), "rows", {"rows": "output0"},
                                  {"columns": ["box", "scores", "label"], "keypoints": 0},
                                  {"stage.input.fit": "letterbox"}),
    "rtmo": (SQUARE, _zeros(dets=(100, 5), keypoints=(100, 17, 3)), "rows", {"rows": "dets", "keypoints": "keypoints"},
             {"columns": ["box", "scores"]}, COCO),
    "rtmdet": ((1, 3, 320, 320), _zeros(dets=(100, 5), labels=(100,)), "rows", {"rows": "dets", "labels": "labels"},
               {"columns": ["box", "scores"], "keypoints": 0}, {"stage.input.fit": "corner"}),
    "detr": ((1, 3, 384, 384), _zeros(dets=(300, 4), labels=(300, 91)), "rows", {"rows": "dets", "scores": "labels"},
             {"columns": ["box"], "classes": 91, "keypoints": 0},
             {"stage.params.person": 1, "stage.params.box": "cxcywh", "stage.params.unit": "share",
              "stage.params.sigmoid_scores": True}),
    "detr pose": ((1, 3, 384, 384), _zeros(dets=(100, 4), labels=(100, 2), keypoints=(100, 17, 3)), "rows",
                  {"rows": "dets", "scores": "labels", "keypoints": "keypoints"}, {"columns": ["box"], "classes": 2},
                  COCO | {"stage.params.person": 1, "stage.params.box": "cxcywh", "stage.params.unit": "share",
                          "stage.params.sigmoid_scores": True}),
    "yolo-nas-pose": (SQUARE, _zeros(boxes=(1000, 4), scores=(1000, 1), points=(1000, 17, 2)), "rows",
                      {"rows": "boxes", "scores": "scores", "keypoints": "points"},
                      {"columns": ["box"], "classes": 1, "keypoint_scores": False},
                      COCO | {"stage.params.box": "xyxy", "stage.params.unit": "px",
                              "stage.params.sigmoid_scores": False}),
    "detr pose, flat keypoints": ((1, 3, 384, 384), _zeros(logits=(60, 2), pred_boxes=(60, 4), pred_keypoints=(60, 34)),
                                  "rows", {"rows": "pred_boxes", "scores": "logits", "keypoints": "pred_keypoints"},
                                  {"columns": ["box"], "classes": 2, "keypoint_scores": False},
                                  COCO | {"stage.params.person": 1, "stage.params.box": "cxcywh",
                                          "stage.params.unit": "share", "stage.params.sigmoid_scores": True}),
    "flat keypoints that divide by both": (
        SQUARE, _zeros(boxes=(20, 4), scores=(20,), kpts=(20, 78)), "rows",
        {"rows": "boxes", "scores": "scores", "keypoints": "kpts"}, {"keypoint_scores": "?"},
        HALPE | {"stage.params.box": "xyxy", "stage.params.unit": "px", "stage.params.sigmoid_scores": False,
                 "stage.params.keypoint_scores": True}),
    "listed apart, in any order": (
        SQUARE, _zeros(reid_embedding=(6, 64), labels=(6,), scores=(6,), keypoints=(6, 17, 3), boxes=(6, 4)), "rows",
        {"rows": "boxes", "scores": "scores", "labels": "labels", "keypoints": "keypoints"}, {"columns": ["box"]},
        COCO | {"stage.params.person": 0, "stage.params.box": "xyxy", "stage.params.unit": "px",
                "stage.params.sigmoid_scores": False}),
    "rt-detr": (SQUARE, _zeros(labels=(300,), boxes=(300, 4), scores=(300,)), "rows",
                {"rows": "boxes", "scores": "scores", "labels": "labels"}, {"keypoints": 0},
                {"stage.params.person": 0, "stage.params.box": "xyxy", "stage.params.unit": "px",
                 "stage.params.sigmoid_scores": False}),
    "regression with its doubts": (TALL, _zeros(coords=(17, 2), sigma=(17, 2)), "direct", {"keypoints": "keypoints"},
                                   {}, COCO),
    "hrnet with its features": (TALL, _zeros(features=(32, 64, 48), heat=(17, 64, 48)), "heatmap", {"maps": "heat"},
                                {}, COCO),
}  # fmt: skip


def _filled(recipe: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with its open keys filled in; those that it has not are left out of `values`."""
    for key, value in values.items():
        *way, last = key.split(".")
        place = recipe
        for word in way:
            place = place[word]
        if place.get(last) == "?":
            place[last] = value
    return recipe


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_known_by_its_shapes(tmp_path: Path, family: str) -> None:
    """And once the open keys are filled in, the recipe makes a model that runs."""
    shape, outputs, decoder, roles, params, filled = FAMILIES[family]
    file = own_networks.constant(tmp_path / "net.onnx", shape, outputs)
    text = posert.guess(file)
    recipe = tomllib.loads(text)
    stage = recipe["stage"]
    assert (stage["decoder"], stage["outputs"]) == (decoder, roles)
    assert stage.get("params", {}).items() >= params.items()
    assert stage["input"]["layout"] == ("NHWC" if shape[-1] == 3 else "NCHW")
    assert recipe["licence"] == "?"
    with pytest.raises(PosertError, match="leaves open: licence, "):
        posert.tag(file, recipe=recipe, out=tmp_path / "own.onnx")
    if decoder not in names("decoders"):
        pytest.skip(f"needs the decoder {decoder}")
    own = {"licence": "MIT", "detector": "none", **BY_EYE, **filled}
    written = posert.tag(file, recipe=_filled(recipe, own), out=tmp_path / "own.onnx")
    assert read_metadata(written).model == "net-posert"


@pytest.mark.parametrize(
    ("rows", "entries", "parts", "params"),
    [
        ((46, 8400), {"kpt_shape": "[13, 3]", "names": "{0: 'cat', 1: 'mouse', 2: 'owl'}"}, 13,
         {"classes": 3, "person": "?", "keypoint_scores": True}),
        ((8400, 33), {"kpt_shape": "[14, 2]", "names": "{0: 'mouse'}"}, 14, {"keypoint_scores": False}),
        ((300, 34), {"kpt_shape": "[14, 2]", "names": "{0: 'mouse'}"}, 14,
         {"columns": ["box", "scores", "label", "keypoints"], "keypoint_scores": False}),
        ((56, 8400), {"kpt_shape": "[17, 3", "names": "9" * 10}, 17, {"columns": ["box", "scores", "keypoints"]}),
    ],
)  # fmt: skip
def test_yolos_own_entries_say_keypoints_and_classes(
    tmp_path: Path, rows: tuple[int, int], entries: dict[str, str], parts: int, params: dict[str, Any]
) -> None:
    """46 columns may be one class and 41 numbers or three classes and 13 keypoints: YOLO's exporters write which."""
    file = own_networks.constant(tmp_path / "net.onnx", SQUARE, _zeros(output0=rows))
    graph = onnx.load(file)
    helper.set_model_props(graph, entries)
    onnx.save(graph, file)
    recipe = tomllib.loads(posert.guess(file))
    assert recipe["stage"]["params"].items() >= params.items()
    skeleton = {"names": [f"p{k}" for k in range(parts)], "edges": []}
    own = {"licence": "AGPL-3.0", "skeleton": skeleton, "stage.input.fit": "letterbox", "stage.params.person": 1}
    posert.tag(file, recipe=_filled(recipe, BY_EYE | own), out=tmp_path / "own.onnx")


def test_sides_that_no_number_says(tmp_path: Path) -> None:
    """Exporters of PyTorch may free every axis; then a run tells the shapes of the outputs."""
    shape, bells = ("n", "c", "h", "w"), np.zeros((1, 17, 1, 1), np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["photo"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Add", ["cells", "bells"], ["heat"]),
    ]
    ends = {"photo": shape}, {"heat": ("n", "k", "y", "x")}
    recipe = tomllib.loads(posert.guess(own_networks.network(tmp_path / "n.onnx", nodes, {"bells": bells}, *ends)))
    assert recipe["stage"]["decoder"] == "heatmap"
    assert (recipe["stage"]["input"]["layout"], recipe["stage"]["input"]["size_wh"]) == ("NCHW", "?")


@pytest.mark.parametrize(
    ("shape", "kind", "out"),
    [
        ((1, 1, 64, 48), TensorProto.FLOAT, (1, 17, 16, 12)),
        ((1, 64, 48, 1), TensorProto.FLOAT, (1, 17, 16, 12)),
        ((3, 64, 48), TensorProto.FLOAT, (17, 16, 12)),
        ((64, 48, 3), TensorProto.DOUBLE, (17, 16, 12)),
        ((64, 48), TensorProto.FLOAT, (17, 16, 12)),
        ((1, 3, 64, 48), TensorProto.INT64, (1, 17, 16, 12)),
    ],
)
def test_inputs_that_nobody_can_fill_get_nodes(tmp_path: Path, shape: tuple, kind: int, out: tuple) -> None:
    """Grey, without an axis for the batch, of another type: the recipe makes them of a picture."""
    nodes = [
        helper.make_node("Cast", ["photo"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["float"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "maps"], ["heat"]),
    ]
    maps = np.zeros(out, np.float32)
    maps[..., 5, 7] = 1 / 255
    file = own_networks.network(
        tmp_path / "net.onnx", nodes, {"maps": maps}, {"photo": shape}, {"heat": out}, kinds={"photo": kind}
    )  # fmt: skip
    recipe = tomllib.loads(posert.guess(file))
    assert recipe["stage"]["input"]["size_wh"] == [48, 64]
    assert recipe["nodes"][-1 if len(shape) == 4 else -2]["outputs"] == ["photo"]
    said: list[str] = []
    own = {**COCO, "licence": "MIT", "detector": "none", **BY_EYE, "stage.input.std": [1, 1, 1]}
    posert.tag(file, recipe=_filled(recipe, own), out=tmp_path / "own.onnx", report=said.append)
    assert "maps [1, 17, 16, 12]: 0 to 0." in said[1] or "to 1" in said[1]
    assert said[-1].startswith("people in a drawn picture: 1, scores 0.")


def test_real_files(assets: Path, run: Run) -> None:
    for name, said in (
        ("yolox_nano", "YOLOX's boxes of 80 classes"),
        ("ultralight_nano_simplepose", "heatmaps, one person in each box"),
        ("openvino_human_pose_estimation_0001_w8", "heatmaps and part-affinity fields"),
    ):
        code, out, err = run("tag", assets / "models" / f"{name}.onnx", "--guess")
        assert (code, err) == (0, "")
        assert said in out.splitlines()[0]
        assert tomllib.loads(out)["stage"]["input"]["mean"] == "?"
    assert 'size_wh = "?"  # width and height, px\nmultiple_of = "?"' in out  # this one takes any size


def test_a_tagged_file_has_its_recipe(tmp_path: Path, assets: Path) -> None:
    """Every model of the house goes through a recipe and comes out the same."""
    models, finder = assets / "models", tiny_topdown.detector(tmp_path / "finder.onnx")
    tagged = [
        posert.tag(models / "openvino_human_pose_estimation_0001_w8.onnx", "openpose-openvino-0001", tmp_path),
        posert.tag(models / "yolox_nano.onnx", "yolox-nano", tmp_path),
        tiny_topdown.pose(tmp_path / "pose.onnx", finder),
    ]  # fmt: skip
    for file in tagged:
        recipe = tomllib.loads(posert.guess(file)) | {"model": "again", "licence": "MIT"}
        before, after = read_metadata(file), read_metadata(posert.tag(file, recipe=recipe, out=tmp_path / "again.onnx"))
        assert (after.skeleton, after.stages) == (before.skeleton, before.stages)


def test_what_is_no_pose_network(tmp_path: Path) -> None:
    unknown = own_networks.constant(tmp_path / "a.onnx", TALL, {"embedding": np.zeros((1, 512))})
    text = posert.guess(unknown)
    assert "of no kind that posert knows" in text
    assert "embedding [1, 512]" in text
    recipe = tomllib.loads(text)
    assert (recipe["stage"]["decoder"], recipe["stage"]["outputs"]) == ("?", {"?": "?"})
    sound = own_networks.constant(tmp_path / "b.onnx", (1, 16000), {"words": np.zeros((1, 10))})
    with pytest.raises(PosertError, match=r"no input for pictures.*image \[1, 16000\]"):
        posert.guess(sound)
    with pytest.raises(PosertError, match="there is no file"):
        posert.guess(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(PosertError, match="not a valid ONNX file"):
        posert.guess(tmp_path / "text.onnx")
