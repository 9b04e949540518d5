"""ByteTrack of the package `trackers` on boxes from a file: run by `tracks.py` with a Python that has the package.

`python bytetrack.py IN.npz OUT.npz`: of each video NAME the arrays NAME.frame [N], NAME.boxes [N,4], NAME.scores [N],
NAME.fps and NAME.frames; gives NAME.ids [N], -1 where it gives none. `--set NAME=NUMBER` changes its parameters.
"""

import argparse
from typing import Any

import numpy as np
import supervision
from trackers import ByteTrackTracker


def ids_of(frame: Any, boxes: Any, scores: Any, frames: int, fps: float, params: dict[str, float]) -> Any:
    """Ids i64 [N] of the boxes f32 [N,4] of all frames."""
    tracker, ids = ByteTrackTracker(frame_rate=fps, **params), np.full(len(frame), -1)
    for index in range(frames):
        rows = np.flatnonzero(frame == index)
        given = supervision.Detections(xyxy=boxes[rows].reshape(-1, 4), confidence=scores[rows], class_id=rows)
        found = tracker.update(given)
        if len(found):
            ids[found.class_id] = found.tracker_id
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("given")
    parser.add_argument("out")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    params = {name: float(value) for name, value in (text.split("=") for text in options.set)}
    for name in params.keys() & {"lost_track_buffer", "minimum_consecutive_frames"}:
        params[name] = int(params[name])
    with np.load(options.given) as arrays:
        names = sorted({name.rsplit(".", 1)[0] for name in arrays.files})
        columns = {
            name: [arrays[f"{name}.{key}"] for key in ("frame", "boxes", "scores", "frames", "fps")] for name in names
        }
    ids = {f"{name}.ids": ids_of(*each[:3], int(each[3]), float(each[4]), params) for name, each in columns.items()}
    np.savez(options.out, **ids)


if __name__ == "__main__":
    main()
