"""What every converted file says about itself, whichever system it is of. Knows rows of `models.lock`, no graphs."""

from posert import __version__
from posert.export.weights import Entry
from posert.poses import Skeleton
from posert.runtime.spec import FORMAT, ModelSpec, Stage


def model_spec(entry: Entry, skeleton: Skeleton, stage: Stage, model: str = "") -> ModelSpec:
    """The metadata of a network with one stage; `model` is its name if that is not the entry's."""
    return ModelSpec(
        FORMAT, entry.system, model or entry.name, skeleton, (stage,), entry.licence, entry.url or entry.source,
        f"posert {__version__}",
    )  # fmt: skip
