"""One file from one address, within limits of size and time. Knows HTTP, nothing of models, hashes or the cache.

The standard library does the talking: no package bounds the time in which headers drip in, so one would add nothing.
"""

import logging
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.request import Request

from posert.errors import PosertError

_LOG = logging.getLogger("posert")
_TRIES = 4
_PIECE = 1 << 19
_PATIENCE_S = 60.0  # for an answer, and then for every piece: 9 kB/s at least
_ELSEWHERE = "get the file elsewhere and use `from_file`, or set POSERT_MIRROR"
Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all or 0)."""
_T = TypeVar("_T")


class _Broken(Exception):
    """The other side or the way to it failed: worth another try."""


def download(url: str, part: Path, most_bytes: int, progress: Progress | None = None, *, any_end: bool = False) -> None:
    """Fetches to `part`, whose bytes from an earlier time are continued.

    Args:
        most_bytes: of the whole file; a server that has more is refused, and `part` removed.
        any_end: also from a server that does not say how long the file is; a hash must tell whether it is whole.

    Raises:
        PosertError: it cannot be had from there; `part` keeps what another call can continue.
        OSError: `part` cannot be written.
    """
    for attempt in range(_TRIES):
        try:
            _receive(url, part, most_bytes, progress, any_end)
            return
        except _Broken as broken:
            reason = str(broken)
            _LOG.info("try %d of %d for %s: %s", attempt + 1, _TRIES, url, reason)
    raise PosertError(
        f"{url} cannot be fetched: {reason}",
        "run the same command again to continue; or fetch it yourself and use `from_file`; or set POSERT_MIRROR",
    )


def _receive(url: str, part: Path, most_bytes: int, progress: Progress | None, any_end: bool) -> None:
    have = part.stat().st_size if part.exists() else 0
    answer = _answer(url, have)
    if answer is None:
        return
    try:
        if answer.status == 206 and not _continues(answer.headers, have):
            part.unlink(missing_ok=True)
            raise _Broken("it sends another part of the file than it was asked for")
        have = have if answer.status == 206 else 0
        length = _length(answer.headers, any_end)
        whole = have + length if length else 0
        size = max(have, whole)
        with part.open("ab" if have else "wb") as file:
            while size <= most_bytes and (piece := _within_patience(answer.read, _PIECE)):
                file.write(piece)
                have += len(piece)
                size = max(have, whole)
                if progress is not None:
                    progress(have, whole)
    finally:  # in a thread of its own, for it waits for a read that was given up
        threading.Thread(target=answer.close, daemon=True).start()
    if size > most_bytes:
        part.unlink()
        raise PosertError(f"{url} sends {size} bytes or more, expected at most {most_bytes}", _ELSEWHERE)
    if have < whole:
        raise _Broken(f"only {have} of {whole} bytes came")


def _answer(url: str, have: int) -> Any:
    """The server's answer to a wish for all but the first `have` bytes; None if there are no others."""
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = _within_patience(urllib.request.build_opener(_NeverDown).open, request, None, _PATIENCE_S)
        status = answer.status
    except urllib.error.HTTPError as error:
        answer, status = error, error.code
    if status in (None, 200, 206):  # None: a file:// address
        return answer
    answer.close()
    if status == 416 and have:
        return None
    if status >= 500:
        raise _Broken(f"the server answers {status}")
    raise PosertError(f"{url} answers {status}", _ELSEWHERE)


def _within_patience(call: Callable[..., _T], *args: Any) -> _T:
    """What the call gives. One that takes too long is left to its thread, whatever keeps it busy."""
    result: Future[_T] = Future()

    def work() -> None:
        try:
            result.set_result(call(*args))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return result.result(_PATIENCE_S)
    except TimeoutError:
        raise _Broken(f"too slow: no answer, or not {_PIECE} bytes more, within {_PATIENCE_S:g} s") from None
    except (PosertError, urllib.error.HTTPError):
        raise
    except Exception as error:  # whatever a server can make the HTTP client raise; its text may be the server's
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise _Broken(ascii(str(reason))[1:-1][:200]) from None


def _continues(headers: HTTPMessage, have: int) -> bool:
    """Whether a part begins where we are and goes to the end of the file."""
    found = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", headers.get("Content-Range", ""), re.ASCII)
    return found is not None and int(found[1]) == have and int(found[2]) + 1 == int(found[3])


def _length(headers: HTTPMessage, any_end: bool) -> int:
    """How many bytes are to come; 0 if the server does not say."""
    text = headers.get("Content-Length", "")
    if re.fullmatch(r"\d{1,15}", text, re.ASCII):
        return int(text)
    if text:
        raise _Broken(f"its Content-Length is {text[:20]!a}")
    if not any_end and "chunked" not in headers.get("Transfer-Encoding", "").lower():
        raise _Broken("it does not say how long the file is")
    return 0


class _NeverDown(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to an address without encryption."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        fp.close()  # or its body would be read, however long it is
        if not newurl.startswith(("https:", "http:") if req.type == "http" else "https:"):
            raise PosertError(f"{req.full_url} leads to {newurl}, which is not encrypted", _ELSEWHERE)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
