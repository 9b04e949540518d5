"""Darknet's .cfg and .weights -> a torch module that gives the raw YOLO heads. Knows YOLOv3's layers, no pictures.

AlphaPose's own rules where they differ from Darknet's: batch normalisation adds 1e-5 to the variance, and pools of
stride 1 pad with 0, not with the lowest value (docs/parity.md 1.2.1).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from posert.errors import PosertError

Layer = tuple[str, dict[str, str]]
_HEADER_BYTES = 5 * 4
_LEAKY_SLOPE, _MOST_WEIGHTS = 0.1, 1 << 27  # of one layer


def read_cfg(text: str) -> tuple[dict[str, str], list[Layer]]:
    """The options of [net], and (type, options) of every layer.

    Raises:
        PosertError: a line outside a section, without `=`, or no [net] at the beginning.
    """
    sections: list[Layer] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.split("#")[0].strip()
        if not content:
            continue
        if content.startswith("[") and content.endswith("]"):
            sections.append((content[1:-1].strip(), {}))
            continue
        key, found, value = content.partition("=")
        if not found or not sections:
            raise PosertError(f"line {number} of the .cfg is neither [section] nor key=value: {content[:60]!r}")
        sections[-1][1][key.strip()] = value.strip()
    if not sections or sections[0][0] not in ("net", "network"):
        raise PosertError("the .cfg does not begin with [net]", "give Darknet's own file, for example yolov3-spp.cfg")
    return sections[0][1], sections[1:]


class _Pool(nn.Module):  # type: ignore[misc]
    """A maximum over size x size pixels; with stride 1, zeros lie around the picture.

    The zeros are a maximum with 0 near the border, not a padding: ONNX Runtime 1.31 merges a padding of zeros into the
    pool, which pads with the lowest value, and the two differ where all values are negative.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        if stride == 1 and size % 2 == 0:
            raise PosertError(f"the .cfg has a pool of size {size} and stride 1; YOLOv3-SPP's sizes are odd")
        self.reach = size // 2 if stride == 1 else 0
        self.pool = nn.MaxPool2d(size, stride, self.reach)

    def forward(self, x: Tensor) -> Tensor:
        if not self.reach:
            return self.pool(x)
        inside = [(torch.arange(side) >= self.reach) & (torch.arange(side) < side - self.reach) for side in x.shape[2:]]
        floor = torch.where(inside[0][:, None] & inside[1][None, :], torch.finfo(torch.float32).min, 0.0)
        return torch.maximum(self.pool(x), floor.to(x.dtype))


class Darknet(nn.Module):  # type: ignore[misc]
    """The network of the layers of a .cfg; its outputs are the inputs of the [yolo] layers, in file order.

    Raises:
        PosertError: layers that YOLOv3 does not have, all of them listed.
    """

    def __init__(self, channels: int, layers: list[Layer]) -> None:
        super().__init__()
        unknown = sorted({kind for kind, _ in layers} - set(_BUILDERS))
        if unknown:
            raise PosertError(f"the .cfg has layers that YOLOv3 does not have: {', '.join(unknown)}")
        self.kinds = [kind for kind, _ in layers]
        self.sources = [_sources(kind, options, index) for index, (kind, options) in enumerate(layers)]
        self.parts = nn.ModuleList()
        self.widths: list[int] = []
        for index, (kind, options) in enumerate(layers):
            inputs = [channels if index == 0 and source < 0 else self.widths[source] for source in self.sources[index]]
            part, width = _BUILDERS[kind](inputs, options)
            self.parts.append(part)
            self.widths.append(width)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        done: list[Tensor] = []
        heads = []
        for kind, sources, part in zip(self.kinds, self.sources, self.parts, strict=True):
            inputs = [done[source] if source >= 0 else x for source in sources]
            if kind == "shortcut":
                result = inputs[0] + inputs[1]
            elif kind == "route":
                result = torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0]
            else:
                result = part(inputs[0])
            if kind == "yolo":
                heads.append(result)
            done.append(result)
        return tuple(heads)


def _sources(kind: str, options: dict[str, str], index: int) -> list[int]:
    """The layers whose outputs layer `index` takes; -1 = the picture. Darknet counts back with negative numbers."""
    sources = [] if kind == "route" else [index - 1]
    named = {"shortcut": "from", "route": "layers"}.get(kind)
    try:
        layers = [int(text) for text in options[named].split(",")] if named else []
    except (KeyError, ValueError):
        raise PosertError(f"layer {index} of the .cfg does not say which layers it takes") from None
    for layer in layers:
        sources.append(index + layer if layer < 0 else layer)
        if not 0 <= sources[-1] < index:
            raise PosertError(f"layer {index} of the .cfg takes layer {layer}, which does not come before it")
    return sources


def _number(options: dict[str, str], name: str, most: int = 64) -> int:
    """An option, a whole number from 1 to `most`; raises PosertError."""
    text = options.get(name, "nothing")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise PosertError(f"a layer of the .cfg has {name} = {text[:40]}, expected a whole number from 1 to {most}")
    return int(text)


def _convolution(inputs: list[int], options: dict[str, str]) -> tuple[nn.Module, int]:
    width, size, stride = _number(options, "filters", 1 << 14), _number(options, "size"), _number(options, "stride")
    if inputs[0] * width * size * size > _MOST_WEIGHTS:
        raise PosertError(f"the .cfg has a layer of {inputs[0]} x {width} x {size} x {size} weights")
    normalised = options.get("batch_normalize", "0") == "1"
    padding = size // 2 if options.get("pad", "0") == "1" else 0
    parts: list[Any] = [nn.Conv2d(inputs[0], width, size, stride, padding, bias=not normalised)]
    if normalised:
        parts.append(nn.BatchNorm2d(width))
    activation = options.get("activation", "linear")
    if activation not in ("leaky", "linear"):
        raise PosertError(f"the .cfg asks for the activation {activation}; YOLOv3 has leaky and linear")
    if activation == "leaky":
        parts.append(nn.LeakyReLU(_LEAKY_SLOPE))
    return nn.Sequential(*parts), width


_BUILDERS: dict[str, Any] = {
    "convolutional": _convolution,
    "shortcut": lambda inputs, _: (nn.Identity(), inputs[0]),
    "route": lambda inputs, _: (nn.Identity(), sum(inputs)),
    "upsample": lambda inputs, options: (nn.Upsample(scale_factor=_number(options, "stride")), inputs[0]),
    "maxpool": lambda inputs, options: (_Pool(_number(options, "size"), _number(options, "stride")), inputs[0]),
    "yolo": lambda inputs, _: (nn.Identity(), inputs[0]),
}


def read_weights(net: Darknet, file: Path) -> None:
    """Fills `net` with the numbers of a .weights file: a header of 5 int32, then each convolution's.

    In file order: batch-normalised ones beta, gamma, mean, variance, the others their bias; then the weights.

    Raises:
        PosertError: the file has too few or too many numbers for this .cfg.
    """
    data = file.read_bytes()
    wanted = [tensor for part in net.parts for tensor in _in_file_order(part)]
    sizes = [tensor.numel() for tensor in wanted]
    if len(data) != _HEADER_BYTES + 4 * sum(sizes):
        raise PosertError(
            f"{file} has {len(data)} bytes; the .cfg describes {_HEADER_BYTES + 4 * sum(sizes)}",
            "the .cfg and the .weights are not of one model, or a download broke off",
        )
    numbers = torch.from_numpy(np.frombuffer(data, "<f4", offset=_HEADER_BYTES).copy())
    with torch.no_grad():
        for tensor, values in zip(wanted, numbers.split(sizes), strict=True):
            tensor.copy_(values.view_as(tensor))


def _in_file_order(part: nn.Module) -> list[Tensor]:
    if not isinstance(part, nn.Sequential):
        return []
    conv = part[0]
    if conv.bias is not None:
        return [conv.bias, conv.weight]
    norm = part[1]
    return [norm.bias, norm.weight, norm.running_mean, norm.running_var, conv.weight]
