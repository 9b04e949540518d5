"""Fixtures shared by all tests: the development assets, which are not in the repository."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

settings.register_profile("posert", derandomize=True)  # the same examples on every machine
settings.load_profile("posert")


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
