"""rtmlib's loop on a video, for `posert bench`: run by an interpreter that has rtmlib, without posert.

Says one JSON line when it has run once, and one for each line that it is sent: milliseconds a frame.
"""

import importlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any


def tracker(given: dict[str, Any]) -> Any:
    """rtmlib's tracker with the networks that it is given, without ids."""
    rtmlib = importlib.import_module("rtmlib")

    class Solution:
        def __init__(self, **_: Any) -> None:
            size = tuple(given["size_wh"])
            made = getattr(rtmlib, given["kind"])
            if not given["detectors"]:
                self.pose_model = made(given["file"], model_input_size=size[::-1])
                return
            self.pose_model = made(given["file"], model_input_size=size)
            (found,) = given["detectors"]
            self.det_model = rtmlib.YOLOX(
                found["file"], model_input_size=tuple(found["size_wh"][::-1]), det_mode="multiclass",
                score_thr=found["params"]["min_score"], nms_thr=found["params"]["max_iou"],
            )  # fmt: skip
            self.det_categories = [0]

    if not given["detectors"]:
        return Solution().pose_model
    return rtmlib.PoseTracker(Solution, det_frequency=1, tracking=False)


def once(model: Any, given: dict[str, Any]) -> tuple[int, int]:
    """Frames and people of the video."""
    import cv2

    if hasattr(model, "reset"):
        model.reset()
    capture, count, people = cv2.VideoCapture(given["source"], cv2.CAP_FFMPEG), 0, 0
    while count < given["frames"]:
        found, picture = capture.read()
        if not found:
            break
        people += len(model(picture)[0])
        count += 1
    capture.release()
    return count, people


def peak_mb() -> float | None:
    """As `posert.measure.bench.peak_mb`, which is not here."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    given, answers = json.loads(sys.argv[1]), sys.stdout
    sys.stdout = io.StringIO()  # rtmlib says what it does

    def say(**answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        model = tracker(given)
        count, people = once(model, given)
    except Exception as error:
        say(error=f"{type(error).__name__}: {error}")
        return
    say(people=people / max(1, count), memory_mb=peak_mb())
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        count, _ = once(model, given)
        say(loop=(time.perf_counter() - wall) * 1000 / count, cpu=(time.process_time() - cpu) * 1000 / count)


if __name__ == "__main__":
    main()
