"""The pages for whoever comes from another program: every option of it is there, and each of ours exists."""

import dataclasses
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from originals import ORIGINALS

import posert
from posert.cli import app
from posert.postprocess import decoders, suppression
from posert.postprocess.following import FollowOptions
from posert.runtime.after.options import SmoothOptions, TrackOptions

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("from-*.md"))
COMMAND: Any = typer.main.get_command(app)
SPAN = re.compile(r"`([^`]+)`")


def rows(page: Path) -> Iterator[tuple[str, str, str]]:
    """Theirs, ours, what to know: the rows of all tables of a page."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith(("| ---", "|---")):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 3, f"{page.name}: {line}"
            if cells[1] != "posert":
                yield cells[0], cells[1], cells[2]


@cache
def parameters() -> set[str]:
    """What `--set` takes, GROUP.NAME of what comes after the model, NAME of decoders and rules."""
    groups = {"follow": FollowOptions, "track": TrackOptions, "smooth": SmoothOptions}
    named = {f"{group}.{field.name}" for group, kind in groups.items() for field in dataclasses.fields(kind)}
    for folder in (decoders, suppression):
        for path in Path(str(folder.__file__)).parent.iterdir():
            if path.stem != "__init__" and (path.suffix == ".py" or (path / "__init__.py").is_file()):
                kind = importlib.import_module(f"{folder.__name__}.{path.stem}").Params
                named |= {field.name for field in dataclasses.fields(kind)}
    return named


def parameter(text: str) -> bool:
    group, _, name = text.partition("=")[0].rpartition(".")
    return (f"{group}.{name}" if group in ("follow", "track", "smooth") else name) in parameters()


def drawn(text: str) -> bool:
    from posert.runtime.files.drawing import DrawOptions

    name = re.split("[=:]", text)[0].replace("-", "_")
    return name in {field.name for field in dataclasses.fields(DrawOptions)} | {"heatmap", "paf"}


def written(text: str) -> bool:
    from posert.runtime.files.formats import FORMATS

    return set(text.split(",")) <= FORMATS.keys()


VALUES = {"--set": parameter, "--draw": drawn, "--format": written}


def command_problem(words: list[str]) -> str:
    """What a command line says that is not there, "" if nothing; without a command it is `infer`'s."""
    command = COMMAND
    while hasattr(command, "commands") and words:
        if words[0] in command.commands:
            command = command.commands[words[0]]
        elif words[0] not in {option for param in command.params for option in param.opts}:
            break
        words = words[1:]
    if hasattr(command, "commands"):
        return f"no command {words[:1]}"
    known = {option for param in command.params for option in param.opts}
    for word, value in zip(words, [*words[1:], ""], strict=True):
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag not in known:
            return f"{command.name} knows no {flag}"
        if flag in VALUES and not VALUES[flag](value):
            return f"{flag} knows no {value}"
    return ""


def name_problem(text: str) -> str:
    """Whether a name is one of the package's, of a model or of an environment variable."""
    if text.startswith("POSERT_") or text in tomllib.loads((DOCS.parent / "models.lock").read_text()):
        return ""
    owner, *names = re.sub(r"\(.*\)", "", text).split(".")
    places = [posert, *map(importlib.import_module, ("posert.poses", "posert.runtime.loop", "posert.runtime.session"))]
    for place in places:
        found: Any = place
        for name in (owner, *names):
            found = getattr(found, name, None)
        if found is not None:
            return ""
    return f"there is no {text}"


def problem(span: str) -> str:
    words = shlex.split(span)
    if words[0] == "posert":
        return command_problem(words[1:])
    if words[0].startswith("--"):
        return command_problem(["infer", *words])
    return name_problem(span)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_of_ours_exists(page: Path) -> None:
    wrong = [
        f"{theirs}: {said}" for theirs, ours, _ in rows(page) for span in SPAN.findall(ours) if (said := problem(span))
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_cell_is_empty_without_a_reason(page: Path) -> None:
    """What has no counterpart says why."""
    found = list(rows(page))
    assert len(found) > 10
    for theirs, ours, note in found:
        assert SPAN.search(theirs), theirs
        assert SPAN.search(ours) or len(note.split()) >= 4, f"{theirs} has neither a counterpart nor a reason"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_option_of_the_original_is_there(page: Path) -> None:
    named = {
        word for theirs, _, _ in rows(page) for span in SPAN.findall(theirs) for word in re.findall(r"[\w.-]+", span)
    }
    missing = [name for name in ORIGINALS[page.stem] if name not in named and f"--{name}" not in named]
    assert not missing


@pytest.mark.parametrize("page", [*PAGES, DOCS / "following.md"], ids=lambda page: page.stem)
def test_the_commands_of_the_pages_exist(page: Path) -> None:
    lines = re.findall(r"^posert .*", page.read_text(encoding="utf-8"), re.M)
    assert [said for line in lines if (said := problem(line))] == []
    assert lines


def test_every_page_has_its_original() -> None:
    assert {page.stem for page in PAGES} == set(ORIGINALS)


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ("--max-persons 2", "infer knows no --max-persons"),
        ("posert compare --hand", "compare knows no --hand"),
        ("posert show", "no command ['show']"),
        ("--set follow.rules=x", "--set knows no follow.rules=x"),
        ("--format xml", "--format knows no xml"),
        ("open_models", "there is no open_models"),
    ],
)
def test_what_is_not_there_is_found(span: str, said: str) -> None:
    assert problem(span) == said
