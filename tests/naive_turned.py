"""Slow twin of turned regions: angles instead of cosines, one sample and one keypoint at a time, in float64."""

import cmath
import math

import numpy as np

from posert.poses import Poses
from posert.runtime.region_spec import Turn
from posert.runtime.spec import InputSpec

UP = {"up": -90, "right": 0, "down": 90, "left": 180}
"""Where each way points in a picture, degrees, clockwise from the right."""


def region(people: Poses, person: int, turn: Turn) -> tuple[complex, float, float, float] | None:
    """Centre, width, height px and angle (clockwise) of one person's region; None = he has none."""
    keypoints = people.keypoints[person].astype(float)
    first, second = (keypoints[index] for index in turn.keypoints)
    line = complex(*(second - first)[:2])
    if not (first[2] > 0 and second[2] > 0 and 0 < abs(line) < math.inf):
        return None
    angle = cmath.phase(line) - math.radians(UP[turn.points])
    axes = cmath.rect(1, angle)
    left, top, right, bottom = people.boxes_xyxy[person].astype(float)
    centre, wide, high = complex((left + right) / 2, (top + bottom) / 2), right - left, bottom - top
    if turn.around == "line":
        centre, wide, high = complex(*first[:2]), 2 * abs(line), 2 * abs(line)
    if turn.around == "keypoints":
        seen = [complex(x, y) / axes for x, y, score in keypoints if score > 0]
        across, down = [place.real for place in seen], [place.imag for place in seen]
        wide, high = max(across) - min(across), max(down) - min(down)
        centre = complex(max(across) + min(across), max(down) + min(down)) / 2 * axes
    if not (min(wide, high) >= 0 and max(wide, high) > 0):
        return None
    return centre + axes * complex(turn.shift[0] * wide, turn.shift[1] * high), wide, high, angle


def place(frame_px: complex, window: np.ndarray) -> complex:
    """A place of the frame in the window's own axes, from its left and top, px."""
    left, top, right, bottom, cosine, sine = window
    centre = complex(left + right, top + bottom) / 2
    return (frame_px - centre) / complex(cosine, sine) + complex(right - left, bottom - top) / 2


def sample(
    bgr: np.ndarray, window: np.ndarray, spec: InputSpec, input_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """f64 [H,W,3] of linear samples, and where each lies in the frame, complex [H,W], in pixel centres."""
    (high, wide), (width, height) = bgr.shape[:2], input_wh
    centre = complex(window[0] + window[2], window[1] + window[3]) / 2
    out, places = np.tile(np.array(spec.pad_value, float), (height, width, 1)), np.zeros((height, width), complex)
    pad = np.array(spec.pad_value, float)
    for y in range(height):
        for x in range(width):
            shares = {
                "half_pixel": ((x + 0.5) / width, (y + 0.5) / height), "origin": (x / width, y / height),
                "edges": (x / max(1, width - 1), y / max(1, height - 1)),
            }  # fmt: skip
            shares["half_pixel_blend"] = shares["half_pixel"]
            across, down = shares[spec.align]
            own = complex((across - 0.5) * (window[2] - window[0]), (down - 0.5) * (window[3] - window[1]))
            at = places[y, x] = centre + own * complex(window[4], window[5])
            if "half" in spec.align:
                at = places[y, x] = at - complex(0.5, 0.5)
            if spec.align == "half_pixel":
                if not (-0.5 <= at.real < wide - 0.5 and -0.5 <= at.imag < high - 0.5):
                    continue
            elif not (-1 < at.real < wide and -1 < at.imag < high):
                continue
            i, j, total = math.floor(at.real), math.floor(at.imag), np.zeros(3)
            for row, column in ((j, i), (j, i + 1), (j + 1, i), (j + 1, i + 1)):
                weight = (1 - abs(at.real - column)) * (1 - abs(at.imag - row))
                beyond = not (0 <= row < high and 0 <= column < wide)
                pixel = bgr[min(max(row, 0), high - 1), min(max(column, 0), wide - 1)].astype(float)
                total += weight * (pad if beyond and spec.align != "half_pixel" else pixel)
            out[y, x] = total
    return out, places
