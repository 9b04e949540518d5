"""Greedy box suppression inside kernels: of equal scores the first is the highest. Knows boxes and scores alone."""

import numpy as np

from posert.postprocess.kernels.registry import jit
from posert.postprocess.kernels.sort import sort_descending


@jit
def box_nms(boxes, count, iou_threshold, extra_px, inclusive, alive, order):
    """Number of boxes kept of the first `count`; `order` i32 [N] gets their rows, highest score first.

    Args:
        boxes: f32 [N,5+], left, top, right, bottom px, score. alive: u8 [N], workspace.
        iou_threshold: overlap that a kept box allows; with `inclusive` less than that.
        extra_px: added to every width and height; 1 in the convention that counts pixels.
    """
    one, kept = np.float32(extra_px), 0
    sort_descending(boxes[:, 4], order, count)
    for i in range(count):
        alive[i] = 1
    for rank in range(count):
        best = order[rank]
        if not alive[best]:
            continue
        order[kept] = best
        kept += 1
        area = (boxes[best, 2] - boxes[best, 0] + one) * (boxes[best, 3] - boxes[best, 1] + one)
        for later in range(rank + 1, count):
            i = order[later]
            if not alive[i]:
                continue
            width = min(boxes[best, 2], boxes[i, 2]) - max(boxes[best, 0], boxes[i, 0]) + one
            height = min(boxes[best, 3], boxes[i, 3]) - max(boxes[best, 1], boxes[i, 1]) + one
            if width <= 0 or height <= 0:
                continue
            shared = width * height
            other = (boxes[i, 2] - boxes[i, 0] + one) * (boxes[i, 3] - boxes[i, 1] + one)
            iou = shared / (area + other - shared)
            if iou > iou_threshold or (inclusive and iou >= iou_threshold):
                alive[i] = 0
    return kept
