"""What `auto` takes where OpenVINO is installed, with sessions that are as fast and as true as a test wants."""

import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import posert.runtime.networks.fastest as fastest
import posert.runtime.networks.network as networks
from posert import open_model
from posert.errors import PosertError
from posert.runtime.networks.network import Network, open_network


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> Any:
    """OpenVINO that takes `slow_s` longer or the CPU provider `-slow_s`, and whose outputs are wrong by `off`."""

    def put(slow_s: float, off: float = 0.0, fails: str = "") -> list[str]:
        opened = []

        def open_one(file: Path, device: str, *more: Any) -> Network:
            opened.append(device)
            if device == "openvino:CPU" and fails:
                raise PosertError(fails)
            network = open_network(file, "cpu", *more)
            theirs = device == "openvino:CPU"

            def run(names: Any, feeds: Any) -> Any:
                time.sleep(max(0.0, slow_s if theirs else -slow_s))
                return [array + off * theirs for array in network.session.run(names, feeds)]

            session = network.session
            return Network(
                SimpleNamespace(run=run, get_inputs=session.get_inputs, get_outputs=session.get_outputs), device
            )

        monkeypatch.setattr(fastest, "has_openvino", lambda: True)
        monkeypatch.setattr(fastest, "open_network", open_one)
        monkeypatch.setattr(fastest.importlib.metadata, "version", lambda name: "2026.4")
        return opened

    return put


@pytest.mark.parametrize(
    ("slow_s", "off", "device", "said"),
    [
        (-0.02, 0.0, "openvino:CPU", "times as fast"),
        (0.02, 0.0, "cpu", "times as fast"),
        (-0.02, 0.5, "cpu", "outputs differ by"),
    ],
)
def test_the_faster_one_that_is_true_is_taken_and_kept(
    slow_s: float, off: float, device: str, said: str, model: Path, openvino: Any, home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    opened = openvino(slow_s, off)
    with caplog.at_level(logging.WARNING, "posert"), open_model(model) as first:
        assert first.device == device
    assert said in caplog.text
    assert opened == ["cpu", "openvino:CPU"]
    row = json.loads((home / "devices.jsonl").read_text())
    assert row["device"] == device
    with open_model(model) as again:
        assert again.device == device
    assert opened[2:] == [device]  # nothing else is opened, nothing measured


def test_what_openvino_cannot_run_stays_on_the_cpu(
    model: Path, openvino: Any, caplog: pytest.LogCaptureFixture
) -> None:
    openvino(0, fails="no such operator")
    for _ in range(2):
        with open_model(model) as opened:
            assert opened.device == "cpu"
    assert caplog.text.count("OpenVINO cannot run it") == 1


def test_a_folder_that_cannot_be_written_only_forgets(
    model: Path, openvino: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("POSERT_HOME", str(tmp_path / "file" / "home"))
    openvino(-0.02)
    with open_model(model) as opened:
        assert opened.device == "openvino:CPU"


def test_without_openvino_nothing_is_measured_or_written(
    model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "has_openvino", lambda: False)
    monkeypatch.setattr(networks, "has_openvino", lambda: False)
    with open_model(model) as opened:
        assert opened.device == "cpu"
    assert list(home.iterdir()) == []
