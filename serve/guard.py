"""What one connection may take: time for headers and body, the size of headers, and how many connections there are.

Owns these limits, which uvicorn has not. Knows bytes and times, nothing of what is asked.
"""

import asyncio
import json
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from posert.serve.limits import Limits

_HEAD_BYTES = 32 << 10
_LINGER_S = 2.0
"""How long a client that was refused may go on sending: with a closed socket it would not see why."""
_BYTES_PER_S = 1e6


def guarded(limits: Limits) -> type[HttpToolsProtocol]:
    """uvicorn's protocol within these limits."""
    return type("Guarded", (_Guarded,), {"limits": limits})


class _Guarded(HttpToolsProtocol):  # type: ignore[misc, unused-ignore]
    limits: ClassVar[Limits]
    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _ended = _in_body = _upgraded = False
    _began = 0.0
    _taken = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override, unused-ignore]
        super().connection_made(transport)
        self._arm(self.limits.head_s)
        if (count := len(self.connections)) > self.limits.connections:
            patient = count < 2 * self.limits.connections
            self._refuse(503, f"{count - 1} connections are open", "try again later", linger=patient)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disarm()
        self.resume_writing()
        self._unset_keepalive_if_required()  # uvicorn keeps it where the client broke off, and all that it holds
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        if self._ended or self.transport.is_closing():
            return
        self._taken += len(data)
        super().data_received(data)
        if self._timer is None and not self._upgraded and (self.cycle is None or self.cycle.response_complete):
            self._arm(self.limits.head_s)  # between requests, with what begins none
        if self._timer is not None and not self._in_body and self._taken > _HEAD_BYTES:
            self._refuse(431, f"the headers have more than {_HEAD_BYTES} bytes", "send less of them")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_body, self._taken = False, 0
        self._arm(self.limits.head_s)

    def on_headers_complete(self) -> None:
        self._in_body, self._taken = True, 0
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > _HEAD_BYTES:
            self._refuse(431, f"the headers have more than {_HEAD_BYTES} bytes", "send less of them")
            return
        self._arm(self.limits.body_s)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._taken = False, 0
        self._disarm()
        if not self._ended:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._disarm()
        self._upgraded = True
        if not self._ended:
            super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg, "check the client, it does not speak HTTP/1.1")

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():  # its client does not take the last answer
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self.limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._began = self.loop.time()
        self._timer = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        more_s = self._began + self.limits.body_s + self._taken / _BYTES_PER_S - self.loop.time()
        if self._in_body and (self.flow.read_paused or more_s > 0):  # it is us who do not read, or much has come
            self._timer = self.loop.call_later(max(1.0, more_s), self._late)
            return
        self._timer = None
        self._refuse(408, "the request did not come in time", "send it faster, or smaller")

    def _refuse(self, status: int, error: str, hint: str, *, linger: bool = True) -> None:
        """Answers, unless an answer is under way, and ends the connection."""
        if self._ended:
            return
        self._ended = True
        self._disarm()
        begun = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if begun or self.pipeline or not linger or self.transport.is_closing():
            self.transport.abort()
            return
        body = json.dumps({"error": error, "hint": hint}).encode()
        lines = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
        if status == 503:
            lines.append(b"retry-after: 5")
        self.transport.write(STATUS_LINE[status] + b"\r\n".join([*lines, b"", body]))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._close_softly()

    def _close_softly(self) -> None:
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)
