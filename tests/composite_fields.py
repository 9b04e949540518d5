"""Synthetic composite fields (CIF, CAF) of drawn stick people with any skeleton, for decoder tests and benches."""

import numpy as np

from posert.poses import Skeleton

COCO_EDGES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
COCO = Skeleton(tuple(f"part_{k}" for k in range(17)), COCO_EDGES)
STAR = Skeleton(tuple("abcde"), ((0, 1), (0, 2), (3, 0), (4, 3)))


def chain(count: int) -> Skeleton:
    """`count` keypoints on a line, every tenth of them also joined to the first."""
    edges = [(k, k + 1) for k in range(count - 1)] + [(0, k) for k in range(10, count, 10)]
    return Skeleton(tuple(f"part_{k}" for k in range(count)), tuple(edges))


def people(count: int, parts: int, cells_wh: tuple[int, int], seed: int = 0) -> np.ndarray:
    """f64 [count,parts,2] in cells: each person in a column of its own, the keypoints well apart from each other."""
    rng = np.random.default_rng(seed)
    column = cells_wh[0] / max(1, count)
    places = rng.uniform(0.15, 0.85, (count, parts, 2)) * (column, cells_wh[1])
    return places + np.stack([np.arange(count) * column, np.zeros(count)], axis=1)[:, None]


def fields(
    truth: np.ndarray, skeleton: Skeleton, cells_wh: tuple[int, int], seed: int = 0, noise: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """(cif f32 [K,5,h,w], caf f32 [L,8,h,w]); four by four cells around each joint and each limb's middle speak."""
    rng = np.random.default_rng(seed)
    w, h = cells_wh
    cif = np.zeros((len(skeleton.names), 5, h, w), np.float32)
    caf = np.zeros((len(skeleton.edges), 8, h, w), np.float32)
    cif[:, 1] = rng.uniform(0, 0.15, cif[:, 1].shape)
    caf[:, 1] = rng.uniform(0, 0.15, caf[:, 1].shape)
    for person in truth:
        scale = 0.8 + rng.random()
        for k, place in enumerate(person):
            for x, y in _around(place, w, h):
                cif[k, 1:, y, x] = rng.uniform(0.6, 1), *(place + rng.normal(0, noise, 2)), scale
        for edge, (a, b) in enumerate(skeleton.edges):
            for t in np.linspace(0, 1, 5):
                for x, y in _around(person[a] * (1 - t) + person[b] * t, w, h):
                    ends = np.concatenate([person[a], person[b]]) + rng.normal(0, noise, 4)
                    caf[edge, 1:, y, x] = rng.uniform(0.5, 1), *ends, scale, scale
    return cif, caf


def _around(place: np.ndarray, w: int, h: int) -> list[tuple[int, int]]:
    left, top = int(place[0]) - 1, int(place[1]) - 1
    return [(x, y) for y in range(top, top + 4) for x in range(left, left + 4) if 0 <= x < w and 0 <= y < h]
