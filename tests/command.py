"""The command as tests run it (the fixture `run`), and what it wrote."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
Run = Callable[..., tuple[int, str, str]]
"""Arguments -> exit code, standard output, standard error."""


def rows(out: Path, name: str = "manifest.jsonl") -> list[dict]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def found(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder that match; it may change meanwhile, which `rglob` does not bear."""
    files = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return [path for path in files if path.match(pattern)]


def tree(out: Path) -> dict[str, bytes]:
    """Every file's bytes; of manifests all but the seconds, and when a source or a file was written."""
    files = {}
    for path in (path for path in out.rglob("*") if path.is_file()):
        if path.name.startswith("manifest"):
            kept = [
                row
                | {
                    "seconds": 0,
                    "began_s": 0,
                    "ended_s": 0,
                    "files": [file | {"modified_ns": 0, "listing": ""} for file in row["files"]],
                }
                for row in rows(out, path.name)
            ]
            files[path.name] = json.dumps(kept).encode()
        else:
            files[str(path.relative_to(out))] = path.read_bytes()
    return files


def posert(*args: object) -> "subprocess.CompletedProcess[str]":
    """`posert ...` in a process of its own, which may die."""
    command = [sys.executable, "-m", "posert.cli", *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def heeds_signals() -> None:
    """A shell starts background jobs with SIGINT ignored, `nohup` with SIGHUP."""
    for sent in (signal.SIGINT, signal.SIGHUP):
        signal.signal(sent, signal.SIG_DFL)
