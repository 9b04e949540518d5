"""The C library with other versions of ONNX Runtime, other compilers and another processor."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import assert_same_bits, assert_same_people, built, noise
from tiny_kinds import EXACT

from posert.errors import PosertError
from posert.export.embed import library
from posert.export.embed.bundle import SOURCES, bundle

pytestmark = [
    pytest.mark.c,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("cc") is None or shutil.which("make") is None,
        reason="needs Linux and a C compiler",
    ),
]
NODE = {"x86_64": "x64", "aarch64": "arm64"}
ARM_ROOT = Path("/usr/aarch64-linux-gnu")
ARM = [shutil.which(tool) for tool in ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ar", "qemu-aarch64")]
MINGW = "x86_64-w64-mingw32-gcc"
POSERT_H = ("posert_open", "posert_estimate", "posert_close")


@pytest.fixture(scope="session")
def runtimes(tmp_path_factory: pytest.TempPathFactory):
    """A function: version, machine -> ONNX Runtime's library of that version; the test skips if nobody answers."""
    root = tmp_path_factory.mktemp("runtimes")

    def fetch(version: str, machine: str) -> Path:
        folder = root / version
        if not folder.exists():
            folder.mkdir()
            said = (_from_npm if version < "1.19" else _from_pypi)(version, folder)
            if said:
                pytest.skip(f"ONNX Runtime {version} cannot be fetched: {said}")
        found = [*folder.rglob(f"{NODE[machine]}/libonnxruntime.so.*"), *folder.rglob("capi/libonnxruntime.so.*")]
        return found[0]

    return fetch


def _from_npm(version: str, folder: Path) -> str:
    """The oldest wheels on PyPI hold no shared library; npm's packages do, for both processors. "" = it is there."""
    if shutil.which("npm") is None:
        return "needs npm"
    command = ["npm", "pack", "--silent", "--fetch-retries=1", f"onnxruntime-node@{version}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    for archive in folder.glob("*.tgz"):
        shutil.unpack_archive(archive, folder, filter="data")
        return ""
    return (done.stderr or done.stdout or "no package").strip()[-200:]


def _from_pypi(version: str, folder: Path) -> str:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=1"]
    command += ["--python-version=3.11", "--dest", str(folder), f"onnxruntime=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for wheel in folder.glob("*.whl"):
        shutil.unpack_archive(wheel, folder, "zip")
        return ""
    return (done.stderr or "no wheel").strip()[-200:]


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("follow")
    return built(EXACT["follow"](folder), folder / "c")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the bundle is for x86-64")
@pytest.mark.parametrize("kind", EXACT)
def test_older_runtimes_give_the_same_people(tmp_path: Path, runtimes, kind: str) -> None:
    """The oldest that has the interface, and the oldest wheel with a shared library."""
    folder = built(EXACT[kind](tmp_path), tmp_path / "c")
    for version in ("1.11.0", "1.19.0"):
        assert assert_same_bits(folder, noise(), runtimes(version, "x86_64")) > 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the bundle is for x86-64")
def test_the_runtime_before_the_oldest_is_refused(follow: Path, runtimes) -> None:
    with pytest.raises(PosertError, match=r"ONNX Runtime 1\.10\.0 is older than 1\.11"):
        library.NativeModel(follow, library=runtimes("1.10.0", "x86_64"))


@pytest.mark.skipif(None in ARM, reason="needs gcc for aarch64 and qemu-aarch64")
@pytest.mark.parametrize("kind", EXACT)
def test_aarch64_gives_the_same_people(tmp_path: Path, runtimes, kind: str) -> None:
    """Kernels and library built here for the other processor, run by its emulator: every float as on this one."""
    bundle(EXACT[kind](tmp_path), tmp_path / "c", target="aarch64-linux")
    subprocess.run(["make", "-s", "-C", tmp_path / "c", f"CC={ARM[0]}", f"AR={ARM[1]}"], check=True)
    emulator = (str(ARM[2]), "-L", str(ARM_ROOT))
    runtime = runtimes("1.11.0", "aarch64")
    model = tmp_path / "c" / library.main_file(tmp_path / "c")
    assert assert_same_people(model, tmp_path / "c", noise(), runtime=runtime, emulator=emulator) > 0


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.parametrize("shared", ["ON", "OFF"])
def test_cmake_builds_it(follow: Path, tmp_path: Path, shared: str) -> None:
    subprocess.run(["cmake", "-S", follow, "-B", tmp_path, f"-DBUILD_SHARED_LIBS={shared}"], check=True)
    subprocess.run(["cmake", "--build", tmp_path], check=True)
    suffix = {"ON": "so", "OFF": "a"}[shared]
    assert (tmp_path / f"libposert.{suffix}").exists()
    example = tmp_path / "posert_example"
    assert assert_same_people(follow / "follow.onnx", follow, noise(), example=example) == len(noise())


@pytest.mark.skipif(None in (shutil.which(MINGW), shutil.which("cmake")), reason="needs mingw-w64 and cmake")
def test_windows_builds_it(tmp_path: Path) -> None:
    """Every source is clean for Windows too, and links to a DLL that shows the interface; nobody runs it here."""
    folder = tmp_path / "c"
    bundle(EXACT["follow"](tmp_path), folder, target="x86_64-windows")
    flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    for source in [*folder.glob("*.c"), *SOURCES.glob("*.c")]:
        subprocess.run([MINGW, *flags, "-I", folder, source], check=True)
    system = ["-DCMAKE_SYSTEM_NAME=Windows", f"-DCMAKE_C_COMPILER={MINGW}", "-DBUILD_SHARED_LIBS=ON"]
    subprocess.run(["cmake", "-S", folder, "-B", tmp_path / "build", *system], check=True)
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True)
    dll = (tmp_path / "build" / "libposert.dll").read_bytes()
    assert all(name.encode() + b"\0" in dll for name in POSERT_H)
    assert (tmp_path / "build" / "posert_example.exe").exists()
