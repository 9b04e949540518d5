"""A frame of any size as the network's input: the rules of `runtime/windows.py`, taps and sampling as ONNX operators.

In the order of operations of `prepare`, so that every pixel comes out the same: an int8 network answers quite
differently to one grey level. (The operator Resize computes in another order.)
"""

from dataclasses import dataclass

import numpy as np
from onnx import helper

from posert.export.embed.fuse.graph import Graph
from posert.runtime.spec import InputSpec


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the window that fills the input: names of f64 [1].

    Attributes:
        length: of the frame, px. low, high: the window, px of the frame. size: of the input, px.
    """

    length: str
    low: str
    high: str
    size: str


def can_be_fused(spec: InputSpec) -> bool:
    """Whether `frame_tensor` knows the way."""
    fits = spec.fit in ("stretch", "corner", "center", "letterbox", "square")
    return fits and spec.interpolation == "linear" and spec.align in ("half_pixel", "corners")


def frame_tensor(op: Graph, spec: InputSpec, out: str) -> tuple[Axis, Axis]:
    """The input tensor `out` of a network from `frame` u8 [H,W,3], RGB; returns where it looks, x and y."""
    shape = op.doubles(op.Shape("frame"))
    across, down = _axes(op, spec, (op.Gather(shape, [1], axis=0), op.Gather(shape, [0], axis=0)))
    picture = _sampled(op, spec, across, down)
    if spec.rounding != "none":
        limited = op.Clip(picture, np.float32(0), np.float32(255))
        picture = op.Floor(op.Add(limited, np.float32(0.5)) if spec.rounding == "round" else limited)
    if any(spec.mean) or set(spec.std) != {1.0}:
        scale = (1.0 / np.array(spec.std)).astype(np.float32)
        picture = op.Mul(op.Sub(picture, np.array(spec.mean, np.float32)), scale)
    if spec.dtype == "uint8":
        picture = op.Clip(picture, np.float32(0), np.float32(255))
    if spec.layout == "NCHW":
        picture = op.Transpose(picture, perm=[2, 0, 1])
    batch = op.Reshape(picture, op.Concat(np.array([1], np.int64), op.Shape(picture), axis=0))
    op.Cast(batch, to=helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), out=out)
    return across, down


def _axes(op: Graph, spec: InputSpec, lengths: tuple[str, str]) -> tuple[Axis, Axis]:
    """The window and the input's size, as `place_frame` has them."""
    if spec.fit == "square":
        side = op.Max(*lengths)
        lows = [op.Sub(op.Div(length, 2.0), op.Div(side, 2.0)) for length in lengths]
        sizes = [op.Identity(np.array([size], np.float64)) for size in spec.size_wh]
        across, down = (
            Axis(*all_) for all_ in zip(lengths, lows, [op.Add(low, side) for low in lows], sizes, strict=True)
        )
        return across, down
    ratio = _ratio(op, spec, lengths)
    across, down = (_axis(op, spec, length, size, ratio) for length, size in zip(lengths, spec.size_wh, strict=True))
    return across, down


def _ratio(op: Graph, spec: InputSpec, lengths: tuple[str, str]) -> str:
    """Frame px per input px; for `letterbox` the other way round."""
    given = [(length, float(size)) for length, size in zip(lengths, spec.size_wh, strict=True) if size > 0]
    if not given:
        return op.Identity(np.array([1.0]))
    if spec.fit == "letterbox":
        return op.Min(*(op.Div(size, length) for length, size in given))
    return op.Max(*(op.Div(length, size) for length, size in given))


def _axis(op: Graph, spec: InputSpec, length: str, side: int, ratio: str) -> Axis:
    exact = op.Mul(length, ratio) if spec.fit == "letterbox" else op.Div(length, ratio)
    rounded = op.Round(exact) if spec.fit in ("stretch", "corner") else op.Floor(exact)
    content = op.Max(rounded, 1.0)
    if spec.multiple_of and (spec.fit != "stretch" or side == 0):
        steps = op.Div(op.Add(op.whole(content), spec.multiple_of - 1 - spec.multiple_plus), spec.multiple_of)
        size = op.doubles(op.Add(op.Mul(steps, spec.multiple_of), spec.multiple_plus))
    else:
        size = op.Identity(np.array([float(side)])) if side else content
    step = op.Div(length, content)
    if spec.fit == "stretch":
        return Axis(length, op.Identity(np.array([0.0])), length, size)
    if spec.fit == "corner":
        return Axis(length, op.Identity(np.array([0.0])), op.Div(op.Mul(size, length), content), size)
    if spec.fit == "letterbox":
        pad = op.Floor(op.Div(op.Sub(size, content), 2.0))
        low = op.Mul(op.Neg(pad), step)
        return Axis(length, low, op.Add(low, op.Mul(size, step)), size)
    filled = content if spec.multiple_of else exact
    pad = op.Floor(op.Max(op.Div(op.Sub(size, filled), 2.0), 0.0))
    return Axis(length, op.Mul(op.Neg(pad), step), op.Mul(op.Sub(size, pad), step), size)


def _sampled(op: Graph, spec: InputSpec, across: Axis, down: Axis) -> str:
    """The window in the input's size, f32 [h,w,3], 0..255 in the order of `spec.color`."""
    left, right, weight, column_in = _taps(op, spec, across)
    top, bottom, height, row_in = _taps(op, spec, down)
    frame = "frame" if spec.color == "rgb" else op.Gather("frame", np.array([2, 1, 0]), axis=2)
    lines = []
    for rows in (top, bottom):
        line = op.Gather(frame, rows, axis=0)
        pair = [op.floats(op.Gather(line, columns, axis=1)) for columns in (left, right)]
        lines.append(_blend(op, pair[0], pair[1], op.shaped(weight, 1, -1, 1)))
    picture = _blend(op, lines[0], lines[1], op.shaped(height, -1, 1, 1))
    inside = op.And(op.shaped(row_in, -1, 1, 1), op.shaped(column_in, 1, -1, 1))
    return op.Where(inside, picture, np.array(spec.pad_value, np.float32))


def _taps(op: Graph, spec: InputSpec, axis: Axis) -> tuple[str, str, str, str]:
    """Both source pixels i64 [S], the weight f32 [S] of the second one, and what lies inside, along one axis."""
    steps = op.Range(np.int64(0), op.Reshape(op.whole(axis.size), np.zeros(0, np.int64)), np.int64(1))
    last = op.floats(op.Sub(axis.length, 1.0))
    if spec.align == "corners":
        begin, end = (op.floats(op.Div(edge, axis.length)) for edge in (axis.low, axis.high))
        step = op.Div(op.Mul(op.Sub(end, begin), last), op.Sub(op.floats(axis.size), np.float32(1)))
        at = op.Add(op.Mul(begin, last), op.Mul(op.floats(steps), step))
        inside = op.And(op.at_least(at, np.float32(0)), op.at_least(last, at))
    else:
        step = op.Div(op.Sub(axis.high, axis.low), axis.size)
        at = op.floats(op.Add(op.Add(op.doubles(steps), op.Div(axis.low, step)), 0.5))
        at = op.Sub(op.Mul(at, op.floats(step)), np.float32(0.5))
        end = op.Sub(op.floats(axis.length), np.float32(0.5))
        inside = op.And(op.at_least(at, np.float32(-0.5)), op.Less(at, end))
    at = op.Where(inside, at, np.float32(0))
    floor = op.Floor(at)
    first = op.Max(floor, np.float32(0))
    second = op.Min(op.Add(floor, np.float32(1)), last)
    return op.whole(first), op.whole(second), op.Sub(at, floor), inside


def _blend(op: Graph, one: str, other: str, weight: str) -> str:
    return op.Add(one, op.Mul(op.Sub(other, one), weight))
