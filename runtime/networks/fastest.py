"""The faster of ONNX Runtime's CPU provider and OpenVINO for a network on this machine, measured once and kept.

Owns the measurement and `devices.jsonl` in posert's folder, a line for each choice. Knows an input's shape and range,
not what a network finds.
"""

import importlib.metadata
import json
import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.runtime.devices import PROVIDERS, cpu_name, has_openvino, import_onnxruntime
from posert.runtime.files.locks import release, take
from posert.runtime.files.ours import cache_folder
from posert.runtime.files.state import sha256_of
from posert.runtime.networks.drawn import Feeds, drawn_feeds, input_sizes
from posert.runtime.networks.network import Network, open_network
from posert.runtime.share import Share
from posert.runtime.spec import Stage

_LOG = logging.getLogger("posert")
_RIVALS = ("cpu", "openvino:CPU")
_GAIN = 1.05  # below, the CPU provider stays, which opens in a third of the time
_NEAR = (
    5e-3  # of an output's largest value: float networks differ by 7e-4 at most, int8 ones, which round elsewhere, by .1
)
_ROUNDS, _BUDGET_S = (3, 9), 2.0  # at least, at most; how long the rounds above the least may take
_WAIT_S = 60.0  # for another process that measures: two at once would measure each other


def fastest_network(file: Path, stage: Stage, share: Share, arena: bool = True) -> Network:
    """The network of a file on `auto`: CUDA if it is there, else the faster of the CPU provider and OpenVINO.

    Without OpenVINO's package nothing is measured or written. A choice holds for this file, input, processor, number of
    threads and calls side by side, and these versions; it is said when it is made. OpenVINO is chosen only if its
    outputs for a drawn picture are those of the CPU provider, but for 5 thousandths.

    Raises:
        PosertError: as `open_network` does for the CPU.
    """
    if not has_openvino() or PROVIDERS["cuda"].name in import_onnxruntime().get_available_providers():
        return open_network(file, "auto", share, arena, stage)
    key = _key(file, stage, share)
    with _alone():
        device = _known(key)
        if device is None:
            return _measured(file, stage, share, arena, key)
    with suppress(PosertError):  # OpenVINO may have been damaged since
        return open_network(file, device, share, arena)
    return open_network(file, "cpu", share, arena)


def _key(file: Path, stage: Stage, share: Share) -> dict[str, Any]:
    return {
        "sha256": sha256_of(file), "inputs": [list(one) for one in input_sizes(stage)], "threads": share.threads,
        "workers": share.workers, "cpu": cpu_name(), "onnxruntime": import_onnxruntime().__version__,
        "openvino": importlib.metadata.version("openvino"),
    }  # fmt: skip


@contextmanager
def _alone() -> Iterator[None]:
    """No other process measures meanwhile, as far as the file system knows locks."""
    lock, until = None, time.monotonic() + _WAIT_S
    with suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        while lock is None:
            try:
                lock = take(cache_folder() / "devices.lock")
            except BlockingIOError:
                if time.monotonic() > until:
                    break
                time.sleep(0.05)
    try:
        yield
    finally:
        release(lock)


def _file() -> Path:
    return cache_folder() / "devices.jsonl"


def _known(key: dict[str, Any]) -> str | None:
    """The device that was chosen for this key last."""
    found = None
    with suppress(OSError), _file().open(encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and row.get("key") == key and row.get("device") in _RIVALS:
                    found = row["device"]
    return found


def _keep(row: dict[str, Any]) -> None:
    with suppress(OSError), _file().open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")


@dataclass(frozen=True, slots=True)
class _Trial:
    """Milliseconds of a call by each rival, round by round, and how far their outputs are apart."""

    ms: dict[str, list[float]]
    apart: float

    def ratio(self) -> float:
        one, other = (self.ms[name] for name in _RIVALS)
        return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _measured(file: Path, stage: Stage, share: Share, arena: bool, key: dict[str, Any]) -> Network:
    usual = open_network(file, "cpu", share, arena)
    try:
        other = open_network(file, "openvino:CPU", share, arena)
        trial = _try([usual.session, other.session], stage, share.workers)
    except Exception as error:  # what OpenVINO cannot run is no reason to fail
        _LOG.warning("%s runs on the CPU provider: OpenVINO cannot run it", file.name)
        _LOG.debug("%s", error)
        _keep({"key": key, "model": file.name, "device": "cpu"})
        return usual
    near, ratio = trial.apart <= _NEAR, trial.ratio()
    chosen = other if near and ratio >= _GAIN else usual
    ms = {name: round(statistics.median(times), 3) for name, times in trial.ms.items()}
    _keep({"key": key, "model": file.name, "device": chosen.device, "ms": ms, "apart": trial.apart})
    _LOG.warning(
        "%s runs on %s, measured now and kept in %s: OpenVINO is %.2f times as fast as the CPU provider%s",
        file.name, chosen.device, _file(), ratio, "" if near else f", but its outputs differ by {trial.apart:.2g}",
    )  # fmt: skip
    return chosen


def _try(sessions: Sequence[Any], stage: Stage, workers: int) -> _Trial:
    names, several = (
        list(stage.outputs.values()),
        [drawn_feeds(sessions[0], stage, size) for size in input_sizes(stage)],
    )
    apart = max(_apart(*(session.run(names, feeds) for session in sessions)) for feeds in several)
    taken: dict[str, list[float]] = {name: [] for name in _RIVALS}
    with ThreadPoolExecutor(workers) as pool:
        for session in sessions:
            _ms(pool, workers, session, names, several)
        began = time.perf_counter()
        for number in range(_ROUNDS[1]):
            if number >= _ROUNDS[0] and time.perf_counter() - began > _BUDGET_S:
                break
            for name, session in zip(_RIVALS, sessions, strict=True):
                taken[name].append(_ms(pool, workers, session, names, several))
    return _Trial(taken, apart)


def _ms(pool: ThreadPoolExecutor, workers: int, session: Any, names: list[str], several: Sequence[Feeds]) -> float:
    """Milliseconds of a call, `workers` of them side by side."""
    began = time.perf_counter()
    for feeds in several:
        for call in [pool.submit(session.run, names, feeds) for _ in range(workers)]:
            call.result()
    return (time.perf_counter() - began) * 1000 / len(several) / workers


def _apart(one: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> float:
    """The largest difference of two networks' outputs, as a share of each output's largest value."""
    shares = [0.0]
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape:
            return float("inf")
        top = float(np.abs(a.astype(np.float64)).max(initial=0)) or 1.0
        shares.append(float(np.abs(a.astype(np.float64) - b).max(initial=0)) / top)
    return max(shares)
