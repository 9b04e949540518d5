"""What an address of `models.lock` means: a file, a member of a zip (`...zip#end2end.onnx`), a file on Google Drive.

Knows archives and Drive's page about large files; `fetch.py` knows HTTP. What comes of it is checked by `weights.py`.
"""

import zipfile
import zlib
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from posert.errors import PosertError
from posert.export.fetch import Progress, download

_DRIVE = ("drive.google.com", "drive.usercontent.google.com")
_PAGE = (b"<!doctype html", b"<html")
_MOST_OF_A_PAGE, _PIECE = 1 << 20, 1 << 20
_BESIDES = 1 << 22  # bytes of a zip that are not the member's: descriptions, a picture
_ELSEWHERE = "get the file elsewhere and use `from_file`, or set POSERT_MIRROR"


def fetch_file(
    url: str, part: Path, most_bytes: int, progress: Progress | None = None, *, any_end: bool = False
) -> None:
    """Fetches to `part` as `fetch.download` does, which see: what the address means, not always what lies there.

    Raises:
        PosertError: it cannot be had from there; of a zip, `part` with `.zip` behind it keeps what can be continued.
        OSError: `part` cannot be written.
    """
    address, _, member = url.partition("#")
    if member:
        _fetch_member(address, member, part, most_bytes, progress, any_end)
        return
    download(address, part, most_bytes, progress, any_end=any_end)
    if urlsplit(address).hostname in _DRIVE and _is_page(part):
        confirmed = _confirmed(address, part)
        part.unlink()
        download(confirmed, part, most_bytes, progress, any_end=any_end)
        if _is_page(part):
            part.unlink()
            raise PosertError(f"{address} gives a page instead of the file, again", _ELSEWHERE)


def archive_of(part: Path) -> Path:
    """Where the zip lies of which `part` becomes a member."""
    return part.with_name(f"{part.name}.zip")


def _fetch_member(
    address: str, member: str, part: Path, most_bytes: int, progress: Progress | None, continued: bool
) -> None:
    archive = archive_of(part)
    if not continued:  # nobody could tell that its halves are of two files
        archive.unlink(missing_ok=True)
    begun = archive.exists()
    try:
        download(address, archive, most_bytes + _BESIDES, progress, any_end=True)
    except OSError:  # a full disk wants it back
        archive.unlink(missing_ok=True)
        raise
    try:
        _take_out(archive, member, part, most_bytes, address)
    except PosertError:
        part.unlink(missing_ok=True)
        if not begun:
            raise
        archive.unlink()  # its beginning was another server's
        _fetch_member(address, member, part, most_bytes, progress, continued)
    finally:
        archive.unlink(missing_ok=True)


def _take_out(archive: Path, member: str, part: Path, most_bytes: int, address: str) -> None:
    """The one member of that name, in whatever folder of the zip it is, as `part`."""
    try:
        with zipfile.ZipFile(archive) as opened:
            named = [info for info in opened.infolist() if PurePosixPath(info.filename).name == member]
            if len(named) != 1:
                raise PosertError(f"{address} has {len(named)} files {member}, expected one", _ELSEWHERE)
            with opened.open(named[0]) as source, part.open("wb") as target:
                left = most_bytes
                while piece := source.read(_PIECE):
                    left -= len(piece)
                    if left < 0:
                        raise PosertError(f"{member} in {address} has more than {most_bytes} bytes", _ELSEWHERE)
                    target.write(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise PosertError(f"{address} is no zip that can be read: {error}", _ELSEWHERE) from None


def _is_page(part: Path) -> bool:
    with part.open("rb") as file:
        return file.read(200).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE)


class _Page(HTMLParser):
    """Where the form of a page leads, with its hidden fields; and the title."""

    def __init__(self) -> None:
        super().__init__()
        self.action, self.fields, self.title = "", dict[str, str](), ""
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._in_title = tag == "title"
        if tag == "form" and not self.action:
            self.action = given.get("action", "")
        if tag == "input" and self.action and given.get("type") == "hidden" and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
            self._in_title = False


def _confirmed(address: str, part: Path) -> str:
    """The address behind Drive's page that says that a large file could not be scanned for viruses.

    Raises:
        PosertError: it is another page: the file is gone, or too many people fetched it today.
    """
    page = _Page()
    with part.open("rb") as file:
        page.feed(file.read(_MOST_OF_A_PAGE).decode("utf-8", "replace"))
    leads = urlsplit(urljoin(address, page.action))
    if not page.fields or leads.hostname not in _DRIVE or leads.scheme != urlsplit(address).scheme:
        part.unlink()
        title = f" ({ascii(page.title.strip())[1:-1][:80]})" if page.title.strip() else ""
        raise PosertError(
            f"{address} gives a page instead of the file{title}", "open it in a browser, and use `from_file`"
        )
    return leads._replace(query=urlencode({**dict(parse_qsl(leads.query)), **page.fields}), fragment="").geturl()
