"""Clips from an object store on Ray while workers are killed: are the results those of a run that nobody disturbs?

    python tests/bench/cluster.py [MODEL] [--clips N] [--kills K] [--partition P] [--local]

N overlapping clips of ten frames, cut from the asset videos (POSERT_ASSETS) and made small, are run twice on a Ray
cluster on this machine; in the second run K workers are killed at random. Rows are compared after sorting by clip,
frame and person. The clips lie in moto's server of S3, or here with --local. `rows` as MODEL is a stub network.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import tiny_many  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from posert.runtime.media.read import frames  # noqa: E402

FRAMES, HEIGHT = 10, 240
MARK = "POSERT_BENCH_CLUSTER"


def cut(videos: list[Path], count: int, folder: Path) -> None:
    """So many clips, each three frames after the last one of its video."""
    pictures = [[reduced(frame.bgr) for frame in frames(str(video))] for video in videos]
    long = [each for each in pictures if len(each) >= FRAMES]
    folder.mkdir()
    for number in range(count):
        own = long[number % len(long)]
        first = 3 * (number // len(long)) % (len(own) - FRAMES + 1)
        size_wh = own[0].shape[1::-1]
        writer = cv2.VideoWriter(str(folder / f"c{number:05}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, size_wh)
        for picture in own[first : first + FRAMES]:
            writer.write(picture)
        writer.release()


def reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """u8 [H, W, 3] of the height given, and an even width."""
    width = 2 * round(HEIGHT * picture.shape[1] / picture.shape[0] / 2)
    return cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8)


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """The address of a bucket with the clips; this process and its children find the server."""
    import stores

    with stores.s3_server() as (host, port):
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "AKIAOURS",
            "AWS_SECRET_ACCESS_KEY": "hush",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        stores.fill("s3://clips/", (host, port), {clip.name: clip for clip in folder.iterdir()})
        yield "s3://clips/"


def workers() -> list[int]:
    """The processes of our actors that do something: the environment is that of whoever began the cluster."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ours = f"\0{MARK}={os.getpid()}\0".encode() in b"\0" + (entry / "environ").read_bytes()
            if ours and (entry / "cmdline").read_bytes().startswith(b"ray::_Actor.do"):
                found.append(int(entry.name))
    return found


def kill(count: int, every_s: float, stop: threading.Event, killed: list[int]) -> None:
    chance = random.Random(0)
    while len(killed) < count and not stop.wait(chance.uniform(0.3, 1.7) * every_s):
        if found := workers():
            killed.append(chance.choice(found))
            with suppress(OSError):
                os.kill(killed[-1], 9)


def run(model: str, source: str, out: Path, more: list[str], kills: int, every_s: float) -> tuple[float, int]:
    """Seconds of the run, and how many workers were killed."""
    stop, killed, began = threading.Event(), list[int](), time.monotonic()
    killer = threading.Thread(target=kill, args=(kills, every_s, stop, killed), daemon=True)
    command = ["infer", model, source, "-o", str(out), "--on", "ray", "-q", *more]
    if kills:
        killer.start()
    done = posert(*command)
    stop.set()
    assert done.returncode == 0, done.stderr[-3000:]
    return time.monotonic() - began, len(killed)


def posert(*command: str) -> "subprocess.CompletedProcess[str]":
    ours = {"PYTHONPATH": str(ROOT / ".typing"), "RAY_ADDRESS": "local", MARK: str(os.getpid())}  # a new cluster
    environment = {**os.environ, **ours}
    return subprocess.run(
        [sys.executable, "-m", "posert.cli", *command], env=environment, capture_output=True, text=True
    )


def rows(out: Path) -> list[str]:
    """Every person of a dataset, or every frame of a folder of files, in the order of clip, frame and person."""
    if (out / "dataset").is_dir():
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(out / "dataset")
        order = [(name, "ascending") for name in ("clip", "frame", "person")]
        return [repr(row) for row in table.sort_by(order).to_pylist()]
    files = [path for path in sorted(out.rglob("*.jsonl")) if not path.name.startswith("manifest")]
    return [f"{path.name} {line}" for path in files for line in path.read_text().splitlines()]


def finished(out: Path) -> int:
    """How many clips count as done."""
    return int(json.loads(posert("jobs", "status", str(out), "--json").stdout)["done"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--partition", type=int, default=0)
    parser.add_argument("--local", action="store_true")
    options = parser.parse_args()
    videos = sorted(Path(os.environ["POSERT_ASSETS"], "media", "videos").glob("*.mp4"))
    with tempfile.TemporaryDirectory(prefix="posert-cluster-") as folder, ExitStack() as stack:
        place = Path(folder)
        model = str(tiny_many.rows(place / "rows.onnx")) if options.model == "rows" else options.model
        cut(videos, options.clips, place / "clips")
        source = str(place / "clips") if options.local else stack.enter_context(store(place / "clips"))
        more = ["--format", "parquet", "--partition", str(options.partition)] if options.partition else []
        calm_s, _ = run(model, source, place / "calm", more, 0, 0)
        every_s = calm_s / (4 * options.kills + 1)  # so that all come before the end, which varies
        wild_s, killed = run(model, source, place / "wild", more, options.kills, every_s)
        calm, wild = rows(place / "calm"), rows(place / "wild")
        done = [finished(place / name) for name in ("calm", "wild")]
    said = f"{options.clips} clips of {FRAMES} frames, {len(calm)} rows"
    print(f"{said}: {calm_s:.0f} s; with {killed} workers killed {wild_s:.0f} s")
    print(json.dumps({"same": calm == wild, "rows": [len(calm), len(wild)], "done": done, "killed": killed}))
    same = calm == wild and len(calm) > 0 and killed == options.kills and done == [options.clips] * 2
    sys.exit(not same)


if __name__ == "__main__":
    main()
