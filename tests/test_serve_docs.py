"""Every command of docs/serve.md runs, and what the Dockerfile says, step by step, in a fresh environment."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from urllib.request import Request, urlopen

import cv2
import media
import pytest
import tiny
from command import ROOT
from serving import serving

from posert.serve.limits import Limits

DOCS = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL)
    for line in block.splitlines()
]
DOCKER = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def step(word: str, place: int = -1) -> str:
    """What follows a word of the Dockerfile."""
    return re.findall(rf"^{word} +(.+)$", DOCKER, re.MULTILINE)[place].strip()


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A folder with the files that the document names, and no network held up."""
    media.video(tmp_path / "walk.mp4", count=5)
    for name in ("photo.jpg", "other.png"):
        cv2.imwrite(str(tmp_path / name), media.numbered(3))
    (tmp_path / "frame.rgb").write_bytes(bytes(64 * 48 * 3))
    (tmp_path / "token.txt").write_text("correct horse battery staple\n")
    tiny.bright_spot(tmp_path / "spot.onnx")
    (tmp_path / "gate").touch()
    return tmp_path


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_commands_run(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn", reason="posert[serve] is not installed")
    pytest.importorskip("prometheus_client", reason="posert[serve] is not installed")
    monkeypatch.chdir(sandbox)
    with ExitStack() as stack:
        ports: dict[str, str] = {}
        for command in (c for c in COMMANDS if c.startswith("posert serve")):
            said = re.search(r"--port (\d+)", command)
            server = stack.enter_context(serving(sandbox, *shlex.split(command)[2:]))
            ports[said[1]] = str(server.port)
        assert set(ports) == {"8080", "8081"}
        key, ran = "", 0
        for command in (c for c in COMMANDS if c.startswith("curl")):
            for said, port in ports.items():
                command = command.replace(f":{said}/", f":{port}/")
            command = re.sub(r"/ID\b", f"/{key}", command)
            while "/result" in command and json.loads(shell(f"curl -sf localhost:{ports['8080']}/v1/videos/{key}"))[
                "state"
            ] in ("queued", "running"):
                time.sleep(0.02)
            out = shell(command.replace("curl ", "curl -sf ", 1))
            key, ran = (json.loads(out)["id"] if "walk.mp4'" in command or "name=walk" in command else key), ran + 1
        assert ran == 10
        assert len((sandbox / "walk.jsonl").read_text().splitlines()) == 6
        (program,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
        exec(compile(program.replace(":8080/", f":{ports['8080']}/"), "serve.md", "exec"), {})


def shell(command: str) -> str:
    return subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout


def test_nothing_else_is_promised() -> None:
    other = [c for c in COMMANDS if not c.startswith(("curl ", "posert serve ", "docker "))]
    assert other == ["pip install 'posert[cpu,serve]'"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {"cpu", "gpu", "serve"} <= set(extras)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(command in COMMANDS for command in re.findall(r"^posert serve .*$", readme, re.MULTILINE))


def test_every_limit_is_in_the_table() -> None:
    listed = {
        name: value
        for names, values in re.findall(r"^\| (`.+?) \| ([\d, ]+) \|", DOCS, re.MULTILINE)
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=True)
    }
    assert listed == {each.name: f"{getattr(Limits(), each.name):.0f}" for each in fields(Limits)}


def test_the_container_is_started_as_the_document_says() -> None:
    for command in (c for c in COMMANDS if c.startswith("docker ")):
        assert set(re.findall(r"--build-arg (\w+)=", command)) <= set(re.findall(r"^ARG (\w+)=", DOCKER, re.MULTILINE))
        for inside in re.findall(r"-p [\d.]+:\d+:(\d+)", command):
            assert inside == step("EXPOSE") == json.loads(step("ENTRYPOINT"))[-1]
    assert step("USER") == "posert"
    assert f":{step('EXPOSE')}/healthz" in DOCKER


@pytest.mark.wheels
def test_the_steps_of_the_dockerfile(tmp_path: Path) -> None:
    """Without Docker: the checkout as it would be copied, its wheel, a new environment, the command, the check."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    shutil.copytree(ROOT, tmp_path / "posert", symlinks=True, ignore=shutil.ignore_patterns(*ignored, "__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "image"], check=True)
    place = {
        "PATH": f"{tmp_path}/image/bin:{os.environ['PATH']}",
        "EXTRA": re.findall(r"^ARG EXTRA=(\w+)", DOCKER, re.M)[0],
    }
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"} | place
    for place_in_file, folder in ((0, "posert"), (1, "")):
        command = step("RUN", place_in_file).replace("/wheels", f"{tmp_path}/wheels")
        subprocess.run(["sh", "-ec", command], check=True, cwd=tmp_path / folder, env=environment)
    assert not (tmp_path / "wheels").exists()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    start = [
        word if word != "8080" else port for word in [*json.loads(step("ENTRYPOINT")), *json.loads(step("CMD", -1))]
    ]
    check = [word.replace(":8080/", f":{port}/") for word in json.loads(step("HEALTHCHECK").split("CMD")[1])]
    token = "a token for the container"
    with tempfile.TemporaryDirectory() as home:
        begin = {"cwd": home, "env": environment | {"HOME": home, "POSERT_TOKEN": token}}
        assert subprocess.run(start, capture_output=True, cwd=home, env=environment | {"HOME": home}).returncode == 1
        process = subprocess.Popen(start, **begin)  # type: ignore[call-overload]
        try:
            while subprocess.run(check, capture_output=True, env=environment).returncode:
                assert process.poll() is None
                time.sleep(0.1)
            picture = cv2.imencode(".jpg", media.numbered(3))[1].tobytes()
            headers = {"Authorization": f"Bearer {token}"}
            with urlopen(Request(f"http://127.0.0.1:{port}/v1/people", picture, headers)) as answer:
                assert json.load(answer)["frame"] == 0
        finally:
            process.terminate()
        assert process.wait(60) == 0
        assert subprocess.run(check, capture_output=True, env=environment).returncode != 0
