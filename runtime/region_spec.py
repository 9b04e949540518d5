"""What a model file says about regions by keypoints: turned ones, and parts of people. Standard library only.

Owns these records and their rules, as a part of the metadata format (`spec`). Knows keypoints by name and by number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from posert.typed import Index, Range, Share

if TYPE_CHECKING:
    from posert.runtime.spec import ModelSpec, Stage

Rules = list[tuple[str, bool, str, Any]]
"""Of a stage: field, whether it is good, what is expected, what is there."""
_Shift = Annotated[float, Range(-100, 100)]


@dataclass(frozen=True, slots=True)
class Turn:
    """How a region is turned: by the line between two keypoints, so that in the crop it points one way.

    The keypoints are those that the stage before found (`boxes`), or this one in the last frame (`follow`). Who lacks
    one of the two, or has both at one place, has no region. Only linear sampling, not `corners`.

    Attributes:
        keypoints: indices of the line's first and last.
        points: where the line points in the crop.
        around: what gives the region its centre and its sides, which `InputSpec.margin` then widens: the `box`; the box
            along the turned axes around all found `keypoints`; or the `line`, its first keypoint being the centre, the
            sides twice its length.
        shift: of the centre, to the right and down in the crop, in shares of those sides.
    """

    keypoints: tuple[Index, Index]
    points: Literal["up", "right", "down", "left"] = "up"
    around: Literal["box", "keypoints", "line"] = "box"
    shift: tuple[_Shift, _Shift] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Place:
    """A square by keypoints of a person; it applies to whoever has all that it names.

    Attributes:
        centre: keypoint -> its share in the centre; the shares' sum is 1.
        lines: pairs of keypoints, and how many times the distance between them counts for the side.
        side: the `longest` of the lines, or their `sum`.
        without: it does not apply to whoever has one of these.
        otherwise: it applies only where the place before it does not.
    """

    centre: Mapping[str, _Shift]
    lines: tuple[tuple[str, str, _Shift], ...]
    side: Literal["longest", "sum"] = "longest"
    without: tuple[str, ...] = ()
    otherwise: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a person: where it is, and what its keypoints are called among the person's.

    Attributes:
        names: of the network's keypoints, in its order.
        places: the part is in the square with the mean centre and the mean side of those that apply. A place that names
            what a skeleton has not is left out.
        up: two keypoints; the crop is turned so that the line from the first to the second points up. None = upright.
        mirrored: the network sees the mirror image.
        edges: pairs of its keypoints, by number, that are drawn as lines; none = the network's own.
    """

    names: tuple[str, ...]
    places: tuple[Place, ...]
    up: tuple[str, str] | None = None
    mirrored: bool = False
    edges: tuple[tuple[Index, Index], ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """How a network looks at parts of the people whom another one found.

    Attributes:
        each: the parts, each one window of a person.
        again: where a part that the last frame had is looked for, by its own keypoints there; None = where the person's
            say, as any other.
        near: but only within this share of the side from there, or else it is another one.
        min_score: a person's keypoint with less is not found.
        apart: two parts of one person whose keypoints are on average no further from each other than this share of the
            larger one's longer side are the same one; the surer one stays. 0 = they may be.
    """

    each: tuple[Part, ...]
    again: Turn | None = None
    near: Share = 0.5
    min_score: Annotated[float, Range(-1e9, 1e9)] = 0.1
    apart: Share = 0.0


def turn_rules(stage: "Stage", spec: "ModelSpec") -> Rules:
    """For a stage whose regions are turned."""
    if stage.turn is None:
        return []
    given, index = stage.input, [other.name for other in spec.stages].index(stage.name)
    count = len(spec.skeleton.names) if stage.region == "follow" else 1 << 30  # a detector may still come
    if stage.region == "boxes" and index > 0:
        count = spec.stages[index - 1].keypoint_count
    first, second = stage.turn.keypoints
    return [
        ("turn", stage.region != "frame", "none, the whole frame is not turned", stage.region),
        (
            "turn.keypoints",
            first != second and max(first, second) < count,
            f"two of {count} keypoints, from 0 on",
            (first, second),
        ),
        ("input.interpolation", given.interpolation == "linear", "linear, of turned regions", given.interpolation),
        ("input.align", given.align != "corners", "another one, of turned regions", given.align),
    ]


def part_rules(stage: "Stage", spec: "ModelSpec") -> Rules:
    """For a network that looks at parts of people."""
    if stage.parts is None:
        return [("region", stage.region != "parts", "another one, which parts it does not say", stage.region)]
    given, own, each = stage.input, stage.parts.again, stage.parts.each
    count = len(spec.skeleton.names)
    return [
        ("parts", stage.region == "boxes" and len(spec.stages) == 1, "none, the stage does not look at boxes", each),
        ("parts.each", all(len(part.names) == count for part in each) and each != (), f"parts of {count} names", each),
        ("parts.each", all(_has_a_place(part) for part in each), "parts with a centre and a line for each place", each),
        ("parts.each", all(max(edge) < count for part in each for edge in part.edges), f"edges, 0..{count - 1}", each),
        ("parts.again", own is None or (own.around != "box" and max(own.keypoints) < count), "around keypoints", own),
        ("input.interpolation", given.interpolation == "linear", "linear, of turned regions", given.interpolation),
        ("input.align", given.align != "corners", "another one, of turned regions", given.align),
    ]


def _has_a_place(part: Part) -> bool:
    shares = [sum(place.centre.values()) for place in part.places]
    return bool(shares) and all(abs(share - 1) < 1e-6 for share in shares) and all(place.lines for place in part.places)
