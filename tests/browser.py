"""Headless Chromium for tests of pages: Debian's (or another installed one), driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def browser(*asked: str) -> Iterator[Any]:
    """A browser with these arguments; the test skips where there is none, or no driver."""
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright (make test-pages)")
    program = os.environ.get("POSERT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed (make test-pages)")
    arguments = [*asked, *(["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else [])]
    with driver.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield chromium
        finally:
            chromium.close()
