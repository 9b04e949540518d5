"""Fixtures shared by all tests: the command, a tiny model, and the development assets (not in the repository)."""

import os
import sys
from pathlib import Path

import pytest
from command import ROOT, Run
from hypothesis import settings
from pages_open import chromium, opened  # noqa: F401 (fixtures)
from stores import clips, faults, server  # noqa: F401 (fixtures)

settings.register_profile("posert", derandomize=True)  # the same examples on every machine
settings.load_profile("posert")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Every run of pytest within `.ci/run` leaves a report, of which that makes a table."""
    if folder := os.environ.get("POSERT_REPORTS"):
        config.option.xmlpath = f"{folder}/{os.environ['POSERT_STEP']}.{os.getpid()}.xml"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What posert keeps for the user, a new folder for each test."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("POSERT_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real weights, photos and videos; the test skips without it."""
    folder = Path(os.environ.get("POSERT_ASSETS", ROOT.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip(f"needs the development assets: {folder} is no folder (set POSERT_ASSETS)")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of outputs of the original programs."""
    return ROOT / "tests" / "golden"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `posert ...` in this process: exit code, standard output, standard error."""

    from posert.cli import main

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["posert", *map(str, args)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        return int(done.value.code or 0), out, err

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that finds one person, 17 keypoints on the mean brightness."""
    import tiny

    return tiny.bright_spot(tmp_path / "model.onnx")
