"""Frames in, people out: ONNX Runtime, video reading, the loop. Knows `ModelSpec`, never the name of a system."""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "open_model": "session",
    "Model": "session",
    "frames": "frames",
    "Frame": "frames",
    "estimate": "estimate",
    "Result": "estimate",
    "ModelSpec": "spec",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Load the public names on first use: each of them costs onnxruntime, OpenCV or numba."""
    if name in _PUBLIC:
        return getattr(import_module(f"posert.runtime.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'posert.runtime' has no attribute {name!r}")
