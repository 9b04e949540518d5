"""The server as a process: models opened, a socket, uvicorn with our limits, and a clean end.

Owns the life of the server. What it answers is the application's.
"""

import ctypes
import gc
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.routing import BaseRoute

from posert.errors import PosertError
from posert.runtime.jobs.recipe import Recipe, Settings
from posert.runtime.options import ModelOptions
from posert.serve.access import LOOPBACK
from posert.serve.app import create_app
from posert.serve.guard import guarded
from posert.serve.limits import Limits
from posert.serve.service import Service

_TOKEN_LEAST = 16


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens, and who may ask: whoever knows the token, or, without one, whoever is on this machine;
    with `anybody` whoever reaches it."""

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    anybody: bool = False

    def __post_init__(self) -> None:
        """Raises PosertError if nothing would keep strangers out, or the token is short."""
        if self.token is not None and len(self.token) < _TOKEN_LEAST:
            raise PosertError(f"the token has {len(self.token)} characters", f"take at least {_TOKEN_LEAST}")
        if self.token is None and self.host not in LOOPBACK and not self.anybody:
            raise PosertError(
                f"whoever reaches {self.host} could use this server",
                "put a token into POSERT_TOKEN or a `token_file`, or say `anybody`",
            )


def serve(
    models: Sequence[tuple[str, str]],
    options: ModelOptions,
    limits: Limits,
    address: Address,
    folder: Path | None,
    settings: Settings,
    report: Callable[[str], None],
) -> None:
    """Serves until it is told to end (SIGTERM, Ctrl-C); what is under way is finished first.

    Args:
        models: name and file of each, or `nano`.
        folder, settings: see `Service`. report: gets the address, once it can be asked.

    Raises:
        PosertError: a model or the address cannot be opened.
    """
    _check_names(models)
    _bound_malloc()
    with ExitStack() as stack:
        bounded = replace(options, arena=False)  # an arena keeps the most that all pictures together ever took
        work = Settings(batch=limits.batch)
        opened = {name: stack.enter_context(Recipe(file, work, bounded).open()) for name, file in models}
        service = Service(opened, limits, folder, settings)
        run(service, address, report)


def run(service: Service, address: Address, report: Callable[[str], None], more: Sequence[BaseRoute] = ()) -> None:
    """Serves a service, and `more` beside it as in `create_app`, until the process is told to end."""
    limits = service.limits
    with _listen(address) as listening:
        app = create_app(service, token=address.token, anybody=address.anybody, more=more)
        config = uvicorn.Config(
            app, http=guarded(limits), ws="websockets-sansio", ws_max_size=limits.max_bytes,
            ws_per_message_deflate=False, loop="asyncio", lifespan="on", access_log=False, log_config=None,
            log_level="critical", server_header=False, proxy_headers=False,
            callback_notify=partial(_tidy, service), timeout_notify=5, timeout_keep_alive=30,
            timeout_graceful_shutdown=max(1, round(limits.drain_s)),
        )  # fmt: skip
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn sends it again in the end
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        _Server(config, service, lambda: report(f"http://{shown}:{port}")).run(sockets=[listening])


class _Server(uvicorn.Server):  # type: ignore[misc, unused-ignore]
    """uvicorn's, which says when it can be asked, and to the service when it ends."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._ready = service, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        gc.freeze()  # what is here by now stays, and need not be looked at again
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.should_exit = True
        self._service.draining = True


def _bound_malloc() -> None:
    """Two heaps for all threads, since each keeps the largest that it ever held; `_tidy` alone gives memory back.

    A network's run takes large blocks: mapped and unmapped each time they would cost a third of its time.
    """
    with suppress(AttributeError, OSError, TypeError):  # other C libraries have no such function
        set_to = ctypes.CDLL(None).mallopt
        for name, value in ((-8, 2), (-4, 0), (-1, 2**31 - 1)):  # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD: malloc.h
            set_to(name, value)


async def _tidy(service: Service) -> None:
    """Forgets old videos, and gives memory back: pictures of all sizes leave holes everywhere in malloc's heaps."""
    service.videos.forget()
    gc.collect()  # what failed requests leave hangs together in circles
    with suppress(AttributeError, OSError, TypeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)


def _check_names(models: Sequence[tuple[str, str]]) -> None:
    """Raises PosertError if two models have one name, or one has none."""
    names = [name for name, _ in models]
    if twice := sorted({name for name in names if names.count(name) > 1 or not name}):
        raise PosertError(f"several models would be called {', '.join(twice)}", "name them: body=FILE")


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PosertError(
            f"{address.host}, port {address.port} cannot be listened to: {reason}", "choose another `port` or `host`"
        ) from None
