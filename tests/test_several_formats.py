"""`--format` given twice: one run, a folder, each layout under its usual name, byte for byte what it is alone."""

import json
import shutil
from pathlib import Path

import media
import pytest
from command import Run, rows, tree

from posert.errors import PosertError
from posert.pages.index import entries_of
from posert.runtime.files.formats import formats_of
from posert.runtime.jobs.job import Job
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.recipe import Settings

FORMS = ["csv", "openpose", "coco-dataset"]
NAMES = ["a_json", "a.mp4.coco-dataset", "a.mp4.csv"]


@pytest.fixture
def place(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    media.video(tmp_path / "a.mp4", count=4)
    return tmp_path


def infer(run: Run, forms: list[str], *more: object) -> tuple[int, str, str]:
    return run("infer", "model.onnx", "a.mp4", *(word for form in forms for word in ("--format", form)), *more)


def test_each_is_what_it_is_alone(run: Run, place: Path) -> None:
    assert infer(run, FORMS, "-o", "out", "--track")[0] == 0
    (row,) = rows(place / "out")
    assert [file["path"] for file in row["files"]] == NAMES
    assert row["settings"]["form"] == "openpose,coco-dataset,csv"
    for form, name in zip(formats_of(",".join(FORMS)), NAMES, strict=True):
        assert infer(run, [form], "-o", f"alone{form}", "--track")[0] == 0
        alone, made = place / f"alone{form}", place / "out" / name
        if made.is_dir():
            assert tree(made) == tree(alone)
        else:
            assert made.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize("lost", [None, "a.mp4.csv", "a_json/a_000000000002_keypoints.json"])
def test_resume_asks_for_all_of_them(run: Run, place: Path, lost: str | None) -> None:
    assert infer(run, FORMS, "-o", "out")[0] == 0
    before = tree(place / "out")
    if lost is not None:
        (place / "out" / lost).unlink()
    code, _, err = infer(run, FORMS[::-1], "-o", "out", "--resume")
    assert code == 0
    assert ("1 sources were finished before" in err) == (lost is None)
    assert tree(place / "out") == before


def test_they_need_a_folder(run: Run, place: Path) -> None:
    code, out, err = infer(run, ["csv", "jsonl"])
    assert (code, out) == (1, "")
    assert "the formats csv,jsonl need a folder" in err
    assert "-o" in err
    Path("taken").write_text("mine")
    code, _, err = infer(run, ["csv", "jsonl"], "-o", "taken")
    assert code == 1
    assert "hint: " in err
    assert Path("taken").read_text() == "mine"


def test_one_format_twice_is_one(run: Run, place: Path) -> None:
    code, out, _ = infer(run, ["csv", "csv"])
    assert code == 0
    assert out.startswith("source,frame")
    with pytest.raises(PosertError, match="unknown format 'cvs'"):
        formats_of("jsonl,cvs")


def test_folders_shards_and_workers(run: Run, place: Path) -> None:
    (place / "videos").mkdir()
    for name in "ab":
        shutil.copy("a.mp4", f"videos/{name}.mp4")
    args = ["infer", "model.onnx", "videos", "--format", "jsonl", "--format", "alphapose-cmu"]
    assert run(*args, "-o", "out")[0] == 0
    assert run(*args, "-o", "more", "--workers", 2)[0] == 0
    assert tree(place / "out") == tree(place / "more")
    assert {path.name for path in (place / "out").iterdir()} == {
        "a.mp4.jsonl", "a.mp4.alphapose-cmu", "b.mp4.jsonl", "b.mp4.alphapose-cmu", "manifest.jsonl",
    }  # fmt: skip


def test_a_unit_is_for_those_that_know_it(run: Run, place: Path) -> None:
    assert infer(run, ["csv", "openpose"], "-o", "px")[0] == 0
    assert infer(run, ["csv", "openpose"], "-o", "share", "--keypoint-scale", 3)[0] == 0
    assert Path("px/a.mp4.csv").read_bytes() == Path("share/a.mp4.csv").read_bytes()
    name = "a_json/a_000000000000_keypoints.json"
    (person,) = json.loads(Path("share", name).read_text())["people"]
    assert max(person["pose_keypoints_2d"]) <= 1
    assert Path("px", name).read_bytes() != Path("share", name).read_bytes()
    with pytest.raises(PosertError, match="knows no `keypoint_scale`"):
        Settings(form="csv,npz", keypoint_scale=3)


def test_a_broken_video_keeps_a_part_of_each(run: Run, place: Path) -> None:
    media.cut_off_video(place).rename("a.mp4")
    code, _, err = infer(run, FORMS, "-o", "out")
    assert code == 1
    assert "cut off" in err
    assert {path.name for path in (place / "out").iterdir()} == {f"{name}.partial" for name in NAMES} | {
        "manifest.jsonl"
    }


def test_the_index_shows_what_can_be_read(run: Run, place: Path) -> None:
    assert infer(run, ["npz", "coco", "csv"], "-o", "out")[0] == 0
    (entry,) = entries_of([place / "out"])
    assert (entry.name, entry.results) == ("a.mp4", place / "out" / "a.mp4.npz")


def test_trc_brings_its_ids_and_takes_a_height(run: Run, place: Path) -> None:
    assert infer(run, ["trc", "jsonl"], "-o", "out", "--person-height", 1.8)[0] == 0
    person = json.loads(Path("out/a.mp4.jsonl").read_text().splitlines()[1])["people"][0]
    assert person["id"] == 1
    assert [path.name for path in Path("out/a_trc").iterdir()] == ["a_m_person01.trc"]
    assert infer(run, ["trc"], "-o", "again", "--person-height", 1.8)[0] == 0
    assert infer(run, ["trc"], "-o", "again")[0] == 0  # in the place of the metres, which are posert's
    assert [path.name for path in Path("again").iterdir()] == ["a_px_person01.trc"]


def test_a_job_moves_with_all_its_files(place: Path) -> None:
    (job,) = plan(["a.mp4"], Path("out"), Path("drawn.mp4"), "jsonl,csv")
    assert job == Job("a.mp4", Path("out/a.mp4.jsonl"), Path("drawn.mp4"), True, (Path("out/a.mp4.csv"),))
    moved = job.moved(lambda path: "there" / path)
    assert moved.files == [Path("there") / path for path in job.files]
