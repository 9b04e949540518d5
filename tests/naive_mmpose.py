"""Slow, obvious twins of what MMPose's kind of networks give, written from the papers: SimCC (Li et al. 2022)."""

import numpy as np


def bin_of(bins: np.ndarray) -> tuple[int, float]:
    """The first highest of [n] and its value; what is not a number counts for nothing."""
    values = np.where(np.isnan(bins), -np.inf, bins)
    return int(np.argmax(values)), float(np.max(values))


def simcc(x: np.ndarray, y: np.ndarray, ratio: float, mean: bool) -> np.ndarray:
    """[K,3] of one person: x px, y px, score, from [K,X] and [K,Y]; zeros where the score is not above 0."""
    points = np.zeros((len(x), 3))
    for k in range(len(x)):
        (column, across), (line, down) = bin_of(x[k]), bin_of(y[k])
        score = (across + down) / 2 if mean else min(across, down)
        if score > 0:
            points[k] = column / ratio, line / ratio, score
    return points


def unmirrored(
    x: np.ndarray, y: np.ndarray, ratio: float, width: int, flip: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """[K,X] and [K,Y] of a mirrored picture as of the picture itself."""
    own_x, own_y = np.empty_like(x), np.empty_like(y)
    for k, other in enumerate(flip):
        own_y[k] = y[other]
        for i in range(x.shape[1]):
            mirror_image = int(np.floor((width - 1) * ratio + 0.5)) - i
            own_x[k, i] = x[other, min(max(mirror_image, 0), x.shape[1] - 1)]
    return own_x, own_y
