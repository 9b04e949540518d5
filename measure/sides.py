"""Who takes part in a measurement: each model in a process of its own, asked for one round after the other.

Owns these processes, rtmlib's among them, and the order of the rounds. Knows what is measured, not how it is shown.
"""

import json
import multiprocessing
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from posert.errors import PosertError
from posert.measure.bench import About, Bench, Figures, Round, Task, figures

_CLASSES = {("simcc", 2): "RTMPose", ("heatmap", 2): "ViTPose", ("rows", 1): "RTMO"}
"""The last stage's decoder and the number of stages -> rtmlib's class for it; people are found by its YOLOX."""
_END_S = 5.0
RTMLIB_HINT = (
    "it needs an environment of its own, because its packages overwrite ours:\n"
    "  python -m venv rtmlib-env && rtmlib-env/bin/pip install rtmlib\n"
    "then say `rtmlib_python` rtmlib-env/bin/python"
)
"""How to make an interpreter for `RtmlibSide`."""


class Side(Protocol):
    """One of those that are measured; closing it ends its process."""

    about: About

    def round(self) -> Round: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of a model, or why it was not.

    Attributes:
        name: for people. wish: the device that was asked for.
    """

    name: str
    wish: str
    about: About | None = None
    figures: Figures | None = None
    rounds: tuple[Round, ...] = ()
    error: PosertError | None = None


class OwnSide:
    """A model of posert's in a process of its own."""

    def __init__(self, task: Task) -> None:
        """Raises PosertError as `Bench` does."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, task), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.about: About = self._answer()
        except PosertError:
            self.close()
            raise

    def round(self) -> Round:
        """One round; raises PosertError if it fails."""
        made: Round = self._answer(asked=True)
        return made

    def _answer(self, asked: bool = False) -> Any:
        try:
            if asked:
                self._pipe.send(True)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            what = f"the process that measures died (exit code {self._process.exitcode})"
            raise PosertError(what, "it may have run out of memory") from None
        if isinstance(answer, PosertError):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(_END_S)
        self._process.kill()


def _work(pipe: Connection, task: Task) -> None:
    """The process of an `OwnSide`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    with suppress(EOFError, OSError):
        try:
            bench = Bench(task)
            pipe.send(bench.about)
            while pipe.recv():
                pipe.send(bench.round())
        except PosertError as error:
            pipe.send(error)


class RtmlibSide:
    """rtmlib on the network files of one of our models, in another interpreter; finds people, writes nothing."""

    def __init__(self, python: str, task: Task, ours: About) -> None:
        """Raises PosertError if that interpreter has no rtmlib, or rtmlib no class for such a network."""
        *finding, (decoder, file, size_wh, _) = ours.stages
        kind = _CLASSES.get((decoder, len(ours.stages)))
        if kind is None or any(each[0] != "detect" for each in finding):
            raise PosertError(f"rtmlib has no class for {Path(file).name}", "compare one for boxes that it knows")
        given = {
            "source": task.source, "frames": task.frames, "threads": task.options.threads, "kind": kind, "file": file,
            "size_wh": size_wh,
            "detectors": [{"file": each[1], "size_wh": each[2], "params": each[3]} for each in finding],
        }  # fmt: skip
        self._python, script = python, Path(__file__).with_name("rtmlib_side.py")
        try:
            self._process = subprocess.Popen(
                [python, str(script), json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise PosertError(f"{python} cannot be run: {error.strerror}", RTMLIB_HINT) from None
        try:
            first = self._answer()
        except PosertError:
            self.close()
            raise
        self.about = replace(ours, device="cpu", people=first["people"], memory_mb=first["memory_mb"], stages=())

    def round(self) -> Round:
        """One round; raises PosertError if it fails."""
        answer = self._answer("go")
        return Round(answer["loop"], answer["cpu"])

    def _answer(self, line: str = "") -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if line:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise PosertError(f"{self._python} could not run rtmlib", RTMLIB_HINT)
        made: dict[str, float] = json.loads(answer)
        if "error" in made:
            raise PosertError(f"rtmlib: {made['error']}", RTMLIB_HINT)
        return made

    def close(self) -> None:
        """Ends the process."""
        with suppress(OSError):
            self._process.communicate(timeout=_END_S)
        self._process.kill()


def compare(
    tasks: Sequence[tuple[str, Task]], rounds: int, rtmlib_python: str | None, on_round: Callable[[int], None]
) -> list[Row]:
    """A row for each task, name and what is measured, and one for rtmlib behind each if it takes part.

    All are opened first, then they take turns, so that what else the machine does meets all alike.
    """
    rows: list[Row] = []
    with ExitStack() as stack:
        sides = list[tuple[int, Side]]()
        for name, task in tasks:
            for row, side in _opened(name, task, rtmlib_python, stack):
                sides += [] if side is None else [(len(rows), side)]
                rows.append(row)
        for number in range(rounds):
            for place, side in sides:
                if rows[place].error is None:
                    rows[place] = _after_round(rows[place], side)
            on_round(number + 1)
    return [row if row.error else replace(row, figures=figures(row.rounds)) for row in rows]


def _after_round(row: Row, side: Side) -> Row:
    try:
        return replace(row, rounds=(*row.rounds, side.round()))
    except PosertError as error:
        return replace(row, error=error)


def _opened(name: str, task: Task, rtmlib_python: str | None, stack: ExitStack) -> Iterator[tuple[Row, Side | None]]:
    row = Row(name, task.options.device)
    try:
        own = stack.enter_context(closing(OwnSide(task)))
    except PosertError as error:
        yield replace(row, error=error), None
        return
    yield replace(row, about=own.about), own
    if rtmlib_python is not None:
        row = Row(f"rtmlib on {name}", "cpu")
        try:
            other = stack.enter_context(closing(RtmlibSide(rtmlib_python, task, own.about)))
        except PosertError as error:
            yield replace(row, error=error), None
            return
        yield replace(row, about=other.about), other
