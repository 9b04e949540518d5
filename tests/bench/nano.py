"""posert-nano against OpenVINO's human-pose-estimation-0001: frames a second at the same input size, same threads.

    python tests/bench/nano.py [--teacher FILE] [--rounds N]

Bare ONNX Runtime sessions on the same tensor, interleaved in one run; medians and spread. The goal is at least 4
times the frames a second on 2 cores.
"""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from posert.runtime.session import find_model

ASSETS = Path(os.environ.get("POSERT_ASSETS", Path(__file__).parents[3] / "shared" / "assets"))
SIZES_HW = ((256, 256), (256, 384))
TEACHER = "openvino_human_pose_estimation_0001_w8.onnx"


def session(path: Path, threads: int) -> Any:
    """A CPU session on so many threads that do not spin between runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def times_ms(networks: list[Any], tensor: np.ndarray[Any, Any], rounds: int) -> list[list[float]]:
    """Milliseconds of each run of each network, taking turns."""
    feeds = [{network.get_inputs()[0].name: tensor} for network in networks]
    for network, feed in zip(networks, feeds, strict=True):
        network.run(None, feed)
    spent: list[list[float]] = [[] for _ in networks]
    for _ in range(rounds):
        for network, feed, out in zip(networks, feeds, spent, strict=True):
            began = time.perf_counter()
            network.run(None, feed)
            out.append((time.perf_counter() - began) * 1000)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, default=ASSETS / "models" / TEACHER)
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    if not arguments.teacher.is_file():
        print(f"skipped: needs {TEACHER} (POSERT_ASSETS or --teacher)")
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ONNX Runtime {ort.__version__}")
    for threads in (1, 2):
        networks = [session(path, threads) for path in (find_model("nano"), arguments.teacher)]
        for height, width in SIZES_HW:
            tensor = np.full((1, 3, height, width), 110, np.float32)
            ours, theirs = (sorted(times) for times in times_ms(networks, tensor, arguments.rounds))
            middle = [statistics.median(times) for times in (ours, theirs)]
            quarter = len(ours) // 4
            ranges = [f"[{times[quarter]:.1f}, {times[-1 - quarter]:.1f}]" for times in (ours, theirs)]
            print(
                f"{threads} threads, {width}x{height}: nano {middle[0]:.1f} ms {ranges[0]}, OpenVINO's "
                f"{middle[1]:.1f} ms {ranges[1]}, {middle[1] / middle[0]:.1f} times the frames a second"
            )


if __name__ == "__main__":
    main()
