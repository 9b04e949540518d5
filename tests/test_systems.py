"""The registry of systems, and what an export may not leave behind. Without TensorFlow and torch."""

import ast
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import tiny_topdown
from command import Run

from posert.errors import PosertError
from posert.export import onnx_file, systems
from posert.export.weights import entries
from posert.runtime.spec import ModelSpec


def test_the_folder_is_the_registry() -> None:
    assert {entry.system for entry in entries().values()} == set(systems.system_names())
    with pytest.raises(PosertError, match=r"no system '../nano'; it has alphapose, mediapipe, movenet"):
        systems.find_system("../nano")
    assert frozenset() == systems.find_system("nano").OPTIONS


def test_mypy_sees_every_system() -> None:
    tree = ast.parse(Path(systems.__file__).read_text(encoding="utf-8"))
    (seen,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_held_to_it"
    )
    assert [ast.unparse(name) for name in seen.args] == systems.system_names()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suppress": "pozes"}, "suppression rule 'pozes'; this posert has oks, poses"),
        ({"suppress_params": {"gama": 3}}, "has no parameters gama"),
        ({"decoder": "heatmaps"}, "the decoder 'heatmaps'"),
        ({"params": {"integral": "yes", "zap": 1}}, "has no parameters zap"),
        ({"outputs": {"maps": "map"}}, r"out/m\.onnx disagrees with its own metadata"),
    ],
)
def test_no_export_is_written_that_cannot_be_opened(tmp_path: Path, change: dict, message: str) -> None:
    """A misspelt suppression rule once came through: export returned 0, and infer refused the file."""
    graph = onnx.load(str(tiny_topdown.pose(tmp_path / "good.onnx")))
    spec = ModelSpec(1, "toy", "toy", tiny_topdown.SKELETON, (replace(tiny_topdown.POSE, **change),))
    target = tmp_path / "out" / "m.onnx"
    with pytest.raises(PosertError, match=message) as refused:
        onnx_file.save(onnx_file.Exported(graph, spec), target)
    assert refused.value.what.startswith(f"{target} is not written")
    assert not list(target.parent.iterdir())


def test_a_good_export_is_written(tmp_path: Path) -> None:
    graph = onnx.load(str(tiny_topdown.pose(tmp_path / "good.onnx")))
    spec = ModelSpec(1, "toy", "toy", tiny_topdown.SKELETON, (tiny_topdown.POSE,))
    onnx_file.save(onnx_file.Exported(graph, spec), tmp_path / "m.onnx")
    assert onnx_file.read_metadata(tmp_path / "m.onnx") == spec


@pytest.mark.parametrize("link", ["", "symlink", "hardlink"])
@pytest.mark.parametrize("command", ["tag", "export"])
def test_a_source_is_never_written_over(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, command: str, link: str
) -> None:
    """`posert tag` once wrote into the file itself: a downloaded, checked file got another hash."""
    name, source = "yolox-nano", tmp_path / "yolox-nano.onnx"
    official = (assets / "models" / "yolox_nano.onnx").read_bytes()
    source.write_bytes(official)
    monkeypatch.chdir(tmp_path)
    words = ["tag", source, "--as", name] if command == "tag" else ["export", name, "--from", source]
    out = tmp_path if not link else tmp_path / "other.onnx"
    if link:
        getattr(out, f"{link}_to")(source)
    for more in [[], ["-o", out]] if not link else [["-o", out]]:
        code, _, err = run(*words, *more)
        assert code == 1
        assert "is what the result is made of" in err
        assert "hint: name another file or folder with -o" in err
    assert run(*words, "-o", tmp_path / "made")[0] == 0
    assert source.read_bytes() == official
    assert onnx_file.read_metadata(tmp_path / "made" / "yolox-nano.onnx").model == name


def test_a_tag_is_a_new_file(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    source = tmp_path / "yolox_nano.onnx"
    official = (assets / "models" / "yolox_nano.onnx").read_bytes()
    source.write_bytes(official)
    monkeypatch.chdir(tmp_path)
    assert run("tag", source, "--as", "yolox-nano")[:2] == (0, "yolox-nano.onnx\n")
    assert source.read_bytes() == official
    assert onnx_file.read_metadata(Path("yolox-nano.onnx")).model == "yolox-nano"
