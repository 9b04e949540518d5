"""A model for hosts of WebAssembly other than browsers: posert.wasm, the model's table, its networks and their names.

Owns the folder. The host runs the networks; `README.wasi` says how.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from posert.export.embed.table import wanted_outputs
from posert.export.web.site import wasm_bytes
from posert.export.web.table import model_bytes
from posert.runtime.session import Model

README = Path(__file__).with_name("README.wasi")


def write_wasi(model: Model, folder: Path) -> list[str]:
    """Writes the folder; returns the names in it.

    Raises:
        PosertError: this posert has no posert.wasm.
    """
    spec, wasm = model.spec, wasm_bytes()
    stages = [
        {
            "file": model.files[stage.name].name,
            "input": stage.input.name,
            "outputs": list(wanted_outputs(stage).values()),
            "constants": [constant.name for constant in model.constants(stage.name)],
        }
        for stage in spec.stages
    ]
    about: dict[str, Any] = {"model": spec.model, "licence": spec.licence, "stages": stages}
    about |= {"keypoints": spec.skeleton.names, "edges": spec.skeleton.edges}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "posert.wasm").write_bytes(wasm)
    (folder / "model.table").write_bytes(model_bytes(model))
    (folder / "model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(README, folder / "README")
    for file in dict.fromkeys(model.files.values()):
        if file.resolve() != (folder / file.name).resolve():
            shutil.copyfile(file, folder / file.name)
    return sorted(file.name for file in folder.iterdir())
