"""The key frames of a video alone, through PyAV: nothing else is decoded.

Owns what may be read so: whole files whose packets are pictures, upright. Knows pictures, nothing of networks.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError, optional
from posert.runtime.media.containers import has_packets_of_pictures, indexed_frames

_SAME_MS = 0.01


class KeyFrames:
    """Iterates over (index, time in ms, a function that makes the pixels u8 [H,W,3]): places in the whole video.

    Attributes:
        times_ms: of all frames of the video, by its packets.
    """

    def __init__(self, source: str, name: str) -> None:
        """Looks at the packets of a file.

        Args:
            source, name: the file, and its name for FFmpeg.

        Raises:
            PosertError: PyAV is missing, or the file is none that may be read so.
        """
        self._av = optional("av", "to read key frames alone needs PyAV", "video")
        self._source, self._name = source, name
        self._count = self._indexed = 0
        sure = Path(source).is_file() and has_packets_of_pictures(source) and not indexed_frames(source)[1]
        listed = list(self._packets()) if sure else []
        self.times_ms: NDArray[np.float64] = np.sort([time_ms for _, time_ms in listed])
        flagged = sum(packet.is_keyframe for packet, _ in listed)
        self._promised = max(flagged, self._indexed)  # a damaged packet is flagged no more
        if not listed or listed[0][1] != self.times_ms[0] or np.diff(self.times_ms).min(initial=math.inf) < _SAME_MS:
            raise _refused(source, "it is no MP4, QuickTime, Matroska or WebM file whose packets tell where frames are")

    def __iter__(self) -> Iterator[tuple[int, float, Callable[[], NDArray[np.uint8]]]]:
        """Raises PosertError: they cannot be decoded, or would have to be turned."""
        self._count = 0
        for frame, time_ms in self._decoded():
            if frame.rotation:
                raise _refused(self._source, "its pictures are to be turned")
            self._count += 1
            yield int(np.searchsorted(self.times_ms, time_ms - _SAME_MS)), time_ms, lambda: _pixels(frame)  # noqa: B023

    def check(self) -> None:
        """Raises PosertError if not all that the packets promise have come."""
        count, promised = self._count, self._promised
        if count != promised:
            raise PosertError(
                f"{self._source} is damaged: {count} of its {promised} key frames can be decoded",
                "copy or download it again",
            )

    def _packets(self) -> Iterator[tuple[Any, float]]:
        """PyAV's packets of pictures with their times, ms, by OpenCV's arithmetic."""
        try:
            with self._av.open(self._name) as file:
                stream = file.streams.video[0]
                began, step_s = stream.start_time or 0, float(stream.time_base)
                self._indexed = sum(entry.is_keyframe for entry in getattr(stream, "index_entries", ()))
                for packet in file.demux(stream):
                    if packet.size and packet.pts is not None:
                        yield packet, (packet.pts - began) * step_s * 1000
        except (self._av.FFmpegError, IndexError) as error:
            raise PosertError(f"{self._source} cannot be read: {error}", "it has no video, or is damaged") from None

    def _decoded(self) -> Iterator[tuple[Any, float]]:
        """PyAV's frames of the key packets, with their times, ms: each is decoded by itself."""
        for packet, time_ms in self._packets():
            if packet.is_keyframe:
                with suppress(self._av.FFmpegError):
                    found = packet.decode()
                    decoder = packet.stream.codec_context
                    found += decoder.decode(None)
                    decoder.flush_buffers()
                    yield from ((frame, time_ms) for frame in found[:1])


def _pixels(frame: Any) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def _refused(source: str, reason: str) -> PosertError:
    return PosertError(f"the key frames of {source} cannot be read alone: {reason}", "leave `key_frames` away")
