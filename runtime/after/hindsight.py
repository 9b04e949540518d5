"""Steady keypoints by what comes after them: gaps filled and a zero-phase filter, each frame a little late.

Owns the wait and what is done in it. Knows results of one source in order, nothing of files or networks; the filter is
in `lowpass.py`.
"""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Poses, Result, join
from posert.runtime.after.lowpass import smoothed
from posert.runtime.after.options import SmoothOptions

Floats = NDArray[np.float64]
Kept = TypeVar("Kept")
_REACH = 3.2
"""Periods of the cut-off after which a filter of second order has forgotten: e to the power -14, a millionth."""
_BLOCK = 8  # frames that are worked on together


def wait_s(options: SmoothOptions) -> float:
    """How long after a frame its people are settled, seconds; 0 if nothing that comes later counts."""
    reach = _REACH / options.cutoff if options.method == "filtfilt" else 0.0
    return reach + options.fill


def with_hindsight(
    pairs: Iterable[tuple[Kept, Result]], options: SmoothOptions
) -> Generator[tuple[Kept, Result], None, None]:
    """The results of one source in order, people with ids, filled and filtered as the options say.

    At most `wait_s` and a few frames are held back with what comes with them, and as long a past without: memory does
    not grow with the source, and a result differs by less than a millionth of a movement from that over all of it.
    """
    wait, past, waiting = wait_s(options), deque[Result](), deque[tuple[Kept, Result]]()
    broken: PosertError | None = None
    source = iter(pairs)
    while True:
        try:
            waiting.append(next(source))
        except StopIteration:
            break
        except PosertError as error:  # a source that breaks off: what was read before is settled first
            broken = error
            break
        now_s = waiting[-1][1].time_s
        settled = sum(1 for _, result in waiting if result.time_s <= now_s - wait)
        if settled >= _BLOCK:
            yield from _settle(past, waiting, settled, options)
            while past and past[0].time_s < waiting[0][1].time_s - wait:
                past.popleft()
    yield from _settle(past, waiting, len(waiting), options)
    if broken is not None:
        raise broken


def _settle(
    past: deque[Result], waiting: deque[tuple[Kept, Result]], count: int, options: SmoothOptions
) -> Generator[tuple[Kept, Result], None, None]:
    """The first `count` of those waiting, which become past."""
    if not count:
        return
    window = [*past, *(result for _, result in waiting)]
    poses = settled_poses(window, len(past), len(past) + count, options)
    for found in poses:
        kept, result = waiting.popleft()
        past.append(result)
        yield kept, replace(result, poses=found)


def settled_poses(window: Sequence[Result], first: int, last: int, options: SmoothOptions) -> list[Poses]:
    """The people of the frames first..last of a window, filled and filtered by all of it."""
    times = np.array([result.time_s for result in window])
    rows: dict[int, dict[int, int]] = {}
    for frame, result in enumerate(window):
        for row, key in enumerate([] if result.poses.ids is None else result.poses.ids.tolist()):
            rows.setdefault(key, {})[frame] = row
    poses = [_editable(result.poses, options.fill > 0) for result in window[first:last]]
    more: list[list[Poses]] = [[] for _ in poses]
    for key, own in sorted(rows.items()):
        points, filled = _track(window, own, times, options)
        for frame in range(first, last):
            here = poses[frame - first]
            if frame in own:
                here.keypoints[own[frame]] = points[frame]
                if here.filled is not None:
                    here.filled[own[frame]] = filled[frame]
            elif filled[frame].any():
                more[frame - first].append(_between(window, own, frame, times, points[frame], filled[frame], key))
    count = window[0].poses.keypoints.shape[1]
    return [join([here, *others], count) if others else here for here, others in zip(poses, more, strict=True)]


def _track(
    window: Sequence[Result], own: dict[int, int], times: Floats, options: SmoothOptions
) -> tuple[Floats, NDArray[np.bool_]]:
    """One person's keypoints f64 [T,K,3] over the window, 0 where there are none, and which were filled, bool [T,K]."""
    points = np.zeros((len(window), window[0].poses.keypoints.shape[1], 3))
    for frame, row in own.items():
        points[frame] = window[frame].poses.keypoints[row]
    filled = fill(points, times, options.fill)
    if options.method == "filtfilt":
        _filter(points, times, options.cutoff)
    return points, filled


def fill(points: Floats, times_s: Floats, longest_s: float) -> NDArray[np.bool_]:
    """Fills gaps in keypoints f64 [T,K,3] in place, between two sightings at most `longest_s` apart; bool [T,K] where.

    Places lie on the straight line between the two sightings, scores are the smaller of theirs.
    """
    filled = np.zeros(points.shape[:2], bool)
    for k in range(points.shape[1] if longest_s > 0 else 0):
        for before, after in pairwise(np.flatnonzero(points[:, k, 2] > 0).tolist()):
            if after - before > 1 and times_s[after] - times_s[before] <= longest_s + 1e-3:
                gap = slice(before + 1, after)
                share = (times_s[gap] - times_s[before]) / (times_s[after] - times_s[before])
                points[gap, k] = points[before, k] + share[:, None] * (points[after, k] - points[before, k])
                points[gap, k, 2] = min(points[before, k, 2], points[after, k, 2])
                filled[gap, k] = True
    return filled


def _filter(points: Floats, times_s: Floats, cutoff_hz: float) -> None:
    """Filters every unbroken run of every keypoint f64 [T,K,3] in place; keypoints with the same runs together."""
    found = points[:, :, 2] > 0
    for pattern in np.unique(found, axis=1).T:
        same = np.flatnonzero((found == pattern[:, None]).all(axis=0))
        ends = np.flatnonzero(np.diff(np.concatenate([[False], pattern, [False]]).astype(np.int8)))
        for start, stop in ends.reshape(-1, 2).tolist():
            run = points[start:stop, same, :2].reshape(stop - start, -1)
            points[start:stop, same, :2] = smoothed(run, times_s[start:stop], cutoff_hz).reshape(-1, len(same), 2)


def _editable(poses: Poses, marked: bool) -> Poses:
    filled = np.zeros(poses.keypoints.shape[:2], bool) if marked else None
    return replace(poses, keypoints=poses.keypoints.copy(), filled=filled)


def _between(
    window: Sequence[Result], own: dict[int, int], frame: int, times: Floats, points: Floats, filled: NDArray[np.bool_],
    key: int,
) -> Poses:  # fmt: skip
    """Somebody who was not found in a frame: the smaller score and the box between of the two sightings around it."""
    before, after = max(f for f in own if f < frame), min(f for f in own if f > frame)
    share = (times[frame] - times[before]) / (times[after] - times[before])
    (box, score), (box_after, score_after) = (
        (window[f].poses.boxes_xyxy[own[f]], window[f].poses.scores[own[f]]) for f in (before, after)
    )
    return Poses(
        points[None].astype(np.float32), np.array([min(score, score_after)], np.float32),
        (box + np.float32(share) * (box_after - box))[None].astype(np.float32), np.array([key], np.int32), filled[None],
    )  # fmt: skip
