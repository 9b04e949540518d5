"""The script that docs/devices.md names for whoever has a GPU runs on the CPU provider, and refuses what is absent."""

import importlib.util
import sys
from pathlib import Path

import pytest

_FILE = Path(__file__).parent / "bench" / "gpu.py"


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    spec = importlib.util.spec_from_file_location("gpu_bench", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    code: int = module.main()
    return code


def test_it_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path) -> None:
    assert (
        _run(monkeypatch, str(model), "--device", "cpu", "--batches", "1,3", "--streams", "1,2", "--seconds", "0.05")
        == 0
    )
    out = capsys.readouterr().out
    assert "parity with the CPU: 0.0e+00, 0.0e+00" in out
    assert "CPUExecutionProvider: " in out
    rates = [[float(number) for number in line.split()] for line in out.splitlines()[-2:]]
    assert [row[0] for row in rates] == [1, 3]
    assert all(rate > 0 for row in rates for rate in row)


@pytest.mark.parametrize("device", ["cuda", "tensorrt:1"])
def test_it_refuses_a_gpu_that_is_not_there(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    assert _run(monkeypatch, str(model), "--device", device) == 1
    assert "hint: " in capsys.readouterr().err
