"""Errors as JSON with `error` and `hint`. Owns what goes wrong in words of HTTP."""

import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from posert.errors import PosertError
from posert.serve.limits import Refused

_LOG = logging.getLogger("posert")
_HINTS = {404: "/docs shows every address", 405: "/docs shows what each address takes"}


def record(error: Exception) -> dict[str, str]:
    """An error as JSON; nothing of what we did wrong ourselves."""
    if isinstance(error, PosertError):
        return {"error": error.what, "hint": error.hint}
    return {"error": "the server failed", "hint": "its log says more"}


def answer(error: Exception) -> Response:
    """The response to a request that failed."""
    refused = error if isinstance(error, Refused) else None
    status = refused.status if refused else 422 if isinstance(error, PosertError) else 500
    retry_s = refused.retry_s if refused else None
    headers = {} if retry_s is None else {"Retry-After": str(retry_s)}
    return JSONResponse(record(error), status, headers)


async def _failed(_: Request, error: Exception) -> Response:
    if not isinstance(error, PosertError):
        _LOG.error("a request failed", exc_info=error)
    return answer(error)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"error": error.detail, "hint": _HINTS.get(error.status_code, "")}
    return JSONResponse(body, error.status_code, error.headers)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


HANDLERS: Mapping[Any, Any] = {
    PosertError: _failed,
    HTTPException: _http,
    ClientDisconnect: _gone,
    Exception: _failed,
}
