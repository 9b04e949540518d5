"""The C library with every decoder in it, more than any model needs: small, and no strangers among its symbols."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from posert.export.embed import bundle

MOST_BYTES, MOST_FOR_NANO = 228_000, 122_000  # the core takes boxes of the caller, 1.3 kB
ALL = """#include "internal.h"
#include "kernels.h"
POSERT_API extern void (*const posert_all[])(void);
void (*const posert_all[])(void) = {%s};
"""

pytestmark = [
    pytest.mark.skipif(any(shutil.which(tool) is None for tool in ("cc", "make", "strip", "nm")), reason="needs cc"),
    pytest.mark.skipif(sys.platform != "linux", reason="an ELF library"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripped; a table that shows holds every kernel, so that the linker keeps them all."""
    folder = tmp_path_factory.mktemp("all")
    bundle.bundle("nano", folder)
    every = bundle.every_kernel()
    code, prefix = bundle.unique(bundle.machine_code(every, "x86_64-linux"))
    (folder / "kernels.o").write_bytes(code)
    (folder / "kernels.h").write_text(bundle.header(every.values(), prefix))
    (folder / "all.c").write_text(ALL % ", ".join(f"(void (*)(void)){name}" for name in every))
    subprocess.run(["make", "-s", "-C", folder, "libposert.so"], check=True)
    subprocess.run(["strip", folder / "libposert.so"], check=True)
    return folder / "libposert.so"


def test_all_decoders_are_small(library: Path) -> None:
    assert library.stat().st_size < MOST_BYTES


def test_a_model_has_its_own_kernels_alone(tmp_path: Path) -> None:
    """The object has every kernel; the linker leaves out what the model does not call."""
    bundle.bundle("nano", tmp_path)
    subprocess.run(["make", "-s", "-C", tmp_path, "libposert.so"], check=True)
    assert (tmp_path / "libposert.so").stat().st_size < MOST_FOR_NANO


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


def test_the_library_is_written_by_hand_in_few_lines() -> None:
    """And names no decoder: a new one needs no line of C."""
    texts = {path.name: path.read_text() for path in bundle.SOURCES.iterdir() if path.suffix in (".c", ".h")}
    assert sum(len(text.splitlines()) for text in texts.values()) < 1900
    root = Path(bundle.__file__).parents[2] / "postprocess"
    decoders = {path.stem for path in (root / "decoders").iterdir() if path.stem[0] != "_"}
    assert len(decoders) >= 6
    for name, text in texts.items():
        named = [decoder for decoder in decoders if re.search(rf'"{decoder}"|_{decoder}_(people|workspace)\b', text)]
        assert not named, name
