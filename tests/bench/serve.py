"""What `posert serve` costs and bears, by a real server process and real sockets.

    python tests/bench/serve.py cost [FOLDER]     the server's CPU a picture, over `estimate` of the same JPEGs
    python tests/bench/serve.py overload [FOLDER] more clients than it can answer: who is answered, and how late
    python tests/bench/serve.py hostile [COUNT]   requests that nobody should send, and the memory afterwards

FOLDER holds JPEGs; without one the drawn clip's frames are used.
"""

import asyncio
import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

CONNECTIONS, ROUNDS, QUEUE = 8, 5, 8
FIGURES = ("posert_step_seconds_total", "posert_batches_total")
BASE = """
import sys, time
from posert import estimate, frames, open_model
with open_model("nano", device="cpu", workers=int(sys.argv[2]), threads=int(sys.argv[3])) as model:
    for _ in estimate(model, frames(sys.argv[1])):
        pass
    for _ in sys.stdin:
        began, wall = time.process_time(), time.perf_counter()
        for _ in range(2):
            count = sum(1 for _ in estimate(model, frames(sys.argv[1])))
        print((time.process_time() - began) / count / 2, (time.perf_counter() - wall) / count / 2, flush=True)
"""


@contextmanager
def server(*arguments: str) -> Iterator[tuple[int, int]]:
    """A server's port and process number."""
    command = [sys.executable, "-m", "posert.cli", "serve", "nano", "--port", "0", "--device", "cpu", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    threading.Thread(target=lambda: [print("  server:", text.rstrip()) for text in process.stderr or ()]).start()
    try:
        yield int(line.split("/docs")[0].rsplit(":", 1)[1]), process.pid
    finally:
        process.terminate()
        print(f"server ended with {process.wait(60)}")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def jpegs(folder: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]


def drawn(folder: str) -> str:
    import cv2

    from posert.export.nano import clip

    for index in range(60):
        cv2.imwrite(f"{folder}/{index:03d}.jpg", clip.render(index * 3)[0])
    return folder


def ask(port: int, pictures: list[bytes], seconds: list[float] | None = None) -> Counter[int]:
    """All pictures over one kept connection; adds how long each answer took."""
    connection, statuses = http.client.HTTPConnection("127.0.0.1", port), Counter[int]()
    for picture in pictures:
        began = time.perf_counter()
        connection.request("POST", "/v1/people", picture)
        answer = connection.getresponse()
        answer.read()
        statuses[answer.status] += 1
        if seconds is not None:
            seconds.append(time.perf_counter() - began)
    connection.close()
    return statuses


def together(port: int, shares: list[list[bytes]], seconds: list[float] | None = None) -> Counter[int]:
    """Each share by a client of its own, all at once; the statuses."""
    statuses: list[Counter[int]] = []
    clients = [
        threading.Thread(target=lambda share=share: statuses.append(ask(port, share, seconds))) for share in shares
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return sum(statuses, Counter())


def cost(folder: str) -> None:
    pictures = jpegs(folder)
    cores = len(os.sched_getaffinity(0))
    for workers, threads in ((1, 0), (cores, cores)):
        base = subprocess.Popen(
            [sys.executable, "-c", BASE, folder, str(workers), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert base.stdin is not None
        assert base.stdout is not None
        ratios = []
        with server() as (port, pid):
            ask(port, pictures)
            for _ in range(ROUNDS):
                print("go", file=base.stdin, flush=True)
                alone, wall = map(float, base.stdout.readline().split())
                before, began = cpu_s(pid), time.perf_counter()
                together(port, [pictures[number::CONNECTIONS] * 2 for number in range(CONNECTIONS)])
                count = len(pictures) * 2
                served, passed = (cpu_s(pid) - before) / count, (time.perf_counter() - began) / count
                ratios.append(served / alone)
                print(
                    f"CPU a picture: served {served * 1000:.1f} ms, estimate(workers={workers}) {alone * 1000:.1f} ms, "
                    f"ratio {ratios[-1]:.3f}; wall {passed * 1000:.1f} ms and {wall * 1000:.1f} ms",
                    flush=True,
                )
        base.stdin.close()
        print(f"median ratio over estimate(workers={workers}): {statistics.median(ratios):.3f}")


def batch_s(port: int) -> tuple[float, float]:
    """Seconds in all batches so far, and how many there were, by the server's own figures."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    steps, batches = (re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE) for name in FIGURES)
    return sum(map(float, steps)), sum(map(float, batches))


def overload(folder: str) -> None:
    pictures = jpegs(folder)[:20]
    with server("--queue", str(QUEUE)) as (port, _):
        ask(port, pictures)
        before, seconds = batch_s(port), list[float]()
        answered = together(port, [pictures] * 4 * QUEUE, seconds)
        spent, batches = (after - start for after, start in zip(batch_s(port), before, strict=True))
        p99, bound = statistics.quantiles(seconds, n=100)[98], (QUEUE + 1) * spent / batches
        print(
            f"{4 * QUEUE} clients, {4 * QUEUE * len(pictures)} requests, answered {dict(answered)}; "
            f"p99 {p99 * 1000:.0f} ms, (queue + 1) batches {bound * 1000:.0f} ms, ratio {p99 / bound:.2f}"
        )


def hostile(count: int) -> None:
    from hostile import Hostile, Shot, fire, post

    async def all_of(port: int, source: Hostile, numbers: range) -> Counter[str]:
        outcomes, free = Counter[str](), asyncio.Semaphore(64)

        async def one(number: int) -> None:
            async with free:
                outcomes[await fire(port, source.shot(number))] += 1

        await asyncio.gather(*(one(number) for number in numbers))
        return outcomes

    limits = [f"--limit={text}" for text in ("body_s=2", "head_s=2", "keep_s=2", "answer_s=30")]
    with tempfile.TemporaryDirectory() as folder, server(*limits) as (port, pid):
        source = Hostile(Path(folder))
        together(port, [[*source.good * 10, *source.shapes * 2, source.big]] * CONNECTIONS)
        for shot in [*source.fine() * 8, *[Shot((post(source.video, "/v1/videos"),))] * 2]:
            asyncio.run(fire(port, shot))
        time.sleep(6)
        before = memory_mb(pid)
        print(
            f"{before:.1f} MB after good requests of each kind, pictures of all shapes and the largest size", flush=True
        )
        done, step = 0, max(1, count // 10)
        for start in range(0, count, step):
            outcomes = asyncio.run(all_of(port, source, range(start, min(start + step, count))))
            done += outcomes.total()
            time.sleep(6)  # what is still under way ends
            print(f"{memory_mb(pid):.1f} MB after {done} hostile requests {dict(sorted(outcomes.items()))}", flush=True)
        print(f"{memory_mb(pid) - before:+.1f} MB; good pictures: {dict(ask(port, source.good))}")


def main() -> None:
    what, *more = sys.argv[1:] or ["cost"]
    if what == "hostile":
        hostile(int(more[0]) if more else 10_000)
        return
    with tempfile.TemporaryDirectory() as folder:
        {"cost": cost, "overload": overload}[what](more[0] if more else drawn(folder))


if __name__ == "__main__":
    main()
