"""Sorting and selecting inside kernels: no memory, n log n whatever comes."""

import numpy as np

from posert.postprocess.kernels.registry import jit

_NOT_A_NUMBER = np.int32(0x7F800001)  # the bits after infinity's: nothing is at least so large


@jit
def _before(key, value, later_first, i, j):
    if key[i] != key[j]:
        return key[i] > key[j]
    if value[i] != value[j]:
        return value[i] > value[j]
    return (i > j) == later_first


@jit
def _sift_down(key, value, later_first, order, root, end):
    """Restores the heap order[:end] below `root`: what comes last of all is on top."""
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and _before(key, value, later_first, order[child], order[child + 1]):
            child += 1
        if not _before(key, value, later_first, order[root], order[child]):
            return
        held = order[root]
        order[root] = order[child]
        order[child] = held
        root = child


@jit
def sort_by(key, value, order, later_first):
    """Sorts the different indices in `order` i32 [n]: by key, then by value, both from the largest to the smallest.

    Equal ones are in the order of their indices, or (`later_first`) against it.
    """
    count = order.shape[0]
    for root in range(count // 2 - 1, -1, -1):
        _sift_down(key, value, later_first, order, root, count)
    for end in range(count - 1, 0, -1):
        held = order[0]
        order[0] = order[end]
        order[end] = held
        _sift_down(key, value, later_first, order, 0, end)


@jit
def sort_descending(value, order, count):
    """order i32 [:count]: indices of `value` from the largest to the smallest, equal ones in index order."""
    for i in range(count):
        order[i] = i
    sort_by(value, value, order[:count], False)


@jit
def _reaching(values, least):
    """How many of values f32 [n,m] are at least so large."""
    count = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            count += values[i, j] >= least
    return count


@jit
def least_of_strongest(values, least, most):
    """The least value from which on at most `most` of values f32 [n,m] count: `least` (f32, >= 0) itself if it can be.

    Of equal values all count or none. It takes 32 times as long as counting where `least` is too low.
    """
    if values.shape[0] * values.shape[1] <= most or _reaching(values, least) <= most:
        return least
    low, high = (
        np.float32(least).view(np.int32),
        _NOT_A_NUMBER,
    )  # floats that are not negative have the order of their bits
    while high - low > 1:
        middle = np.int32((np.int64(low) + np.int64(high)) // 2)
        if _reaching(values, np.int32(middle).view(np.float32)) > most:
            low = middle
        else:
            high = middle
    return np.int32(high).view(np.float32)
