"""What tests of pages share: the browser, a page that is watched for errors, and the pixels on its screen."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import recordings
from browser import browser

FIRST, SECOND = (86, 180, 233), (230, 159, 0)  # colours of the ids 1 and 2, RGB
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """Opens a page, a file or a server's, ready to be used; what goes wrong in it, or leaves it, fails the test."""
    wrong: list[str] = []
    contexts = []

    def load(path: Path | str, width: int = 1300, height: int = 900, scheme: str = "dark", **more: Any) -> Any:
        address = path if isinstance(path, str) else path.as_uri()
        own = ("data:", "blob:", address if isinstance(path, str) else "file:")
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        tab.on("request", lambda r: None if r.url.startswith(own) else wrong.append(r.url))
        tab.goto(address)
        tab.wait_for_selector("html[data-ready=all]", timeout=10_000)
        return tab

    load.wrong = wrong  # type: ignore[attr-defined]
    yield load
    for context in contexts:
        context.close()
    assert not wrong


def shot(tab: Any, selector: str = "canvas.people") -> np.ndarray:
    """The pixels of an element as they are on the screen, u8 [H,W,3] RGB."""
    tab.wait_for_function("() => ![...document.querySelectorAll('video')].some((video) => video.seeking)")
    tab.wait_for_timeout(200)
    data = np.frombuffer(tab.locator(selector).screenshot(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]


def color_near(pixels: np.ndarray, point_px: np.ndarray, radius: int = 1) -> np.ndarray:
    x, y = (point_px * pixels.shape[1] / recordings.SIZE_WH[0]).round().astype(int)
    return np.median(pixels[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 3), axis=0)


def frame_of(tab: Any, selector: str = "canvas.people") -> int:
    return int(tab.locator(selector).get_attribute("data-frame"))
