"""Files of stores on this machine, while somebody reads them: fetched ahead as far as there is room, deleted after.

Owns the scratch folder. Whoever reads a stored source asks `held` for its file; during a run over many sources
`fetched_ahead` has it there before, for this process and those that it starts. What a killed process leaves goes when
the next one begins. Knows addresses, nothing of media.
"""

import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TextIO

from posert.errors import PosertError
from posert.runtime.files.locks import release, take
from posert.runtime.store.address import is_stored, shown, suffix
from posert.runtime.store.remote import Facts, facts, read

FOLDER, MEGABYTES = "POSERT_SCRATCH", "POSERT_SCRATCH_MB"
"""Environment: where files are kept while they are read, and how many 10^6 bytes of those that are fetched ahead."""
_RUN = "POSERT_SCRATCH_RUN"  # the folder of the run that this process works for
_OWN_PREFIX, _RUN_PREFIX = "posert-fetched-", "posert-run-"
_MOST_BYTES = 2**33
_FETCHERS = 4
_SEEN_AHEAD = 256  # sources whose uses are counted before the first of them is fetched: more than run at once
_LOOK_S = 0.02
_lock = threading.Lock()
_holders: Counter[str] = Counter()
_own_folder: dict[Path, TextIO | None] = {}  # of this process while it holds files, with its lock


@contextmanager
def held(source: str) -> Iterator[str]:
    """The file of a source while the block lasts: of a stored one a copy here, any other source itself.

    Errors within the block name the source.

    Raises:
        PosertError: it cannot be fetched.
    """
    if not is_stored(source):
        with _called(source, source):
            yield source
        return
    whole = file_of(source)
    if whole != source:
        with held(whole) as tar:
            yield tar + source.removeprefix(whole)
        return
    run = os.environ.get(_RUN)
    with _waited(Path(run), source) if run else _own(source) as place, _called(str(place), source):
        yield str(place)


@contextmanager
def _called(place: str, source: str) -> Iterator[None]:
    """Errors within the block that name this place name what may be written of the source."""
    try:
        yield
    except PosertError as error:
        if place == (name := shown(source)):
            raise
        raise type(error)(error.what.replace(place, name), error.hint.replace(place, name)) from None


def file_of(source: str) -> str:
    """The file that a stored source is fetched with: of a member of a tar the tar.

    >>> file_of("s3://b/c.tar/000.mp4"), file_of("s3://b/d.mp4")
    ('s3://b/c.tar', 's3://b/d.mp4')
    """
    tar, inside, _ = source.partition(".tar/")
    return tar + inside.removesuffix("/")


def held_facts(source: str) -> Facts:
    """What the store said of a source when it was fetched, or says now if it is not here; raises as `facts` does."""
    source = file_of(source)
    run = os.environ.get(_RUN)
    with suppress(OSError, ValueError):
        folder = Path(run) if run else next(iter(_own_folder), Path())
        return Facts(**json.loads(_place(folder, source).with_suffix(".facts").read_bytes()))
    return facts(source)


@contextmanager
def fetched_ahead(sources: Iterable[str]) -> Iterator[Callable[[str], None]]:
    """Fetches the stored ones of these sources, in order, while others of them are worked at.

    At most so many bytes are here as MEGABYTES says, or else 8 GiB or half of what is free, unless a single file is
    larger. Everything is deleted in the end.

    Args:
        sources: once for each time that a source is worked at.

    Yields:
        What to call with a source that has been worked at.
    """
    room = _room(Path(os.environ.get(FOLDER) or tempfile.gettempdir()))
    run, lock = _new_folder(_RUN_PREFIX)
    before, os.environ[_RUN] = os.environ.get(_RUN), str(run)
    ahead = _Ahead(run, room)
    thread = threading.Thread(target=ahead.fetch_all, args=(sources,), name="posert-fetch", daemon=True)
    thread.start()
    try:
        yield ahead.done
    finally:
        ahead.stop()
        thread.join()
        if before is None:
            del os.environ[_RUN]
        else:
            os.environ[_RUN] = before
        release(lock)
        shutil.rmtree(run, ignore_errors=True)


class _Ahead:
    """Who fetches what is needed next, and who deletes it.

    Room is given in the order of the sources, so whatever is waited for needs nothing but the end of those before it.
    """

    def __init__(self, run: Path, room: int) -> None:
        self.run, self.room = run, room
        self._changed, self._stopped = threading.Condition(), False
        self._uses: Counter[str] = Counter()
        self._bytes: dict[str, int] = {}

    def fetch_all(self, sources: Iterable[str]) -> None:
        wanted = (file_of(source) for source in sources if is_stored(source))
        coming: deque[str] = deque()
        with ThreadPoolExecutor(_FETCHERS, "posert-fetch") as pool:
            while not self._stopped:
                for source in islice(wanted, _SEEN_AHEAD - len(coming)):
                    coming.append(source)
                    with self._changed:
                        self._uses[source] += 1
                if not coming:
                    break
                if self._is_new(source := coming.popleft()) and (known := self._take(source)):
                    pool.submit(_fetch_for_all, self.run, source, known)

    def _is_new(self, source: str) -> bool:
        with self._changed:
            return self._uses[source] > 0 and source not in self._bytes

    def _take(self, source: str) -> Facts | None:
        """Waits for room; None if there is no such file, or the run has ended meanwhile."""
        found = None
        try:
            found = facts(source)
        except PosertError as error:
            _fail(self.run, source, error)
        size = (found and found.bytes) or 0
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or not self._bytes or sum(self._bytes.values()) + size <= self.room
            )
            self._bytes[source] = size
            return None if self._stopped else found

    def done(self, source: str) -> None:
        """Somebody has worked at it; the last one for now leaves nothing of it here."""
        if not is_stored(source):
            return
        source = file_of(source)
        with self._changed:
            self._uses[source] -= 1
            if self._uses[source] != 0:
                return
            del self._uses[source]
            place = _place(self.run, source)
            for each in (place, place.with_suffix(".facts"), place.with_suffix(".failed")):
                each.unlink(missing_ok=True)
            self._bytes.pop(source, None)
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


@contextmanager
def _waited(run: Path, source: str) -> Iterator[Path]:
    """The file that whoever leads the run fetches."""
    place = _place(run, source)
    while not place.exists():
        failed = place.with_suffix(".failed")
        if failed.exists():
            raise PosertError(*json.loads(failed.read_bytes()))
        if not run.exists():
            raise PosertError(f"{shown(source)} was not fetched: the run has ended", "run it again with `resume`")
        time.sleep(_LOOK_S)
    yield place


@contextmanager
def _own(source: str) -> Iterator[Path]:
    """A file that this process fetches, and deletes when nobody in it reads it any more."""
    with _lock:
        if not _own_folder:
            folder, lock = _new_folder(_OWN_PREFIX)
            _own_folder[folder] = lock
        place = _place(next(iter(_own_folder)), source)
        _holders[source] += 1
    try:
        with _lock_of(source):
            if not place.exists():
                _fetch(place.parent, source)
        yield place
    finally:
        with _lock:
            _holders[source] -= 1
            if not _holders[source]:
                del _holders[source]
                for each in (place, place.with_suffix(".facts")):
                    each.unlink(missing_ok=True)
            if not _holders:  # a file that has not begun to come needs the folder too
                release(_own_folder.pop(place.parent))
                with suppress(OSError):
                    place.parent.rmdir()


_locks: dict[str, threading.Lock] = {}


def _lock_of(source: str) -> threading.Lock:
    with _lock:
        return _locks.setdefault(source, threading.Lock())


def _fetch_for_all(folder: Path, source: str, known: Facts) -> None:
    """As `_fetch`; a failure is a file too, for those who wait in other processes."""
    try:
        _fetch(folder, source, known)
    except PosertError as error:
        _fail(folder, source, error)


def _fetch(folder: Path, source: str, known: Facts | None = None) -> None:
    """Fetches a file; it has its name when it is whole. Raises PosertError if that fails."""
    place = _place(folder, source)
    part = place.with_suffix(".part")
    try:
        found = read(source, part, known)
        place.with_suffix(".facts").write_text(json.dumps(asdict(found)))
        os.replace(part, place)
    except OSError as error:
        what = f"{shown(source)} cannot be kept in {folder}: {error.strerror}"
        raise PosertError(what, f"free some space, or name another folder in {FOLDER}") from None
    finally:
        part.unlink(missing_ok=True)


def _fail(folder: Path, source: str, error: PosertError) -> None:
    failed = _place(folder, source).with_suffix(".failed")
    with suppress(OSError):  # the run has ended
        failed.with_suffix(".said").write_text(json.dumps([error.what, error.hint]))
        os.replace(failed.with_suffix(".said"), failed)


def _new_folder(prefix: str) -> tuple[Path, TextIO | None]:
    """A folder for what is fetched, and its lock, None where there are no locks; what killed processes left goes."""
    place = Path(os.environ.get(FOLDER) or tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    for folder in (each for kind in (_OWN_PREFIX, _RUN_PREFIX) for each in place.glob(kind + "*")):
        with suppress(OSError):  # somebody uses it, or nothing can be locked here
            with take(folder / "lock"):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)  # Windows keeps open files
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        try:
            return folder, take(folder / "lock")
        except (BlockingIOError, FileNotFoundError):  # taken for a leftover before it was locked
            continue
        except OSError:
            return folder, None


def _place(folder: Path, source: str) -> Path:
    return folder / (hashlib.sha256(source.encode()).hexdigest()[:32] + suffix(source))


def _room(folder: Path) -> int:
    given = os.environ.get(MEGABYTES)
    if not given:
        return min(_MOST_BYTES, shutil.disk_usage(folder).free // 2)
    if not given.isdigit() or not int(given):
        raise PosertError(f"{MEGABYTES} is {given!r}, expected a number of megabytes", f"for example {MEGABYTES}=2000")
    return int(given) * 10**6
