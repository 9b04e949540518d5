"""The rules of the house that a machine can check: imports go one way, systems and flags have their places."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from posert.flags import FLAGS

ROOT = Path(__file__).parent.parent
LAYERS = ["postprocess", "runtime", "measure", "pages", "export", "serve", "cli"]
OWN = sorted(
    path
    for path in [*ROOT.glob("*.py"), *(item for layer in LAYERS[:-1] for item in (ROOT / layer).rglob("*.py"))]
    if "__pycache__" not in path.parts
)


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path, *, for_types: bool = True) -> list[str]:
    """Dotted names of every import in the file, also those inside functions; those for type checkers alone or not."""
    names = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If) and not for_types]:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import absolutely, from posert..."
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", [path for path in OWN if _layer(path) in LAYERS], ids=_named)
def test_imports_go_one_way(path: Path) -> None:
    above = LAYERS[LAYERS.index(_layer(path)) + 1 :]
    wrong = [name for name in _imports(path) if any(name.startswith(f"posert.{layer}") for layer in above)]
    assert not wrong, f"{path} imports from above itself: {wrong}"
    bare = [name for name in _imports(path) if name.split(".")[0] in LAYERS]
    assert not bare, f"{path} imports {bare} without posert.: the file would load twice"


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("posert", *parts[: -1 if parts[-1] == "__init__" else None]))


def _arrows() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, in functions too: there an import only hides a circle."""
    modules = {_module(path): path for path in OWN}
    arrows: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = _imports(path, for_types=False)
        arrows[name] = {one if one in modules else one.rpartition(".")[0] for one in found} & modules.keys() - {name}
    return arrows


def test_no_circle() -> None:
    arrows = _arrows()
    reached = {name: set(out) for name, out in arrows.items()}
    while any(not set().union(*(arrows[one] for one in out)) <= out for out in reached.values() if out):
        reached = {name: out.union(*(arrows[one] for one in out)) for name, out in reached.items()}
    circles = {name for name, out in reached.items() if name in out}
    assert not sorted(circles)


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _foreign_private_names(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {name for name in _imports(path) if name.startswith("posert.") and any(map(_private, name.split(".")))}
    modules = {_module(other) for other in OWN}
    local = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in modules
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _private(node.attr) and ast.unparse(node.value) in local:
            found.add(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", OWN, ids=_named)
def test_private_names_stay_in_their_file(path: Path) -> None:
    assert not _foreign_private_names(path)


HEAVY = {
    "postprocess": {"onnxruntime", "cv2", "onnx", "torch", "tensorflow", "typer", "rich"},
    "runtime": {"onnx", "torch", "tensorflow", "typer", "rich"},
}


@pytest.mark.parametrize("layer", HEAVY)
def test_layers_need_only_their_own_packages(layer: str) -> None:
    for path in (path for path in OWN if _layer(path) == layer):
        packages = {name.split(".")[0] for name in _imports(path)}
        assert not packages & HEAVY[layer], f"{path} imports {packages & HEAVY[layer]}"


def _strings(path: Path, *, docstrings: bool) -> Iterator[tuple[int, str]]:
    """Line and text of every string in a file, those that stand alone (docstrings) left out or not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (docstrings or id(node) not in alone):
            yield node.lineno, node.value


COMMAND_LINE = {ROOT / "cli.py", ROOT / "flags.py", *ROOT.glob("*/commands.py")}
OTHER_PROGRAMS = {  # their flags, or those of a script with a parser of its own
    "export/nano",
    "export/readers/tensorflow_models.py",
    "export/systems/movenet.py",
    "export/systems/openpifpaf.py",
    "export/systems/openpose/__init__.py",
    "measure/tracks.py",
}


@pytest.mark.parametrize("path", sorted(set(OWN) - COMMAND_LINE), ids=_named)
def test_the_command_line_alone_knows_flags(path: Path) -> None:
    """Errors name the parameter in backquotes; `flags.py` has the table."""
    if not any(_named(path).startswith(place) for place in OTHER_PROGRAMS):
        found = [
            (line, text) for line, text in _strings(path, docstrings=True) if re.search(r"(?<![\w-])--[a-z]", text)
        ]
        assert not found


def test_every_name_in_backquotes_has_its_flag() -> None:
    """What an error calls a parameter is a flag for whoever types commands; but for what the command line cannot do."""
    texts = [text for path in set(OWN) - COMMAND_LINE for _, text in _strings(path, docstrings=False)]
    named = {name for text in texts for name in re.findall(r"`([^`]+)`", text)}
    assert named <= FLAGS.keys() | {"frames"}


SYSTEMS = "alphapose|openpose|pifpaf|movenet|tfpose|yolo"
PUBLISHED = {  # strings that others have fixed: output layouts, rules and roles by their published names
    "runtime/files/palettes.py": "openpose",
    "runtime/files/formats.py": r"[\w.-]+|AlphaPose v0\.3|OpenPose's files have no place .*",
}


@pytest.mark.parametrize("path", [path for path in OWN if _layer(path) in ("postprocess", "runtime")], ids=_named)
def test_no_code_knows_a_system(path: Path) -> None:
    """Strings that name a system may stand in a docstring, never in code."""
    allowed = PUBLISHED.get(_named(path), "")
    for line, text in _strings(path, docstrings=False):
        assert not re.search(f"(?i){SYSTEMS}", text) or re.fullmatch(allowed, text), (line, text)


def test_nothing_below_the_command_line_prints_or_exits() -> None:
    """`export/commands.py` is a part of it; `export/nano` holds scripts that people run by hand."""
    for path in (path for path in OWN if path not in COMMAND_LINE and "nano" not in path.parts):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"print", "sys.exit", "exit", "warnings.warn"}, (path, node.lineno)


def test_every_module_says_what_it_owns() -> None:
    assert not [path for path in OWN if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]


def test_files_stay_small() -> None:
    assert not {str(path): n for path in OWN if (n := len(path.read_text(encoding="utf-8").splitlines())) > 400}


def _modules_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT / ".typing"
    )
    return set(done.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    code = "from posert.cli import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass"
    assert not _modules_after(code) & {"numba", "cv2", "onnxruntime", "onnx", "torch", "tensorflow", "numpy"}


def test_importing_posert_costs_nothing() -> None:
    assert not _modules_after("import posert") & {"numpy", "numba", "cv2", "onnxruntime", "typer"}


def test_no_folder_of_ours_is_a_top_level_module() -> None:
    loaded = _modules_after("import posert.cli, posert.runtime.spec, posert.export")
    assert not loaded & set(LAYERS)


@pytest.mark.parametrize(
    "path", [path for path in OWN if path.name == "__init__.py"], ids=lambda path: path.parent.name
)
def test_no_package_gives_a_name_of_its_own_to_a_file_in_it(path: Path) -> None:
    """The import of such a file once put the module in the place of the function of the same name."""
    inside = {item.stem for item in path.parent.iterdir() if item.suffix == ".py" or (item / "__init__.py").is_file()}
    given = {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "name")}
    assert not given & inside, f"{path} defines {given & inside} and has files of these names"


def test_the_wheel_has_every_folder_but_the_training() -> None:
    """And nothing outside the training's folder imports it: what is installed must not need it."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in OWN if path.name == "__init__.py"}
    names = {".".join(("posert", *folder.parts)) for folder in folders}
    assert set(packages) == names - {"posert.export.nano.training"}
    for path in (path for path in OWN if "training" not in path.parts):
        assert not [name for name in _imports(path) if name.startswith("posert.export.nano.training")], path


def test_what_is_said_of_an_original_stands_in_the_document() -> None:
    sections = set(
        re.findall(r"^#+ ([\d.]+) ", (ROOT / "docs" / "parity.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = [
        (path.name, section)
        for path in OWN
        for line in re.findall(r"parity(?:\.md)? [\d., ]*\d", path.read_text(encoding="utf-8"))
        for section in re.findall(r"\d+(?:\.\d+)+", line)
    ]
    assert len(named) > 10
    assert not [(name, section) for name, section in named if section not in sections]


def test_the_guide_names_what_is_there() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[a-z_]+\.py|[a-z]+/[\w/.*-]*))`", guide)
    assert len(paths) > 40
    assert not [path for path in paths if not path.startswith("*") and not list(ROOT.glob(path))]
