"""A trained checkpoint as a small ONNX graph: batch normalisation folded, weights stored as int8, any input size."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from posert.export.nano import layout
from posert.export.nano.network import PoseNano, made

OPSET = 17
SMALLEST = 2000  # weights of fewer values stay float32
CLIPS = np.linspace(0.6, 1.0, 21)  # tried per channel: clipping a few large weights spares the many small ones


class Deployed(nn.Module):
    """The last stage alone, with the background map that the OpenPose layout has."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.net(image)[1]
        heatmaps = maps[:, : layout.KEYPOINTS]
        background = 1 - heatmaps.max(1, keepdim=True)[0]
        return torch.cat([heatmaps, background], 1), maps[:, layout.KEYPOINTS :]


def load(checkpoint: Path) -> PoseNano:
    """The averaged network of a checkpoint or training state."""
    state = torch.load(checkpoint, weights_only=True)
    net = made(**state.get("shape", {}))
    net.load_state_dict({name: v.float() if v.is_floating_point() else v for name, v in state["average"].items()})
    net.eval()
    return net


def to_onnx(net: PoseNano, path: Path) -> Any:
    """ModelProto of a network; `path` is a scratch file. Batch, height and width are free."""
    fold(net)
    free = {0: "batch", 2: "height", 3: "width"}
    cells = {0: "batch", 2: "rows", 3: "columns"}
    torch.onnx.export(
        Deployed(net).eval(),
        (torch.rand(1, 3, 256, 320) * 255,),
        str(path),
        input_names=["image"],
        output_names=["heatmaps", "pafs"],
        opset_version=OPSET,
        dynamo=False,
        dynamic_axes={"image": free, "heatmaps": cells, "pafs": cells},
    )
    graph = onnx.load(path)
    shrink(graph)
    onnx.checker.check_model(graph)
    return graph


def fold(module: nn.Module) -> None:
    """Merge every convolution with the batch normalisation after it, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential) and len(child) > 1 and isinstance(child[1], nn.BatchNorm2d):
            setattr(module, name, nn.Sequential(fuse_conv_bn_eval(child[0], child[1]), *list(child)[2:]))
        else:
            fold(child)


def shrink(model: Any) -> None:
    """Store the convolutions' weights as int8 with one scale per output channel, dequantised in the graph; in place."""
    graph = model.graph
    weights = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    kept, first = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in weights or values.size < SMALLEST:
            kept.append(tensor)
            continue
        steps, scales = quantised(values)
        names = [f"{tensor.name}_int8", f"{tensor.name}_scale"]
        kept += [numpy_helper.from_array(array, name) for array, name in zip((steps, scales), names, strict=True)]
        first.append(helper.make_node("DequantizeLinear", names, [tensor.name], axis=0))
    nodes = [*first, *graph.node]
    for field, values in ((graph.initializer, kept), (graph.node, nodes), (graph.value_info, [])):
        del field[:]
        field.extend(values)


def quantised(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Steps i8 of the weights' shape and scales f32 [outputs]: the clip with the least squared error per channel."""
    rows = weights.reshape(len(weights), -1)
    largest = np.abs(rows).max(axis=1)
    best, least = largest / 127, np.full(len(rows), np.inf)
    for clip in CLIPS:
        scale = np.maximum(largest * clip / 127, 1e-8)
        error = np.square(np.clip(np.rint(rows / scale[:, None]), -127, 127) * scale[:, None] - rows).sum(axis=1)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    steps = np.clip(np.rint(rows / best[:, None]), -127, 127).astype(np.int8)
    return steps.reshape(weights.shape), best.astype(np.float32)


def save_checkpoint(states: dict[Path, float], path: Path) -> None:
    """Write the averaged network of training states as float16: what the repository keeps.

    Of several states, each with its share (they sum to 1), the mean of their weights: runs that began at the same
    weights lie in one basin, and the mean is better than either.
    """
    full = [torch.load(state, weights_only=True) for state in states]
    half: dict[str, Any] = {}
    for name, first in full[0]["average"].items():
        half[name] = first
        if first.is_floating_point():
            mean = sum(share * one["average"][name].float() for share, one in zip(states.values(), full, strict=True))
            half[name] = torch.as_tensor(mean).half()
    kept = {name: full[0][name] for name in ("shape",) if name in full[0]}
    torch.save(kept | {"average": half, "crops": max(one["crops"] for one in full)}, path)
