"""Heatmaps and limbs' fields as pictures above the frame: a heatmap from blue to red by its value, a field in the hue
of its direction. Knows maps and pixels, nothing of networks.
"""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from posert.poses import PartMap

Picture = NDArray[np.uint8]
_MOST = 0.85
"""Share of a map at its highest in the picture."""
_LIMIT = 1e3  # of a value that means something
_HUES = np.array(
    [[round(255 * value) for value in colorsys.hsv_to_rgb(turn / 256, 1.0, 1.0)[::-1]] for turn in range(256)],
    np.float32,
)


def draw_maps(canvas: Picture, maps: Sequence[PartMap]) -> None:
    """Draws the maps above the picture u8 [H,W,3], each as strong as its value, 0..1."""
    for one in maps:
        in_frame = [_in_frame(row, at, canvas) for row, at in zip(one.values, one.to_frame, strict=True)]
        if not in_frame:
            continue
        values = np.stack(in_frame)
        strength = values if values.ndim == 3 else np.hypot(values[:, 0], values[:, 1])
        best = strength.argmax(axis=0)
        strongest = np.clip(np.nan_to_num(np.take_along_axis(strength, best[None], axis=0)[0]), 0, 1)
        if values.ndim == 3:
            color = cv2.applyColorMap((strongest * 255).astype(np.uint8), cv2.COLORMAP_TURBO).astype(np.float32)
        else:
            x, y = np.take_along_axis(values, best[None, None], axis=0)[0]
            color = _HUES[(np.arctan2(y, x) / (2 * np.pi) * 256).astype(int) % 256]
        share = _MOST * strongest[:, :, None]
        canvas[:] = np.round(canvas * (1 - share) + color * share).astype(np.uint8)


def _in_frame(values: NDArray[np.float32], to_frame: NDArray[np.float64], canvas: Picture) -> NDArray[np.float32]:
    """f32 [h,w] or [2,h,w] in cells as [H,W] or [2,H,W] in the frame's pixels; 0 where it does not reach."""
    if values.ndim == 3:
        turn = to_frame[:, 0] / max(float(np.hypot(*to_frame[:, 0])), 1e-9)
        x, y = (_in_frame(values[axis], to_frame, canvas) for axis in (0, 1))
        return np.stack([turn[0] * x - turn[1] * y, turn[1] * x + turn[0] * y])
    size_wh = canvas.shape[1], canvas.shape[0]
    finite = np.clip(np.nan_to_num(values), -_LIMIT, _LIMIT)
    return np.asarray(cv2.warpAffine(finite, to_frame, size_wh, flags=cv2.INTER_LINEAR), np.float32)
