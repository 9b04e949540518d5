"""What a server counts, for Prometheus. Owns the names of the figures; knows results, nothing of what they are for."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from posert.poses import Result

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        ProcessCollector(registry=self._all)
        self._requests = Counter("posert_requests", "Requests by status", ["to", "status"], registry=self._all)
        self._seconds = Histogram(
            "posert_request_seconds", "Headers to answer", ["to"], buckets=_SECONDS, registry=self._all
        )
        self._pictures = Counter("posert_pictures", "Pictures and frames of streams", ["model"], registry=self._all)
        self._people = Counter("posert_people", "People in them", ["model"], registry=self._all)
        self._steps = Counter("posert_step_seconds", "Time by step of the loop", ["model", "step"], registry=self._all)
        self._batches = Counter("posert_batches", "Network calls", ["model"], registry=self._all)
        self._waiting = Gauge("posert_waiting", "Pictures in the queue", ["model"], registry=self._all)
        self._held = Gauge("posert_held_bytes", "Of requests that are under way", registry=self._all)
        self._open = Gauge("posert_open", "Streams and videos", ["what"], registry=self._all)

    def seen(self, model: str) -> Callable[[list[Result]], None]:
        """What counts a model's results, one call a batch."""
        pictures, people, batches = (each.labels(model) for each in (self._pictures, self._people, self._batches))
        steps = {step: self._steps.labels(model, step) for step in ("prepare", "run", "decode")}

        def count(results: list[Result]) -> None:
            pictures.inc(len(results))
            batches.inc()
            people.inc(sum(len(result.poses) for result in results))
            for step, total in steps.items():
                total.inc(sum(result.timings_ms[step] for result in results) / 1000)

        return count

    def watch_queue(self, model: str, number: Callable[[], float]) -> None:
        """Shows what `number` says whenever somebody looks."""
        self._waiting.labels(model).set_function(number)

    def watch_bytes(self, number: Callable[[], float]) -> None:
        """The same, of the bytes of requests."""
        self._held.set_function(number)

    def watch_open(self, what: str, number: Callable[[], float]) -> None:
        """The same, of streams or videos."""
        self._open.labels(what).set_function(number)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        text: bytes = generate_latest(self._all)
        return text

    def answered(self, to: str, status: int, seconds: float) -> None:
        """Counts a request to an endpoint."""
        self._requests.labels(to, str(status)).inc()
        self._seconds.labels(to).observe(seconds)


class Counted:
    """An ASGI application whose requests are counted, by the name of what answered them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            to = getattr(scope.get("endpoint"), "__name__", "other")
            self._metrics.answered(to, status, time.perf_counter() - began)
