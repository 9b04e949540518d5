"""posert: one lightweight runtime for human pose estimation.

The public names load on first use, so that `import posert` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posert.errors import PosertError
    from posert.export.convert import guess, tag
    from posert.export.named import open_model
    from posert.export.optimize import optimize
    from posert.poses import Features, Frame, Poses, Result, Skeleton
    from posert.runtime.choose import PeopleOptions, choose
    from posert.runtime.files.drawing import DrawOptions, draw, drawer
    from posert.runtime.files.results import Recording, read_results
    from posert.runtime.files.table import to_pandas
    from posert.runtime.loop import TopDown, estimate, estimate_image
    from posert.runtime.media.read import frames
    from posert.runtime.options import ModelOptions
    from posert.runtime.session import Model
    from posert.runtime.spec import ModelSpec

__version__ = "0.2.0"
__all__ = [
    "DrawOptions", "Features", "Frame", "Model", "ModelOptions", "ModelSpec", "PeopleOptions", "PosertError", "Poses",
    "Recording", "Result", "Skeleton", "TopDown", "__version__", "choose", "draw", "drawer", "estimate",
    "estimate_image", "frames", "guess", "open_model", "optimize", "read_results", "tag", "to_pandas",
]  # fmt: skip

_PUBLIC = {
    "errors": ("PosertError",),
    "export.convert": ("guess", "tag"),
    "export.named": ("open_model",),
    "export.optimize": ("optimize",),
    "poses": ("Features", "Frame", "Poses", "Result", "Skeleton"),
    "runtime.choose": ("PeopleOptions", "choose"),
    "runtime.files.drawing": ("DrawOptions", "draw", "drawer"),
    "runtime.files.results": ("Recording", "read_results"),
    "runtime.files.table": ("to_pandas",),
    "runtime.loop": ("TopDown", "estimate", "estimate_image"),
    "runtime.media.read": ("frames",),
    "runtime.options": ("ModelOptions",),
    "runtime.session": ("Model",),
    "runtime.spec": ("ModelSpec",),
}


def __getattr__(name: str) -> Any:
    for module, names in _PUBLIC.items():
        if name in names:
            return getattr(import_module(f"posert.{module}"), name)
    raise AttributeError(f"module 'posert' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
