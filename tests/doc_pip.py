"""What stands for `pip` where blocks of documents run: nothing is installed, but what is asked for must exist.

Run as a script, `doc_pip.py install ...`; ours are `.[EXTRAS]` and `posert[EXTRAS]`, others only from the list.
"""

import re
import sys
import tomllib
from pathlib import Path

OTHERS = {"trackeval", "scipy", "tabulate", "supervision", "pandas", "rerun-sdk", "datumaro", "pipx", "uv"}


def wrong(words: list[str]) -> list[str]:
    """The arguments that pip could not install."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(tomllib.loads(text)["project"]["optional-dependencies"])
    if words[:1] != ["install"]:
        return words
    bad = []
    for word in (word for word in words[1:] if not word.startswith("-")):
        own = re.fullmatch(r"(?:posert|\.)(?:\[([a-z0-9,-]+)\])?", word)
        if not ((own and set((own[1] or "cpu").split(",")) <= extras) or word in OTHERS):
            bad.append(word)
    return bad


if __name__ == "__main__":
    sys.exit(f"no such package or extra: {bad}" if (bad := wrong(sys.argv[1:])) else 0)
