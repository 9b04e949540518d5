"""From a frame leaving the reader to its drawing on the live page, by one clock: `posert live nano` and one viewer.

The drawn clip (640x360) is played at 30 frames a second, again and again, in a process of its own; headless Chromium
looks. A frame counts as drawn when the browser has painted it (the animation frame after the drawing).
Usage: live_page.py [SECONDS] [THREADS]; 60 and all cores.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

import cv2  # noqa: E402
from browser import browser  # noqa: E402
from serving import serving  # noqa: E402

from posert.export.nano.clip import FRAMES, HEIGHT, WIDTH, render  # noqa: E402

FPS, START_S = 30, 5
COUNT = """
window.delays = [];
document.addEventListener("drawn", ({ detail }) =>
  requestAnimationFrame(() => window.delays.push(Date.now() - detail.read_ms)));
"""


def clip(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for index in range(FRAMES):
        writer.write(render(index)[0])
    writer.release()


def watched(tab: Any, address: str, seconds: float) -> list[float]:
    """Milliseconds of every frame drawn, those of the first seconds left out."""
    tab.add_init_script(COUNT)
    tab.goto(address)
    tab.wait_for_selector("html[data-ready=all]")
    tab.wait_for_timeout(START_S * 1000)
    tab.evaluate("window.delays.length = 0")
    tab.wait_for_timeout(seconds * 1000)
    return list(tab.evaluate("window.delays"))


def main() -> None:
    seconds, threads = ([float(text) for text in sys.argv[1:]] + [60.0, 0.0][len(sys.argv) - 1 :])[:2]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip(folder / "clip.mp4")
        (folder / "gate").touch()
        more = ("--loop", "--threads", int(threads))
        with serving(folder, "nano", "clip.mp4", *more, command="live") as server, browser() as chromium:
            delays = watched(chromium.new_page(), f"http://127.0.0.1:{server.port}/", seconds)
    late = statistics.quantiles(delays, n=20)[18]
    print(
        f"{len(delays)} frames in {seconds:g} s, median {statistics.median(delays):.0f} ms, p95 {late:.0f} ms, "
        f"largest {max(delays):.0f} ms; load {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
