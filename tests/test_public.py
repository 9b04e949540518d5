"""The package's own face: what `from posert import ...` gives, with which types."""

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

import posert
from posert.runtime.options import ModelOptions, OptionChanges

ROOT = Path(__file__).parent.parent
PROGRAM = """
import numpy as np
from posert import Frame, Result, estimate, estimate_image, frames, open_model

model = open_model("nano", device="cpu", threads=2)
reveal_type(model)
reveal_type(estimate(model, frames("walk.mp4")))
reveal_type(estimate_image(model, np.zeros((4, 4, 3), np.uint8)))
estimate(model, [np.zeros((4, 4, 3), np.uint8)])
"""


def test_every_public_name_is_there_and_seen() -> None:
    assert set(posert.__all__) <= set(dir(posert))
    for name in posert.__all__:
        assert getattr(posert, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'zap'"):
        _ = posert.zap


def test_types_are_declared_where_the_names_come_from() -> None:
    """`if TYPE_CHECKING`, the table of the lazy imports and `__all__` say the same."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        (str(node.module).removeprefix("posert."), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == {(module, name) for module, names in posert._PUBLIC.items() for name in names}
    assert {name for _, name in declared} | {"__version__"} == set(posert.__all__)


def test_a_type_checker_knows_them(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    for revealed in ('is "posert.runtime.session.Model"', "Iterator[posert.poses.Result]", 'is "posert.poses.Result"'):
        assert revealed in done.stdout
    assert "Any" not in done.stdout


def test_the_keywords_of_open_model_are_the_fields_of_its_record() -> None:
    assert get_type_hints(OptionChanges) == get_type_hints(ModelOptions)
    assert [field.name for field in fields(ModelOptions)] == list(OptionChanges.__annotations__)
