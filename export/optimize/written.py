"""The files of a model in fewer bits: its own and its detector's beside it, with what was done in the metadata.

Owns their names, and that nothing is left behind where something fails.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import helper

from posert import __version__
from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.onnx_file import Exported
from posert.export.optimize.candidates import Candidate
from posert.export.optimize.guard import Verdict
from posert.export.optimize.report import Network, Optimized
from posert.runtime.files.state import sha256_of
from posert.runtime.session import Model
from posert.runtime.spec import METADATA_KEY, ModelSpec

DONE = "posert_optimize"
"""The key of what was done, as JSON, in the file's metadata."""


def write(model: Model, made: Mapping[str, Candidate], verdict: Verdict, target: Path, source: str) -> Optimized:
    """Writes the model with the networks in `made`, stage -> network; the others stay as they are.

    Args:
        source: what was calibrated on, a name without its folder.

    Raises:
        PosertError: the folder cannot be written, or has another file with the name of the detector's.
    """
    first, last = model.spec.stages[0].name, model.spec.stages[-1].name
    done = {"verdict": str(verdict), "calibrated_on": source, "by": f"posert {__version__}"}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".optimize") as folder:
            beside = {} if first == last else _detector(model, made.get(first), Path(folder), target.parent, done)
            spec = onnx_file.read_metadata(model.files[last])
            if beside:
                (name,) = beside
                companion = replace(spec.stages[0], file=name, sha256=sha256_of(beside[name]))
                spec = replace(spec, stages=(companion, *spec.stages[1:]))
            own = Path(folder) / target.name
            _save(model.files[last], made.get(last), spec, own, done)
            for name, file in beside.items():
                os.replace(file, target.with_name(name))
            os.replace(own, target)
    except OSError as error:
        raise PosertError(
            f"{target} cannot be written: {error.strerror or error}", "name another place with `output`"
        ) from None
    files = [*((first, target.with_name(name)) for name in beside), (last, target)]
    networks = tuple(_network(stage, model.files[stage], file, made.get(stage)) for stage, file in files)
    return Optimized(target, networks, verdict)


def _detector(
    model: Model, made: Candidate | None, folder: Path, place: Path, done: Mapping[str, str]
) -> dict[str, Path]:
    """Its name in `place`, and its file in `folder`, which goes there."""
    old = model.files[model.spec.stages[0].name]
    name = old.name if made is None else f"{old.stem}-{made.precision}.onnx"
    if made is None:
        shutil.copyfile(old, folder / name)
    else:
        _save(old, made, onnx_file.read_metadata(old), folder / name, done)
    there = place / name
    ours = made is not None and not any(there.exists() and there.samefile(file) for file in model.files.values())
    if there.exists() and not ours and sha256_of(there) != sha256_of(folder / name):
        raise PosertError(f"{there} is there and another detector", "name another folder with `output`")
    return {name: folder / name}


def _save(old: Path, made: Candidate | None, spec: ModelSpec, path: Path, done: Mapping[str, str]) -> None:
    """The network `made`, or the one in the file `old`, with the metadata `spec` and what was done."""
    graph = onnx_file.load(old if made is None else made.file)
    kept = {entry.key: entry.value for entry in onnx_file.load(old).metadata_props if entry.key != METADATA_KEY}
    if made is not None:
        figures: dict[str, Any] = {"precision": made.precision, "layers": made.layers, "float_layers": made.kept}
        kept[DONE] = json.dumps({**figures, "ms": [round(ms, 3) for ms in made.ms], **done})
        spec = replace(spec, model=f"{spec.model}-{made.precision}", made_by=f"posert {__version__}")
    helper.set_model_props(graph, kept)
    onnx_file.save(Exported(graph, spec), path)


def _network(stage: str, old: Path, file: Path, made: Candidate | None) -> Network:
    size = old.stat().st_size, file.stat().st_size
    if made is None:
        return Network(stage, file, "float", 0, 0, size, (0.0, 0.0))
    return Network(stage, file, made.precision, made.layers, made.kept, size, made.ms)
