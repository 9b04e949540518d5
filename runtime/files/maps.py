"""What the network saw, for whoever asks: its maps as they are, and the candidates that they have for each keypoint.

Owns these two layouts, both npz. Knows maps and their place in the frame, nothing of networks.
"""

import json
import shutil
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.poses import Frame, PartMap, Result, Skeleton
from posert.postprocess.maps import limb_names
from posert.runtime.files.arrays import member
from posert.runtime.files.atomic import Write, file_header, needed, whole_file
from posert.runtime.spec import ModelSpec

LEAST_CANDIDATE = 0.05
"""Of a map's values, tf-pose-estimation's least peak; weaker ones are noise."""


def asked_of(kind: str, skeleton: Skeleton) -> list[str]:
    """All maps of a kind that a skeleton names: `heatmap:nose` of every keypoint, `paf:neck-nose` of every limb.

    >>> asked_of("paf", Skeleton(("neck", "nose"), ((0, 1),)))
    ['paf:neck-nose']
    """
    return [f"{kind}:{part}" for part in (skeleton.names if kind == "heatmap" else limb_names(skeleton))]


@contextmanager
def maps(path: Path | None, spec: ModelSpec, source: str, *, kind: str) -> Iterator[Write]:
    """Writes the maps of M windows: one a frame where the network looks at whole frames, else one a person.

    `values` f32 [M,K,h,w] of K keypoints (`heatmap`), or [M,L,2,h,w] (x, y) of L limbs (`paf`); their `names`;
    `frame_index` i64 [M]; `time_s` f64 [M]; `to_frame` f64 [M,2,3], from a cell's place (column, row, 1) to px of the
    frame; `header`.

    Raises:
        PosertError: the network gives maps of several sizes.
    """
    asked = asked_of(kind, spec.skeleton)
    with whole_file(needed(path, f"{kind}s")) as temporary, temporary.with_name("rows").open("w+b") as rows:
        index, times, places = array("q"), array("d"), array("d")
        shape: tuple[int, ...] | None = None

        def write(_: Frame, result: Result) -> None:
            nonlocal shape
            found = _found(result, asked)
            values = np.stack([one.values for one in found], axis=1)
            if shape is not None and values.shape[1:] != shape:
                what = f"{source}: maps of {list(shape)} and of {list(values.shape[1:])}"
                raise PosertError(what, "one file holds one size: give pictures of several sizes one by one")
            shape = values.shape[1:]
            rows.write(values.astype("<f4").tobytes())
            index.extend([result.frame_index] * len(values))
            times.extend([result.time_s] * len(values))
            places.extend(found[0].to_frame.ravel().tolist())

        yield write
        rows.seek(0)
        small = {"frame_index": np.array(index, "i8"), "time_s": np.array(times, "f8")}
        small |= {"to_frame": np.array(places, "f8").reshape(-1, 2, 3)}
        with zipfile.ZipFile(temporary, "w") as archive:
            with member(archive, "values", (len(index), *(shape or (len(asked), 0, 0))), np.dtype("f4")) as file:
                shutil.copyfileobj(rows, file)
            _save(archive, small, spec, source, asked)


@contextmanager
def candidates(path: Path | None, spec: ModelSpec, source: str) -> Iterator[Write]:
    """Writes the C places where a keypoint may be, whoever's it is: the largest values round about in its heatmap.

    `points` f32 [C,3] (x px, y px, score), `part` i32 [C] (a number in `names`), `frame_index` i64 [C], `time_s` f64
    [C], `header`. They come from the network's maps alone; who is made of which the decoder says.
    """
    asked = asked_of("heatmap", spec.skeleton)
    with whole_file(needed(path, "candidates")) as temporary:
        index, times, part, points = array("q"), array("d"), array("i"), array("f")

        def write(_: Frame, result: Result) -> None:
            for number, one in enumerate(_found(result, asked)):
                found = peaks(one)
                index.extend([result.frame_index] * len(found))
                times.extend([result.time_s] * len(found))
                part.extend([number] * len(found))
                points.extend(found.ravel().tolist())

        yield write
        arrays = {"points": np.array(points, "f4").reshape(-1, 3), "part": np.array(part, "i4")}
        arrays |= {"frame_index": np.array(index, "i8"), "time_s": np.array(times, "f8")}
        with zipfile.ZipFile(temporary, "w") as archive:
            _save(archive, arrays, spec, source, asked)


def peaks(one: PartMap) -> NDArray[np.float64]:
    """Where a map of a keypoint is larger than at the 8 neighbours, f64 [C,3]: x px, y px, value.

    It is finite and above `LEAST_CANDIDATE`. Of equal neighbours the first counts. Each is moved to the top of the
    parabola through its neighbours, by at most half a cell along each axis.
    """
    found = [np.zeros((0, 3))]
    finite = np.nan_to_num(one.values.astype(np.float64), posinf=0, neginf=0)
    for values, place in zip(finite, one.to_frame, strict=True):
        wide = np.pad(values, 1, constant_values=-np.inf)
        height, width = values.shape
        best = values > LEAST_CANDIDATE
        for y in range(3):
            for x in range(3):
                other = wide[y : y + height, x : x + width]
                best &= (values > other) if (y, x) < (1, 1) else (values >= other)
        rows, columns = np.nonzero(best)
        cells = np.stack([columns, rows, np.ones_like(rows)], axis=1).astype(np.float64)
        cells[:, 0] += _top(values, rows, columns, 0, 1)
        cells[:, 1] += _top(values, rows, columns, 1, 0)
        found.append(np.concatenate([cells @ place.T, values[rows, columns, None]], axis=1))
    return np.concatenate(found)


def _top(
    values: NDArray[np.float64], rows: NDArray[np.intp], columns: NDArray[np.intp], dy: int, dx: int
) -> NDArray[np.float64]:
    """Cells from each peak to the top of its parabola along an axis; 0 at the border."""
    wide = np.pad(values, 1, mode="edge")
    before, at, after = (wide[rows + 1 + k * dy, columns + 1 + k * dx] for k in (-1, 0, 1))
    bend = before - 2 * at + after
    inner = (rows >= dy) & (rows < values.shape[0] - dy) & (columns >= dx) & (columns < values.shape[1] - dx)
    return np.where(inner & (bend < 0), (before - after) / np.where(bend < 0, 2 * bend, 1), 0.0)


def _found(result: Result, asked: list[str]) -> list[PartMap]:
    """The maps that are asked for, in this order; raises PosertError if there are none."""
    by_name = {one.asked: one for one in result.maps}
    if not asked or any(name not in by_name for name in asked):
        raise PosertError(f"frame {result.frame_index} has no maps", "run a network that has some with infer")
    return [by_name[name] for name in asked]


def _save(
    archive: zipfile.ZipFile, arrays: dict[str, NDArray[np.generic]], spec: ModelSpec, source: str, asked: list[str]
) -> None:
    names = np.array([name.partition(":")[2] for name in asked])
    for name, values in (arrays | {"names": names, "header": np.array(json.dumps(file_header(spec, source)))}).items():
        with member(archive, name, values.shape, values.dtype) as file:
            file.write(values.tobytes())
