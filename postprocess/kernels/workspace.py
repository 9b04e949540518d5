"""Arrays out of one workspace, and lists out of one table: what makes a kernel's many arguments few.

A workspace is u8 [bytes], all zeros when it is new, and stays its caller's between calls with the same sizes and
parameters: what follows from those is written once. Taking from an empty workspace gives arrays nobody may touch, and
the place after the last one, which is the number of bytes needed: one layout function serves both.
"""

from typing import Any

import numpy as np

from posert.postprocess.kernels.registry import jit

_ALIGNED = 64  # bytes: a cache line, and the widest vector


@jit
def take(workspace: Any, at: int, shape: tuple[int, ...], dtype: type) -> tuple[Any, int]:
    """The next array, of this shape (a tuple) and numpy type, at byte `at` of the workspace; and the place after it."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    end = at + (size + _ALIGNED - 1) // _ALIGNED * _ALIGNED
    if len(workspace) == 0:
        return np.empty(shape, dtype), end
    return workspace[at : at + size].view(dtype).reshape(shape), end


@jit
def shaped(flat: Any, at: int, shape: tuple[int, ...]) -> Any:
    """The array of this shape (a tuple) that begins at element `at` of a flat one; no copy, nothing checked."""
    return flat[at : at + int(np.prod(shape, dtype=np.int64))].reshape(shape)


@jit
def listed(table: Any, index: int) -> Any:
    """List number `index` of a table i64 [n] (`records.table_of`): i64 [count]."""
    at = 0
    for _ in range(index):
        at += 1 + table[at]
    return table[at + 1 : at + 1 + table[at]]


@jit
def listed_pairs(table: Any, index: int) -> Any:
    """As `listed`, i64 [count / 2,2]."""
    flat = listed(table, index)
    return shaped(flat, 0, (len(flat) // 2, 2))


@jit
def outside(numbers: Any, end: int) -> bool:
    """Whether an integer of i64 [n] is not within 0..end - 1."""
    for i in range(numbers.shape[0]):
        if not 0 <= numbers[i] < end:
            return True
    return False


@jit
def of_axis(values: Any, axis: int) -> Any:
    """values[axis] of a tuple of two or three: an index that is no constant would be code that raises."""
    if axis == 0:
        return values[0]
    return values[1] if axis == 1 else values[-1]
