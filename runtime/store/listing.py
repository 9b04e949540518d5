"""The sources behind an address: a folder of a store, a pattern, a page that lists files, a list that lies there.

Owns what such an address stands for. Knows addresses and media by their names, opens nothing but listings and lists.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from posert.errors import PosertError
from posert.runtime.media import is_medium
from posert.runtime.media.members import TAR, spans_in
from posert.runtime.store import remote
from posert.runtime.store.address import bare, common_folder, is_stored, kept, path_of, shown, suffix
from posert.runtime.store.scratch import held

_MAGIC = frozenset("*?[")


def is_listed(source: str) -> bool:
    """Whether a source is an address that may stand for several files: in a store, or behind http and ending in `/`."""
    return is_stored(source) or (source.startswith(("http://", "https://")) and urlsplit(source).path.endswith("/"))


def stands_for_several(source: str) -> bool:
    """Whether a source is a tar, or an address of a folder or a page, whose results lie in a folder, be it but one."""
    return source.endswith(TAR) or (is_listed(source) and path_of(source).endswith("/"))


def files(source: str) -> list[tuple[str, str]]:
    """The media behind such an address: pairs of (address, name below the folder or the pattern that it came from).

    Raises:
        PosertError: there is none, or the store cannot be asked.
    """
    address = bare(source)
    if is_stored(source) and _MAGIC & set(address):
        matching = list(remote.matching(address))
        if address.endswith(TAR) and matching:
            folder = common_folder(matching)
            members = ((tar, name) for tar in matching for name in _members(tar))
            return [(f"{tar}/{name}", f"{tar.removeprefix(folder)}/{name}") for tar, name in members]
        found = _media(matching) or _media(remote.present(address))
        if not found:
            raise PosertError(
                f"no image or video matches {shown(source)}",
                "** stands for folders at any depth; an address that ends in / is a folder",
            )
        return _named(found, common_folder([bare(address) for address in found]))
    if address.endswith(TAR) and is_stored(source):
        return [(f"{source}/{name}", name) for name in _members(source)]
    if not path_of(address).endswith("/"):
        return [(source, path_of(address).rpartition("/")[2])]
    found = _media(remote.listing(address))
    if not found:
        hint = "check the address, its bucket included: posert looks for files such as .jpg, .png, .mp4"
        raise PosertError(f"no image or video below {shown(source)}", hint)
    return _named(found, address)


def _members(tar: str) -> list[str]:
    names = remote.looked_into(bare(tar), lambda file: list(spans_in(shown(tar), file)))
    return [name for name in names if is_medium(name)]


def _media(found: Iterable[str]) -> list[str]:
    return [kept(address) for address in found if is_medium("file" + suffix(address))]


def _named(found: list[str], folder: str) -> list[tuple[str, str]]:
    names = (path_of(bare(address)).removeprefix(folder).split("/") for address in found)
    return [(address, "/".join(filter(None, name))) for address, name in zip(found, names, strict=True)]


@contextmanager
def list_file(path: str) -> Iterator[str]:
    """The file of a list of sources, here or behind an address, while the block lasts; see `held`."""
    with held(kept(path) if "://" in path else path) as place:
        yield place


def _below(folder: str, entry: str) -> str:
    """An entry below a folder's address, or with `../` below one above it, but never another bucket's."""
    while entry.startswith("../") and folder.count("/") > 2:
        folder, entry = folder.rpartition("/")[0], entry[3:]
    return f"{folder}/{entry}"


def beside(path: str, entry: str) -> str:
    """What a list names: a file here if it lies here; in a list behind an address a file there, or another address.

    >>> beside("s3://b/sets/l.csv", "../clips/a.mp4")
    's3://b/clips/a.mp4'
    >>> beside("https://h/sets/list.txt", "a/b.mp4"), beside("s3://b/l.csv", "s3://c/d.mp4"), beside("l.csv", "a.mp4")
    ('simplecache::https://h/sets/a/b.mp4', 's3://c/d.mp4', 'a.mp4')
    """
    if "://" not in path:
        return entry
    if "://" not in entry:
        entry = urljoin(path, entry) if path.startswith("http") else _below(path.rpartition("/")[0], entry)
    return kept(entry) if entry.startswith("http") and not path_of(entry).endswith("/") else entry
