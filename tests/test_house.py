"""The rules of the house that a machine can check: imports go one way, names of systems stay in `export`."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["postprocess", "runtime", "measure", "export", "cli"]
OWN = sorted(
    path
    for path in [*ROOT.glob("*.py"), *(item for layer in LAYERS[:4] for item in (ROOT / layer).rglob("*.py"))]
    if "__pycache__" not in path.parts
)


def _layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> list[str]:
    """Dotted names of every import in the file, also those inside functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import absolutely, from posert..."
            names.append(node.module or "")
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", OWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    if _layer(path) not in LAYERS:
        return
    above = LAYERS[LAYERS.index(_layer(path)) + 1 :]
    wrong = [name for name in _imports(path) if any(name.startswith(f"posert.{layer}") for layer in above)]
    assert not wrong, f"{path} imports from above itself: {wrong}"
    bare = [name for name in _imports(path) if name.split(".")[0] in LAYERS]
    assert not bare, f"{path} imports {bare} without posert.: the file would load twice"


HEAVY = {
    "postprocess": {"onnxruntime", "cv2", "onnx", "torch", "tensorflow", "typer", "rich"},
    "runtime": {"onnx", "torch", "tensorflow", "typer", "rich"},
}


@pytest.mark.parametrize("layer", HEAVY)
def test_layers_need_only_their_own_packages(layer: str) -> None:
    for path in (path for path in OWN if _layer(path) == layer):
        packages = {name.split(".")[0] for name in _imports(path)}
        assert not packages & HEAVY[layer], f"{path} imports {packages & HEAVY[layer]}"


@pytest.mark.parametrize("layer", ["postprocess", "runtime"])
def test_no_code_asks_for_a_system(layer: str) -> None:
    """Strings that name a system may stand in a docstring, never in code; `formats.py` names layouts of files."""
    for path in (path for path in OWN if _layer(path) == layer and path.name != "formats.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
                assert not re.fullmatch(r"(?i)(alphapose|openpose|openpifpaf|movenet|tfpose)", node.value), (
                    path,
                    node.lineno,
                )


def test_nothing_below_the_command_line_prints_or_exits() -> None:
    """`export/commands.py` is a part of it; `export/nano` holds scripts that people run by hand."""
    free = {ROOT / "cli.py", ROOT / "export" / "commands.py"}
    for path in (path for path in OWN if path not in free and "nano" not in path.parts):
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
