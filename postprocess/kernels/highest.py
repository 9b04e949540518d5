"""The first highest of a row of values, for decoders that look for peaks."""

import numpy as np

from posert.postprocess.kernels.registry import jit

_BLOCK = 64


@jit
def first_highest(values):
    """The index of the first highest of values f32 [n], and that; 0 and -infinity if no number is above it.

    Whether a block has something higher is asked of all its values at once, which becomes vector code.
    """
    best, at = np.float32(-np.inf), 0
    for begin in range(0, len(values), _BLOCK):
        block = values[begin : min(begin + _BLOCK, len(values))]
        higher = 0
        for i in range(len(block)):
            higher |= block[i] > best
        if higher:
            for i in range(len(block)):
                if block[i] > best:
                    best, at = block[i], begin + i
    return at, best
