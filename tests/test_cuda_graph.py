"""Recorded calls of CUDA, by a session that plays a GPU: a recording reads and writes its own buffers alone."""

import logging
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from posert.runtime.networks.cuda_graph import GraphSession


class Buffer:
    """An `OrtValue` on the GPU."""

    made: ClassVar[list[tuple[Any, ...]]] = []

    def __init__(self, array: np.ndarray, *where: Any) -> None:
        self.array, self.where = array.copy(), where
        Buffer.made.append(where)

    @staticmethod
    def ortvalue_from_numpy(array: np.ndarray, *where: Any) -> "Buffer":
        return Buffer(array, *where)

    @staticmethod
    def ortvalue_from_shape_and_type(shape: tuple[int, ...], dtype: Any, *where: Any) -> "Buffer":
        return Buffer(np.zeros(shape, dtype), *where)

    def update_inplace(self, array: np.ndarray) -> None:
        assert array.shape == self.array.shape
        self.array[:] = array

    def numpy(self) -> np.ndarray:
        return self.array.copy()


class Options:
    def __init__(self) -> None:
        self.graph = ""

    def add_run_config_entry(self, name: str, value: str) -> None:
        assert name == "gpu_graph_id"
        self.graph = value


class Gpu:
    """A session that doubles its input; a recording may `lie`, or `fail`."""

    def __init__(self, fault: str = "") -> None:
        self.fault, self.calls, self.graphs = fault, [], {}

    def run(self, names: list[str], feeds: dict[str, np.ndarray], options: Options) -> list[np.ndarray]:
        self.calls.append(options.graph)
        return [feeds["x"] * 2 for _ in names]

    def io_binding(self) -> Any:
        bound = SimpleNamespace(inputs={}, outputs={})
        bound.bind_ortvalue_input = bound.inputs.__setitem__
        bound.bind_ortvalue_output = bound.outputs.__setitem__
        return bound

    def run_with_iobinding(self, bound: Any, options: Options) -> None:
        self.calls.append(options.graph)
        if self.fault == "fails":
            raise RuntimeError("capture")
        recorded = self.graphs.setdefault(options.graph, (bound.inputs["x"], bound.outputs["y"]))
        assert recorded == (bound.inputs["x"], bound.outputs["y"]), "a recording knows its addresses alone"
        recorded[1].array[:] = recorded[0].array * (3 if self.fault == "lies" else 2)


def _session(fault: str = "") -> tuple[Gpu, GraphSession]:
    gpu = Gpu(fault)
    return gpu, GraphSession(gpu, SimpleNamespace(RunOptions=Options, OrtValue=Buffer), 1)


def _ask(session: GraphSession, value: float, rows: int = 1) -> None:
    (found,) = session.run(["y"], {"x": np.full((rows, 4), value, np.float32)})
    assert found.tolist() == [[value * 2] * 4] * rows


def test_each_shape_is_recorded_once_and_replayed() -> None:
    gpu, session = _session()
    Buffer.made.clear()
    for value in (1, 2, 3):
        _ask(session, value)
    _ask(session, 4, rows=2)
    _ask(session, 5)
    assert gpu.calls == ["-1", "1", "1", "1", "1", "-1", "2", "2", "1"]
    assert set(Buffer.made) == {("cuda", 1)}
    assert len(Buffer.made) == 4  # an input and an output for each shape


def test_too_many_shapes_run_plainly() -> None:
    gpu, session = _session()
    for rows in range(1, 12):
        _ask(session, 1, rows)
    gpu.calls.clear()
    _ask(session, 2, rows=11)
    assert gpu.calls == ["-1"]


@pytest.mark.parametrize("fault", ["lies", "fails"])
def test_recordings_that_do_not_work_are_given_up_and_that_is_said(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    gpu, session = _session(fault)
    with caplog.at_level(logging.WARNING, "posert"):
        for value in (1, 2, 3):
            _ask(session, value)
    assert caplog.text.count("CUDA graphs do not work") == 1
    assert gpu.calls[-2:] == ["-1", "-1"]
