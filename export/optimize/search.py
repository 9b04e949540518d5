"""Which layers of a network stay float: those that hurt most, as few as are enough.

Owns the order in which they are tried. Knows no people: it is told how good a network is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.export.optimize.networks import Feeds, Quantiser
from posert.runtime.devices import import_onnxruntime

_GROUPS = 40  # of neighbouring layers are tried one by one, however deep the network
_TENSORS = 3


def ranked(quantiser: Quantiser, feeds: Sequence[Feeds], outputs: Sequence[str]) -> list[tuple[str, ...]]:
    """Names of neighbouring nodes, those first whose quantisation alone changes the outputs most."""
    feeds = list(feeds[:: max(1, len(feeds) // _TENSORS)])[:_TENSORS]
    size = -(-len(quantiser.units) // _GROUPS)
    groups = [
        tuple(name for unit in quantiser.units[first : first + size] for name in unit)
        for first in range(0, len(quantiser.units), size)
    ]
    wanted = _run(quantiser.graph, feeds, outputs)
    everything = {name for unit in quantiser.units for name in unit}

    def harm(group: tuple[str, ...]) -> float:
        return _apart(_run(quantiser.int8(everything - {*group}), feeds, outputs), wanted)

    return sorted(groups, key=harm, reverse=True)


def fewest_float(groups: Sequence[tuple[str, ...]], good: Callable[[tuple[str, ...]], bool]) -> tuple[str, ...] | None:
    """The shortest head of the groups, as far as halving finds it, that makes a network good; None if half does not.

    None of them are not enough: that has been tried.
    """
    heads = [tuple(name for group in groups[:count] for name in group) for count in range(len(groups) // 2 + 1)]
    if len(heads) == 1 or not good(heads[-1]):
        return None
    low, high = 0, len(heads) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(heads[middle]) else (middle, high)
    return heads[high]


def _run(graph: Any, feeds: Sequence[Feeds], outputs: Sequence[str]) -> list[NDArray[Any]]:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [array for fed in feeds for array in session.run(list(outputs), dict(fed))]


def _apart(found: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> float:
    """How far outputs are from those wanted, in shares of these."""
    return sum(
        float(np.linalg.norm(one - other) / max(1e-12, float(np.linalg.norm(other))))
        for one, other in zip(found, wanted, strict=True)
    )
