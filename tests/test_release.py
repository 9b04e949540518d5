"""What a release is made of: archives that do not depend on the day, one place for the version, and who can install it.

The tests marked `wheels` look at dist/ (`make test-wheels` fills it first) and install from it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import cv2
import pytest
from command import ROOT

import posert
from posert.export.nano import clip

DIST = ROOT / "dist"
WHEEL = f"posert-{posert.__version__}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "linux": ["manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64"],
    "aarch64": ["manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64"],
    "macos": ["macosx_14_0_arm64"],
    "windows": ["win_amd64"],
}


def ran(*command: object, cwd: Path | None = None, code: int = 0, **environment: str) -> str:
    """What a command says on both streams, with no package of ours on the path but those given."""
    around = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=around, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr + done.stdout


def backend(call: str, *arguments: object, of: Path = ROOT, **environment: str) -> str:
    """The last word that a call of a module of wheels/ prints, in a checkout, in a process of its own."""
    program = f"import sys, archive, backend, kernels; from pathlib import Path; a = sys.argv[1:]; print({call})"
    return ran(sys.executable, "-c", program, *arguments, cwd=of, PYTHONPATH=str(of / "wheels"), **environment).split()[
        -1
    ]


def copied(folder: Path, *, old: bool = False) -> Path:
    """The checkout elsewhere, as if fetched on another day by somebody of other habits."""
    ignored = shutil.ignore_patterns(".*", "build", "dist", "out", "tests", "__pycache__", "*.egg-info", "compiled")
    shutil.copytree(ROOT, folder, ignore=ignored)
    for path in folder.rglob("*") if old else ():
        os.utime(path, (1e9, 1e9))
        path.chmod(path.stat().st_mode & 0o755 | 0o600)
    return folder


def test_an_archive_is_the_same_on_another_day(tmp_path: Path) -> None:
    made = []
    for day, order in ((1e9, 1), (1.7e9, -1)):
        folder = tmp_path / str(day)
        for name in ("a/run", "b.txt")[::order]:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
            file.chmod(0o700 if name == "a/run" else 0o600)
            os.utime(file, (day, day))
        call = "archive.pack(archive.files_of(pathlib.Path(sys.argv[1]), 'x'), pathlib.Path(sys.argv[2]))"
        program = f"import sys, pathlib, archive; {call}"
        ran(sys.executable, "-c", program, folder, f"{folder}.tar.gz", PYTHONPATH=str(ROOT / "wheels"))
        made.append(Path(f"{folder}.tar.gz"))
    assert made[0].read_bytes() == made[1].read_bytes()
    with tarfile.open(made[0]) as tar:
        assert [(entry.name, entry.mode, entry.uid) for entry in tar] == [("x/a/run", 0o755, 0), ("x/b.txt", 0o644, 0)]


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "posert.__version__"}
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", changes, re.M)[1] == posert.__version__


def test_the_checklist_names_targets_that_exist() -> None:
    named = set(re.findall(r"`make ([\w-]+)`", (ROOT / "docs" / "releasing.md").read_text()))
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line}
    assert {"dist", "reproducible", "test-wheels"} <= named <= targets


def test_the_hosted_matrix_and_the_recipe_say_what_pyproject_says() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert json.loads(re.search(r"python: (\[.*\])", workflow)[1]) == list(PYTHONS)
    assert all(f"{system}-latest" in workflow for system in ("ubuntu", "macos", "windows"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = (ROOT / "conda" / "recipe.yaml").read_text()
    assert f'version: "{posert.__version__}"' in recipe
    for name, least in re.findall(r'"?([\w-]+)>=([\d.]+)', " ".join(project["dependencies"])):
        known = "opencv" if name.startswith("opencv") else name
        assert re.search(rf"- {known} >={re.escape('.'.join(least.split('.')[:2]))}", recipe), name


# From here on: what is built, and dist/.


@pytest.mark.wheels
def test_source_and_python_files_are_the_same_built_elsewhere(tmp_path: Path) -> None:
    """The kernels, whose compilation takes minutes, are in `make reproducible`."""
    made: list[Mapping[str, str]] = []
    for name in ("one", "the-other"):
        folder, out = copied(tmp_path / name, old=name == "one"), tmp_path / f"{name}-out"
        out.mkdir()
        backend("backend.build_sdist(a[0])", out, of=folder)
        pure = "backend.with_files(backend.pure_wheel(a[0]), {}, 'py3-none-any', Path(a[1]))"
        (out / "pure").mkdir()
        backend(pure, out / "pure", out, of=folder)
        made.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.glob("posert*")})
    assert made[0] == made[1]
    assert set(made[0]) == {f"posert-{posert.__version__}.tar.gz", f"posert-{posert.__version__}-py3-none-any.whl"}


@pytest.mark.wheels
def test_machine_code_is_the_same_built_elsewhere(tmp_path: Path) -> None:
    """numba names things by their addresses, by their number in the process, and goes through sets of words."""
    made = []
    for seed in ("1", "2"):
        cache, folder = tmp_path / seed, copied(tmp_path / f"copy{seed}")
        one = "{'posert.postprocess.geometry': kernels.module_keys()['posert.postprocess.geometry']}"
        program = (
            f"import sys, pathlib, kernels\nif __name__ == '__main__':\n keys = {one}\n"
            " kernels.module_keys = lambda: keys\n"
            " kernels.CACHE = pathlib.Path(sys.argv[1])\n"
            " kernels.compiled([kernels.build.Target('x86_64-unknown-linux-gnu', 'x86-64-v2')])\n"
        )
        (tmp_path / f"compile{seed}.py").write_text(program)
        ran(
            sys.executable, tmp_path / f"compile{seed}.py", cache, cwd=folder,
            PYTHONPATH=str(folder / "wheels"), PYTHONHASHSEED=seed,
        )  # fmt: skip
        made.append({file.name: file.read_bytes() for file in cache.iterdir()})
    assert made[0] == made[1]
    assert len(made[0]) == 2


@pytest.mark.wheels
def test_the_hashes_are_those_of_the_files() -> None:
    listed = dict(line.split("  ")[::-1] for line in (DIST / "SHA256SUMS").read_text().splitlines())
    assert listed == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in DIST.iterdir() if file.name != "SHA256SUMS"
    }
    stem = f"posert-{posert.__version__}"
    wanted = {f"{stem}.tar.gz", f"{stem}.cdx.json", f"{stem}-licences.md", WHEEL, f"{stem}-nano-c-x86_64-linux.tar.gz"}
    assert wanted <= set(listed)


@pytest.mark.wheels
def test_no_wheel_has_8_mb() -> None:
    sizes = {wheel.name: wheel.stat().st_size for wheel in DIST.glob("*.whl")}
    assert len(sizes) == 5
    assert max(sizes.values()) < 8e6, sizes


@pytest.mark.wheels
def test_sbom_and_licences_name_what_pip_brings() -> None:
    sbom = json.loads((DIST / f"posert-{posert.__version__}.cdx.json").read_text())
    root = sbom["metadata"]["component"]
    assert (sbom["bomFormat"], root["name"], root["version"]) == ("CycloneDX", "posert", posert.__version__)
    found = {component["name"] for component in sbom["components"]}
    assert {"numpy", "onnxruntime", "opencv-python-headless", "rich", "typer"} <= found
    assert not found & {"pip", "setuptools", "numba", "posert"}
    table = (DIST / f"posert-{posert.__version__}-licences.md").read_text()
    assert all(f"| {name} " in table for name in found)
    assert "UNKNOWN" not in table


@pytest.mark.wheels
def test_the_c_archive_builds(tmp_path: Path) -> None:
    name = f"posert-{posert.__version__}-nano-c-x86_64-linux"
    shutil.unpack_archive(DIST / f"{name}.tar.gz", tmp_path, filter="data")
    ran("make", "-C", tmp_path / name)
    assert (tmp_path / name / "libposert.so").is_file()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(path), clip.render(0)[0])
    return path


@pytest.mark.wheels
@pytest.mark.parametrize("tool", ["pip", "pipx", "uv"])
def test_two_commands_to_the_first_result(tmp_path: Path, photo: Path, tool: str) -> None:
    """One installs, one finds people; in a home of its own."""
    tools, wanted = Path(sys.executable).parent, f"{DIST / WHEEL}[cpu]"
    homes = {"HOME": tmp_path, "PIPX_HOME": tmp_path / "pipx", "PIPX_BIN_DIR": tmp_path / "bin"}
    homes |= {"UV_TOOL_DIR": tmp_path / "uv", "UV_TOOL_BIN_DIR": tmp_path / "bin", "UV_CACHE_DIR": tmp_path / "cache"}
    if tool == "pip":
        ran(sys.executable, "-m", "venv", tmp_path)
    install = {
        "pip": [tmp_path / "bin" / "pip", "install", wanted],
        "pipx": [tools / "pipx", "install", "--python", sys.executable, wanted],
        "uv": [tools / "uv", "tool", "install", "--python", sys.executable, wanted],
    }[tool]
    ran(*install, **{name: str(folder) for name, folder in homes.items()})
    said = ran(tmp_path / "bin" / "posert", "infer", "nano", photo, cwd=tmp_path)
    assert json.loads(said.splitlines()[-1])["people"]


@pytest.mark.wheels
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_everything_resolves_to_wheels(tmp_path: Path, python: str, platform: str) -> None:
    """What it would install there; only 3.11 on Linux runs here."""
    tags = [word for tag in PLATFORMS[platform] for word in ("--platform", tag)]
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--target", tmp_path, "--only-binary=:all:"]
    wanted = "posert[cpu,convert,eval,parquet,plot,serve,track,video]"
    report = tmp_path / "report.json"
    ran(*pip, "--python-version", python, *tags, "--find-links", DIST, "--report", report, wanted)
    found = {one["metadata"]["name"]: one["metadata"]["version"] for one in json.loads(report.read_text())["install"]}
    assert found["posert"] == posert.__version__
    assert {"numpy", "onnxruntime", "opencv-python-headless"} <= set(found)


@pytest.mark.wheels
def test_another_opencv_comes_and_goes(tmp_path: Path, photo: Path) -> None:
    """It shares cv2 with ours, and takes it along; what the error says brings it back."""
    ran(sys.executable, "-m", "venv", tmp_path)
    python, command = tmp_path / "bin" / "python", tmp_path / "bin" / "posert"
    ran(python, "-m", "pip", "install", f"{DIST / WHEEL}[cpu]", f"opencv-python<={version('opencv-python-headless')}")
    assert "share the folder cv2" in ran(command, "doctor")
    ran(python, "-m", "pip", "uninstall", "-y", "opencv-python")
    said = ran(command, "infer", "nano", photo, code=1)
    assert "Traceback" not in said
    for words in said.split("hint: ")[1].replace("\n", " ").split("&&"):
        ran(python, "-m", *words.split())
    assert json.loads(ran(command, "infer", "nano", photo).splitlines()[-1])["people"]


@pytest.mark.wheels
def test_the_workflow_is_one() -> None:
    """By the schema; nobody runs it here."""
    checker = Path(sys.executable).parent / "check-jsonschema"
    ran(checker, "--builtin-schema", "vendor.github-workflows", ROOT / ".github" / "workflows" / "ci.yml")
