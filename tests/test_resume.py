"""`--resume` believes only what it can check: outputs, inputs and the device, by what they were when it was written."""

import json
import os
import shutil
from pathlib import Path

import cv2
import media
import pytest
import tiny
import tiny_topdown
from command import Run, rows, tree

NAMES = {"a.mp4.jsonl", "b.mp4.jsonl"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model and two folders of videos with the same names, sizes and times."""
    monkeypatch.chdir(tmp_path)
    tiny.bright_spot(tmp_path / "model.onnx")
    for folder, bright in (("d1", 1), ("d2", 2)):
        Path(folder).mkdir()
        for name in ("a.mp4", "b.mp4"):
            writer = cv2.VideoWriter(f"{folder}/{name}", cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
            for index in range(3):
                writer.write(media.numbered(bright + index))
            writer.release()
            os.utime(f"{folder}/{name}", (1, 1))
    return tmp_path


def times() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path("out").glob("*.mp4*")}


def again(run: Run, *args: object, code: int = 0) -> set[str]:
    """Runs with --resume; the outputs that are new."""
    before = times()
    assert run("infer", "model.onnx", "d1", "-o", "out", "--resume", *args)[0] == code
    return {name for name, time_ns in times().items() if time_ns != before.get(name)}


def test_another_sources_file_is_noticed(
    run: Run, place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """d1, then d2, into one folder: resuming d1 called finished what held the results of d2."""
    assert run("infer", "model.onnx", "d1", "-o", "out")[0] == 0
    first = tree(Path("out"))
    assert run("infer", "model.onnx", "d2", "-o", "out")[0] == 0
    assert "results of 2 other sources are replaced, for example of d1/a.mp4" in caplog.text
    assert tree(Path("out")) != first
    assert again(run) == NAMES
    assert tree(Path("out")) == first


@pytest.mark.parametrize("form", ["jsonl", "npz", "coco", "openpose", "trc"])
@pytest.mark.parametrize("how", ["empty", "change", "replace", "touch", "copy", "none"])
def test_outputs_are_what_they_were(run: Run, place: Path, form: str, how: str) -> None:
    """An emptied or replaced result counted as finished. What has the same bytes is the same."""
    args = ["infer", "model.onnx", "d1", "-o", "out", "--format", form]
    assert run(*args)[0] == 0
    before = tree(Path("out"))
    output = Path("out") / rows(Path("out"))[0]["output"]
    spoilt = sorted(output.iterdir())[-1] if output.is_dir() else output
    if how == "empty":
        spoilt.write_bytes(b"")
    if how == "change":
        data = spoilt.read_bytes()
        spoilt.write_bytes(data[:-2] + b"?" + data[-1:])
    if how == "replace":
        spoilt.unlink()
        spoilt.write_text("something else")
    if how == "touch":
        os.utime(spoilt, (1, 1))
    if how == "copy":
        shutil.move("out", "moved")
        shutil.copytree("moved", "out", copy_function=shutil.copyfile)
    moment = spoilt.stat().st_mtime_ns
    code, _, err = run(*args, "--resume")
    assert code == 0
    assert tree(Path("out")) == before
    redone = spoilt.stat().st_mtime_ns != moment
    assert redone == (how in ("empty", "change", "replace"))
    assert ("2 sources were finished before" in err) == (not redone)


def test_verify_reads_what_looks_the_same(run: Run, place: Path) -> None:
    assert run("infer", "model.onnx", "d1", "-o", "out")[0] == 0
    output = Path("out/a.mp4.jsonl")
    data, found = output.read_bytes(), output.stat()
    output.write_bytes(data.replace(b"0.", b"1.", 1))
    os.utime(output, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert again(run) == set()
    assert again(run, "--verify") == {"a.mp4.jsonl"}
    assert output.read_bytes() == data
    found = os.stat("d1/b.mp4")
    Path("d1/b.mp4").write_bytes(Path("d1/b.mp4").read_bytes().replace(b"Lavf", b"lavf"))
    os.utime("d1/b.mp4", ns=(found.st_atime_ns, found.st_mtime_ns))
    assert (again(run), again(run, "--verify")) == (set(), {"b.mp4.jsonl"})


@pytest.mark.parametrize("name", ["boxes.json", "det.onnx"])
def test_boxes_and_detector_count_by_what_is_in_them(run: Run, place: Path, name: str) -> None:
    """They counted by name: another content under the same name kept the old results."""
    tiny_topdown.pose(place / "model.onnx", tiny_topdown.detector(place / "det.onnx"))
    rows_of = [{"image_id": index, "bbox": [0, 0, 32, 32], "score": 1} for index in range(3)]
    Path("boxes.json").write_text(json.dumps(rows_of))
    more = ["--boxes", "boxes.json"] if name == "boxes.json" else ["--detector", "det.onnx"]
    assert run("infer", "model.onnx", "d1", "-o", "out", *more)[0] == 0
    assert again(run, *more) == set()
    if name == "boxes.json":
        Path(name).write_text(json.dumps([row | {"bbox": [8, 8, 32, 32]} for row in rows_of]))
    else:
        tiny_topdown.detector(place / "det.onnx", boxes=((1, 0),))
    assert again(run, *more) == NAMES


def test_a_source_that_changes_while_it_is_read(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from posert.runtime.jobs import job

    looked = job.hashed
    monkeypatch.setattr(job, "hashed", lambda path, known, **how: (os.utime("d1/a.mp4"), looked(path, known, **how))[1])
    assert run("infer", "model.onnx", "d1", "-o", "out")[0] == 0
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert [row["sha256"] is None for row in rows(Path("out"))] == [True, False]
    assert again(run) == {"a.mp4.jsonl"}


def test_the_device_counts(run: Run, place: Path) -> None:
    """Results of two kinds of devices may differ."""
    assert run("infer", "model.onnx", "d1", "-o", "out", "--device", "cpu")[0] == 0
    manifest = Path("out/manifest.jsonl")
    assert [row["device"] for row in rows(Path("out"))] == ["cpu", "cpu"]
    manifest.write_text(manifest.read_text().replace('"device":"cpu"', '"device":"cuda:0"', 1))
    assert again(run, "--device", "cpu") == {"a.mp4.jsonl"}


DEEP = "[" * 100_000
SOUND = '"source":"d1/a.mp4","output":"a.mp4.jsonl","status":"done"'


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        DEEP, '{"a":' * 50_000, '{"source":NaN}', "{" + SOUND + ',"seconds":NaN}', "{" + SOUND + ',"seconds":1e400}',
        "{" + SOUND + ',"seconds":-Infinity}', '{"source":5,"output":[],"status":{}}', "{" + SOUND + ',"files":7}',
        "{" + SOUND + ',"files":[{"path":[]}]}', "{" + SOUND + ',"bytes":' + "9" * 5000 + "}", "7", "\x00", "\xff{",
        "{" + SOUND + ',"files":[{"path":"a.mp4.jsonl","bytes":"x"}],"device":[],"posert":{}}',
    ],
    ids=range(14),
)  # fmt: skip
def test_a_damaged_row_is_left_out(
    run: Run, place: Path, caplog: pytest.LogCaptureFixture, line: str, alone: bool
) -> None:
    """One line ended the run with a traceback."""
    assert run("infer", "model.onnx", "d1", "-o", "out")[0] == 0
    before = tree(Path("out"))
    manifest = Path("out/manifest.jsonl")
    text = (line + "\n").encode("latin-1")
    manifest.write_bytes(text if alone else manifest.read_bytes() + text)
    redone = again(run)
    assert redone == NAMES if alone else redone <= {"a.mp4.jsonl"}
    assert "damaged rows" in caplog.text or line.endswith('"posert":{}}')
    assert tree(Path("out")) == before


def test_another_programs_manifest_stays(run: Run, place: Path) -> None:
    Path("out").mkdir()
    Path("out/manifest.jsonl").write_text('{"audio_filepath": "a.wav", "text": "mine"}\n')
    code, _, err = run("infer", "model.onnx", "d1", "-o", "out")
    assert code == 1
    assert "is no manifest of posert's" in err
    assert "mine" in Path("out/manifest.jsonl").read_text()


def test_a_manifest_without_states_is_readable(run: Run, place: Path) -> None:
    """As the first posert wrote them: nothing of an output can be checked, so it is done again, whatever its format."""
    args = ["infer", "model.onnx", "d1", "-o", "out", "--format", "coco"]
    assert run(*args)[0] == 0
    before = tree(Path("out"))
    manifest, new = Path("out/manifest.jsonl"), ("files", "sha256", "device")
    old = [{name: value for name, value in row.items() if name not in new} for row in rows(Path("out"))]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in old))
    shutil.rmtree(os.environ["POSERT_HOME"])
    assert run(*args, "--resume")[0] == 0
    assert tree(Path("out")) == before


def test_a_manifest_from_before_an_option_counts(run: Run, place: Path) -> None:
    """A new option must not make a folder of thousands of videos be done again."""
    assert run("infer", "model.onnx", "d1", "-o", "out")[0] == 0
    manifest, kept = Path("out/manifest.jsonl"), rows(Path("out"))
    for row in kept:
        del row["settings"]["tracking"], row["settings"]["smoothing"]["beta"]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert again(run) == set()
    for row in kept:
        row["settings"]["tracking"] = {"memory": 2.0}
    manifest.write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert again(run) == NAMES


def test_what_begun_is_known(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run leaves results without a row, and the user's list may be missing: they are posert's all the same."""
    from posert.runtime.jobs.manifest import Manifest

    monkeypatch.setenv("POSERT_HOME", "d1/a.mp4/home")
    args = ["infer", "model.onnx", "d1", "-o", "out", "--format", "coco", "--overlay", "drawn"]
    monkeypatch.setattr(Manifest, "add", lambda *_: None)
    monkeypatch.setattr(Manifest, "end", lambda *_: None)
    assert run(*args)[0] == 0
    assert [row["status"] for row in rows(Path("out"))] == ["begun", "begun"]
    monkeypatch.undo()
    monkeypatch.chdir(place)
    monkeypatch.setenv("POSERT_HOME", "d1/a.mp4/home")
    assert run(*args, "--resume")[0] == 0
    assert [row["status"] for row in rows(Path("out"))] == ["done", "done"]
    assert len(rows(Path("out"))[0]["files"]) == 2
    Path("drawn/a.mp4.mp4").write_bytes(b"")
    assert run(*args, "--resume")[0] == 0
    assert Path("drawn/a.mp4.mp4").stat().st_size


def test_rows_are_small(run: Run, place: Path) -> None:
    """Every setting is in them, about a kilobyte, and nothing that grows with a source."""
    assert run("infer", "model.onnx", "d1", "-o", "out")[0] == 0
    assert all(len(line) < 2000 for line in Path("out/manifest.jsonl").read_text().splitlines())
