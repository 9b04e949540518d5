"""A server process as tests ask it, over real sockets; its network can be held up."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command import ROOT, heeds_signals

HELD = """
import pathlib, sys, time
from posert import cli
from posert.runtime.session import Model
run, gate = Model.run, pathlib.Path(sys.argv.pop(1))
def held(*given):
    gate.with_name("reached").touch()
    while not gate.exists():
        time.sleep(0.01)
    return run(*given)
Model.run = held
cli.main()
"""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    process: "subprocess.Popen[str]"
    port: int
    gate: Path
    said: list[str] = field(default_factory=list)
    announced: str = ""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): text for name, text in got.getheaders()}, got.read())
        finally:
            connection.close()

    def people(self, body: bytes, query: str = "", **headers: str) -> Answer:
        return self.ask("POST", "/v1/people" + query, body, **headers)

    def later(self, *given: Any) -> "Later":
        return Later(self, given)

    def figure(self, name: str) -> float:
        """A figure of /metrics, all labels summed up."""
        text = self.ask("GET", "/metrics").body.decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def until(self, name: str, value: float) -> None:
        """Waits until a figure has a value."""
        while self.figure(name) != value:
            assert self.process.poll() is None

    def until_held(self) -> None:
        """Waits until a picture has come as far as the network."""
        while not self.gate.with_name("reached").exists():
            assert self.process.poll() is None

    def open(self) -> None:
        """The network goes on."""
        self.gate.touch()


class Later:
    """An answer that comes when it comes."""

    def __init__(self, server: Server, given: tuple[Any, ...]) -> None:
        self._answers: list[Answer] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(server.people(*given)), daemon=True)
        self._thread.start()

    def answer(self) -> Answer:
        self._thread.join(60)
        return self._answers[0]


@contextmanager
def serving(folder: Path, *arguments: object, command: str = "serve", **environment: str) -> Iterator[Server]:
    """`posert serve`, or another command, on a free port; held up until `open()`, if the folder has no `gate` yet."""
    gate = folder / "gate"
    (folder / "reached").unlink(missing_ok=True)
    words = [sys.executable, "-c", HELD, str(gate), command, *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".typing")} | environment, preexec_fn=heeds_signals,
    )  # fmt: skip
    assert process.stderr is not None
    said: list[str] = []
    while not (at := re.search(r"http://\S+?:(\d+)", line := process.stderr.readline())):
        assert line, said
        said.append(line)
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield Server(process, int(at[1]), gate, said, line)
    finally:
        gate.touch()
        process.terminate()
        process.wait(60)
        reader.join(10)
        process.stderr.close()


def form(*files: bytes) -> tuple[bytes, str]:
    """A multipart form's body and its type."""
    parts = [
        b'--part\r\nContent-Disposition: form-data; name="p"; filename="%d"\r\n\r\n' % number + data + b"\r\n"
        for number, data in enumerate(files)
    ]
    return b"".join(parts) + b"--part--\r\n", "multipart/form-data; boundary=part"
