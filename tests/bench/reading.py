"""How fast frames come from videos: `frames()` against OpenCV's reader and against decoding alone, in one run.

    python tests/bench/reading.py [VIDEO ...] [--rounds N] [--frames N] [--against CHECKOUT]

`decoding` grabs frames with as many threads as `frames()` takes, and never converts them to BGR; `OpenCV` is
`VideoCapture.read` as everybody writes it, into an array of its own each time; `half` is `frames()` with half of the
threads, which it had before. Then two readers at once, each in a thread; then the last second of a video by `start_s`,
against decoding all that lies before; then the key frames alone against all frames, and whether `nano` finds the same
people in them. With a checkout of another commit, its `frames()` too, each in processes of its own. Medians of
interleaved rounds; ratios within each round. Without VIDEO, 1080p and 4K ones are drawn, H.264.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from posert.runtime.devices import cpu_cores
from posert.runtime.loop import estimate
from posert.runtime.media import read
from posert.runtime.media.read import frames
from posert.runtime.session import open_model

Way = Callable[[str, int], int]
"""Reads so many frames of a video; how many there were."""


def drawn(path: Path, size_wh: tuple[int, int], count: int) -> str:
    """The repository's own clip, enlarged."""
    import av

    from posert.export.nano import clip

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "g": "30"})
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for index in range(count):
            picture = cv2.resize(clip.render(index % clip.FRAMES)[0], size_wh, interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return str(path)


def decoding(video: str, most: int) -> int:
    capture, count = read._open_video(video), 0
    while count < most and capture.grab():
        count += 1
    capture.release()
    return count


def opencv(video: str, most: int) -> int:
    capture, count = cv2.VideoCapture(video), 0
    while count < most and capture.read()[0]:
        count += 1
    capture.release()
    return count


def posert(video: str, most: int) -> int:
    return sum(1 for _ in islice(frames(video), most))


def half(video: str, most: int) -> int:
    return sum(1 for _ in islice(frames(video, threads=max(1, cpu_cores() // 2)), most))


WAYS: dict[str, Way] = {"posert": posert, "half": half, "OpenCV": opencv, "decoding": decoding}


READ = """
import sys, time
from itertools import islice
try:
    from posert.runtime.media.read import frames
except ImportError:
    from posert.runtime.frames import frames
video, most = sys.argv[1], int(sys.argv[2])
for _ in islice(frames(video), most):
    pass
wall, cpu = time.perf_counter(), time.process_time()
count = sum(1 for _ in islice(frames(video), most))
print((time.perf_counter() - wall) * 1000 / count, (time.process_time() - cpu) * 1000 / count)
"""


def measured(way: Way, videos: list[str], most: int) -> tuple[float, float]:
    """Wall and CPU milliseconds per frame of all videos at once."""
    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(len(videos)) as pool:
        count = sum(pool.map(lambda video: way(video, most), videos))
    return (time.perf_counter() - wall) * 1000 / count, (time.process_time() - cpu) * 1000 / count


def bench(videos: list[str], most: int, rounds: int) -> None:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            taken[name].append(measured(way, videos, most))
    print(f"{', '.join(Path(video).name for video in videos)}, {rounds} rounds")
    for name, times in taken.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        faster = statistics.median(other[0] / own[0] for own, other in zip(taken["posert"], times, strict=True))
        dearer = statistics.median(own[1] / other[1] for own, other in zip(taken["posert"], times, strict=True))
        print(
            f"  {name:9} {1000 / wall:6.1f} frames/s, {cpu:5.2f} ms CPU a frame; posert: {faster:.2f} times its "
            f"frames/s, {dearer:.2f} of its CPU"
        )


def bench_against(video: str, most: int, rounds: int, checkout: Path) -> None:
    """`frames()` of two checkouts, each in a process of its own."""
    taken: dict[Path, list[list[float]]] = {Path(__file__).parents[2]: [], checkout: []}
    for _ in range(rounds):
        for root, times in taken.items():
            environment = {**os.environ, "PYTHONPATH": str(root / ".typing")}
            command = [sys.executable, "-c", READ, video, str(most)]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            times.append([float(word) for word in done.stdout.split()])
    ours, theirs = taken.values()
    medians = [statistics.median(column) for times in (ours, theirs) for column in zip(*times, strict=True)]
    faster, dearer = (
        statistics.median(ratio)
        for ratio in zip(*((b[0] / a[0], a[1] / b[1]) for a, b in zip(ours, theirs, strict=True)), strict=True)
    )
    print(
        f"{Path(video).name} against {checkout.name}: {1000 / medians[0]:.1f} and {1000 / medians[2]:.1f} frames/s, "
        f"{medians[1]:.2f} and {medians[3]:.2f} ms CPU a frame; posert: {faster:.2f} times its frames/s, {dearer:.2f} "
        "of its CPU"
    )


def bench_start(video: str, rounds: int) -> None:
    """The last second alone."""
    start_s = max(frame.time_s for frame in frames(video)) - 1
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        sought = sum(1 for _ in frames(video, start_s=start_s))
        between = time.perf_counter()
        assert sought == sum(1 for frame in frames(video) if frame.time_s >= start_s)
        taken.append(((between - began) * 1000, (time.perf_counter() - between) * 1000))
    ours, all_ms = (statistics.median(column) for column in zip(*taken, strict=True))
    print(f"{Path(video).name} from {start_s:.1f} s on: {ours:.0f} ms, all of it decoded {all_ms:.0f} ms")


def bench_keys(video: str, rounds: int) -> None:
    """The key frames alone, and whether their people are those of the same frames of the whole video."""
    places = {frame.index for frame in frames(video, key_frames=True)}
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        assert sum(1 for _ in frames(video, key_frames=True)) == len(places)
        between = time.perf_counter()
        count = sum(1 for _ in frames(video))
        taken.append(((between - began) * 1000, (time.perf_counter() - between) * 1000))
    ours, all_ms = (statistics.median(column) for column in zip(*taken, strict=True))
    with open_model("nano", device="cpu") as model:
        alone = [found.poses for found in estimate(model, frames(video, key_frames=True))]
        whole = [found.poses for found in estimate(model, (one for one in frames(video) if one.index in places))]
    same = sum(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(alone, whole, strict=True))
    print(
        f"{Path(video).name}, {len(places)} key frames of {count}: {ours:.0f} ms alone, all frames {all_ms:.0f} ms; "
        f"nano's people ({sum(map(len, alone))}) are equal in {same} of them"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=120, help="of each video")
    parser.add_argument("--against", type=Path, help="a checkout of another commit, with .typing/posert a link to it")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cpu_cores()} cores, OpenCV {cv2.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or [
            drawn(Path(folder) / "1080p.mp4", (1920, 1080), 240),
            drawn(Path(folder) / "4k.mp4", (3840, 2160), 120),
        ]
        for video in videos:
            bench([video], options.frames, options.rounds)
            bench([video, video], options.frames // 2, options.rounds)
            if options.against is not None:
                bench_against(video, options.frames, options.rounds, options.against)
            bench_start(video, options.rounds)
            bench_keys(video, options.rounds)


if __name__ == "__main__":
    main()
