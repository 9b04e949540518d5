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
OPENPOSE_HAND_21 = Skeleton(tuple(f"hand_{k}" for k in range(21)), ())
# The sigmas are those of Halpe's own evaluation (HalpeCOCOAPI's cocoeval), as MMPose's halpe26.py gives them.
HALPE_26 = _skeleton(
    names=(
        *COCO_17.names, "head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe",
        "left_heel", "right_heel",
    ),
    edges=(
        (0, 1), (0, 2), (1, 3), (2, 4), (17, 18), (18, 5), (18, 6), (5, 7), (7, 9), (6, 8), (8, 10), (18, 19), (19, 11),
        (19, 12), (11, 13), (13, 15), (12, 14), (14, 16), (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
    ),
    sigmas=(*COCO_17.sigmas, 0.026, 0.026, 0.066, 0.079, 0.079, 0.079, 0.079, 0.079, 0.079),
)  # fmt: skip
# Animals with four feet, in AP-10K's order (Yu et al. 2021), which gives no sigmas; these are MMPose's, after COCO's.
AP_10K_17 = _skeleton(
    names=(
        "left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw",
        "right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip",
        "right_knee", "right_back_paw",
    ),
    edges=(
        (0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (3, 8), (8, 9), (9, 10), (4, 11), (11, 12),
        (12, 13), (4, 14), (14, 15), (15, 16),
    ),
    sigmas=(
        0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
        0.089,
    ),
)  # fmt: skip

Runs = tuple[tuple[range, range], ...]


def _swapped(count: int, pairs: Runs) -> tuple[int, ...]:
    """`Skeleton.flip` of `count` points: runs of them and their mirror images; the others stay."""
    flip = list(range(count))
    for one, other in pairs:
        for k, opposite in zip(one, other, strict=True):
            flip[k], flip[opposite] = opposite, k
    return tuple(flip)


# 68 points: jaw, brows, nostrils, eyes, lips; 27 to 30 stay.
_FACE_68_FLIP = _swapped(
    68,
    (
        (range(8), range(16, 8, -1)), (range(17, 22), range(26, 21, -1)), (range(31, 33), range(35, 33, -1)),
        (range(36, 40), range(45, 41, -1)), (range(40, 42), range(47, 45, -1)), (range(48, 51), range(54, 51, -1)),
        (range(55, 57), range(59, 57, -1)), (range(60, 62), range(64, 62, -1)), (range(65, 66), range(67, 66, -1)),
    ),
)  # fmt: skip
# LaPa's (Liu et al. 2020): jaw, upper and lower edge of the brows, nose, eyes, lips, pupils. It gives no sigmas.
FACE_106 = Skeleton(
    tuple(f"face_{k}" for k in range(106)), (), (),
    _swapped(
        106,
        (
            (range(16), range(32, 16, -1)), (range(33, 38), range(46, 41, -1)), (range(38, 42), range(50, 46, -1)),
            (range(55, 60), range(65, 60, -1)), (range(66, 71), range(79, 74, -1)), (range(71, 74), range(82, 79, -1)),
            (range(74, 75), range(83, 82, -1)), (range(84, 87), range(90, 87, -1)), (range(91, 93), range(95, 93, -1)),
            (range(96, 98), range(100, 98, -1)), (range(101, 102), range(103, 102, -1)),
            (range(104, 105), range(105, 104, -1)),
        ),
    ),
)  # fmt: skip

_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky")
_HAND = tuple(f"{finger}{joint}" for finger in _FINGERS for joint in range(1, 5))
_BONES = tuple(
    (4 * finger + joint if joint else 0, 4 * finger + joint + 1) for finger in range(5) for joint in range(4)
)
# Sigmas of COCO-WholeBody's own evaluation (myeval_wholebody), as MMPose's coco_wholebody.py gives them.
_HAND_SIGMAS = (
    0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026, 0.017, 0.021, 0.021,
    0.032, 0.02, 0.019, 0.022, 0.031,
)  # fmt: skip
_FOOT_SIGMAS = (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
_FACE_SIGMAS = (
    0.042, 0.043, 0.044, 0.043, 0.04, 0.035, 0.031, 0.025, 0.02, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041,
    0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012,
    0.009, 0.008, 0.016, 0.01, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.01, 0.034, 0.008,
    0.008, 0.009, 0.008, 0.008, 0.007, 0.01, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008, 0.008,
    0.008, 0.01, 0.008,
)  # fmt: skip
HAND_21 = _skeleton(("wrist", *_HAND), _BONES, _HAND_SIGMAS)


def whole_body_hand(side: str) -> tuple[str, ...]:
    """What the 21 keypoints of a hand are called in a whole body; side: left or right.

    >>> whole_body_hand("left")[:2]
    ('left_hand_root', 'left_thumb1')
    """
    return tuple(f"{side}_{part}" for part in ("hand_root", *_HAND))


def _with_face_and_hands(body: tuple[str, ...], edges: Edges, sigmas: tuple[float, ...] = ()) -> Skeleton:
    face = [f"face_{number}" for number in range(len(_FACE_68_FLIP))]
    names = (*body, *face, *whole_body_hand("left"), *whole_body_hand("right"))
    hands = len(body) + len(face)
    bones = [(root + a, root + b) for root in (hands, hands + 21) for a, b in _BONES]
    flip = list(mirrored(names))
    flip[len(body) : hands] = (len(body) + other for other in _FACE_68_FLIP)
    return Skeleton(names, (*edges, *bones), sigmas, tuple(flip))


HALPE_136 = _with_face_and_hands(HALPE_26.names, HALPE_26.edges)
COCO_WHOLE_BODY_133 = _with_face_and_hands(
    (*COCO_17.names, *BODY_25.names[19:]),
    (*COCO_17.edges, (15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)),
    (*COCO_17.sigmas, *_FOOT_SIGMAS, *_FACE_SIGMAS, *_HAND_SIGMAS, *_HAND_SIGMAS),
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


def named_skeletons() -> dict[str, Skeleton]:
    """Every set by its name in small letters, and `none` for the detectors, which find boxes.

    >>> len(named_skeletons()["coco_17"].names)
    17
    """
    known = {name.lower(): value for name, value in globals().items() if isinstance(value, Skeleton)}
    return {**known, "none": Skeleton((), ())}
