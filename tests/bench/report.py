"""Opening and seeking in the report of an hour: 108,000 frames, 2 people, 17 keypoints, the video beside the page.

    python tests/bench/report.py [FOLDER]

In headless Chromium; medians of five. `open` ends when the first frame's people are drawn, `seek` when those of the
wanted frame are on the screen, `picture` when the video shows that frame too.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from browser import browser  # noqa: E402

from posert.pages.report import write_report  # noqa: E402
from posert.runtime.files.video import open_writer  # noqa: E402
from posert.skeletons import COCO_17  # noqa: E402

FRAMES, FPS, SIZE_WH, TRIES = 108_000, 30, (320, 180), 5
SEEK = """async (time) => {
    const video = document.querySelector("video"), canvas = document.querySelector("canvas.people");
    const slider = document.querySelector(".lanes"), { left, top, width } = slider.getBoundingClientRect();
    const began = performance.now(), before = canvas.dataset.frame, spans = {};
    const picture = new Promise((done) => video.requestVideoFrameCallback((now) => done(now - began)));
    const event = { clientX: left + time * width, clientY: top + 5, bubbles: true, pointerId: 1, button: 0 };
    slider.setPointerCapture = () => {};
    slider.dispatchEvent(new PointerEvent("pointerdown", event));
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    if (canvas.dataset.frame === before) throw new Error("nothing was drawn");
    return { seek: performance.now() - began, picture: await picture };
}"""


def people() -> Iterator[str]:
    """Two people who wander, as infer's JSON lines say it."""
    random = np.random.default_rng(17)
    about = {
        "posert": 1,
        "model": "bench",
        "skeleton": {"names": COCO_17.names, "edges": COCO_17.edges},
        "source": "hour.mp4",
    }
    yield json.dumps(about)
    body = random.uniform(-40, 40, (2, 17, 2))
    for frame in range(FRAMES):
        middle = np.array([[100, 90], [220, 90]]) + 60 * np.sin(frame / np.array([[400.0, 700.0], [300.0, 900.0]]))
        points = (middle[:, None] + body + random.normal(0, 0.7, body.shape)).round(2)
        seen = random.uniform(0.3, 1, (2, 17, 1)).round(4)
        found = [
            {"id": person + 1, "score": 0.9, "box_xyxy": [*points[person].min(0), *points[person].max(0)],
             "keypoints": np.concatenate([points[person], seen[person]], axis=1).tolist()}
            for person in range(2)
        ]  # fmt: skip
        yield json.dumps({"frame": frame, "time_s": round(frame / FPS, 6), "size_wh": SIZE_WH, "people": found})


def hour(folder: Path) -> Path:
    """The page of an hour, made once."""
    page, video, results = folder / "hour.html", folder / "hour.mp4", folder / "hour.jsonl"
    if not video.exists():
        with open_writer(video, video, SIZE_WH, FPS) as write:
            for frame in range(FRAMES):
                picture = np.full((SIZE_WH[1], SIZE_WH[0], 3), frame // 30 % 200, np.uint8)
                cv2.putText(picture, str(frame), (20, 100), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 3)
                write(picture, frame / FPS)
    results.write_text("\n".join(people()) + "\n")
    began = time.monotonic()
    write_report(results, page, video=video, overwrite=True)
    taken_s, sizes = time.monotonic() - began, (results.stat().st_size / 2**20, page.stat().st_size / 2**20)
    print("JSON lines {:.0f} MB, page {:.1f} MB, written in {:.0f} s".format(*sizes, taken_s))
    return page


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="posert-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    page = hour(folder)
    times: dict[str, list[float]] = {"open": [], "seek": [], "picture": []}
    with browser() as chromium:
        for number in range(TRIES):
            tab = chromium.new_page(viewport={"width": 1400, "height": 1000})
            began = time.monotonic()
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-ready]", timeout=60_000)
            times["open"].append(1000 * (time.monotonic() - began))
            tab.wait_for_timeout(500)
            for name, taken in tab.evaluate(SEEK, (0.83, 0.21, 0.47, 0.95, 0.08)[number]).items():
                times[name].append(taken)
            tab.close()
    for name, taken in times.items():
        print(f"{name:8} median {statistics.median(taken):6.0f} ms, {min(taken):.0f} to {max(taken):.0f}")


if __name__ == "__main__":
    main()
