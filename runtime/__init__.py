"""Frames in, people out: ONNX Runtime, video reading, the loop. Knows `ModelSpec`, never the name of a system.

The functions `frames` and `estimate` have the names of their files; importing them here, at once, makes the function
what `from posert.runtime import ...` gives, whatever was imported before.
"""

from posert.runtime.loop import Result, estimate
from posert.runtime.media.read import Frame, frames
from posert.runtime.session import Model, open_model
from posert.runtime.spec import ModelSpec

__all__ = ["Frame", "Model", "ModelSpec", "Result", "estimate", "frames", "open_model"]
