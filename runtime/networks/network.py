"""Opens one network's file on one device. Owns ONNX Runtime's sessions.

Knows providers and threads, nothing of what the tensors mean.
"""

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from posert.errors import PosertError
from posert.runtime.devices import (
    CPU,
    PROVIDERS,
    Providers,
    choose_providers,
    has_openvino,
    honoured_device,
    import_onnxruntime,
    not_loaded,
    parse_device,
)  # fmt: skip
from posert.runtime.networks.cuda_graph import GraphSession
from posert.runtime.networks.openvino import OpenVinoSession
from posert.runtime.networks.tensorrt import Axes, tensorrt_options
from posert.runtime.share import Share
from posert.runtime.spec import Stage

_LOG = logging.getLogger("posert")
_LITTLE = 0.5
"""Of the nodes: whoever asked for a device that takes less of a network is told."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network that can run.

    Attributes:
        session: with `run`, `get_inputs` and `get_outputs` of ONNX Runtime's sessions.
        device: `cpu`, `cuda:N`, `openvino:CPU` ..., as it really runs.
    """

    session: Any
    device: str


def open_network(
    file: Path, device: str, share: Share, arena: bool = True, stage: Stage | None = None, profile: Path | None = None
) -> Network:
    """The network of a file, ready to run.

    Args:
        device: as in `ModelOptions`; `auto` is CUDA if it is there, else the CPU.
        stage: whose network it is: TensorRT plans for its shapes, CUDA records calls of fixed ones.
        profile: ONNX Runtime writes what each node takes into files that begin so.

    Raises:
        PosertError: no ONNX file, a device that cannot be honoured or takes nothing of it, none or several ONNX Runtime
            packages.
    """
    ort = import_onnxruntime()
    kind, which = parse_device(device)
    if kind == "openvino" and has_openvino():
        session = OpenVinoSession(file, which, share.threads, share.workers)
        return Network(session, f"openvino:{which}")
    providers = choose_providers(device, ort.get_available_providers())
    first, options = providers[0]
    if first == PROVIDERS["tensorrt"].name and stage is not None:
        options |= tensorrt_options(file, stage, _axes(ort, file))
    graphs = first == PROVIDERS["cuda"].name and stage is not None and not stage.input.multiple_of and not profile
    if graphs:
        options["enable_cuda_graph"] = "1"
    try:
        session = _session(ort, file, "cuda" if graphs else device, providers, share, arena, profile)
    except PosertError:
        if not graphs:
            raise
        del options["enable_cuda_graph"]  # some nodes run elsewhere
        graphs, session = False, _session(ort, file, device, providers, share, arena, profile)
    network = Network(session, honoured_device(session, device, providers))
    _say_how_little(network, file)
    if graphs and network.device.startswith("cuda"):
        return Network(GraphSession(session, ort, int(options["device_id"])), network.device)
    return network


def _axes(ort: ModuleType, file: Path) -> dict[str, Axes]:
    """The inputs of a graph and their shapes."""
    session = _session(ort, file, "cpu", [(CPU, {})], Share(1, 1), False, None)
    return {tensor.name: tensor.shape for tensor in session.get_inputs()}


def _session(
    ort: ModuleType, file: Path, device: str, providers: Providers, share: Share, arena: bool, profile: Path | None
) -> Any:
    first = providers[0][0]
    options = ort.SessionOptions()
    share.settle(options, ort)
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 4  # errors arrive as exceptions
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if len(providers) > 1:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        _load_libraries(ort, first)
    if first == PROVIDERS["directml"].name:
        options.enable_mem_pattern = False  # as DirectML asks for
    try:
        # Without fallback: the one of ONNX Runtime prints to standard output and goes on without the device.
        session = ort.InferenceSession(str(file), options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's own exception types are not public
        if len(providers) > 1:
            return _without_device(ort, file, device, providers, share, arena, error)
        raise PosertError(
            f"{file} cannot be opened as an ONNX model: {first_line(error)}",
            "it is cut off, damaged, or no ONNX file; export or copy it again",
        ) from None
    return _OneByOne(session) if first == PROVIDERS["directml"].name else session


def _without_device(
    ort: ModuleType, file: Path, device: str, providers: Providers, share: Share, arena: bool, error: Exception
) -> Any:
    """The session on the CPU for `auto`; else the error, if not the file is to blame, of which this one tells."""
    session = _session(ort, file, device, providers[-1:], share, arena, None)
    if device == "auto":
        _LOG.debug("%s on %s: %s", file, providers[0][0], first_line(error))
        return session
    what, hint = not_loaded(parse_device(device)[0])
    raise PosertError(f"{file} cannot be opened on device {device!r}: {first_line(error)} ({what})", hint) from None


def _load_libraries(ort: ModuleType, provider: str) -> None:
    """Loads what pip has installed in places where the system does not look."""
    if provider in (PROVIDERS["cuda"].name, PROVIDERS["tensorrt"].name) and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the libraries of the nvidia-* packages
    if provider == PROVIDERS["tensorrt"].name:
        with suppress(ImportError, OSError):
            import tensorrt  # noqa: F401 (loads libnvinfer)


class _OneByOne:
    """A session whose calls wait for each other: DirectML's must not run side by side."""

    def __init__(self, session: Any) -> None:
        self._session, self._lock = session, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: Sequence[str], feeds: dict[str, Any]) -> Any:
        with self._lock:
            return self._session.run(names, feeds)


def node_counts(session: Any) -> dict[str, int]:
    """Provider -> how many nodes of the graph it holds; nothing where this ONNX Runtime does not say (before 1.24)."""
    if isinstance(session, OpenVinoSession):
        return {PROVIDERS["openvino"].name: session.node_count()}
    counts: dict[str, int] = {}
    with suppress(Exception):  # it was not recorded, or the call is not there
        for part in session.get_provider_graph_assignment_info():
            counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


def _say_how_little(network: Network, file: Path) -> None:
    if network.device == "cpu":
        return
    counts = node_counts(network.session)
    wanted, total = PROVIDERS[parse_device(network.device)[0]].name, sum(counts.values())
    held = counts.get(wanted, 0)
    if total and not held:
        raise PosertError(
            f"{network.device} loads, but takes none of the {total} nodes of {file}", "use `device` cpu for this model"
        )
    if total and held < _LITTLE * total:
        _LOG.warning(
            "%s holds only %d of the %d nodes of %s; the others run elsewhere, and what passes between costs time: "
            "posert info MODEL with this `device` shows how much", network.device, held, total, file,
        )  # fmt: skip


def first_line(error: Exception) -> str:
    """What an error of ONNX Runtime says, in one line."""
    return str(error).strip().split("\n")[0][:300]
