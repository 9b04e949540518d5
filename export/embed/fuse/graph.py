"""Nodes and constants of an ONNX graph under construction. Knows operators, not what they are for.

Everything is of operator set 11, so that a network of any later one can be built around.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

LEAST_OPSET = 11


class Graph:
    """What becomes a graph: nodes in order, and constants."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __getattr__(self, kind: str) -> Callable[..., str]:
        """The operator `kind`: its inputs are names, or values for constants; gives the name of its result."""

        def add(*inputs: Any, out: str = "", **attributes: Any) -> str:
            names = [entry if isinstance(entry, str) else self._constant(entry) for entry in inputs]
            name = out or f"posert_{len(self.nodes)}_{kind}"
            self.nodes.append(helper.make_node(kind, names, [name], name=name, **attributes))
            return name

        return add

    def _constant(self, value: Any) -> str:
        name = f"posert_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def floats(self, value: Any) -> str:
        """As f32."""
        return self.Cast(value, to=TensorProto.FLOAT)

    def doubles(self, value: Any) -> str:
        """As f64."""
        return self.Cast(value, to=TensorProto.DOUBLE)

    def whole(self, value: Any) -> str:
        """As i64, cut towards 0."""
        return self.Cast(value, to=TensorProto.INT64)

    def shaped(self, value: Any, *shape: int) -> str:
        """Of this shape; -1 is what is left."""
        return self.Reshape(value, np.array(shape, np.int64))

    def columns(self, value: Any, begin: int, end: int) -> str:
        """`value` [.., begin:end], of its last axis."""
        return self.Slice(value, [begin], [end], [-1])

    def at_least(self, value: Any, least: Any) -> str:
        """Where `value` is that or more; not where it is no number."""
        return self.Or(self.Greater(value, least), self.Equal(value, least))

    def finite(self, value: Any) -> str:
        """Where `value` (f32) is a number."""
        return self.Equal(self.Mul(value, np.float32(0)), np.float32(0))
