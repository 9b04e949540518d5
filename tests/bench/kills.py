"""Ends `posert infer` 60 times at random moments over a folder of 12 media, resuming each time; compares the tree.

KILL, TERM, HUP and INT in turn; what can be answered is answered with exit code 130. No two media are alike, and five
are trouble: cut off, empty, sound only, variable frame rate, rotated. Usage: kills.py [WORKERS [ENDS]].
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

import media  # noqa: E402
import tiny  # noqa: E402
from command import tree  # noqa: E402

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
PATIENCE_S = 30


def make(folder: Path) -> None:
    """The twelve media."""
    (folder / "deep").mkdir(parents=True)
    for number in range(7):
        size_wh = (256 + 32 * number, 192 + 16 * number)
        media.video(folder / "deep" / f"{number}.mp4", count=90 + 20 * number, size_wh=size_wh)
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
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=heeds, **quiet)  # type: ignore


def heeds() -> None:
    """A shell starts background jobs with SIGINT ignored, `nohup` does SIGHUP."""
    for each in SIGNALS[1:]:
        signal.signal(each, signal.SIG_DFL)


def end(process: "subprocess.Popen[bytes]", sent: signal.Signals) -> int:
    """Sends it, Ctrl-C to the whole group as a terminal does; the exit code, within `PATIENCE_S`."""
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)
    else:
        process.send_signal(sent)
    return process.wait(PATIENCE_S)


def main() -> None:
    workers, ends = (int(text) for text in (sys.argv[1:] + ["2", "60"][len(sys.argv) - 1 :]))
    rng, place = random.Random(0), Path(tempfile.mkdtemp(prefix="kills-"))
    os.environ["POSERT_HOME"] = str(place / "home")
    make(place / "in")
    model = tiny.bright_spot(place / "model.onnx")
    count = len({path.read_bytes() for path in (place / "in").rglob("*") if path.is_file()})
    began = time.monotonic()
    code = start(model, place / "in", place / "whole", workers).wait()
    whole_s = time.monotonic() - began
    print(f"{count} different media, {workers} workers: undisturbed {whole_s:.1f} s, exit {code}", flush=True)
    kills, ended, codes = 0, 0, Counter[tuple[str, int]]()
    while kills < ends:
        process = start(model, place / "in", place / "out", workers, "--resume")
        try:
            process.wait(timeout=rng.uniform(0.2, whole_s))
        except subprocess.TimeoutExpired:
            sent = SIGNALS[kills % len(SIGNALS)]
            codes[sent.name, end(process, sent)] += 1
            kills += 1
            continue
        ended += 1
        if ended % 2:  # finished: begin again, so that later kills hit work too
            shutil.rmtree(place / "out")
    code = start(model, place / "in", place / "out", workers, "--resume").wait()
    same = tree(place / "whole") == tree(place / "out")
    print(f"{kills} ends {dict(codes)}, {ended} runs came to theirs meanwhile; exit {code}; trees identical: {same}")
    if same:
        shutil.rmtree(place)
    sys.exit(0 if same and count == 12 else 1)


if __name__ == "__main__":
    main()
