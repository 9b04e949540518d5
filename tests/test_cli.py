"""The command as a user runs it: what it prints, where it writes, how it fails."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
import tiny
from command import ROOT, Run, heeds_signals


def spawn(*args: object, **options: object) -> "subprocess.Popen[bytes]":
    """`posert ...` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    command = [sys.executable, "-m", "posert.cli", *map(str, args)]
    pipe = subprocess.PIPE
    started = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "env": environment, "preexec_fn": heeds_signals}
    return subprocess.Popen(command, **(started | options))  # type: ignore


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_frame_has_its_line(run: Run, model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=7)
    code, out, err = run("infer", model, video)
    assert code == 0
    header, *frames = lines(out)
    assert header["posert"] == 1
    assert header["model"] == "bright-spot"
    assert header["source"] == str(video)
    assert header["skeleton"]["names"][0] == "nose"
    assert [frame["frame"] for frame in frames] == list(range(7))
    assert [frame["time_s"] for frame in frames] == pytest.approx([i / 10 for i in range(7)])
    assert all(frame["size_wh"] == [64, 48] for frame in frames)
    assert "7 frames" in err
    person = frames[3]["people"][0]
    assert set(person) == {"score", "box_xyxy", "keypoints"}
    assert len(person["keypoints"]) == 17
    assert all(0 <= x <= 64 and 0 <= y <= 64 for x, y, _ in person["keypoints"])


def test_frames_without_people_are_there(run: Run, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=5)
    code, out, _ = run("infer", "nano", video)
    assert code == 0
    assert [frame["people"] for frame in lines(out)[1:]] == [[]] * 5


def test_one_source_to_files(run: Run, model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=6, size_wh=(64, 64))
    out, drawn = tmp_path / "new" / "a.jsonl", tmp_path / "new" / "drawn.mp4"
    code, printed, err = run("infer", model, video, "-o", out, "--overlay", drawn, "--stride", 2)
    assert (code, printed) == (0, "")
    assert str(out) in err
    assert str(drawn) in err
    assert [frame["frame"] for frame in lines(out.read_text())[1:]] == [0, 2, 4]
    capture = cv2.VideoCapture(str(drawn))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (3, 5)
    assert sorted(path.name for path in out.parent.iterdir()) == ["a.jsonl", "drawn.mp4"]


def test_overlay_picture_shows_the_skeleton(run: Run, model: Path, tmp_path: Path) -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), image)
    code, _, _ = run("infer", model, tmp_path / "grey.png", "--overlay", tmp_path / "drawn.png")
    changed = np.argwhere((cv2.imread(str(tmp_path / "drawn.png")) != image).any(axis=2))
    assert code == 0
    assert np.abs(changed.mean(axis=0) - 50).max() < 3  # brightness 0.5: every keypoint in the middle


def test_folder_is_mirrored_and_a_broken_file_is_skipped(run: Run, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    media.video(folder / "deep" / "a.mp4", count=3)
    cv2.imwrite(str(folder / "b.png"), media.numbered(2))
    (folder / "broken.mp4").write_bytes(b"not a video")
    code, _, err = run("infer", model, folder, "-o", tmp_path / "out", "--overlay", tmp_path / "drawn")
    assert code == 3
    assert "error:" in err
    assert "broken.mp4" in err
    assert "2 of 3 sources" in err
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {os.path.join("deep", "a.mp4.jsonl"), "b.png.jsonl", "manifest.jsonl"}
    assert (tmp_path / "drawn" / "b.png").is_file()
    assert (tmp_path / "drawn" / "deep" / "a.mp4.mp4").is_file()


def test_several_sources_on_standard_output(run: Run, model: Path, tmp_path: Path) -> None:
    one, two = media.video(tmp_path / "a.mp4", count=2), media.video(tmp_path / "b.mp4", count=1)
    code, out, _ = run("infer", model, one, two, "-q")
    assert code == 0
    assert run("infer", model, one, two, "-q", "-o", "-")[:2] == (0, out)  # it wrote a file called -
    assert [("source" in line, line.get("frame")) for line in lines(out)] == [
        (True, None), (False, 0), (False, 1), (True, None), (False, 0),
    ]  # fmt: skip


def test_two_sources_never_write_one_file(run: Run, model: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        media.video(tmp_path / name / "a.mp4", count=1)
    code, _, err = run("infer", model, tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4", "-o", tmp_path / "out")
    assert code == 1
    assert "several sources would write" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["infer", "none.onnx", "{video}"], "no model file none.onnx"),
        (["infer", "{model}", "none.mp4"], "none.mp4 does not exist"),
        (["infer", "{model}", "{video}", "--device", "tpu"], "unknown device 'tpu'"),
        (["infer", "{model}", "{video}", "--format", "xml"], "unknown format 'xml'"),
        (["infer", "{model}", "-", "--size", "big"], "--size 'big'"),
        (["infer", "{model}", "{video}", "-o", "{video}/out.jsonl"], "cannot be written"),
        (["infer", "{model}", "{video}", "--overlay", "one.png"], "several frames"),
        (["infer", "{model}", "{video}", "--start", "99", "--overlay", "{folder}/x.mp4"], "no frame was selected"),
        (["info", "{video}"], "cannot be opened as an ONNX model"),
        (["eval", "{model}", "--coco", "none.json", "--images", "."], "not a COCO keypoint file"),
    ],
)
def test_mistakes_get_an_error_and_a_hint(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"model": model, "video": media.video(tmp_path / "a.mp4", count=2), "folder": tmp_path}
    code, _, err = run(*(arg.format(**places) for arg in args))
    assert code == 1
    assert re.search(r"^error: .*" + re.escape(message), err, re.MULTILINE)
    assert re.search(r"^hint: ", err, re.MULTILINE)
    assert "Traceback" not in err


@pytest.mark.parametrize("args", [["infer"], ["infer", "nano"], ["zap"], ["infer", "nano", "a.mp4", "--stride", "0"]])
def test_wrong_usage_is_2(run: Run, args: list[str]) -> None:
    assert run(*args)[0] == 2


def test_a_full_disk_leaves_the_old_file_and_no_rest(model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=40)
    out = tmp_path / "out" / "a.jsonl"
    out.parent.mkdir()
    out.write_text('{"posert":1}\n')

    def limit() -> None:  # a file may grow to 4 kB, as if the disk were full then
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    process = spawn("infer", model, video, "-o", out, preexec_fn=limit)
    _, err = process.communicate()
    assert process.returncode == 1
    assert b"error: " in err
    assert b"cannot be written" in err
    assert out.read_text() == '{"posert":1}\n'
    assert [path.name for path in out.parent.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_keeps_what_was_finished(model: Path, tmp_path: Path, sent: signal.Signals) -> None:
    out = tmp_path / "a.jsonl"
    process = spawn("infer", model, "-", "--size", "32x32", "-o", out)
    assert process.stdin is not None
    for index in range(200):
        process.stdin.write(bytes([index]) * 32 * 32 * 3)
    process.stdin.flush()
    for _ in range(600):  # the first frames have been read when the file appears
        if list(tmp_path.glob(f".posert-{process.pid}-*/*.jsonl")):
            break
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(sent)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert b"interrupted" in err
    assert not out.exists()
    kept = lines((tmp_path / "a.jsonl.partial").read_text())
    assert [line["frame"] for line in kept[1:]] == list(range(len(kept) - 1))


STUCK = """
import sys, time
from posert import cli
from posert.runtime.session import Model

def run(*_):
    print("begun", flush=True)
    time.sleep(600)

Model.run = run
cli.main()
"""


@pytest.mark.parametrize("command", ["infer", "eval"])
def test_an_interruption_waits_for_no_network(model: Path, tmp_path: Path, command: str) -> None:
    """A network or a decoder that has begun cannot be hurried; the process waited for it."""
    picture = tmp_path / "1.png"
    cv2.imwrite(str(picture), media.numbered(1))
    rest: list[object] = [model, picture]
    if command == "eval":
        coco = tmp_path / "coco.json"
        category = {"id": 1, "name": "person", "keypoints": list(tiny.NAMES), "skeleton": []}
        image = {"id": 1, "file_name": "1.png", "width": 64, "height": 48}
        coco.write_text(json.dumps({"images": [image], "annotations": [], "categories": [category]}))
        rest = [model, "--coco", coco, "--images", tmp_path]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, command, *map(str, rest)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".typing")}, preexec_fn=heeds_signals,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(30) == 130
    finally:
        process.kill()
    assert process.stderr.read() == b"interrupted\n"


def test_a_reader_that_goes_away(model: Path, tmp_path: Path) -> None:
    video = media.video(tmp_path / "a.mp4", count=200)
    process = spawn("infer", model, video)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    assert process.wait() == 1


@pytest.mark.parametrize("form", ["jsonl", "json", "npz", "parquet", "openpose", "alphapose", "coco", "csv"])
def test_no_frame_selected_is_an_error_whatever_is_written(run: Run, model: Path, tmp_path: Path, form: str) -> None:
    """It was an empty file, a file without its arrays, or "free some space", by the format."""
    video = media.video(tmp_path / "a.mp4", count=3)
    for selected in (["--start", 9], ["--stop", 0]):
        code, _, err = run("infer", model, video, "-o", tmp_path / "out", "--format", form, *selected)
        assert code == 1
        assert "a.mp4: no frame was selected" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "model.onnx"]


def test_nothing_on_standard_input_is_an_error(tmp_path: Path, model: Path) -> None:
    """`false | posert infer nano - -o out.jsonl` ended well."""
    process = spawn("infer", model, "-", "--size", "8x6", "-o", tmp_path / "out.jsonl")
    _, err = process.communicate(b"")
    assert process.returncode == 1
    assert b"no frame" in err
    assert not (tmp_path / "out.jsonl").exists()


def test_raw_frames_from_a_pipe(tmp_path: Path, model: Path) -> None:
    process = spawn("infer", model, "-", "--size", "8x6", "--fps", "4", "-q")
    out, err = process.communicate(bytes(8 * 6 * 3 * 3))
    assert process.returncode == 0, err
    assert [frame["time_s"] for frame in lines(out.decode())[1:]] == [0, 0.25, 0.5]


def test_a_cut_off_video_keeps_its_frames(run: Run, model: Path, tmp_path: Path) -> None:
    code, _, err = run("infer", model, media.cut_off_video(tmp_path), "-o", tmp_path / "out.jsonl")
    assert code == 1
    assert "cut off" in err
    assert not (tmp_path / "out.jsonl").exists()
    assert len(lines((tmp_path / "out.jsonl.partial").read_text())) > 5


def test_info_and_doctor(run: Run) -> None:
    code, out, _ = run("info", "nano")
    assert code == 0
    assert "posert-nano" in out
    assert "left_hip" in out
    code, out, _ = run("doctor")
    assert code == 0
    assert "CPUExecutionProvider" in out
    assert re.search(r"^kernels  .*(kernels-[\w-]+\.\w+|as they are needed)$", out, re.M)
