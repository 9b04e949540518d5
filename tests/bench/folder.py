"""Frames per second over a folder: worker processes against one process on one video, and Ray against the workers.

    python tests/bench/folder.py [MODEL] [VIDEO] [--ray] [--rounds N]

Rates are those that `posert infer` reports: from opening the model to the last file, the start of the workers and the
trial that chooses them included, the import of Python's modules not. One video is what the command does by default, all
cores at its service. With --ray: 100 clips of 100 frames, against a cluster that runs already, and against one that
starts with the job. MODEL is `nano` unless named; without VIDEO one is drawn. Interleaved; medians and spread.
"""

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / ".typing")]

import cv2  # noqa: E402

from posert.runtime.devices import cpu_cores  # noqa: E402

COPIES, CLIPS, CLIP_FRAMES = 6, 100, 100


def drawn(path: Path) -> Path:
    """The repository's own clip twice."""
    from posert.export.nano import clip

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), clip.FPS, (clip.WIDTH, clip.HEIGHT))
    for index in range(2 * clip.FRAMES):
        writer.write(clip.render(index % clip.FRAMES)[0])
    writer.release()
    return path


def beginning(video: Path, path: Path) -> Path:
    """The first frames of a video, the last repeated if there are too few."""
    capture = cv2.VideoCapture(str(video))
    frame = capture.read()[1]
    size_wh = frame.shape[1], frame.shape[0]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, size_wh)
    for _ in range(CLIP_FRAMES):
        writer.write(frame)
        found, following = capture.read()
        frame = following if found else frame
    writer.release()
    return path


def rate(model: str, source: Path, place: Path, *more: str, cluster: str | None = None) -> float:
    """The frames per second of one run."""
    shutil.rmtree(place / "out", ignore_errors=True)
    (place / "out").mkdir()
    command = [sys.executable, "-m", "posert.cli", "infer", model, str(source), "-o", str(place / "out"), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    environment |= {"RAY_ADDRESS": cluster} if cluster else {}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = re.search(r"([\d.]+) frames/s", done.stderr)
    assert found, done.stderr
    return float(found.group(1))


def table(rates: dict[str, list[float]]) -> None:
    """Prints the medians, each against the first."""
    base = statistics.median(next(iter(rates.values())))
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:28} {middle:7.1f} frames/s ({min(values):.1f}..{max(values):.1f}), {middle / base:.2f} times")


def workers(model: str, video: Path, place: Path, rounds: int) -> None:
    for number in range(COPIES):
        shutil.copy(video, place / "in" / f"{number}.mp4")
    cases: dict[str, tuple[Path, tuple[str, ...]]] = {
        "one video, one process": (video, ()),
        "folder, one process": (place / "in", ("--workers", "1")),
        f"folder, {cpu_cores()} workers": (place / "in", ("--workers", str(cpu_cores()))),
        "folder, by measurement": (place / "in", ()),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (source, more) in cases.items():
            rates[name].append(rate(model, source, place, *more))
    table(rates)


def on_ray(model: str, video: Path, place: Path, rounds: int) -> None:
    import ray

    clip = beginning(video, place / "clip.mp4")
    for number in range(CLIPS):
        shutil.copy(clip, place / "in" / f"{number:03}.mp4")
    rates: dict[str, list[float]] = {"local workers": [], "Ray, running already": [], "Ray, started": []}
    count = str(cpu_cores())
    for _ in range(rounds):
        rates["local workers"].append(rate(model, place / "in", place, "--workers", count))
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        address = ray.get_runtime_context().gcs_address
        rates["Ray, running already"].append(rate(model, place / "in", place, "--on", "ray", cluster=address))
        ray.shutdown()
        rates["Ray, started"].append(rate(model, place / "in", place, "--on", "ray"))
    table(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cpu_cores()} cores, {options.model}")
    with tempfile.TemporaryDirectory(prefix="posert-folder-") as folder:
        place = Path(folder)
        (place / "in").mkdir()
        video = options.video or drawn(place / "drawn.mp4")
        (on_ray if options.ray else workers)(options.model, video, place, options.rounds)


if __name__ == "__main__":
    main()
