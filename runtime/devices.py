"""Which execution provider runs a model, and whether it really does. Owns everything that is said about devices.

Knows ONNX Runtime's packages and providers; nothing of models.
"""

import ctypes
import importlib.metadata
import logging
import mmap
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from posert.errors import PosertError

_LOG = logging.getLogger("posert")
_REINSTALL = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install "
Providers = list[tuple[str, dict[str, Any]]]
"""Execution providers with their options, the wished one first."""


def cpu_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def import_onnxruntime() -> ModuleType:
    """The onnxruntime module; raises PosertError unless one of its packages is there: two overwrite each other."""
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(installed) == 2:
        raise PosertError(
            "both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files",
            f"{_REINSTALL}'posert[gpu]' (or 'posert[cpu]' without an NVIDIA GPU)",
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise PosertError(
            f"ONNX Runtime cannot be imported: {error}",
            "pip install 'posert[cpu]', or 'posert[gpu]' for an NVIDIA GPU",
        ) from None
    if not hasattr(onnxruntime, "InferenceSession"):
        raise PosertError(
            "the installed ONNX Runtime is broken: it has no InferenceSession", f"{_REINSTALL}'posert[cpu]'"
        )
    onnxruntime.set_default_logger_severity(4)
    module: ModuleType = onnxruntime
    return module


def _installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))


def choose_providers(device: str, available: Sequence[str]) -> Providers:
    """Execution providers with their options for a device wish, the wished one first.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        available: what this build of ONNX Runtime contains (it may still fail to load).

    Raises:
        PosertError: an unknown device, or one that this build does not contain.

    >>> choose_providers("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    [('CPUExecutionProvider', {})]
    """
    cpu: tuple[str, dict[str, Any]] = ("CPUExecutionProvider", {})
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if not match:
        raise PosertError(f"unknown device {device!r}", "use auto, cpu, cuda or cuda:N")
    if device == "cpu":
        return [cpu]
    if "CUDAExecutionProvider" not in available:
        if device == "auto":
            return [cpu]
        raise PosertError(
            f"device {device!r} was asked for, but this ONNX Runtime has only {', '.join(available)}",
            f"{_REINSTALL}'posert[gpu]'",
        )
    # Without HEURISTIC every new input shape starts a slow search; the arena must not grow in powers of two.
    options = {
        "device_id": match.group(1) or "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    return [("CUDAExecutionProvider", options), cpu]


def may_run_on(device: str) -> set[str]:
    """What may come of a device wish on this machine: `cpu`, `cuda` or both."""
    if device != "auto":
        return {device.partition(":")[0]}
    return {"cpu", "cuda"} if "CUDAExecutionProvider" in import_onnxruntime().get_available_providers() else {"cpu"}


def honoured_device(session: Any, device: str, providers: Providers) -> str:
    """The device the session really runs on; raises PosertError if CUDA was asked for and did not load."""
    wanted, options = providers[0]
    if wanted == "CPUExecutionProvider" or wanted in session.get_providers():
        return "cpu" if wanted == "CPUExecutionProvider" else f"cuda:{options['device_id']}"
    missing = missing_cuda_libraries()
    what = f"missing: {', '.join(missing)}" if missing else "no usable GPU or driver (see nvidia-smi)"
    if device == "auto":
        _LOG.warning("running on the CPU: CUDA did not load, %s; say `device` cpu to silence this", what)
        return "cpu"
    raise PosertError(
        f"device {device!r} was asked for, but CUDA did not load: {what}",
        "pip install 'posert[gpu]' brings CUDA and cuDNN, the NVIDIA driver must be there; or use `device` cpu",
    )


def missing_cuda_libraries() -> list[str]:
    """Shared libraries that the CUDA provider of the installed ONNX Runtime names and that do not load, sorted."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    names: set[str] = {"libcuda.so.1"}
    for library in folder.glob("libonnxruntime_providers_cuda.so"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            names |= {name.decode() for name in re.findall(rb"\x00(lib(?:cu|nv)[A-Za-z]+\.so\.\d+)(?=\x00)", data)}
    return sorted(name for name in names if not _loads(name))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
