"""One file of HTML: style, modules, data and columns inside, nothing from elsewhere.

Owns how modules become one script and how data stands in a page. Nothing in it can be more than data: `<` is written as
an escape in JSON, text is escaped, and the policy of the page lets run only the script and the style that we put there.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)


def script(entry: str) -> str:
    """A module and all that it imports, each once, those first that others need, as one module without imports.

    Modules are written so that this is enough: named exports at the beginning of a line, no two top-level names alike,
    no other kind of import.
    """
    texts = [_IMPORT.sub("", text_of(f"{name}.js")) for name in module_names(entry)]
    return "\n".join(re.sub(r"^export ", "", text, flags=re.MULTILINE) for text in texts)


def module_names(entry: str) -> list[str]:
    """A module and all that it imports, each once, those first that others need."""
    order: list[str] = []

    def visit(name: str) -> None:
        for needed in _IMPORT.findall(text_of(f"{name}.js")):
            if needed not in order:
                visit(needed)
        order.append(name)

    visit(entry)
    return order


def text_of(name: str) -> str:
    """A module or the style sheet."""
    return (files("posert.pages") / name).read_text(encoding="utf-8")


def page(
    title: str,
    *,
    entry: str | None = None,
    data: Any = None,
    blocks: Mapping[str, str] | None = None,
    body: str = "",
    connects: bool = False,
) -> str:
    """The text of a page.

    Args:
        entry: the module that runs in it. data: what it finds as JSON in the element `page`.
        blocks: texts without `<` (base64) in elements of these ids. body: HTML of ours, already escaped.
        connects: it may talk to the server that it comes from.
    """
    style, code = text_of("style.css"), "" if entry is None else script(entry)
    runs = f"script-src '{_hash(code)}'" if code else "script-src 'none'"
    policy = (
        f"default-src 'none'; {runs}; style-src '{_hash(style)}'; img-src 'self' file: data: blob:; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if connects else "")
    )
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta name="generator" content="posert">\n<title>{html.escape(title)}</title>',
        f'<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n<body>{body}',
    ]
    if data is not None:
        parts.append(f'<script type="application/json" id="page">{in_script(data)}</script>')
    for name, text in (blocks or {}).items():
        parts.append(f'<script type="text/plain" id="{name}">{text}</script>')
    if code:
        parts.append(f'<script type="module">{code}</script>')
    return "\n".join([*parts, "</body>\n</html>\n"])


def in_script(value: Any) -> str:
    """JSON that ends no script element.

    >>> in_script(["</script>"])
    '["\\\\u003c/script>"]'
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
