"""One long video shared out among workers, against one pass: frames per second, and whether results are the same.

    python tests/bench/spans.py [MODEL] [VIDEO] [--minutes M] [--rounds N] [--cases NAMES]

Rates are those that `posert infer --track` reports: from opening the model to the last file, the start of the workers
included, the import of Python's modules not. Without VIDEO, so many minutes are joined from the repository's clip.
Interleaved; medians. The results of all cases are compared byte by byte: people, and their ids after joining.
"""

import argparse
import hashlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / ".typing")]

from posert.runtime.devices import cpu_cores  # noqa: E402

CASES = {
    "one": ("one worker, one thread", ("--threads", "1")),
    "all": (f"one pass, {cpu_cores()} cores", ()),
    "two": ("two workers, one thread each", ("--workers", "2")),
}


def drawn(path: Path, minutes: float) -> Path:
    from posert.export.nano import clip

    clip.render = cache(clip.render)  # its 240 frames come again and again
    return clip.write_as(path, count=round(minutes * 60 * clip.FPS))


def rate(model: str, video: Path, place: Path, case: str) -> tuple[float, str]:
    """The frames per second of one run, and a hash of its results."""
    out = place / f"{case}.jsonl"
    command = [
        sys.executable,
        "-m",
        "posert.cli",
        "infer",
        model,
        str(video),
        "-o",
        str(out),
        "--track",
        *CASES[case][1],
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    done = subprocess.run([*command, *CASES[case][1]], env=environment, check=True, capture_output=True, text=True)
    found = re.search(r"([\d.]+) frames/s", done.stderr)
    assert found, done.stderr
    return float(found.group(1)), hashlib.sha256(out.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cases", default=",".join(CASES))
    options = parser.parse_args()
    cases = options.cases.split(",")
    with tempfile.TemporaryDirectory(prefix="posert-spans-") as folder:
        video = options.video or drawn(Path(folder, "drawn.mp4"), options.minutes)
        rates: dict[str, list[float]] = {case: [] for case in cases}
        hashes = set()
        for _ in range(options.rounds):
            for case in cases:
                frames_s, results = rate(options.model, video, Path(folder), case)
                rates[case].append(frames_s)
                hashes.add(results)
    base = statistics.median(rates[cases[0]])
    for case in cases:
        middle = statistics.median(rates[case])
        print(f"{CASES[case][0]:30} {middle:7.1f} frames/s, {middle / base:.2f} times")
    print("results: " + ("the same bytes" if len(hashes) == 1 else f"{len(hashes)} DIFFERENT files"), *sorted(hashes))
    sys.exit(len(hashes) != 1)


if __name__ == "__main__":
    main()
