"""What a server bears: sizes, times and numbers, and the error that says that one is reached.

Owns `Limits` and `Refused`. Knows nothing of HTTP but its status numbers.
"""

from dataclasses import dataclass
from typing import Annotated

from posert.errors import PosertError
from posert.typed import Count, Index, Range, settle

Seconds = Annotated[float, Range(above=0)]


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of a server; sizes in bytes, times in seconds.

    Attributes:
        max_bytes: of a request with pictures, and of a message of a stream.
        max_pixels: of a picture or of a video's frames, by their headers, before anything is decoded.
        max_video_bytes: of a video.
        held_bytes: of all requests with pictures together that are being read or wait.
        store_bytes: of all videos and their results together.
        head_s, body_s: for a request's headers, and for its body; a body gets a second more for each megabyte.
        answer_s: from a picture's arrival to its people.
        stalled_s: for a client to take what it is sent.
        video_s: for one video. keep_s: how long its results are kept.
        drain_s: for what is under way when the server is told to end.
        connections, streams, videos: at once; videos count until their results are gone.
        queue: pictures that wait for a model. batch: pictures per network call, wait_ms: how long the first waits for
            the others.
    """

    max_bytes: Count = 16 << 20
    max_pixels: Count = 40_000_000
    max_video_bytes: Count = 256 << 20
    held_bytes: Count = 256 << 20
    store_bytes: Count = 1 << 30
    head_s: Seconds = 10.0
    body_s: Seconds = 30.0
    answer_s: Seconds = 60.0
    stalled_s: Seconds = 30.0
    video_s: Seconds = 3600.0
    keep_s: Seconds = 3600.0
    drain_s: Seconds = 30.0
    connections: Count = 512
    streams: Count = 16
    videos: Count = 16
    queue: Count = 64
    batch: Count = 1
    wait_ms: Index = 2

    def __post_init__(self) -> None:
        settle(self)


class Refused(PosertError):
    """A request that gets no result.

    Attributes:
        status: of HTTP. retry_s: after how many seconds another try makes sense; None = it does not.
    """

    def __init__(self, status: int, what: str, hint: str, retry_s: int | None = None) -> None:
        super().__init__(what, hint)
        self.status, self.retry_s = status, retry_s


class Purse:
    """Bytes that may be held at once; for one thread, or under a lock of the caller's."""

    def __init__(self, most: int, what: str) -> None:
        self.most, self.held, self._what = most, 0, what

    def take(self, count: int) -> None:
        """Raises Refused if there are not so many left."""
        if self.held + count > self.most:
            raise Refused(429, f"{self._what} take {self.most >> 20} MB, as much as they may", "try again later", 5)
        self.held += count

    def give(self, count: int) -> None:
        """The bytes are free again."""
        self.held -= count
