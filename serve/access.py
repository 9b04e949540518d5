"""Who may ask: a token, or whoever is on this machine. Owns these two rules, for requests and for WebSockets.

A browser gives the token once, as `?token=` in an address, and gets a cookie for it.
"""

import secrets
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
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
        self._pass = secrets.token_urlsafe()  # ports share cookies: another server's page must not learn the token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] not in OPEN:
            connection = HTTPConnection(scope)
            try:
                if self._token is not None and scope["path"] == "/" and "token" in connection.query_params:
                    await self._let_in(connection)(scope, receive, send)
                    return
                self._check(connection)
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
        elif not (_same(_bearer(connection), self._token) or self._known(connection)):
            raise _unknown()

    def _let_in(self, connection: HTTPConnection) -> RedirectResponse:
        """To the same page without the token, which is not to stay in the browser's history."""
        if not _same(connection.query_params["token"], self._token or ""):
            raise _unknown()
        response = RedirectResponse("/", 303, {"Referrer-Policy": "no-referrer"})
        response.set_cookie(_cookie(connection), self._pass, httponly=True, samesite="strict")
        return response

    def _known(self, connection: HTTPConnection) -> bool:
        """Whether a browser has our cookie, and asks for a page of ours."""
        origin = connection.headers.get("origin")
        ours = origin is None or urlsplit(origin).netloc == connection.headers.get("host")
        return ours and _same(connection.cookies.get(_cookie(connection), ""), self._pass)


def _cookie(connection: HTTPConnection) -> str:
    return f"posert_{(connection.scope.get('server') or ('', 0))[1]}"


def _same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def _unknown() -> Refused:
    return Refused(
        401, "the token is missing or wrong", "send it as: Authorization: Bearer TOKEN; a browser as ?token=TOKEN"
    )


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
