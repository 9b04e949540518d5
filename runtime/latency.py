"""Which of several openings of a model lets a single frame through soonest, by measurement.

Owns that trial. Knows models and the tensors they take, nothing of sources or of how cores are shared out.
"""

import math
import statistics
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from posert.runtime.windows import place

if TYPE_CHECKING:
    from posert.runtime.session import Model

_FRAME_WH = 640, 480
_CALLS, _PAUSE_S = 7, 0.02  # as frames of a camera: threads that slept must be woken, which calls in a row never show
_WORTH = 0.95  # of the time with fewer threads, which leave cores to whoever reads


def soonest(models: Iterable["Model"]) -> "Model":
    """The one of these, which take more and more threads, that runs a frame's networks soonest; the others are closed.

    On another device than the processor threads make no difference: the first is taken.
    """
    best, best_ms = None, math.inf
    for model in models:
        if model.device != "cpu":
            return model
        taken_ms = call_ms(model)
        if best is not None and taken_ms > _WORTH * best_ms:
            model.close()
            continue
        if best is not None:
            best.close()
        best, best_ms = model, taken_ms
    assert best is not None, "there is at least one"
    return best


def call_ms(model: "Model") -> float:
    """Milliseconds for one call of each of a model's networks, on dark pictures; the median of several."""
    tensors = {}
    for stage in model.spec.stages:
        wide, high = place(_FRAME_WH, stage.input)[1]
        shape = (high, wide, 3) if stage.input.layout == "NHWC" else (3, high, wide)
        tensors[stage.name] = np.zeros((1, *shape), stage.input.dtype)
    taken = []
    for _ in range(_CALLS + 1):
        time.sleep(_PAUSE_S)
        began = time.perf_counter()
        for name, tensor in tensors.items():
            model.run(name, tensor)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken[1:])
