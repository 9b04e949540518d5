"""The number of threads that a loop itself chooses, and that no result depends on it."""

from pathlib import Path
from typing import Any

import media
import numpy as np
import pytest
import tiny
from command import Run

from posert import ModelOptions
from posert.runtime import contest, share
from posert.runtime.contest import Contest
from posert.runtime.session import open_model
from posert.runtime.share import shared_out

CALLS = contest._BEFORE + contest._BLOCK * contest._BLOCKS + 1


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Session:
    def __init__(self, name: str, clock: Clock, ms: float, output: float = 1.0) -> None:
        self.name, self.clock, self.ms, self.output, self.calls = name, clock, ms, output, 0

    def run(self, *_: object) -> list[np.ndarray]:
        self.calls += 1
        self.clock.now += self.ms / 1000
        return [np.array([self.output, np.nan], np.float32)]


@pytest.mark.parametrize(
    ("rivals_ms", "rivals_output", "winner"),
    [
        (5.0, 1.0, "rival"),
        (9.8, 1.0, "own"),  # hardly faster
        (15.0, 1.0, "own"),
        (5.0, np.nextafter(np.float32(1), np.float32(2)), "own"),  # adds in another order
    ],
)
def test_the_faster_one_stays_if_it_says_the_same(
    monkeypatch: pytest.MonkeyPatch, rivals_ms: float, rivals_output: float, winner: str
) -> None:
    clock = Clock()
    monkeypatch.setattr(contest, "time", clock)
    own, rival = Session("own", clock, 10.0), Session("rival", clock, rivals_ms, rivals_output)
    opened: list[Session] = []
    both = Contest(own, lambda: opened.append(rival) or rival)
    for _ in range(contest._BEFORE):
        both.run()
    assert not opened  # a short video pays for nothing
    for call in range(CALLS):
        both.run()
        if call % 10 == 5:
            clock.now += 1.0  # somebody looks at the result for a while
    assert opened == [rival]
    assert both.name == winner
    before = own.calls, rival.calls
    both.run()
    assert (own.calls, rival.calls) == (before[0] + (winner == "own"), before[1] + (winner == "rival"))


@pytest.mark.parametrize(
    ("region", "options", "rival"),
    [
        ("follow", ModelOptions(), 4),
        ("follow", ModelOptions(threads=8), 0),  # what is asked for is meant
        ("follow", ModelOptions(latency=True), 0),
        ("frame", ModelOptions(), 0),
    ],
)
def test_who_has_a_rival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str, options: ModelOptions, rival: int
) -> None:
    path = tiny.bright_spot(tmp_path / "m.onnx", region=region)
    monkeypatch.setattr(share, "cpu_cores", lambda: 8)
    with open_model(path, device="cpu", threads=1) as model:
        found = shared_out(model.spec, options)
    assert (found.threads, found.rival) == (8, rival)
    assert (found.rivals.threads, found.rivals.rival) == (rival, 0)
    monkeypatch.setattr(share, "cpu_cores", lambda: 1)
    assert shared_out(model.spec, options).rival == 0


def test_a_long_video_has_the_same_people(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    threads, session = [], onnxruntime.InferenceSession

    def note(path: str, options: Any, **more: Any) -> Any:
        threads.append(options.intra_op_num_threads)
        return session(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    monkeypatch.setattr(share, "cpu_cores", lambda: 4)
    model, video = tiny.bright_spot(tmp_path / "m.onnx"), media.video(tmp_path / "v.mp4", count=CALLS + 20)
    chosen = run("infer", model, video, "--device", "cpu")
    assert threads == [4, 2]
    assert chosen[:2] == run("infer", model, video, "--device", "cpu", "--threads", 4)[:2]
    assert threads == [4, 2, 4]
