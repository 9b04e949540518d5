"""What the endpoints share: the models at work, the videos, the limits, the figures. The door for what else is served.

Owns `Service`. Knows no requests.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from posert.errors import PosertError
from posert.runtime.jobs.recipe import Settings
from posert.runtime.session import Model
from posert.serve.limits import Limits, Purse, Refused
from posert.serve.metrics import Metrics
from posert.serve.store import Store
from posert.serve.videos import Videos
from posert.serve.worker import Worker


class Service:
    """A context in which the models work.

    Args:
        models: open models by the names that requests use; the first is the one that is meant without a name.
        folder: for videos and their results; None = they stay in memory.
        settings: of everything that requests do not choose.

    Attributes:
        workers: by name. held: bytes of requests. streams: that are open. draining: the server ends; what comes on an
            open connection is answered still.

    Raises:
        PosertError: no model, or one that cannot do without boxes.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        limits: Limits,
        folder: Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        if not models:
            raise PosertError("there is no model to serve", "name one or more")
        self.settings = settings or Settings()
        self.limits, self.metrics, self.streams, self.draining = limits, Metrics(), 0, False
        self.held = Purse(limits.held_bytes, "the requests that are under way")
        self.workers = {name: Worker(model, limits, self.metrics.seen(name)) for name, model in models.items()}
        self.videos = Videos(limits, Store(limits.store_bytes, folder), self.settings)
        self._stack = ExitStack()
        self.metrics.watch_bytes(lambda: self.held.held)
        self.metrics.watch_open("streams", lambda: self.streams)
        self.metrics.watch_open("videos", self.videos.count)
        for name, worker in self.workers.items():
            self.metrics.watch_queue(name, worker.waiting)

    def __enter__(self) -> Self:
        for worker in self.workers.values():
            self._stack.enter_context(worker)
        self._stack.enter_context(self.videos)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def worker(self, name: str = "") -> Worker:
        """The model of that name, the first one without; raises Refused if there is none."""
        if name and name not in self.workers:
            known = ", ".join(self.workers)
            raise Refused(404, f"there is no model {name[:80]!r}", f"take one of: {known}")
        return self.workers[name] if name else next(iter(self.workers.values()))

    def models(self) -> list[dict[str, Any]]:
        """What is served, as JSON: name, model, device, licence, skeleton."""
        return [
            {
                "name": name,
                "model": worker.model.spec.model,
                "device": worker.model.device,
                "licence": worker.model.spec.licence,
                "skeleton": {
                    "names": worker.model.spec.skeleton.names,
                    "edges": worker.model.spec.skeleton.edges,
                },
            }
            for name, worker in self.workers.items()
        ]

    def problem(self) -> str:
        """Why nothing can be asked just now; empty if it can."""
        if self.draining:
            return "the server is ending"
        return "" if self.alive() else "a model's thread has died"

    def alive(self) -> bool:
        """Whether every model works."""
        return all(worker.alive() for worker in self.workers.values())
