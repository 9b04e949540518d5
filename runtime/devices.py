"""Which execution provider runs a model, and whether it really does. Owns everything that is said about devices.

Knows ONNX Runtime's packages and providers, and OpenVINO's package; nothing of models.
"""

import ctypes
import importlib.metadata
import importlib.util
import logging
import mmap
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from posert.errors import PosertError

_LOG = logging.getLogger("posert")
CPU = "CPUExecutionProvider"
Providers = list[tuple[str, dict[str, Any]]]
"""Execution providers with their options, the wished one first."""
RUNTIMES = (
    "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-migraphx",
    "onnxruntime-rocm", "onnxruntime-training", "onnxruntime-training-cpu", "onnxruntime-windowsml",
    "onnxruntime-azure", "onnxruntime-cann", "onnxruntime-coreml", "onnxruntime-silicon",
)  # fmt: skip
"""Packages that all install the one module `onnxruntime`."""
_NAMES = rb"\x00(lib(?:cu|nv|migraphx|roc|amdhip)[A-Za-z\d]*\.so\.\d+|(?:cu|nv)\w+\.dll)(?=\x00)"
"""Libraries of NVIDIA and AMD, as a provider's library names those it is linked with."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What stands behind a device's name.

    Attributes:
        name: ONNX Runtime's of it.
        takes: its option for what follows the device's colon, or none.
        usual: that option's value where nothing follows.
        options: the others.
        how: to get it, for hints.
        library: of the provider, without the system's beginning and ending: it names the libraries it needs itself.
    """

    name: str
    takes: str = ""
    usual: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    how: str = ""
    library: str = ""


def _instead(extra: str) -> str:
    return (
        f"pip uninstall -y {' '.join(filter(_installed, RUNTIMES)) or 'onnxruntime'} && pip install 'posert[{extra}]'"
    )


# Without HEURISTIC every new input shape starts a slow search; the arena must not grow in powers of two.
_CUDA = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
PROVIDERS = {
    "cpu": Provider(CPU),
    "cuda": Provider("CUDAExecutionProvider", "device_id", "0", _CUDA, "gpu", "onnxruntime_providers_cuda"),
    "tensorrt": Provider(
        "TensorrtExecutionProvider", "device_id", "0", {}, "tensorrt", "onnxruntime_providers_tensorrt"
    ),
    "openvino": Provider("OpenVINOExecutionProvider", "device_type", "CPU", {}, "openvino"),
    "directml": Provider("DmlExecutionProvider", "device_id", "0", {}, "directml"),
    "migraphx": Provider(
        "MIGraphXExecutionProvider", "device_id", "0", {}, "migraphx", "onnxruntime_providers_migraphx"
    ),
    "coreml": Provider("CoreMLExecutionProvider", "", "", {"ModelFormat": "MLProgram"}),
    "xnnpack": Provider("XnnpackExecutionProvider"),
}
"""Device -> its provider."""
_WISH = re.compile(r"(auto|cpu|coreml|xnnpack)|(cuda|tensorrt|directml|migraphx)(?::(\d+))?|(openvino)(?::([CGN]PU))?")
_WISHES = "auto, cpu, cuda[:N], tensorrt[:N], openvino[:CPU|GPU|NPU], coreml, directml[:N], migraphx[:N], xnnpack"


def cpu_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """What the processor calls itself."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def import_onnxruntime() -> ModuleType:
    """The onnxruntime module; raises PosertError unless one of its packages is there: two overwrite each other."""
    installed = [name for name in RUNTIMES if _installed(name)]
    if len(installed) > 1:
        both = "both " if len(installed) == 2 else ""
        raise PosertError(
            f"{both}{' and '.join(installed)} are installed; they overwrite each other's files",
            f"{_instead('gpu')} (or 'posert[cpu]' without an NVIDIA GPU)",
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise PosertError(
            f"ONNX Runtime cannot be imported: {error}",
            "pip install 'posert[cpu]', or 'posert[gpu]' for an NVIDIA GPU",
        ) from None
    if not hasattr(onnxruntime, "InferenceSession"):
        raise PosertError("the installed ONNX Runtime is broken: it has no InferenceSession", _instead("cpu"))
    onnxruntime.set_default_logger_severity(4)
    module: ModuleType = onnxruntime
    return module


def _installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))


def has_openvino() -> bool:
    """Whether OpenVINO's own package is installed, which runs beside any ONNX Runtime."""
    return importlib.util.find_spec("openvino") is not None


def parse_device(device: str) -> tuple[str, str]:
    """The kind of a device and what follows its colon, or stands for that; raises PosertError for an unknown one.

    >>> parse_device("cuda:1"), parse_device("openvino"), parse_device("auto")
    (('cuda', '1'), ('openvino', 'CPU'), ('auto', ''))
    """
    match = _WISH.fullmatch(device)
    if not match:
        raise PosertError(f"unknown device {device!r}", f"use {_WISHES}")
    alone, numbered, number, openvino, unit = match.groups()
    kind = alone or numbered or openvino
    return kind, number or unit or (PROVIDERS[kind].usual if kind in PROVIDERS else "")


def on_cpu(device: str) -> bool:
    """Whether a device that runs is the CPU itself, by whatever provider.

    >>> on_cpu("cpu"), on_cpu("openvino:CPU"), on_cpu("openvino:GPU"), on_cpu("cuda:0")
    (True, True, False, False)
    """
    return device in ("cpu", "xnnpack", "openvino:CPU")


def choose_providers(device: str, available: Sequence[str]) -> Providers:
    """Execution providers with their options for a device wish, the wished one first.

    Args:
        device: `auto`, `cpu`, `cuda` or another of `PROVIDERS`, with `:N` or OpenVINO's `:CPU`, `:GPU`, `:NPU`.
        available: what this build of ONNX Runtime contains (it may still fail to load).

    Raises:
        PosertError: an unknown device, or one that this build does not contain.

    >>> choose_providers("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    [('CPUExecutionProvider', {})]
    """
    kind, which = parse_device(device)
    if kind == "auto":
        kind, which = ("cuda", "0") if PROVIDERS["cuda"].name in available else ("cpu", "")
    wanted = PROVIDERS[kind]
    if wanted.name not in available and kind != "cpu":
        what = f"device {device!r} was asked for, but this ONNX Runtime has only {', '.join(available)}"
        raise PosertError(what, _how(kind))
    kinds = [kind, *(["cuda"] if kind == "tensorrt" else []), *(["cpu"] if kind != "cpu" else [])]
    return [_with_options(PROVIDERS[each], which) for each in kinds]


def _with_options(provider: Provider, which: str) -> tuple[str, dict[str, Any]]:
    return provider.name, ({provider.takes: which} if provider.takes else {}) | dict(provider.options)


def _how(kind: str) -> str:
    """How to get a device that this build does not contain."""
    if kind == "openvino":
        return "pip install 'posert[openvino]', which goes with any ONNX Runtime"
    if kind == "coreml":
        return "the package onnxruntime for macOS has it"
    if kind == "directml" and sys.platform != "win32":
        return "DirectML is a part of Windows"
    return _instead(PROVIDERS[kind].how) if PROVIDERS[kind].how else f"take a build of ONNX Runtime with {kind}"


def may_run_on(device: str) -> set[str]:
    """What kinds of device may come of a wish on this machine: `cpu`, `cuda`, `openvino` ..."""
    if device != "auto":
        return {device.partition(":")[0]}
    available = import_onnxruntime().get_available_providers()
    return (
        {"cpu"}
        | ({"cuda"} if PROVIDERS["cuda"].name in available else set())
        | ({"openvino"} if has_openvino() else set())
    )


def honoured_device(session: Any, device: str, providers: Providers) -> str:
    """The device the session really runs on; raises PosertError if another one was asked for and did not load."""
    wanted, options = providers[0]
    kind = next(name for name, provider in PROVIDERS.items() if provider.name == wanted)
    if kind == "cpu" or wanted in session.get_providers():
        return f"{kind}:{options[PROVIDERS[kind].takes]}" if PROVIDERS[kind].takes else kind
    what, hint = not_loaded(kind)
    if device == "auto":
        _LOG.warning("running on the CPU: CUDA did not load, %s; say `device` cpu to silence this", what)
        return "cpu"
    name = {"cuda": "CUDA", "tensorrt": "TensorRT", "openvino": "OpenVINO"}.get(kind, wanted)
    raise PosertError(f"device {device!r} was asked for, but {name} did not load: {what}", hint)


def not_loaded(kind: str) -> tuple[str, str]:
    """Why a provider did not load, and what to do."""
    missing = missing_libraries(kind)
    if kind not in ("cuda", "tensorrt"):
        return f"missing: {', '.join(missing)}" if missing else "no such device or driver", "use `device` cpu"
    what = f"missing: {', '.join(missing)}" if missing else "no usable GPU or driver (see nvidia-smi)"
    hint = f"pip install 'posert[{PROVIDERS[kind].how}]' brings its libraries, the NVIDIA driver must be there"
    cuda = _cuda_version()
    if cuda == "13":
        hint += (
            "; this ONNX Runtime is built for CUDA 13, whose drivers begin at 580: 'posert[gpu-cuda12]' for older ones"
        )
    return what, f"{hint}; or use `device` cpu"


def missing_libraries(kind: str) -> list[str]:
    """Shared libraries that the provider in the installed ONNX Runtime names and that do not load, sorted."""
    driver = {"cuda": "cuda", "tensorrt": "cuda"}.get(kind)
    names = _named_libraries(PROVIDERS[kind].library)
    if driver:
        names |= {"nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"}
    return sorted(name for name in names if not _loads(name))


def _named_libraries(library: str) -> set[str]:
    """What of NVIDIA's and AMD's a provider's library asks for; of several versions of one the newest."""
    import onnxruntime

    folder, names = Path(onnxruntime.__file__).parent / "capi", set()
    for path in [folder / f"lib{library}.so", folder / f"{library}.dll"]:
        if path.is_file():
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                names |= {name.decode() for name in re.findall(_NAMES, data)}
    version = re.compile(r"(?<=\.so\.)\d+|(?<=_)\d+(?=\.dll)")
    newest = {
        version.sub("", name): name for name in sorted(names, key=lambda name: int((version.findall(name) or "0")[0]))
    }
    return set(newest.values())


def _cuda_version() -> str:
    """The CUDA that the installed ONNX Runtime is built for: `12`, `13`; nothing if it does not say."""
    names = " ".join(_named_libraries(PROVIDERS["cuda"].library))
    found = re.search(r"libcublas\.so\.(\d+)|cublas64_(\d+)", names)
    return (found[1] or found[2]) if found else ""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
