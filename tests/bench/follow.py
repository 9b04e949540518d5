"""The two rules by which people are followed, `steady` and `tutorial`, on the same videos: how calm and how right.

    python tests/bench/follow.py DETECTOR.onnx VIDEO[@CUT,CUT...]... --model POSE.onnx... [--everybody POSE.onnx]...

POSE: a network for one person; after --everybody it runs behind the detector and follows everybody. CUT: the first
frame of a new scene. What both rules are held against is the same network on the detector's boxes, frame by frame,
without following. Of keypoints with a score of .3 and more, of people by ids (`Tracker`):

    score     mean of all keypoints
    rest      px between a keypoint and the middle of its neighbours in time, where what is independent rests (moves
              less than a hundredth of the torso in a frame, over five frames): the median, and nine of ten are below
    jumps     keypoints that move more than half a torso in one frame
    sides     pairs that change places in one frame
    near      px from the independent keypoints: the median; and the share of those within a fifth of the torso
    drift     px from a second run whose second frame has its windows moved by 1e-7 of the picture: median, nine of ten
    lost      frames until the person is found after each cut (a torso's length from the independent one, or nearer)
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from posert import ModelOptions, open_model
from posert.poses import Frame, Poses
from posert.runtime.after.track import Tracker
from posert.runtime.loop import People, TopDown
from posert.runtime.media.read import frames
from posert.runtime.session import Model

Floats = NDArray[np.float64]
Clip = list[dict[int, Floats]]
"""Of each frame: id -> keypoints f64 [K,3]."""
SEEN, RESTS, JUMP, NEAR = 0.3, 0.01, 0.5, 0.2


def found(model: Model, pictures: list[Frame], every: int = 1, shift: float = 0.0) -> Clip:
    """Everybody in each frame; the windows of the second one moved by so much of the frame's longer side."""
    people, tracker = People(model, top_down=TopDown(detect_every=every)), Tracker(model.spec.skeleton)
    clip: Clip = []
    placed = people.gaze.windows

    def moved(*where: object) -> tuple[Floats, tuple[int, int]]:
        windows, input_wh = placed(*where)  # type: ignore[arg-type]
        return windows + (shift * max(pictures[0].size_wh) if len(clip) == 1 else 0), input_wh

    people.gaze.windows = moved  # type: ignore[method-assign]
    for picture in pictures:
        ((_, result),) = people([picture])
        clip.append(by_id(tracker(result.poses, result.time_s, picture.bgr)))
    return clip


def by_id(poses: Poses) -> dict[int, Floats]:
    ids = [] if poses.ids is None else poses.ids.tolist()
    return dict(zip(ids, poses.keypoints.astype(np.float64), strict=True))


def independent(pose: str, detector: str, pictures: list[Frame], one: bool) -> Clip:
    """The network on the detector's boxes; `one`: on the person's who is the tallest at first."""
    clip, last = [], None
    with open_model(detector, OPTIONS) as finder, open_model(pose, OPTIONS) as model:
        tracker, finding = Tracker(model.spec.skeleton), People(finder)
        for picture in pictures:
            boxes = finding([picture])[0][1].poses.boxes_xyxy
            if one and len(boxes):
                last = boxes[int(np.argmax(heights(boxes) if last is None else [iou(last, box) for box in boxes]))]
                boxes = last[None]
            people = People(model, lambda _, boxes=boxes: boxes)([picture])[0][1].poses
            clip.append(by_id(tracker(people, picture.time_s, picture.bgr)))
    return clip


def heights(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(boxes[:, 3] - boxes[:, 1])


def iou(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def torso(points: Floats, torso_at: list[int]) -> float:
    hips, shoulders = points[torso_at[:2], :2].mean(0), points[torso_at[2:], :2].mean(0)
    return max(1.0, float(np.hypot(*(hips - shoulders))))


def nearest(points: Floats, others: dict[int, Floats]) -> int:
    """The id of the person whose keypoints are nearest; 0 = there is none."""
    far = {key: float(np.median(np.hypot(*(points - other)[:, :2].T))) for key, other in others.items()}
    return min(far, key=far.__getitem__, default=0)


def resting(truth: Clip, torso_at: list[int]) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Frame and id -> which keypoints rest."""
    rest = {}
    for index in range(3, len(truth) - 3):
        for key in truth[index]:
            window = [each[key] for each in truth[index - 3 : index + 4] if key in each]
            if len(window) == 7:
                points = np.array(window)
                moved = np.hypot(*(points[2:].mean(0) - points[:-2].mean(0))[:, :2].T) / 2
                rest[index, key] = (moved < RESTS * torso(points[3], torso_at)) & (points[..., 2].min(0) > SEEN)
    return rest


def neighbours(clip: Clip) -> Iterator[tuple[int, Floats, Floats, Floats]]:
    """Frame, and the keypoints before, in and after it of whoever is in all three."""
    for index in range(1, len(clip) - 1):
        for key in clip[index].keys() & clip[index - 1].keys() & clip[index + 1].keys():
            yield index, clip[index - 1][key], clip[index][key], clip[index + 1][key]


def apart(one: Floats, other: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """px between the keypoints, and which are seen in both."""
    return np.hypot(*(one - other)[:, :2].T), np.minimum(one[:, 2], other[:, 2]) >= SEEN


def at_rest(clip: Clip, truth: Clip, torso_at: list[int]) -> Floats:
    rest, shakes = resting(truth, torso_at), [np.zeros(0)]
    for index, before, now, after in neighbours(clip):
        calm = rest.get((index, nearest(now, truth[index])))
        if calm is not None:
            shakes.append(np.hypot(*(now - (before + after) / 2)[:, :2].T)[calm])
    return np.concatenate(shakes)


def steps(clip: Clip, torso_at: list[int], flip: tuple[int, ...]) -> tuple[int, int]:
    """How many keypoints jump, and how many pairs change places."""
    jumps = sides = 0
    for before, now in pairwise(clip):
        for key in before.keys() & now.keys():
            (far, seen), size = apart(before[key], now[key]), torso(before[key], torso_at)
            crossed, _ = apart(before[key][list(flip)], now[key])
            jumps += int((far[seen] > JUMP * size).sum())
            for one, other in enumerate(flip):
                pair = [one, other]
                same = far[pair].sum()
                sides += one < other and seen[pair].all() and same > max(2 * crossed[pair].sum(), NEAR * size)
    return jumps, int(sides)


def distances(clip: Clip, other: Clip) -> list[tuple[Floats, Floats]]:
    """Of each person in each frame: px from the nearest of the others, of the keypoints seen; and the keypoints."""
    pairs = [
        (points, others[key])
        for people, others in zip(clip, other, strict=True)
        for points in people.values()
        if (key := nearest(points, others))
    ]
    return [(far[seen], points) for points, match in pairs for far, seen in [apart(points, match)]]


def until_found(clip: Clip, truth: Clip, cuts: list[int], torso_at: list[int]) -> list[int]:
    waits = []
    for cut in cuts:
        good = [
            any(
                np.median(apart(points, other)[0]) < torso(other, torso_at)
                for points in clip[index].values()
                for other in truth[index].values()
            )
            for index in range(cut, len(clip))
        ]
        waits.append(good.index(True) if True in good else len(good))
    return waits


def line(name: str, clip: Clip, again: Clip, truth: Clip, cuts: list[int], model: Model) -> str:
    names, flip = model.spec.skeleton.names, model.spec.skeleton.flip
    torso_at = [names.index(f"{side}_{part}") for part in ("hip", "shoulder") for side in ("left", "right")]
    scores = np.concatenate([points[:, 2] for people in clip for points in people.values()])
    shakes, (jumps, sides) = at_rest(clip, truth, torso_at), steps(clip, torso_at, flip)
    near = distances(clip, truth)
    px, share = (
        np.concatenate([far for far, _ in near]),
        np.concatenate([far / torso(points, torso_at) for far, points in near]),
    )
    drift = np.concatenate([far for far, _ in distances(clip, again)])
    lost = "/".join(map(str, until_found(clip, truth, cuts, torso_at)))
    cells = [
        f"{scores.mean():.3f}", f"{np.median(shakes):.2f}, {np.quantile(shakes, 0.9):.2f}", jumps, sides,
        f"{np.median(px):.2f}, {(share < NEAR).mean():.3f}", f"{np.median(drift):.2f}, {np.quantile(drift, 0.9):.2f}",
        lost,
    ]  # fmt: skip
    return f"| {name} | {' | '.join(map(str, cells))} |"


OPTIONS = ModelOptions(device="cpu", threads=1)


def params_of(rule: str) -> dict[str, str | float]:
    """What `posert infer --set` would be given."""
    name, _, more = rule.partition(":")
    values = dict(each.split("=") for each in more.split(",") if each)
    return {"follow.rule": name} | {f"follow.{key}": json.loads(value) for key, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("detector")
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--model", nargs="*", default=[])
    parser.add_argument("--everybody", nargs="*", default=[])
    parser.add_argument("--rules", nargs="*", default=["tutorial", "steady"], help="also RULE:NAME=VALUE,...")
    parser.add_argument("--frames", type=int, default=0, help="at most so many of each video")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}\n| | score | rest | jumps | sides | near | drift | lost |\n|{'---|' * 8}")
    began = time.process_time()
    for video in options.videos:
        file, _, cuts = video.partition("@")
        pictures = list(frames(file))[: options.frames or None]
        marks = [int(cut) for cut in cuts.split(",") if cut]
        jobs = [(pose, 0) for pose in options.model] + [(pose, n) for pose in options.everybody for n in (1, 4)]
        for pose, every in jobs:
            truth = independent(pose, options.detector, pictures, every == 0)
            for rule in options.rules:
                how = {"detector": options.detector} if every else {}
                with open_model(pose, OPTIONS, **how, params=params_of(rule)) as model:
                    run = partial(found, model, pictures, max(1, every))
                    name = (
                        f"{os.path.basename(file)}, {os.path.basename(pose)}{f', every {every}' * (every > 0)}, {rule}"
                    )
                    print(line(name, run(), run(shift=1e-7), truth, marks, model), flush=True)
    print(f"{time.process_time() - began:.0f} s of processors, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
