"""One dataset of many clips: rows of people, of one clip as a stream of Arrow's, of many in files of Parquet.

Owns both layouts; the columns are those of `arrays.parquet`, after the clip's name. Knows nothing of who made the rows,
or which files there are.
"""

import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from posert.errors import PosertError, optional
from posert.runtime.files.arrays import ArrowRows
from posert.runtime.files.atomic import WHOLE, Provenance, Write, file_header
from posert.runtime.spec import ModelSpec, to_json

_GROUP_BYTES = 2**25  # of rows in memory: a row group's size before it is packed
_SPOOL_BYTES = 2**25  # of one clip, beyond which they lie in a temporary file
Rows = bytes | Path
"""The rows of a clip: a stream of Arrow's, empty without a frame; a file, the reader's to remove, if they are many."""


class Spool:
    """What is written into it stays in memory, or goes on in a temporary file when it is too much for that."""

    def __init__(self, most_bytes: int) -> None:
        self._file: BinaryIO = BytesIO()
        self._most, self._path = most_bytes, Path()
        self.closed = False

    def write(self, data: Any) -> int:
        """As of a file."""
        if self._path == Path() and self._file.tell() + len(data) > self._most:
            number, name = tempfile.mkstemp(prefix="posert-rows-")
            assert isinstance(self._file, BytesIO)
            spilled, self._path = os.fdopen(number, "wb"), Path(name)
            spilled.write(self._file.getbuffer())
            self._file = spilled
        return self._file.write(data)

    def flush(self) -> None:
        """As of a file."""

    def taken(self) -> Rows:
        """What was written; whoever takes it removes the file."""
        if isinstance(self._file, BytesIO):
            return self._file.getvalue()
        self._file.close()
        return self._path

    def drop(self) -> None:
        """Removes what was written."""
        self._file.close()
        if self._path != Path():
            self._path.unlink(missing_ok=True)


@contextmanager
def spooled() -> Iterator[Spool]:
    """A new spool; nothing is left of it if the block fails."""
    spool = Spool(_SPOOL_BYTES)
    try:
        yield spool
    except BaseException:
        spool.drop()
        raise


@contextmanager
def clip_rows(spool: Spool, spec: ModelSpec, provenance: Provenance = WHOLE) -> Iterator[Write]:
    """Writes the rows of one clip: the columns of `arrays.parquet` with `person`, 0, 1 ... within the frame, after
    `height`. The schema's metadata: `posert`, the JSON header of a file without its source, and `posert.model`, all
    that the model says of itself.
    """
    ipc = optional("pyarrow.ipc", "a dataset in parts needs pyarrow", "parquet")
    metadata = metadata_of(file_header(spec, "", provenance), spec)
    table = ArrowRows(partial(ipc.new_stream, spool), spec.skeleton.names, metadata, numbered=True)
    yield table.add
    if (writer := table.end()) is not None:
        writer.close()


def metadata_of(header: Mapping[str, Any], spec: ModelSpec) -> dict[str, str]:
    """Of a dataset's schema: the header of a file without what is said of one clip alone, and all of the model."""
    about = {name: value for name, value in header.items() if name not in ("source", "clip")}
    return {"posert": json.dumps(about), "posert.model": to_json(spec)}


_OWN = {"clip", "frame", "time_s", "width", "height", "person", "id", "score"} | {
    f"box_{side}" for side in ("left", "top", "right", "bottom")
}


def check_columns(columns: Collection[str], own: Collection[str] = _OWN) -> None:
    """Raises PosertError if a column of the list is called as one of the dataset's own, those of keypoints left out."""
    if clash := {*columns} & {*own}:
        what = f"the list's column {min(clash)} is called as one of the dataset's own"
        raise PosertError(what, "give it another name in the list")


class Part:
    """A file of the dataset while it is written. Memory holds one group of rows.

    Attributes:
        count: rows so far.
    """

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        """Args: columns: further ones, after `clip`: name -> the name of a type of Arrow's."""
        self.pyarrow = optional("pyarrow", "a dataset in parts needs pyarrow", "parquet")
        optional("pyarrow.parquet", "a dataset in parts needs pyarrow", "parquet")
        self.path, self.columns, self.count = path, columns, 0
        self._writer: Any = None
        self._schema: Any = None
        self._held: list[Any] = []
        self._bytes = 0

    def add(self, rows: Rows, clip: str, values: Mapping[str, Any]) -> None:
        """The rows of a clip, with its values of the further columns.

        Raises PosertError if they have other columns than the rows before.
        """
        if not rows:
            return
        with self.pyarrow.ipc.open_stream(
            self.pyarrow.memory_map(str(rows)) if isinstance(rows, Path) else rows
        ) as read:
            for batch in read:
                self._append(self._labelled(batch, clip, values), clip)

    def copy(self, other: Path, without: Collection[str] = ()) -> None:
        """The rows of another part, but for those of some clips."""
        import pyarrow.compute as compute

        with self.pyarrow.parquet.ParquetFile(other) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                if without:
                    left_out = compute.is_in(table["clip"], self.pyarrow.array(without, table["clip"].type))
                    table = table.filter(compute.invert(left_out))
                self._append(table, str(other))

    def close(self, frames: int) -> None:
        """The file is whole; `frames` is the number of its clips' frames, those without people included."""
        self._flush()
        if self._writer is not None:
            self._writer.add_key_value_metadata({"posert.frames": str(frames)})
            self._writer.close()

    def _labelled(self, batch: Any, clip: str, values: Mapping[str, Any]) -> Any:
        pyarrow, count = self.pyarrow, batch.num_rows
        types = {"clip": pyarrow.string()} | {name: getattr(pyarrow, kind)() for name, kind in self.columns.items()}
        known = {"clip": clip, **values}
        more = [pyarrow.repeat(pyarrow.scalar(known.get(name), kind), count) for name, kind in types.items()]
        check_columns(types, batch.schema.names)
        fields = [*types.items(), *((field.name, field.type) for field in batch.schema)]
        schema = pyarrow.schema(fields, metadata=batch.schema.metadata)
        return pyarrow.Table.from_arrays([*more, *batch.columns], schema=schema)

    def _append(self, table: Any, whose: str) -> None:
        if self._schema is None:
            self._schema = table.schema
        if not table.schema.equals(self._schema):
            names = sorted({field.name for field in table.schema} ^ set(self._schema.names)) or ["their types"]
            what = f"the rows of {whose} do not fit the dataset: it differs in {', '.join(names[:5])}"
            raise PosertError(what, "a dataset has one model and one set of columns: choose another `output`")
        self.count += table.num_rows
        self._held.append(table)
        self._bytes += table.nbytes
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None and self._schema is not None:
            texts = ["clip", *(name for name, kind in self.columns.items() if kind == "string")]
            self._writer = self.pyarrow.parquet.ParquetWriter(
                str(self.path), self._schema, use_dictionary=texts, write_statistics=["clip", "frame", "id"]
            )
        if self._held and self.count:
            self._writer.write_table(self.pyarrow.concat_tables(self._held).combine_chunks())
        self._held, self._bytes = [], 0


def drop_rows(rows: Rows) -> None:
    """Removes the file of a clip's rows, if there is one."""
    if isinstance(rows, Path):
        with suppress(OSError):
            rows.unlink()
