"""The system `mediapipe`: Google's hand network, from TensorFlow.js to ONNX; it looks at the hands of a body's arms."""

from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.onnx_file import Exported, Reference
from posert.export.readers import tensorflow_nodes, tfjs
from posert.export.weights import Entry
from posert.runtime.region_spec import Part, Parts, Place, Turn
from posert.runtime.spec import InputSpec, Stage
from posert.skeletons import HAND_21, whole_body_hand

OPTIONS: frozenset[str] = frozenset()
STAND_INS: dict[str, str] = {}
ROUNDED: dict[str, str] = {}
OWN: dict[str, str] = {}
_SIDE = 224
_KEYPOINTS, _PRESENCE = "Identity@output", "Identity_1@output"  # 21 x (x, y, z) px of the input; 0..1


def build(entry: Entry, path: Path, options: frozenset[str]) -> Exported:
    """The hand network of the route `tfjs` (model.json and its shards).

    Raises:
        PosertError: the file has other tensors.
    """
    graph = tensorflow_nodes.to_onnx(tfjs.read(path))
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.graph.output}
    given = graph.graph.input[0]
    if (shapes.get(_KEYPOINTS), shapes.get(_PRESENCE)) != ([1, 63], [1, 1]):
        raise PosertError(f"{path} is no hand network: it gives {shapes}", f"give the official {entry.file}")
    onnx_file.rename_tensor(graph, given.name, "image")
    onnx_file.input_shape(graph, ["batch", _SIDE, _SIDE, 3])
    _add_keypoints(graph)
    image = InputSpec("image", "NHWC", "float32", "rgb", (_SIDE, _SIDE), "boxes", std=(255.0,) * 3, margin=2.0)
    stage = Stage(
        "hands", "boxes", image, {"keypoints": "keypoints"}, "direct", {"min_score": 0.5},
        parts=Parts(tuple(map(_hand, ("left", "right"))), _AGAIN, apart=0.2),
    )  # fmt: skip
    return onnx_file.exported(graph, entry, HAND_21, stage)


# MediaPipe's own loop: the box around the last frame's hand, wrist to middle finger upwards, moved a tenth towards the
# fingers and twice as large (hand_landmark_landmarks_to_roi).
_AGAIN = Turn((0, 9), "up", "keypoints", (0.0, -0.1))


def _hand(side: str) -> Part:
    """At the end of an arm, the fingers up: a third of the forearm beyond the wrist, a bit larger than the longer half.

    The project's own, from CMU OpenPose's rule for hands, which has 1.5 for the side.
    """
    wrist, elbow, shoulder = (f"{side}_{joint}" for joint in ("wrist", "elbow", "shoulder"))
    place = Place({wrist: 1.33, elbow: -0.33}, ((elbow, wrist, 1.2), (shoulder, elbow, 1.2 * 0.9)))
    return Part(whole_body_hand(side), (place,), up=(elbow, wrist))


def _add_keypoints(graph: Any) -> None:
    """The output `keypoints` [R,1,21,3]: y and x as shares of the input, and the hand's presence as their score."""
    numbers = {"rows": [-1, 1, 21, 3], "one": [-1, 1, 1, 1], "yx": [1, 0], "all": [1, 1, 21, 1]}
    for name, values in numbers.items():
        graph.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
    graph.graph.initializer.append(helper.make_tensor("side", TensorProto.FLOAT, [], [_SIDE]))
    graph.graph.node.extend([
        helper.make_node("Reshape", [_KEYPOINTS, "rows"], ["xyz"]),
        helper.make_node("Gather", ["xyz", "yx"], ["places_px"], axis=3),
        helper.make_node("Div", ["places_px", "side"], ["places"]),
        helper.make_node("Reshape", [_PRESENCE, "one"], ["presence"]),
        helper.make_node("Tile", ["presence", "all"], ["scores"]),
        helper.make_node("Concat", ["places", "scores"], ["keypoints"], axis=3),
    ])  # fmt: skip
    del graph.graph.output[:]
    shape = ["batch", 1, 21, 3]
    graph.graph.output.append(helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, shape))
    onnx_file.replace_nodes(graph, list(graph.graph.node))


def reference(entry: Entry, path: Path) -> Reference:
    """Never asked for: there is no program here that runs TensorFlow.js."""
    raise NotImplementedError(entry.name)
