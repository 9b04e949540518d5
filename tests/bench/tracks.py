"""HOTA and IDF1 of ids on the six drawn clips and their half-rate versions: ours beside ByteTrack of `trackers`.

Both get the same people: those of `drawn_clips.detections` (the truth, blurred and with gaps), or a network's.

    python -m venv .venv-trackers && .venv-trackers/bin/pip install trackers==2.6.1
    python tests/bench/tracks.py --trackers .venv-trackers/bin/python [MODEL...]

`--set` passes parameters of ByteTrack on; without `--trackers` ours are shown alone.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import drawn_clips

from posert.export.nano import layout
from posert.export.nano.clip import FPS
from posert.measure.tracks import Tracked, score
from posert.measure.truths import Truth, of_posetrack
from posert.poses import Frame, Poses, Skeleton
from posert.runtime.after.track import Tracker
from posert.runtime.devices import cpu_cores
from posert.runtime.loop import estimate
from posert.runtime.session import Model, open_model

Found = list[tuple[float, np.ndarray, Poses]]  # time, picture, people


@dataclass(frozen=True, slots=True)
class Row:
    """One clip at one rate: its truth, the people found, and ours with ids."""

    name: str
    step: int
    truth: Truth
    people: list[Poses]
    ours: Tracked


def rows(model: Model | None) -> Iterator[Row]:
    """Every clip at both rates; without a model the truth with noise."""
    for name, clip in drawn_clips.CLIPS.items():
        every = [clip.render(index) for index in range(clip.frames)]
        for step in (1, 2):
            found, skeleton = _found(model, every[::step], step)
            tracker = Tracker(skeleton)
            ours = {n: tracker(poses, time_s, picture) for n, (time_s, picture, poses) in enumerate(found)}
            truth = of_posetrack(drawn_clips.truth_of(every[::step]))
            yield Row(name, step, truth, [poses for *_, poses in found], Tracked(skeleton.names, ours))


def _found(model: Model | None, frames: list[Any], step: int) -> tuple[Found, Skeleton]:
    if model is None:
        return drawn_clips.detections(frames, FPS / step, seed=step), layout.SKELETON
    given = [Frame(frame[0], n, n * step / FPS, "drawn") for n, frame in enumerate(frames)]
    results = estimate(model, iter(given))
    return [(r.time_s, f.bgr, r.poses) for f, r in zip(given, results, strict=True)], model.spec.skeleton


def bytetrack(python: str, params: list[str], all_rows: list[Row]) -> list[Tracked]:
    """ByteTrack's ids for the people of every row."""
    arrays: dict[str, Any] = {}
    for number, row in enumerate(all_rows):
        arrays |= {
            f"{number}.frame": np.repeat(np.arange(len(row.people)), [len(poses) for poses in row.people]),
            f"{number}.boxes": np.concatenate([poses.boxes_xyxy for poses in row.people]),
            f"{number}.scores": np.concatenate([poses.scores for poses in row.people]),
            f"{number}.frames": len(row.people),
            f"{number}.fps": FPS / row.step,
        }
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/in.npz", **arrays)
        more = [word for text in params for word in ("--set", text)]
        script = str(Path(__file__).with_name("bytetrack.py"))
        subprocess.run([python, script, f"{folder}/in.npz", f"{folder}/out.npz", *more], check=True, env={})
        with np.load(f"{folder}/out.npz") as found:
            return [_named(row, found[f"{number}.ids"]) for number, row in enumerate(all_rows)]


def _named(row: Row, ids: np.ndarray) -> Tracked:
    ends = np.cumsum([len(poses) for poses in row.people])[:-1]
    frames = {}
    for n, (poses, own) in enumerate(zip(row.people, np.split(ids, ends), strict=True)):
        kept = own >= 0
        frames[n] = replace(
            poses, keypoints=poses.keypoints[kept], scores=poses.scores[kept], boxes_xyxy=poses.boxes_xyxy[kept],
            ids=own[kept].astype(np.int32),
        )  # fmt: skip
    return Tracked(row.ours.names, frames)


def show(title: str, all_rows: list[Row], others: list[Tracked] | None) -> None:
    """A table of Markdown: HOTA and IDF1 of both."""
    print(f"\n{title}\n\n| clip | HOTA | IDF1 | HOTA of ByteTrack | IDF1 |\n|---|---|---|---|---|")
    pairs = [[(row.truth, found)] for row, found in zip(all_rows, [row.ours for row in all_rows], strict=True)]
    beside = [[(row.truth, found)] for row, found in zip(all_rows, others or [], strict=bool(others))]
    lines = [(row.name + (", half rate" if row.step == 2 else ""), [n]) for n, row in enumerate(all_rows)]
    for step, name in ((1, "all six"), (2, "all six, half rate")):
        lines.append((name, [n for n, row in enumerate(all_rows) if row.step == step]))
    for name, numbers in lines:
        figures = [score([pair for n in numbers for pair in which[n]]) for which in (pairs, beside) if which]
        print(f"| {name} | " + " | ".join(f"{one.hota:.3f} | {one.idf1:.3f}" for one in figures) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", help="networks, besides the drawn truth with noise")
    parser.add_argument("--trackers", help="a Python that has the package trackers")
    parser.add_argument("--set", action="append", default=[], help="NAME=NUMBER of ByteTrack")
    options = parser.parse_args()
    print(f"{cpu_cores()} cores, load {os.getloadavg()[0]:.1f}")
    for name in ("", *options.models):
        model = open_model(name, device="cpu", workers=cpu_cores()) if name else None
        all_rows = list(rows(model))
        others = bytetrack(options.trackers, options.set, all_rows) if options.trackers else None
        show(f"People found by {name}" if name else "The drawn truth with noise", all_rows, others)
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
