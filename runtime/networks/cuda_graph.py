"""A session on CUDA whose calls are recorded once for each shape, and then replayed on buffers that stay on the GPU.

For small networks, where starting hundreds of kernels takes longer than they do. Owns the buffers and the proof that a
replay says what a plain call says. Never run for want of a GPU: the tests have a session that plays one.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger("posert")
_MOST = 8  # shapes: the batches of crops are padded to seven
_NEAR = 1e-3  # of an output's largest value
_ID = "gpu_graph_id"
Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Buffers on the GPU for one shape, bound to a recording."""

    inputs: dict[str, Any]
    outputs: list[Any]
    binding: Any
    options: Any


class GraphSession:
    """Such a session; safe to call from several threads, one of which is in it at a time.

    The first call of a shape runs three times: plainly, recorded and replayed. If they differ, or recording fails, all
    calls are plain from then on, and that is said.
    """

    def __init__(self, session: Any, ort: ModuleType, number: int) -> None:
        """`session` with `enable_cuda_graph`, on the GPU of this number."""
        self._session, self._ort, self._number = session, ort, number
        self._recorded: dict[tuple[Any, ...], _Recorded] = {}
        self._plain, self._lock = self._run_options(-1), threading.Lock()
        self.replays = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
        """The outputs by these names."""
        key = (tuple(names), *((name, array.shape) for name, array in feeds.items()))
        with self._lock:
            if key in self._recorded and self.replays:
                return self._replayed(self._recorded[key], feeds)
            outputs: list[NDArray[Any]] = self._session.run(names, feeds, self._plain)
            if self.replays and len(self._recorded) < _MOST:
                try:
                    recorded = self._record(names, feeds, outputs)
                    self._replayed(recorded, feeds)
                    self.replays = _near(self._replayed(recorded, feeds), outputs)
                except Exception as error:  # ONNX Runtime's own exception types are not public
                    _LOG.debug("no CUDA graph: %s", error)
                    self.replays = False
                if self.replays:
                    self._recorded[key] = recorded
                else:
                    _LOG.warning("CUDA graphs do not work for this network; it runs without")
            return outputs

    def _run_options(self, number: int) -> Any:
        options = self._ort.RunOptions()
        options.add_run_config_entry(_ID, str(number))
        return options

    def _record(self, names: Sequence[str], feeds: Feeds, outputs: list[NDArray[Any]]) -> _Recorded:
        values, where = self._ort.OrtValue, ("cuda", self._number)
        inputs = {
            name: values.ortvalue_from_numpy(np.ascontiguousarray(array), *where) for name, array in feeds.items()
        }
        made = [values.ortvalue_from_shape_and_type(one.shape, one.dtype, *where) for one in outputs]
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(names, made, strict=True):
            binding.bind_ortvalue_output(name, value)
        return _Recorded(inputs, made, binding, self._run_options(len(self._recorded) + 1))

    def _replayed(self, recorded: _Recorded, feeds: Feeds) -> list[NDArray[Any]]:
        for name, array in feeds.items():
            recorded.inputs[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(recorded.binding, recorded.options)
        return [value.numpy() for value in recorded.outputs]


def _near(one: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> bool:
    return all(
        np.abs(a.astype(np.float64) - b).max(initial=0) <= _NEAR * max(1e-6, np.abs(b).max(initial=0))
        for a, b in zip(one, other, strict=True)
    )
