"""A WebSocket for the frames of one camera: pictures in, people out, in order, ids along the way.

Owns what a stream remembers. Knows frames and results, nothing of other streams.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Annotated

from starlette.websockets import WebSocket

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.after import post_chain
from posert.runtime.choose import PeopleOptions
from posert.runtime.files.atomic import compact, frame_record
from posert.runtime.jobs.recipe import Settings
from posert.runtime.loop import People
from posert.serve.answers import record
from posert.serve.asked import size_wh
from posert.serve.limits import Limits, Refused
from posert.serve.pictures import Picture
from posert.serve.worker import Task, Worker
from posert.typed import Range


@dataclass(frozen=True, slots=True)
class StreamQuery(PeopleOptions):
    """Of `/v1/stream`: whose poses, a model's name, the size of raw pictures, and what to do with the frames.

    Attributes:
        fps: frames per second, for `time_s`; not with `live`.
        live: the newest frame comes next, `dropped` says how many were left out, and times are the clock's.
    """

    model: str = ""
    size: str = ""
    fps: Annotated[float, Range(above=0)] = 30.0
    live: bool = False
    track: bool = False
    smooth: bool = False
    features: bool = False


class Stream:
    """What one camera's frames have in common."""

    def __init__(self, asked: StreamQuery, worker: Worker, limits: Limits, settings: Settings) -> None:
        self._asked, self._worker, self._limits, self._size = asked, worker, limits, size_wh(asked.size)
        self._people = People(worker.model) if worker.follows else None
        self._refine = post_chain(
            worker.model.spec.skeleton, track=asked.track, smooth=asked.smooth, features=asked.features,
            tracking=settings.tracking, smoothing=settings.smoothing, featuring=settings.featuring, people=asked,
        )  # fmt: skip

    async def answer(self, data: bytes, index: int, time_s: float, dropped: int | None) -> str:
        """The JSON of a frame, or of what is wrong with it."""

        def finish(frame: Frame, result: Result) -> str:
            return compact(frame_record(self._refine(replace(result, dropped=dropped), frame.bgr)))

        try:
            picture = Picture(data, self._size).checked(self._limits.max_pixels, "the picture")
            load = partial(picture.frame, "stream", index, time_s)
            (found,) = self._worker.submit([Task(load, finish, self._people)], reserved=True)
            async with asyncio.timeout(self._limits.answer_s):
                return str(await found)
        except TimeoutError:
            late = Refused(504, f"the picture took more than {self._limits.answer_s:g} s", "send fewer at once")
            return compact({"frame": index} | record(late))
        except PosertError as error:
            return compact({"frame": index} | record(error))


async def run(socket: WebSocket, stream: Stream, asked: StreamQuery) -> None:
    """Answers each message until the client goes, or with `live` the newest of those that have come."""
    began: float | None = None
    async for index, data, dropped in _messages(socket, live=asked.live):
        now = time.monotonic()
        began = began or now
        time_s = now - began if asked.live else index / asked.fps
        await socket.send_text(await stream.answer(data, index, time_s, dropped if asked.live else None))


async def _messages(socket: WebSocket, *, live: bool) -> AsyncIterator[tuple[int, bytes, int]]:
    """Number, bytes, and how many were left out before it."""
    if not live:
        for index in count():
            if (data := await _bytes(socket)) is None:
                return
            yield index, data, 0
    newest, last = _Newest(socket), -1
    while (message := await newest.take()) is not None:
        yield *message, message[0] - last - 1
        last = message[0]


class _Newest:
    """The last message of a socket, which is read all the time."""

    def __init__(self, socket: WebSocket) -> None:
        self._changed, self._message, self._ended = asyncio.Event(), (-1, b""), False
        self._last, self._reader = -1, asyncio.create_task(self._read(socket))

    async def _read(self, socket: WebSocket) -> None:
        try:
            for index in count():
                if (data := await _bytes(socket)) is None:
                    return
                self._message = (index, data)
                self._changed.set()
        finally:
            self._ended = True
            self._changed.set()

    async def take(self) -> tuple[int, bytes] | None:
        """A message that was not taken before; None at the end."""
        while self._message[0] == self._last:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        self._last = self._message[0]
        return self._message


async def _bytes(socket: WebSocket) -> bytes | None:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        return None
    return message.get("bytes") or (message.get("text") or "").encode()
