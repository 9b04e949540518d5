"""The reference of the C library, made/c.md: the header that `posert bundle` writes, entry by entry."""

import re
from pathlib import Path

import posert
import posert.export.embed

SOURCE = Path(str(posert.export.embed.__file__)).parent / "c" / "posert.h"
ENTRY = re.compile(r"/\*\* ?(.*?)\*/\n(.*?)(?=\n\n|\n/\*\*|\n#)", re.DOTALL)


def write(folder: Path) -> None:
    """Writes made/c.md: every documented declaration of the header with what is said of it."""
    numbers = posert.__version__.split(".")
    text = SOURCE.read_text(encoding="utf-8").replace("@VERSION@", posert.__version__)
    for name, number in zip(("MAJOR", "MINOR", "PATCH"), numbers, strict=False):
        text = text.replace(f"@{name}@", number)
    opening = re.match(r"/\*(.*?)\*/", text, re.DOTALL)
    assert opening
    page = (
        "# C header\n\nMade from `posert.h`, which `posert bundle` writes (`--prefix body`: `body.h`, `body_open()`).\n"
    )
    page += f"\n```c\n/*{opening[1]}*/\n```\n"
    for said, declared in ENTRY.findall(text):
        page += f"\n## {_name(declared)}\n\n{_prose(said)}\n\n```c\n{declared.strip()}\n```\n"
    (folder / "c.md").write_text(page, encoding="utf-8")


def _name(declared: str) -> str:
    found = re.findall(r"\b(posert\w*|POSERT_VERSION)\b(?=\s*(?:\(|;|\"|$))", declared) or re.findall(r"\w+", declared)
    closing = re.findall(r"^} (\w+);|} (\w+);", declared)
    names = [name for pair in closing for name in pair if name] or found
    return ", ".join(dict.fromkeys(f"`{name}`" for name in names))


def _prose(said: str) -> str:
    return re.sub(r"\s*\n\s*\*\s*", " ", said).strip().replace("*out", "`*out`").replace("<", "\\<")
