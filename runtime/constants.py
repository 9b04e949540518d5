"""Inputs of a network besides the picture: numbers that its metadata name, as the tensors that its graph wants.

Owns their types and shapes, and what is said of those that do not fit. Knows the graph's inputs, not what they mean.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.runtime.spec import Number, Stage

TYPES = {
    "tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int32)": "int32", "tensor(float16)": "float16",
    "tensor(int64)": "int64", "tensor(double)": "float64",
}  # fmt: skip
"""ONNX Runtime's types that a network's input may have, and numpy's names of them."""
_LONGEST = 16384  # px, of an input's side
_HINT = "name its numbers, or 'width' and 'height' of the picture, in the metadata's constants, or export it without"


@dataclass(frozen=True, slots=True)
class Constant:
    """One such input.

    Attributes:
        name: of the tensor. dtype: numpy's name.
        per_row: whether there is one for each row of the batch, or one for all.
        shape: of a row, or of the whole.
        numbers: as many as the shape has elements, or one for all of them.
    """

    name: str
    dtype: str
    per_row: bool
    shape: tuple[int, ...]
    numbers: tuple[Number, ...]

    def tensor(self, rows: int, input_wh: tuple[int, int]) -> NDArray[Any]:
        """[rows,...] or the whole, for an input of this width and height, px."""
        sides: dict[Number, int] = {"width": input_wh[0], "height": input_wh[1]}
        numbers = np.array([sides.get(number, number) for number in self.numbers], self.dtype)
        row = np.resize(numbers, self.shape)
        return np.repeat(row[None], rows, axis=0) if self.per_row else row


def constants_of(inputs: Iterable[Any], stage: Stage) -> list[Constant]:
    """The constants of a stage, for ONNX Runtime's list of the graph's inputs.

    Raises:
        PosertError: an input that nothing feeds, a constant that the graph has no input for, or one that does not fit.
    """
    wanted = {tensor.name: tensor for tensor in inputs if tensor.name != stage.input.name}
    if unfed := [name for name in wanted if name not in stage.constants]:
        told = ", ".join(f"{name!r} {TYPES.get(wanted[name].type)} {wanted[name].shape}" for name in unfed)
        raise PosertError(f"nothing feeds the input {told} of the network of stage {stage.name!r}", _HINT)
    if unknown := [name for name in stage.constants if name not in wanted]:
        raise PosertError(
            f"the network of stage {stage.name!r} has no input {', '.join(map(repr, unknown))} for its constants",
            f"it has {', '.join(wanted) or 'none'} besides the picture; export or tag it again",
        )
    return [_constant(wanted[name], numbers, stage.name) for name, numbers in stage.constants.items()]


def _constant(tensor: Any, numbers: tuple[Number, ...], stage: str) -> Constant:
    dtype, sides = TYPES.get(tensor.type), list(tensor.shape)
    per_row = bool(sides) and not isinstance(sides[0], int)
    shape = sides[1:] if per_row else sides
    fixed = all(isinstance(side, int) for side in shape)
    if dtype is None or not fixed or len(numbers) not in (1, math.prod(shape)) or not _holds(dtype, numbers):
        kind = "a tensor with a row for each picture" if per_row else "one tensor"
        raise PosertError(
            f"the constants {list(numbers)} do not fit the input {tensor.name!r} of stage {stage!r}, {kind}: "
            f"{dtype or tensor.type} {tensor.shape}",
            "give as many numbers as a row has (or the whole, where the first side is fixed), or one for all",
        )
    return Constant(tensor.name, dtype, per_row, tuple(shape), numbers)


def _holds(dtype: str, numbers: tuple[Number, ...]) -> bool:
    """Whether a tensor of this type can hold them: whole ones in its range, for one of integers."""
    if np.dtype(dtype).kind == "f":
        return True
    limits, given = np.iinfo(dtype), [_LONGEST if isinstance(number, str) else number for number in numbers]
    return all(number == int(number) and limits.min <= number <= limits.max for number in given)
