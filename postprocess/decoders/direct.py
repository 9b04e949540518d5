"""Decoder `direct`: the network itself gives rows of (y, x, score). numpy alone; there is nothing to search.

Roles: `keypoints` f32 [R,1,K,3] (one person), or `people` f32 [R,P,K*3+5] (y, x, score per keypoint, then ymin, xmin,
ymax, xmax, score of the person), all normalised to the network input.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Float32Array, Poses, Skeleton, keypoint_boxes


@dataclass(frozen=True, slots=True)
class Params:
    """When a row is a person.

    Attributes:
        min_score: people with a lower score are left out: the mean keypoint score of a single person, the network's
            own score of one of several. The single-person network answers for an empty room too, with low scores.
    """

    min_score: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score {self.min_score} is not within 0..1")


def decode(
    outputs: Mapping[str, NDArray[Any]], skeleton: Skeleton, params: Params, input_wh: tuple[int, int]
) -> list[Poses]:
    """One `Poses` per row of the batch, in pixels of the network input.

    Args:
        outputs: `keypoints` or `people`, as above.
        skeleton: K keypoints.
        input_wh: width and height of the network input, px.

    Keypoints that are not finite are not found. Person score 0..1.

    Raises:
        PosertError: neither role is there, or its shape does not fit the skeleton.
    """
    count = len(skeleton.names)
    if "keypoints" in outputs:
        rows = outputs["keypoints"].astype(np.float32, copy=False)
        if rows.ndim != 4 or rows.shape[2:] != (count, 3):
            raise _misfit("keypoints", rows, f"[R,1,{count},3]")
        return [_people(row, _means(row), None, params, input_wh) for row in rows]
    if "people" in outputs:
        rows = outputs["people"].astype(np.float32, copy=False)
        if rows.ndim != 3 or rows.shape[2] != count * 3 + 5:
            raise _misfit("people", rows, f"[R,P,{count * 3 + 5}]")
        split = count * 3
        return [
            _people(row[:, :split].reshape(-1, count, 3), row[:, -1], row[:, split : split + 4], params, input_wh)
            for row in rows
        ]
    raise PosertError(f"the decoder direct needs keypoints or people, the model gives {', '.join(outputs)}")


def _means(yxs: Float32Array) -> Float32Array:
    """Mean keypoint scores f32 [P] of f32 [P,K,3], added in order, so that C gets the same bits."""
    sums: Float32Array = np.cumsum(yxs[:, :, 2], axis=1)[:, -1]
    return sums / np.float32(yxs.shape[1])


def _misfit(role: str, rows: NDArray[Any], expected: str) -> PosertError:
    return PosertError(f"the output {role} has shape {list(rows.shape)}, expected {expected}", "export the model again")


def _people(
    yxs: Float32Array,
    scores: Float32Array,
    boxes_yxyx: Float32Array | None,
    params: Params,
    input_wh: tuple[int, int],
) -> Poses:
    """The rows that are people: yxs f32 [P,K,3], scores f32 [P], boxes f32 [P,4] (ymin, xmin, ymax, xmax) or None."""
    kept = np.nan_to_num(scores, nan=-1.0, posinf=1.0) >= params.min_score
    keypoints = yxs[kept][:, :, [1, 0, 2]]
    keypoints[:, :, :2] *= np.array(input_wh, np.float32)
    keypoints[~np.isfinite(keypoints).all(axis=2)] = 0
    keypoints[keypoints[:, :, 2] <= 0] = 0
    if boxes_yxyx is None:
        boxes = keypoint_boxes(keypoints)
    else:
        boxes = np.nan_to_num(boxes_yxyx[kept][:, [1, 0, 3, 2]]) * np.array([*input_wh, *input_wh], np.float32)
    return Poses(keypoints, np.nan_to_num(scores[kept]), boxes.astype(np.float32, copy=False))
