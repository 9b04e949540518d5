"""Resident memory of each sink over 20,000 frames with tracking, smoothing and features.

The frames are made up, so that the figure is that of tracker, features and sinks; `soak.py VIDEO`
instead loops a real video through the embedded network. Formats may be named too.
"""

import gc
import itertools
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".typing")]

import numpy as np  # noqa: E402
import people  # noqa: E402

from posert.poses import Frame, Result  # noqa: E402
from posert.runtime.after import post_chain  # noqa: E402
from posert.runtime.files.formats import FORMATS  # noqa: E402
from posert.runtime.loop import estimate_frames  # noqa: E402
from posert.runtime.media.read import frames  # noqa: E402
from posert.runtime.session import open_model  # noqa: E402

FRAMES, FIRST = 20_000, 500


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def made_up() -> Iterator[tuple[Frame, Result]]:
    rng = np.random.default_rng(1)
    for index in range(FRAMES):
        centres = rng.uniform(50, 400, (index // 50 % 4, 2))
        yield people.result(people.standing(*map(tuple, centres)), index)


def looped(video: str) -> Iterator[tuple[Frame, Result]]:
    def again() -> Iterator[Frame]:
        endless = itertools.chain.from_iterable(frames(video) for _ in itertools.count())
        for index, frame in enumerate(itertools.islice(endless, FRAMES)):
            yield replace(frame, index=index, time_s=index / 25)

    with open_model("nano", device="cpu", threads=2, workers=2) as model:
        yield from estimate_frames(model, again())


def main() -> None:
    named = [argument for argument in sys.argv[1:] if argument in FORMATS]
    video = next((argument for argument in sys.argv[1:] if argument not in FORMATS), None)
    worst = 0.0
    for form in named or FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            source = looped(video) if video else made_up()
            refine, first = post_chain(people.SKELETON, features=True, smooth=True), 0.0
            spec = people.SPEC
            if video:
                with open_model("nano", device="cpu") as model:
                    spec = model.spec
                refine = post_chain(spec.skeleton, features=True, smooth=True)
            with FORMATS[form].sink(Path(folder) / "out", spec, "walk.mp4") as write:
                for number, (frame, result) in enumerate(source):
                    write(frame, refine(result, frame.bgr))
                    if number == FIRST:
                        gc.collect()
                        first = resident_mb()
            last = resident_mb()  # after the file is closed: npz is put together then
        worst = max(worst, last - first)
        print(
            f"{form:16} after frame {FIRST} {first:7.1f} MB, after frame {FRAMES} {last:7.1f} MB, {last - first:+.1f}"
        )
    print(f"most: {worst:+.1f} MB")
    sys.exit(worst >= 8)


if __name__ == "__main__":
    main()
