"""The list of official weights (`models.lock`), their pins, and the cache: nothing is used that is not checked.

Works without the export extras, for `posert models`. Knows hashes; `fetch.py` knows HTTP.
"""

import dataclasses
import difflib
import hashlib
import logging
import os
import shutil
import tomllib
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from posert.errors import PosertError
from posert.export.addresses import archive_of, fetch_file
from posert.export.fetch import Progress
from posert.runtime.files.locks import release, take
from posert.runtime.files.ours import cache_folder
from posert.runtime.files.state import sha256_of

_PERMISSIVE = ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0")
_EXTRAS = {
    "onnx": "convert", "tfjs": "convert", "caffe": "convert", "tflite": "export-tf", "saved_model": "export-tf",
    "frozen_graph": "export-tf", "state_dict": "export-torch", "checkpoint": "export-torch", "darknet": "export-torch",
    "own": "export",
}  # fmt: skip
USUAL_DETECTOR = "yolox-nano"
USUAL_HANDS, USUAL_FACE = "mediapipe-hand", "openpose-face"
"""The networks for parts of people that are taken if nobody names one."""
_LOG = logging.getLogger("posert")
_LOCK = Path(__file__).parent.parent / "models.lock"
_MOST_BYTES = 1 << 30  # of a file whose size is not known; the largest official one has a third of it


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One official file, in a row of `models.lock`.

    Attributes:
        file: name in the cache.
        url: its authors' address; empty if there is none to fetch from. mirrors: others, asked in turn if it fails. A
            name behind # is that of a member of a zip: what is kept and pinned is the member.
        sha256, git_blob, md5: pins, the strongest first; all that are given must fit.
        sha256_prefix: the part of a hash that the project puts in the name. Checked, but no pin: a forger finds another
            file with these few digits by trying.
        bytes: size, 0 if unknown. bytes_at_most: how many are taken of a file whose size is not known.
    """

    file: str = ""
    url: str = ""
    mirrors: Sequence[str] = ()
    sha256: str = ""
    git_blob: str = ""
    md5: str = ""
    sha256_prefix: str = ""
    bytes: int = 0
    bytes_at_most: int = _MOST_BYTES

    @property
    def pinned(self) -> bool:
        return bool(self.sha256 or self.git_blob or self.md5)

    @property
    def pin(self) -> str:
        """The strongest hash that is known of it, in words."""
        few = f"no pin but {len(self.sha256_prefix)} digits of its sha256" if self.sha256_prefix else "no pin"
        pins = {"sha256": self.sha256, "git's SHA-1": self.git_blob, "its authors' MD5": self.md5, few: few}
        return next(words for words, pin in pins.items() if pin)


@dataclass(frozen=True, slots=True)
class Entry(File):
    """One row of `models.lock`: a model, its first file, and what else it needs.

    Attributes:
        name: what `posert export` calls it.
        system: the file in `export/systems` that converts it.
        route: how; `onnx` needs only its metadata, `tfjs` no framework either, `embedded` comes with the package,
            `own` is one's own file, whose kind its ending says.
        licence: of the weights. non_commercial: whether it forbids commercial use.
        source: project and commit.
        detector: what finds its boxes, `none` if these are not people's; "" = `USUAL_DETECTOR` for a model that looks
            at boxes, and none for one that follows one person.
        finds: whom, and how many keypoints, in a few words.
        ap: average precision as its authors claim it, percent; 0 = no claim. ap_on: on what.
        recipe: the name of what its tensors mean, among the recipes of `models.lock`; for the route `onnx`.
        skeleton, size_wh: of a recipe that leaves them to the row.
        beside: files of the same name but for the ending, which are read with the first.
    """

    name: str
    system: str
    route: str
    licence: str
    source: str = ""
    non_commercial: bool = False
    detector: str = ""
    finds: str = ""
    ap: float = 0.0
    ap_on: str = ""
    recipe: str = ""
    skeleton: str = ""
    size_wh: Sequence[int] = ()
    beside: Sequence[File] = ()

    @property
    def light(self) -> bool:
        """Whether it becomes a model file without a framework, with the package onnx alone."""
        return self.extra in ("", "convert")

    @property
    def by_name(self) -> bool:
        """Whether whoever asks for its name gets it without another command."""
        return self.light and bool(self.url or self.route == "embedded")

    @property
    def extra(self) -> str:
        """The extra of posert that its conversion needs; empty if it needs none."""
        return _EXTRAS.get(self.route, "")

    @property
    def permissive(self) -> bool:
        """Whether the licence of the weights lets everybody use them for everything."""
        return self.licence in _PERMISSIVE

    @property
    def files(self) -> list[File]:
        return [self, *self.beside]


def entries() -> dict[str, Entry]:
    """Name -> entry, in the order of the file."""
    known = {field.name for field in dataclasses.fields(Entry)}
    rows = _rows()
    del rows["recipes"]
    for name, row in rows.items():
        if unknown := set(row) - known:
            raise PosertError(f"{_LOCK}: unknown fields of {name}: {', '.join(sorted(unknown))}")
        row["beside"] = [File(**file) for file in row.get("beside", ())]
    return {name: Entry(name=name, **row) for name, row in rows.items()}


def recipes() -> dict[str, dict[str, Any]]:
    """Name -> recipe, as in the file."""
    found: dict[str, dict[str, Any]] = _rows()["recipes"]
    return found


def recipe(entry: Entry) -> dict[str, Any]:
    """What the tensors of an entry mean, as `posert tag` takes it, parsed; all that the entry itself says is in it."""
    data = recipes()[entry.recipe]
    data |= {"model": entry.name, "licence": entry.licence, "source": entry.url or entry.source}
    if entry.skeleton:
        data["skeleton"] = entry.skeleton
    if entry.size_wh:
        data["stage"]["input"]["size_wh"] = list(entry.size_wh)
    return data


def _rows() -> dict[str, Any]:
    return tomllib.loads(_LOCK.read_text(encoding="utf-8"))


def find(name: str) -> Entry:
    """The entry called `name`.

    Raises:
        PosertError: there is none; names the nearest.
    """
    known = entries()
    if name in known:
        return known[name]
    near = nearest(name, 0.4)
    raise PosertError(f"there is no model {name!r}", f"did you mean {near}?" if near else "posert models list")


def nearest(name: str, least: float = 0.6) -> str:
    """The names most like this one, in words; empty if none is so alike, 0..1."""
    return " or ".join(difflib.get_close_matches(name, entries(), 3, least))


def status(entry: Entry) -> Literal["embedded", "cached", "damaged", "unpinned", "not fetched"]:
    """What the cache holds of an entry, its hash read anew."""
    if entry.route == "embedded":
        return "embedded"
    files = {cache_folder() / file.file: file for file in entry.files}
    if not all(path.is_file() for path in files):
        return "not fetched"
    if any(_misfits(file, path) for path, file in files.items()):
        return "damaged"
    return "cached" if all(file.pinned for file in entry.files) else "unpinned"


def pins(entry: Entry) -> str:
    """What the files of an entry are checked against, in words."""
    return "" if entry.route == "embedded" else ", ".join(dict.fromkeys(file.pin for file in entry.files))


def pull(
    entry: Entry,
    *,
    from_file: Path | None = None,
    accept_unpinned: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The first official file of an entry; it and those `beside` it are verified.

    Args:
        from_file: use this file (a SavedModel may be a folder) instead of fetching, and what lies beside it; verified
            all the same.
        accept_unpinned: take a file whose project publishes no whole hash; its sha256 is logged.
        offline: only what the cache or POSERT_MIRROR's folder holds. POSERT_OFFLINE=1 says the same.

    Raises:
        PosertError: nothing to fetch from, the connection or the disk fails, or the bytes are not the official ones.
    """
    if from_file is not None and not from_file.exists():
        raise PosertError(f"there is no file {from_file}", "check the path after `from_file`")
    first = from_file or cache_folder() / entry.file
    offline = offline or os.environ.get("POSERT_OFFLINE") == "1"
    for file in entry.files:
        path = first if file is entry else beside(entry, first, Path(file.file).suffix)
        if not (file.pinned or accept_unpinned):
            raise _unchecked(file, path)
        if path.exists():
            _verify(entry, file, path, str(path))
        else:
            _fetch(entry, file, path, offline, progress)
    return first


def beside(entry: Entry, path: Path, suffix: str) -> Path:
    """Where the file with this suffix lies that is read with `path`: beside it, else in the cache if the entry has one.

    >>> beside(Entry("toy", "toy", "darknet", "MIT"), Path("folder/toy.weights"), ".cfg").name
    'toy.cfg'
    """
    own = path.with_suffix(suffix)
    fetched = (cache_folder() / file.file for file in entry.beside if file.file.endswith(suffix))
    return own if own.is_file() else next(fetched, own)


def _unchecked(file: File, path: Path) -> PosertError:
    digits = len(file.sha256_prefix)
    known = f"only {digits} digits of its hash are published" if digits else "it has no published hash"
    digest = f" (sha256 {sha256_of(path)})" if path.is_file() else ""
    return PosertError(
        f"{path.name} cannot be checked: {known}{digest}; a weight file can run code when it is loaded",
        "if you trust where it comes from, add `accept_unpinned`",
    )


def _verify(entry: Entry, file: File, path: Path, origin: str) -> None:
    """Raises PosertError if the bytes in `path`, which came from `origin`, do not fit; warns if nobody can tell."""
    if problem := _misfits(file, path):
        own = f"; one of your own: posert export {entry.system} `from_file`" if entry.system in entries() else ""
        what = f"{origin} is not the official {entry.name}: {problem}"
        raise PosertError(what, f"fetch the official file again{own}")
    if not file.pinned:
        digest = "a folder" if path.is_dir() else f"sha256 {sha256_of(path)}"
        _LOG.warning("taking the unpinned %s, %s", origin, digest)


def _misfits(file: File, path: Path) -> str:
    """What is wrong with the bytes of a file; empty if nothing."""
    if path.is_dir():
        return "it is a folder" if file.pinned or file.sha256_prefix else ""
    size = path.stat().st_size
    if file.bytes and size != file.bytes:
        return f"{size} bytes, expected {file.bytes}"
    starts: dict[str, Callable[[], hashlib._Hash]] = {
        "sha256": hashlib.sha256,
        "sha256_prefix": hashlib.sha256,
        "md5": partial(hashlib.md5, usedforsecurity=False),
        "git_blob": partial(hashlib.sha1, b"blob %d\0" % size, usedforsecurity=False),
    }
    for kind, start in starts.items():
        if expected := getattr(file, kind):
            with path.open("rb") as opened:
                digest = hashlib.file_digest(opened, start).hexdigest()
            if not digest.startswith(expected):
                return f"its hash is {digest}, expected {expected}"
    return ""


def _fetch(entry: Entry, file: File, path: Path, offline: bool, progress: Progress | None) -> None:
    """Fetches to `<name>.part`, verifies, renames; a broken-off `.part` of a pinned file is continued the next time."""
    part = path.with_name(path.name + ".part")
    mirror = os.environ.get("POSERT_MIRROR", "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if mirror and "://" not in mirror:
                source = Path(mirror) / file.file
                if not source.is_file():
                    raise PosertError(f"the mirror has no {source}", f"put {file.file} there, or unset POSERT_MIRROR")
                shutil.copyfile(source, part)
                _settle(entry, file, part, path, str(source))
            elif offline:
                raise PosertError(f"{path.name} is not in the cache, and posert is offline", f"fetch it to {path}")
            else:
                _ask(entry, file, part, path, mirror, progress)
    except OSError as error:
        with suppress(OSError):  # a full disk wants it back
            part.unlink()
        raise PosertError(
            f"{path} cannot be written: {error.strerror or error}",
            "free some space, or set POSERT_HOME to another folder",
        ) from error


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Refuses a second process that fetches the same file at the same time; one that was killed stops nobody."""
    lock = None
    try:
        lock = take(part.with_name(part.name + ".lock"))
    except BlockingIOError:
        raise PosertError(f"another posert is fetching {part.name.removesuffix('.part')}", "wait for it") from None
    except OSError:  # no locks there, or nothing can be written, which whoever writes says
        _LOG.debug("%s cannot be locked", part, exc_info=True)
    try:
        yield
    finally:
        release(lock)


def _ask(entry: Entry, file: File, part: Path, path: Path, mirror: str, progress: Progress | None) -> None:
    """Asks the mirror of the environment alone, else the file's own addresses in turn; each failure is said once."""
    urls = [mirror.rstrip("/") + "/" + urllib.parse.quote(file.file)] if mirror else [file.url, *file.mirrors]
    if not urls[0]:
        what = f"{entry.name} has no address to fetch {file.file} from ({entry.source})"
        raise PosertError(what, "get it there and use `from_file`")
    for url in urls:
        if not mirror and url.startswith("http:"):
            _LOG.warning("%s is fetched without encryption: %s", entry.name, url)
        try:
            _download(file, part, url, progress)
            _settle(entry, file, part, path, url)
            return
        except PosertError as error:
            if url == urls[-1]:
                raise
            _LOG.warning("%s; asking the next address", error.what)


def _download(file: File, part: Path, url: str, progress: Progress | None) -> None:
    if not file.pinned:  # nobody could tell that its halves are of two files
        part.unlink(missing_ok=True)
    begun, most_bytes = part.exists(), file.bytes or file.bytes_at_most
    fetch_file(url, part, most_bytes, progress, any_end=file.pinned)
    if begun and _misfits(file, part):  # its beginning was another server's
        part.unlink()
        fetch_file(url, part, most_bytes, progress, any_end=file.pinned)


def _settle(entry: Entry, file: File, part: Path, path: Path, origin: str) -> None:
    """Gives what fits its name, removes what does not."""
    try:
        _verify(entry, file, part, origin)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
        archive_of(part).unlink(missing_ok=True)
