"""Shares of nodes and of time, out of profiles as ONNX Runtime writes them."""

from typing import Any

import pytest
from command import Run

from posert.runtime.networks.held import held, shares
from posert.runtime.session import open_model

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def _profile(*calls: tuple[int, dict[str, list[int]]]) -> list[dict[str, Any]]:
    """Events of calls: microseconds of each in all, and of its nodes by provider."""
    events, now = [{"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 50}], 100
    for whole, nodes in calls:
        events.append({"cat": "Session", "name": "model_run", "ts": now, "dur": whole})
        for provider, took in nodes.items():
            events += [
                {"cat": "Node", "name": "n_kernel_time", "ts": now + 1, "dur": dur, "args": {"provider": provider}}
                for dur in took
            ]
            events.append({"cat": "Node", "name": "n_fence_before", "ts": now + 1, "dur": 99, "args": {}})
        now += whole + 10
    return events


def test_what_the_cpu_does_not_take_is_the_gpus() -> None:
    """Its nodes only say how long they were called, 10 us each; the first call warms up and does not count."""
    warm, call = (90_000, {CUDA: [30_000] * 3, CPU: [10]}), (2000, {CUDA: [10, 10, 10], CPU: [500]})
    first, second = shares(_profile(warm, call, call), {CUDA: 80, CPU: 20})
    assert (first.provider, first.nodes, first.all_nodes, first.time, first.call_ms) == (CUDA, 80, 100, 0.75, 2.0)
    assert (second.provider, second.nodes, second.time) == (CPU, 20, 0.25)
    assert str(first) == "CUDAExecutionProvider: 80 of 100 nodes, 75% of 2.0 ms"


def test_several_accelerators_share_by_their_calls() -> None:
    call = (1000, {TENSORRT: [30], CUDA: [10], CPU: [200]})
    found = {one.provider: one for one in shares(_profile(call, call), {})}
    assert {name: one.nodes for name, one in found.items()} == {TENSORRT: 1, CUDA: 1, CPU: 1}
    assert {name: round(one.time, 3) for name, one in found.items()} == {TENSORRT: 0.6, CUDA: 0.2, CPU: 0.2}


def test_the_cpu_alone_has_it_all() -> None:
    with open_model("nano", device="cpu") as model:
        (one,) = held(model.files["pose"], model.spec.stages[0], "cpu", 1)
    assert one.provider == CPU
    assert one.nodes == one.all_nodes > 50
    assert one.time == 1.0
    assert one.call_ms > 0


def test_info_shows_what_runs_the_network(run: Run) -> None:
    code, out, err = run("info", "nano", "--device", "cpu")
    assert (code, err) == (0, "")
    assert "runs on   cpu" in out
    assert "pose on cpu, CPUExecutionProvider:" in out
    code, out, err = run("info", "nano", "--device", "tensorrt")
    assert code == 1
    assert "posert[tensorrt]" in err


@pytest.mark.parametrize("line", ["nano on cpu", "100% of"])
def test_doctor_tries_every_device_that_is_there(run: Run, line: str) -> None:
    code, out, _ = run("doctor")
    assert code == 0
    assert line in out
