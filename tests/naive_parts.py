"""Slow twin of the places of parts (`runtime/parts.py`): by name, with complex numbers, one rule after the other."""

import numpy as np

from posert.runtime.region_spec import Part, Place


def square(part: Part, joints: dict[str, np.ndarray], least: float) -> tuple[complex, float] | None:
    """Centre and side px of where a person's part is; joints: name -> f64 [3]. None = nowhere."""
    seen = {name: complex(joint[0], joint[1]) for name, joint in joints.items() if joint[2] > 0 and joint[2] >= least}
    centres, sides, applied = [], [], False
    for place in part.places:
        if not {*place.centre, *(end for line in place.lines for end in line[:2])} <= set(joints):
            applied = applied and place.otherwise
            continue
        applied = applied and place.otherwise
        if applied or not _applies(place, seen):
            continue
        applied = True
        lengths = [factor * abs(seen[b] - seen[a]) for a, b, factor in place.lines]
        centres.append(sum(share * seen[name] for name, share in place.centre.items()))
        sides.append(max(lengths) if place.side == "longest" else sum(lengths))
    if not sides or not np.mean(sides) > 0:
        return None
    return complex(np.mean(centres)), float(np.mean(sides))


def _applies(place: Place, seen: dict[str, complex]) -> bool:
    named = {*place.centre, *(end for line in place.lines for end in line[:2])}
    return named <= set(seen) and not set(place.without) & set(seen)
