"""One frame at a time: how many threads that takes, and that every command and Python open a model so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import media
import pytest
import tiny
from command import Run

from posert import ModelOptions, open_model
from posert.runtime import latency, share
from posert.runtime.jobs.lanes import lane_count
from posert.runtime.jobs.planning import plan
from posert.runtime.jobs.recipe import Recipe
from posert.runtime.jobs.trial import choose_workers
from posert.runtime.latency import call_ms, soonest
from posert.runtime.share import shared_out, thread_counts

FRAME = {"region": "frame"}


@pytest.mark.parametrize(("cores", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 3, 6]), (16, [1, 2, 4, 8, 16])])
def test_which_numbers_of_threads_are_tried(monkeypatch: pytest.MonkeyPatch, cores: int, expected: list[int]) -> None:
    monkeypatch.setattr(share, "cpu_cores", lambda: cores)
    assert thread_counts(ModelOptions(latency=True)) == expected
    assert thread_counts(ModelOptions()) == [cores]
    assert thread_counts(ModelOptions(latency=True, threads=3)) == [3]  # what is asked for is not tried


@pytest.mark.parametrize(
    ("taken_ms", "expected", "device"),
    [
        ((8.0, 5.0, 3.0), 2, "cpu"),
        ((8.0, 5.0, 4.9), 1, "cpu"),  # leaves cores to the reader
        ((4.0, 5.0, 3.9), 0, "cpu"),
        ((8.0, 5.0, 3.0), 0, "cuda:0"),
    ],
)
def test_more_threads_must_pay(
    monkeypatch: pytest.MonkeyPatch, taken_ms: tuple[float, ...], expected: int, device: str
) -> None:
    closed: list[int] = []
    models: Any = [
        SimpleNamespace(number=number, device=device, close=lambda number=number: closed.append(number))
        for number in range(len(taken_ms))
    ]
    monkeypatch.setattr(latency, "call_ms", lambda model: taken_ms[model.number])
    found: Any = soonest(iter(models))
    assert found.number == expected
    assert sorted(closed) == ([] if device != "cpu" else [n for n in range(len(taken_ms)) if n != expected])


@pytest.mark.parametrize("region", ["frame", "follow"])
def test_a_model_opened_for_it_has_one_frame_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setattr(share, "cpu_cores", lambda: 4)
    with open_model(tiny.bright_spot(tmp_path / "m.onnx", region=region), latency=True, workers=4, device="cpu") as one:
        assert one.workers == 1
        assert one.threads in (1, 2, 4)
        assert call_ms(one) > 0
        wanted = shared_out(one.spec, ModelOptions(latency=True, threads=one.threads))
        assert (wanted.workers, wanted.threads, bool(wanted.spin_us)) == (1, one.threads, one.threads > 1)


def test_one_source_at_a_time_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        media.video(tmp_path / "in" / name, count=9)
    jobs = plan([str(tmp_path / "in")], tmp_path / "out", None, "jsonl")
    for soon, lanes in ((False, 2), (True, 1)):
        options = ModelOptions(device="cpu", threads=2, latency=soon)
        recipe = Recipe(str(tiny.bright_spot(tmp_path / "m.onnx")), options=options)
        assert lane_count(recipe, jobs) == lanes
    assert choose_workers(recipe, jobs) == 1


def test_it_changes_no_result_and_wants_no_batch(run: Run, tmp_path: Path) -> None:
    model, video = tiny.bright_spot(tmp_path / "m.onnx", region="frame"), media.video(tmp_path / "v.mp4", count=6)
    plain, soon = run("infer", model, video), run("infer", model, video, "--latency")
    assert soon[:2] == plain[:2]
    code, _, err = run("infer", model, video, "--latency", "--batch", 2)
    assert code == 1
    assert "--latency" in err
    assert "--batch" in err


@pytest.mark.parametrize(("command", "entry"), [("serve", "run.serve"), ("live", "live.live")])
def test_the_servers_take_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, entry: str
) -> None:
    pytest.importorskip("uvicorn")
    given: list[ModelOptions] = []
    monkeypatch.setattr(f"posert.serve.{entry}", lambda *all_of: given.extend(x for x in all_of if hasattr(x, "arena")))
    assert run(command, tiny.bright_spot(tmp_path / "m.onnx"), "--latency")[0] == 0
    assert [options.latency for options in given] == [True]
