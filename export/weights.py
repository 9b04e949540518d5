"""The list of official weights (`models.lock`), and fetching them: pinned, resumed, verified before use.

Standard library only, so that `posert models` works without the export extras. Knows addresses and hashes, not formats.
"""

import dataclasses
import difflib
import hashlib
import logging
import os
import shutil
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from posert.errors import PosertError
from posert.runtime.files.ours import cache_folder

_LOG = logging.getLogger("posert")
_LOCK = Path(__file__).parent.parent / "models.lock"
_CHUNK = 1 << 20
_TRIES = 4
_TIMEOUT_S = 30
Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all or 0)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of `models.lock`.

    Attributes:
        name: what `posert export` calls it.
        system: the file in `export/systems` that converts it.
        route: how; `onnx` needs only its metadata, `embedded` comes with the package.
        licence: of the weights. non_commercial: whether it forbids commercial use.
        file: name in the cache. url: address; empty if there is none to fetch from.
        sha256, sha256_prefix, git_blob: the pin, at most one of them; none if the project publishes no hash.
        bytes: size, 0 if unknown.
        source: project and commit.
        detector: what finds its boxes, for a model that looks at boxes; `none` if these are not people's.
    """

    name: str
    system: str
    route: str
    licence: str
    source: str = ""
    file: str = ""
    url: str = ""
    sha256: str = ""
    sha256_prefix: str = ""
    git_blob: str = ""
    bytes: int = 0
    non_commercial: bool = False
    detector: str = "yolox-nano"

    @property
    def pinned(self) -> bool:
        return bool(self.sha256 or self.sha256_prefix or self.git_blob)


def entries(lock: Path = _LOCK) -> dict[str, Entry]:
    """Name -> entry, in the order of the file."""
    known = {field.name for field in dataclasses.fields(Entry)}
    rows = tomllib.loads(lock.read_text(encoding="utf-8"))
    for name, row in rows.items():
        if unknown := set(row) - known:
            raise PosertError(f"{lock}: unknown fields of {name}: {', '.join(sorted(unknown))}")
    return {name: Entry(name=name, **row) for name, row in rows.items()}


def find(name: str, lock: Path = _LOCK) -> Entry:
    """The entry called `name`.

    Raises:
        PosertError: there is none; names the nearest.
    """
    known = entries(lock)
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 3, 0.4)
    raise PosertError(
        f"there is no model {name!r}", f"did you mean {' or '.join(near)}?" if near else "posert models list"
    )


def status(entry: Entry) -> Literal["embedded", "cached", "damaged", "unpinned", "not fetched"]:
    """What the cache holds of an entry, its hash read anew."""
    if entry.route == "embedded":
        return "embedded"
    path = cache_folder() / entry.file
    if not path.is_file():
        return "not fetched"
    if not entry.pinned:
        return "unpinned"
    return "damaged" if _misfits(entry, path) else "cached"


def pull(
    entry: Entry,
    *,
    from_file: Path | None = None,
    accept_unpinned: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The official file of an entry, verified.

    Args:
        from_file: use this file instead of fetching; verified all the same.
        accept_unpinned: take a file whose project publishes no hash; its sha256 is logged.
        offline: only what the cache or POSERT_MIRROR's folder holds. POSERT_OFFLINE=1 says the same.

    Raises:
        PosertError: nothing to fetch from, the connection or the disk fails, or the bytes are not the official ones.
    """
    path = from_file or cache_folder() / entry.file
    if from_file is not None and not from_file.is_file():
        raise PosertError(f"there is no file {from_file}", "check the path after `from_file`")
    if from_file is None and not path.is_file():
        _fetch(entry, path, offline or os.environ.get("POSERT_OFFLINE") == "1", progress, accept_unpinned)
        return path
    _verify(entry, path, accept_unpinned)
    return path


def _verify(entry: Entry, path: Path, accept_unpinned: bool) -> None:
    if not entry.pinned:
        digest = _sha256(path)
        if not accept_unpinned:
            raise PosertError(
                f"{entry.name} has no published hash, so {path.name} cannot be checked (sha256 {digest}); "
                "a weight file can run code when it is loaded",
                "if you trust where it came from, add `accept_unpinned`",
            )
        _LOG.warning("taking the unpinned %s, sha256 %s", path, digest)
        return
    if problem := _misfits(entry, path):
        own = f"; one of your own: posert export {entry.system} `from_file`" if entry.system in entries() else ""
        raise PosertError(f"{path} is not the official {entry.name}: {problem}", f"fetch the official file again{own}")


def _misfits(entry: Entry, path: Path) -> str:
    """What is wrong with the bytes of a pinned file; empty if nothing."""
    size = path.stat().st_size
    if entry.bytes and size != entry.bytes:
        return f"{size} bytes, expected {entry.bytes}"
    if entry.git_blob:
        digest, expected = _git_blob(path), entry.git_blob
    else:
        digest, expected = _sha256(path), entry.sha256 or entry.sha256_prefix
    return "" if digest.startswith(expected) else f"its hash is {digest}, expected {expected}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_blob(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch(entry: Entry, path: Path, offline: bool, progress: Progress | None, accept_unpinned: bool) -> None:
    """Fetches to `<name>.part`, verifies, renames; a broken-off `.part` is continued the next time."""
    part = path.with_name(path.name + ".part")
    mirror = os.environ.get("POSERT_MIRROR", "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if mirror and "://" not in mirror:
                _copy(Path(mirror) / entry.file, part, entry)
            elif offline:
                raise PosertError(f"{path.name} is not in the cache, and posert is offline", f"fetch it to {path}")
            else:
                _download(_address(entry, mirror), part, progress)
            try:
                _verify(entry, part, accept_unpinned)
            except PosertError:
                part.unlink(missing_ok=True)
                raise
            os.replace(part, path)
    except OSError as error:
        raise PosertError(
            f"{path} cannot be written: {error.strerror or error}",
            "free some space, or set POSERT_HOME to another folder",
        ) from error


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Refuses a second process that fetches the same file at the same time."""
    lock = part.with_name(part.name + ".lock")
    try:
        lock.touch(exist_ok=False)
    except FileExistsError:
        raise PosertError(
            f"another posert is fetching {part.name.removesuffix('.part')}",
            f"wait for it, or delete {lock} if none runs",
        ) from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _copy(source: Path, part: Path, entry: Entry) -> None:
    if not source.is_file():
        raise PosertError(f"the mirror has no {source}", f"put {entry.file} there, or unset POSERT_MIRROR")
    shutil.copyfile(source, part)


def _address(entry: Entry, mirror: str) -> str:
    if mirror:
        return mirror.rstrip("/") + "/" + urllib.parse.quote(entry.file)
    if not entry.url:
        raise PosertError(
            f"{entry.name} has no address to fetch from ({entry.source})", "get it there and use `from_file`"
        )
    if entry.url.startswith("http:"):
        _LOG.warning("%s is fetched without encryption: %s", entry.name, entry.url)
    return entry.url


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Continues `part` until the server's whole length is there; a connection that breaks off is taken up again."""
    for attempt in range(_TRIES):
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                if have and answer.status != 206:  # the server sends the whole file again
                    have = 0
                length = int(answer.headers.get("Content-Length") or 0)
                _store(answer, part, have, have + length if length else 0, progress)
                if not length or part.stat().st_size >= have + length:
                    return
            reason = f"only {part.stat().st_size} of {have + length} bytes came"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing after what we have
                return
            if error.code < 500:
                raise PosertError(
                    f"{url} answers {error.code} {error.reason}", "get the file elsewhere and use `from_file`"
                ) from None
            reason = f"the server answers {error.code} {error.reason}"
        except (urllib.error.URLError, ConnectionError, TimeoutError, EOFError) as error:
            reason = str(getattr(error, "reason", error))
        _LOG.info("try %d of %d for %s: %s", attempt + 1, _TRIES, url, reason)
    raise PosertError(
        f"{url} cannot be fetched: {reason}",
        "run the same command again to continue; or fetch it yourself and use `from_file`; or set POSERT_MIRROR",
    )


def _store(answer: IO[bytes], part: Path, have: int, whole: int, progress: Progress | None) -> None:
    with part.open("ab" if have else "wb") as file:
        while True:
            try:
                chunk = answer.read(_CHUNK)
            except (ConnectionError, TimeoutError, ValueError) as error:
                raise ConnectionError(str(error)) from error
            except Exception as error:  # http.client.IncompleteRead carries the bytes that came
                file.write(getattr(error, "partial", b""))
                raise ConnectionError(str(error)) from error
            if not chunk:
                return
            file.write(chunk)
            have += len(chunk)
            if progress is not None:
                progress(have, whole)
