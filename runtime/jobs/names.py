"""What the files are called that a job keeps besides its results: manifests, and the parts of a dataset.

Owns these names. Standard library only; opens nothing.
"""

import re
from pathlib import Path

DATASET, MANIFEST = "dataset", "manifest"
"""Folders of a job's output: the dataset, and what is known of it."""
PART = re.compile(r"(part|chunk|rows)-((?P<label>\d+of\d+)-)?\d{5,}-[0-9a-f]{8}\.parquet")
"""Rows of the dataset, rows that wait for it, entries; of a shard or not."""
_LINES = re.compile(r"manifest(-\d+-of-\d+)?\.jsonl")
_RUN = re.compile(r"run-(all|\d+of\d+)\.json")


def manifests(folder: Path) -> list[Path]:
    """The manifests in lines, of shards too; the results of a source may be called `manifest_2.mp4.jsonl`."""
    return sorted(path for path in folder.glob("manifest*.jsonl") if _LINES.fullmatch(path.name))


def is_kept(name: str) -> bool:
    """Whether a file of an output, by its name there, is none of the results of one source.

    >>> [is_kept(f"{folder}/part-00001-0a1b2c3d.parquet") for folder in ("dataset", "deep/dataset")]
    [True, False]
    """
    folder, _, file = name.rpartition("/")
    if not folder:
        return _LINES.fullmatch(file) is not None
    wanted = {DATASET: [PART], MANIFEST: [PART, _RUN]}.get(folder, [])
    return any(pattern.fullmatch(file) for pattern in wanted)


def kept(folder: Path) -> list[Path]:
    """These files of an output, in this order: what one tells of, in parts and manifests, comes before it."""
    patterns = f"{DATASET}/*", f"{MANIFEST}/*", "manifest*.jsonl"
    found = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return [path for path in found if is_kept(path.relative_to(folder).as_posix())]
