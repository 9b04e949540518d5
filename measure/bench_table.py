"""What `posert bench` shows: a table for people, a document for programs. Knows rows of figures, not how they came."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posert import __version__
from posert.measure.sides import Row
from posert.runtime.devices import cpu_cores, import_onnxruntime

_STEPS = ("read", "prepare", "network", "decode", "write")
_HEAD = ("", "device", "frames/s", "of limit", "CPU ms", *_STEPS, "p50 ms", "p99 ms", "MB", "people")


def as_text(rows: Sequence[Row], machine: dict[str, Any], what: str) -> str:
    """The table: a line for each row, milliseconds a frame; what failed has its reason below."""
    lines = [_HEAD, *(_cells(row) for row in rows if row.error is None)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    table = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    head = "{processor}, {cores} cores, load {load}, ONNX Runtime {onnxruntime}".format(**machine) + f"; {what}"
    failed = [f"{row.name} on {row.wish}: {row.error.what}" for row in rows if row.error is not None]
    return "\n".join([head, *(table if len(lines) > 1 else ()), *failed])


def as_record(rows: Sequence[Row], machine: dict[str, Any], source: str | None, frames: int) -> dict[str, Any]:
    """The same and every round, as JSON; `source` is None for the drawn clip. Milliseconds, MB."""
    return {
        "bench": 1, "machine": machine, "source": source, "frames": frames,
        "rows": [
            {
                "model": row.name, "device": row.wish, "error": row.error and row.error.what,
                "about": row.about and _plain(asdict(row.about)),
                "figures": row.figures and asdict(row.figures), "rounds": [asdict(each) for each in row.rounds],
            }
            for row in rows
        ],
    }  # fmt: skip


def this_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "processor": _processor(), "cores": cpu_cores(), "system": platform.platform(), "load": load,
        "python": platform.python_version(), "posert": __version__,
        "onnxruntime": import_onnxruntime().__version__,
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _cells(row: Row) -> tuple[str, ...]:
    about, found = row.about, row.figures
    assert about is not None
    assert found is not None
    steps = [_number(getattr(found, step), 2) for step in _STEPS]
    return (
        row.name, about.device, _number(found.fps, 1), _number(found.share, 2), _number(found.cpu, 1), *steps,
        _number(found.p50, 1), _number(found.p99, 1), _number(about.memory_mb, 0), _number(about.people, 1),
    )  # fmt: skip


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plain(about: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if name != "stages"}
