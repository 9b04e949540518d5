"""Several C libraries of posert in one program: by names of their own; their kernels never mix."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_many
from bundles import assert_same_people, built, noise
from tiny_kinds import KINDS

from posert import frames
from posert.errors import PosertError
from posert.export.embed import bundle as writing
from posert.export.embed import library
from posert.export.embed.bundle import bundle

PROGRAM = """
#include "one.h"
#include "many.h"
#include <stdio.h>
static const unsigned char pixels[90 * 120 * 3] = {9, 200};
int main(int count, char **arguments)
{
    one_options how = one_default_options();
    many_options hows = many_default_options();
    const one_image image = {pixels, 120, 90, 360, ONE_RGB};
    const many_image images = {pixels, 120, 90, 360, MANY_RGB};
    one *p;
    many *q;
    one_people person;
    many_people people;
    if (count < 4) return 2;
    how.folder = arguments[1], hows.folder = arguments[2], how.onnxruntime = hows.onnxruntime = arguments[3];
    how.threads = hows.threads = 1;
    if (one_open(&p, &how) != ONE_OK) return puts(one_error(p)), 1;
    if (many_open(&q, &hows) != MANY_OK) return puts(many_error(q)), 1;
    if (one_estimate(p, &image, &person) != ONE_OK) return puts(one_error(p)), 1;
    if (many_estimate(q, &images, &people) != MANY_OK) return puts(many_error(q)), 1;
    printf("%s %d %d, %s %d %d\\n", one_model_name(), person.count, one_keypoint_count(), many_model_name(),
           people.count, many_keypoint_count());
    many_close(q);
    one_close(p);
    return 0;
}
"""
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that follows one person, and one with six rows; the second as another posert would have made it."""
    folder = tmp_path_factory.mktemp("two")
    one = built(KINDS["follow"](folder), folder / "one", prefix="one")
    with pytest.MonkeyPatch.context() as patch:
        code = writing.machine_code
        patch.setattr(writing, "machine_code", lambda *given: code(*given) + b"another version")
        many = built(tiny_many.rows(folder / "rows.onnx"), folder / "many", prefix="many")
    return one, many


def run(program: Path, two: tuple[Path, Path]) -> str:
    done = subprocess.run([program, *two, library.onnxruntime_library()], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("kind", ["a", "so"])
def test_two_models_in_one_program(two: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    (tmp_path / "both.c").write_text(PROGRAM)
    one, many = two
    libraries = [one / f"libone.{kind}", many / f"libmany.{kind}"]
    command = ["cc", *FLAGS, "-I", one, "-I", many, tmp_path / "both.c", *libraries, "-o", tmp_path / "both"]
    subprocess.run([*command, f"-Wl,-rpath,{one}:{many}", "-lm", "-ldl"], check=True)
    assert run(tmp_path / "both", two) == "bright-spot 1 17, six-rows 3 17\n"


def test_each_is_still_itself(two: tuple[Path, Path]) -> None:
    one, many = two
    assert assert_same_people(one / "follow.onnx", one, noise()) == len(noise())
    assert assert_same_people(many / "rows.onnx", many, noise()) > len(noise())
    assert library.compare(one, frames(_picture(one)))[2] == 0


def _picture(folder: Path) -> Path:
    import cv2

    cv2.imwrite(str(folder / "a.png"), noise()[0])
    return folder / "a.png"


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
def test_no_name_is_in_both(two: tuple[Path, Path]) -> None:
    """But for what ONNX Runtime looks for, which no program asks an archive for."""
    defined = []
    for folder, name in zip(two, ("one", "many"), strict=True):
        archive = folder / f"lib{name}.a"
        listed = subprocess.run(["nm", "-g", "--defined-only", archive], capture_output=True, text=True, check=True)
        defined.append({line.split()[2] for line in listed.stdout.splitlines() if len(line.split()) == 3})
    assert defined[0] & defined[1] == {"RegisterCustomOps"}
    assert all(name.startswith(("one_", "k")) for name in defined[0] - defined[1])


def test_the_same_kernels_are_shared(tmp_path: Path) -> None:
    """Nothing is defined twice, and the archives still link."""
    model = KINDS["follow"](tmp_path)
    folders = [built(model, tmp_path / name, prefix=name) for name in ("one", "many")]
    (tmp_path / "both.c").write_text(PROGRAM)
    command = ["cc", *FLAGS, *(f"-I{folder}" for folder in folders), tmp_path / "both.c"]
    command += [folders[0] / "libone.a", folders[1] / "libmany.a", "-o", tmp_path / "both", "-lm", "-ldl"]
    subprocess.run(command, check=True)
    assert run(tmp_path / "both", (folders[0], folders[1])) == "bright-spot 1 17, bright-spot 1 17\n"


@pytest.mark.parametrize("prefix", ["", "2d", "a-b", "Body", "a b", "posert_k"])
def test_a_prefix_that_is_no_name_says_so(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(PosertError, match="cannot begin a name in C"):
        bundle("nano", tmp_path / "c", prefix=prefix)
    assert not (tmp_path / "c").exists()


def test_the_words_of_people_stay(two: tuple[Path, Path]) -> None:
    """Only names in the code change: who wrote it, the operator's domain and the environment's word are posert's."""
    text = "".join(path.read_text() for path in [*two[0].glob("*.c"), *two[0].glob("*.h")])
    assert "made for one model by `posert bundle`" in text
    assert 'getenv("POSERT_ORT")' in text
    assert '("posert", &domain)' in text
    assert "posert_open" not in text
    assert np.array([name not in text for name in ("POSERT_OK", "posert__fail", "struct posert")]).all()
