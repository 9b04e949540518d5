"""The code blocks of all documents, and what is to be done with each.

A block is run by tests/test_docs.py, page by page and in order, unless an HTML comment on the line above it says
`run by: FILE` (a test of its own), `needs: export` (run with the conversions) or `not run: REASON`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from command import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PAGES = [page for page in PAGES if page.exists() and "made" not in page.relative_to(ROOT).parts]
FENCE = re.compile(r"^( *)(`{3,})(.*)$")
MARK = re.compile(r"^ *<!-- (run by|needs|not run): (.+) -->$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `kind` is its language, `mark` and `why` what the comment above it says, empty without one."""

    page: Path
    line: int
    kind: str
    text: str
    mark: str
    why: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order; MyST's directives, `{toctree}` and the like, are none."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        indent, ticks, kind = fence.groups()
        end = next(row for row in range(at + 1, len(lines)) if lines[row].strip() == ticks)
        if not kind.startswith("{"):
            marked = MARK.match(lines[at - 1]) if at else None
            mark, why = marked.groups() if marked else ("", "")
            text = "\n".join(line.removeprefix(indent) for line in lines[at + 1 : end]) + "\n"
            found.append(Block(page, at + 1, kind.strip(), text, mark, why))
        at = end + 1
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
