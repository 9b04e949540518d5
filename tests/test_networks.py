"""One network on one device: fake providers that load or do not, and take much, little or nothing."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
import tiny

import posert.runtime.networks.network as networks
from posert.errors import PosertError
from posert.runtime.networks.cuda_graph import GraphSession
from posert.runtime.networks.network import node_counts, open_network
from posert.runtime.networks.tensorrt import shape_profile
from posert.runtime.share import Share

CPU, CUDA, DIRECTML = "CPUExecutionProvider", "CUDAExecutionProvider", "DmlExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


class Fake:
    """ONNX Runtime with providers of other machines; their sessions are the CPU's."""

    def __init__(self, available: list[str], counts: dict[str, int], fails: str = "", graphs: bool = True) -> None:
        self.available, self.counts, self.fails, self.graphs, self.asked = available, counts, fails, graphs, []

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return self.available

    def InferenceSession(self, file: str, options: Any, providers: Any, **more: Any) -> Any:
        names = [name for name, _ in providers]
        self.asked.append((names, options, more, providers))
        if "enable_cuda_graph" in providers[0][1] and not self.graphs:
            raise RuntimeError("This session cannot use the graph capture feature")
        if len(names) > 1 and self.fails:
            raise RuntimeError(self.fails)
        session = onnxruntime.InferenceSession(file, options, providers=[CPU])
        parts = [SimpleNamespace(ep_name=name, get_nodes=lambda n=n: [None] * n) for name, n in self.counts.items()]
        return SimpleNamespace(
            run=session.run, get_inputs=session.get_inputs, get_outputs=session.get_outputs,
            get_providers=lambda: names, get_provider_graph_assignment_info=lambda: parts,
        )  # fmt: skip


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(*given: Any, **more: Any) -> Fake:
        runtime = Fake(*given, **more)
        monkeypatch.setattr(networks, "import_onnxruntime", lambda: runtime)
        return runtime

    return put


def test_a_device_that_takes_most_is_the_one_that_runs(
    model: Path, fake: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = fake([CUDA, CPU], {CUDA: 90, CPU: 10})
    network = open_network(model, "cuda:1", Share(1, 1))
    assert network.device == "cuda:1"
    assert node_counts(network.session) == {CUDA: 90, CPU: 10}
    names, options, more, _ = runtime.asked[0]
    assert names == [CUDA, CPU]
    assert options.get_session_config_entry("session.record_ep_graph_assignment_info") == "1"
    assert more == {"enable_fallback": 0}  # ONNX Runtime's own would print among our results
    assert not caplog.text


def test_a_device_that_takes_little_is_said_so(model: Path, fake: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake([CUDA, CPU], {CUDA: 30, CPU: 70})
    with caplog.at_level(logging.WARNING, "posert"):
        open_network(model, "cuda", Share(1, 1))
    assert "holds only 30 of the 100 nodes" in caplog.text


def test_a_device_that_takes_nothing_is_an_error(model: Path, fake: Any) -> None:
    fake([CUDA, CPU], {CPU: 100})
    with pytest.raises(PosertError, match="takes none of the 100 nodes"):
        open_network(model, "cuda", Share(1, 1))


def test_a_session_that_does_not_open_on_the_device_is_not_a_damaged_file(model: Path, fake: Any) -> None:
    """It was said to be cut off or damaged when the device was to blame."""
    fake([CUDA, CPU], {}, fails="CUDA failure 35: driver too old")
    with pytest.raises(PosertError, match=r"cannot be opened on device 'cuda': CUDA failure 35") as caught:
        open_network(model, "cuda", Share(1, 1))
    assert "posert[gpu]" in caught.value.hint
    model.write_bytes(b"no network")
    with pytest.raises(PosertError, match="cannot be opened as an ONNX model"):
        open_network(model, "cuda", Share(1, 1))


def test_auto_goes_on_without_a_device_that_does_not_open(
    model: Path, fake: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake([CUDA, CPU], {}, fails="CUDA failure 35")
    with caplog.at_level(logging.WARNING, "posert"):
        assert open_network(model, "auto", Share(1, 1)).device == "cpu"
    assert "CUDA did not load" in caplog.text


def test_directml_runs_one_call_after_the_other(model: Path, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, inside, most = fake([DIRECTML, CPU], {DIRECTML: 1}), [], []
    network = open_network(model, "directml", Share(2, 1))
    assert not runtime.asked[0][1].enable_mem_pattern

    def run(names: list[str], feeds: dict[str, Any]) -> list[str]:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.001)
        inside.pop()
        return names

    monkeypatch.setattr(network.session._session, "run", run)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: network.session.run([str(n)], {}), range(20))) == [[str(n)] for n in range(20)]
    assert max(most) == 1


def test_networks_of_one_size_are_recorded_where_all_their_nodes_are_on_cuda(
    model: Path, fake: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = fake([CUDA, CPU], {CUDA: 9})
    assert isinstance(open_network(model, "cuda:2", Share(1, 1), True, tiny.STAGE).session, GraphSession)
    assert runtime.asked[0][3][0][1]["enable_cuda_graph"] == "1"
    free = replace(tiny.STAGE, input=replace(tiny.INPUT, multiple_of=32))
    assert not isinstance(open_network(model, "cuda", Share(1, 1), True, free).session, GraphSession)
    for device in ("cuda", "auto"):
        fake([CUDA, CPU], {CUDA: 9}, graphs=False)
        network = open_network(model, device, Share(1, 1), True, tiny.STAGE)
        assert network.device == "cuda:0"  # without recordings, not without CUDA
        assert not isinstance(network.session, GraphSession)
    assert not caplog.text


def test_tensorrt_gets_the_shapes_and_a_folder_for_its_engines(model: Path, fake: Any, home: Path) -> None:
    runtime = fake([TENSORRT, CUDA, CPU], {TENSORRT: 9})
    assert open_network(model, "tensorrt", Share(1, 1), True, tiny.STAGE).device == "tensorrt:0"
    names, _, _, providers = runtime.asked[-1]
    assert names == [TENSORRT, CUDA, CPU]
    options = providers[0][1]
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert Path(options["trt_engine_cache_path"]).parent == Path(options["trt_timing_cache_path"]) == home / "tensorrt"
    shapes = [options[f"trt_profile_{name}_shapes"] for name in ("min", "opt", "max")]
    assert shapes == ["image:1x64x64x3", "image:1x64x64x3", "image:64x64x64x3"]  # one person, or as many as come


@pytest.mark.parametrize(
    ("axes", "profile"),
    [
        (["n", 3, "h", "w"], [[1, 3, 33, 33], [1, 3, 257, 321], [64, 3, 321, 321]]),
        ([1, 3, "h", "w"], [[1, 3, 33, 33], [1, 3, 257, 321], [1, 3, 321, 321]]),
        ([1, 3, 257, 321], [[1, 3, 257, 321]] * 3),
    ],
)
def test_shapes_that_tensorrt_plans_for(axes: list[Any], profile: list[list[int]]) -> None:
    put = replace(
        tiny.INPUT, layout="NCHW", dtype="float32", fit="corner", size_wh=(321, 321), multiple_of=32, multiple_plus=1
    )
    assert shape_profile(replace(tiny.STAGE, region="frame", input=put), axes) == profile
