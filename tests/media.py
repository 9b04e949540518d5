"""Small images and videos made for one test each: OpenCV for plain ones, PyAV for variable frame rate."""

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np


def numbered(index: int, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    """u8 BGR whose grey level is 20 times its index, top left quarter white."""
    image = np.full((size_wh[1], size_wh[0], 3), 20 * index % 250, np.uint8)
    image[: size_wh[1] // 2, : size_wh[0] // 2] = 255
    return image


def video(path: Path, count: int = 12, fps: float = 10, size_wh: tuple[int, int] = (64, 48)) -> Path:
    """A plain video of numbered frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh)
    assert writer.isOpened()
    for index in range(count):
        writer.write(numbered(index, size_wh))
    writer.release()
    return path


def variable_rate_video(path: Path, times_ms: list[int]) -> Path:
    """A video whose frames are shown at the given times."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(numbered(index), format="bgr24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def encoded(
    path: Path,
    codec: str,
    *,
    form: str | None = None,
    muxer: dict[str, str] | None = None,
    encoder: dict[str, str] | None = None,
    audio_s: float = 0,
    into: BinaryIO | None = None,
    times: Sequence[int] = range(30),
) -> Path:
    """Noisy moving frames, 25 a second, one at each of the times (in frames), and a tone beside them."""
    import av

    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    with av.open(into or str(path), "w", format=form, options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25, options=encoder or {})
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        tone = container.add_stream("mp2", rate=44100, layout="mono") if audio_s else None
        packets = []
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * time, axis=1), format="bgr24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode()
        for begin in range(0, int(44100 * audio_s), 1152) if tone else ():
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 44100, begin, Fraction(1, 44100)
            packets += tone.encode(sound)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def copied(source: Path, path: Path, *, skip: int = 0, shift_s: float = 0, muxer: dict[str, str] | None = None) -> Path:
    """The packets of a video in another container, from one of them on, at other times."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w", options=muxer or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in list(old.demux(video=0))[skip:]:
            if packet.dts is not None:
                packet.pts += int(shift_s / packet.time_base)
                packet.dts += int(shift_s / packet.time_base)
                packet.stream = stream
                new.mux(packet)
    return path


class Unseekable(io.RawIOBase):
    """A file that cannot go back, so that lengths which are known only at the end stay unknown."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self.file.write(data)

    def close(self) -> None:
        self.file.close()


def audio_only(path: Path) -> Path:
    """An MP4 with a tone and no picture."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        tone = np.zeros((1, 4096), np.float32)
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn_quarter(path: Path) -> Path:
    """Rewrites the display matrix of an MP4's only track: show it turned by 90 degrees clockwise."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")
    version = data[header + 4]
    matrix = header + 4 + (4 + 20 + 16 if version == 0 else 4 + 32 + 16)
    assert struct.unpack(">9i", data[matrix : matrix + 36])[0] == 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def cut_off_video(folder: Path) -> Path:
    """The first 60 % of a noisy video of 20 frames."""
    noisy = folder / "noise.mp4"
    writer = cv2.VideoWriter(str(noisy), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for seed in range(20):
        writer.write(np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8))
    writer.release()
    front = copied(noisy, folder / "front.mp4", muxer={"movflags": "faststart"})  # it opens although it is cut off
    front.write_bytes(front.read_bytes()[: int(front.stat().st_size * 0.6)])
    return front


def beeping(path: Path, codec: str = "aac", seconds: float = 3.0, beep_s: float = 2.0, fps: int = 25) -> Path:
    """A video of numbered pictures that is silent but for a tenth of a second of a tone from `beep_s` on."""
    import av

    rate = 48000 if codec == "libopus" else 44100
    time = np.arange(int(seconds * rate)) / rate
    loud = np.sin(2 * np.pi * 880 * time) * ((time >= beep_s) & (time < beep_s + 0.1)) * 0.8
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=fps)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout="mono")
        for index in range(int(seconds * fps)):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(numbered(index), format="bgr24")))
        container.mux(pictures.encode())
        frame = av.AudioFrame.from_ndarray(loud[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def beep_at(path: Path) -> tuple[str, float, float]:
    """The codec of a file's sound, when it is first loud, after its first picture, and when it ends, seconds."""
    import av

    with av.open(str(path)) as container:
        stream, loud, end = container.streams.audio[0], [], 0.0
        begin = float((container.streams.video[0].start_time or 0) * container.streams.video[0].time_base)
        for frame in container.decode(stream):
            samples = frame.to_ndarray().astype(float)
            level = np.abs(samples if samples.shape[0] == 1 or samples.ndim == 1 else samples.mean(axis=0))
            if frame.format.name.startswith("s16"):
                level = level / 32768
            where = np.flatnonzero(level.ravel() > 0.2)
            loud += [frame.time + where[0] / frame.sample_rate] if len(where) else []
            end = frame.time + frame.samples / frame.sample_rate
        return stream.codec_context.name, loud[0] - begin, end - begin
