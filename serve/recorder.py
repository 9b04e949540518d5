"""What is kept of a live source: JSON lines and, if asked for, the drawn video, begun and ended while it runs.

Owns the files of recordings. Frames come from one thread, orders from others.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.files.atomic import Provenance, Write, json_lines
from posert.runtime.files.drawing import DrawOptions
from posert.runtime.files.overlay import overlay
from posert.runtime.jobs.guard import protect_files
from posert.runtime.media.orientation import UPRIGHT, Orientation
from posert.runtime.spec import ModelSpec

_LOG = logging.getLogger("posert")


@dataclass(slots=True)
class _Take:
    """One recording: its files, and the number and the time of its first frame, which comes later."""

    files: list[Path]
    stack: ExitStack = field(default_factory=ExitStack)
    writers: list[Write] = field(default_factory=list)
    frames: int = 0
    first: tuple[int, float] = (0, 0.0)


class Recorder:
    """Of one source. Frames and times are counted from a recording's first frame on.

    Args:
        folder: for the files; None = nothing can be kept. name: what the files begin with.
        inputs: what is read, and never written over. fps: of the video. orientation: how pictures were turned.

    Attributes:
        said: what became of the last recording, or what is wrong.
    """

    def __init__(
        self, folder: Path | None, name: str, spec: ModelSpec, inputs: Sequence[Path], fps: float,
        orientation: Orientation = UPRIGHT, drawing: DrawOptions | None = None,
    ) -> None:  # fmt: skip
        self._orientation, self._drawing = orientation, drawing
        self._folder, self._name, self._spec, self._inputs, self._fps = folder, name, spec, inputs, fps
        self._lock, self.said = threading.Lock(), ""
        self._take: _Take | None = None

    def record(self) -> dict[str, Any]:
        """As JSON: whether it runs, its frames so far, and what is to be said."""
        take = self._take
        return {"runs": take is not None, "frames": take.frames if take else 0, "said": self.said}

    def start(self, *, drawn: bool) -> None:
        """From the next frame on; with the drawn video if asked for. What is wrong is in `said`."""
        with self._lock:
            if self._take is not None:
                return
            try:
                self._take = _Take(self._free(drawn))
                self.said = ""
            except PosertError as error:
                self.said = error.what

    def _free(self, drawn: bool) -> list[Path]:
        """Names that nobody has yet."""
        if self._folder is None:
            raise PosertError("there is no folder for recordings", "name one with `output`")
        stem = self._name + time.strftime("_%Y%m%d_%H%M%S")
        for number in range(1, 1000):
            begun = self._folder / (stem if number == 1 else f"{stem}_{number}")
            files = [begun.with_name(begun.name + suffix) for suffix in (".jsonl", ".mp4")[: 2 if drawn else 1]]
            if not any(file.exists() for file in files):
                protect_files(files, self._inputs, overwrite=False)
                return files
        raise PosertError(f"{stem} has too many recordings", "choose another place with `output`")

    def write(self, frame: Frame, result: Result) -> None:
        """A frame, if it is recorded."""
        with self._lock:
            if self._take is None:
                return
            try:
                self._write(self._take, frame, result)
            except PosertError as error:
                self._end(error)

    def _write(self, take: _Take, frame: Frame, result: Result) -> None:
        if not take.writers:
            take.first = (result.frame_index, result.time_s)
            lines = json_lines(take.files[0], self._spec, result.source, provenance=Provenance(self._orientation))
            take.writers.append(take.stack.enter_context(lines))
            for file in take.files[1:]:
                drawing = overlay(file, self._spec.skeleton, self._fps, options=self._drawing)
                take.writers.append(take.stack.enter_context(drawing))
        index, time_s = take.first
        kept = replace(result, frame_index=result.frame_index - index, time_s=result.time_s - time_s)
        for write in take.writers:
            write(frame, kept)
        take.frames += 1

    def stop(self) -> None:
        """The files get their names; without a frame there are none."""
        with self._lock:
            if self._take is not None:
                self._end()

    def _end(self, why: PosertError | None = None) -> None:
        take = self._take
        assert take is not None
        try:
            with take.stack:
                if why is not None:
                    raise why
            names = " and ".join(file.name for file in take.files)
            self.said = f"{names}: {take.frames} frames" if take.frames else "no frame came, so there is no file"
        except PosertError as error:
            self.said = error.what
            _LOG.warning("the recording of %s has ended: %s", self._name, error)
        finally:
            self._take = None  # last: who sees that it has ended sees why
