"""What addresses cost: clips from a local S3 server against the same clips as files.

    python tests/bench/cloud.py MODEL [VIDEO] [--clips N] [--rounds N]

Needs moto[server] and s3fs. Seconds are those of `posert infer` from opening the model to the last file, one worker a
core. The server runs on the same cores, which no store does: its own CPU time, shared out over the cores, is subtracted
for the second figure. Interleaved; medians and spread. Clips have 10 frames; without VIDEO they are drawn.
"""

import argparse
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / ".typing"), str(ROOT / "tests")]

import cv2  # noqa: E402
from stores import KEY, fill  # noqa: E402

from posert.export.nano import clip  # noqa: E402
from posert.runtime.devices import cpu_cores  # noqa: E402

FRAMES = 10
SERVER = """
import logging, moto.server
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = moto.server.DomainDispatcherApplication(moto.server.create_backend_app)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


def cut(video: Path | None, folder: Path, count: int) -> None:
    """Clips that overlap by half, in the video's own size."""
    capture = cv2.VideoCapture(str(video)) if video else None
    pictures = []
    while len(pictures) < FRAMES * (count + 1) // 2:
        good, picture = capture.read() if capture else (True, clip.render(len(pictures) % clip.FRAMES)[0])
        pictures.append(picture if good else pictures[len(pictures) // 2])
    size_wh = pictures[0].shape[1::-1]
    for number in range(count):
        path = folder / f"{number:04d}.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, size_wh)
        for picture in pictures[number * FRAMES // 2 :][:FRAMES]:
            writer.write(picture)
        writer.release()


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds(model: str, source: str, out: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Of the jobs, by the frames and the rate that the command says; of the whole command; of CPU that it took."""
    command = [sys.executable, "-m", "posert.cli", "infer", model, source, "-o", str(out), "--overwrite"]
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "--workers", str(cpu_cores())], capture_output=True, text=True, env=environment)
    whole_s = time.perf_counter() - began
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = re.search(r"(\d+) frames, .* ([\d.]+) frames/s", done.stderr)
    assert said is not None, done.stderr
    return int(said[1]) / float(said[2]), whole_s, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"{platform.machine()}, {cpu_cores()} cores, {given.clips} clips of {FRAMES} frames, {given.model}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "clips")
        folder.mkdir()
        cut(given.video, folder, given.clips)
        server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            fill("s3://set/clips/", ("127.0.0.1", port), {path.name: path for path in folder.iterdir()})
            known = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": "none", "DEFAULT_REGION": "us-east-1"}
            known["ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
            paths = {"PYTHONPATH": str(ROOT / ".typing")}
            environment = os.environ | paths | {f"AWS_{name}": value for name, value in known.items()}
            near, far, without = [], [], []
            for _ in range(given.rounds):
                near.append(seconds(given.model, str(folder), Path(place, "near"), environment))
                before = cpu_s(server.pid)
                far.append(seconds(given.model, "s3://set/clips/", Path(place, "far"), environment))
                without.append((cpu_s(server.pid) - before) / cpu_cores())
        finally:
            server.terminate()
            server.wait()
    for name, part in (("jobs", 0), ("whole command", 1), ("its CPU, in which the server has no part", 2)):
        files, store = [times[part] for times in near], [times[part] for times in far]
        ratios = [b / a for a, b in zip(files, store, strict=True)]
        less = [(b - own * (part < 2)) / a for a, b, own in zip(files, store, without, strict=True)]
        print(f"{name}: files {spread(files)}, store {spread(store)}, server's CPU {spread(without)}")
        print(f"  overhead {statistics.median(ratios) - 1:+.1%}, server subtracted {statistics.median(less) - 1:+.1%}")


if __name__ == "__main__":
    main()
