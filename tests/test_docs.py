"""Every code block of README, docs/ and examples/ runs, or says why not; links lead somewhere (see doc_blocks.py).

A block of plain `posert` commands runs in this process, any other in a shell whose `pip` only checks that what is to be
installed exists: a fresh environment is filled by `make test-docs`, which follows docs/first-steps.md.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command import ROOT
from doc_blocks import BLOCKS, PAGES, Block
from doc_files import conversions, own_checkpoint, pages_files

from posert.cli import main

HERE = [block for block in BLOCKS if block.mark in ("", "needs")]


def simple(block: Block) -> list[list[str]] | None:
    """Its commands as words if all are plain calls of posert, else None."""
    lines = block.text.replace("\\\n", " ").splitlines()
    commands = [words for line in lines if (words := shlex.split(line, comments=True))]
    plain = all(words[0] == "posert" and not set(" ".join(words)) & set("|<>&$`;") for words in commands)
    return commands if plain else None


def written(words: list[str]) -> list[str]:
    """Files and folders that a command promises; a pattern's folder."""
    names = [words[at + 1] for at, word in enumerate(words) if word in ("-o", "--output", "--overlay")]
    return [str(Path(name).parent) if "%" in name else name for name in names]


def called(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code, shlex.join(words)
    assert all(Path(name).exists() for name in written(words)), shlex.join(words)


def shims(folder: Path) -> Path:
    """Commands that lead to this checkout and this Python; `pip` only checks."""
    folder.mkdir(exist_ok=True)
    python, checker = sys.executable, ROOT / "tests" / "doc_pip.py"
    scripts = {"posert": f'exec "{python}" -m posert.cli "$@"', "python": f'exec "{python}" "$@"'}
    scripts |= {"python3": scripts["python"], "pip": f'exec "{python}" "{checker}" "$@"'}
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def shell(text: str, folder: Path) -> None:
    path = f"{shims(folder / '.commands')}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "PATH": path}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


def run_block(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if block.kind == "sh":
        commands = simple(block)
        if commands is None:
            shell(block.text, folder)
        for words in commands or ():
            called(words, monkeypatch)
    elif block.kind == "python":
        exec(compile(block.text, block.name, "exec"), {"__name__": "__main__"})
    elif block.kind == "json":
        assert all(json.loads(line) is not None for line in block.text.splitlines())
    elif block.kind == "toml":
        tomllib.loads(block.text)
    else:
        pytest.fail(f"{block.name}: nothing here runs a block of {block.kind or 'no language'}")


def run_page(name: str, need: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for block in HERE:
        if (str(block.page.relative_to(ROOT)), block.why) == (name, need):
            run_block(block, folder, monkeypatch)


def names(need: str) -> list[str]:
    return sorted({str(block.page.relative_to(ROOT)) for block in HERE if block.why == need})


@pytest.mark.parametrize("name", names(""))
def test_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages_files(tmp_path)
    run_page(name, "", tmp_path, monkeypatch)


@pytest.mark.export
@pytest.mark.parametrize("name", names("export"))
def test_a_page_that_converts_runs(name: str, tmp_path: Path, assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official files come from a mirror; openpose-body25 is a small stand-in."""
    pages_files(tmp_path)
    conversions(tmp_path, assets, monkeypatch)
    run_page(name, "export", tmp_path, monkeypatch)


@pytest.mark.export
@pytest.mark.parametrize("name", names("openpifpaf"))
def test_a_page_that_reads_a_checkpoint_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages_files(tmp_path)
    own_checkpoint(tmp_path)
    run_page(name, "openpifpaf", tmp_path, monkeypatch)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark], ids=lambda block: block.name)
def test_a_mark_is_true(block: Block) -> None:
    if block.mark == "run by":
        assert block.page.name in (ROOT / block.why).read_text(encoding="utf-8")
    elif block.mark == "needs":
        assert block.why in ("export", "openpifpaf")
    else:
        assert len(block.why.split()) > 3
        assert all((ROOT / test).is_file() for test in re.findall(r"tests/[\w/]+\.py", block.why))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Pages that are made with the site (docs/made) are checked there."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and "made/" not in target:
            assert (page.parent / target).exists(), target


def test_every_measured_claim_names_a_script_that_exists() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    scripts = set(re.findall(r"tests/bench/\w+\.py", text))
    assert len(scripts) > 10
    assert all((ROOT / script).is_file() for script in scripts)


def test_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {name for names in re.findall(r"(?:posert|'\.)\[([a-z,-]+)\]", text) for name in names.split(",")}
    assert {"cpu", "gpu", "serve"} <= named <= set(extras)


def test_the_readme_is_two_screens_and_its_two_commands_are_what_ci_runs() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make demo" in ci
    assert "make test" in ci


def test_every_command_is_somewhere_and_has_help() -> None:
    from typer.main import get_command

    from posert.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert all(command.help for command in commands.values())
    assert [name for name in commands if f"posert {name}" not in text] == []
