"""For whoever has a GPU: the same maps as by the CPU, and calls per second for each model, batch and number of streams.

    python tests/bench/gpu.py MODEL... [--device cuda --device tensorrt] [--batches 1,2,4] [--streams 1,2] [--seconds 2]

A stream is a thread that calls the network again and again with its own tensor of the batch's rows; a frame is a row.
Without `--device` all that this ONNX Runtime has. A device that is not there ends the run (exit code 1); `--device cpu`
tries the script itself. Parity is the largest difference from the CPU provider's outputs, as a share of each output's
largest value, for 1 row and for the largest batch. Please send the table with an issue.
"""

import argparse
import platform
import sys
import threading
import time
from importlib.metadata import distributions

import numpy as np

from posert import open_model
from posert.errors import PosertError
from posert.runtime.devices import PROVIDERS, RUNTIMES, cpu_cores, cpu_name, has_openvino, import_onnxruntime
from posert.runtime.networks.drawn import drawn_feeds, input_sizes
from posert.runtime.networks.held import held
from posert.runtime.session import Model


def rows_of(model: Model, count: int) -> np.ndarray:
    """A tensor of so many rows for the last stage, each another."""
    stage = model.spec.stages[-1]
    one = drawn_feeds(model._sessions[stage.name], stage, input_sizes(stage)[0])[stage.input.name]
    rows = np.repeat(one, count, axis=0)
    for number in range(1, count):
        rows[number] = np.roll(one[0], 17 * number, axis=-1 if stage.input.layout == "NCHW" else -2)
    return np.ascontiguousarray(rows)


def apart(model: Model, usual: Model, tensor: np.ndarray) -> float:
    """How far the outputs of two devices are apart."""
    stage = model.spec.stages[-1].name
    one, other = model.run(stage, tensor), usual.run(stage, tensor)
    return max(
        float(np.abs(value - one[role]).max(initial=0) / max(1e-9, np.abs(value).max(initial=0)))
        for role, value in other.items()
    )


def frames_per_second(model: Model, tensor: np.ndarray, streams: int, seconds: float) -> float:
    stage, done, ended = model.spec.stages[-1].name, [0] * streams, threading.Event()
    for _ in range(3):
        model.run(stage, tensor)  # plans, recordings
    ready = threading.Barrier(streams + 1)

    def stream(number: int, own: np.ndarray) -> None:
        ready.wait()
        while not ended.is_set():
            model.run(stage, own)
            done[number] += len(own)

    threads = [threading.Thread(target=stream, args=(number, tensor.copy())) for number in range(streams)]
    for each in threads:
        each.start()
    ready.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    ended.set()
    for each in threads:
        each.join()
    return sum(done) / (time.perf_counter() - began)


def numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def bench(file: str, device: str, options: argparse.Namespace) -> None:
    began = time.perf_counter()
    with (
        open_model(file, device=device, workers=max(options.streams)) as model,
        open_model(file, device="cpu") as usual,
    ):
        stage = model.spec.stages[-1]
        batches = [1] if model.single_row(stage.name) else options.batches
        parity = [apart(model, usual, rows_of(model, count)) for count in dict.fromkeys((1, max(batches)))]
        print(f"\n{file} on {model.device}, ready after {time.perf_counter() - began:.1f} s")
        for one in held(model.files[stage.name], stage, device, cpu_cores()):
            print(f"  {one}")
        print(f"  parity with the CPU: {', '.join(f'{one:.1e}' for one in parity)} of the largest value")
        print("  rows " + "".join(f"{f'{count} streams':>14}" for count in options.streams) + "   frames/s")
        for count in batches:
            tensor = rows_of(model, count)
            rates = [frames_per_second(model, tensor, streams, options.seconds) for streams in options.streams]
            print(f"  {count:4} " + "".join(f"{rate:14.1f}" for rate in rates), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--device", action="append")
    parser.add_argument("--batches", type=numbers, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--streams", type=numbers, default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    try:
        available = import_onnxruntime().get_available_providers()
        there = [name for name, provider in PROVIDERS.items() if provider.name in available and name != "cpu"]
        there += ["openvino"] if has_openvino() and "openvino" not in there else []
        if not options.device and not there:
            raise PosertError(
                f"there is no GPU: this ONNX Runtime has only {', '.join(available)}",
                "pip install 'posert[gpu]', 'posert[tensorrt]' or another of docs/devices.md",
            )
        found = [
            f"{one.name} {one.version}" for one in distributions() if one.name in {*RUNTIMES, "tensorrt", "openvino"}
        ]
        print(f"{cpu_name()}, {cpu_cores()} cores, {platform.platform()}, {', '.join(found)}")
        for file in options.models:
            for device in options.device or there:
                bench(file, device, options)
    except PosertError as error:
        print(f"error: {error.what}\nhint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
