"""Everything that a release has, written to dist/: `python wheels/release.py`. Not in the package.

The source archive, a wheel for each platform (`backend.py`), `nano` as C for each target, the site if there is one,
what `pip install posert[cpu]` brings along on this day (an SBOM of CycloneDX, licences), and the hashes of all that.
Needs numba, ziglang, cyclonedx-bom and pip-licenses.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import archive
import backend

from posert import __version__
from posert.export.embed.bundle import bundle
from posert.postprocess.kernels.build import TARGETS

SITE = backend.ROOT / "out" / "site"


def main() -> None:
    """Empties the folder and fills it."""
    import kernels  # after posert, whose place it takes where that is not there yet

    parser = argparse.ArgumentParser(description="write everything that a release has")
    parser.add_argument("--dist", type=Path, default=backend.ROOT / "dist")
    parser.add_argument("--offline", action="store_true", help="neither SBOM nor licences")
    options = parser.parse_args()
    dist: Path = options.dist
    dist.mkdir(parents=True, exist_ok=True)
    for old in dist.iterdir():
        old.unlink()
    wheels = backend.write_wheels(kernels.PLATFORMS, dist)
    backend.build_sdist(str(dist))
    for target in TARGETS:
        c_bundle(target, dist)
    if SITE.is_dir():
        name = f"posert-{__version__}-site"
        pages = {path: file for path, file in archive.files_of(SITE, name).items() if "/." not in path}
        archive.pack(pages, dist / f"{name}.tar.gz")
    if not options.offline:
        tag = kernels.PLATFORMS[kernels.this_platform()].tag
        dependencies(next(wheel for wheel in wheels if wheel.name.endswith(f"{tag}.whl")), dist)
    (dist / "SHA256SUMS").write_text("".join(sums(dist)))


def c_bundle(target: str, dist: Path) -> Path:
    """`posert bundle nano` for a target, as an archive."""
    name = f"posert-{__version__}-nano-c-{target}"
    with tempfile.TemporaryDirectory() as folder:
        bundle("nano", Path(folder), target=target)
        return Path(archive.pack(archive.files_of(Path(folder), name), dist / f"{name}.tar.gz"))


def dependencies(wheel: Path, dist: Path) -> None:
    """Of a fresh environment with `posert[cpu]`: the SBOM, and a table of licences."""
    tools, stem = Path(sys.executable).parent, dist / f"posert-{__version__}"
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/{'Scripts' if os.name == 'nt' else 'bin'}/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "-y", "setuptools", "pip"], check=True)
        project = ["--pyproject", str(backend.ROOT / "pyproject.toml"), "--mc-type", "library"]
        written = ["--output-reproducible", "-o", f"{stem}.cdx.json"]
        subprocess.run([tools / "cyclonedx-py", "environment", *project, *written, python], check=True)
        sbom = json.loads(Path(f"{stem}.cdx.json").read_text(encoding="utf-8"))
        sbom["metadata"]["component"]["version"] = __version__  # pyproject.toml leaves it to `__init__.py`
        Path(f"{stem}.cdx.json").write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")
        table = ["--format=markdown", "--with-urls", "--ignore-packages=posert", f"--output-file={stem}-licences.md"]
        subprocess.run([tools / "pip-licenses", f"--python={python}", *table], check=True, stdout=subprocess.DEVNULL)


def sums(dist: Path) -> Iterator[str]:
    """Lines as sha256sum writes and checks them."""
    for file in sorted(path for path in dist.iterdir() if path.name != "SHA256SUMS"):
        yield f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"


if __name__ == "__main__":
    main()
