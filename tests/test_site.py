"""The built site (`make docs`): its own links and anchors lead somewhere, and every model and format has its place."""

import re
from collections.abc import Iterator
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from command import ROOT

from posert.export.weights import entries
from posert.runtime.files.formats import FORMATS

SITE = ROOT / "out" / "site"
pytestmark = [pytest.mark.docs, pytest.mark.skipif(not SITE.is_dir(), reason="needs the site (`make docs`)")]


@cache
def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def anchors(path: Path) -> set[str]:
    return {unescape(name) for name in re.findall(r'\bid="([^"]+)"', page(path))}


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """Files and anchors that a page leads to within the site; addresses elsewhere are out of reach here."""
    for link in re.findall(r'\b(?:href|src)="([^"]+)"', page(path)):
        if re.match(r"[a-z]+:", link) is None:
            name, _, anchor = unescape(link).partition("#")
            file = path if not name else (path.parent / unquote(name.split("?")[0])).resolve()
            yield file / "index.html" if file.is_dir() else file, unquote(anchor)


def test_every_link_of_its_own_leads_somewhere() -> None:
    pages = sorted(SITE.rglob("*.html"))
    checked, broken = 0, []
    for path in pages:
        for file, anchor in links(path):
            checked += 1
            if not file.exists() or (anchor and file.suffix == ".html" and anchor not in anchors(file)):
                broken.append(f"{path.relative_to(SITE)} -> {file}#{anchor}")
    assert not broken
    assert checked > 20 * len(pages)


def test_every_model_and_format_is_there() -> None:
    assert all((SITE / "made" / "models" / f"{name}.html").is_file() for name in entries())
    assert set(FORMATS) <= anchors(SITE / "made" / "formats.html")
