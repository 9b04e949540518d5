"""Nodes between a picture and an input that posert cannot fill: grey, without a batch, of another type."""

from collections.abc import Mapping, Sequence
from typing import Any

from posert.export.onnx_nodes import ONNX_TYPES, shape_of
from posert.export.recipe import Node
from posert.runtime.spec import InputSpec

PICTURE = "picture"
_FLOAT = ONNX_TYPES["float32"]
_LEAST_PX = 16  # of a picture's sides
_GREY = [[0.299], [0.587], [0.114]]  # ITU-R BT.601, as OpenCV and Pillow make grey


def adapters(inputs: Mapping[str, Any], outputs: Sequence[str]) -> tuple[InputSpec, list[Node], list[Node]] | None:
    """A picture f32, the nodes that make the graph's input of it, and those that give outputs an axis for the batch.

    For the first input of 2 to 4 axes, of which one has 3 channels or 1, or there is none: [H,W]. None if there is no
    such input. The names of the new outputs end in `_batch`.
    """
    for name, value in inputs.items():
        shape, kind = shape_of(value), value.type.tensor_type.elem_type
        core = shape[-3:] if len(shape) > 2 else shape
        grey = len(core) == 2 or 1 in (core[0], core[2])
        if not 2 <= len(shape) <= 4 or (not grey and 3 not in (core[0], core[2])):
            continue
        first = len(core) == 3 and core[0] in (1, 3)
        sides = core[1:] if first else core[:2]
        if any(isinstance(side, int) and side < _LEAST_PX for side in sides):
            continue
        high, wide = (side if isinstance(side, int) else 0 for side in sides)
        layout = "NCHW" if first and not grey else "NHWC"
        image = InputSpec(PICTURE, layout, "float32", "rgb", (wide, high), "stretch")  # type: ignore[arg-type]
        steps: list[tuple[str, list[Any], dict[str, Any]]] = []
        steps += [("MatMul", [_GREY], {})] if grey else []
        steps += [("Transpose", [], {"perm": [0, 3, 1, 2]})] if grey and first else []
        steps += [("Squeeze", [[0, 3] if len(shape) == 2 else [0]], {})] if len(shape) < 4 else []
        steps += [("Cast", [], {"to": kind})] if kind != _FLOAT else []
        alone = outputs if len(shape) < 4 else ()
        behind = [Node("Unsqueeze", (output, [0]), (f"{output}_batch",)) for output in alone]
        return image, _chain(steps, name), behind
    return None


def _chain(steps: Sequence[tuple[str, list[Any], dict[str, Any]]], end: str) -> list[Node]:
    """Nodes one after the other, from the picture to the tensor `end`."""
    names = [PICTURE, *(f"{PICTURE}_{i}" for i in range(1, len(steps))), end]
    return [Node(op, (names[i], *more), (names[i + 1],), own) for i, (op, more, own) in enumerate(steps)]
