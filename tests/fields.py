"""Synthetic heatmaps and part-affinity fields of drawn stick people, for decoder tests and benches."""

import numpy as np

from posert.poses import Skeleton
from posert.postprocess.decoders.paf import COCO_18_CHANNELS

EDGES = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
)  # fmt: skip
BODY_18 = Skeleton(tuple(f"part_{k}" for k in range(18)), EDGES)
# x, y of a standing person about 1 high, neck at the origin
STANDING = np.array([
    (0, -0.12), (0, 0), (-0.1, 0.01), (-0.13, 0.16), (-0.14, 0.3), (0.1, 0.01), (0.13, 0.16), (0.14, 0.3),
    (-0.06, 0.33), (-0.07, 0.55), (-0.08, 0.78), (0.06, 0.33), (0.07, 0.55), (0.08, 0.78), (-0.03, -0.15),
    (0.03, -0.15), (-0.06, -0.13), (0.06, -0.13),
])  # fmt: skip


def people(count: int, width: float, height: float, seed: int = 0) -> np.ndarray:
    """f64 [count,18,2], in cells: people side by side, each in a column of its own, limbs bent a little."""
    rng = np.random.default_rng(seed)
    column = width / max(1, count)
    size = min(height * 0.85, column * 2.6)
    bent = STANDING + rng.normal(0, 0.012, (count, 18, 2))
    neck = np.stack([(np.arange(count) + 0.5) * column, np.full(count, height * 0.2)], axis=1)
    return bent * size + neck[:, None]


def maps(
    poses: np.ndarray, width: int, height: int, sigma: float = 1.0, thick: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """heatmaps f32 [19,h,w] (Gaussians) and pafs f32 [38,h,w] (unit vectors along each limb) of f64 [N,18,2] cells."""
    y, x = np.mgrid[:height, :width]
    heat = np.zeros((19, height, width), np.float32)
    pafs = np.zeros((38, height, width), np.float32)
    for pose in poses:
        for part, (px, py) in enumerate(pose):
            heat[part] = np.maximum(heat[part], np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)))
        for (a, b), (cx, cy) in zip(EDGES, COCO_18_CHANNELS, strict=True):
            v = pose[b] - pose[a]
            length = np.hypot(*v)
            u = v / length
            along, across = (
                (x - pose[a][0]) * u[0] + (y - pose[a][1]) * u[1],
                (x - pose[a][0]) * u[1] - (y - pose[a][1]) * u[0],
            )
            on = (along >= -thick) & (along <= length + thick) & (np.abs(across) <= thick)
            pafs[cx][on], pafs[cy][on] = u
    heat[18] = 1 - heat[:18].max(axis=0)
    return heat, pafs
