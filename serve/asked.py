"""What a request asks for: its query and its body, both within limits.

Owns how queries are read and how bodies are held. Knows ASGI requests, nothing of models.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, get_origin, get_type_hints

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import HTTPConnection, Request

from posert.runtime.choose import PeopleOptions
from posert.serve.limits import Limits, Purse, Refused
from posert.serve.pictures import Picture
from posert.typed import Misfit, read

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class PeopleQuery(PeopleOptions):
    """Of `POST /v1/people`: whose poses, a model's name, and the size of raw pictures, `640x480`."""

    model: str = ""
    size: str = ""


def query(kind: type[Kind], connection: HTTPConnection) -> Kind:
    """The query as a dataclass; raises Refused if a name or a value does not fit."""
    hints = get_type_hints(kind)
    given = {name: _read(value, hints.get(name)) for name, value in connection.query_params.items()}
    try:
        asked: Kind = read(kind, given, "query")
    except Misfit as error:
        raise Refused(422, error.what, "/docs shows what each address takes") from None
    return asked


def _read(text: str, hint: Any) -> Any:
    """Text that is wanted stays text; numbers of a list are separated by commas."""
    if hint is str:
        return text
    return [_value(part) for part in text.split(",")] if get_origin(hint) is tuple else _value(text)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def size_wh(text: str) -> tuple[int, int] | None:
    """Width and height of `WIDTHxHEIGHT`; None of nothing; raises Refused else."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if text and not found:
        raise Refused(422, f"query.size = {text[:20]!r} is no size", "write it as WIDTHxHEIGHT, for example 640x480")
    return (int(found[1]), int(found[2])) if found else None


async def body(request: Request, most: int, purse: Purse | None = None) -> AsyncGenerator[bytes, None]:
    """The body as it comes; each piece is taken out of a purse, and whoever reads gives it back.

    Raises Refused if it has more than `most` bytes, by its header or in truth.
    """
    if (length := request.headers.get("content-length", "0")).isdecimal() and int(length[:20]) > most:
        raise _too_long(most)
    count = 0
    async for piece in request.stream():
        count += len(piece)
        if count > most:
            raise _too_long(most)
        if purse is not None:
            purse.take(len(piece))
        yield piece


def _too_long(most: int) -> Refused:
    return Refused(413, f"the body has more than {most} bytes", "send less at once")


@asynccontextmanager
async def pictures_of(request: Request, limits: Limits, purse: Purse, size: str) -> AsyncIterator[list[Picture]]:
    """The pictures of a request: its body, or the files of a form. Their bytes count until the block ends."""
    before, wanted = _Counting(purse), size_wh(size)
    try:
        async with aclosing(body(request, limits.max_bytes, before)) as pieces:
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
                files = await _files(request, pieces, limits.queue)
            else:
                files = [b"".join([piece async for piece in pieces])]
        yield [Picture(data, wanted) for data in files]
    finally:
        purse.give(before.held)


class _Counting(Purse):
    """What one request has taken out of a purse."""

    def __init__(self, purse: Purse) -> None:
        super().__init__(purse.most, "")
        self._purse = purse

    def take(self, count: int) -> None:
        self._purse.take(count)
        self.held += count


class _Parts(MultiPartParser):  # type: ignore[misc]
    spool_max_size = 1 << 60  # nothing of a request on a disk


async def _files(request: Request, pieces: AsyncGenerator[bytes, None], most: int) -> list[bytes]:
    try:
        form = await _Parts(request.headers, pieces, max_files=most, max_fields=most, max_part_size=1 << 16).parse()
    except MultiPartException as error:
        raise Refused(400, f"the form cannot be read: {error.message}", "send multipart/form-data with files") from None
    found = [await file.read() for _, file in form.multi_items() if not isinstance(file, str)]
    await form.close()
    if not found:
        raise Refused(422, "the form has no file", "send each picture as a file: curl -F picture=@photo.jpg")
    return found
