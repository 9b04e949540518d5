"""The one way from network outputs to people: checks, workspace and the call of a decoder's two kernels.

Owns what every decoder has (`Decoder`) and how its kernels are called from Python; C calls the same two
(`export/embed/c/posert.c`). Knows no decoder.
"""

import inspect
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Float32Array, Poses, Skeleton
from posert.postprocess.kernels.records import lists_of, numbers_of, table_of
from posert.postprocess.kernels.registry import F32x1, F32x2, F32x3, F64x1, Function, I64x1, I64x2, Kernel, U8x1, kernel

MAX_ROLES, MAX_AXES = 4, 5
EDGES, FLIP, FIRST_LIST = 0, 1, 2
"""Lists of a decoder's table: the skeleton's edges, its flip, then the list fields of `Params` in their order."""
WIDTH, HEIGHT, KEYPOINTS = 0, 1, 2
"""Places in a decoder's `size`: the network input's width and height, px, and the number of keypoints."""
_KEPT, _KEPT_BYTES = 4, 1 << 28  # workspaces a thread keeps: a model has few stages, a folder of photos many sizes
_ABSENT, _NO_KEYPOINTS = np.zeros(0, np.float32), Skeleton((), ())
_GIVEN = (I64x2, I64x1, F64x1, I64x1)
_PEOPLE = (*[F32x1] * MAX_ROLES, *_GIVEN, U8x1, I64x1, F32x3, F32x1, F32x2)
_Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class DecoderKernels:
    """The two kernels of a decoder, and what they speak of.

    Both take the same first arguments. `shapes` i64 [4,5]: the shape of each role's array, 0 for axes it has not, all 0
    for a role that the network has not. `size` i64 [3]: see WIDTH. `numbers` f64 [n]: the scalars of `Params`
    (`records.reader`). `table` i64 [n]: lists (`workspace.listed`), see EDGES.

    Attributes:
        roles: at most 4 names of outputs, in the order of the kernels' arrays.
        problems: what the negative numbers of both kernels say: -1 is the first.
        workspace: (shapes, size, numbers, table, needs) -> 0 or a problem. It checks all that follows from these, and
            writes needs i64 [2]: bytes of the workspace, and the most people of one row.
        people: (4 arrays f32, flat; shapes, size, numbers, table; workspace u8, zeros when new, for these sizes and
            parameters alone; counts i64 [R], keypoints f32 [N,K,3], scores f32 [N], boxes f32 [N,4]) -> the number of
            people of all R rows, or a problem. counts gets that of each row. Pixels are the network input's.
        row_threads: a row is long enough in work to be given to a thread of its own.
        boxes_only: people have no keypoints yet, whatever the skeleton (K = 0).
    """

    roles: tuple[str, ...]
    problems: tuple[str, ...]
    workspace: Kernel
    people: Kernel
    row_threads: bool = False
    boxes_only: bool = False

    @classmethod
    def of(
        cls, roles: tuple[str, ...], problems: tuple[str, ...], workspace: Function, people: Function, **others: bool
    ) -> Self:
        """`DecoderKernels` of two plain functions, which become kernels: their arguments get their types here."""
        for loop, kinds in ((workspace, (*_GIVEN, I64x1)), (people, _PEOPLE)):
            loop.__annotations__ = dict(zip(inspect.signature(loop).parameters, kinds, strict=True))
        return cls(roles, problems, kernel(workspace), kernel(people), **others)

    def decode(
        self,
        outputs: Mapping[str, NDArray[Any]],
        skeleton: Skeleton,
        params: Any,
        input_wh: tuple[int, int],
        threads: int = 0,
    ) -> list[Poses]:
        """What a decoder's `decode` does, see `Decoder`; `outputs` (role -> array [R,...]) are made f32 and contiguous.

        Raises:
            PosertError: the outputs do not fit the skeleton, the parameters or the input.
        """
        arrays = [outputs.get(role) for role in self.roles]
        tensors = [None if array is None else np.ascontiguousarray(array, np.float32) for array in arrays]
        counts = {len(tensor) for tensor in tensors if tensor is not None}
        rows, asked = max(counts, default=0), (_NO_KEYPOINTS if self.boxes_only else skeleton, params, tuple(input_wh))
        if rows < 2 or len(counts) > 1 or not self.row_threads or threads == 1:
            return _decode(self, tensors, asked)

        def decode_row(row: int) -> list[Poses]:
            return _decode(self, [None if tensor is None else tensor[row : row + 1] for tensor in tensors], asked)

        return [poses for found in _threads(os.getpid(), threads).map(decode_row, range(rows)) for poses in found]


class Decoder(Protocol):
    """What a file or folder of `decoders/` has.

    Attributes:
        Params: a frozen dataclass with defaults for everything, which checks itself; its scalars and lists of integers
            are what the kernels see.
        KERNELS: see `DecoderKernels`.
        merge: outputs of several input sizes -> one; None if the decoder cannot average.
    """

    @property
    def Params(self) -> Callable[..., Any]: ...

    @property
    def KERNELS(self) -> DecoderKernels: ...

    @property
    def merge(self) -> Callable[..., dict[str, Float32Array]] | None: ...

    def decode(
        self,
        outputs: Mapping[str, NDArray[Any]],
        skeleton: Skeleton,
        params: Any,
        input_wh: tuple[int, int],
        threads: int = 0,
    ) -> list[Poses]:
        """One `Poses` per row of the batch, in pixels of the network input (`input_wh`: width, height px).

        Long rows are decoded in so many threads; 0 = as many as there are processors.
        """


@cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Threads for the rows of batches, 0 = as many as this process may use processors: they keep their workspaces.

    A process that was forked has none of them, so each has its own.
    """
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return ThreadPoolExecutor(count or len(processors), "posert-rows")


def _decode(kernels: DecoderKernels, tensors: list[Float32Array | None], asked: tuple[Any, ...]) -> list[Poses]:
    shapes = tuple(() if tensor is None else tensor.shape for tensor in tensors)
    given, workspace, counts, people = _KEEPING.bench(kernels, shapes, *asked)
    flat = [_ABSENT if tensor is None else tensor.reshape(-1) for tensor in tensors]
    flat += [_ABSENT] * (MAX_ROLES - len(flat))
    found = kernels.people(*flat, *given, workspace, counts, *people)
    if found < 0:
        raise _problem(kernels, found, shapes)
    ends = np.cumsum(counts).tolist()
    rows = [slice(end - count, end) for count, end in zip(counts.tolist(), ends, strict=True)]
    keypoints, scores, boxes = people
    return [Poses(keypoints[row].copy(), scores[row].copy(), boxes[row].copy()) for row in rows]


def _bench(
    kernels: DecoderKernels, shapes: _Shapes, skeleton: Skeleton, params: Any, input_wh: tuple[int, int]
) -> tuple[tuple[NDArray[Any], ...], NDArray[np.uint8], NDArray[np.int64], tuple[Float32Array, ...]]:
    """What a decoder's kernels are given and write to, for one size of the outputs: the first arguments of both, the
    workspace, the counts of the rows, and the people's keypoints, scores and boxes."""
    keypoints, rows = len(skeleton.names), max((shape[0] for shape in shapes if shape), default=0)
    if max((len(shape) for shape in shapes), default=0) > MAX_AXES:
        raise PosertError(f"the network's outputs have shapes {list(map(list, shapes))}, at most 5 axes are decoded")
    sides = np.zeros((MAX_ROLES, MAX_AXES), np.int64)
    for place, shape in zip(sides, shapes, strict=False):
        place[: len(shape)] = shape
    given = sides, np.array([*input_wh, keypoints], np.int64), *packed(skeleton, params)
    needs = np.zeros(2, np.int64)
    found = kernels.workspace(*given, needs)
    if found < 0:
        raise _problem(kernels, found, shapes)
    if len(counts := sorted({shape[0] for shape in shapes if shape})) > 1:
        raise PosertError(f"the network's outputs have {counts} rows, expected as many of each", "export it again")
    size, most = needs.tolist()
    people = [np.zeros((rows * most, *axes), np.float32) for axes in ((keypoints, 3), (), (4,))]
    return given, np.zeros(size, np.uint8), np.zeros(rows, np.int64), tuple(people)


class _Keeping(threading.local):
    """A thread's own benches: the last ones stay, unless their workspaces are large together."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def bench(self, *asked: Any) -> tuple[Any, ...]:
        """What `_bench` gives."""
        kept, found = self._kept, self._kept.pop(asked, None)
        if found is None:
            found = _bench(*asked)
            while kept and (len(kept) == _KEPT or sum(one[1].nbytes for one in (found, *kept.values())) > _KEPT_BYTES):
                del kept[next(iter(kept))]
        kept[asked] = found
        return found


_KEEPING = _Keeping()


@lru_cache(maxsize=64)
def packed(skeleton: Skeleton, params: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The numbers and the table that a decoder's kernels take."""
    return numbers_of(params), table_of([skeleton.edges, skeleton.flip, *lists_of(params)])


def _problem(kernels: DecoderKernels, found: int, shapes: _Shapes) -> PosertError:
    given = ", ".join(f"{role} {list(shape)}" for role, shape in zip(kernels.roles, shapes, strict=True) if shape)
    name = kernels.people.fn.__name__.removesuffix("_people")
    return PosertError(
        f"the decoder {name} cannot use {given}: {kernels.problems[-found - 1]}", "export the model again"
    )
