"""CMU OpenPose's own networks: which .caffemodel has which layers, skeleton, input and decoder. Reads no bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.onnx_file import Exported, Reference
from posert.export.readers import caffe, caffe_forward
from posert.export.systems.openpose import layers
from posert.export.weights import Entry
from posert.poses import Skeleton
from posert.postprocess.decoders.paf import COCO_18_CHANNELS
from posert.runtime.spec import InputSpec, Stage
from posert.skeletons import BODY_25, FACE_70, HAND_21, MPI_15, OPENPOSE_18

_MPI: dict[str, Any] = {
    "paf_channels": [[2 * limb, 2 * limb + 1] for limb in range(14)], "redundant_edges": [], "foot_parts": [],
    "limb_threshold": 0.01,
}  # fmt: skip


class Network(NamedTuple):
    """One of the official networks: its layers, skeleton and the parameters of `bodyparts`."""

    layers: Callable[[], list[caffe.Layer]]
    skeleton: Skeleton
    params: dict[str, Any] = {}  # noqa: RUF012 - lists, not tuples: JSON gives lists back


_COCO: dict[str, Any] = {
    "paf_channels": [list(pair) for pair in COCO_18_CHANNELS], "redundant_edges": [17, 18], "foot_parts": [],
}  # fmt: skip
NETWORKS = {
    "openpose-body25": Network(layers.body_25, BODY_25),
    "openpose-coco": Network(lambda: layers.body_coco(19, 38, 6), OPENPOSE_18, _COCO),
    "openpose-mpi": Network(lambda: layers.body_coco(16, 28, 6), MPI_15, {**_MPI, "peak_threshold": 0.6}),
    "openpose-mpi-4-stages": Network(lambda: layers.body_coco(16, 28, 4), MPI_15, {**_MPI, "peak_threshold": 0.3}),
    "openpose-face": Network(lambda: layers.single_branch(71), FACE_70),
    "openpose-hand": Network(lambda: layers.single_branch(22), HAND_21),
}
"""Name in models.lock -> network."""


def build(entry: Entry, path: Path) -> Exported:
    """The ONNX graph of an official .caffemodel and its metadata.

    A deploy file of the same name beside it (`x.prototxt` by `x.caffemodel`) is used in place of the layers known here.

    Raises:
        PosertError: no such network, or the weights are not this network's.
    """
    network, net, outputs = _parts(entry, path)
    graph = caffe.to_onnx(net, caffe.read_blobs(path), outputs)
    return onnx_file.exported(graph, entry, network.skeleton, stage(network, graph.graph.input[0].name))


def reference(entry: Entry, path: Path) -> Reference:
    """The network of an official .caffemodel as a function of our input tensor, computed in numpy."""
    _, net, outputs = _parts(entry, path)
    blobs = caffe.read_blobs(path)

    def run(tensor: Any) -> dict[str, Any]:
        result = caffe_forward.forward(net, blobs, tensor)
        return {role: result[:, first:end] for role, (first, end) in outputs.items()}

    return run


def _parts(entry: Entry, path: Path) -> tuple[Network, Any, dict[str, tuple[int, int]]]:
    """What is known of the network, its layers, and role -> channels of its result."""
    if entry.name not in NETWORKS:
        raise PosertError(f"no network is known for {entry.name}", f"known are {', '.join(NETWORKS)}")
    network, beside = NETWORKS[entry.name], path.with_suffix(".prototxt")
    known = caffe.NetParameter(input=[layers.INPUT], layer=network.layers())
    net = caffe.read_prototxt(beside) if beside.is_file() else known
    parts, limbs = len(network.skeleton.names), len(network.skeleton.edges)
    if not limbs:
        return network, net, {"maps": (0, parts)}
    return network, net, {"heatmaps": (0, parts + 1), "pafs": (parts + 1, parts + 1 + 2 * limbs)}


def stage(network: Network, image_name: str) -> Stage:
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
    return Stage("pose", "boxes", image, {"maps": "maps"}, "heatmap")
