"""The C library with every decoder in it, more than any model needs: small, and no strangers among its symbols."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from posert.export.embed import bundle

MOST_BYTES = 120_000
ALL = """#include "internal.h"
POSERT_API extern const void *const posert_all[];
const void *const posert_all[] = {%s};
"""

pytestmark = [
    pytest.mark.skipif(any(shutil.which(tool) is None for tool in ("cc", "make", "strip", "nm")), reason="needs cc"),
    pytest.mark.skipif(sys.platform != "linux", reason="an ELF library"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripped; a table that shows holds the decoders and rules, so that the linker keeps them all."""
    folder = tmp_path_factory.mktemp("all")
    bundle.bundle("nano", folder)
    root = Path(bundle.__file__).parent.parent / "postprocess"
    twins = sorted(file.stem for file in bundle.SOURCES.glob("*.c") if (root / file.name.replace(".c", ".py")).exists())
    assert len(twins) == 7
    for twin in twins:
        shutil.copy(bundle.SOURCES / f"{twin}.c", folder)
    modules = tuple(bundle._kernel_modules(twins))
    (folder / "kernels.o").write_bytes(bundle._compiled(modules, *bundle.TARGETS["x86_64-linux"]))
    (folder / "all.c").write_text(ALL % ", ".join(f"&posert__{twin}" for twin in twins))
    subprocess.run(["make", "-s", "-C", folder, "libposert.so"], check=True)
    subprocess.run(["strip", folder / "libposert.so"], check=True)
    return folder / "libposert.so"


def test_all_decoders_are_small(library: Path) -> None:
    assert library.stat().st_size < MOST_BYTES


def test_all_decoders_need_libc_and_libm_only(library: Path) -> None:
    """Everything undefined carries glibc's version; what the compiler adds to any library is weak."""
    listed = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", library], capture_output=True, text=True, check=True
    )
    strangers = [line for line in listed.stdout.splitlines() if " w " not in line and "@GLIBC_" not in line]
    assert "tanh@GLIBC" in listed.stdout
    assert strangers == []
    needed = subprocess.run(["readelf", "--dynamic", library], capture_output=True, text=True, check=True).stdout
    assert {line.split("[")[1].split(".")[0] for line in needed.splitlines() if "NEEDED" in line} <= {"libc", "libm"}
