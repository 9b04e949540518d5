"""Heavy maps, as a hostile model gives them: the time of decoding one picture, and the memory that it takes.

    PYTHONPATH=.typing python tests/bench/heavy.py [WORD...]

Every decoder (or the lines with all WORDs) on outputs where everything is above its thresholds: random, constant,
infinite, not a number, and what costs a decoder most. The bars: 3 s of a processor (one thread decodes) and 1 GB above
what there was. A line for each; the exit code is the number of those over a bar. Each runs in a process of its own, and
is ended after a minute.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from posert.errors import PosertError
from posert.poses import Poses, Skeleton
from posert.postprocess import decoder
from posert.postprocess.suppression import oks as oks_rule
from posert.postprocess.suppression import poses as pose_rule

MOST_S, MOST_BYTES, PATIENCE_S = 3.0, 1e9, 60.0
RNG = np.random.default_rng(0)
Case = tuple[str, Callable[[], Any], Callable[[Any], int]]


def skeleton(keypoints: int, edges: int) -> Skeleton:
    ends = [(i % keypoints, (i + 1 + i // keypoints) % keypoints) for i in range(edges)]
    return Skeleton(tuple(f"k{i}" for i in range(keypoints)), tuple((a, b) for a, b in ends if a != b))


def filled(kind: str, *shape: int) -> np.ndarray:
    if kind == "random":
        return RNG.random(shape, np.float32)
    if kind == "mixed":
        values = RNG.normal(0, 1, shape).astype(np.float32)
        values[RNG.random(shape) < 0.01] = np.inf
        values[RNG.random(shape) < 0.01] = np.nan
        return values
    return np.full(shape, {"constant": 0.9, "infinite": np.inf, "nan": np.nan}[kind], np.float32)


def decoding(name: str, bones: Skeleton, params: dict[str, Any], input_wh: tuple[int, int]) -> Callable[[Any], int]:
    module = decoder(name)
    return lambda outputs: sum(map(len, module.decode(outputs, bones, module.Params(**params), input_wh)))


def detect() -> Iterator[Case]:
    side, rows = 4096, 344_064
    for kind in ("random", "constant", "infinite", "nan", "mixed", "apart", "rising"):

        def outputs(kind: str = kind) -> dict[str, np.ndarray]:
            grid = filled("random" if kind in ("apart", "rising") else kind, 1, rows, 6)
            if kind in ("apart", "rising"):  # small boxes that do not meet, each a person
                grid[..., 2:4] = -3
                grid[..., 4] = 0.2 + (0.7 * np.arange(rows) / rows if kind == "rising" else 0.5)
                grid[..., 5] = 1
            return {"grid_rows": grid}

        yield f"detect rows {kind}", outputs, decoding("detect", Skeleton((), ()), {"classes": 1}, (side, side))
    heads = {"head8": 8, "head16": 16, "head32": 32}
    for kind in ("random", "constant"):
        make = partial(lambda kind: {n: filled(kind, 1, 18, side // s, side // s) for n, s in heads.items()}, kind)
        yield f"detect heads {kind}", make, decoding("detect", Skeleton((), ()), {"classes": 1}, (side, side))


def rows() -> Iterator[Case]:
    count, bones = 65_536, skeleton(17, 0)
    for kind in ("random", "constant", "infinite", "nan", "mixed", "apart"):

        def outputs(kind: str = kind) -> dict[str, np.ndarray]:
            made = filled("random" if kind == "apart" else kind, 1, count, 56)
            if kind == "apart":  # small boxes that do not meet, each a person
                made[0, :, :4] = np.arange(count)[:, None] + [0, 0, 0.5, 0.5]
                made[0, :, 4] = 0.4 + 0.5 * np.arange(count) / count
            return {"rows": made}

        params = {"columns": ("box", "scores", "keypoints"), "max_iou": 0.7}
        yield f"rows {kind}", outputs, decoding("rows", bones, params, (4096, 4096))


def limbs(name: str, parts: int, edges: int, cells: tuple[int, int], **params: Any) -> Iterator[Case]:
    bones = skeleton(parts, edges)
    channels = tuple((2 * i % 64, (2 * i + 1) % 64) for i in range(len(bones.edges)))
    given = {"paf_channels": channels, **params}
    if name == "bodyparts":
        given |= {"redundant_edges": (), "foot_parts": ()}
    title = " ".join(f"{key}={value}" for key, value in params.items())
    for kind in ("random", "constant", "infinite", "nan", "mixed"):
        make = partial(lambda k: {"heatmaps": filled(k, 1, parts, *cells), "pafs": filled(k, 1, 64, *cells)}, kind)
        input_wh = (8 * cells[1], 8 * cells[0])
        yield f"{name} {len(bones.edges)} edges {kind} {title}", make, decoding(name, bones, given, input_wh)


def peaks(high: int, wide: int, parts: int) -> np.ndarray:
    """Maps with as many peaks as fit."""
    maps = np.zeros((1, parts, high, wide), np.float32)
    maps[:, :, 1::4, 1::4] = RNG.uniform(0.5, 1, maps[:, :, 1::4, 1::4].shape)
    return maps


def joined(name: str, parts: int, edges: int, cells: tuple[int, int], **params: Any) -> Iterator[Case]:
    """Every pair of peaks of every edge makes a limb."""
    for title, _, decode in limbs(name, parts, edges, cells, **params):
        if "constant" in title:
            make = lambda: {"heatmaps": peaks(*cells, parts), "pafs": filled("constant", 1, 64, *cells)}  # noqa: E731
            yield title.replace("constant", "joined"), make, decode


def cifcaf(parts: int, edges: int, cells: tuple[int, int], stride: int, **params: Any) -> Iterator[Case]:
    bones, (h, w) = skeleton(parts, edges), cells
    input_wh = (stride * (w - 1) + 1, stride * (h - 1) + 1)
    title = f"cifcaf {parts} parts, {w} cells of {stride} px {' '.join(params)}"
    for kind in ("random", "constant", "infinite", "nan", "mixed", "anywhere"):

        def outputs(kind: str = kind) -> dict[str, np.ndarray]:
            base = "random" if kind == "anywhere" else kind
            cif, caf = filled(base, 1, parts, 5, h, w), filled(base, 1, len(bones.edges), 8, h, w)
            if kind == "anywhere":  # places all over the picture, as wide as it
                cif[:, :, 2:4] *= max(w, h)
                cif[:, :, 4] *= w
                caf[:, :, 2:6] *= max(w, h)
                caf[:, :, 6:] *= w
            return {"cif": cif, "caf": caf}

        yield f"{title} {kind}", outputs, decoding("cifcaf", bones, params, input_wh)


def others() -> Iterator[Case]:
    bones = skeleton(17, 16)
    for kind in ("random", "mixed"):
        yield (
            f"direct {kind}",
            lambda kind=kind: {"people": filled(kind, 1, 500_000, 56)},
            decoding("direct", bones, {}, (256, 256)),
        )
        yield (
            f"heatmap {kind}",
            lambda kind=kind: {"maps": filled(kind, 64, 136, 64, 48)},
            decoding("heatmap", skeleton(136, 100), {"integral": 68}, (192, 256)),
        )
        yield (
            f"heatmap {kind} dark",
            lambda kind=kind: {"maps": filled(kind, 64, 136, 64, 48)},
            decoding("heatmap", skeleton(136, 100), {"refine": "dark_udp", "kernel_size": 63}, (192, 256)),
        )
        yield (
            f"simcc {kind}",
            lambda kind=kind: {"simcc_x": filled(kind, 64, 133, 2000), "simcc_y": filled(kind, 64, 133, 2000)},
            decoding("simcc", skeleton(133, 100), {}, (1000, 1000)),
        )
    for keypoints in (17, 136):

        def people(keypoints: int = keypoints) -> Poses:
            found = RNG.uniform(0.5, 1, (16384, keypoints, 3)).astype(np.float32)
            found[:, :, :2] *= 30_000
            corners = RNG.uniform(0, 1000, (len(found), 4)).astype(np.float32)
            return Poses(found, np.ones(len(found), np.float32), corners)

        params = pose_rule.Params(whole_body=keypoints == 136)
        yield f"poses {keypoints} apart", people, lambda p, params=params: len(pose_rule.suppress(p, p, params))
        yield f"oks {keypoints} apart", people, lambda p: len(oks_rule.suppress(p, p, oks_rule.Params()))


def cases() -> Iterator[Case]:
    yield from detect()
    yield from rows()
    for name in ("paf", "bodyparts"):
        yield from limbs(name, 102, 5000, (46, 82))
        yield from joined(name, 102, 5000, (46, 82))
        yield from joined(name, 18, 26, (92, 164), max_peaks=512)
    yield from joined("bodyparts", 102, 5000, (46, 82), assembly="pairwise")
    yield from joined("paf", 102, 5000, (46, 82), upsample=8, interpolation="cubic", limb_samples=100, limb_least=0)
    yield from cifcaf(17, 19, (65, 65), 64)
    yield from cifcaf(17, 19, (65, 65), 64, force_complete_pose=True)
    yield from cifcaf(17, 19, (129, 129), 64)
    yield from cifcaf(17, 19, (257, 257), 64)
    yield from cifcaf(17, 19, (161, 161), 8)
    yield from cifcaf(133, 152, (161, 161), 8, force_complete_pose=True)
    yield from others()


def measured(make: Callable[[], Any], decode: Callable[[Any], int], to: Any) -> None:
    outputs = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    try:
        people = decode(outputs)
    except PosertError:
        people = -1
    seconds = time.process_time() - began
    to.send((seconds, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before), people))


def main() -> int:
    over = 0
    context = multiprocessing.get_context("fork")
    for title, make, decode in cases():
        if not all(word in title for word in sys.argv[1:]):
            continue
        come, go = context.Pipe(duplex=False)
        process = context.Process(target=measured, args=(make, decode, go))
        process.start()
        go.close()
        try:
            seconds, grown, people = come.recv() if come.poll(PATIENCE_S) else (float("inf"), 0, 0)
        except EOFError:
            seconds, grown, people = float("nan"), 0, 0
        process.kill()
        process.join()
        bad = not seconds <= MOST_S or grown > MOST_BYTES
        over += bad
        text = "refused" if people < 0 else f"{people} people"
        print(f"{title:90} {seconds:6.2f} s {grown / 1e6:5.0f} MB, {text}{' OVER' * bad}", flush=True)
    return over


if __name__ == "__main__":
    sys.exit(min(main(), 100))
