"""Results made for one test each, as infer writes them: people who walk straight on, whose every joint is known."""

import json
from pathlib import Path

import numpy as np

from posert.runtime.files.video import open_writer
from posert.skeletons import COCO_17

FPS, SIZE_WH = 30, (320, 180)
WRIST = COCO_17.names.index("left_wrist")
_BODY = np.array([
    (0, 0), (2, -2), (-2, -2), (4, -1), (-4, -1), (12, 14), (-12, 14), (16, 30), (-16, 30), (22, 44), (-22, 44),
    (8, 50), (-8, 50), (9, 72), (-9, 72), (10, 94), (-10, 94),
])  # fmt: skip


def joints(person: int, frame: int) -> np.ndarray:
    """Keypoints [17,2] px: the first person starts at the left, the second at the right, half a px a frame."""
    return _BODY + ([60 + 0.5 * frame, 40] if person == 1 else [240 - 0.5 * frame, 44])


def person(number: int, frame: int, *, id: int | None, score: float = 0.9) -> dict:
    points = joints(number, frame)
    found = {"score": score, "box_xyxy": [*points.min(0).tolist(), *points.max(0).tolist()]}
    found["keypoints"] = [[*point, 0.8] for point in points.tolist()]
    return found if id is None else {"id": id} | found


def walkers(
    path: Path, source: str, *, frames: int = 60, ids: bool = True, names: tuple[str, ...] = COCO_17.names
) -> Path:
    """JSON lines: person 1 always there; person 2 away in frames 10..19, from frame 40 on under the id 3."""
    skeleton = {"names": names, "edges": COCO_17.edges}
    lines = [json.dumps({"posert": 1, "model": "walkers", "skeleton": skeleton, "source": source})]
    for frame in range(frames):
        people = [person(1, frame, id=1 if ids else None)]
        if not 10 <= frame < 20:
            people.append(person(2, frame, id=(2 if frame < 40 else 3) if ids else None, score=0.7))
        lines.append(
            json.dumps({"frame": frame, "time_s": round(frame / FPS, 6), "size_wh": SIZE_WH, "people": people})
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def grey(frame: int) -> int:
    """The grey level of a frame of `video`."""
    return 20 + 3 * frame


def video(path: Path, frames: int = 60) -> Path:
    """A grey video that browsers play, a level for each frame."""
    with open_writer(path, path, SIZE_WH, FPS) as write:
        for frame in range(frames):
            write(np.full((SIZE_WH[1], SIZE_WH[0], 3), grey(frame), np.uint8), frame / FPS)
    return path
