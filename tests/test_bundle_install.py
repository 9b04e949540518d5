"""The C library where programs look for it: SONAME, `make install`, pkg-config, CMake's find_package, the version."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import built
from tiny_kinds import KINDS

import posert
from posert.export.embed import library

PROGRAM = """
#include <%(name)s.h>
#include <stdio.h>
#include <string.h>
#if POSERT_VERSION_MAJOR * 10000 + POSERT_VERSION_MINOR * 100 + POSERT_VERSION_PATCH < 100
#error "too old"
#endif
int main(int count, char **arguments)
{
    posert_options options = posert_default_options();
    posert *p = NULL;
    options.folder = arguments[count - 2];
    options.onnxruntime = arguments[count - 1];
    const posert_status status = posert_open(&p, &options);
    puts(status == POSERT_OK ? POSERT_VERSION : posert_error(p));
    posert_close(p);
    return status != POSERT_OK || strcmp(POSERT_VERSION, posert_version()) != 0;
}
"""
CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(user C)
find_package(%(name)s 0.1 REQUIRED)
add_executable(program program.c)
target_link_libraries(program %(name)s::%(name)s)
"""
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
pytestmark = [
    pytest.mark.c,
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]


@pytest.fixture(scope="module", params=["posert", "body"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, built; its name is its folder's."""
    root = tmp_path_factory.mktemp("bundle")
    return built(KINDS["follow"](root), root / request.param, prefix=request.param)


def source(name: str) -> str:
    text = PROGRAM % {"name": name}
    return text if name == "posert" else text.replace("posert", name).replace("POSERT", name.upper())


def said(*command: object, **how: object) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=True, **how).stdout.strip()  # type: ignore[call-overload]


def test_the_soname_has_the_major_version(folder: Path) -> None:
    listed = said("readelf", "--dynamic", folder / f"lib{folder.name}.so")
    assert f"[lib{folder.name}.so.{posert.__version__.split('.')[0]}]" in listed


def test_make_install_and_pkg_config(folder: Path, tmp_path: Path) -> None:
    """Into a folder of a package, whose final place is another."""
    name = folder.name
    said("make", "-s", "-C", folder, "install", f"DESTDIR={tmp_path}", "PREFIX=/opt/people")
    root = tmp_path / "opt" / "people"
    installed = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    shared = [f"lib/lib{name}.so", f"lib/lib{name}.so.0", f"lib/lib{name}.so.{posert.__version__}"]
    others = [f"include/{name}.h", f"lib/lib{name}.a", f"lib/pkgconfig/{name}.pc", f"share/{name}/follow.onnx"]
    assert installed == {*shared, *others}
    if shutil.which("pkg-config") is None:
        pytest.skip("needs pkg-config")
    how = {"env": {"PKG_CONFIG_PATH": str(root / "lib" / "pkgconfig"), "PATH": "/usr/bin:/bin"}}
    ask = ["pkg-config", f"--define-variable=prefix={root}"]
    assert said("pkg-config", "--modversion", name, **how) == posert.__version__
    assert said("pkg-config", "--variable=modeldir", name, **how) == f"/opt/people/share/{name}"
    flags = said(*ask, "--cflags", "--libs", name, **how).split()
    (tmp_path / "program.c").write_text(source(name))
    said("cc", tmp_path / "program.c", *flags, "-o", tmp_path / "program")
    program = [tmp_path / "program", root / "share" / name, library.onnxruntime_library()]
    assert said(*program, env={"LD_LIBRARY_PATH": str(root / "lib")}) == posert.__version__


@needs_cmake
@pytest.mark.parametrize("shared", ["ON", "OFF"])
def test_cmake_finds_what_cmake_installed(folder: Path, tmp_path: Path, shared: str) -> None:
    name, root = folder.name, tmp_path / "installed"
    said("cmake", "-S", folder, "-B", tmp_path / "a", f"-DBUILD_SHARED_LIBS={shared}", f"-DCMAKE_INSTALL_PREFIX={root}")
    said("cmake", "--build", tmp_path / "a", "--target", "install")
    assert (root / "share" / name / "follow.onnx").is_file()
    (tmp_path / "program.c").write_text(source(name))
    (tmp_path / "CMakeLists.txt").write_text(CMAKE % {"name": name})
    said("cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={root}")
    said("cmake", "--build", tmp_path / "b")
    program = tmp_path / "b" / "program"
    assert said(program, root / "share" / name, library.onnxruntime_library()) == posert.__version__
