"""Feeds random inputs to every parser, writer and decoder, and to the C library: `make fuzz`.

    PYTHONPATH=.typing:tests python tests/fuzz.py [--inputs N] [--seed S] [TARGET...]

An input is a number: the same number is the same input, so a finding is a line that can be repeated
(`--seed S --only NUMBER TARGET`), and goes into `fuzz_seeds.json`, which the suite runs again for ever. Each target
runs in a process of its own: a finding is an exception that is no `PosertError`, a process that dies, or an input that
takes more than 20 s. Prints a line for each target; the exit code is the number of findings.
"""

import argparse
import ctypes
import importlib.util
import logging
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_targets import NEEDS, TARGETS

from posert.errors import PosertError

HANG_S, MOST_FINDINGS = 20.0, 5
C_PICTURES, C_DAMAGES = 2000, 300


def feed(name: str, seed: int, number: int, folder: Path) -> bool:
    """Whether the target took the input; it may refuse it, with a `PosertError`."""
    try:
        TARGETS[name][0](np.random.default_rng([seed, number]), folder)
    except PosertError:
        return False
    return True


def run(name: str, seed: int, first: int, end: int, at: Any, taken: Any, findings: Any) -> None:
    """Inputs `first` to `end`; `at` is the one in work."""
    logging.disable()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, end):
            at.value = number
            try:
                taken.value += feed(name, seed, number, Path(folder))
            except Exception:
                findings.put((number, traceback.format_exc(limit=-3)))
                return
    at.value = end


def fuzzed(name: str, seed: int, count: int) -> list[tuple[int, str]]:
    """The findings of one target."""
    context = multiprocessing.get_context("fork")
    at, taken, queue = context.Value(ctypes.c_int64, 0), context.Value(ctypes.c_int64, 0), context.SimpleQueue()
    began, first, findings = time.monotonic(), 0, []
    while first < count and len(findings) < MOST_FINDINGS:
        process = context.Process(target=run, args=(name, seed, first, count, at, taken, queue))
        process.start()
        seen, since = -1, time.monotonic()
        while process.is_alive() and time.monotonic() - since < HANG_S:
            process.join(0.2)
            if at.value != seen:
                seen, since = at.value, time.monotonic()
        hung = process.is_alive()
        process.kill()
        process.join()
        if not queue.empty():
            findings.append(queue.get())
        elif hung or process.exitcode:
            findings.append((at.value, "it hangs" if hung else f"the process ended with {process.exitcode}"))
        first = at.value + 1
    seconds = time.monotonic() - began
    print(f"{name:12} {min(first, count):8} inputs, {taken.value:8} taken, {seconds:6.0f} s", flush=True)
    return findings


def c_library(seed: int) -> list[tuple[int, str]]:
    """`fuzz.c` under the sanitizers, for a model of every kind: pictures, arguments and damaged files."""
    import bundles
    from tiny_kinds import KINDS

    from posert.export.embed import library

    findings, began = [], time.monotonic()
    for number, (kind, make) in enumerate(KINDS.items()):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            made, spoilt = bundles.built(make(folder), folder / "c"), folder / "spoilt"
            sources = [source for source in made.glob("*.c") if source.name != "main.c"]
            twin = Path(__file__).with_name("fuzz.c")
            command = ["cc", *bundles.SANITIZED, "-I", made, twin, *sources, made / "kernels.o", "-lm", "-ldl"]
            subprocess.run([*map(str, command), "-o", str(folder / "fuzz")], check=True)
            spoilt.mkdir()
            for companion in made.glob("*.onnx"):
                shutil.copy(companion, spoilt)
            words = [folder / "fuzz", made, library.onnxruntime_library(), C_PICTURES, seed]
            words += [spoilt, library.main_file(made), C_DAMAGES]
            done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
            if done.returncode or done.stderr:
                findings.append((number, f"{kind}: exit {done.returncode}, {done.stderr[-2000:]}"))
    inputs = len(KINDS) * (C_PICTURES + C_DAMAGES)
    print(f"{'c':12} {inputs:8} inputs, {inputs:8} taken, {time.monotonic() - began:6.0f} s", flush=True)
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=", ".join([*TARGETS, "c"]))
    parser.add_argument("--inputs", type=int, default=0, help="of each target; 0 = as many as it should have")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one input, in this process")
    given = parser.parse_args()
    if given.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            print("taken" if feed(given.targets[0], given.seed, given.only, Path(folder)) else "refused")
        return 0
    total = 0
    for name in given.targets or [*TARGETS, "c"]:
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            print(f"{name:12} left out: {NEEDS[name]} is not installed")
            continue
        count = given.inputs or (TARGETS[name][1] if name in TARGETS else 0)
        findings = c_library(given.seed) if name == "c" else fuzzed(name, given.seed, count)
        for number, text in findings:
            print(f"FOUND {name} --seed {given.seed} --only {number}\n{text}", flush=True)
        total += len(findings)
    return min(total, 100)


if __name__ == "__main__":
    sys.exit(main())
