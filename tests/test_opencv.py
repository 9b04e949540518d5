"""Several packages of OpenCV at once: what is said of them, and of what is left when one of them is removed."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import media
import pytest
from command import ROOT

from posert.runtime import opencv


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What pip has installed, to be changed."""
    there = {"opencv-python-headless": "5.0.0.93"}

    def distributions(name: str) -> list[Any]:
        return [SimpleNamespace(version=there[name])] if name in there else []

    monkeypatch.setattr(metadata, "distributions", distributions)
    return there


def test_one_package_is_as_it_should_be(packages: dict[str, str]) -> None:
    assert (opencv.broken(), opencv.shared()) == (None, "")


def test_two_packages_work_for_now(packages: dict[str, str]) -> None:
    packages["opencv-python"] = "4.13.0.92"
    assert opencv.broken() is None
    assert opencv.shared() == (
        f"opencv-python-headless 5.0.0.93, opencv-python 4.13.0.92 share the folder cv2, where {cv2.__version__} is "
        "now; it works, but do not remove one of them: that takes the files of all"
    )


@pytest.mark.parametrize("others", [{}, {"opencv-contrib-python": "4.13.0.92"}])
def test_what_was_left(packages: dict[str, str], monkeypatch, others: dict[str, str]) -> None:
    packages |= others
    monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))
    problem = opencv.broken()
    assert problem.what.startswith("OpenCV is empty, though pip has opencv-python-headless")
    removed = " ".join(["opencv-python-headless", *others])
    assert problem.hint == f"pip uninstall -y {removed} && pip install opencv-python-headless"
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert opencv.broken().what.startswith("OpenCV cannot be imported (opencv-python-headless")


@pytest.mark.parametrize("left", ["types.ModuleType('cv2')", "None"])
def test_a_command_says_it_without_a_traceback(tmp_path: Path, left: str) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), media.numbered(3))
    program = f"import sys, types; sys.modules['cv2'] = {left}; from posert.cli import main; main()"
    command = [sys.executable, "-c", program, "infer", "nano", str(tmp_path / "photo.png")]
    environment = {"PYTHONPATH": str(ROOT / ".typing"), "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert "OpenCV" in done.stderr
