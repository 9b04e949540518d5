"""Where CMU OpenPose's face and hand networks look, by the keypoints of the body that it finds.

Its rectangles, from its documentation and ports; docs/parity.md 2.1
"""

from posert.runtime.region_spec import Part, Parts, Place
from posert.skeletons import FACE_70, HAND_21, whole_body_hand

_LEAST = 0.05  # of a keypoint's score


def _hand(side: str) -> Part:
    """A third of the forearm beyond the wrist; the network knows right hands, so it sees left ones in a mirror."""
    wrist, elbow, shoulder = (f"{side}_{joint}" for joint in ("wrist", "elbow", "shoulder"))
    place = Place({wrist: 1.33, elbow: -0.33}, ((elbow, wrist, 1.5), (shoulder, elbow, 1.5 * 0.9)))
    return Part(whole_body_hand(side), (place,), mirrored=side == "left", edges=HAND_21.edges)


def _profile(side: str, other: str, *, otherwise: bool = False) -> Place:
    """Who shows one eye and one ear, of one side."""
    eye, ear, third = f"{side}_eye", f"{side}_ear", 1 / 3
    lines = ((eye, "nose", 0.85), (ear, "nose", 0.85), ("neck", "nose", 0.85))
    absent, centre = (f"{other}_eye", f"{other}_ear"), {"nose": third, eye: third, ear: 1 - 2 * third}
    return Place(centre, lines, "sum", absent, otherwise)


def _between(a: str, b: str, factor: float, *, otherwise: bool = False) -> Place:
    return Place({a: 0.5, b: 0.5}, ((a, b, factor),), otherwise=otherwise)


_FACE = Part(
    FACE_70.names,
    (
        _profile("left", "right"), _profile("right", "left", otherwise=True),
        _between("nose", "neck", 2.0, otherwise=True),
        _between("left_eye", "right_eye", 3.0), _between("left_ear", "right_ear", 2.0),
    ),
)  # fmt: skip
FACE = Parts((_FACE,), min_score=_LEAST)
HANDS = Parts(tuple(map(_hand, ("left", "right"))), min_score=_LEAST)
