"""How far MoveNet followed freely in a page drifts from Python, beside Python's own drift.

python tests/bench/web_drift.py MODEL.onnx VIDEO [--frames 60]: the same frames, as the browser has them, in the page,
in Python, and in Python with the second frame's window moved by 1e-7 of the picture, by either rule of following. Of
keypoints with a score above .2 in both: px between them, the median, nine of ten, and the most.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
from browser import browser
from web_browser import in_video, ready, serving

from posert.export.web.site import write_site
from posert.poses import Frame
from posert.runtime.loop import People
from posert.runtime.media.read import frames
from posert.runtime.session import open_model

SEEN, SHIFT = 0.2, 1e-7


def followed(model: str, rule: str, pictures: list[Frame], shift: float = 0.0) -> list[np.ndarray]:
    """Keypoints [K,3] of each frame."""
    with open_model(model, device="cpu", threads=1, params={"follow.rule": rule}) as opened:
        people, found = People(opened), []
        placed = people.gaze.windows

        def moved(*where: Any) -> Any:
            windows, input_wh = placed(*where)
            return windows + (shift * max(pictures[0].size_wh) if len(found) == 1 else 0), input_wh

        people.gaze.windows = moved  # type: ignore[method-assign]
        for picture in pictures:
            found.append(people([picture])[0][1].poses.keypoints[0])
        return found


def drift(one: list[np.ndarray], other: list[np.ndarray]) -> str:
    far = [np.hypot(*(a - b)[:, :2].T)[np.minimum(a[:, 2], b[:, 2]) > SEEN] for a, b in zip(one, other, strict=True)]
    median, most_of_them, most = np.quantile(np.concatenate(far), [0.5, 0.9, 1])
    return f"{median:.4f}, {most_of_them:.4f}, {most:.2f} px"


def main() -> None:
    parser = argparse.ArgumentParser(description="the drift of following in a page, and Python's own")
    parser.add_argument("model")
    parser.add_argument("video")
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, pictures = Path(scratch), [frame.bgr for frame in frames(options.video)][: options.frames]
        write_site([options.model], folder)
        size = pictures[0].shape[1], pictures[0].shape[0]
        writer = cv2.VideoWriter(str(folder / "video.webm"), cv2.VideoWriter.fourcc(*"VP80"), 10, size)
        for picture in pictures:
            writer.write(picture)
        writer.release()
        with serving(folder) as (address, _), browser() as chromium:
            tab = ready(chromium.new_page(), address)
            for rule in ("steady", "tutorial"):
                tab.evaluate(f"posert.open('{Path(options.model).name}', {{params: {{'follow.rule': '{rule}'}}}})")
                seen, people = in_video(tab, "video.webm", len(pictures) - 1)
                theirs = [np.array(found[0]["keypoints"]).reshape(-1, 3) for found in people]
                own = followed(options.model, rule, seen)
                print(
                    f"{rule}: the page {drift(own, theirs)}; Python, moved by {SHIFT} of the picture "
                    f"{drift(own, followed(options.model, rule, seen, SHIFT))}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
