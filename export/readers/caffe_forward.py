"""What a Caffe network gives for a picture, in numpy alone: what an export is compared with where no Caffe is.

Owns a second, slower reading of the same layers, apart from the conversion and from ONNX. Knows nothing of what a
network is for.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.export.readers.caffe import Blobs

Array = NDArray[np.float32]


def forward(net: Any, blobs: Blobs, picture: Array) -> Array:
    """The result f32 [N,C,h,w] of a network, as Caffe computes it, layer by layer in the order of the file.

    Args:
        net: NetParameter with one input and one result. blobs: layer name -> trained arrays.
        picture: f32 [N,3,H,W].

    Raises:
        PosertError: a layer of a kind that is not known here.
    """
    last_reader = {bottom: number for number, layer in enumerate(net.layer) for bottom in layer.bottom}
    values: dict[str, Array] = {net.input[0]: picture}
    for number, layer in enumerate(net.layer):
        if layer.type not in _LAYERS:
            raise PosertError(f"layer {layer.name} of type {layer.type} cannot be computed without Caffe")
        made = _LAYERS[layer.type](layer, [values[name] for name in layer.bottom], blobs.get(layer.name, []))
        values = {name: value for name, value in values.items() if last_reader.get(name, -1) > number}
        values[layer.top[0]] = made
    return values[net.layer[-1].top[0]]


def _convolution(layer: Any, bottoms: list[Array], blobs: list[Array]) -> Array:
    """One matrix product for each place of the kernel: no copy of the picture per place is kept."""
    p = layer.convolution_param
    high, wide = p.kernel_h or p.kernel_size[0], p.kernel_w or p.kernel_size[-1]
    pad = p.pad_h or (p.pad[0] if p.pad else 0), p.pad_w or (p.pad[-1] if p.pad else 0)
    step = p.stride_h or (p.stride[0] if p.stride else 1), p.stride_w or (p.stride[-1] if p.stride else 1)
    apart = p.dilation[0] if p.dilation else 1
    weight = blobs[0].reshape(p.group, p.num_output // p.group, -1, high, wide)
    x = np.pad(bottoms[0], ((0, 0), (0, 0), (pad[0], pad[0]), (pad[1], pad[1])))
    count, channels, rows, columns = x.shape
    h, w = (rows - apart * (high - 1) - 1) // step[0] + 1, (columns - apart * (wide - 1) - 1) // step[1] + 1
    x = x.reshape(count, p.group, channels // p.group, rows, columns)
    total = np.zeros((count, p.group, p.num_output // p.group, h * w), np.float32)
    for j in range(high):
        for i in range(wide):
            top, left = j * apart, i * apart
            seen = x[..., top : top + step[0] * (h - 1) + 1 : step[0], left : left + step[1] * (w - 1) + 1 : step[1]]
            total += np.ascontiguousarray(weight[..., j, i]) @ seen.reshape(*seen.shape[:3], -1)
    result = total.reshape(count, p.num_output, h, w)
    return result + blobs[1].reshape(-1, 1, 1) if p.bias_term else result


def _pooling(layer: Any, bottoms: list[Array], blobs: list[Array]) -> Array:
    """Caffe rounds the size up; the last windows see what is left of the picture."""
    p, x = layer.pooling_param, bottoms[0]
    sides = [-(-(side + 2 * p.pad - p.kernel_size) // p.stride) + 1 for side in x.shape[2:]]
    if p.pad:  # no window begins in the padding on the far side
        sides = [side - ((side - 1) * p.stride >= size + p.pad) for side, size in zip(sides, x.shape[2:], strict=True)]
    ends = [p.pad + size for size in x.shape[2:]]
    spare = [(side - 1) * p.stride + p.kernel_size - end for side, end in zip(sides, ends, strict=True)]
    x = np.pad(x, ((0, 0), (0, 0), *((p.pad, max(0, more)) for more in spare)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (p.kernel_size, p.kernel_size), axis=(2, 3))
    windows = windows[:, :, :: p.stride, :: p.stride][:, :, : sides[0], : sides[1]]
    if p.pool == 0:
        return np.asarray(windows.max(axis=(4, 5)), np.float32)
    return np.asarray(np.mean(windows, axis=(4, 5), where=np.isfinite(windows)), np.float32)


def _relu(layer: Any, bottoms: list[Array], blobs: list[Array]) -> Array:
    slope = blobs[0].reshape(-1, 1, 1) if layer.type == "PReLU" else np.float32(layer.relu_param.negative_slope)
    return np.where(bottoms[0] > 0, bottoms[0], slope * bottoms[0])


def _concat(layer: Any, bottoms: list[Array], blobs: list[Array]) -> Array:
    p = layer.concat_param
    return np.concatenate(bottoms, axis=p.axis if p.HasField("axis") else p.concat_dim)


_LAYERS: dict[str, Callable[[Any, list[Array], list[Array]], Array]] = {
    "Convolution": _convolution, "Pooling": _pooling, "ReLU": _relu, "PReLU": _relu, "Concat": _concat,
    "Dropout": lambda layer, bottoms, blobs: bottoms[0],
}  # fmt: skip
