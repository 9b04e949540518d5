"""Who may ask: a token, or whoever is on this machine. Owns these two rules, for requests and for WebSockets."""

import secrets
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from posert.serve.answers import answer
from posert.serve.limits import Refused

OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""What anybody may see: it says nothing about anybody."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Access:
    """An ASGI application behind a check.

    Args:
        token: what a request has to know; None = it has to come to this machine by a name of this machine, and a page
            that asks has to be ours: any web page could ask for us else.
        anybody: neither is checked.
    """

    def __init__(self, app: ASGIApp, token: str | None, *, anybody: bool = False) -> None:
        self._app, self._token, self._anybody = app, token, anybody

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] not in OPEN:
            try:
                self._check(HTTPConnection(scope))
            except Refused as error:
                response = answer(error)
                if error.status == 401:
                    response.headers["WWW-Authenticate"] = "Bearer"
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, connection: HTTPConnection) -> None:
        if self._anybody and self._token is None:
            return
        if self._token is None:
            _check_names(connection)
        elif not secrets.compare_digest(_bearer(connection).encode(), self._token.encode()):
            raise Refused(401, "the token is missing or wrong", "send it as: Authorization: Bearer TOKEN")


def _bearer(connection: HTTPConnection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _check_names(connection: HTTPConnection) -> None:
    host, origin = connection.headers.get("host", ""), connection.headers.get("origin")
    try:
        known = urlsplit(f"//{host}").hostname in LOOPBACK and (origin is None or urlsplit(origin).netloc == host)
    except ValueError:
        known = False
    if not known:
        raise Refused(403, "this server answers this machine alone", "use http://127.0.0.1, or start it with a token")
