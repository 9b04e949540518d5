"""The keypoint sets: mirror images, limbs, and the way from one to another."""

import doctest

import pytest

from posert import skeletons
from posert.errors import PosertError
from posert.poses import Skeleton
from posert.skeletons import (
    AP_10K_17,
    BODY_25,
    COCO_17,
    COCO_17_MOVENET,
    COCO_WHOLE_BODY_133,
    FACE_106,
    HALPE_26,
    HALPE_136,
    HAND_21,
    MPI_15,
    OPENPOSE_18,
    coco_order,
)  # fmt: skip


@pytest.mark.parametrize(
    ("skeleton", "count", "pairs"),
    [
        (COCO_17, 17, 8), (COCO_17_MOVENET, 17, 8), (OPENPOSE_18, 18, 8), (BODY_25, 25, 11), (MPI_15, 15, 6),
        (HALPE_26, 26, 11), (HALPE_136, 136, 61), (COCO_WHOLE_BODY_133, 133, 61), (HAND_21, 21, 0), (FACE_106, 106, 48),
        (AP_10K_17, 17, 7),
    ],
)  # fmt: skip
def test_skeletons_mirror(skeleton: Skeleton, count: int, pairs: int) -> None:
    """Mirroring twice changes nothing; eight pairs on a body, three on feet, 29 or 48 in a face, 21 of hands."""
    assert len(skeleton.names) == len(set(skeleton.names)) == count
    assert [skeleton.flip[k] for k in skeleton.flip] == list(range(count))
    assert sum(k != other for k, other in enumerate(skeleton.flip)) == 2 * pairs
    for k, other in enumerate(skeleton.flip):
        one, two = skeleton.names[k], skeleton.names[other]
        assert one.startswith("face_") or one.replace("left", "right") == two.replace("left", "right")
    assert all(max(edge) < count for edge in skeleton.edges)
    assert len(skeleton.sigmas) in (0, count)


def test_coco_lies_in_the_others_by_name() -> None:
    assert coco_order(COCO_17) == coco_order(HALPE_136) == list(range(17))
    assert coco_order(BODY_25) == [0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11]
    with pytest.raises(PosertError, match="no nose, left_eye, right_eye, left_ear, right_ear"):
        coco_order(MPI_15)


def test_a_face_of_106_points_mirrors_as_lapa_says() -> None:
    assert FACE_106.flip[:33] == tuple(range(33))[::-1]
    assert [k for k, other in enumerate(FACE_106.flip) if k == other] == [16, 51, 52, 53, 54, 60, 87, 93, 98, 102]
    assert FACE_106.flip[104:] == (105, 104)


def test_hands_are_those_of_the_whole_body() -> None:
    root = COCO_WHOLE_BODY_133.names.index("left_hand_root")
    assert COCO_WHOLE_BODY_133.names[root + 1 : root + 21] == tuple(f"left_{part}" for part in HAND_21.names[1:])
    assert set(HAND_21.edges) <= {(a - root, b - root) for a, b in COCO_WHOLE_BODY_133.edges}
    assert COCO_WHOLE_BODY_133.sigmas[root : root + 21] == HAND_21.sigmas


def test_the_examples_run() -> None:
    assert doctest.testmod(skeletons).failed == 0
