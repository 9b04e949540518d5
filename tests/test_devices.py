"""Which provider runs, and that nobody gets the CPU without being told."""

import logging
import sys
from types import SimpleNamespace

import pytest

import posert.runtime.devices as devices
from posert.errors import PosertError

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.mark.parametrize(
    ("device", "available", "names", "device_id"),
    [
        ("auto", [CPU], [CPU], None),
        ("auto", ["AzureExecutionProvider", CPU], [CPU], None),
        ("auto", [TENSORRT, CUDA, CPU], [CUDA, CPU], "0"),
        ("cpu", [CUDA, CPU], [CPU], None),
        ("cuda", [TENSORRT, CUDA, CPU], [CUDA, CPU], "0"),
        ("cuda:3", [CUDA, CPU], [CUDA, CPU], "3"),
    ],
)
def test_choice(device: str, available: list[str], names: list[str], device_id: str | None) -> None:
    providers = devices.choose_providers(device, available)
    assert [name for name, _ in providers] == names
    assert providers[0][1].get("device_id") == device_id


@pytest.mark.parametrize(
    ("device", "message", "hint"),
    [
        ("cuda", "has only CPUExecutionProvider", "posert[gpu]"),
        ("cuda:1", "has only CPUExecutionProvider", "posert[gpu]"),
        ("gpu", "unknown device 'gpu'", "cuda:N"),
        ("cuda:x", "unknown device 'cuda:x'", "cuda:N"),
    ],
)
def test_refused_devices(device: str, message: str, hint: str) -> None:
    with pytest.raises(PosertError) as caught:
        devices.choose_providers(device, [CPU])
    assert message in caught.value.what
    assert hint in caught.value.hint


def _session(*providers: str) -> SimpleNamespace:
    return SimpleNamespace(get_providers=lambda: list(providers))


def test_the_device_is_the_one_the_session_runs_on() -> None:
    wanted = devices.choose_providers("cuda:1", [CUDA, CPU])
    assert devices.honoured_device(_session(CUDA, CPU), "cuda:1", wanted) == "cuda:1"
    assert devices.honoured_device(_session(CPU), "cpu", devices.choose_providers("cpu", [CPU])) == "cpu"


def test_cuda_that_does_not_load_is_an_error_with_the_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "missing_cuda_libraries", lambda: ["libcublasLt.so.13", "libcudnn.so.9"])
    with pytest.raises(PosertError, match=r"missing: libcublasLt\.so\.13, libcudnn\.so\.9") as caught:
        devices.honoured_device(_session(CPU), "cuda", devices.choose_providers("cuda", [CUDA, CPU]))
    assert "posert[gpu]" in caught.value.hint


def test_auto_falls_back_to_the_cpu_but_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "missing_cuda_libraries", lambda: ["libcudnn.so.9"])
    with caplog.at_level(logging.WARNING, "posert"):
        device = devices.honoured_device(_session(CPU), "auto", devices.choose_providers("auto", [CUDA, CPU]))
    assert device == "cpu"
    assert "libcudnn.so.9" in caplog.text


@pytest.mark.parametrize(
    ("installed", "message", "hint"),
    [
        ({"onnxruntime", "onnxruntime-gpu"}, "overwrite each other", "pip uninstall -y onnxruntime onnxruntime-gpu"),
        (set(), "cannot be imported", "pip install 'posert[cpu]'"),
    ],
)
def test_none_or_two_runtimes(monkeypatch: pytest.MonkeyPatch, installed: set[str], message: str, hint: str) -> None:
    monkeypatch.setattr(devices, "_installed", installed.__contains__)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # makes `import onnxruntime` fail
    with pytest.raises(PosertError) as caught:
        devices.import_onnxruntime()
    assert message in caught.value.what
    assert hint in caught.value.hint


def test_a_runtime_broken_by_an_uninstall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_installed", {"onnxruntime"}.__contains__)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    with pytest.raises(PosertError, match="broken"):
        devices.import_onnxruntime()


def test_missing_libraries_are_found_in_the_provider(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "capi").mkdir()
    names = b"\x00libcublasLt.so.13\x00libc.so.6\x00libcudnn.so.9\x00"
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"\x7fELF" + names)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__file__=str(tmp_path / "__init__.py")))
    monkeypatch.setattr(devices, "_loads", lambda name: name == "libcudnn.so.9")
    assert devices.missing_cuda_libraries() == ["libcublasLt.so.13", "libcuda.so.1"]
