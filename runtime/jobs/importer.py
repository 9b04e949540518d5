"""What a run without `partition` has left, a file for each source and `manifest.jsonl`, taken over into a dataset.

Owns how such a file becomes rows. Reads both; what counts as finished there says `Manifest`.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posert.errors import optional
from posert.runtime.files.arrays import ABOUT
from posert.runtime.files.formats import FORMATS
from posert.runtime.files.partition import Rows, metadata_of, spooled
from posert.runtime.files.state import State
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.manifest import Manifest
from posert.runtime.jobs.many import Jobs
from posert.runtime.jobs.names import manifests
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.session import read_spec
from posert.runtime.spec import ModelSpec

_LOG = logging.getLogger("posert")
_STATE = ("bytes", "modified_ns", "etag", "sha256")  # of a source


def imported(folder: Path, recipe: Recipe, jobs: Jobs, *, verify: bool = False) -> Iterator[tuple[int, Outcome]]:
    """What became of those of the jobs of a dataset whose results lie in Parquet files of their own in this folder, as
    they were written, each with its place among the jobs.

    Raises PosertError if the model cannot be read.
    """
    if not manifests(folder):
        return
    manifest, form = Manifest(folder, recipe), FORMATS["parquet"]
    spec, taken = read_spec(recipe.model, recipe.options), 0
    for place, number in enumerate(jobs.chosen):
        medium = jobs.media[int(number)]
        own = Job(medium.source, folder / medium.output(form), None, listed=True, clip=medium.clip)
        row = manifest.done(own, verify=verify)
        if row is not None and own.output is not None:
            known: State | None = {name: row[name] for name in _STATE if name in row} or None
            frames, people, device = row["frames"], row["people"], row["device"]
            rows, seconds = _rows(own.output, spec), row["seconds"]
            yield place, Outcome(jobs[place], frames, people, seconds, device=device, states=(known,), rows=rows)
            taken += 1
    if taken:
        _LOG.warning("%d clips of the dataset come from files of their own in %s, which stay", taken, folder)


def _rows(path: Path, spec: ModelSpec) -> Rows:
    """The rows of a file as `clip_rows` writes them."""
    pyarrow = optional("pyarrow", "a dataset in parts needs pyarrow", "parquet")
    with optional("pyarrow.parquet", "a dataset in parts needs pyarrow", "parquet").ParquetFile(path) as file:
        table = file.read()
    frames = table["frame"].to_numpy()
    person = np.arange(len(frames)) - np.searchsorted(frames, frames)  # 0, 1 ... within the frame
    table = table.add_column(ABOUT, pyarrow.field("person", pyarrow.int32()), pyarrow.array(person, pyarrow.int32()))
    table = table.replace_schema_metadata(metadata_of(json.loads(table.schema.metadata[b"posert"]), spec))
    with spooled() as spool:
        with pyarrow.ipc.new_stream(spool, table.schema) as writer:
            writer.write_table(table)
        return spool.taken()
