"""Kills `posert infer` 20 times at random moments over a folder of 12 media, resuming each time; compares the tree.

Five of the twelve are trouble: cut off, empty, sound only, variable frame rate, rotated. Usage: kills.py [WORKERS].
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

import media  # noqa: E402
import tiny  # noqa: E402

KILLS = 20


def make(folder: Path) -> None:
    """The twelve media."""
    (folder / "deep").mkdir(parents=True)
    for number in range(7):
        media.video(folder / "deep" / f"{number}.mp4", count=150, size_wh=(320, 240))
    media.cut_off_video(folder).rename(folder / "cut.mp4")
    for rest in folder.glob("noise*"):
        rest.unlink()
    (folder / "empty.mp4").write_bytes(b"")
    media.audio_only(folder / "sound.mp4")
    media.variable_rate_video(folder / "variable.mp4", [0, 40, 90, 400, 410, 1000, 1300])
    media.turn_quarter(media.video(folder / "turned.mp4", count=100))


def start(model: Path, source: Path, out: Path, workers: int, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "posert.cli", "infer", str(model), str(source), "-o", str(out), "--track"]
    command += ["--workers", str(workers), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def tree(folder: Path) -> dict[str, bytes]:
    """Bytes of every file; of the manifest all but the seconds."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    rows = [json.loads(line) | {"seconds": 0} for line in files["manifest.jsonl"].splitlines()]
    return files | {"manifest.jsonl": json.dumps(rows).encode()}


def main() -> None:
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rng = random.Random(5)
    place = Path(tempfile.mkdtemp(prefix="posert-kills-"))
    model = tiny.bright_spot(place / "model.onnx")
    make(place / "in")
    count = sum(1 for path in (place / "in").rglob("*") if path.is_file())
    began = time.monotonic()
    code = start(model, place / "in", place / "whole", workers).wait()
    whole_s = time.monotonic() - began
    print(f"{count} media, {workers} workers: undisturbed {whole_s:.1f} s, exit {code}")
    kills = ended = 0
    while kills < KILLS:
        process = start(model, place / "in", place / "out", workers, "--resume")
        try:
            process.wait(timeout=rng.uniform(0.2, whole_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        ended += 1
        if ended % 2:  # finished: begin again, so that later kills hit work too
            shutil.rmtree(place / "out")
    code = start(model, place / "in", place / "out", workers, "--resume").wait()
    same = tree(place / "whole") == tree(place / "out")
    print(f"{kills} kills, {ended} runs came to their end meanwhile; exit {code}; trees identical: {same}")
    if same:
        shutil.rmtree(place)
    sys.exit(0 if same and count == 12 else 1)


if __name__ == "__main__":
    main()
