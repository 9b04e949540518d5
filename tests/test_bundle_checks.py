"""The C library under valgrind and the sanitizers: pictures of every size and layout, bad arguments, bad files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import PLAIN, SANITIZED, assert_same_bits, built, noise
from tiny_kinds import KINDS

from posert.export.embed import library

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]
FRAMES, FEWER = 1000, 40
OF_OTHERS = """{
   ONNX Runtime 1.31 copies four bytes onto themselves
   Memcheck:Overlap
   fun:*memcpy*
   obj:*libonnxruntime*
}
{
   glibc's loader compares eight bytes of a shorter path of libraries
   Memcheck:Addr8
   obj:*/ld-linux*
   obj:*/ld-linux*
}
"""
OLDER = """
static const void *no_api(unsigned version) { return (void)version, (const void *)0; }
static const char *version(void) { return "1.2.3"; }
typedef struct { const void *(*api)(unsigned); const char *(*version)(void); } base;
const base *OrtGetApiBase(void);
const base *OrtGetApiBase(void) { static const base own = {no_api, version}; return &own; }
"""


SLOW = [pytest.param(kind, marks=pytest.mark.export) for kind in KINDS if kind != "follow"]  # ten seconds each


@pytest.fixture(scope="module", params=KINDS)
def bundled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return built(KINDS[request.param](folder), folder / "c")


def fuzz(folder: Path, flags: tuple[str, ...]) -> Path | None:
    """The program of `fuzz.c` with the library's sources; None if the compiler does not know the flags."""
    sources = [source for source in folder.glob("*.c") if source.name != "main.c"]
    program = folder / "fuzz"
    command = ["cc", *flags, "-I", folder, Path(__file__).with_name("fuzz.c"), *sources, folder / "kernels.o"]
    done = subprocess.run([*command, "-o", program, "-lm", "-ldl"], check=False)
    return program if done.returncode == 0 else None


def run(*command: object) -> tuple[int, str, str]:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("seed", [1, 2])
def test_sanitizers_find_nothing(bundled: Path, tmp_path: Path, seed: int) -> None:
    """Address, leak and undefined behaviour; the kernels themselves are not instrumented."""
    program = fuzz(bundled, SANITIZED)
    if program is None:
        pytest.skip("this compiler has no sanitizers")
    model = library.main_file(bundled)
    for companion in bundled.glob("*.onnx"):
        shutil.copy(companion, tmp_path)
    code, seen, said = run(
        program, bundled, library.onnxruntime_library(), FRAMES // 2, seed, tmp_path, model, FRAMES // 10
    )
    assert (code, said) == (0, "")
    assert int(seen) > 0


@pytest.mark.c
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
@pytest.mark.parametrize("bundled", ["follow", *SLOW], indirect=True)
def test_valgrind_finds_nothing(bundled: Path, tmp_path: Path) -> None:
    """All memory is seen, the kernels' too, and nothing is lost; 1,000 frames of the network that costs least."""
    program = fuzz(bundled, PLAIN)
    assert program is not None
    (tmp_path / "others.supp").write_text(OF_OTHERS)
    count = FRAMES if (bundled / "follow.onnx").exists() else FEWER
    options = ["--quiet", "--leak-check=full", "--error-exitcode=9", f"--suppressions={tmp_path / 'others.supp'}"]
    code, seen, said = run("valgrind", *options, program, bundled, library.onnxruntime_library(), count, 3)
    assert (code, said) == (0, "")
    assert int(seen) > 0


def test_values_that_are_no_numbers_give_the_same_people(bundled: Path) -> None:
    assert assert_same_bits(bundled, noise()) > 0


def test_a_library_that_is_too_old_says_so(bundled: Path, tmp_path: Path) -> None:
    (tmp_path / "old.c").write_text(OLDER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "old.so", tmp_path / "old.c"], check=True)
    code, shown, said = run(bundled / "posert_example", bundled, tmp_path / "old.so")
    assert (code, shown, said) == (1, "", "error: ONNX Runtime 1.2.3 is older than 1.11\n")
