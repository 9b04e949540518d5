"""Object stores and web servers through fsspec: what is there, files fetched and put, tried again where that may help.

Owns fsspec and the patience with it. Credentials come by the libraries' own ways (environment, files, roles), and what
goes wrong is said without them. Knows addresses, nothing of media or jobs.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from posert.errors import PosertError, optional
from posert.runtime.store.address import STORES, bare, clean, shown

_LOG = logging.getLogger("posert")
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Before something is tried again; the libraries try some errors again themselves."""
BLOCK = 2**22
"""Bytes of one request."""
BLOCK_S = 60.0
"""How long a request may take; a server that gives less than a block in this time counts as one that fails."""
_PLACE = 2**16  # bytes that come at once where a few are looked for
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, PosertError)
_TELL_ALL = (
    "adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "httpx", "huggingface_hub",
    "msal", "s3fs", "urllib3",
)  # fmt: skip
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a store says of a file: bytes (None = it does not say), and its ETag or time of change, empty without."""

    bytes: int | None
    tag: str = ""


def facts(address: str) -> Facts:
    """What its store says of an address now; raises PosertError if it is not there or cannot be asked."""
    system, path = _opened(address)

    def ask() -> Facts:
        system.invalidate_cache(system._parent(path))
        return _facts_in(_called(system, "info", path))

    with _said(address, "looked up"):
        return _patiently(address, ask)


def listing(folder: str, *, within_s: float | None = None) -> dict[str, Facts]:
    """The files below an address, at any depth: their whole addresses, in order; empty if there are none.

    A listing that breaks off in its midst is begun again.

    Raises:
        PosertError: the store cannot be asked, or takes longer than `within_s`, where its package can tell.
    """
    return _found(folder, "find", within_s)


def matching(pattern: str) -> dict[str, Facts]:
    """As `listing`, the files that match a pattern (`**` stands for any depth)."""
    return _found(pattern, "glob")


def present(address: str) -> dict[str, Facts]:
    """As `listing`, of the file itself, if it is there."""
    with suppress(PosertError):
        return {address: facts(address)}
    return {}


def read(address: str, to: Path, known: Facts | None = None) -> Facts:
    """Fetches a file; what its store says of it, `known` if that has been asked.

    Every block has the length that was asked for, and the file is the same at the end as at the beginning: a body that
    was cut off never counts as a file.

    Raises:
        PosertError: it cannot be fetched, or has changed meanwhile.
    """
    found = known or facts(address)
    with _said(address, "fetched"), to.open("wb") as file:
        size = found.bytes
        while size is None or file.tell() < size:
            at, length = file.tell(), None if size is None else min(BLOCK, size - file.tell())
            block = _patiently(address, lambda at=at, length=length: _block(address, at, length, size))  # type: ignore[misc]
            file.write(block)
            if size is None:
                break
    if found.bytes is not None and found.bytes > BLOCK and facts(address) != found:
        raise PosertError(f"{shown(address)} was changed while it was fetched", "run it again with `resume`")
    return found


def looked_into(address: str, look: Callable[[Any], _Made]) -> _Made:
    """What `look` makes of a file, open for reading, of which it needs a few places alone."""
    system, path = _opened(address)

    def made() -> _Made:
        with system.open(path, "rb", block_size=_PLACE, cache_type="readahead") as file:
            return look(file)

    with _said(address, "read"):
        return _patiently(address, made)


def put(local: Path, address: str) -> Facts:
    """Puts a file at an address, as a whole or not at all; what the store then says of it.

    Raises PosertError if that fails.
    """
    system, path = _opened(address)
    size = local.stat().st_size

    def send() -> Facts:
        _called(system, "put_file", str(local), path, timeout_s=BLOCK_S * (1 + size / BLOCK))
        system.invalidate_cache(system._parent(path))
        stored = _facts_in(_called(system, "info", path))
        if stored.bytes != size:
            raise OSError(f"{stored.bytes} of {size} bytes have arrived")
        return stored

    with _said(address, "written"):
        return _patiently(address, send)


def remove(address: str) -> None:
    """Removes a file; nothing happens if it is not there."""
    system, path = _opened(address)
    with _said(address, "removed"), suppress(FileNotFoundError):
        _patiently(address, lambda: _called(system, "rm_file", path))


def _block(address: str, at: int, length: int | None, size: int | None) -> bytes:
    """Bytes of a file; all of them from a server that knows no parts, if the first are asked for."""
    system, path = _opened(address)
    part = {} if length is None or length == size else {"start": at, "end": at + length}
    data: bytes = _called(system, "cat_file", path, **part)
    if length is None or len(data) == length or (at == 0 and len(data) == size):
        return data
    raise OSError(f"{len(data)} of {length} bytes came")


def _found(address: str, how: str, within_s: float | None = None) -> dict[str, Facts]:
    system, path = _opened(address)
    final = _FINAL if within_s is None else (*_FINAL, TimeoutError)

    def ask() -> dict[str, Facts]:
        system.invalidate_cache()
        found: Mapping[str, Any] = _called(system, how, path, detail=True, timeout_s=within_s)
        files = {name: info for name, info in found.items() if info.get("type") == "file"}
        return {_whole(address, name): _facts_in(files[name]) for name in sorted(files)}

    with _said(address, "listed"):
        try:
            return _patiently(address, ask, final)
        except FileNotFoundError:
            return {}


def _whole(address: str, name: str) -> str:
    """A file's address as it would be given, not with another scheme of the same store.

    >>> _whole("gcs://b/c/", "b/c/d.mp4"), _whole("abfs://b@account.dfs.core.windows.net/c/", "b/c/d.mp4")
    ('gcs://b/c/d.mp4', 'abfs://b@account.dfs.core.windows.net/c/d.mp4')
    """
    if "://" in name:
        return name
    scheme, _, path = address.partition("://")
    host, name = path.partition("/")[0], str(name).lstrip("/")
    return f"{scheme}://{host}/{name.partition('/')[2]}" if "@" in host else f"{scheme}://{name}"


def _facts_in(info: Mapping[str, Any]) -> Facts:
    if info.get("type") == "directory":
        raise IsADirectoryError("it is a folder")
    tag = next((info[key] for key in ("ETag", "etag", "md5Hash", "oid", "blob_id") if info.get(key)), "")
    changed = next((info[key] for key in ("LastModified", "last_modified", "mtime", "created") if info.get(key)), "")
    return Facts(info.get("size"), str(tag or changed).strip('"'))


def _called(system: Any, name: str, *args: Any, timeout_s: float | None = BLOCK_S, **more: Any) -> Any:
    """A method of a file system, given up after a while where the system can do that."""
    if getattr(system, "async_impl", False):
        from fsspec.asyn import sync

        return sync(system.loop, getattr(system, f"_{name}"), *args, timeout=timeout_s, **more)
    return getattr(system, name)(*args, **more)


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and its path there."""
    scheme, _, path = bare(address).partition("://")
    account = path.partition("/")[0].partition("@")[2].partition(".")[0] if STORES.get(scheme) == STORES["az"] else ""
    system = _system(scheme, account)
    return system, system._strip_protocol(bare(address))


@cache
def _system(scheme: str, account: str = "") -> Any:
    """The file system of a scheme; `account`: that an address names, of Azure's."""
    install = STORES.get(scheme, "'posert[cloud]'")
    fsspec = optional("fsspec", "addresses of stores need fsspec", "cloud")
    for name in _TELL_ALL:  # with `debug` they would write down what they sign and with what
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        more = {"account_name": account} if account else {}
        return fsspec.filesystem(scheme, skip_instance_cache=True, **more)
    except ImportError:
        raise PosertError(f"addresses {scheme}:// need another package", f"pip install {install}") from None
    except Exception as error:
        hint = f"the package's own ways name the account: {install}"
        raise PosertError(f"{scheme}:// cannot be opened: {_text(error)}", hint) from None


def _patiently(address: str, made: Callable[[], _Made], final: tuple[type[Exception], ...] = _FINAL) -> _Made:
    """What is made, tried again after growing pauses, unless that is in vain: after one of the `final` errors."""
    for pause_s in PAUSES_S:
        try:
            return made()
        except final:
            raise
        except Exception as error:
            _LOG.info("%s: %s; tried again in %g s", shown(address), _text(error), pause_s)
            time.sleep(pause_s)
    return made()


@contextmanager
def _said(address: str, done: str) -> Iterator[None]:
    """A failure as a PosertError that names the address and no secret."""
    try:
        yield
    except PosertError:
        raise
    except FileNotFoundError:
        raise PosertError(f"{shown(address)} does not exist", "check the address") from None
    except Exception as error:
        hint = "check the network, the address and the account; `resume` goes on from here"
        raise PosertError(f"{shown(address)} cannot be {done}: {_text(error)}", hint) from None


def _text(error: Exception) -> str:
    said = clean(str(error)).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
