"""Folders of media: what is done again after a break, what is skipped, who does it."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import cv2
import media
import pytest
import tiny
from command import ROOT, Run, found, heeds_signals, rows, tree

from posert import PosertError, __version__
from posert.flags import parse_params
from posert.runtime.files.locks import take
from posert.runtime.jobs import terms, trial
from posert.runtime.jobs.job import Job, Outcome
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.pool import in_processes
from posert.runtime.jobs.recipe import Recipe, Selection, Settings
from posert.runtime.jobs.trial import Share
from posert.runtime.options import ModelOptions


@pytest.fixture
def folder(clips: Path) -> Path:
    """Three videos and a picture in a tree."""
    cv2.imwrite(str(clips / "d 1.png"), media.numbered(2))
    return clips


def times(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("*.mp4.jsonl")}


def test_the_manifest_tells_all(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "z.mp4").write_bytes(b"")
    out = tmp_path / "out"
    code, _, err = run("infer", model, folder, "-o", out)
    assert code == 3
    assert "4 of 5 sources" in err
    written = {row["output"]: row for row in rows(out)}
    assert list(written) == ["b.mp4.jsonl", "c.mp4.jsonl", "d 1.png.jsonl", "deep/a.mp4.jsonl", "z.mp4.jsonl"]
    row = written["deep/a.mp4.jsonl"]
    assert (row["frames"], row["people"], row["status"], row["error"]) == (5, 5, "done", None)
    assert row["source"] == str(folder / "deep" / "a.mp4")
    assert row["bytes"] == (folder / "deep" / "a.mp4").stat().st_size
    assert len(row["model_sha256"]) == 64
    assert row["settings"]["form"] == "jsonl"
    assert written["z.mp4.jsonl"]["status"] == "failed"
    assert "z.mp4" in written["z.mp4.jsonl"]["error"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("nothing", set()),
        ("touch", set()),
        ("source", {"b.mp4.jsonl"}),
        ("remove", {"c.mp4.jsonl"}),
        ("model", {"b.mp4.jsonl", "c.mp4.jsonl", "deep/a.mp4.jsonl"}),
        ("settings", {"b.mp4.jsonl", "c.mp4.jsonl", "deep/a.mp4.jsonl"}),
        ("patch", set()),
        ("version", {"b.mp4.jsonl", "c.mp4.jsonl", "deep/a.mp4.jsonl"}),
        ("torn", {"b.mp4.jsonl", "c.mp4.jsonl", "deep/a.mp4.jsonl"}),
    ],
)
def test_resume_does_what_is_not_done(
    run: Run,
    model: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    again: set[str],
) -> None:
    out, options = tmp_path / "out", []
    assert run("infer", model, folder, "-o", out)[0] == 0
    before = times(out)
    if change == "touch":
        os.utime(folder / "b.mp4", ns=(1, 1))
    if change == "source":
        media.video(folder / "b.mp4", count=4, fps=5)
    if change == "remove":
        (out / "c.mp4.jsonl").unlink()
    if change == "model":
        tiny.bright_spot(model, name="other")
    if change == "settings":
        options = ["--stride", 2]
    if change in ("patch", "version"):
        monkeypatch.setattr(terms, "__version__", __version__ + "9" if change == "patch" else "99" + __version__)
    if change == "torn":
        (out / "manifest.jsonl").write_bytes((out / "manifest.jsonl").read_bytes()[:30])
    code, _, err = run("infer", model, folder, "-o", out, "--resume", *options)
    assert code == 0
    after = times(out)
    assert {name for name in after if after[name] != before.get(name)} == again
    assert len({row["source"] for row in rows(out)}) == len(rows(out)) == 4
    if not again:
        assert "4 sources were finished before" in err


def test_without_resume_everything_is_done_again(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("infer", model, folder, "-o", out)
    before = times(out)
    run("infer", model, folder, "-o", out)
    assert not set(before.values()) & set(times(out).values())


def test_shards_are_the_whole(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    run("infer", model, folder, "-o", tmp_path / "whole")
    for number in (1, 2, 3):
        assert run("infer", model, folder, "-o", tmp_path / "out", "--shard", f"{number}/3")[0] == 0
    assert sum(len(rows(tmp_path / "out", f"manifest-{i}-of-3.jsonl")) for i in (1, 2, 3)) == 4
    _, _, err = run("infer", model, folder, "-o", tmp_path / "out", "--resume")
    assert "4 sources were finished before" in err
    for number in (1, 2, 3):
        (tmp_path / "out" / f"manifest-{number}-of-3.jsonl").unlink()
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1/0"])
def test_no_shard(run: Run, model: Path, folder: Path, tmp_path: Path, text: str) -> None:
    assert run("infer", model, folder, "-o", tmp_path / "out", "--shard", text)[0] == 1


def test_a_list_of_sources(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"# mine\n{folder / 'deep' / 'a.mp4'}\n\n{folder / 'b.mp4'}\n")
    assert run("infer", model, f"@{listed}", "-o", tmp_path / "out")[0] == 0
    assert set(times(tmp_path / "out")) == {"deep/a.mp4.jsonl", "b.mp4.jsonl"}


def test_a_folder_with_one_video_gives_a_folder(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    media.video(tmp_path / "in" / "a.mp4", count=2)
    assert run("infer", model, tmp_path / "in", "-o", tmp_path / "out", "--format", "openpose")[0] == 0
    assert len(list((tmp_path / "out" / "a_json").iterdir())) == 2


def test_worker_processes_write_the_same_tree(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "z.mp4").write_bytes(b"no video")
    options = ["--format", "npz", "--track", "--smooth", "--features"]
    assert run("infer", model, folder, "-o", tmp_path / "one", *options, "--workers", 1)[0] == 3
    assert run("infer", model, folder, "-o", tmp_path / "two", *options, "--workers", 2)[0] == 3
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_ctrl_c_loses_only_what_is_in_flight(model: Path, folder: Path, tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group: two videos are in flight, the other eight are there or to be done."""
    for number in range(6):
        media.video(folder / f"{number}.mp4", count=400)
    command = [sys.executable, "-m", "posert.cli", "infer", str(model), str(folder), "-o"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    whole, out = tmp_path / "whole", tmp_path / "out"
    more = ["--workers", "2", "--resume"]
    assert subprocess.run([*command, str(whole), *more], env=environment, check=False).returncode == 0
    process = subprocess.Popen(
        [*command, str(out), *more], env=environment, start_new_session=True, preexec_fn=heeds_signals
    )
    while not (len(found(out, "*.mp4.jsonl")) > 2 and found(out, ".posert-*/whole.jsonl")):
        assert process.poll() is None, "it was over before it could be interrupted"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    names = {path.name for path in out.rglob("*")}
    assert not [name for name in names if name.startswith(".")]
    done = {name: data for name, data in tree(out).items() if name.endswith(".mp4.jsonl")}
    noted = {row["output"] for row in rows(out) if row["status"] == "done"}
    assert len(set(done) - noted) <= 2  # whole, but the worker had no time to say so
    assert done.items() <= tree(whole).items()
    assert len([name for name in names if name.endswith(".partial")]) <= 2
    before = {name: time_ns for name, time_ns in times(out).items() if name in noted}
    assert subprocess.run([*command, str(out), *more], env=environment, check=False).returncode == 0
    assert before.items() <= times(out).items()
    assert tree(out) == tree(whole)


def test_a_dying_worker_fails_its_job_alone(model: Path, folder: Path, tmp_path: Path) -> None:
    jobs = [Job(str(path), tmp_path / (path.stem + ".jsonl"), None) for path in sorted(folder.rglob("*.mp4"))]
    endless = tmp_path / "fifo.mp4"
    os.mkfifo(endless)

    def kill_children() -> None:
        for child in multiprocessing.active_children():
            child.kill()

    results = in_processes(Recipe(str(model)), [Job(str(endless), tmp_path / "x.jsonl", None), *jobs], 1)
    threading.Timer(8, kill_children).start()
    outcomes = list(results)
    assert outcomes[0].error is not None
    assert "died" in outcomes[0].error.what
    assert [outcome.error for outcome in outcomes[1:]] == [None] * 3
    assert all(outcome.frames for outcome in outcomes[1:])


@pytest.mark.parametrize(
    ("together", "apart", "chosen"), [(100.0, 200.0, 2), (100.0, 110.0, 1), (100.0, 0.0, 1), (1e9, 2e9, 1)]
)
def test_workers_are_used_if_they_pay(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, together: float, apart: float, chosen: int
) -> None:
    """Clearly faster, hardly faster, a trial that failed, and work that one process has done before two start."""
    monkeypatch.setattr(trial, "_rate", lambda *_: together)
    monkeypatch.setattr(trial, "_rate_apart", lambda *_: (apart, 1.0))
    monkeypatch.setattr(trial, "frame_count", lambda _: 10**6)
    jobs = plan([str(folder)], folder / "out", None, "jsonl")
    assert trial.choose_workers(Recipe(str(model), options=ModelOptions(device="cpu", threads=2)), jobs) == chosen


@pytest.mark.parametrize(
    ("together", "apart", "share"),
    [
        (100.0, (200.0, 0.95), Share(1.0, 0.0, 1)),
        (100.0, (200.0, 0.4), Share(0.5, 0.0, 1)),  # it waits for something: another one has room beside it
        (100.0, (80.0, 0.9), Share(2, 0.0, 2)),
        (0.0, (0.0, 0.0), Share(1.0, 0.0, 1)),  # too short for an answer
    ],
)
def test_the_share_of_a_worker_on_a_cluster(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, together: float, apart: tuple[float, float],
    share: Share,
) -> None:  # fmt: skip
    monkeypatch.setattr(trial, "_rate", lambda *_: together)
    monkeypatch.setattr(trial, "_rate_apart", lambda *_: apart)
    monkeypatch.setattr(trial, "frame_count", lambda _: 10**6)
    jobs = plan([str(folder)], folder / "out", None, "jsonl")
    recipe = Recipe(str(model), options=ModelOptions(device="cpu", threads=2))
    assert trial.choose_share(recipe, jobs, gpu=False) == share


@pytest.mark.parametrize(
    ("rates", "share"),
    [
        ([100.0, 110.0], Share(1.5, 1.0)),
        ([100.0, 150.0, 160.0], Share(1.5, 0.5)),
        ([100.0, 150.0, 220.0], Share(1.5, 0.25)),
        ([100.0, 150.0, 0.0], Share(1.5, 0.5)),  # four do not fit into its memory
        ([0.0], Share(1.0, 1.0)),
    ],
)
def test_the_share_of_a_gpu(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, rates: list[float], share: Share
) -> None:
    left = iter(rates)
    monkeypatch.setattr(trial, "_rate_apart", lambda *_: (next(left), 1.3))
    jobs = plan([str(folder)], folder / "out", None, "jsonl")
    assert trial.choose_share(Recipe(str(model)), jobs, gpu=True) == share


def test_whatever_is_wrong_in_the_trial_the_jobs_say_it(
    run: Run, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An odd error in the trial ended the run with a traceback."""

    def odd(*_: object, **__: object) -> None:
        raise TypeError("odd")

    monkeypatch.setattr(trial, "run_job", odd)
    monkeypatch.setattr(trial, "frame_count", lambda _: 10**6)
    assert run("infer", model, folder, "-o", tmp_path / "out", "--threads", 2)[0] == 0


def test_the_trial_runs_in_processes_and_leaves_nothing(model: Path, folder: Path, tmp_path: Path) -> None:
    source = str(media.video(folder / "long.mp4", count=400))
    jobs = [Job(source, tmp_path / name / "out.jsonl", None) for name in ("0", "1")]
    recipe = Recipe(str(model), options=ModelOptions(device="cpu"))
    rate, cpus = trial._rate_apart(recipe, jobs)
    assert rate > 0
    assert 0 < cpus < 9
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith(".")]
    assert trial._rate_apart(replace(recipe, model=str(folder / "none.onnx")), jobs) == (0, 0)


def test_several_devices_are_shared_out(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    """A worker for each of them, by turns if there are more; as on one, whatever they are."""
    several = Recipe(str(model), options=ModelOptions(device="cuda:0,cuda:1"))
    jobs = plan([str(folder)], tmp_path / "out", None, "jsonl")
    assert trial.choose_workers(several, jobs) == 2
    assert [several.for_worker(n).options.device for n in range(4)] == ["cuda:0", "cuda:1"] * 2
    assert run("infer", model, folder, "-o", tmp_path / "two", "--device", "cpu,cpu")[0] == 0
    assert run("infer", model, folder, "-o", tmp_path / "one", "--device", "cpu")[0] == 0
    results = [
        {name: made for name, made in tree(tmp_path / n).items() if "manifest" not in name} for n in ("one", "two")
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("form", ["jsonl", "npz", "openpose", "trc"])
def test_what_a_killed_run_left_is_removed(run: Run, model: Path, folder: Path, tmp_path: Path, form: str) -> None:
    """And nothing else: files of others were taken for leftovers by their names, and those that a second run wrote."""
    out = tmp_path / "out"
    run("infer", model, folder, "-o", out, "--format", form)
    before = tree(out)
    for name in (".posert-123-abcdefgh", ".posert-124-unlocked", ".posert-mine"):
        (out / name).mkdir()
    for name in (".posert-123-abcdefgh/lock", ".posert-123-abcdefgh/whole.jsonl", ".b.mp4.123.jsonl", ".b.mp4.1.npz"):
        (out / name).write_text("{")
    (out / ".posert-125-in_use_1").mkdir()
    with take(out / ".posert-125-in_use_1" / "lock"):
        run("infer", model, folder, "-o", out, "--format", form)
    left = {path.name for path in out.iterdir() if path.name.startswith(".")}
    assert left == {".posert-mine", ".posert-125-in_use_1", ".b.mp4.123.jsonl", ".b.mp4.1.npz"}
    assert before.items() <= tree(out).items()


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Job("a.mp4", Path("out/a.jsonl"), None), 3, 2, 0.5),
        Outcome(Job("a.mp4", None, Path("a.png")), error=PosertError("what", "hint"), unusable=True),
    ],
)
def test_an_outcome_crosses_processes(outcome: Outcome) -> None:
    again = pickle.loads(pickle.dumps(outcome))
    assert replace(again, error=outcome.error) == outcome
    if outcome.error is not None:
        assert (type(again.error), again.error.what, again.error.hint) == (PosertError, "what", "hint")


def test_a_model_that_no_worker_can_open_ends_the_run(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no network")
    jobs = plan([str(folder)], tmp_path / "out", None, "jsonl")
    with pytest.raises(PosertError, match="cannot be opened as an ONNX model") as found:
        list(in_processes(Recipe(str(tmp_path / "damaged.onnx")), jobs, 2))
    assert found.value.hint


def test_what_a_manifest_says_of_the_settings() -> None:
    """Whoever resumes compares these: a value that results depend on, in the words of the command line."""
    options = ModelOptions(device="cuda", threads=3, detector=Path("d.onnx"), params=parse_params(["a=1", "b=x"]))
    record = Recipe("nano", Settings(selection=Selection(size_wh=(4, 3))), options).record()
    assert json.loads(json.dumps(record)) == record
    assert (record["params"], record["detector"], record["selection"]["size_wh"]) == (["a=1", "b=x"], "d.onnx", [4, 3])
    assert not {"arena", "device", "latency", "places", "threads", "workers"} & record.keys()
    left_out = {"arena", "device", "latency", "places", "threads", "workers"}
    assert record.keys() == {field.name for kind in (Settings, ModelOptions) for field in fields(kind)} - left_out
