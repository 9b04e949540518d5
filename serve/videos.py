"""Videos as jobs: accepted, run one after the other, asked for, deleted.

Owns what becomes of a video. The model is the one that pictures go to. Knows no HTTP.
"""

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from posert.errors import PosertError
from posert.runtime.choose import PeopleOptions
from posert.runtime.files.atomic import Provenance, compact, file_header, frame_record
from posert.runtime.jobs.job import people_of
from posert.runtime.jobs.recipe import Selection, Settings
from posert.runtime.media.read import frame_count, video_size_wh
from posert.runtime.session import Model
from posert.serve.answers import record
from posert.serve.limits import Limits, Refused
from posert.serve.store import Kept, Store
from posert.typed import Count, Index, Range

_LOG = logging.getLogger("posert")
_CONTAINERS = re.compile(
    rb"....(?:ftyp|moov|mdat|free|skip|wide|pnot)|\x1a\x45\xdf\xa3|RIFF....AVI |\x47.{187}\x47|.{4}\x47.{191}\x47"
    rb"|\x00\x00\x01[\xba\xb3]|FLV\x01|OggS|\x30\x26\xb2\x75\x8e\x66\xcf\x11|GIF8[79]a",
    re.DOTALL,
)
"""MP4 and MOV, Matroska and WebM, AVI, TS and M2TS, MPEG, FLV, Ogg, WMV, GIF: no play list, which names other files."""

_Time = Annotated[float, Range(0)]


@dataclass(frozen=True, slots=True)
class VideoQuery(PeopleOptions):
    """Of `POST /v1/videos`: whose poses, a model's name, a name for the header of the results, and as in `Settings`."""

    model: str = ""
    name: str = "video"
    start_s: _Time = 0.0
    stop_s: _Time | None = None
    first: Index = 0
    last: Index | None = None
    stride: Count = 1
    rotate: Literal[0, 90, 180, 270] = 0
    mirror: bool = False
    track: bool = False
    smooth: bool = False
    features: bool = False

    def settings(self, usual: Settings) -> Settings:
        """The settings of a job, `usual` where the request chooses none."""
        names = ("start_s", "stop_s", "first", "last", "stride", "rotate", "mirror")
        selection = Selection(**{name: getattr(self, name) for name in names})
        return replace(
            usual, selection=selection, people=self, track=self.track, smooth=self.smooth, features=self.features
        )


@dataclass(slots=True)
class Video:
    """A video and what has become of it; `state` is queued, running, done or failed."""

    asked: VideoQuery
    model: Model
    film: Kept | None
    result: Kept
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = "queued"
    frames: int = 0
    of: int = 0
    ended: float = 0.0
    error: dict[str, str] = field(default_factory=dict)
    deleted: bool = False

    def record(self) -> dict[str, Any]:
        """As JSON; `of` is the number of frames that the container names, 0 if none."""
        names = ("id", "state", "frames", "of")
        return {"model": self.model.spec.model} | {name: getattr(self, name) for name in names} | self.error

    def free(self) -> None:
        """Its bytes do not count any more."""
        self.deleted = True
        for kept in (self.film, self.result):
            if kept is not None:
                kept.free()
        self.film = None


class Videos:
    """All videos of a server; a context that ends the one that runs and deletes all of them."""

    def __init__(self, limits: Limits, store: Store, settings: Settings) -> None:
        self._limits, self._store, self._settings, self._ending = limits, store, settings, False
        self._videos: dict[str, Video] = {}
        self._thread = ThreadPoolExecutor(1, "posert-video")

    def __enter__(self) -> "Videos":
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.shutdown(wait=True, cancel_futures=True)
        for video in self._videos.values():
            video.free()
        self._videos.clear()  # their files go with them

    def count(self) -> int:
        """Those that are not deleted yet."""
        return len(self._videos)

    async def add(self, asked: VideoQuery, model: Model, pieces: AsyncIterator[bytes]) -> Video:
        """A video that has come whole and waits for its turn.

        Raises:
            Refused: there are too many, the store is full, or it is no video.
        """
        self.forget()
        if len(self._videos) >= self._limits.videos:
            raise Refused(429, f"{len(self._videos)} videos are here already", "delete finished ones, or wait", 60)
        video = Video(asked, model, self._store.file(), self._store.file())
        self._videos[video.id] = video  # it counts while it comes
        assert video.film is not None
        try:
            settings, start = asked.settings(self._settings), b""
            async for piece in pieces:
                start = start if len(start) >= 512 else start + piece[:512]
                video.film.write(piece)
            if not _CONTAINERS.match(start):
                raise Refused(415, "this is no video of a known kind", "send MP4, MOV, MKV, WebM, AVI, TS or the like")
            video.film.flush()
        except BaseException:
            self.delete(video.id)
            raise
        self._thread.submit(self._run, video, settings)
        return video

    def find(self, key: str) -> Video:
        """Raises Refused if there is none."""
        self.forget()
        if key not in self._videos:
            raise Refused(404, "there is no such video", "it was deleted, or its time is over")
        return self._videos[key]

    def delete(self, key: str) -> None:
        """Ends it and frees its bytes."""
        self.find(key)
        self._videos.pop(key).free()

    def forget(self) -> None:
        """Deletes those whose time is over."""
        last = time.monotonic() - self._limits.keep_s
        for video in [each for each in self._videos.values() if each.ended and each.ended < last]:
            self._videos.pop(video.id).free()

    def _run(self, video: Video, settings: Settings) -> None:
        try:
            if video.film is not None and not self._ending:
                video.state = "running"
                self._estimate(video, video.film, settings)
                video.state = "done"
        except Exception as error:
            if not isinstance(error, PosertError):
                _LOG.exception("a video failed")
            video.error = record(error)
            if video.film is not None:
                video.error["error"] = video.error["error"].replace(video.film.path, video.asked.name)
            video.state = "failed"
        finally:
            video.ended = time.monotonic()
            film, video.film = video.film, None
            for kept in [film, video.result if video.deleted else None]:
                if kept is not None:
                    kept.free()

    def _estimate(self, video: Video, film: Kept, settings: Settings) -> None:
        limits, until = self._limits, time.monotonic() + self._limits.video_s
        wide, high = video_size_wh(film.path)
        _check_size(wide, high, limits.max_pixels)
        video.of, write = frame_count(film.path), video.result.write
        write(_line(file_header(video.model.spec, video.asked.name, Provenance(settings.selection.orientation))))
        with closing(people_of(video.model, film.path, settings)) as results:
            for frame, result in results:
                if self._ending or video.deleted:
                    raise PosertError("the video was deleted, or the server has ended")
                if time.monotonic() > until:
                    raise PosertError(f"the video takes more than {limits.video_s:g} s", "send it in parts")
                _check_size(*frame.size_wh, limits.max_pixels)
                write(_line(frame_record(result)))
                video.frames += 1
        video.result.flush()


def _line(value: Any) -> bytes:
    return (compact(value) + "\n").encode()


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PosertError(f"a frame has {width} x {height} pixels, at most {max_pixels} are taken", "make it smaller")
