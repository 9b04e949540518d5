"""How close `posert infer` comes to this machine's limit for the same work.

    python tests/bench/infer.py [VIDEO] [--model FILE ...] [--rounds N]

The limit per frame is the larger of (1) the bare ONNX Runtime sessions' time on all cores, for the tensors that the
first frames really give (a detector's picture and one batch of crops count as one frame), and (2) the CPU time of bare
video decoding plus the sessions' CPU time, over the cores. Whole loop = reading, preparing, running, decoding and
writing JSON lines. All of it is measured in this run, interleaved; medians. Without VIDEO a 1080p one is drawn.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from posert.runtime.devices import cpu_cores
from posert.runtime.jobs.job import plan, run_job
from posert.runtime.jobs.recipe import Settings
from posert.runtime.loop import estimate
from posert.runtime.media.read import frames
from posert.runtime.session import Model, open_model

SAMPLED = 60  # frames whose network calls are repeated
FRAMES = 480  # long enough that opening and closing the files does not count


def drawn_video(path: Path) -> Path:
    """The repository's own clip, enlarged to 1080p, H.264."""
    import av

    from posert.export.nano import clip

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for index in range(FRAMES):
            large = cv2.resize(clip.render(index % clip.FRAMES)[0], (1920, 1080), interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="bgr24")))
        container.mux(stream.encode())
    return path


def decode_only(video: str) -> int:
    capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG)
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def measured(action: Callable[[], int]) -> tuple[float, float]:
    """Wall and CPU milliseconds per frame of an action that returns its number of frames."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = action()
    return (time.perf_counter() - wall) * 1000 / count, (time.process_time() - cpu) * 1000 / count


def network_calls(model: Model, video: str) -> list[tuple[str, np.ndarray]]:
    """Stage and tensor of every network call for the first frames."""
    calls: list[tuple[str, np.ndarray]] = []
    run = model.run

    def noted(stage: str, tensor: np.ndarray) -> dict[str, np.ndarray]:
        calls.append((stage, tensor.copy()))
        return run(stage, tensor)

    with mock.patch.object(model, "run", noted):
        assert len(list(estimate(model, islice(frames(video), SAMPLED)))) == SAMPLED
    return calls


def bench(model: str, video: str, rounds: int) -> None:
    cores = cpu_cores()
    bare, whole = open_model(model, device="cpu"), open_model(model, device="cpu", workers=cores)
    calls = network_calls(bare, video)

    def session_only() -> int:
        for stage, tensor in calls:
            bare.run(stage, tensor)
        return SAMPLED

    def infer() -> int:
        with tempfile.TemporaryDirectory() as folder:
            job = plan([video], Path(folder) / "out.jsonl", None, "jsonl")[0]
            return run_job(whole, job, Settings()).frames

    session_only(), infer()
    rows = []
    for _ in range(rounds):
        decode, session, loop = measured(lambda: decode_only(video)), measured(session_only), measured(infer)
        limit = max(session[0], (decode[1] + session[1]) / cores)
        rows.append((decode[1], session[0], session[1], limit, loop[0], limit / loop[0]))
    middle = [statistics.median(column) for column in zip(*rows, strict=True)]
    spread = f"{min(row[5] for row in rows):.2f}..{max(row[5] for row in rows):.2f}"
    print(
        f"{bare.spec.model:32} decode {middle[0]:5.1f} ms CPU, session {middle[1]:5.1f} ms ({middle[2]:5.1f} CPU), "
        f"limit {middle[3]:5.1f} ms, infer {middle[4]:5.1f} ms: {middle[5]:.2f} of the limit ({spread})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("video", nargs="?")
    parser.add_argument("--model", nargs="+", default=["nano"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {cpu_cores()} cores, medians of {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or str(drawn_video(Path(folder) / "1080p.mp4"))
        for model in options.model:
            bench(model, video, options.rounds)


if __name__ == "__main__":
    main()
