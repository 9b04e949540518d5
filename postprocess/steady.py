"""The steady rule of following: what it keeps of each person, the window that comes of it, and the sides of the body.

Owns the memory, rows f64 [N, 10 + 5 K]. Knows keypoints in pixels of the frame, nothing of networks or of time. All
numbers here are the project's own, measured by tests/bench/follow.py.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from posert.poses import TORSO, Poses, Skeleton
from posert.postprocess.following import FollowOptions, window_around
from posert.postprocess.kernels.records import numbers_of, reader
from posert.postprocess.kernels.registry import F32x3, F64x1, F64x2, I64x1, I64x2, jit, kernel
from posert.postprocess.kernels.workspace import outside

# of a row: the window that is looked at, the smooth one behind it, frames without a torso, whether the row has found
# its person again; then of each keypoint x px, y px, score, px it moves in a frame, frames with its limb exchanged
_WINDOW, _SMOOTH, _MISSED, _TAKEN, _POINTS, _EACH = 0, 4, 8, 9, 10, 5
_NEAR = 0.5  # of the window's side: whoever is farther from a person's last place is somebody else
_HINT = 0.1  # score of the torso's best keypoint below which there is nobody
_SEEN = 0.2  # score of keypoints whose sides are told apart
_EXCHANGED = 0.15  # of the window's side: what a limb's keypoints move together, at least, as they change sides
_CALM = 4.0  # ... and so many times what they have moved so far: whoever is seen seldom steps from foot to foot
_AT_FIRST = 0.1  # of the window's side: how much a keypoint moves in a frame as long as nobody knows
_NEWEST = 0.2  # share of the last frame in that movement
read_follow = reader(FollowOptions)


@jit
def _torso_middle(points, at, each, torso):
    """The middle x, y of the torso's keypoints, number k at points[at + each * k] and the place behind it."""
    x, y = 0.0, 0.0
    for k in torso:
        x += points[at + each * k] / 4
        y += points[at + each * k + 1] / 4
    return x, y


@jit
def _known(before, x, y, torso):
    """The row of the memory that is nearest to a torso at x, y and not taken yet; -1 if none is near."""
    least, at = _NEAR, -1
    for row in range(before.shape[0]):
        old_x, old_y = _torso_middle(before[row], _POINTS, _EACH, torso)
        side = before[row, _SMOOTH + 2] - before[row, _SMOOTH]
        distance = math.sqrt((x - old_x) * (x - old_x) + (y - old_y) * (y - old_y)) / side if side > 0.0 else math.inf
        if before[row, _TAKEN] == 0.0 and distance < least:
            least, at = distance, row
    return at


@jit
def _apart(window, held):
    """How far a window is from another in place and size, as a share of the other's side."""
    side = held[2] - held[0]
    across = abs((window[0] + window[2]) - (held[0] + held[2])) / 2
    down = abs((window[1] + window[3]) - (held[1] + held[3])) / 2
    larger = abs((window[2] - window[0]) - side) / 2
    return max(across, down, larger) / side if side > 0.0 else math.inf


@jit
def _move(rule, old, row):
    """The smooth window goes a share of the way to the one found (in its place in `row`); the one that is looked at
    stays unless it is too far from the smooth one."""
    for side in range(4):
        row[_SMOOTH + side] = old[_SMOOTH + side] + rule.share * (row[_SMOOTH + side] - old[_SMOOTH + side])
    stays = _apart(row[_SMOOTH : _SMOOTH + 4], old[_WINDOW : _WINDOW + 4]) <= rule.slack
    for side in range(4):
        row[_WINDOW + side] = old[_WINDOW + side] if stays else row[_SMOOTH + side]


@jit
def _stay(rule, old, row):
    """The windows stay as they were, if that has not been so too often; else there are none."""
    row[_MISSED], stays = old[_MISSED] + 1.0, old[_MISSED] < rule.patience
    for side in range(4):
        row[_WINDOW + side] = old[_WINDOW + side] if stays else math.nan
        row[_SMOOTH + side] = old[_SMOOTH + side] if stays else math.nan


@jit
def _distance(keypoints, k, old, other):
    """From keypoint k to where keypoint `other` was, px."""
    x = keypoints[k, 0] - old[_POINTS + _EACH * other]
    y = keypoints[k, 1] - old[_POINTS + _EACH * other + 1]
    return math.sqrt(x * x + y * y)


@jit
def _is_exchanged(keypoints, limb, sides, old):
    """Whether the pairs of a limb that are seen in both frames have changed places as no body could."""
    same, crossed, usual = 0.0, 0.0, 0.0
    for k in range(sides.shape[0]):
        other = sides[k, 0]
        if sides[k, 1] != limb or not (k < other < keypoints.shape[0]):
            continue
        seen = min(old[_POINTS + _EACH * k + 2], old[_POINTS + _EACH * other + 2], keypoints[k, 2], keypoints[other, 2])
        if seen > _SEEN:
            same += _distance(keypoints, k, old, k) + _distance(keypoints, other, old, other)
            crossed += _distance(keypoints, k, old, other) + _distance(keypoints, other, old, k)
            usual += old[_POINTS + _EACH * k + 3] + old[_POINTS + _EACH * other + 3]
    side = old[_SMOOTH + 2] - old[_SMOOTH]
    return 2.0 * crossed < same and same > _EXCHANGED * side and same > _CALM * usual


@jit
def _keep_sides(rule, keypoints, sides, old, row):
    """Limbs that have changed sides from one frame to the next change back, at most `patience` frames on end; the
    count of these frames comes into `row`, where the limb's first keypoint is."""
    for limb in range(sides.shape[0]):
        at = _POINTS + _EACH * limb + 4
        if sides[limb, 1] != limb or old[at] >= rule.patience or not _is_exchanged(keypoints, limb, sides, old):
            continue
        row[at] = old[at] + 1.0
        for k in range(sides.shape[0]):
            other = sides[k, 0]
            if sides[k, 1] == limb and k < other < keypoints.shape[0]:
                for axis in range(3):
                    value = keypoints[k, axis]
                    keypoints[k, axis], keypoints[other, axis] = keypoints[other, axis], value


@jit
def _note(keypoints, known, old, row):
    """Takes note of the keypoints and of how they move."""
    side = row[_SMOOTH + 2] - row[_SMOOTH]
    for k in range(keypoints.shape[0]):
        at = _POINTS + _EACH * k
        moves = old[at + 3] if known else _AT_FIRST * side
        if known and keypoints[k, 2] > _SEEN and old[at + 2] > _SEEN:
            moves += _NEWEST * (_distance(keypoints, k, old, k) - moves)
        for axis in range(3):
            row[at + axis] = keypoints[k, axis]
        row[at + 3] = moves


@jit
def _remember(rule, keypoints, torso, sides, width, height, before, row):
    """One person's row of the memory; sides that were exchanged are as before."""
    row[:] = 0.0
    x, y, hint = 0.0, 0.0, 0.0
    for k in torso:
        x, y, hint = x + keypoints[k, 0] / 4, y + keypoints[k, 1] / 4, max(hint, keypoints[k, 2])
    at = _known(before, x, y, torso)
    old = before[at] if at >= 0 else row
    if at >= 0:
        old[_TAKEN] = 1.0
        _keep_sides(rule, keypoints, sides, old, row)
    if window_around(keypoints, torso, width, height, row[_SMOOTH : _SMOOTH + 4]):
        if at >= 0:
            _move(rule, old, row)
        else:
            for side in range(4):
                row[_WINDOW + side] = row[_SMOOTH + side]
    elif at >= 0 and hint >= _HINT:
        _stay(rule, old, row)
    else:
        row[:_POINTS] = math.nan
    _note(keypoints, at >= 0, old, row)


@kernel
def _steadied(
    options: F64x1,
    keypoints: F32x3,
    torso: I64x1,
    sides: I64x2,
    width: float,
    height: float,
    before: F64x2,
    after: F64x2,
) -> int:
    """N, the number of people; 0 if the skeleton has no torso.

    Args:
        options: `FollowOptions` as numbers.
        keypoints: f32 [N,K,3]; sides that were exchanged are as before.
        torso: see `crop_window`. sides: see `sides_of`.
        width, height: of the frame, px.
        before, after: f64 [M,10+5K] and [N,10+5K]: the memory of the last frame, and that of this one, whose first four
            columns are the windows, NaN where none follows.
    """
    rule = read_follow(options)
    if outside(torso, keypoints.shape[1]):
        return 0
    before[:, _TAKEN] = 0.0
    for person in range(keypoints.shape[0]):
        _remember(rule, keypoints[person], torso, sides, width, height, before, after[person])
    return keypoints.shape[0]


def steadied(
    people: Poses, memory: NDArray[np.float64], frame_wh: tuple[int, int], skeleton: Skeleton, options: FollowOptions
) -> tuple[Poses, NDArray[np.float64]]:
    """The people with sides that stay where they were, and what is remembered of them: f64 [N,10+5K].

    The memory's first four columns are the windows (left, top, right, bottom px) to look at in the next frame, NaN
    where none follows a person. Such a window goes but a share of the way to where the tutorial's rule would look, and
    stays where it is for small changes, so that noise in keypoints comes to nothing; it also stays for some frames
    while hips or shoulders are seen badly. A limb that changes sides from one frame to the next, as no body could,
    changes back, unless the network insists for some frames.

    Args:
        memory: of the last frame of the same source, f64 [M,10+5K]; [0,10+5K] before the first.
        skeleton: needs left and right hip and shoulder; without `flip` it has no sides.
    """
    keypoints = np.array(people.keypoints, np.float32, order="C")
    torso, sides = np.array([skeleton.names.index(name) for name in TORSO]), sides_of(skeleton)
    after = np.empty((len(people), memory_size(keypoints.shape[1])))
    before = np.array(memory, np.float64, order="C")
    _steadied(numbers_of(options), keypoints, torso, sides, float(frame_wh[0]), float(frame_wh[1]), before, after)
    return replace(people, keypoints=keypoints), after


def sides_of(skeleton: Skeleton) -> NDArray[np.int64]:
    """i64 [K,2], each keypoint's mirror image and its limb, named by the first keypoint of both sides; [0,2]: no sides.

    A limb is what edges join without the torso: an arm without its shoulder, a leg without its hip, the head; hips and
    shoulders are limbs of their own.
    """
    limbs = {k: {k, mirrored} for k, mirrored in enumerate(skeleton.flip)}
    for one, other in skeleton.edges if limbs else ():
        if not {skeleton.names[one], skeleton.names[other]} & set(TORSO):
            joined = limbs[one] | limbs[other]
            limbs |= dict.fromkeys(joined, joined)
    rows = [(mirrored, min(limbs[k])) for k, mirrored in enumerate(skeleton.flip)]
    return np.array(rows, np.int64).reshape(-1, 2)


def memory_size(keypoint_count: int) -> int:
    """How many numbers are remembered of each person.

    >>> memory_size(17)
    95
    """
    return _POINTS + _EACH * keypoint_count
