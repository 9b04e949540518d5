"""Which provider runs, and that nobody gets the CPU without being told."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import posert.runtime.devices as devices
from posert.errors import PosertError

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPENVINO, DIRECTML, COREML = "OpenVINOExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider"
MIGRAPHX, XNNPACK = "MIGraphXExecutionProvider", "XnnpackExecutionProvider"


@pytest.mark.parametrize(
    ("device", "available", "names", "device_id"),
    [
        ("auto", [CPU], [CPU], None),
        ("auto", ["AzureExecutionProvider", CPU], [CPU], None),
        ("auto", [TENSORRT, CUDA, CPU], [CUDA, CPU], "0"),
        ("cpu", [CUDA, CPU], [CPU], None),
        ("cuda", [TENSORRT, CUDA, CPU], [CUDA, CPU], "0"),
        ("cuda:3", [CUDA, CPU], [CUDA, CPU], "3"),
        ("auto", [COREML, DIRECTML, MIGRAPHX, XNNPACK, OPENVINO, CPU], [CPU], None),
        ("tensorrt", [TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU], "0"),
        ("tensorrt:2", [TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU], "2"),
        ("directml:1", [DIRECTML, CPU], [DIRECTML, CPU], "1"),
        ("migraphx", [MIGRAPHX, CPU], [MIGRAPHX, CPU], "0"),
        ("coreml", [COREML, CPU], [COREML, CPU], None),
        ("xnnpack", [XNNPACK, CPU], [XNNPACK, CPU], None),
        ("openvino:GPU", [OPENVINO, CPU], [OPENVINO, CPU], None),
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
        ("gpu", "unknown device 'gpu'", "cuda[:N]"),
        ("cuda:x", "unknown device 'cuda:x'", "cuda[:N]"),
        ("coreml:1", "unknown device 'coreml:1'", "coreml"),
        ("openvino:TPU", "unknown device 'openvino:TPU'", "openvino[:CPU|GPU|NPU]"),
        ("tensorrt", "has only CPUExecutionProvider", "posert[tensorrt]"),
        ("openvino", "has only CPUExecutionProvider", "posert[openvino]"),
        ("migraphx", "has only CPUExecutionProvider", "posert[migraphx]"),
        ("coreml", "has only CPUExecutionProvider", "macOS"),
        ("xnnpack", "has only CPUExecutionProvider", "build of ONNX Runtime with xnnpack"),
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


@pytest.mark.parametrize(
    ("wish", "provider", "device"),
    [
        ("tensorrt", TENSORRT, "tensorrt:0"),
        ("openvino:NPU", OPENVINO, "openvino:NPU"),
        ("directml", DIRECTML, "directml:0"),
        ("coreml", COREML, "coreml"),
    ],
)
def test_every_provider_is_honoured_or_refused(
    wish: str, provider: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "missing_libraries", lambda kind: [])
    wanted = devices.choose_providers(wish, [provider, CUDA, CPU])
    assert devices.honoured_device(_session(provider, CPU), wish, wanted) == device
    with pytest.raises(PosertError, match="did not load"):
        devices.honoured_device(_session(CUDA, CPU), wish, wanted)  # ONNX Runtime took another one


def test_cuda_that_does_not_load_is_an_error_with_the_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "missing_libraries", lambda kind: ["libcublasLt.so.13", "libcudnn.so.9"])
    with pytest.raises(PosertError, match=r"missing: libcublasLt\.so\.13, libcudnn\.so\.9") as caught:
        devices.honoured_device(_session(CPU), "cuda", devices.choose_providers("cuda", [CUDA, CPU]))
    assert "posert[gpu]" in caught.value.hint


def test_older_drivers_are_told_which_build_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime 1.27 and later are built for CUDA 13, and older drivers only say that there is no usable GPU."""
    monkeypatch.setattr(devices, "missing_libraries", lambda kind: [])
    for built, said in (("13", True), ("12", False)):
        monkeypatch.setattr(devices, "_named_libraries", lambda name, built=built: {f"libcublas.so.{built}"})
        what, hint = devices.not_loaded("cuda")
        assert "no usable GPU or driver" in what
        assert ("posert[gpu-cuda12]" in hint) is said


def test_auto_falls_back_to_the_cpu_but_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "missing_libraries", lambda kind: ["libcudnn.so.9"])
    with caplog.at_level(logging.WARNING, "posert"):
        device = devices.honoured_device(_session(CPU), "auto", devices.choose_providers("auto", [CUDA, CPU]))
    assert device == "cpu"
    assert "libcudnn.so.9" in caplog.text


@pytest.mark.parametrize(
    ("installed", "message", "hint"),
    [
        ({"onnxruntime", "onnxruntime-gpu"}, "overwrite each other", "pip uninstall -y onnxruntime onnxruntime-gpu"),
        ({"onnxruntime", "onnxruntime-openvino"}, "overwrite each other", "onnxruntime onnxruntime-openvino &&"),
        ({"onnxruntime-gpu", "onnxruntime-directml"}, "both onnxruntime-gpu and onnxruntime-directml", "uninstall"),
        (set(devices.RUNTIMES), "onnxruntime-migraphx and", "onnxruntime-rocm"),
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


@pytest.mark.parametrize(
    ("platform", "library", "needs", "loads", "missing"),
    [
        ("linux", "libonnxruntime_providers_cuda.so",
         b"libcublasLt.so.13\x00libcublasLt.so.12\x00libc.so.6\x00libcudnn.so.9", "libcudnn.so.9",
         ["libcublasLt.so.13", "libcuda.so.1"]),
        ("win32", "onnxruntime_providers_cuda.dll", b"cublasLt64_13.dll\x00KERNEL32.dll\x00cudnn64_9.dll", "nvcuda.dll",
         ["cublasLt64_13.dll", "cudnn64_9.dll"]),
    ],
)  # fmt: skip
def test_missing_libraries_are_found_in_the_provider(
    platform: str, library: str, needs: bytes, loads: str, missing: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """On Windows the driver was looked for as libcuda.so.1, and so always missing."""
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / library).write_bytes(b"\x7fELF\x00" + needs + b"\x00")
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__file__=str(tmp_path / "__init__.py")))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(devices, "_loads", loads.__eq__)
    assert devices.missing_libraries("cuda") == missing
