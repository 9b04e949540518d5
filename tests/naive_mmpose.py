"""Slow, obvious twins of what MMPose's kind of networks give, written from the papers: SimCC (Li et al. 2022), DARK
(Zhang et al. 2020), UDP (Huang et al. 2020). OpenCV gives the Gaussian, as it does for everybody who uses them.
"""

import cv2
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


def blurred(cells: np.ndarray, size: int, border: str) -> np.ndarray:
    """[H,W] under a Gaussian of size x size; nothing (`constant`) or the mirror image (`reflect`) around it."""
    row, half = cv2.getGaussianKernel(size, 0)[:, 0], size // 2
    wide = np.pad(cells.astype(float), half, mode=border)  # type: ignore[call-overload]
    across = np.apply_along_axis(np.convolve, 1, wide, row, "valid")
    return np.apply_along_axis(np.convolve, 0, across, row, "valid")


def dark(cells: np.ndarray, size: int) -> tuple[float, float]:
    """The maximum of [H,W] by the paper: blur, back to the old height, logarithm, one step of Taylor's series."""
    height, width = cells.shape
    y, x = np.unravel_index(np.argmax(cells), cells.shape)
    made = blurred(cells, size, "constant")
    d = np.log(np.maximum(made * cells.max() / made.max(), 1e-10))
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return float(x), float(y)
    dx, dy = (d[y, x + 1] - d[y, x - 1]) / 2, (d[y + 1, x] - d[y - 1, x]) / 2
    dxx, dyy = (d[y, x + 2] - 2 * d[y, x] + d[y, x - 2]) / 4, (d[y + 2, x] - 2 * d[y, x] + d[y - 2, x]) / 4
    dxy = (d[y + 1, x + 1] - d[y - 1, x + 1] - d[y + 1, x - 1] + d[y - 1, x - 1]) / 4
    return _stepped(x, y, np.array([dx, dy]), np.array([[dxx, dxy], [dxy, dyy]]), cells.shape)


def dark_udp(cells: np.ndarray, size: int) -> tuple[float, float]:
    """UDP's form: derivatives over one cell, the border's cells repeated, values between .001 and 50."""
    y, x = np.unravel_index(np.argmax(cells), cells.shape)
    d = np.pad(np.log(np.clip(blurred(cells, size, "reflect"), 0.001, 50)), 1, mode="edge")
    near = d[y : y + 3, x : x + 3]
    dx, dy = (near[1, 2] - near[1, 0]) / 2, (near[2, 1] - near[0, 1]) / 2
    dxx, dyy = near[1, 2] - 2 * near[1, 1] + near[1, 0], near[2, 1] - 2 * near[1, 1] + near[0, 1]
    dxy = (near[2, 2] - near[1, 2] - near[2, 1] + 2 * near[1, 1] - near[1, 0] - near[0, 1] + near[0, 0]) / 2
    second = np.array([[dxx, dxy], [dxy, dyy]]) + np.finfo(np.float32).eps * np.eye(2)
    return _stepped(x, y, np.array([dx, dy]), second, cells.shape)


def _stepped(x: int, y: int, first: np.ndarray, second: np.ndarray, shape: tuple) -> tuple[float, float]:
    """Where the parabola has its top; the cell itself if that is nowhere on the map."""
    if np.linalg.det(second) == 0:
        return float(x), float(y)
    along, down = np.array([x, y]) - np.linalg.solve(second, first)
    return (along, down) if 0 <= along <= shape[1] - 1 and 0 <= down <= shape[0] - 1 else (float(x), float(y))
