"""Sphinx's settings, for `make docs`; what is made from the code is written to docs/made/ before the pages are read.

Knows how the site looks. What is in it: index.md; what is generated: generate/.
"""

import os
import sys
from pathlib import Path

import posert

HERE = Path(__file__).parent
os.environ.setdefault("POSERT_HOME", str(HERE / "made" / "home"))
sys.path.insert(0, str(HERE))

from generate import cards, cli, header, outputs, pictures  # noqa: E402

project = "posert"
copyright = "posert's authors, MIT licence"
version = release = posert.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["generate", "made/home"]
myst_heading_anchors = 4
default_role = "code"  # docstrings write `names` so
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_use_ivar = True
html_theme = "furo"
html_title = f"posert {release}"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_show_sphinx = False

MADE = HERE / "made"
MADE.mkdir(exist_ok=True)
for made in (cli, header, cards, outputs, pictures):
    made.write(MADE)
