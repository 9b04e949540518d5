"""docs/models.toml: its names exist, and what pages say of accuracy and speed is what stands there."""

import re
import tomllib

import pytest
from command import ROOT

from posert.export.weights import entries
from posert.skeletons import named_skeletons

FIGURES = tomllib.loads((ROOT / "docs" / "models.toml").read_text(encoding="utf-8"))
CHOOSING = (ROOT / "docs" / "guides" / "choosing.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_names_exist() -> None:
    assert FIGURES["measured"].keys() <= entries().keys()
    assert all(any(name.startswith(start) for name in entries()) for start in FIGURES["input"] | FIGURES["skeleton"])


@pytest.mark.parametrize("name", [name for name, entry in entries().items() if re.search(r"\d$", entry.finds)])
def test_keypoint_sets_have_as_many_as_the_list_says(name: str) -> None:
    starts = [start for start in FIGURES["skeleton"] if name.startswith(start)]
    entry = entries()[name]
    skeleton = entry.skeleton or (FIGURES["skeleton"][max(starts, key=len)] if starts and not entry.recipe else "")
    if skeleton not in ("", "none"):
        assert len(named_skeletons()[skeleton].names) == int(re.findall(r"\d+$", entry.finds)[0])


@pytest.mark.parametrize("name", FIGURES["measured"])
def test_pages_say_the_same(name: str) -> None:
    own = FIGURES["measured"][name]
    (row,) = re.findall(rf"^\| `{name}`(?! --).*\|$", CHOOSING, re.MULTILINE)
    said = set(re.findall(r"\.\d{3}", row))
    assert {f"{own[key]:.3f}".lstrip("0") for key in ("ap", "ap_boxes") if key in own} <= said
    assert re.search(rf"`{name}`,? (?:and )?{own['frames_per_s']:.0f}|{own['frames_per_s']:.0f} as int8", CHOOSING)
    for ap in re.findall(rf"`{name}` (\.\d{{3}})", README):
        assert ap == f"{own['ap']:.3f}".lstrip("0")
