"""Which sources are addresses of files that are fetched whole, and what may be said of an address.

Owns the list of stores and the rule what of an address is secret. Standard library only; opens nothing.
"""

import os.path
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit, urlunsplit

STORES = {
    "s3": "'posert[cloud]'",
    "gs": "'posert[gs]'",
    "gcs": "'posert[gs]'",
    "az": "'posert[az]'",
    "abfs": "'posert[az]'",
    "abfss": "'posert[az]'",
    "hf": "'posert[hf]'",
    "memory": "'posert[cloud]'",
}
"""Schemes of fsspec's, and what pip installs for them."""
KEPT = "simplecache::"
"""fsspec's prefix of an address that is fetched whole before it is read; of http, which is a stream without it."""
_SECRET = re.compile(r"sig|token|key|secret|credential|password|auth|expires|x-amz-|x-goog-", re.IGNORECASE)


def is_stored(source: object) -> bool:
    """Whether a source is an address of a file that is fetched whole before it is read.

    >>> [is_stored(name) for name in ("s3://b/a.mp4", "simplecache::https://h/a.mp4", "https://h/a.mp4", "a.mp4")]
    [True, True, False, False]
    """
    text = str(source)
    return text.startswith(KEPT) or (text.partition("://")[0] in STORES and "://" in text)


def kept(address: str) -> str:
    """An address of a file, marked so that it is fetched whole.

    >>> kept("https://h/a.mp4"), kept("s3://b/a.mp4")
    ('simplecache::https://h/a.mp4', 's3://b/a.mp4')
    """
    return address if is_stored(address) else KEPT + address


def bare(address: str) -> str:
    """The address without the mark."""
    return address.removeprefix(KEPT)


def shown(source: str) -> str:
    """What may be written of a source: an address without its mark, user, and a query that holds secrets.

    >>> shown("simplecache::https://me:pw@h/a.mp4?X-Amz-Signature=1"), shown("simplecache::https://h/a.mp4?v=2")
    ('https://h/a.mp4', 'https://h/a.mp4?v=2')
    >>> shown("rtsp://me:pw@camera/1"), shown("abfs://clips@account.dfs.core.windows.net/a.mp4"), shown("a.mp4")
    ('rtsp://camera/1', 'abfs://clips@account.dfs.core.windows.net/a.mp4', 'a.mp4')
    """
    return _without_secrets(bare(source)) if "://" in source else source


def clean(text: str) -> str:
    """A text, of an error for example, whose addresses hold no secrets.

    >>> clean("403, url='https://h/a.mp4?sig=abc'")
    "403, url='https://h/a.mp4'"
    """
    return re.sub(r"[a-z][a-z0-9+]*://[^\s'\"<>]+", lambda found: _without_secrets(found[0]), text)


def path_of(address: str) -> str:
    """An address without its query, which only web servers know: a store's file may be called `what?.mp4`.

    >>> path_of("https://h/a.mp4?v=2"), path_of("s3://b/what?.mp4")
    ('https://h/a.mp4', 's3://b/what?.mp4')
    """
    return address.partition("?")[0] if bare(address).startswith("http") else address


def suffix(source: str) -> str:
    """The suffix of the file's name, in small letters: `.mp4`.

    >>> suffix("simplecache::https://h/a.MP4?v=2"), suffix("s3://b/what?.mp4")
    ('.mp4', '.mp4')
    """
    name = path_of(bare(source)).partition("://")[2].rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name.lstrip(".") else ""


def common_folder(addresses: Sequence[str]) -> str:
    """The address of the folder that all of these addresses have in common.

    >>> common_folder(["s3://b/x/a.mp4", "s3://b/xy/a.mp4"]), common_folder(["s3://b/x/a.mp4"])
    ('s3://b/', 's3://b/x/')
    """
    same = os.path.commonprefix([min(addresses), max(addresses)])  # noqa: RUF071 (letters, cut at a slash)
    return same.rpartition("/")[0] + "/"


def _without_secrets(address: str) -> str:
    try:
        parts = urlsplit(address)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return re.sub("//[^/]*@", "//", address.partition("?")[0])
    secret = any(_SECRET.search(name) for name, _ in query) or (parts.query and not query)
    user, _, host = parts.netloc.rpartition("@")
    named = STORES.get(parts.scheme) == STORES["az"] and ":" not in user  # `abfs://container@account.dfs...`
    if not (secret or user) or (named and not secret):
        return address
    return urlunsplit(parts._replace(netloc=parts.netloc if named else host, query="" if secret else parts.query))
