"""One source that is watched: a thread that reads and estimates, newest frame first, and what it shows.

Owns the last frame with its people. Knows nothing of HTTP; whoever watches is woken in his own event loop.
"""

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import cv2

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.after import post_chain
from posert.runtime.after.options import TrackOptions
from posert.runtime.choose import PeopleOptions
from posert.runtime.files.atomic import frame_record
from posert.runtime.jobs.job import finite_people
from posert.runtime.loop import estimate_frames
from posert.runtime.media.orientation import UPRIGHT, Orientation
from posert.runtime.media.paced import paced
from posert.runtime.session import Model
from posert.serve.recorder import Recorder

_LOG = logging.getLogger("posert")
_END_S = 3.0
_RATE_OVER = 60  # frames


@dataclass
class Shot:
    """A frame with its people, and its number among those shown, from 1.

    Attributes:
        read_s: when the frame left the reader, by `time.monotonic`; read_ms: by `time.time`, ms.
    """

    number: int
    frame: Frame
    result: Result
    quality: int
    read_s: float
    read_ms: float

    @cached_property
    def message(self) -> bytes:
        """u32 little-endian length of the JSON, the JSON, a JPEG; made once for all who watch."""
        _, picture = cv2.imencode(".jpg", self.frame.bgr, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        known = {"number": self.number, "read_ms": self.read_ms, "timings_ms": self.result.timings_ms}
        head = json.dumps(known | frame_record(self.result), separators=(",", ":")).encode()
        return len(head).to_bytes(4, "little") + head + picture.tobytes()


class Camera:
    """A context in which a source runs.

    Args:
        model: open; others may use it at the same time. name: of the source, for viewers. track: ids; tracking: how.
        people: who is shown. orientation: how pictures are turned. loop: a file begins anew.
        quality: of the JPEGs, 0..100.

    Attributes:
        shot: the newest, None before the first. state: opens, runs, ended or failed; said: why it failed.
        begun: set once there is a shot, or will be none.
    """

    def __init__(
        self,
        model: Model,
        source: str,
        name: str,
        recorder: Recorder,
        *,
        track: bool,
        tracking: TrackOptions | None = None,
        people: PeopleOptions | None = None,
        orientation: Orientation = UPRIGHT,
        loop: bool = False,
        quality: int = 80,
    ) -> None:
        self.source, self.name, self.recorder = source, name, recorder
        self._model, self._loop, self._quality = model, loop, quality
        self._orientation = orientation
        self._refine = post_chain(model.spec.skeleton, track=track, tracking=tracking, people=people)
        self.shot: Shot | None = None
        self.state, self.said, self.begun = "opens", "", threading.Event()
        self.failure: PosertError | None = None
        self._read: dict[int, tuple[float, float]] = {}
        self._times, self._ending = deque[float](maxlen=_RATE_OVER), False
        self._watching: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._thread = threading.Thread(target=self._run, name="posert-camera", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join(_END_S)  # a camera that gives no picture cannot be hurried
        self.recorder.stop()

    @property
    def over(self) -> bool:
        """Whether no frame will come any more."""
        return self.state in ("ended", "failed")

    def record(self) -> dict[str, Any]:
        """As JSON: the source, its state, frames per second, people."""
        people = 0 if self.shot is None else len(self.shot.result.poses)
        return {"state": self.state, "said": self.said, "fps": self._rate(), "people": people}

    def _rate(self) -> float:
        times = list(self._times)
        if self.state != "runs" or len(times) < 2:
            return 0.0
        return round((len(times) - 1) / max(times[-1] - times[0], 1e-3), 1)

    def watch(self, changed: asyncio.Event) -> None:
        """Sets the event, of the event loop that runs, whenever something is new."""
        self._watching.add((asyncio.get_running_loop(), changed))
        changed.set()

    def unwatch(self, changed: asyncio.Event) -> None:
        """Nobody waits for it any more."""
        self._watching.discard((asyncio.get_running_loop(), changed))

    def wake(self) -> None:
        """Whoever watches looks again."""
        for loop, changed in list(self._watching):
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(changed.set)

    def _run(self) -> None:
        try:
            with closing(estimate_frames(self._model, self._frames(), live=True)) as found:
                for frame, result in found:
                    if self._ending:
                        return
                    self._show(frame, self._refine(finite_people(result), frame.bgr))
            self.state = "ended"
        except PosertError as error:
            self._fail(error)
        except Exception as error:
            _LOG.exception("%s failed", self.source)
            self._fail(PosertError(f"{self.source}: {type(error).__name__}", "the server's log says more"))
        finally:
            self.recorder.stop()
            self.begun.set()
            self.wake()

    def _fail(self, error: PosertError) -> None:
        self.state, self.said, self.failure = "failed", error.what.replace(self.source, self.name), error
        if self.begun.is_set():
            _LOG.warning("%s", error)

    def _frames(self) -> Generator[Frame, None, None]:
        with closing(paced(self.source, loop=self._loop, orientation=self._orientation)) as frames:
            for frame in frames:
                self._read[frame.index] = (time.monotonic(), time.time() * 1000)
                yield frame

    def _show(self, frame: Frame, result: Result) -> None:
        read_s, read_ms = self._read[frame.index]
        for index in [index for index in list(self._read) if index <= frame.index]:
            del self._read[index]
        number = 1 if self.shot is None else self.shot.number + 1
        shot = Shot(number, frame, result, self._quality, read_s, read_ms)
        if self._watching:
            _ = shot.message  # here, not in the event loop
        self.shot, self.state = shot, "runs"
        self._times.append(time.monotonic())
        self.begun.set()
        self.wake()
        self.recorder.write(frame, result)
