"""`posert bench`: what is measured, by whom, in which order, and what is said of it."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
import tiny_mmpose
from command import Run

from posert.errors import PosertError
from posert.export.nano import clip
from posert.measure import sides
from posert.measure.bench import About, Bench, Round, Task, decode_only, figures, peak_mb
from posert.measure.bench_table import as_text
from posert.measure.calls import network_calls
from posert.measure.sides import OwnSide, RtmlibSide, compare
from posert.runtime.media.read import frames
from posert.runtime.options import ModelOptions
from posert.runtime.session import open_model

CPU = ModelOptions(device="cpu", threads=1)
PAGE = (Path(__file__).parent.parent / "docs" / "bench.md").read_text(encoding="utf-8").replace("\\\n", "")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
MACHINE = {"processor": "abacus", "cores": 2, "load": "0.1", "onnxruntime": "1.32.0"}


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(media.video(tmp_path / "walk.mp4", count=9))


def test_a_round_has_every_step_and_the_frames_one_by_one(model: Path, video: str) -> None:
    bench = Bench(Task(str(model), video, 6, CPU))
    one = bench.round()
    known = [one.read, one.prepare, one.network, one.decode, one.write, one.limit, one.loop, one.cpu]
    assert all(ms is not None and ms > 0 for ms in known)
    assert len(one.alone) == 6
    assert (bench.about.device, bench.about.threads, bench.about.people) == ("cpu", 1, 1.0)
    assert bench.about.stages[0][0] == "direct"


def test_figures_are_medians_and_quantiles() -> None:
    rounds = [Round(loop=ms, cpu=2 * ms, read=1.0, limit=8.0, alone=(ms, ms + 1)) for ms in (10.0, 20.0, 16.0)]
    found = figures(rounds)
    assert found.fps == 1000 / 16
    assert found.fps_spread == (50.0, 100.0)
    assert (found.cpu, found.read, found.write) == (32.0, 1.0, None)
    assert found.share == 0.5
    assert found.p50 == np.quantile([10, 11, 16, 17, 20, 21], 0.5)
    assert found.p99 == np.quantile([10, 11, 16, 17, 20, 21], 0.99)
    assert figures([Round(5.0, 9.0)]).p50 is None


def test_the_limits_network_calls_are_those_of_the_loop(model: Path, video: str) -> None:
    with open_model(model, CPU) as opened:
        calls = network_calls(opened, list(frames(video)))
    assert [stage for stage, _ in calls] == ["pose"] * 9
    assert calls[0][1].shape == (1, 64, 64, 3)
    assert any((calls[0][1] != tensor).any() for _, tensor in calls[1:])  # copies, not one buffer nine times
    assert decode_only(video, 4) == 4
    assert decode_only(video, 400) == 9


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_memory_is_the_processs_own() -> None:
    """`ru_maxrss` of a child began with its parent's."""
    mb = peak_mb()
    assert mb is not None
    assert 20 < mb < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    held = np.ones(40 * 2**20, np.uint8)
    more = peak_mb()
    assert more is not None
    assert held.all()


def test_the_sides_take_turns(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Fake:
        def __init__(self, task: Task) -> None:
            if task.model == "broken":
                raise PosertError("it cannot be opened", "mend it")
            self.name, self.about = task.model, About("cpu", 1, 2.0, None)

        def round(self) -> Round:
            order.append(self.name)
            if self.name == "dies" and order.count("dies") == 2:
                raise PosertError("it died", "")
            return Round(10.0, 20.0)

        def close(self) -> None:
            order.append(f"{self.name} closed")

    monkeypatch.setattr(sides, "OwnSide", Fake)
    tasks = [(name, Task(name, "v.mp4")) for name in ("a", "broken", "dies", "b")]
    counted: list[int] = []
    rows = compare(tasks, 3, None, counted.append)
    assert order == ["a", "dies", "b", "a", "dies", "b", "a", "b", "b closed", "dies closed", "a closed"]
    assert counted == [1, 2, 3]
    assert [row.error and row.error.what for row in rows] == [None, "it cannot be opened", "it died", None]
    assert [len(row.rounds) for row in rows] == [3, 0, 1, 3]
    text = as_text(rows, MACHINE, "v.mp4")
    assert text.startswith("abacus, 2 cores, load 0.1, ONNX Runtime 1.32.0; v.mp4\n")
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["a", "b", "broken", "dies"]
    assert "100.0" in text
    assert text.endswith("dies on auto: it died")


def test_a_process_for_each_and_its_errors_come_across(model: Path, video: str, tmp_path: Path) -> None:
    side = OwnSide(Task(str(model), video, 3, CPU))
    assert side.round().loop > 0
    side.close()
    with pytest.raises(PosertError, match="there is no model file"):
        OwnSide(Task(str(tmp_path / "none.onnx"), video, 3, CPU))
    killed = OwnSide(Task(str(model), video, 3, CPU))
    killed._process.kill()
    with pytest.raises(PosertError, match="died"):
        killed.round()
    killed.close()


def test_the_command(run: Run, model: Path, video: str, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    code, text, _ = run(
        "bench", f"mine={model}", "--source", video, "--rounds", 2, "--frames", 5, "--devices", "cpu,tpu", "--json", out
    )
    assert code == 3  # of two rows one failed
    assert text.splitlines()[2].split()[:2] == ["mine", "cpu"]
    assert "tpu" in text.splitlines()[3]
    record = json.loads(out.read_text())
    assert (record["bench"], record["source"], record["frames"]) == (1, video, 5)
    good, bad = record["rows"]
    assert (good["model"], good["device"], good["error"], len(good["rounds"])) == ("mine", "cpu", None, 2)
    assert good["figures"]["fps"] > 0
    assert bad["figures"] is None
    assert "tpu" in bad["error"]
    assert run("bench", model, "--source", video, "--devices", "tpu")[0] == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--against", "mmpose"], "write --against rtmlib"),
        (["--against", "rtmlib"], "rtmlib-env/bin/pip install rtmlib"),
        (["--source", "none.mp4"], "none.mp4"),
        (["--size", "large"], "WIDTHxHEIGHT"),
    ],
)
def test_what_is_refused(run: Run, model: Path, more: list[str], message: str) -> None:
    code, _, err = run("bench", model, "--rounds", 1, *more)
    assert code == 1
    assert message in err


def test_the_drawn_clip_in_any_size(tmp_path: Path) -> None:
    path = clip.write_as(tmp_path / "clip.mp4", (320, 180), 5)
    pictures = [frame.bgr for frame in frames(str(path))]
    assert [picture.shape for picture in pictures] == [(180, 320, 3)] * 5
    small = cv2.resize(clip.render(4)[0], (320, 180), interpolation=cv2.INTER_AREA)
    assert np.abs(pictures[4].astype(int) - small).mean() < 12


def test_without_rtmlib_its_row_says_what_to_do(model: Path, video: str, tmp_path: Path) -> None:
    ours = About("cpu", 1, 1.0, None, (("detect", "d.onnx", (64, 64), {}), ("simcc", "p.onnx", (64, 64), {})))
    for python, said in ((sys.executable, "rtmlib"), (str(tmp_path / "none"), "cannot be run")):
        with pytest.raises(PosertError, match=said) as error:
            RtmlibSide(python, Task("p.onnx", video, 2, CPU), ours)
        assert "python -m venv" in error.value.hint
    with pytest.raises(PosertError, match="no class for"):
        RtmlibSide(sys.executable, Task("p.onnx", video, 2, CPU), replace(ours, stages=ours.stages[1:]))


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what docs/bench.md names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "home"))
    media.video(tmp_path / "walk.mp4", count=5)
    return tmp_path


def run_all(run: Run, commands: list[str], *more: str) -> list[str]:
    said = []
    for command in commands:
        code, text, err = run(*command.split()[1:], *(more if command.startswith("posert bench") else ()))
        assert code == 0, f"{command}: {err}"
        said.append(text)
    return said


def test_the_pages_commands(run: Run, sandbox: Path) -> None:
    run_all(run, [command for command in COMMANDS if "rtmlib" not in command], "--frames", "3", "--rounds", "1")
    assert (sandbox / "nano.json").exists()
    assert (sandbox / "walk.jsonl").exists()


@pytest.mark.export
@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for the interpreter")
def test_the_pages_command_with_rtmlib(run: Run, sandbox: Path, assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is this one; the lines that make another are not run."""
    pytest.importorskip("rtmlib")
    made = [command for command in COMMANDS if "rtmlib" in command]
    assert [command.split()[0] for command in made] == ["python", "rtmlib-env/bin/pip", "posert"]
    (sandbox / "rtmlib-env" / "bin").mkdir(parents=True)
    python = sandbox / "rtmlib-env" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("POSERT_MIRROR", str(assets / "models"))
    (text,) = run_all(run, made[2:], "--frames", "3", "--rounds", "1")
    assert "rtmlib on alphapose-ultralight-simplepose" in text


@pytest.mark.export
def test_rtmlib_runs_the_same_files(assets: Path, video: str, tmp_path: Path) -> None:
    pytest.importorskip("rtmlib")
    pose = tiny_mmpose.simcc(tmp_path / "pose.onnx", (192, 256), 17)
    people = {"min_score": 0.3, "max_iou": 0.6}
    found = ("detect", str(assets / "models" / "yolox_nano.onnx"), (416, 416), people)
    ours = About("cpu", 1, 1.0, None, (found, ("simcc", str(pose), (192, 256), {})))
    side = RtmlibSide(sys.executable, Task(str(pose), video, 4, CPU), ours)
    assert side.round().loop > 0
    side.close()
