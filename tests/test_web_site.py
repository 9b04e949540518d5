"""The folder that `posert web` writes, with a small stand-in for ONNX Runtime's package."""

import hashlib
import io
import json
import re
import shlex
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_topdown
from command import Run
from doc_blocks import BLOCKS

from posert.errors import PosertError
from posert.export.web import site
from posert.runtime.session import find_model

pytestmark = [
    pytest.mark.c,
    pytest.mark.skipif(not site.WASM.is_file(), reason="needs posert.wasm (make wasm)"),
]


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with a package of small files under the pinned name, and an empty cache."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with tarfile.open(folder / site.RUNTIME.file, "w:gz") as package:
        for name in site._RUNTIME_FILES:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    data = (folder / site.RUNTIME.file).read_bytes()
    pinned = replace(site.RUNTIME, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    monkeypatch.setattr(site, "RUNTIME", pinned)
    monkeypatch.setenv("POSERT_MIRROR", str(folder))
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "home"))
    return folder


def test_everything_that_the_page_asks_for_lies_in_the_folder(tmp_path: Path, run: Run) -> None:
    pose = tiny_topdown.pose(tmp_path / "pose.onnx", tiny_topdown.detector(tmp_path / "boxes.onnx"))
    code, said, _ = run("web", "nano", pose, "-o", tmp_path / "site")
    folder = tmp_path / "site"
    names = {file.name for file in folder.iterdir()}
    assert (code, said) == (0, f"{folder}: {len(names)} files; look at it with: python -m http.server -d {folder}\n")
    assert {"nano.onnx", "pose.onnx", "boxes.onnx", "posert.wasm", "posert.d.mts", *site._RUNTIME_FILES} <= names
    for file in (*folder.glob("*.mjs"), *folder.glob("*.js")):
        imported = (
            re.findall(r'(?:from |import\(|URL\()"\./([\w.]+)"', file.read_text()) if "ort" not in file.name else []
        )
        assert set(imported) <= names, file.name
    page = (folder / "index.html").read_text()
    data = json.loads(re.search(r'id="page">(.*?)</script>', page)[1])  # type: ignore[index]
    assert [(model["file"], model["name"]) for model in data["models"]] == [
        ("nano.onnx", "posert-nano"), ("pose.onnx", "bright-person"),
    ]  # fmt: skip
    assert data["models"][0]["options"] == {"params": {}, "parts": []}
    assert not re.findall(r"https?://", page)


def test_typescript_finds_the_declarations_by_package_and_by_file(tmp_path: Path, run: Run) -> None:
    """It looks for those of a .mjs under the name .d.mts alone."""
    assert run("web", "nano", "-o", tmp_path / "site")[0] == 0
    entry = json.loads((tmp_path / "site" / "package.json").read_text())["exports"]["."]
    types, module = tmp_path / "site" / entry["types"], tmp_path / "site" / entry["default"]
    assert types.name == f"{module.stem}.d.mts"
    declared = set(re.findall(r"^export (?:function|class) (\w+)", types.read_text(), re.M))
    written = re.findall(r"^export (?:async function (\w+)|\{ (\w+) \})", module.read_text(), re.M)
    assert declared == {name for names in written for name in names if name}


def test_the_service_worker_keeps_what_every_visit_needs(tmp_path: Path, run: Run) -> None:
    """Neither models nor ONNX Runtime, which are kept when they are asked for; another site has another cache."""
    assert run("web", "nano", "-o", tmp_path / "one")[0] == 0
    assert run("web", "nano", "-o", tmp_path / "again")[0] == 0
    worker = (tmp_path / "one" / "sw.js").read_text()
    first = json.loads(re.search(r"FIRST = (\[.*?\]);", worker)[1])  # type: ignore[index]
    assert {"./", "index.html", "posert.wasm", "schema.mjs", "worker.mjs", "style.css"} <= set(first)
    assert not [name for name in first if name.endswith(".onnx") or name.startswith("ort")]
    assert worker == (tmp_path / "again" / "sw.js").read_text()
    other = tmp_path / "other.onnx"
    shutil.copy(find_model("nano"), other)
    assert run("web", other, "-o", tmp_path / "other")[0] == 0
    assert worker != (tmp_path / "other" / "sw.js").read_text()


def test_parameters_are_the_pages(tmp_path: Path, run: Run) -> None:
    assert run("web", "nano", "-o", tmp_path / "site", "--set", "min_score=0.2")[0] == 0
    assert '"options":{"params":{"min_score":0.2},"parts":[]}' in (tmp_path / "site" / "index.html").read_text()
    code, _, said = run("web", "nano", "-o", tmp_path / "other", "--set", "gone=1")
    assert code == 1
    assert "gone" in said


def test_what_a_page_cannot_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PosertError, match="looks at boxes and has no detector, and a page has none from outside"):
        site.write_site([tiny_topdown.pose(tmp_path / "pose.onnx")], tmp_path / "site")
    (tmp_path / "other").mkdir()
    shutil.copy(find_model("nano"), tmp_path / "other")
    with pytest.raises(PosertError, match=r"two files are called nano\.onnx"):
        site.write_site(["nano", tmp_path / "other" / "nano.onnx"], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_another_runtime_than_the_pinned_one_is_refused(mirror: Path, tmp_path: Path) -> None:
    (mirror / site.RUNTIME.file).write_bytes(b"something else")
    with pytest.raises(
        PosertError, match=r"onnxruntime-web-1\.30\.0\.tgz is not the official onnxruntime-web: 14 bytes"
    ):
        site.write_site(["nano"], tmp_path / "site")
    (mirror / site.RUNTIME.file).unlink()
    with pytest.raises(PosertError, match="the mirror has no"):
        site.write_site(["nano"], tmp_path / "site")


def test_without_posert_wasm_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "WASM", tmp_path / "posert.wasm")
    with pytest.raises(PosertError, match=r"no posert\.wasm") as error:
        site.write_site(["nano"], tmp_path / "site")
    assert "ziglang" in error.value.hint


def test_the_command_of_the_document(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/web.md's own."""
    (block,) = (block for block in BLOCKS if block.page.name == "web.md" and block.why.endswith("test_web_site.py"))
    monkeypatch.chdir(tmp_path)
    assert run(*shlex.split(block.text)[1:])[0] == 0
    assert (tmp_path / "site" / "index.html").is_file()
