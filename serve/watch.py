"""The live page and its WebSocket: who watches, what he has seen, and what he asks for.

Owns the messages. A viewer who is slow gets the newest frame when he has drawn the one before the last.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from posert.pages.html import page
from posert.runtime.files.atomic import compact
from posert.serve.answers import answer
from posert.serve.camera import Camera, Shot
from posert.serve.limits import Refused
from posert.serve.service import Service
from posert.typed import Index, Misfit, read

_FLYING = 2  # frames sent and not drawn yet: one on its way, one being drawn
_TOLD_S = 0.5
_DELAYS = 150  # about five seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """A viewer's message: the number of a frame that is drawn, or that recording is to begin or to end."""

    drawn: Index = 0
    record: bool | None = None
    overlay: bool = False


def routes(cameras: Sequence[Camera], names: Sequence[str], known: dict[str, Any]) -> list[BaseRoute]:
    """The page at `/`, and a socket for each camera.

    Args:
        names: of the cameras. known: what the page finds out about model and recording.
    """
    text = page("posert live", entry="live", data=known | {"sources": list(names)}, connects=True)
    headers = {
        "Content-Security-Policy": "frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }  # fmt: skip

    async def shown(_: Request) -> Response:
        return HTMLResponse(text, headers=headers)

    async def watched(socket: WebSocket) -> None:
        await _watched(socket, cameras)

    return [Route("/", shown, methods=["GET"]), WebSocketRoute("/live/{number:int}", watched)]


async def _watched(socket: WebSocket, cameras: Sequence[Camera]) -> None:
    service: Service = socket.app.state.service
    number = socket.path_params["number"]
    if number >= len(cameras):
        await socket.send_denial_response(answer(Refused(404, "there is no such source", "see /")))
        return
    if service.streams >= service.limits.streams:
        full = Refused(429, f"{service.streams} viewers are here", "close a page, or try again later", 5)
        await socket.send_denial_response(answer(full))
        return
    service.streams += 1
    viewer = Viewer(socket, cameras, cameras[number])
    try:
        await socket.accept()
        await viewer.run()
    except (WebSocketDisconnect, RuntimeError):  # the framework's words for a socket that was closed meanwhile
        return
    finally:
        service.streams -= 1


class Viewer:
    """Somebody who watches one camera."""

    def __init__(self, socket: WebSocket, cameras: Sequence[Camera], camera: Camera) -> None:
        self._socket, self._cameras, self._camera = socket, cameras, camera
        self._changed, self._flying = asyncio.Event(), dict[int, float]()
        self._delays_ms = deque[float](maxlen=_DELAYS)

    async def run(self) -> None:
        """Until he goes."""
        self._camera.watch(self._changed)
        sending = asyncio.create_task(self._send())
        try:
            while True:
                await self._heed(await self._socket.receive_text())
        except (Misfit, ValueError, KeyError, RecursionError):
            await self._socket.close(1007)
        finally:
            self._camera.unwatch(self._changed)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _heed(self, text: str) -> None:
        asked: Asked = read(Asked, json.loads(text), "message")
        if asked.drawn in self._flying:
            self._delays_ms.append(1000 * (time.monotonic() - self._flying.pop(asked.drawn)))
        if asked.record is not None:
            await asyncio.to_thread(self._record, asked)
        self._changed.set()

    def _record(self, asked: Asked) -> None:
        recorder = self._camera.recorder
        if asked.record:
            recorder.start(drawn=asked.overlay)
        if not asked.record or self._camera.over:
            recorder.stop()

    async def _send(self) -> None:
        seen, told, due = 0, "", 0.0
        while True:
            try:
                async with asyncio.timeout(_TOLD_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            shot = self._camera.shot
            if shot is not None and shot.number > seen and len(self._flying) < _FLYING:
                seen = shot.number
                await self._fly(shot)
            state = self._state()
            if state != told or time.monotonic() > due:
                told, due = state, time.monotonic() + _TOLD_S
                await self._socket.send_text(compact({**json.loads(state), **self._figures()}))

    async def _fly(self, shot: Shot) -> None:
        self._flying[shot.number] = shot.read_s
        await self._socket.send_bytes(shot.message)

    def _state(self) -> str:
        """What is told as soon as it changes."""
        recording = self._camera.recorder.record() | {"frames": 0}
        states = [(camera.state, camera.said) for camera in self._cameras]
        return compact({"recording": recording, "states": states})

    def _figures(self) -> dict[str, Any]:
        """What is told now and then; the delay is from the reader to the page and back."""
        delays = sorted(self._delays_ms)
        middle, late = (quantiles(delays, n=20)[at] for at in (9, 18)) if len(delays) > 1 else (0.0, 0.0)
        return {
            "recording": self._camera.recorder.record(),
            "sources": [camera.record() for camera in self._cameras],
            "delay_ms": {"median": round(middle, 1), "p95": round(late, 1)},
        }
