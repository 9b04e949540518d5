"""The ASGI application: which address does what. A factory, so that a page or a test can have it without a server.

Owns addresses and media types. Who may ask is `serve/access.py`'s, the work is the service's.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from importlib.resources import files

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from posert.errors import PosertError
from posert.poses import Frame, Result
from posert.runtime.choose import Chooser, PeopleOptions
from posert.runtime.files.atomic import compact, frame_record
from posert.serve.access import Access
from posert.serve.answers import HANDLERS, answer, record
from posert.serve.asked import PeopleQuery, body, pictures_of, query
from posert.serve.limits import Refused
from posert.serve.metrics import Counted
from posert.serve.pictures import Picture
from posert.serve.service import Service
from posert.serve.stream import Stream, StreamQuery, run
from posert.serve.videos import VideoQuery
from posert.serve.worker import Task

LINES = "application/x-ndjson"


def create_app(
    service: Service, *, token: str | None = None, anybody: bool = False, more: Sequence[BaseRoute] = ()
) -> Starlette:
    """The application of a service, which works while it runs.

    Args:
        token, anybody: as in `Access`.
        more: routes of somebody else, a page for example, behind the same check; they find the service as
            `app.state.service`.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with service:
            yield

    app = Starlette(
        routes=[*ROUTES, *more],
        lifespan=lifespan,
        exception_handlers=HANDLERS,
        middleware=[
            Middleware(Counted, metrics=service.metrics),
            Middleware(Access, token=token, anybody=anybody),
        ],
    )
    app.state.service = service
    return app


def _service(connection: Request | WebSocket) -> Service:
    service: Service = connection.app.state.service
    return service


async def people(request: Request) -> Response:
    """The people of one picture, or of several, a line each."""
    service, asked = _service(request), query(PeopleQuery, request)
    worker, limits = service.worker(asked.model), service.limits
    async with pictures_of(request, limits, service.held, asked.size) as pictures:
        several = len(pictures) > 1
        checked = [_checked(picture, limits.max_pixels, several) for picture in pictures]
        line = partial(_line, asked)
        tasks = [Task(partial(each.frame, "picture"), line) for each in checked if isinstance(each, Picture)]
        answers = iter(worker.submit(tasks))
        try:
            async with asyncio.timeout(limits.answer_s):
                lines = [await _answer(next(answers), several) if isinstance(e, Picture) else e for e in checked]
        except TimeoutError:
            raise Refused(504, f"the answer takes more than {limits.answer_s:g} s", "try again later", 5) from None
    return Response(b"".join(lines), media_type=LINES if several else "application/json")


def _checked(picture: Picture, max_pixels: int, several: bool) -> Picture | bytes:
    """The picture, or the line that says what is wrong with one of several."""
    try:
        return picture.checked(max_pixels, "the picture")
    except Refused as error:
        if not several:
            raise
        return _error_line(error)


async def _answer(found: "asyncio.Future[bytes]", several: bool) -> bytes:
    try:
        return await found
    except PosertError as error:
        if not several:
            raise
        return _error_line(error)


def _line(asked: PeopleOptions, _: Frame, result: Result) -> bytes:
    return (compact(frame_record(Chooser(asked)(result))) + "\n").encode()


def _error_line(error: PosertError) -> bytes:
    return (compact(record(error)) + "\n").encode()


async def new_video(request: Request) -> Response:
    """Takes a video, which waits for its turn."""
    service, asked = _service(request), query(VideoQuery, request)
    model = service.worker(asked.model).model
    async with aclosing(body(request, service.limits.max_video_bytes)) as pieces:
        video = await service.videos.add(asked, model, pieces)
    return JSONResponse(video.record(), 202, {"Location": f"/v1/videos/{video.id}"})


async def video(request: Request) -> Response:
    """What has become of a video; or deletes it."""
    service, key = _service(request), request.path_params["key"]
    if request.method == "DELETE":
        service.videos.delete(key)
        return Response(status_code=204)
    return JSONResponse(service.videos.find(key).record())


async def video_result(request: Request) -> Response:
    """The JSON lines of a video that is done."""
    found = _service(request).videos.find(request.path_params["key"])
    if found.state == "failed":
        raise Refused(422, found.error["error"], found.error["hint"])
    if found.state != "done":
        raise Refused(409, f"the video is {found.state}, {found.frames} frames are done", "ask again", 1)
    length = {"Content-Length": str(found.result.size)}
    return StreamingResponse(found.result.pieces(), headers=length, media_type=LINES)


async def stream(socket: WebSocket) -> None:
    """Frames in, people out, while the socket is open."""
    service = _service(socket)
    try:
        asked = query(StreamQuery, socket)
        if service.streams >= service.limits.streams:
            raise Refused(429, f"{service.streams} streams are open", "close one, or try again later", 5)
        camera = Stream(asked, service.worker(asked.model), service.limits, service.settings)
    except PosertError as error:
        await socket.send_denial_response(answer(error))
        return
    service.streams += 1
    try:
        await socket.accept()
        await run(socket, camera, asked)
    except (WebSocketDisconnect, RuntimeError):  # the framework's words for a socket that was closed meanwhile
        return
    finally:
        service.streams -= 1


async def models(request: Request) -> Response:
    """What is served."""
    return JSONResponse(_service(request).models())


async def healthz(request: Request) -> Response:
    """Whether the process is well."""
    if not _service(request).alive():
        raise Refused(503, "a model's thread has died", "start the server again")
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether requests are taken."""
    if problem := _service(request).problem():
        raise Refused(503, problem, "ask another server", 5)
    return JSONResponse({"status": "ready"})


async def metrics(request: Request) -> Response:
    """The figures, for Prometheus."""
    return PlainTextResponse(_service(request).metrics.text(), media_type="text/plain; version=0.0.4")


async def openapi(_: Request) -> Response:
    """The description of this interface."""
    return Response(_own("openapi.json"), media_type="application/json")


async def docs(_: Request) -> Response:
    """The same as a page."""
    policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return HTMLResponse(_own("docs.html"), headers={"Content-Security-Policy": policy})


def _own(name: str) -> bytes:
    return files("posert.serve").joinpath(name).read_bytes()


ROUTES = [
    Route("/v1/people", people, methods=["POST"]),
    Route("/v1/videos", new_video, methods=["POST"]),
    Route("/v1/videos/{key}", video, methods=["GET", "DELETE"]),
    Route("/v1/videos/{key}/result", video_result, methods=["GET"]),
    WebSocketRoute("/v1/stream", stream),
    Route("/v1/models", models, methods=["GET"]),
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
]
