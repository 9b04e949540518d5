"""The command as tests run it (the fixture `run`), and what it wrote."""

import json
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
Run = Callable[..., tuple[int, str, str]]
"""Arguments -> exit code, standard output, standard error."""


def rows(out: Path, name: str = "manifest.jsonl") -> list[dict]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def tree(out: Path) -> dict[str, bytes]:
    """Every file's bytes; of manifests all but the seconds."""
    files = {}
    for path in (path for path in out.rglob("*") if path.is_file()):
        if path.name.startswith("manifest"):
            files[path.name] = json.dumps([row | {"seconds": 0} for row in rows(out, path.name)]).encode()
        else:
            files[str(path.relative_to(out))] = path.read_bytes()
    return files
