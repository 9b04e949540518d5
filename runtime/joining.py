"""A model for people and networks for their parts as one: hands and faces beside the body, in one skeleton.

Owns what the joined model says about itself. Knows what files say, neither sessions nor frames.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from posert.errors import PosertError
from posert.poses import Skeleton
from posert.runtime.parts import usable_places
from posert.runtime.region_spec import Part, Place
from posert.runtime.spec import ModelSpec, Stage
from posert.skeletons import mirrored


def with_parts(spec: ModelSpec, others: Sequence[tuple[ModelSpec, str | Path]]) -> ModelSpec:
    """`spec` with the networks `others`, each with its file, behind its own; the skeleton has their keypoints too.

    Raises:
        PosertError: one of them looks at no parts, the skeleton does not say where these are, or has them already.
    """
    for other, file in others:
        stage = other.stages[0]
        if stage.parts is None:
            raise PosertError(
                f"{file} cannot be joined to {spec.model}: {other.model} does not say which parts it looks at",
                "give a network for hands or faces, exported by this posert",
            )
        for part in stage.parts.each:
            _check(part, spec, other)
            spec = replace(spec, skeleton=_joined(spec.skeleton, part, other.skeleton))
        taken = {one.name for one in spec.stages}
        name = next(name for i in range(100) if (name := stage.name + (str(i + 1) if i else "")) not in taken)
        stage = replace(
            stage, name=name, region="parts", keypoint_count=len(other.skeleton.names), file=Path(file).name
        )
        spec = replace(spec, stages=(*spec.stages, stage))
    return spec


def looks_again(stage: Stage) -> bool:
    """Whether a stage looks at parts of people where the last frame had them, so that frames must come in turn."""
    return stage.region == "parts" and stage.parts is not None and stage.parts.again is not None


def _check(part: Part, spec: ModelSpec, other: ModelSpec) -> None:
    known = set(spec.skeleton.names)
    if both := [name for name in part.names if name in known]:
        raise PosertError(
            f"{spec.model} finds {both[0]} itself, {other.model} would find it again", "leave one of `parts` away"
        )
    if not usable_places(part, spec.skeleton.names) or not known.issuperset(part.up or ()):
        wanted = dict.fromkeys(name for place in part.places for name in (*place.centre, *_ends(place)))
        raise PosertError(
            f"{spec.model} does not say where to look for {part.names[0]}: {other.model} goes by "
            f"{', '.join(wanted)}; of these it finds {', '.join(name for name in wanted if name in known) or 'none'}",
            "take a model that finds them (names: posert models list), or leave `parts` away",
        )


def _ends(place: Place) -> list[str]:
    return [end for line in place.lines for end in line[:2]]


def _joined(base: Skeleton, part: Part, own: Skeleton) -> Skeleton:
    """The skeleton with a part's keypoints behind its own, called as the part says."""
    first, names = len(base.names), (*base.names, *part.names)
    flip = list(mirrored(names))
    for k, other in enumerate((*base.flip, *(first + other for other in own.flip))):
        flip[k] = other if flip[k] == k else flip[k]  # a face's sides are in no names
    return Skeleton(
        names,
        (*base.edges, *((first + a, first + b) for a, b in part.edges or own.edges)),
        (*base.sigmas, *own.sigmas) if base.sigmas and own.sigmas else (),
        tuple(flip) if base.flip else (),
    )
