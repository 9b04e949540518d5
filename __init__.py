"""posert: one lightweight runtime for human pose estimation.

The public names load on first use, so that `import posert` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "open_model": "posert.runtime",
    "frames": "posert.runtime",
    "estimate": "posert.runtime",
    "Poses": "posert.poses",
    "Skeleton": "posert.poses",
    "PosertError": "posert.errors",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'posert' has no attribute {name!r}")
