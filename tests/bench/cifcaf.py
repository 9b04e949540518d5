"""The decoder `cifcaf` against a plain C++ twin, on the original's golden fields and on twelve people.

    PYTHONPATH=.typing python tests/bench/cifcaf.py

One thread, calls interleaved, medians; `ratio` is the twin's time over ours (above 1: ours is faster). The twin
(cifcaf.cpp) is compiled with g++ -O3 -march=native. Ours is `decode` itself, with the library that the loader picks:
the kernel with its checks, and the `Poses`.
"""

import ctypes
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import composite_fields as draw  # noqa: E402

from posert.poses import Poses  # noqa: E402
from posert.postprocess.decoders import cifcaf  # noqa: E402

ROUNDS = 300
CELLS_WH, STRIDE = (55, 41), 8
INPUT_WH = (54 * STRIDE + 1, 40 * STRIDE + 1)
MAX_PEOPLE = 256


def main() -> None:
    golden = np.load(HERE.parent / "golden" / "pifpaf.npz")
    truth = draw.people(12, 17, CELLS_WH)
    scenes = {
        "the golden fields": (golden["cif"], golden["caf"]),
        "12 drawn people": draw.fields(truth, draw.COCO, CELLS_WH),
    }
    print(f"{platform.processor() or platform.machine()}, one thread, medians of {ROUNDS} (quartiles)")
    with tempfile.TemporaryDirectory() as folder:
        twin = compiled(Path(folder))
        for name, (cif, caf) in scenes.items():
            print(f"{name:17} {compare(twin, cif, caf)}")


def compare(twin: ctypes.CDLL, cif: np.ndarray, caf: np.ndarray) -> str:
    ours, theirs = decode(cif, caf), run_twin(twin, cif, caf)
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    found = theirs[:, :, 0] > 0
    assert np.abs(ours.keypoints[:, :, 2] - theirs[:, :, 0]).max(initial=0) < 1e-4
    assert np.abs(ours.keypoints[found][:, :2] - theirs[found][:, 1:3]).max(initial=0) < 1e-3
    cpp, own = interleaved([lambda: run_twin(twin, cif, caf), lambda: decode(cif, caf)])
    ratio = statistics.median(cpp) / statistics.median(own)
    return f"{len(ours):2} people: C++ {spread(cpp)}, decode {spread(own)} ms; ratio {ratio:.2f}"


def decode(cif: np.ndarray, caf: np.ndarray) -> Poses:
    return cifcaf.decode({"cif": cif[None], "caf": caf[None]}, draw.COCO, cifcaf.Params(), INPUT_WH)[0]


def compiled(folder: Path) -> ctypes.CDLL:
    library = folder / "twin.so"
    command = ["g++", "-O3", "-march=native", "-shared", "-fPIC", "-o", library, HERE / "cifcaf.cpp"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def run_twin(twin: ctypes.CDLL, cif: np.ndarray, caf: np.ndarray) -> np.ndarray:
    out = np.empty((MAX_PEOPLE, 17, 4))
    edges = np.array(draw.COCO_EDGES, np.int64)
    arrays = [ctypes.c_void_p(array.ctypes.data) for array in (cif, caf, edges, out)]
    sizes = [ctypes.c_int64(n) for n in (17, len(edges), *cif.shape[2:], STRIDE)]
    return out[: twin.decode(*arrays[:3], *sizes, arrays[3], ctypes.c_int64(MAX_PEOPLE))]


def interleaved(actions: list[Callable[[], object]]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in actions]
    for turn in range(ROUNDS + 20):
        for action, own in zip(actions, times, strict=True):
            began = time.perf_counter()
            action()
            if turn >= 20:
                own.append((time.perf_counter() - began) * 1000)
    return times


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
