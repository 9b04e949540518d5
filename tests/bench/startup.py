"""How long the command needs before it works: `posert infer` on one picture against the least a script can do.

    python tests/bench/startup.py [--fresh]

The least: import onnxruntime and cv2, read the picture, open the session, run it once. Whole processes, interleaved,
medians; the ratio is ours over the least. With --fresh also the first run in a new environment, made of the wheels in
dist/ (`make wheels`), over the median of later ones, and the size of that environment.
"""

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from posert.runtime.session import find_model

DIST = Path(__file__).parents[2] / "dist"
ROUNDS = 9
LEAST = """
import sys
import cv2, numpy as np, onnxruntime
image = cv2.imread(sys.argv[1])
session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
tensor = np.ascontiguousarray(cv2.resize(image, (384, 224)).transpose(2, 0, 1)[None].astype(np.float32))
session.run(None, {"image": tensor})
"""


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def fresh(photo: str, folder: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--find-links", DIST, "posert[cpu]"]
    subprocess.run(pip, check=True)
    command = [str(folder / "bin" / "posert"), "infer", "nano", photo]
    first, *later = (seconds(command) for _ in range(ROUNDS))
    whole = _megabytes(next(folder.glob("lib/*/site-packages")))
    own = _megabytes(next(folder.glob("lib/*/site-packages/posert")))
    return (
        f"fresh environment: first {first:.2f} s, later {statistics.median(later):.2f} s, "
        f"ratio {first / statistics.median(later):.2f}; {whole:.0f} MB, of which posert {own:.1f} MB"
    )


def _megabytes(folder: Path) -> float:
    return int(subprocess.check_output(["du", "-sk", folder]).split()[0]) / 1024


def main() -> None:
    import cv2

    from posert.export.nano import clip

    with tempfile.TemporaryDirectory() as folder:
        photo = str(Path(folder) / "photo.png")
        cv2.imwrite(photo, clip.render(0)[0])
        ours = [sys.executable, "-m", "posert.cli", "infer", "nano", photo]
        least = [sys.executable, "-c", LEAST, photo, str(find_model("nano"))]
        help_only = [sys.executable, "-m", "posert.cli", "--help"]
        seconds(ours), seconds(least)
        rows = [(seconds(ours), seconds(least), seconds(help_only)) for _ in range(ROUNDS)]
        mine, minimum, helped = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{platform.processor() or platform.machine()}, medians of {ROUNDS} processes")
        print(
            f"infer one picture {mine:.2f} s, the least {minimum:.2f} s, ratio {mine / minimum:.2f}; "
            f"--help {helped:.2f} s"
        )
        if "--fresh" in sys.argv:
            print(fresh(photo, Path(folder) / "fresh"))


if __name__ == "__main__":
    main()
