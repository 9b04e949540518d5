"""How long after a frame its people come out of `posert infer`, piped, with a network that only sleeps.

Frames every 50 ms on standard input (`--live`, 5 ms network), and 30 JPEGs a second over http (100 ms network), for
each of CORES x WORKERS. Usage: live.py [SECONDS of each].
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import tiny  # noqa: E402

CORES, WORKERS, SIZE_WH = (1, 2), (1, 2, 8), (640, 360)
PICTURE = (
    np.random.default_rng(1).integers(0, 255, (SIZE_WH[1] // 8, SIZE_WH[0] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
)


def sleeping(network_s: float) -> None:
    """`posert` in this process, with networks that take so long and no processor."""
    from posert import cli
    from posert.runtime.session import Model

    run = Model.run
    Model.run = lambda *given: time.sleep(network_s) or run(*given)  # type: ignore[method-assign, func-returns-value]
    cli.main()


def start(model: Path, source: str, network_s: float, cores: int, workers: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, __file__, "--sleeping", str(network_s), "infer", str(model), source, "-q"]
    more = ["--threads", str(workers), "--live", "--size", f"{SIZE_WH[0]}x{SIZE_WH[1]}"]
    here = sorted(os.sched_getaffinity(0))[:cores]
    pinned = ["taskset", "-c", ",".join(map(str, here))]
    return subprocess.Popen([*pinned, *command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def delays_ms(process: "subprocess.Popen[bytes]", sent: list[float]) -> tuple[list[float], int]:
    """Of every record, once its frame was sent; and how many frames were dropped."""
    delays, dropped = [], 0
    assert process.stdout is not None
    for line in process.stdout:
        record = json.loads(line)
        if "frame" in record:
            delays.append((time.monotonic() - sent[record["frame"]]) * 1000)
            dropped += record["dropped"]
    process.wait()
    return delays[10:], dropped  # the first ones wait for the start


def on_stdin(model: Path, seconds: float, cores: int, workers: int) -> tuple[list[float], int]:
    process, sent = start(model, "-", 0.005, cores, workers), list[float]()

    def feed() -> None:
        assert process.stdin is not None
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            sent.append(time.monotonic())
            process.stdin.write(PICTURE.tobytes())
            process.stdin.flush()
            time.sleep(max(0, began + 0.05 * len(sent) - time.monotonic()))
        process.stdin.close()

    threading.Thread(target=feed, daemon=True).start()
    return delays_ms(process, sent)


@contextmanager
def camera(seconds: float, sent: list[float]) -> Iterator[str]:
    """The address of a camera that sends 30 pictures a second."""
    jpeg = cv2.imencode(".jpg", PICTURE)[1].tobytes()

    class Handler(BaseHTTPRequestHandler):
        films = 0

        def do_GET(self) -> None:
            if type(self).films:  # the film is over
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            if not self.headers.get("User-Agent", "").startswith("Lavf"):  # asks for the kind of source only
                return
            type(self).films += 1
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                sent.append(time.monotonic())
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                self.wfile.write(jpeg + b"\r\n")
                time.sleep(max(0, began + len(sent) / 30 - time.monotonic()))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def over_http(model: Path, seconds: float, cores: int, workers: int) -> tuple[list[float], int]:
    sent: list[float] = []
    with camera(seconds, sent) as address:
        process = start(model, address, 0.1, cores, workers)
        threading.Timer(seconds + 3, process.terminate).start()
        return delays_ms(process, sent)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        model = tiny.bright_spot(Path(folder, "toy.onnx"), region="frame")
        for name, measure in (("stdin, 5 ms network", on_stdin), ("http, 100 ms network", over_http)):
            for cores in CORES:
                for workers in WORKERS:
                    delays, dropped = measure(model, seconds, cores, workers)
                    median, p95, most = np.percentile(delays, [50, 95, 100])
                    print(
                        f"{name}, {cores} cores, {workers} workers: median {median:.0f} ms, p95 {p95:.0f} ms, "
                        f"at most {most:.0f} ms, {len(delays)} results, {dropped} frames dropped",
                        flush=True,
                    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sleeping"]:
        _, _, network_s, *rest = sys.argv
        sys.argv = ["posert", *rest]
        sleeping(float(network_s))
    else:
        main()
