"""Archives of which equal files make equal bytes: no time, no owner, one order. Knows nothing of what is in them."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

TIME = 315532800  # 1980-01-01, the first that a zip can say


def pack(files: Mapping[str, Path], archive: Path) -> Path:
    """Writes path in the archive -> file as a .tar.gz; a file that may be run stays one."""
    with (
        archive.open("wb") as out,
        gzip.GzipFile("", "wb", 9, out, TIME) as packed,  # without the name that it has here
        tarfile.open(None, "w", packed) as tar,
    ):
        for name, file in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            data = file.read_bytes()
            entry.size, entry.mtime, entry.mode = len(data), TIME, 0o755 if file.stat().st_mode & 0o100 else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return archive


def files_of(folder: Path, name: str) -> dict[str, Path]:
    """Path in an archive, below `name` -> file, of everything in a folder."""
    return {f"{name}/{p.relative_to(folder).as_posix()}": p for p in sorted(folder.rglob("*")) if p.is_file()}
