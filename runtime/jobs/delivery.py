"""Results at addresses: written in a folder here, put where they belong as wholes, and told again from what is there.

Owns which file here is which there. A result is put by whoever made it, and then deleted here; what is kept of the run
(manifests, a dataset's parts) by the process that leads it. Knows jobs and stores, nothing of what is in a file.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import islice, takewhile
from pathlib import Path

from posert.errors import PosertError
from posert.runtime.files.state import State, unchanged
from posert.runtime.jobs.names import DATASET, is_kept, kept
from posert.runtime.store import remote
from posert.runtime.store.address import bare, is_stored
from posert.runtime.store.scratch import FOLDER

_LOG = logging.getLogger("posert")
Places = tuple[tuple[str, str], ...]
"""A file or a folder here, and the address that is meant."""
_PUSH_S = 10.0  # what a killed run has done in this time, it does again


def delivered(files: Sequence[Path], states: Sequence[State | None], places: Places) -> list[State | None]:
    """The states of a job's files, with the `etag`, which are at their addresses now, and no more here.

    Args:
        states: of the files, or nothing. places: a file of none of them stays as it is.

    Raises:
        PosertError: one of them cannot be put.
    """
    known = [dict(state) if state is not None else None for state in states]
    for number, path in enumerate(files):
        address = _address(path, places)
        if address is None:
            continue
        tag = _together({name: remote.put(file, _join(address, name)).tag for name, file in _files(path)})
        if known and (state := known[number]) is not None:
            state["etag"] = tag
        _remove(path)
    return known


@contextmanager
def named(places: Places) -> Iterator[None]:
    """Errors within the block name addresses, not the folders that stand for them."""
    try:
        yield
    except PosertError as error:
        if (what := _naming(error.what, places)) == error.what:
            raise
        raise type(error)(what, error.hint) from None


@contextmanager
def looked_at(output: str) -> Iterator[Path]:
    """The folder of an output while the block lasts; of one at an address its manifests, and of all else the names."""
    with closing(Delivery(output)) as delivery, delivery.named():
        yield delivery.here(output) or Path(output)


class Delivery:
    """The folders here that stand for a run's addresses, until `close`.

    Attributes:
        places: of the outputs that are addresses; empty if none is.
    """

    def __init__(self, *outputs: str | None) -> None:
        """Raises PosertError if a store cannot be asked what is there."""
        stored = [output for output in outputs if output is not None and is_stored(output)]
        self._root = tempfile.TemporaryDirectory(prefix="posert-out-", dir=os.environ.get(FOLDER)) if stored else None
        self._sent: dict[Path, tuple[int, int]] = {}
        self._hollow: set[Path] = set()
        self._tags: dict[str, str] = {}
        self._names: list[str] = []
        self._pushed_s = time.monotonic()
        self.places: Places = ()
        for number, output in enumerate(stored):
            ending = Path(bare(output)).suffix  # writers go by it
            self._pull(output, Path(self._root.name if self._root else "", f"{number}{ending}"))

    def here(self, output: str | None) -> Path | None:
        """Where what belongs at an output is written: the folder that stands for an address, any other as it is."""
        if output is None or not is_stored(output):
            return None if output is None else Path(output)
        folder, name = _split(output)
        place = next(Path(place) for place, address in self.places if address == folder)
        return place / name if name else place

    def named(self) -> AbstractContextManager[None]:
        """Errors within the block name addresses."""
        return named(self.places)

    def naming(self, text: str) -> str:
        """A text that names addresses, not the folders that stand for them."""
        return _naming(text, self.places)

    def unchanged(self, path: str | Path, known: State | None, *, verify: bool = False) -> bool:
        """As of `files.state`; a result at an address is known by its ETag."""
        address = _address(Path(path), self.places)
        if address is None:
            return unchanged(path, known, verify=verify)
        if verify:
            raise PosertError("`verify` reads results again, which are not here", "leave it away: their ETags tell")
        begin = bisect_left(self._names, address)
        names = takewhile(lambda name: name.startswith(address), islice(self._names, begin, None))
        below = {name.removeprefix(address): self._tags[name] for name in names if _is_below(name, address)}
        return bool(below) and known is not None and known.get("etag") == _together(below)

    def whole(self, path: Path) -> Path:
        """A part of a dataset with all that is in it, which is fetched now if it is at an address alone."""
        if path in self._hollow:
            remote.read(_address(path, self.places) or "", path)
            self._hollow.remove(path)
            self._sent[path] = _seen(path)
        return path

    def push(self, *, now: bool = True) -> None:
        """Puts manifests and parts of a dataset that are new, takes those away that are gone; parts only leave a name.

        Args:
            now: also if that was done a moment ago; without it a failure is only said, for there will be another time.

        Raises PosertError if that fails.
        """
        if not self.places or not (now or time.monotonic() - self._pushed_s > _PUSH_S):
            return
        try:
            self._push()
        except PosertError as error:
            if now:
                raise
            _LOG.warning("%s; it is tried again", error.what)
        self._pushed_s = time.monotonic()

    def _push(self) -> None:
        found = [path for place, _ in self.places for path in kept(Path(place))]
        for path in found:
            if self._sent.get(path) != _seen(path):
                remote.put(path, _address(path, self.places) or "")
                if path.parent.name == DATASET:
                    self._empty(path, path.stat().st_size)
                self._sent[path] = _seen(path)
        for path in self._sent.keys() - set(found):
            remote.remove(_address(path, self.places) or "")
            del self._sent[path]

    def close(self) -> None:
        """Leaves nothing here."""
        if self._root is not None:
            self._root.cleanup()

    def _pull(self, output: str, place: Path) -> None:
        """A folder with what is at an address: what is kept of runs, of all else the name alone."""
        folder, name = _split(output)
        if not name:
            place.mkdir()
        self.places = (*self.places, (str(place), folder))
        found = remote.listing(folder if folder.endswith("/") else folder + "/")
        with suppress(PosertError):  # nothing is there
            if not name and not folder.endswith("/"):
                place.rmdir()
                found = found or {folder: remote.facts(folder)}
        for address, facts in found.items():
            path = place / bare(address).removeprefix(folder).strip("/") if address != folder else place
            path.parent.mkdir(parents=True, exist_ok=True)
            if path == place or not is_kept(path.relative_to(place).as_posix()):
                _of_size(path, max(1, facts.bytes or 0))
                self._tags[address] = facts.tag
                continue
            if path.parent.name == DATASET:
                self._empty(path, facts.bytes or 0)
            else:
                remote.read(address, path)
            self._sent[path] = _seen(path)
        self._names = sorted(self._tags)

    def _empty(self, path: Path, size: int) -> None:
        """A file of which nothing is here but its name and size; `whole` fetches it."""
        _of_size(path, size)
        self._hollow.add(path)


def _naming(text: str, places: Places) -> str:
    for place, address in places:
        text = text.replace(place + os.sep, address.rstrip("/") + "/").replace(place, address)
    return text


def _split(output: str) -> tuple[str, str]:
    """The address of a folder of pictures, `drawn/%06d.jpg`, and their names; any other and nothing."""
    folder, _, name = output.rpartition("/")
    return (folder + "/", name) if "%" in name else (output, "")


def _address(path: Path, places: Places) -> str | None:
    for place, address in places:
        if path == Path(place):
            return address
        if path.is_relative_to(place):
            return _join(address, path.relative_to(place).as_posix())
    return None


def _join(address: str, name: str) -> str:
    return f"{address.rstrip('/')}/{name}" if name else address


def _is_below(name: str, address: str) -> bool:
    return name == address or name.startswith(address.rstrip("/") + "/")


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """A file, or those in a folder with their names there."""
    if path.is_file():
        yield "", path
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        yield file.relative_to(path).as_posix(), file


def _together(tags: Mapping[str, str]) -> str:
    """One text for all of them: a file's own ETag, a folder's by those of its files."""
    if tags.keys() == {""}:
        return tags[""]
    listed = sorted((name.strip("/"), tag) for name, tag in tags.items())
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _seen(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _of_size(path: Path, size: int) -> None:
    """A file of this size that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
