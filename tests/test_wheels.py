"""What `pip install` compiles, what a wheel holds, and what a process loads of it.

The tests marked `wheels` look at the wheels in dist/ (`make test-wheels` writes them first).
"""

import importlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import cv2
import pytest

from posert.export.nano import clip
from posert.postprocess.kernels import load, sources
from posert.postprocess.kernels.registry import INTERPRETED, KERNELS

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
ARM = "manylinux_2_17_aarch64.manylinux2014_aarch64"
TAGS = {
    "x86_64-linux": "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "aarch64-linux": ARM,
    "x86_64-macos": "macosx_11_0_x86_64",
    "arm64-macos": "macosx_11_0_arm64",
    "x86_64-windows": "win_amd64",
}
LIBRARIES = {"so": r"lib[mc]\.so\.6", "dylib": r"/usr/lib/libSystem\.B\.dylib|.*kernels-.*\.dylib"}
LIBRARIES["dll"] = r"ucrtbase\.dll"
compiled = pytest.mark.skipif(
    INTERPRETED or load.library_path() is None, reason="the kernels are not compiled (make kernels)"
)


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    """`wheels/kernels.py`."""
    spec = importlib.util.spec_from_file_location("wheels_kernels", ROOT / "wheels" / "kernels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(path), clip.render(0)[0])
    return path


@pytest.mark.parametrize("changed", ["runtime/sample.py", "postprocess/kernels/build.py"])
def test_a_change_compiles_what_depends_on_it_alone(kernels: ModuleType, changed: str, monkeypatch) -> None:
    before, program, other = kernels.module_keys(), kernels.program, sources.ROOT / changed
    assert other in sources.kernel_sources()
    monkeypatch.setattr(kernels, "program", lambda path: program(path) + "changed" * (path == other))
    again = {name for name, key in kernels.module_keys().items() if key != before[name]}
    assert again == (set(before) if "build" in changed else {"posert.runtime.sample"})


def test_a_helper_of_others_is_part_of_their_keys(kernels: ModuleType) -> None:
    """A kernel's module depends on the kernel sources that it imports, and on those that they import."""
    for name in kernels.module_keys():
        direct = {
            Path(sys.modules[function.__module__].__file__)
            for function in vars(sys.modules[name]).values()
            if hasattr(function, "__code__") and str(function.__module__).startswith("posert.")
        }
        own = Path(sys.modules[name].__file__)
        assert direct & set(sources.kernel_sources()) <= kernels.imported(own) | kernels.imported(
            Path(kernels.build.__file__)
        )


def test_modules_are_linked_in_one_order() -> None:
    """Whatever order a set has in a process: a library's bytes depend on it."""
    program = "import kernels; print(*kernels.module_keys())"
    orders = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT / "wheels", env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in "1234"
    }  # fmt: skip
    assert len(orders) == 1
    assert "posert.runtime.sample" in orders.pop()


def test_one_name_is_one_function(kernels: ModuleType) -> None:
    """Modules are lowered in several processes, and numba numbers functions in each from 1 on: the object of all
    called helpers of the same name, those of another module."""
    texts = [kernels.CACHE / f"{key}.json" for key in kernels.module_keys().values()]
    if not all(text.is_file() for text in texts):
        pytest.skip("the kernels were not compiled here (make kernels)")
    bodies: dict[str, set[str]] = {}
    for ir in (ir for text in texts for ir in json.loads(text.read_text()).values()):
        for name, body in re.findall(r'^define [^@]*@"?(_Z[\w.$]+)"?(.*?)^\}', ir, re.M | re.S):
            bodies.setdefault(name, set()).add(re.sub(r"#\d+|![\w.]+|(?<=\w)\.\d+\b", "", body))
    assert len(bodies) > 100
    assert not [name for name, different in bodies.items() if len(different) > 1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package, copied to where it can be spoilt."""
    ignored = shutil.ignore_patterns(".*", "build", "dist", "out", "tests", "__pycache__", "*.egg-info")
    return Path(shutil.copytree(ROOT, tmp_path / "posert", ignore=ignored))


CALL = """
import logging, sys
{before}
logging.basicConfig(format="%(message)s")
from importlib import import_module
from posert.errors import PosertError
from posert.postprocess.kernels import load, sources
from posert.postprocess.kernels.registry import KERNELS
for name in sources.kernel_modules(): import_module(name)
try:
    load.function(min(KERNELS.values(), key=lambda kernel: len(kernel.fn.__code__.co_code)))
except PosertError as error:
    print(error, error.hint)
print(load.library_path(), "numba" in sys.modules)
"""


def called(copy: Path, before: str = "", **environment: str) -> str:
    """What a process says that loads one kernel."""
    environment = {**os.environ, "PYTHONPATH": str(copy.parent), "NUMBA_DISABLE_JIT": "0", **environment}
    command = [sys.executable, "-c", CALL.format(before=before)]
    done = subprocess.run(command, env=environment, cwd=copy.parent, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@compiled
def test_the_library_is_loaded_and_numba_is_not(copy: Path) -> None:
    best = str(load.library_path()).split("compiled", 1)[1]
    assert called(copy).strip() == f"{copy}/postprocess/kernels/compiled{best} False"


@compiled
def test_another_level_by_its_name(copy: Path) -> None:
    named = copy / "postprocess/kernels/compiled" / load.library_path().name
    named.rename(named.with_stem("kernels-x86-64-v2"))
    assert "kernels-x86-64-v2" in called(copy, POSERT_KERNELS="x86-64-v2")
    said = called(copy, POSERT_KERNELS="x86-64-v9")
    assert "no kernels for POSERT_KERNELS=x86-64-v9 compiled here: x86-64-v2" in said


def test_a_changed_checkout_compiles_with_numba_and_says_so(copy: Path) -> None:
    with (copy / "postprocess/geometry.py").open("a") as file:
        file.write("# changed\n")
    said = called(copy)
    assert "compiling kernels as they are needed" in said
    assert "make kernels" in said
    assert "None True" in said


def test_neither_a_library_nor_numba(copy: Path) -> None:
    shutil.rmtree(copy / "postprocess/kernels/compiled", ignore_errors=True)
    said = called(copy, "sys.modules['numba'] = None")
    assert f"posert has no compiled kernels for {platform.system()} on {platform.machine()} here" in said
    assert "pip install 'posert[jit]'" in said
    assert said.endswith("None True\n")  # the name, that of nothing


WATCH = """
import sys
spoken = []
def hook(event, arguments):
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system"):
        spoken.append(event)
sys.addaudithook(hook)
from posert.cli import main
try:
    main()
finally:
    print(spoken, "numba" in sys.modules, file=sys.stderr)
"""


@compiled
@pytest.mark.parametrize("command", [["infer", "nano", "PHOTO"], ["info", "nano"], ["models", "list"]], ids=" ".join)
def test_no_command_compiles_or_keeps_kernels(tmp_path: Path, photo: Path, command: list[str]) -> None:
    arguments = [word.replace("PHOTO", str(photo)) for word in command]
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "NUMBA_CACHE_DIR"), str(tmp_path))
    environment = {**os.environ, **homes, "PYTHONPATH": str(ROOT / ".typing"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().splitlines()[-1] == "[] False"
    assert {path.name for path in tmp_path.iterdir()} <= {"Microsoft"}  # ONNX Runtime's


# From here on: dist/.


@pytest.fixture(params=TAGS)
def wheel(request: pytest.FixtureRequest) -> Path:
    return _wheel(TAGS[request.param])


def _wheel(tag: str) -> Path:
    found = sorted(DIST.glob(f"posert-*-py3-none-{tag}.whl"))
    if not found:
        pytest.skip(f"no wheel for {tag} in dist/ (make wheels)")
    return found[0]


@pytest.mark.wheels
def test_the_libraries_show_every_kernel_and_need_the_system_alone(wheel: Path, tmp_path: Path) -> None:
    import lief

    shutil.unpack_archive(wheel, tmp_path, "zip")
    found = sorted((tmp_path / "posert/postprocess/kernels/compiled").glob("kernels-*"))
    arm = "aarch64" in wheel.name or "arm64" in wheel.name
    assert [path.stem for path in found] == ["kernels-generic"] if arm else [f"kernels-x86-64-v{n}" for n in (2, 3, 4)]
    for path in found:
        library = lief.parse(str(path))
        shown = {function.name.lstrip("_") for function in library.exported_functions}
        assert all_kernels() <= shown
        needed = [each if isinstance(each, str) else each.name for each in library.libraries]
        assert all(re.fullmatch(LIBRARIES[path.suffix[1:]], name) for name in needed), needed


def all_kernels() -> set[str]:
    for name in sources.kernel_modules():
        importlib.import_module(name)
    return {name for name, kernel in KERNELS.items() if kernel.fn.__module__.startswith("posert.")}


@pytest.mark.wheels
def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    objects = {name.split("/")[-1] for name in names if name.endswith(".o")}
    assert objects == {f"{target}.o" for target in TAGS}
    assert not [name for name in names if not name.startswith(("posert/", "posert-")) or "tests/" in name]
    assert {f"posert/pages/{path.name}" for path in (ROOT / "pages").iterdir() if path.is_file()} <= set(names)
    assert not [name for name in names if "wheels/" in name or name.endswith("compiled/sources")]
    web = {f"posert/export/web/files/{path.name}" for path in (ROOT / "export" / "web" / "files").iterdir()}
    assert {*web, "posert/export/web/posert.wasm"} <= set(names)
    text = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("/WHEEL"))).decode()
    assert wheel.stem.endswith(".".join(line.split("none-")[1] for line in text.splitlines() if line[:4] == "Tag:"))
    metadata = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist: numba")] == [
        'Requires-Dist: numba>=0.62.1; extra == "jit"'
    ]


@pytest.mark.wheels
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_auditwheel_agrees_with_the_tag(machine: str) -> None:
    command = [sys.executable, "-m", "auditwheel", "show", "--json", _wheel(TAGS[f"{machine}-linux"])]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    major, minor = map(int, said["overall_tag"].split("_")[1:3])
    assert (major, minor) <= (2, 17), said["overall_tag"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with `posert[cpu]` out of dist/."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("needs Linux on x86-64")
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--find-links", DIST, "posert[cpu]"]
    subprocess.run(pip, check=True, env=_outside())
    return folder


def _outside() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.wheels
def test_a_fresh_environment_has_no_compiler_and_finds_people(installed: Path, photo: Path) -> None:
    packages = next(installed.glob("lib/python*/site-packages"))
    assert not [path for name in ("numba", "llvmlite", "ziglang") for path in packages.glob(f"{name}*")]
    assert _bytes(packages / "posert") < 8e6
    command = [installed / "bin/posert", "infer", "nano", photo]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=_outside(), cwd=installed)
    assert json.loads(done.stdout.splitlines()[-1])["people"]


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if "__pycache__" not in path.parts)


@pytest.mark.wheels
@pytest.mark.parametrize("target", TAGS)
def test_a_bundle_for_every_target_without_a_compiler(installed: Path, tmp_path: Path, target: str) -> None:
    command = [installed / "bin/posert", "bundle", "nano", "-o", tmp_path, "--target", target]
    subprocess.run(command, capture_output=True, check=True, env=_outside())
    packed = next(installed.glob(f"lib/python*/site-packages/posert/postprocess/kernels/compiled/{target}.o"))
    assert packed.stat().st_size in [path.stat().st_size for path in tmp_path.iterdir()]


@pytest.mark.wheels
def test_every_level_finds_the_same_people(installed: Path, photo: Path) -> None:
    said = set()
    for level in load.levels():
        environment = {**_outside(), "POSERT_KERNELS": level}
        command = [installed / "bin/posert", "infer", "nano", photo]
        said.add(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    assert len(said) == 1


@pytest.mark.wheels
def test_an_aarch64_python_finds_the_same_people(installed: Path, photo: Path, tmp_path: Path) -> None:
    """Debian's Python for arm64 in the emulator, with the wheel and its requirements for that processor."""
    root, python = debian_python(tmp_path)
    packages = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", packages, "--only-binary=:all:"]
    pip += ["--python-version", python.name.removeprefix("python"), "--find-links", DIST]
    for oldest in ("2014", "_2_17", "_2_26", "_2_27", "_2_28"):
        pip += ["--platform", f"manylinux{oldest}_aarch64"]
    subprocess.run([*pip, "posert[cpu]", "onnxruntime==1.20.1"], check=True)  # later ones crash in QEMU 7
    program = "import sys; sys.argv[0] = 'posert'; from posert.cli import main; main()"
    emulated = ["qemu-aarch64", "-L", root, python, "-c", program, "infer", "nano", photo]
    environment = {**_outside(), "PYTHONPATH": str(packages)}
    there = subprocess.run(emulated, capture_output=True, text=True, check=True, env=environment).stdout
    here = subprocess.run(
        [installed / "bin/posert", "infer", "nano", photo], capture_output=True, text=True, check=True, env=_outside()
    ).stdout
    people = [json.loads(text.splitlines()[-1])["people"] for text in (there, here)]
    assert [person["keypoints"] for person in people[0]] == [
        [pytest.approx(point, abs=0.6) for point in person["keypoints"]] for person in people[1]
    ]


def debian_python(folder: Path) -> tuple[Path, Path]:
    """A root with Debian's Python and C library for arm64, and the interpreter in it; apt's own state stays."""
    if shutil.which("qemu-aarch64") is None or shutil.which("apt-get") is None:
        pytest.skip("needs Debian's apt-get and qemu-user")
    (folder / "state/lists/partial").mkdir(parents=True)
    (folder / "cache/archives/partial").mkdir(parents=True)
    (folder / "status").touch()
    options = {"APT::Architecture": "arm64", "APT::Architectures": "arm64", "Dir::State": folder / "state"}
    options |= {"Dir::Cache": folder / "cache", "Dir::State::status": folder / "status", "Debug::NoLocking": "1"}
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    fetch = [*apt, "install", "-y", "--no-install-recommends", "--download-only", "python3", "libstdc++6"]
    for command in ([*apt, "update"], fetch):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("Debian's packages for arm64 cannot be fetched")
    root = folder / "root"
    for package in (folder / "cache/archives").glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, root], check=True)
    return root, (root / "usr/bin/python3").resolve()


@pytest.mark.wheels
def test_a_source_archive_builds_a_wheel(tmp_path: Path) -> None:
    """It holds what compiles the kernels, no machine code, and compiles nothing again that this checkout has."""
    program = "import sys, backend; print(backend.build_sdist(sys.argv[1]))"
    environment = {**_outside(), "PYTHONPATH": str(ROOT / "wheels")}
    made = subprocess.run(
        [sys.executable, "-c", program, tmp_path], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    with tarfile.open(tmp_path / made.stdout.split()[-1]) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    assert not [name for name in names if name.endswith((".so", ".o")) or "/tests/" in name]
    folder = tmp_path / names[0].split("/")[0]
    shutil.copytree(ROOT / "build" / "kernels", folder / "build" / "kernels")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-v", "-w", tmp_path, folder]
    done = subprocess.run(pip, capture_output=True, text=True, check=True, env=_outside())
    assert "[1/" not in done.stdout + done.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert sum("compiled/kernels-" in name for name in names) == (3 if platform.machine() == "x86_64" else 1)
