"""Small images and videos made for one test each: OpenCV for plain ones, PyAV for variable frame rate."""

import struct
from fractions import Fraction
from pathlib import Path

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


def _cut(path: Path, keep: float) -> Path:
    """The first part of an MP4 with its index moved to the front, so that it opens although it is cut off."""
    import av

    front = path.with_name("front_" + path.name)
    with av.open(str(path)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = front.read_bytes()
    front.write_bytes(data[: int(len(data) * keep)])
    return front


def cut_off_video(folder: Path) -> Path:
    """The first 60 % of a noisy video of 20 frames."""
    noisy = folder / "noise.mp4"
    writer = cv2.VideoWriter(str(noisy), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for seed in range(20):
        writer.write(np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8))
    writer.release()
    from posert.runtime.media.read import missing_bytes

    assert missing_bytes(str(noisy)) == 0
    return _cut(noisy, 0.6)
