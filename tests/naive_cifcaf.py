"""Slow twin of the decoder `cifcaf`: whole fields scanned for every look-up, lists and dictionaries."""

import math

import numpy as np

from posert.poses import Skeleton
from posert.postprocess.decoders.cifcaf import Params

f32 = np.float32
Joint = tuple[float, float, float, float]  # score, x, y, scale


def clip(value: float, low: int, high: int) -> int:
    return int(min(max(float(value), low), high))


def cells(field: np.ndarray, threshold: float) -> list[np.ndarray]:
    """Rows of f32 [C,h,w] above a threshold in row order, the finite ones; component 0 is not looked at."""
    rows = field.reshape(len(field), -1).T
    return [row for row in rows if row[1] >= f32(threshold) and np.isfinite(row[1:]).all()]


def maps(cif: np.ndarray, stride: int, params: Params) -> np.ndarray:
    high, wide = (cif.shape[2] - 1) * stride + 1, (cif.shape[3] - 1) * stride + 1
    hr = np.zeros((len(cif), high, wide), f32)
    ys, xs = np.mgrid[:high, :wide].astype(f32)
    for k, field in enumerate(cif):
        for _, v, x, y, scale in cells(field, params.cif_threshold):
            x, y, sigma = x * f32(stride), y * f32(stride), max(f32(1), f32(0.5) * scale * f32(stride))
            left, top = clip(x - sigma, 0, wide - 1), clip(y - sigma, 0, high - 1)
            box = (
                slice(top, clip(y + sigma + f32(1), top + 1, high)),
                slice(left, clip(x + sigma + f32(1), left + 1, wide)),
            )
            dx2, dy2 = (xs[box] - x) ** 2, (ys[box] - y) ** 2
            e = (1 - (dx2 + dy2) / (sigma * sigma) / f32(16)) ** 8
            e = np.where((dx2 < 0.25) & (dy2 < 0.25), f32(1), e)
            added = np.where(dx2 + dy2 <= sigma * sigma, v / f32(params.cif_neighbors) * e, f32(0))
            hr[k][box] = np.minimum(hr[k][box] + added, f32(1))
    return hr


def look(hr: np.ndarray, x: float, y: float, default: float) -> float:
    high, wide = hr.shape
    if x < -0.49 or y < -0.49 or x > wide - 0.51 or y > high - 0.51:
        return default
    return float(hr[int(y + 0.5), int(x + 0.5)])


def seeds(cif: np.ndarray, hr: np.ndarray, stride: int, threshold: float) -> list[tuple[float, ...]]:
    """(value, keypoint, x, y, scale), the best first."""
    found = []
    for k, field in enumerate(cif):
        for _, c, *place in cells(field, threshold):
            x, y, scale = (float(f32(value * f32(stride))) for value in place)
            v = f32(0.9 * look(hr[k], x, y, -1.0) + 0.1 * float(c))
            if v >= f32(threshold):
                found.append((float(v), k, x, y, scale))
    return sorted(found, key=lambda seed: -seed[0])


def connections(
    caf: np.ndarray, hr: np.ndarray, skeleton: Skeleton, stride: int, threshold: float
) -> dict[tuple[int, int], np.ndarray]:
    """(start, end) -> f64 [n,7]: score, source x, y, target x, y, source scale, target scale."""
    result: dict[tuple[int, int], np.ndarray] = {}
    for (a, b), field in zip(skeleton.edges, caf, strict=True):
        forward, backward = [], []
        for row in cells(field, threshold):
            c = float(row[1])
            xa, ya, xb, yb, sa, sb = (float(value) for value in row[2:] * f32(stride))
            to_b = f32(c * (0.1 + 0.9 * look(hr[b], xb, yb, 0.0)))
            to_a = f32(c * (0.1 + 0.9 * look(hr[a], xa, ya, 0.0)))
            if to_b > f32(threshold):
                forward.append((float(to_b), xa, ya, xb, yb, sa, sb))
            if to_a > f32(threshold):
                backward.append((float(to_a), xb, yb, xa, ya, sb, sa))
        result[a, b] = np.array(forward).reshape(-1, 7)
        result[b, a] = np.array(backward).reshape(-1, 7)
    return result


def blend(rows: np.ndarray, x: float, y: float, s: float, factor: float) -> Joint | None:
    s = max(s, 0.5)
    half, best, second, a, b = factor * s / 2, 0.0, 0.0, None, None
    near = (abs(rows[:, 1] - x) <= half) & (abs(rows[:, 2] - y) <= half)
    for row in rows[near].tolist():
        score = math.exp(-0.5 * ((row[1] - x) ** 2 + (row[2] - y) ** 2) / (0.25 * s * s)) * row[0]
        if score >= best:
            best, second, a, b = score, best, row, a
        elif score > second:
            second, b = score, row
    if a is None or best == 0:
        return None
    sa = max(0.0, a[6])
    if b is None or second < 0.01 or second < 0.5 * best or (a[3] - b[3]) ** 2 + (a[4] - b[4]) ** 2 > sa * sa / 4:
        return 0.5 * best, a[3], a[4], sa
    mean = [(best * p + second * q) / (best + second) for p, q in ((a[3], b[3]), (a[4], b[4]), (sa, max(0.0, b[6])))]
    return 0.5 * (best + second), mean[0], mean[1], mean[2]


def target(directed, pose, table, least, relative, reverse_match, factor) -> Joint | None:
    a, b = directed
    v_a, x_a, y_a, s_a = pose[a]
    found = blend(table[a, b], x_a, y_a, s_a, factor)
    if found is None:
        return None
    v, x, y, s = found
    v = math.sqrt(v * v_a)
    if v < least or v < relative * v_a:
        return None
    if reverse_match:
        back = blend(table[b, a], x, y, s, factor)
        if back is None or abs(x_a - back[1]) + abs(y_a - back[2]) > s_a:
            return None
    return v, x, y, s


def grow(pose: dict[int, Joint], skeleton: Skeleton, compute, greedy: bool) -> None:
    """Fills `pose`; `compute(directed)` gives a joint or None. The queue is a list, searched from the front."""
    queue: list[tuple[float, tuple[int, int], Joint | None]] = []
    added = set()

    def add(joint: int) -> None:
        for a, b in skeleton.edges:
            if joint in (a, b):
                directed = (a, b) if joint == a else (b, a)
                if directed[1] not in pose and directed not in added:
                    added.add(directed)
                    queue.append((f32(math.sqrt(pose[joint][0])), directed, None))

    for joint in sorted(pose):
        add(joint)
    while queue:
        entry = queue.pop(max(range(len(queue)), key=lambda i: (queue[i][0], -i)))
        _, directed, joint = entry
        if directed[1] in pose:
            continue
        if joint is None:
            joint = compute(directed)
            if joint is None:
                continue
            if not greedy:
                queue.append((f32(joint[0]), directed, joint))
                continue
        pose[directed[1]] = joint
        add(directed[1])


class Occupied:
    """Taken places, as a set of cells of two by two pixels per keypoint."""

    def __init__(self, hr: np.ndarray) -> None:
        self.high, self.wide = hr.shape[1] // 2 + 1, hr.shape[2] // 2 + 1
        self.taken = np.zeros((len(hr), self.high, self.wide), bool)

    def mark(self, k: int, joint: Joint) -> None:
        _, x, y, s = joint
        r = max(2.0, s / 2)
        left, top = clip(x / 2 - r, 0, self.wide - 1), clip(y / 2 - r, 0, self.high - 1)
        right, bottom = clip(x / 2 + r, left + 1, self.wide), clip(y / 2 + r, top + 1, self.high)
        self.taken[k, top:bottom, left:right] = True

    def __call__(self, k: int, joint: Joint) -> bool:
        return bool(self.taken[k, clip(joint[2] / 2, 0, self.high - 1), clip(joint[1] / 2, 0, self.wide - 1)])


def decode(cif: np.ndarray, caf: np.ndarray, skeleton: Skeleton, params: Params, stride: int) -> np.ndarray:
    """Joints f64 [N,K,4] (score, x, y, scale) of one row."""
    forced, parts = params.force_complete_pose, len(skeleton.names)
    least = 0.0 if forced else min(params.keypoint_threshold, params.seed_threshold)
    relative = 0.0 if forced else params.keypoint_threshold_rel
    hr = maps(cif, stride, params)
    table = connections(caf, hr, skeleton, stride, params.caf_threshold)
    occupied, poses = Occupied(hr), []
    rules = least, relative, params.reverse_match, 1.0
    for v, k, x, y, scale in seeds(cif, hr, stride, params.seed_threshold):
        if occupied(k, (v, x, y, scale)):
            continue
        pose = {k: (v, x, y, scale)}
        grow(pose, skeleton, lambda directed, p=pose: target(directed, p, table, *rules), params.greedy)
        for joint, value in pose.items():
            occupied.mark(joint, value)
        poses.append(pose)
    if forced:
        weak = connections(caf, hr, skeleton, stride, params.force_complete_caf_threshold)
        for pose in poses:
            grow(
                pose,
                skeleton,
                lambda directed, p=pose: target(directed, p, weak, least, relative, False, 4.0),
                params.greedy,
            )
            grow(pose, skeleton, lambda directed, p=pose: (1e-5, *p[directed[0]][1:]), True)
    table_of_joints = np.zeros((len(poses), parts, 4))
    for i, pose in enumerate(poses):
        for joint, value in pose.items():
            table_of_joints[i, joint] = value
    return suppress(table_of_joints, Occupied(hr), params)


def suppress(poses: np.ndarray, occupied: Occupied, params: Params) -> np.ndarray:
    forced = params.force_complete_pose
    for i in np.argsort(-poses[:, :, 0].mean(axis=1).astype(f32), kind="stable"):
        for k, joint in enumerate(poses[i]):
            if joint[0] > 0:
                if occupied(k, tuple(joint)):
                    joint[0] *= 1e-5
                else:
                    occupied.mark(k, tuple(joint))
    poses[poses[:, :, 0] <= (0.0 if forced else params.nms_keypoint_threshold), 0] = 0
    least = params.instance_threshold if params.instance_threshold is not None else 0.0 if forced else 0.15
    means = poses[:, :, 0].mean(axis=1).astype(f32)
    order = np.argsort(-means, kind="stable")
    return poses[[i for i in order if means[i] >= f32(least)]]
