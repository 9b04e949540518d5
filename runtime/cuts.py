"""Where a video is cut: a picture that differs from the last one far more than that did from the one before it.

Owns how pictures are compared: 16 x 16 means of 64 pixels each. Knows pixels alone.
"""

import numpy as np
from numpy.typing import NDArray

from posert.postprocess.kernels.registry import F32x1, U8x2, kernel

_CELLS, _SAMPLES, _COLORS = 16, 8, 3  # cells and, in each, samples of a side
# where the means begin in the memory: behind the number of pictures seen (2 = more too) and how much they change
_FIRST = 2
_STILL = np.float32(0.5)  # grey levels that a still scene changes, too
_FADES = np.float32(0.8)  # of the change so far, in each frame
MEMORY = _FIRST + _CELLS * _CELLS * _COLORS
"""Numbers that are kept of a picture."""


@kernel
def _scene_changed(pixels: U8x2, limit: float, memory: F32x1) -> int:
    """1 if the picture begins a new scene, else 0; memory f32 [MEMORY], zeros before the first, takes note of it.

    pixels: u8 [H,W*3]. limit: times the largest change of late; 0 = nothing is a new scene.
    """
    height, width, at = pixels.shape[0], pixels.shape[1] // _COLORS, _FIRST
    change = np.float32(0.0)
    for row in range(_CELLS):
        for column in range(_CELLS):
            for color in range(_COLORS):
                total = 0
                for i in range(_SAMPLES):
                    y = (row * _SAMPLES + i) * height // (_CELLS * _SAMPLES)
                    for j in range(_SAMPLES):
                        x = (column * _SAMPLES + j) * width // (_CELLS * _SAMPLES)
                        total += int(pixels[y, _COLORS * x + color])
                mean = np.float32(total) / np.float32(_SAMPLES * _SAMPLES)
                change += abs(mean - memory[at])
                memory[at] = mean
                at += 1
    change /= np.float32(_CELLS * _CELLS * _COLORS)
    seen, usual = memory[0], memory[1]
    memory[0] = min(seen + np.float32(1.0), np.float32(2.0))
    changed = seen == 2.0 and limit > 0.0 and change > np.float32(limit) * (usual + _STILL)
    if seen > 0.0 and not changed:
        memory[1] = max(change, _FADES * usual)
    return 1 if changed else 0


def scene_changed(picture: NDArray[np.uint8], memory: NDArray[np.float32], limit: float) -> bool:
    """Whether a picture u8 [H,W,3] begins a new scene.

    Args:
        memory: f32 [MEMORY] of the pictures before it, zeros before the first; takes note of this one.
        limit: how many times larger than the largest change of late the change is then; 0 = never.
    """
    height, width = picture.shape[:2]
    return bool(_scene_changed(picture.reshape(height, width * _COLORS), limit, memory))
