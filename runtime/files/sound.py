"""The sound of a file beside pictures that are drawn anew: its packets as they are where the container takes them and
browsers play them, else encoded again.

Owns what of a file is heard, and when. Knows PyAV, nothing of pictures.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any

from posert.runtime.media.members import is_file
from posert.runtime.media.names import opencv_name
from posert.runtime.store.scratch import held

_LOG = logging.getLogger("posert")
_RATE = 48_000  # the only one of Opus that is also one of AAC


def sound_of(
    av: Any, source: str, begin_s: float, target: Any, kept: Collection[str], codec: str
) -> Callable[[float], None]:
    """A function that writes the sound until a time, seconds, as far as it has not; call it with growing times.

    What cannot be read ends the sound with a warning: the pictures are worth having without.

    Args:
        av: PyAV. source: any source; what is no file has no sound.
        begin_s: the time of its pictures that is time 0 of the target.
        target: PyAV's container, nothing written yet; gets a stream if there is sound.
        kept: codecs whose packets it takes as they are; none = every codec's. codec: for the sound of others.
    """
    packets = _packets(av, source, begin_s, target, kept, codec)
    waiting = [next(packets, None)]  # which makes the stream

    def write(until_s: float) -> None:
        while (packet := waiting[0]) is not None and packet.pts * packet.time_base < until_s:
            target.mux(packet)
            waiting[0] = next(packets, None)

    return write


def _packets(av: Any, source: str, begin_s: float, target: Any, kept: Collection[str], codec: str) -> Iterator[Any]:
    with held(source) as place:
        if is_file(place):
            yield from _packets_of(av, place, begin_s, target, kept, codec)


def _packets_of(av: Any, source: str, begin_s: float, target: Any, kept: Collection[str], codec: str) -> Iterator[Any]:
    try:
        with opencv_name(source) as name, av.open(name) as opened:
            heard, seen = opened.streams.best("audio"), opened.streams.best("video")
            if heard is None or seen is None:
                return
            begin_s += float((seen.start_time or 0) * seen.time_base)
            if not kept or heard.codec_context.name in kept:
                yield from _copied(opened, heard, target.add_stream_from_template(heard), begin_s)
            else:
                layout = "mono" if heard.codec_context.channels == 1 else "stereo"
                yield from _encoded(opened, heard, target.add_stream(codec, rate=_RATE, layout=layout), begin_s)
    except av.FFmpegError as error:
        _LOG.warning("the sound of %s is not kept to its end: %s", source, error)


def _copied(opened: Any, heard: Any, own: Any, begin_s: float) -> Iterator[Any]:
    shift = round(begin_s / heard.time_base)
    for packet in opened.demux(heard):
        if packet.pts is not None and packet.pts + (packet.duration or 0) > shift:
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = own
            yield packet


def _encoded(opened: Any, heard: Any, own: Any, begin_s: float) -> Iterator[Any]:
    for frame in opened.decode(heard):
        if frame.pts is not None and frame.time + frame.samples / frame.sample_rate > begin_s:
            frame.pts -= round(begin_s / frame.time_base)
            yield from own.encode(frame)
    yield from own.encode(None)
