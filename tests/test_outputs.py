"""What a run may write over: nothing that it reads, nothing that somebody else wrote; and outputs that are no files."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
import tiny
import tiny_topdown
from command import ROOT, Run, found

from posert.runtime.files import atomic


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with all kinds of inputs: `v.mp4`, pictures in `ph`, two models, boxes, a list."""
    monkeypatch.chdir(tmp_path)
    tiny.bright_spot(tmp_path / "model.onnx")
    media.video(tmp_path / "v.mp4", count=4)
    shutil.copy("v.mp4", "v.mp4.partial")
    (tmp_path / "ph").mkdir()
    for number in range(3):
        cv2.imwrite(f"ph/{number}.png", media.numbered(number))
    os.symlink("v.mp4", "link.mp4")
    os.link("v.mp4", "hard.mp4")
    tiny_topdown.pose(tmp_path / "top.onnx", tiny_topdown.detector(tmp_path / "det.onnx"))
    Path("boxes.json").write_text('[{"image_id": 0, "bbox": [0, 0, 9, 9], "score": 1}]')
    for name in ("list.txt", "v.mp4.jsonl"):
        Path(name).write_text("v.mp4\nph/0.png\n")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "model.onnx ph --overlay ph",
        "model.onnx v.mp4 -o v.mp4",
        "model.onnx v.mp4 --overlay v.mp4",
        "model.onnx v.mp4 --overlay link.mp4",
        "model.onnx v.mp4 --overlay hard.mp4",
        "model.onnx link.mp4 --overlay v.mp4",
        "model.onnx v.mp4.partial --overlay v.mp4",
        "model.onnx v.mp4 -o model.onnx",
        "top.onnx v.mp4 -o det.onnx",
        "top.onnx v.mp4 -o x.jsonl --detector det.onnx --overlay det.onnx",
        "top.onnx v.mp4 -o boxes.json --boxes boxes.json",
        "model.onnx @v.mp4.jsonl -o . --overwrite",
        "model.onnx @list.txt v.mp4 --overlay .",
        "model.onnx v.mp4 -o ph --overlay ph/manifest.jsonl",
        "model.onnx v.mp4 -o x.jsonl --overlay ./x.jsonl",
        "model.onnx v.mp4 -o x --format openpose --overlay x/v.mp4",
        "model.onnx ph v.mp4 -o out --overlay ph --workers 2 --overwrite",
    ],
)
def test_no_input_is_written_over(run: Run, place: Path, command: str) -> None:
    """All seven photos of a folder were replaced by their own drawings, exit 0."""
    before = content(place)
    code, _, err = run("infer", *command.split())
    assert code == 1, err
    assert "error: " in err
    assert "hint: " in err
    assert content(place) == before


@pytest.mark.parametrize("form", ["jsonl", "json", "npz", "parquet", "coco", "openpifpaf", "alphapose", "csv"])
def test_a_file_of_posert_is_replaced_and_no_other(run: Run, place: Path, form: str) -> None:
    """It says itself that it is posert's, or the user's list does; a copy elsewhere says so too, or is another file."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    args = ["infer", "model.onnx", "v.mp4", "--format", form, "-o"]
    assert run(*args, "a.out")[0] == run(*args, "a.out")[0] == 0
    Path("mine.out").write_text("mine")
    code, _, err = run(*args, "mine.out")
    assert (code, Path("mine.out").read_text()) == (1, "mine")
    assert "was not written by posert" in err
    assert "--overwrite" in err
    assert run(*args, "mine.out", "--overwrite")[0] == 0
    assert run(*args, "mine.out")[0] == 0
    Path("empty.out").touch()
    assert run(*args, "empty.out")[0] == 0
    assert len({Path(name).read_bytes() for name in ("a.out", "mine.out", "empty.out")}) == 1
    Path("a.out").write_text("changed since")
    assert run(*args, "a.out")[0] == 1
    assert Path("a.out").read_text() == "changed since"


@pytest.mark.parametrize("source", ["v.mp4", "ph/0.png"])
def test_a_drawing_is_replaced_by_the_next(run: Run, place: Path, source: str) -> None:
    drawn = "drawn" + Path(source).suffix
    assert [run("infer", "model.onnx", source, "--overlay", drawn)[0] for _ in range(2)] == [0, 0]
    shutil.copy("hard.mp4", drawn)
    assert run("infer", "model.onnx", source, "--overlay", drawn)[0] == 1
    assert Path(drawn).read_bytes() == Path("v.mp4").read_bytes()


def test_a_home_that_cannot_be_written(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is noted then, so nobody knows whose the file is; nothing else changes."""
    monkeypatch.setenv("POSERT_HOME", "v.mp4/home")
    args = ["infer", "model.onnx", "v.mp4", "--format", "coco", "-o", "a.json"]
    assert [run(*args)[0], run(*args)[0], run(*args, "--overwrite")[0]] == [0, 1, 0]
    assert [run("infer", "model.onnx", "ph", "-o", "out", "--format", "alphapose")[0] for _ in range(2)] == [0, 0]


def test_the_list_of_what_was_written_stays_small(run: Run, place: Path, home: Path) -> None:
    args = ["infer", "model.onnx", "v.mp4", "--format", "coco", "-o"]
    run(*args, "a.json")
    with (home / "written.jsonl").open("a") as file:
        file.write("x" * 5_000_000 + "\n")
    run(*args, "b.json")
    assert (home / "written.jsonl").stat().st_size < 1000
    assert [run(*args, name)[0] for name in ("a.json", "b.json")] == [0, 0]


@pytest.mark.parametrize(("form", "first"), [("openpose", "v_000000000003_keypoints.json"), ("alphapose-cmu", "")])
def test_the_same_command_twice_is_the_same_layout(run: Run, place: Path, form: str, first: str) -> None:
    """`wj` became a folder of folders at the second time; the stale results stayed above them."""
    args = ["infer", "model.onnx", "v.mp4", "-o", "wj", "--format", form]
    assert run(*args)[0] == 0
    before = content(place / "wj")
    assert (first or "alphapose-results.json") in before
    assert run(*args)[0] == 0
    assert content(place / "wj") == before
    Path("wj/mine.txt").write_text("mine")
    code, _, err = run(*args, "--overwrite")
    assert code == 1
    assert "holds what posert did not write" in err
    assert content(place / "wj") == before | {"mine.txt": b"mine"}


def test_a_folder_of_others_stays(run: Run, place: Path) -> None:
    """The user's own `p/v_json/mine.txt` was deleted."""
    Path("p/v_json").mkdir(parents=True)
    Path("p/v_json/mine.txt").write_text("mine")
    args = ["infer", "model.onnx", "v.mp4", "-o", "p", "--format", "openpose"]
    assert run(*args)[0] == 1
    assert content(place / "p") == {"v_json/mine.txt": b"mine"}
    os.rename("p/v_json/mine.txt", "mine.txt")
    assert [run(*args)[0], run(*args)[0]] == [0, 0]
    assert len(content(place / "p")) == 5
    Path("p/v_json/mine.txt").write_text("mine")
    assert run(*args)[0] == run(*args, "--resume")[0] == 1
    assert Path("p/v_json/mine.txt").read_text() == "mine"


@pytest.mark.parametrize("form", ["openpose", "coco"])
def test_what_comes_while_it_writes_stays(place: Path, form: str) -> None:
    """Somebody else puts a file at the output's name after it was found free."""
    from posert.errors import PosertError

    with pytest.raises(PosertError, match="somebody else"), atomic.whole_file(place / "out") as temporary:
        temporary.mkdir() if form == "openpose" else temporary.write_text("[]")
        (place / "out").mkdir()
        (place / "out" / "mine.txt").write_text("mine")
    assert (place / "out" / "mine.txt").read_text() == "mine"
    assert (place / "out.partial").exists()


def test_a_partial_of_others_stays(run: Run, place: Path) -> None:
    cut = media.cut_off_video(place)
    Path("a.jsonl.partial").write_text("mine")
    for _ in range(2):
        assert run("infer", "model.onnx", cut, "-o", "a.jsonl")[0] == 1
    assert Path("a.jsonl.partial").read_text() == "mine"
    assert len(Path("a.jsonl.partial1").read_text().splitlines()) > 5
    assert run("infer", "model.onnx", "v.mp4", "-o", "a.jsonl")[0] == 0
    assert Path("a.jsonl.partial").read_text() == "mine"


def test_a_link_stays_a_link(run: Run, place: Path) -> None:
    Path("real.jsonl").touch()
    os.symlink("real.jsonl", "a.jsonl")
    assert run("infer", "model.onnx", "v.mp4", "-o", "a.jsonl")[0] == 0
    assert Path("a.jsonl").is_symlink()
    assert len(Path("real.jsonl").read_text().splitlines()) == 5


def posert(*args: object, **options: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "posert.cli", *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    return subprocess.Popen(command, env=environment, **({"stderr": subprocess.PIPE} | options))  # type: ignore


def expected(run: Run, form: str = "jsonl") -> bytes:
    assert run("infer", "model.onnx", "v.mp4", "-o", "expected.out", "--format", form)[0] == 0
    return Path("expected.out").read_bytes()


@pytest.mark.parametrize("form", ["jsonl", "json", "npz"])
def test_a_pipe_is_written_through(run: Run, place: Path, form: str) -> None:
    """It became a plain file, and whoever read it waited for ever."""
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    assert run("infer", "model.onnx", "v.mp4", "-o", "pipe", "--format", form)[0] == 0
    reader.join(10)
    assert got == [expected(run, form)]
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize("name", ["stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_name(run: Run, place: Path, name: str) -> None:
    """Into a pipe and into a file; a name such as `/dev/stdout`, which became a plain file, stays what it is."""
    os.symlink("/proc/self/fd/1", "stdout")
    process = posert("infer", "model.onnx", "v.mp4", "-o", name, stdout=subprocess.PIPE)
    assert process.communicate()[0] == expected(run)
    with open("redirected", "wb") as target:
        assert posert("infer", "model.onnx", "v.mp4", "-o", name, stdout=target).wait() == 0
    assert Path("redirected").read_bytes() == expected(run)
    assert os.readlink("stdout") == "/proc/self/fd/1"


@pytest.mark.parametrize("form", ["jsonl", "npz", "coco"])
def test_a_device_stays_a_device(run: Run, place: Path, form: str) -> None:
    """As root `-o /dev/null` made it a plain file; here its twin in another folder."""
    try:
        os.mknod("null", 0o666 | 0o020000, os.stat("/dev/null").st_rdev)
    except PermissionError:
        pytest.skip("needs the right to make a device")
    assert run("infer", "model.onnx", "v.mp4", "-o", "null", "--format", form)[0] == 0
    assert Path("null").is_char_device()


def test_a_second_run_of_a_manifest_is_refused(run: Run, place: Path) -> None:
    """Two runs deleted each other's temporary files, and blamed the disk. After a kill nothing is locked."""
    for number in range(8):
        media.video(place / "ph" / f"{number}.mp4", count=300)
    args = ["infer", "model.onnx", "ph", "-o", "out", "--workers", 1]
    process = posert(*args)
    while not found(Path("out"), "*.mp4.jsonl"):
        assert process.poll() is None
        time.sleep(0.01)
    code, _, err = run(*args)
    assert code == 1
    assert "another run is writing" in err
    assert process.poll() is None, "it was over before"
    assert run("infer", "model.onnx", "ph", "-o", "out", "--shard", "1/4")[0] == 0
    process.kill()
    process.wait()
    assert run(*args, "--resume")[0] == 0
    assert not list(Path("out").rglob(".*"))


def test_what_another_run_is_writing_is_no_source(run: Run, place: Path) -> None:
    """Nor a picture that a file manager hides, such as `._1.png` of macOS."""
    Path("ph/.posert-1-abcdefgh").mkdir()
    for name in ("ph/.posert-1-abcdefgh/whole.png", "ph/._1.png"):
        shutil.copy("ph/0.png", name)
    code, _, err = run("infer", "model.onnx", "ph", "-o", "out")
    assert code == 0
    assert "3 of 3 sources" in err


def test_two_processes_write_one_folder(place: Path) -> None:
    """Names of temporary files held only the process's number: containers share these."""
    code = (
        "import os, sys; os.getpid = lambda: 7\nfrom posert import cli\n"
        "sys.argv = ['posert', 'infer', 'model.onnx', 'v.mp4', '-q', '-o', 'out/' + sys.argv[1]]\ncli.main()"
    )
    media.video(place / "v.mp4", count=300)
    Path("out").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    names = ["a.jsonl", "a.jsonl", "b.jsonl", "b.jsonl"]
    both = [subprocess.Popen([sys.executable, "-c", code, name], env=environment) for name in names]
    assert [process.wait() for process in both] == [0] * 4
    assert sorted(content(place / "out")) == ["a.jsonl", "b.jsonl"]
    assert {len(data.splitlines()) for data in content(place / "out").values()} == {301}


def test_the_longest_name_that_a_file_can_have(run: Run, place: Path) -> None:
    name = "x" * 249 + ".jsonl"
    assert run("infer", "model.onnx", "v.mp4", "-o", name)[0] == 0
    assert len(Path(name).read_text().splitlines()) == 5


def test_a_companion_with_a_name_that_no_file_can_have(run: Run, place: Path) -> None:
    from dataclasses import replace

    from posert.runtime.spec import to_json

    spec = replace(tiny.SPEC, stages=(replace(tiny.STAGE, region="frame", file="x" * 5000, sha256="0" * 64),))
    tiny.bright_spot(place / "long.onnx", metadata=to_json(spec))
    code, _, err = run("infer", "long.onnx", "v.mp4")
    assert code == 1
    assert "needs its companion" in err


@pytest.mark.parametrize("more", [[], ["--overlay", "drawn.mp4"]])
def test_a_reader_that_went_away_is_no_error(place: Path, more: list[str]) -> None:
    media.video(place / "v.mp4", count=400)
    process = posert("infer", "model.onnx", "v.mp4", *more, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_closed_standard_streams(run: Run, place: Path) -> None:
    """With standard error closed nothing was written; the next file took its number."""

    def shell(text: str) -> "subprocess.CompletedProcess[bytes]":
        command = f"{sys.executable} -m posert.cli infer model.onnx {text}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
        return subprocess.run(["bash", "-c", command], capture_output=True, env=environment, check=False)

    assert shell("v.mp4 -o e.jsonl 2>&-").returncode == 0
    assert Path("e.jsonl").read_bytes() == expected(run)
    assert shell("v.mp4 -o e.jsonl <&- >&- 2>&-").returncode == 0
    assert Path("e.jsonl").read_bytes() == expected(run)
    done = shell("v.mp4 >&-")
    assert (done.returncode, b"standard output is closed" in done.stderr) == (1, True)
    done = shell("- --size 4x4 -o n.jsonl </dev/null")
    assert (done.returncode, b"no frame came on standard input" in done.stderr) == (1, True)
    assert not Path("n.jsonl").exists()


@pytest.mark.parametrize("option", ["--fps", "--start", "--stop"])
def test_what_is_no_number(run: Run, place: Path, option: str) -> None:
    code, _, err = run("infer", "model.onnx", "v.mp4", option, "nan", "-o", "n.jsonl")
    assert code == 1
    assert f"error: {option} is no number" in err
    assert not Path("n.jsonl").exists()


@pytest.mark.parametrize("form", ["jsonl", "json", "npz"])
def test_people_that_are_no_numbers_are_left_out(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    """One infinite score ended a JSON result; npz took it, and NaN is its mark for nobody."""
    from posert.runtime.session import Model

    ran = Model.run

    def spoilt(self: Model, stage: str, tensor: np.ndarray) -> dict[str, np.ndarray]:
        outputs = ran(self, stage, tensor)
        return {
            name: np.where(array > 0.3, 3e38, array) if stage == "pose" else array for name, array in outputs.items()
        }

    monkeypatch.setattr(Model, "run", spoilt)
    assert run("infer", "top.onnx", "v.mp4", "-o", "n.out", "--format", form)[0] == 0
    assert "not finite" in caplog.text
    if form == "npz":
        assert np.load("n.out")["keypoints"].shape == (4, 0, 2, 3)
    else:
        assert b'"people":[{' not in Path("n.out").read_bytes()


def test_several_devices_and_one_job(run: Run, place: Path) -> None:
    assert run("infer", "model.onnx", "v.mp4", "--device", "cpu,cpu", "-o", "a.jsonl")[0] == 0
    assert run("infer", "model.onnx", "ph", "--device", "cpu,cpu", "-o", "out", "--workers", 1)[0] == 0


def test_an_interruption_that_left_nothing_says_nothing_of_it(place: Path) -> None:
    os.mkfifo("slow")
    process = posert("infer", "model.onnx", "-", "--size", "8x8", "-o", "a.jsonl", stdin=subprocess.PIPE)
    time.sleep(3)
    process.terminate()
    _, err = process.communicate()
    assert (process.returncode, err) == (130, b"interrupted\n")
