"""Caffe files for tests: random weights for a topology, the .caffemodel and the deploy file that hold it."""

from pathlib import Path

import numpy as np


def layers_of(topology: dict) -> list[tuple]:
    return [(n, kind, b, t[0], rest[0] if rest else {}) for n, kind, b, t, *rest in topology["layers"]]


def weights(topology: dict) -> dict[str, list[np.ndarray]]:
    """Random arrays that keep the signal's size from layer to layer."""
    rng, width, made = np.random.default_rng(0), {topology["input"]: 3}, {}
    for name, kind, bottoms, top, settings in layers_of(topology):
        count = sum(width[bottom] for bottom in bottoms)
        if kind == "Convolution":
            shape = (settings["num_output"], count, settings["kernel_size"], settings["kernel_size"])
            sigma = np.sqrt(2 / np.prod(shape[1:]))
            made[name] = [
                rng.standard_normal(shape, np.float32) * np.float32(sigma),
                rng.normal(0, 0.1, shape[0]).astype(np.float32),
            ]
            count = shape[0]
        elif kind == "PReLU":
            made[name] = [rng.uniform(0, 0.5, count).astype(np.float32)]
        width[top] = count
    return made


def write_caffemodel(path: Path, arrays: dict[str, list[np.ndarray]], *, old: bool = False) -> None:
    """A binary .caffemodel; `old` has four numbers for a shape, as Caffe wrote in its first years."""
    from posert.export.readers import caffe

    net = caffe.NetParameter(name="random")
    for name, blobs in arrays.items():
        layer = net.layer.add(name=name)
        for array in blobs:
            blob = layer.blobs.add()
            blob.data.extend(array.ravel())
            if old:
                sides = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = sides
            else:
                blob.shape.dim.extend(array.shape)
    path.write_bytes(net.SerializeToString())


def prototxt(topology: dict) -> str:
    """The deploy file as Caffe's text, with the training settings that a forward pass does not need."""
    kinds = {"Convolution": "convolution_param", "Pooling": "pooling_param", "Concat": "concat_param"}
    lines = [f'input: "{topology["input"]}"', *(f"input_dim: {n}" for n in topology["input_dim"])]
    for name, kind, bottoms, top, settings in layers_of(topology):
        tensors = [*(f'bottom: "{bottom}"' for bottom in bottoms), f'top: "{top}"']
        own = "".join(f"{key}: {value} " for key, value in settings.items())
        trained = "param { lr_mult: 1.0 decay_mult: 1 } " if kind == "Convolution" else ""
        body = f"{kinds[kind]} {{ {own}}}" if settings else ""
        lines.append(f'layer {{ name: "{name}" type: "{kind}" {" ".join(tensors)} {trained}{body} }}')
    return "\n".join(lines)
