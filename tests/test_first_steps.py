"""docs/first-steps.md, followed in a fresh environment from a clone to a report (`make test-docs`)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT
from doc_blocks import blocks

PAGE = ROOT / "docs" / "first-steps.md"
TEN_MINUTES = 600  # what the page promises


@pytest.mark.docs
def test_a_stranger_reaches_a_report(tmp_path: Path) -> None:
    """All of its blocks in one shell, in a copy of what git would clone."""
    clone = _clone(tmp_path / "posert")
    lines = ["set -euo pipefail"]
    for block in blocks(PAGE):
        lines.append(block.text if block.kind == "sh" else f"python - <<'PROGRAM'\n{block.text}PROGRAM")
    known = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    known |= {"POSERT_HOME": str(tmp_path / "home"), "PATH": _path()}
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=clone, env=known, capture_output=True, text=True, timeout=TEN_MINUTES
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "person 0, nose at" in done.stdout
    assert (clone / "walk.html").stat().st_size > 10_000
    assert (clone / "walk.csv").read_text().startswith("source,frame,")


def _clone(folder: Path) -> Path:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def _path() -> str:
    """With the Python that these tests' environment was made of as `python3`, and no environment."""
    others = [part for part in os.environ["PATH"].split(os.pathsep) if "venv" not in part]
    return os.pathsep.join([str(Path(sys.base_prefix) / "bin"), *others])
