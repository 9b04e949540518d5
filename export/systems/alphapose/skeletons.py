"""The keypoint sets of AlphaPose's models: COCO-17, Halpe-26, Halpe-136 and COCO-WholeBody-133.

Owns names, limbs and which keypoints swap sides in a mirrored picture. Knows nothing of networks.
"""

from posert.measure.evaluate import COCO_17
from posert.poses import Skeleton

_COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip
_COCO_EDGES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
    (13, 15), (12, 14), (14, 16),
)  # fmt: skip
_HALPE_26 = (
    *COCO_17, "head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel",
    "right_heel",
)  # fmt: skip
_HALPE_EDGES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (17, 18), (18, 5), (18, 6), (5, 7), (7, 9), (6, 8), (8, 10), (18, 19), (19, 11),
    (19, 12), (11, 13), (13, 15), (12, 14), (14, 16), (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
)  # fmt: skip
_FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
_FACE = 68
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky")
# The 68 points of a face, each run with its mirror image: jaw, brows, nostrils, eyes, lips; 27 to 30 stay.
_FACE_MIRROR = (
    (range(17), range(16, -1, -1)), (range(17, 27), range(26, 16, -1)), (range(31, 36), range(35, 30, -1)),
    (range(36, 40), range(45, 41, -1)), (range(42, 46), range(39, 35, -1)), ((40, 41, 46, 47), (47, 46, 41, 40)),
    (range(48, 55), range(54, 47, -1)), (range(55, 60), range(59, 54, -1)), (range(60, 65), range(64, 59, -1)),
    (range(65, 68), range(67, 64, -1)),
)  # fmt: skip


def coco_17() -> Skeleton:
    """COCO's 17 keypoints."""
    return Skeleton(COCO_17, _COCO_EDGES, _COCO_SIGMAS, _mirror(COCO_17))


def halpe_26() -> Skeleton:
    """COCO's 17, head, neck, hip and feet."""
    return Skeleton(_HALPE_26, _HALPE_EDGES, (), _mirror(_HALPE_26))


def halpe_136() -> Skeleton:
    """Halpe-26, 68 of the face, 21 of each hand."""
    return _with_face_and_hands(_HALPE_26, _HALPE_EDGES)


def whole_body_133() -> Skeleton:
    """COCO's 17, six of the feet, 68 of the face, 21 of each hand."""
    edges = (*_COCO_EDGES, (15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22))
    return _with_face_and_hands((*COCO_17, *_FEET), edges)


def _with_face_and_hands(body: tuple[str, ...], edges: tuple[tuple[int, int], ...]) -> Skeleton:
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
    flip = list(_mirror(names))
    for run, mirrored in _FACE_MIRROR:
        for one, other in zip(run, mirrored, strict=True):
            flip[len(body) + one] = len(body) + other
    return Skeleton(names, (*edges, *bones), (), tuple(flip))


def _mirror(names: tuple[str, ...]) -> tuple[int, ...]:
    """For each name the place of its other side."""
    swapped = {"left_": "right_", "right_": "left_"}
    others = [
        next((other + name.removeprefix(side) for side, other in swapped.items() if name.startswith(side)), name)
        for name in names
    ]
    return tuple(names.index(other) for other in others)
