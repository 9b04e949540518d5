"""Results as arrays and tables: npz and Parquet. Written frame by frame; memory does not grow with the video.

Owns these two layouts. Knows results and skeletons, nothing of models or video reading.
"""

import io
import json
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from posert.errors import optional
from posert.poses import Features, Frame, Result
from posert.runtime.files.atomic import WHOLE, Provenance, Write, file_header, needed, whole_file
from posert.runtime.spec import ModelSpec

_CHUNK_FRAMES = 256
_GROUP_BYTES = 2**23  # of rows held in memory; the footer takes 1 kB more for each column of each group
_EXACT = {"frame": "int64", "time_s": "float64", "width": "int32", "height": "int32", "id": "int32"}
ABOUT = 4
"""Columns about the frame, which come first; a person's number within the frame comes after them where it is wanted."""


@contextmanager
def npz(path: Path | None, spec: ModelSpec, source: str, *, provenance: Provenance = WHOLE) -> Iterator[Write]:
    """Writes arrays over T frames and the P people of the fullest one, missing people NaN (id 0).

    `keypoints` f32 [T,P,K,3] (x px, y px, score), `scores` f32 [T,P], `boxes_xyxy` f32 [T,P,4], `ids` i32 [T,P],
    `frame_index` i64 [T], `time_s` f64 [T], `size_wh` i32 [T,2], `names` [K], `header` (JSON text); with features also
    `normalised` f32 [T,P,K,2], `velocities` f32 [T,P,K,2], `angles` f32 [T,P,A], `segments` f32 [T,P,S],
    `floor_angle` f32 [T,P], `visible` f32 [T,P,K] (0, 1, NaN), `joints` [A] and `segment_names` [S], and if somebody's
    height is known `metres` f32 [T,P,K,2] and `metres_per_px` f32 [T,P]. Angles in degrees are called `angles_deg`,
    `segments_deg`, `floor_angle_deg`. Where gaps were to be filled also `filled` f32 [T,P,K] (0, 1, NaN). Loads with
    `allow_pickle=False`.
    """
    with whole_file(needed(path, "npz")) as temporary, temporary.with_name("rows").open("w+b") as rows:
        table = _Spool(rows)
        yield table.add
        table.save(temporary, spec, file_header(spec, source, provenance))


class _Spool:
    """People on disk, one flat f64 row each; in memory only four numbers a frame."""

    def __init__(self, rows: BinaryIO) -> None:
        self.rows = rows
        self.counts, self.sizes = array("q"), array("q")
        self.indices, self.times = array("q"), array("d")
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.named: dict[str, tuple[str, ...]] = {}

    def add(self, _: Frame, result: Result) -> None:
        arrays = _columns(result)
        self.shapes = {name: values.shape[1:] for name, values in arrays.items()}
        if result.features is not None:
            self.named = {"joints": result.features.joints, "segment_names": result.features.segment_names}
        self.counts.append(len(result.poses))
        self.indices.append(result.frame_index)
        self.times.append(result.time_s)
        self.sizes.extend(result.size_wh)
        self.rows.write(_flat(arrays.values(), len(result.poses)).tobytes())

    def save(self, path: Path, spec: ModelSpec, header: dict[str, Any]) -> None:
        frames, most = len(self.counts), max(self.counts, default=0)
        small: dict[str, NDArray[Any]] = {
            "frame_index": np.array(self.indices, "i8"),
            "time_s": np.array(self.times, "f8"),
            "size_wh": np.array(self.sizes, "i4").reshape(-1, 2),
            "names": np.array(spec.skeleton.names),
            "header": np.array(json.dumps(header)),
        }
        small |= {name: np.array(names) for name, names in self.named.items() if names}
        with zipfile.ZipFile(path, "w") as archive:
            begin = 0
            width = sum(prod(shape) for shape in self.shapes.values())
            for name, shape in self.shapes.items():
                kind = np.dtype("i4" if name == "ids" else "f4")
                with member(archive, name, (frames, most, *shape), kind) as file:
                    for block in self._blocks(most, width, begin, begin + prod(shape)):
                        file.write((np.nan_to_num(block) if name == "ids" else block).astype(kind).tobytes())
                begin += prod(shape)
            for name, values in small.items():
                with member(archive, name, values.shape, values.dtype) as file:
                    file.write(values.tobytes())

    def _blocks(self, most: int, width: int, begin: int, end: int) -> Iterator[NDArray[np.float64]]:
        """The columns begin..end as f64 [frames of a chunk, most, end - begin], padded with NaN."""
        self.rows.seek(0)
        for start in range(0, len(self.counts), _CHUNK_FRAMES):
            counts = self.counts[start : start + _CHUNK_FRAMES]
            rows = np.frombuffer(self.rows.read(sum(counts) * width * 8), "f8").reshape(-1, width)
            block = np.full((len(counts), most, end - begin), np.nan)
            block[np.arange(most) < np.array(counts)[:, None]] = rows[:, begin:end]
            yield block


def _columns(result: Result) -> dict[str, NDArray[Any]]:
    poses = result.poses
    ids = np.zeros(len(poses), np.int32) if poses.ids is None else poses.ids
    arrays: dict[str, NDArray[Any]] = {
        "keypoints": poses.keypoints, "scores": poses.scores, "boxes_xyxy": poses.boxes_xyxy, "ids": ids
    }  # fmt: skip
    if poses.filled is not None:
        arrays["filled"] = poses.filled
    if result.features is not None:
        arrays |= _feature_columns(result.features)
    return arrays


def _feature_columns(features: Features) -> dict[str, NDArray[Any]]:
    """As far as they are known; `_deg` after the names of angles in degrees."""
    suffix = "_deg" if features.degrees else ""
    named = {
        "normalised": features.normalised, "velocities": features.velocities, f"angles{suffix}": features.angles,
        f"segments{suffix}": features.segments, f"floor_angle{suffix}": features.floor_angle,
        "metres": features.metres, "metres_per_px": features.metres_per_px, "visible": features.visible,
    }  # fmt: skip
    return {name: values for name, values in named.items() if values is not None}


def column_names(names: Sequence[str], result: Result | None) -> list[str]:
    """What the columns of a result's `person_rows` are called, for a skeleton's keypoint names; None = a plain one."""
    features, marked = (None, False) if result is None else (result.features, result.poses.filled is not None)
    columns = ["score", *(f"box_{side}" for side in ("left", "top", "right", "bottom"))]
    columns += [f"{name}_{axis}" for name in names for axis in ("x", "y", "score")]
    if marked:
        columns += [f"{name}_filled" for name in names]
    if features is not None:
        for kind in ("norm", "velocity"):
            columns += [f"{name}_{kind}_{axis}" for name in names for axis in "xy"]
        suffix = "_deg" if features.degrees else ""
        columns += [f"{joint}_angle{suffix}" for joint in features.joints]
        columns += [f"{segment}_segment_angle{suffix}" for segment in features.segment_names]
        columns.append(f"floor_angle{suffix}")
        if features.metres is not None:
            columns += [*(f"{name}_m_{axis}" for name in names for axis in "xy"), "metres_per_px"]
        columns += [f"{name}_visible" for name in names]
    return [*_EXACT, *columns]


def person_rows(result: Result) -> NDArray[np.float64]:
    """A row for each person of a frame, f64 [N, as many as `column_names`]; id 0 and NaN = there is none."""
    arrays, about = _columns(result), [result.frame_index, result.time_s, *result.size_wh]
    arrays = {name: arrays.pop(name) for name in ("ids", "scores", "boxes_xyxy")} | arrays
    return _flat([np.repeat([about], len(result.poses), axis=0), *arrays.values()], len(result.poses))


def _flat(arrays: Iterable[NDArray[Any]], count: int) -> NDArray[np.float64]:
    """Arrays [count,...] side by side, f64 [count, all their columns]."""
    return np.concatenate([a.reshape(count, prod(a.shape[1:])) for a in arrays], axis=1, dtype="f8")


@contextmanager
def member(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> Iterator[Any]:
    """One array of the archive, its header written; a fixed date, so that equal results are equal bytes."""
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as file:
        file.write(header.getvalue())
        yield file


@contextmanager
def parquet(path: Path | None, spec: ModelSpec, source: str, *, provenance: Provenance = WHOLE) -> Iterator[Write]:
    """Writes one row per person and frame: frame, time_s, width, height, id, score, box_left/top/right/bottom,
    `<keypoint>_x`, `_y`, `_score`; with features also `<keypoint>_norm_x/y`, `_velocity_x/y`, `_visible`,
    `<joint>_angle`, `<segment>_segment_angle`, `floor_angle`, and if a height is known `<keypoint>_m_x/y`,
    `metres_per_px`; `_deg` follows the names of angles in degrees; where gaps were to be filled also
    `<keypoint>_filled`. NaN is null. The file's metadata key `posert` holds the JSON header, `posert.frames` the number
    of frames, those without people included.

    Raises:
        PosertError: pyarrow is missing.
    """
    target = needed(path, "parquet")
    parquet_writer = optional("pyarrow.parquet", "the format parquet needs pyarrow", "parquet").ParquetWriter
    with whole_file(target) as temporary:
        # dictionaries of coordinates only cost memory
        opened = partial(parquet_writer, str(temporary), use_dictionary=False, write_statistics=["frame", "id"])
        header = json.dumps(file_header(spec, source, provenance))
        table = ArrowRows(opened, spec.skeleton.names, {"posert": header})
        try:
            yield table.add
        finally:
            if (writer := table.end()) is not None:
                writer.add_key_value_metadata({"posert.frames": str(table.frames)})
                writer.close()


class ArrowRows:
    """Rows of people gathered into groups, for a writer of Arrow's, which is opened with the first frame: that says if
    there are features.

    Args:
        opened: schema -> a writer that has `write_table`.
        names: of the keypoints. metadata: of the schema.
        numbered: with the column `person`, 0, 1 ... within the frame.
    """

    def __init__(
        self, opened: Callable[..., Any], names: Sequence[str], metadata: dict[str, str], *, numbered: bool = False
    ) -> None:
        import pyarrow

        self.pyarrow, self.opened, self.names, self.metadata = pyarrow, opened, names, metadata
        self.numbered = numbered
        self.writer: Any = None
        self.schema: Any = None
        self.types: dict[str, str] = {}
        self.frames = self.filled = 0
        self.columns: NDArray[np.float64] = np.empty((0, 0))  # of the group that is being filled

    def add(self, _: Frame, result: Result) -> None:
        if self.writer is None:
            self._open(result)
        self.frames += 1
        rows, most = person_rows(result), self.columns.shape[1]
        if self.numbered:
            rows = np.insert(rows, ABOUT, np.arange(len(rows)), axis=1)
        while len(rows):
            fitting, rows = rows[: most - self.filled], rows[most - self.filled :]
            self.columns[:, self.filled : self.filled + len(fitting)] = fitting.T
            self.filled += len(fitting)
            if self.filled == most:
                self._flush()

    def end(self) -> Any:
        """The writer, with all rows in it, still open; None without a frame."""
        if self.filled:
            self._flush()
        return self.writer

    def _open(self, result: Result) -> None:
        columns = column_names(self.names, result)
        if self.numbered:
            columns.insert(ABOUT, "person")
        kinds = ["bool_" if name.endswith(("_visible", "_filled")) else "float32" for name in columns]
        self.types = {
            name: _EXACT.get(name, "int32" if name == "person" else kind)
            for name, kind in zip(columns, kinds, strict=True)
        }
        fields = [(name, getattr(self.pyarrow, kind)()) for name, kind in self.types.items()]
        self.schema = self.pyarrow.schema(fields, metadata=self.metadata)
        self.writer = self.opened(schema=self.schema)
        self.columns = np.empty((len(fields), max(1, _GROUP_BYTES // (8 * len(fields)))))

    def _flush(self) -> None:
        values = self.columns[:, : self.filled]
        columns = [self._column(field, column) for field, column in zip(self.schema, values, strict=True)]
        self.writer.write_table(self.pyarrow.Table.from_arrays(columns, schema=self.schema))
        self.filled = 0

    def _column(self, field: Any, values: NDArray[Any]) -> Any:
        """An Arrow column on top of its values; `pyarrow.array` would copy them, and import pandas for it, 44 MB."""
        present = ~np.isnan(values) if field.name != "id" else values != 0
        flags = self.types[field.name] == "bool_"
        values = np.packbits(values == 1, bitorder="little") if flags else values.astype(self.types[field.name])
        mask = None if present.all() else self.pyarrow.py_buffer(np.packbits(present, bitorder="little"))
        return self.pyarrow.Array.from_buffers(field.type, len(present), [mask, self.pyarrow.py_buffer(values)])
