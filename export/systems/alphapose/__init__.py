"""The system `alphapose`: top-down pose networks from the official .pth state dicts, without AlphaPose's own code.

Its names say what to build: `alphapose[-SET]-NETWORK[-LOSS]`.
"""

import re
from pathlib import Path
from typing import Any

from posert.errors import PosertError
from posert.export import onnx_fast, onnx_file
from posert.export.onnx_file import Exported, Reference
from posert.export.weights import Entry
from posert.poses import Skeleton
from posert.runtime.spec import InputSpec, Stage
from posert.skeletons import COCO_17, COCO_WHOLE_BODY_133, HALPE_26, HALPE_136

OPTIONS: frozenset[str] = frozenset()
STAND_INS: dict[str, str] = {}
ROUNDED: dict[str, str] = {}
OWN = {".pth": "state_dict", ".pt": "state_dict"}
_Color = tuple[float, float, float]
_INPUT_WH = (192, 256)
# AlphaPose subtracts these from red, green, blue (0..1): ImageNet's means in the order of BGR (docs/parity.md 1.4).
_MEAN = (0.406 * 255, 0.457 * 255, 0.480 * 255)
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# docs/parity.md 1.9: AlphaPose's own constants for face and hands when the network was not trained on heatmaps alone
_WHOLE_BODY = {"mu": 1.65, "delta2": 8.0, "gamma": 3.6, "min_score": 0.01, "matches": 3.0, "alpha": 0.15}

_SETS = {"": COCO_17, "halpe26-": HALPE_26, "halpe136-": HALPE_136, "wholebody133-": COCO_WHOLE_BODY_133}
_SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "fastpose-res50": ("FastPose", {}),
    "fastpose-res152": ("FastPose", {"layers": 152}),
    "fastpose-duc-res50": ("FastPoseDuc", {}),
    "fastpose-duc-res152": ("FastPoseDuc", {"layers": 152, "unshuffle": False}),
    "simplepose-res50": ("SimplePose", {}),
    "hrnet-w32": ("HighResolution", {}),
}
_LOSSES = {"": 0, "-regression": -1, "-combined": 110}


def build(entry: Entry, path: Path, options: frozenset[str]) -> Exported:
    """A pose network that looks at boxes, which a detector finds.

    Its route is `state_dict` (.pth), or `onnx` for a ready-made network of the same shape.

    Raises:
        PosertError: the file is no state dict, its keys are not this network's, or it uses deformable convolutions.
    """
    if entry.route == "onnx":
        return _ready_made(entry, path)
    from posert.export.readers import torch_models

    net, skeleton, integral = _loaded(entry, path)
    graph = torch_models.to_onnx(net, (1, 3, *_INPUT_WH[::-1]), "image", ["maps"])
    return _exported(graph, entry, skeleton, integral, _MEAN, (255.0, 255.0, 255.0))


def _loaded(entry: Entry, path: Path) -> tuple[Any, Skeleton, int]:
    """The network, its skeleton, and `integral` as in the decoder `heatmap`, after AlphaPose's word `loss`."""
    from posert.export.readers import torch_models

    known = re.fullmatch(rf"alphapose-({'|'.join(_SETS)})({'|'.join(_SHAPES)})({'|'.join(_LOSSES)})", entry.name)
    state = torch_models.read_state(path)
    own = entry.name == "alphapose"
    if (known is None and not own) or any("offset" in key for key in state):
        raise PosertError(
            f"{entry.name} uses deformable convolutions, or is not known: posert does not convert it",
            "use the network without -dcn; they differ by less than one point of AP (72.0 and 72.8)",
        )
    if known is None:
        net, skeleton, integral = _by_its_weights(state, path)
    else:
        skeleton, integral = _SETS[known[1]], _LOSSES[known[3]]
        net = _network(known[2], len(skeleton.names), bool(integral))
    torch_models.fill(net, state, entry.name)
    return net.eval(), skeleton, integral


def _network(shape: str, keypoints: int, integral: bool) -> Any:
    from posert.export.systems.alphapose import networks

    make, options = _SHAPES[shape]
    if integral and make == "FastPose":
        options = {**options, "width": 256}  # CONV_DIM of these configurations
    return getattr(networks, make)(keypoints, **options)


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of all weights but the counters, which mean nothing for inference."""
    return {key: tuple(value.shape) for key, value in state.items() if not key.endswith(".num_batches_tracked")}


def _by_its_weights(state: dict[str, Any], path: Path) -> tuple[Any, Skeleton, int]:
    """As `_loaded`, for one's own training: whichever network has these names and shapes.

    Its last layer says how many keypoints there are; a set of another number than those known is numbered. A FastPose
    of the width that AlphaPose gives to regression is taken for that; the decoder's `integral` says otherwise.
    """
    given = _shapes(state)
    last = next((key for key in ("conv_out.weight", "final_layer.weight") if key in given), "")
    count = given[last][0] if last else 0
    sets = {len(one.names): one for one in _SETS.values()}
    skeleton = sets.get(count, Skeleton(tuple(f"keypoint_{k}" for k in range(count)), ()))
    for shape, (make, _) in _SHAPES.items() if count else ():
        for integral in (False, True)[: 1 + (make == "FastPose")]:
            net = _network(shape, count, integral)
            if _shapes(net.state_dict()) == given:
                return net, skeleton, -1 if integral else 0
    raise PosertError(
        f"{path} has the weights of none of AlphaPose's networks without deformable convolutions",
        f"known are {', '.join(_SHAPES)}; any network takes a recipe, once it is ONNX: posert tag FILE `recipe`",
    )


def _ready_made(entry: Entry, path: Path) -> Exported:
    """A network for 256x192 crops and 17 maps that others exported; ImageNet's means, as MXNet's model zoo trains."""
    graph = onnx_file.load(path)
    sides = [
        [dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in (graph.graph.input[0], *graph.graph.output)
    ]
    if len(sides) != 2 or sides[0][1:] != [3, 256, 192] or sides[1][1:] != [17, 64, 48]:
        raise PosertError(
            f"{path} is not {entry.name}: its tensors are {sides}", "expected [N,3,256,192] and [N,17,64,48]"
        )
    for value in (graph.graph.input[0], graph.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return _exported(graph, entry, COCO_17, 0, *_IMAGENET)


def _exported(graph: Any, entry: Entry, skeleton: Skeleton, integral: int, mean: _Color, std: _Color) -> Exported:
    onnx_fast.faster(graph)
    image = InputSpec(
        name=graph.graph.input[0].name, layout="NCHW", dtype="float32", color="rgb", size_wh=_INPUT_WH, fit="boxes",
        align="origin", rounding="round", mean=mean, std=std,
    )  # fmt: skip
    whole = len(skeleton.names) in (133, 136)
    rule: dict[str, Any] = {"whole_body": True} if whole else {}
    if whole and integral:
        rule |= _WHOLE_BODY
    params = {"integral": integral} if integral else {}
    outputs = {"maps": graph.graph.output[0].name}
    stage = Stage("pose", "boxes", image, outputs, "heatmap", params, "poses", rule)
    return onnx_file.exported(graph, entry, skeleton, stage)


def reference(entry: Entry, path: Path) -> Reference:
    """The torch network."""
    from posert.export.readers import torch_models

    return torch_models.reference(_loaded(entry, path)[0], ["maps"])
