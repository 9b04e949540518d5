"""What Python does with pictures, recorded for the modules of the browser: every run of a network, and the people."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posert import open_model
from posert.export.web.site import module_texts, wasm_bytes
from posert.export.web.table import model_bytes
from posert.poses import Frame, Result
from posert.runtime.loop import People, TopDown
from posert.runtime.session import Model, find_model


def written_modules(folder: Path) -> Path:
    """What a page loads, but for ONNX Runtime and the models."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in module_texts().items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "posert.wasm").write_bytes(wasm_bytes())
    return folder


class _Recorder:
    """A session of ONNX Runtime that keeps what it is asked and what it says."""

    def __init__(self, session: Any, stage: str, runs: list, keep: Any) -> None:
        self._session, self._stage, self._runs, self._keep = session, stage, runs, keep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, fetch: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        arrays = self._session.run(fetch, feeds)
        outputs = {
            name: {"type": str(array.dtype), "dims": array.shape, "file": self._keep(array)}
            for name, array in zip(fetch, arrays, strict=True)
        }
        given = {name: self._keep(array) for name, array in feeds.items()}
        self._runs.append({"stage": self._stage, "feeds": given, "outputs": outputs})
        return arrays


Given = Callable[[Frame], np.ndarray | None]
"""Frame -> boxes f32 [N,5] to look in; None = where the model would look by itself."""


def found_in(boxes: np.ndarray, model: Model, people: People, frame: Frame) -> Result:
    """What is found where a page says, which `people` goes on from as if it had found it by itself."""
    ((_, result),) = People(model, lambda _: boxes)([frame])
    people.gaze._sources.clear()
    people.gaze.known_regions([frame])
    people.gaze.remember(frame, result.poses)
    return result


def record(
    model: Path,
    frames: Sequence[Frame],
    folder: Path,
    name: str,
    *,
    detect_every: int = 1,
    boxes: Given = lambda _: None,
    **options: Any,
) -> Path:
    """Writes NAME.json and what it names to `folder`, where the model's files lie too; the JSON's path."""
    number = 0

    def keep(array: np.ndarray) -> str:
        nonlocal number
        number += 1
        np.ascontiguousarray(array).tofile(folder / f"{name}.{number}.bin")
        return f"{name}.{number}.bin"

    runs: list[dict] = []
    case: dict[str, Any] = {"model": str(find_model(model)), "frames": []}
    case |= {"params": options.get("params", {}), "parts": [*map(str, options.get("parts", ()))]}
    case |= {"detector": str(options["detector"]) if "detector" in options else None, "detect_every": detect_every}
    with open_model(model, device="cpu", threads=1, **options) as opened:
        (folder / f"{name}.table").write_bytes(model_bytes(opened))
        case["files"] = {stage: str(file) for stage, file in opened.files.items()}
        for stage, session in opened._sessions.items():
            opened._sessions[stage] = _Recorder(session, stage, runs, keep)
        looks = opened.spec.stages[0].region == "boxes"
        people = People(opened, boxes if looks else None, TopDown(detect_every=detect_every))
        for at, frame in enumerate(frames):
            before, given = len(runs), boxes(frame)
            result = people([frame])[0][1] if given is None else found_in(given, opened, people, frame)
            poses, (height, width) = result.poses, frame.bgr.shape[:2]
            for what, array in (("keypoints", poses.keypoints), ("scores", poses.scores), ("boxes", poses.boxes_xyxy)):
                array.tofile(folder / f"{name}.{at}.{what}")
            said = {"width": width, "height": height, "pixels": keep(frame.bgr), "runs": runs[before:]}
            said |= {"count": len(poses), "reset": at > 0 and frame.source != frames[at - 1].source}
            said |= {"boxes": None if given is None else given.tolist()}
            case["frames"].append(said)
    (folder / f"{name}.json").write_text(json.dumps(case), encoding="utf-8")
    return folder / f"{name}.json"
