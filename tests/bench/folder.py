"""Frames per second over a folder: worker processes against one process, interleaved, end to end with the start.

Usage: folder.py [MODEL] [VIDEO] [SECONDS]; without VIDEO a drawn one. MODEL is `nano` unless named.
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

import media  # noqa: E402

ROUNDS, COPIES = 2, 6


def run(model: str, source: Path, out: Path, *more: str) -> tuple[float, int]:
    """Seconds and frames of one run."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [sys.executable, "-m", "posert.cli", "infer", model, str(source), "-o", str(out), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    frames = sum(len(path.read_text().splitlines()) - 1 for path in out.rglob("*.mp4.jsonl"))
    return seconds, frames


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "nano"
    place = Path(tempfile.mkdtemp(prefix="posert-folder-"))
    video = Path(sys.argv[2]) if len(sys.argv) > 2 else media.video(place / "v.mp4", count=300, size_wh=(640, 480))
    (place / "in").mkdir()
    (place / "single").mkdir()
    for number in range(COPIES):
        shutil.copy(video, place / "in" / f"{number}.mp4")
    shutil.copy(video, place / "single" / "0.mp4")
    cases = {
        "one video, one process": (place / "single", "--workers", "1"),
        "folder, one process": (place / "in", "--workers", "1"),
        "folder, 2 workers": (place / "in", "--workers", "2"),
        "folder, by measurement": (place / "in", "--workers", "0"),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (source, *more) in cases.items():
            seconds, frames = run(model, source, place / "out", *more)
            rates[name].append(frames / seconds)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {model}"
    )
    base = statistics.median(rates["one video, one process"])
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:26} {middle:7.1f} frames/s ({min(values):.1f} to {max(values):.1f}), {middle / base:.2f} times")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
