"""setuptools, with compiled kernels: what `pip install .` and `pip install -e .` ask for (PEP 517).

Owns what a wheel holds besides the Python files, and its tag. How kernels are compiled and linked is `kernels.py`'s.
`python wheels/backend.py [PLATFORM ...]` writes wheels of every platform to dist/; that needs numba and ziglang too.
"""

import argparse
import base64
import email
import hashlib
import runpy
import shutil
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

ROOT = Path(__file__).resolve().parents[1]
_ARCHIVE_TIME = (1980, 1, 1, 0, 0, 0)  # equal sources make equal wheels


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """numba, and a linker where there is none."""
    return ["numba>=0.62.1", *([] if shutil.which("cc") else ["ziglang"])]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """As for a wheel; nothing where the kernels are compiled already."""
    # without the package around it: numpy may not be here yet
    sources = runpy.run_path(str(ROOT / "postprocess" / "kernels" / "sources.py"))
    there = any(sources["FOLDER"].glob(f"kernels-*{sources['SUFFIX']}")) and not sources["outdated"]()
    return [] if there else get_requires_for_build_wheel()


def build_editable(folder: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """setuptools' own; the kernels for this machine lie in the checkout, compiled now if they are not up to date."""
    if get_requires_for_build_editable():
        import kernels

        kernels.make(kernels.load.levels()[:1])
    return str(build_meta.build_editable(folder, config_settings, metadata_directory))


def build_wheel(folder: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """setuptools' wheel and the libraries for every processor of this platform."""
    import kernels

    with tempfile.TemporaryDirectory() as scratch:
        pure = pure_wheel(scratch, config_settings, metadata_directory)
        files = package_files(kernels.this_platform(), Path(scratch)) | wasm_file(Path(scratch))
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        return with_files(pure, files, f"py3-none-{tag}", Path(folder)).name


def build_sdist(folder: str, config_settings: Any = None) -> str:
    """setuptools' own, packed again: equal sources make equal archives."""
    import archive

    (ROOT / "posert.egg-info" / "SOURCES.txt").unlink(missing_ok=True)  # it would pack what is listed from another day
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, build_meta.build_sdist(scratch, config_settings))
        shutil.unpack_archive(made, scratch, filter="data")
        name = made.name.removesuffix(".tar.gz")
        return Path(archive.pack(archive.files_of(Path(scratch, name), name), Path(folder, made.name))).name


def pure_wheel(folder: str, config_settings: Any = None, metadata_directory: str | None = None) -> Path:
    """setuptools' wheel, of the Python files and data alone."""
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # it would pack what lies there from another day
    return Path(folder, build_meta.build_wheel(folder, config_settings, metadata_directory))


def package_files(platform: str, scratch: Path, *, portable: bool = False) -> dict[str, Path]:
    """Path in the wheel -> file, of a platform's libraries, made in `scratch`, and of the objects for C programs."""
    import kernels

    target = kernels.PLATFORMS[platform]
    wanted = {kernels.build.Target(target.triple, level): level for level in target.levels}
    objects = kernels.compiled([*wanted, *kernels.build.TARGETS.values()])
    files = {kernels.sources.object_of(name): objects[its][0] for name, its in kernels.build.TARGETS.items()}
    for its, level in wanted.items():
        library = kernels.sources.library_of(level, target.suffix)
        kernels.link(objects[its], scratch / library.name, target, portable=portable)
        files[library] = scratch / library.name
    return {f"posert/{path.relative_to(kernels.sources.ROOT).as_posix()}": file for path, file in files.items()}


def wasm_file(scratch: Path) -> dict[str, Path]:
    """The same for `posert.wasm`; nothing where the compiler for it is not."""
    import kernels
    import wasm

    if not wasm.possible():
        kernels.say("no posert.wasm: pip install ziglang makes it")
        return {}
    path = scratch / wasm.PLACE.name
    return {f"posert/{wasm.PLACE.relative_to(kernels.ROOT).as_posix()}": path if path.is_file() else wasm.make(path)}


def with_files(wheel: Path, files: Mapping[str, Path], tag: str, folder: Path) -> Path:
    """A wheel of pure Python with files and another tag, in `folder`."""
    name, version, *_ = wheel.name.split("-")
    made = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        contents = {path: old.read(path) for path in old.namelist() if not path.endswith("/")}
        contents |= {path: file.read_bytes() for path, file in sorted(files.items())}
        contents[f"{info}/WHEEL"] = _retagged(contents[f"{info}/WHEEL"], tag)
        del contents[f"{info}/RECORD"]
        contents[f"{info}/RECORD"] = _record(contents, f"{info}/RECORD").encode()
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path, _ARCHIVE_TIME)
            entry.external_attr = (0o100755 if path in files else 0o100644) << 16
            new.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return made


def _retagged(text: bytes, tag: str) -> bytes:
    python, abi, platforms = tag.split("-")
    wheel = email.message_from_bytes(text)
    wheel.replace_header("Root-Is-Purelib", "false")
    del wheel["Tag"]
    for platform in platforms.split("."):
        wheel["Tag"] = f"{python}-{abi}-{platform}"
    return wheel.as_bytes()


def _record(contents: Mapping[str, bytes], own: str) -> str:
    lines = []
    for path, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}\n")
    return "".join([*lines, f"{own},,\n"])


def write_wheels(names: Iterable[str], dist: Path) -> list[Path]:
    """Wheels of these platforms, from this machine: compiles for all of them at once, then packs one by one."""
    import kernels

    wanted = {name: kernels.PLATFORMS[name] for name in names}
    levels = [kernels.build.Target(each.triple, level) for each in wanted.values() for level in each.levels]
    kernels.compiled([*levels, *kernels.build.TARGETS.values()])
    dist.mkdir(parents=True, exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory() as scratch:
        pure = pure_wheel(scratch)
        for name, platform in wanted.items():
            for old in dist.glob(f"posert-*-{platform.tag}.whl"):
                old.unlink()
            files = package_files(name, Path(scratch), portable=True) | wasm_file(Path(scratch))
            made.append(with_files(pure, files, f"py3-none-{platform.tag}", dist))
            kernels.say(f"wrote {made[-1]}")
    return made


def main() -> None:
    """Wheels for other platforms too."""
    import kernels

    parser = argparse.ArgumentParser(description="write wheels")
    parser.add_argument("platform", nargs="*", default=list(kernels.PLATFORMS), help=", ".join(kernels.PLATFORMS))
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    write_wheels(options.platform, options.dist)


if __name__ == "__main__":
    main()
