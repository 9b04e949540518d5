"""A model's networks in fewer bits: made, tried in the model, measured, and the best one of each chosen.

Owns the files of the candidates, in a folder that goes away. Knows the guard's verdicts, not how people are compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from posert.errors import PosertError
from posert.export.onnx_versions import widely_readable
from posert.export.optimize.guard import Guard, Verdict, medians_ms
from posert.export.optimize.networks import LAYERS, Feeds, Quantiser, half
from posert.export.optimize.search import fewest_float, ranked
from posert.runtime.metadata import metadata_text
from posert.runtime.session import Model, open_model
from posert.runtime.spec import METADATA_KEY, Stage

_WORTH = 1.05  # times as fast, or `auto` leaves a network as it is
_MARGIN = (
    0.5  # of what `keep` allows to be lost may be lost while searching: the search chooses what suits its pictures
)


@dataclass(frozen=True, slots=True)
class Part:
    """A network of a model: its stage, its file, and what it was fed on the pictures for calibration."""

    stage: Stage
    file: Path
    feeds: Sequence[Feeds]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network in fewer bits.

    Attributes:
        precision: `int8` or `fp16`. file: a model of its own. layers: how many convolutions and matrix products it has.
        kept: how many of them stayed float. ms: of one run before and after.
    """

    precision: str
    file: Path
    layers: int
    kept: int
    ms: tuple[float, float]

    @property
    def faster(self) -> float:
        """How many times as fast."""
        return self.ms[0] / self.ms[1]


class Candidates:
    """Makes and tries them.

    Attributes:
        refused: why networks stay as they are, in words.
    """

    def __init__(self, model: Model, guard: Guard, folder: Path, threads: int, report: Callable[[str], None]) -> None:
        self._model, self._guard, self._folder = model, guard, folder
        self._threads, self._report = threads, report
        self.refused: list[str] = []

    def best(self, part: Part, precision: str) -> Candidate | None:
        """The fastest one whose people are the same; None if the network had better stay as it is.

        Raises:
            PosertError: `precision` is not `auto`, and the network cannot have it.
        """
        wanted = ("int8", "fp16") if precision == "auto" else (precision,)
        found = list[Candidate]()
        for kind in wanted:
            try:
                made = self._int8(part) if kind == "int8" else self._fp16(part)
            except PosertError as error:
                if precision != "auto":
                    raise
                self.refused.append(f"{part.stage.name}: {error.what}")
                continue
            self._report(f"{part.stage.name}: {kind} {made.faster:.2f} times as fast as float")
            if precision != "auto" or made.faster >= _WORTH:
                found.append(made)
            else:
                self.refused.append(f"{part.stage.name}: {kind} {made.faster:.2f} times as fast")
        return max(found, key=lambda made: made.faster, default=None)

    def opened(self, made: Mapping[str, Path]) -> Model:
        """The model with the networks of some stages from other files."""
        first, *_, last = (self._model.spec.stages[0], *self._model.spec.stages)
        files = {**self._model.files, **made}
        detector = files[first.name] if first is not last else None
        return open_model(files[last.name], device="cpu", threads=self._threads, detector=detector)

    def _int8(self, part: Part) -> Candidate:
        quantiser, name = Quantiser(part.file, part.feeds), part.stage.name
        outputs = list(part.stage.outputs.values())
        verdicts = list[Verdict]()

        def good(kept: tuple[str, ...]) -> bool:
            file = self._saved(part, quantiser.int8(kept), f"int8_{len(verdicts)}")
            with self.opened({name: file}) as model:
                verdicts.append(self._guard.while_searching(model))
            layers = f"{_layers(kept)} of {len(quantiser.units)} layers float"
            self._report(f"{name}: int8, {layers}: {verdicts[-1]}")
            return self._guard.enough(verdicts[-1])

        kept = () if good(()) else fewest_float(ranked(quantiser, part.feeds, outputs), good)
        if kept is None:
            raise PosertError(
                f"int8 of {name} {verdicts[-1].fault} even with half of its layers float: {verdicts[-1]}",
                "calibrate on more pictures, of what the model will see; leave this network out with `stages`; or say "
                "with `keep` that less is enough",
            )
        file = self._saved(part, quantiser.int8(kept), "int8")
        return Candidate("int8", file, len(quantiser.units), _layers(kept), self._ms(part, file))

    def _fp16(self, part: Part) -> Candidate:
        graph = half(part.file)
        file = self._saved(part, graph, "fp16")
        with self.opened({part.stage.name: file}) as model:
            verdict = self._guard.while_searching(model)
        if not verdict.good:
            raise PosertError(f"fp16 of {part.stage.name} {verdict.fault}: {verdict}", "take `precision` int8")
        layers = sum(node.op_type in LAYERS for node in graph.graph.node)
        return Candidate("fp16", file, layers, 0, self._ms(part, file))

    def _saved(self, part: Part, graph: Any, word: str) -> Path:
        """A file of the network with the metadata that its own file has."""
        graph = widely_readable(graph)
        helper.set_model_props(graph, {METADATA_KEY: metadata_text(part.file, METADATA_KEY) or ""})
        path = self._folder / f"{part.stage.name}_{word}.onnx"
        onnx.save(graph, str(path))
        return path

    def _ms(self, part: Part, file: Path) -> tuple[float, float]:
        with self.opened({part.stage.name: file}) as other:
            before, after = medians_ms([self._model, other], part.stage.name, part.feeds[0][part.stage.input.name])
        return before, after


def _layers(kept: tuple[str, ...]) -> int:
    """How many of the named nodes are layers."""
    return sum(name.startswith(tuple(f"{kind}_" for kind in LAYERS)) for name in kept)
