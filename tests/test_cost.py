"""`posert plan`: what all sources cost, from a few, and an error bar that holds what it says."""

import json
from pathlib import Path

import media
import numpy as np
import pytest
import tiny
from command import Run

from posert.measure.cost import Cost, Guess, _Scaled, student


@pytest.mark.parametrize(("degrees", "known"), [(2, 4.303), (4, 2.776), (9, 2.262), (19, 2.093), (99, 1.984)])
def test_student(degrees: int, known: float) -> None:
    """Against the printed tables."""
    assert student(degrees) == pytest.approx(known, rel=0.03 if degrees == 2 else 0.001)


@pytest.mark.parametrize("by_length", [False, True])
def test_the_truth_lies_between_as_often_as_said(by_length: bool) -> None:
    """2,000 samples of 20 from 1,000 clips that cost what their length says, more or less."""
    rng = np.random.default_rng(5)
    lengths = rng.uniform(1, 10, 1000)
    costs = lengths * rng.uniform(0.8, 1.2, 1000)
    within, widths = 0, []
    for _ in range(2000):
        drawn = rng.choice(1000, 20, replace=False)
        guess = _Scaled(1000, float(lengths.sum()) if by_length else None, lengths[drawn].tolist()).up(costs[drawn])
        within += guess.low <= costs.sum() <= guess.high
        widths.append((guess.high - guess.low) / guess.value)
    assert 0.925 < within / 2000 < 0.97
    assert np.mean(widths) == pytest.approx(0.11 if by_length else 0.48, rel=0.1)


def test_machines() -> None:
    cost = Cost(10, 5, 0, False, 2, 30.0, Guess(36_000.0, 30_000.0, 60_000.0), Guess(1.0, 1.0, 1.0), 1)
    assert cost.machines(2) == (5, 9)


@pytest.mark.parametrize("dataset", [False, True])
def test_the_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: bool) -> None:
    if dataset:
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    tiny.bright_spot(tmp_path / "model.onnx")
    Path("in").mkdir()
    for number in range(6):
        media.video(Path("in", f"{number}.mp4"), 5)
    Path("in/broken.mp4").write_bytes(b"no video")
    args = ["plan", "model.onnx", "in", "--sample", "7", "--workers", "1"]
    args += ["--format", "parquet", "--partition", "size"] if dataset else []
    code, said, _ = run(*args, "--json")
    assert code == 0
    cost = json.loads(said)
    assert (cost["sources"], cost["tried"], cost["failed"], cost["by_length"]) == (7, 7, 1, False)
    assert cost["seconds"]["value"] > 0
    assert cost["worker_bytes"] > 10_000_000
    assert run("infer", "model.onnx", "in", "-o", "out", *args[7:])[0] == 3
    results = [path for path in Path("out").rglob("*") if path.is_file() and "manifest" not in str(path)]
    total = sum(path.stat().st_size for path in results)
    assert cost["bytes"]["value"] == pytest.approx(total * 7 / 6, rel=0.02)
    said = run(*args, "--hours", "1")[1]
    assert said.startswith("7 of 7 sources tried, drawn at random, 1 of them failed; scaled up by their number\n")
    assert "machines 1 like this one for 1 h, 1 to be sure" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "model.onnx", "out"]


def test_too_few_say_nothing(run: Run, tmp_path: Path) -> None:
    tiny.bright_spot(tmp_path / "model.onnx")
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_bytes(b"no video")
    code, _, err = run("plan", tmp_path / "model.onnx", tmp_path / "*.mp4", "--workers", "1")
    assert code == 1
    assert "0 of 4 sources can be done, which says nothing of others" in err
