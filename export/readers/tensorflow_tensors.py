"""The tensors of a TensorFlow graph while it becomes an ONNX graph: their names there, and how their axes lie.

Pictures stay [N,C,H,W] from the first convolution on: what works element by element takes them so, and only what asks
for an axis gets them as TensorFlow has them, [N,H,W,C], by one Transpose. Whole numbers are int64 throughout, as ONNX
wants shapes and indices. TensorFlow's names have no @, which keeps ours apart from them. Knows no operation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from posert.errors import PosertError
from posert.export.readers.tfjs import Node

_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(slots=True)
class Written:
    """The ONNX graph so far. `first` and `last`: tensor of TensorFlow's -> its name here with channels first, last."""

    constants: Mapping[str, NDArray[Any]]
    nodes: list[Any] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)


def refused(node: Node, reason: str) -> PosertError:
    """What is raised where a node asks for something that no writer knows."""
    return PosertError(
        f"the network uses {node.op} as nobody here knows it ({node.name[-60:]}): {reason}",
        "convert it to ONNX with its own tools",
    )


def add(written: Written, kind: str, inputs: Iterable[str], output: str | list[str], **attributes: Any) -> str:
    """One more node; gives the name of its first output."""
    outputs = [output] if isinstance(output, str) else output
    written.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
    return outputs[0]


def number(written: Written, name: str, value: Any) -> str:
    """A constant of the ONNX graph."""
    if name not in written.numbers:
        array = np.asarray(value)
        array = array.astype(np.int64) if array.dtype.kind == "i" else array
        written.numbers[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
    return name


def channels_last(written: Written, tensor: str) -> str:
    """A tensor as TensorFlow has it."""
    if tensor in written.constants:
        return number(written, tensor, written.constants[tensor])
    if tensor not in written.last:
        written.last[tensor] = add(written, "Transpose", [written.first[tensor]], f"{tensor}@last", perm=_LAST)
    return written.last[tensor]


def channels_first(written: Written, tensor: str) -> str:
    """A picture with its channels first."""
    if tensor in written.constants:
        value = written.constants[tensor]
        padded = value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(_FIRST)
        return number(written, f"{tensor}@first", padded)
    if tensor not in written.first:
        written.first[tensor] = add(
            written, "Transpose", [channels_last(written, tensor)], f"{tensor}@first", perm=_FIRST
        )
    return written.first[tensor]


def fixed(written: Written, node: Node, index: int) -> NDArray[Any]:
    """The input of this number, which must be a constant."""
    if node.inputs[index] not in written.constants:
        raise refused(node, f"its input {index} is computed")
    return written.constants[node.inputs[index]]


def numbers(written: Written, *lists: Iterable[int]) -> list[str]:
    """Lists of whole numbers as constants."""
    return [number(written, f"@list_{'_'.join(map(str, each))}", np.array(each, np.int64)) for each in map(list, lists)]


def outputs_of(node: Node, count: int) -> list[str]:
    """TensorFlow's names of the outputs of a node."""
    return [node.name, *(f"{node.name}:{number}" for number in range(1, count))]
