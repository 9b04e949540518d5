"""rtmlib (Apache-2.0) as the oracle: the same ONNX file, pictures and boxes through its classes and through posert.

For tests with the mark `export`: `make test-export` has rtmlib in its environment. Its crops have whole grey levels and
keep the blue channel first, whatever a network was trained on; `LIKE_RTMLIB` says the same in posert's terms.
"""

import contextlib
import io
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posert.poses import Poses
from posert.runtime.loop import estimate_image
from posert.runtime.session import Model

MOST_PX = 1e-3
"""How far apart keypoints may be, px of the frame, where the rule is the same: float32 against float64."""
LIKE_RTMLIB = types.MappingProxyType({"color": "bgr", "rounding": "round"})
"""Fields of an `InputSpec` for what rtmlib shows a network."""


def tool(kind: str, file: Path, input_wh: tuple[int, int], **options: Any) -> Any:
    """rtmlib's class `kind` (RTMPose, YOLOX, ...) with the network of `file`; skips the test without rtmlib."""
    rtmlib = pytest.importorskip("rtmlib")
    size = input_wh if kind in ("RTMPose", "ViTPose") else input_wh[::-1]
    with contextlib.redirect_stdout(io.StringIO()):  # it says what it loads
        return getattr(rtmlib, kind)(str(file), model_input_size=size, **options)


def pictures(assets: Path | None = None) -> Iterator[np.ndarray]:
    """u8 [H,W,3] BGR: smooth noise of several sizes, then photos if their folder is given."""
    import cv2

    rng = np.random.default_rng(0)
    for wide, high in ((640, 480), (333, 500), (1280, 720)):
        coarse = rng.integers(0, 256, (high // 8, wide // 8, 3), np.uint8)
        yield cv2.resize(coarse, (wide, high), interpolation=cv2.INTER_CUBIC)
    for photo in sorted(assets.glob("media/coco100/images/*.jpg"))[:4] if assets is not None else ():
        picture = cv2.imread(str(photo))
        assert picture is not None, photo
        yield picture


def boxes_in(picture: np.ndarray, count: int = 5) -> np.ndarray:
    """f32 [N,4] xyxy px: boxes of all shapes, some reaching beyond the picture."""
    rng, (high, wide) = np.random.default_rng(1), picture.shape[:2]
    corner = rng.uniform(-0.1, 0.6, (count, 2)) * (wide, high)
    return np.concatenate([corner, corner + rng.uniform(0.1, 0.7, (count, 2)) * (wide, high)], 1).astype(np.float32)


def crop(theirs: Any, picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, Any, Any]:
    """f32 [1,3,H,W] as rtmlib's network for crops gets it, with the centre and size of its window, px of the frame."""
    seen, centre, size = theirs.preprocess(picture, box)
    return np.ascontiguousarray(seen.transpose(2, 0, 1)[None], np.float32), centre, size


def people(model: Model, picture: np.ndarray, boxes: np.ndarray) -> Poses:
    """posert's people of one picture, in the order of the boxes."""
    return estimate_image(model, picture, boxes=lambda _: boxes).poses


def far_apart(ours: np.ndarray, theirs_xy: np.ndarray, theirs_score: np.ndarray) -> np.ndarray:
    """bool [N,K]: further than `MOST_PX` from rtmlib's, or another score; what posert does not find, it has below 0."""
    found = ours[..., 2] != 0
    away = np.abs(ours[..., :2] - theirs_xy).max(-1) > MOST_PX
    other = np.abs(ours[..., 2] - theirs_score) > 1e-5 * np.maximum(1, np.abs(theirs_score))
    return np.where(found, away | other, theirs_score > 0)
