"""The files of a dataset and of its manifest: their names, how one gets its place, what a run that died has left.

Owns the folders `dataset` and `manifest` of an output, and that one run has them. Knows nothing of what is in a file.
"""

import json
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from posert.errors import PosertError
from posert.runtime.files.atomic import remove_leftovers, workshop
from posert.runtime.files.locks import release, take
from posert.runtime.files.ours import says_so
from posert.runtime.jobs.entries import Sheet, name_number, sheets
from posert.runtime.jobs.names import DATASET, MANIFEST, PART

_LOG = logging.getLogger("posert")


class Shelf:
    """The two folders of one run.

    Attributes:
        folder: the output. path: the folder of the manifest in it.
        label: the shard's, `2of4`; a run without one has the files of all shards.
    """

    def __init__(
        self, folder: Path, shard: tuple[int, int] | None = None, whole: Callable[[Path], Path] = lambda path: path
    ) -> None:
        """`whole`: makes that all of a file is here, of which there may be the name and the size alone."""
        self.folder, self.path, self._whole = folder, folder / MANIFEST, whole
        self.label = "" if shard is None else f"{shard[0]}of{shard[1]}"
        self._token, self._number = secrets.token_hex(4), 0
        self._lock: list[TextIO] = []
        self._run: dict[str, Any] = {}

    def owns(self, sheet: Sheet) -> bool:
        """Whether this run may change or remove a sheet and what it tells of."""
        return self.label in ("", sheet.shard)

    def has(self, sheet: Sheet) -> bool:
        """Whether the file with the rows of a sheet's clips is there, as large as it was; also if there are no rows."""
        path = self.folder / sheet.holder
        return not sheet.holder or (path.is_file() and path.stat().st_size == sheet.bytes)

    def rows(self, sheet: Sheet) -> Path:
        """The file with the rows of a sheet's clips, which has some."""
        return self._whole(self.folder / sheet.holder)

    def put(self, made: Path, kind: str) -> str:
        """Gives a file its place; its name below the folder."""
        self._number += 1
        label = f"{self.label}-" if self.label else ""
        name = f"{kind}-{label}{self._number:05}-{self._token}.parquet"
        with made.open("rb") as file:
            os.fsync(file.fileno())
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, self.folder / name)
        return name

    def remove(self, sheet: Sheet) -> None:
        """Removes a sheet, and then the rows it tells of."""
        for name in filter(None, (sheet.name, sheet.holder)):
            (self.folder / name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Removes what earlier runs began and did not end; raises PosertError if there are files of somebody else's."""
        live = sheets(self.folder)
        kept = {name for sheet in live for name in (sheet.name, sheet.holder)}
        remove_leftovers([self.path])
        for path in [*_files(self.folder / DATASET), *_files(self.path)]:
            name = path.relative_to(self.folder).as_posix()
            match = PART.fullmatch(path.name)
            if name.startswith(DATASET) and not (match and (name in kept or says_so(self._whole(path)))):
                hint = "move it away, or choose another `output`: a dataset's readers take all files"
                raise PosertError(f"{path} is no part of posert's", hint)
            if match and name not in kept and self.label in ("", match["label"] or ""):
                path.unlink()
        self._number = max((name_number(name) for name in kept), default=0)

    def take(self) -> None:
        """From now on no other run has these files; raises PosertError if one has."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            others = self.path.glob(".*.lock") if not self.label else self.path.glob(".all.lock")
            for lock in {*others, self.path / f".{self.label or 'all'}.lock"}:
                self._lock.append(take(lock))
        except BlockingIOError:
            self.release()
            hint = "wait for its end, give each run a folder of its own, or share the sources out with `shard`"
            raise PosertError(f"another run is writing {self.folder}", hint) from None
        except OSError:  # no locks there, or nothing can be written, which the first file says
            _LOG.debug("%s cannot be locked", self.path, exc_info=True)

    def release(self) -> None:
        """Gives the files free."""
        for lock in self._lock:
            release(lock)
        self._lock.clear()

    def note(self, **said: Any) -> None:
        """What is known of the run: how many clips in all, when it began and ended."""
        self._run |= said
        with workshop(self.path) as folder:
            (folder / "run.json").write_text(json.dumps(self._run) + "\n", encoding="utf-8")
            os.replace(folder / "run.json", self.path / f"run-{self.label or 'all'}.json")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
