"""posert-nano: the network of our own that `pip install posert` brings along.

Owns its metadata and its export; `export/nano` has its layers, its training and the drawn clip that shows it.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posert import __version__
from posert.errors import PosertError
from posert.export.nano import layout
from posert.runtime.spec import FORMAT, InputSpec, ModelSpec, Stage

if TYPE_CHECKING:
    from posert.export.onnx_file import Exported, Reference
    from posert.export.weights import Entry

OPTIONS: frozenset[str] = frozenset()
STAND_INS: dict[str, str] = {}
ROUNDED = {"embedded": "its int8 weights do, which have one scale for each channel"}
OWN: dict[str, str] = {}

# Where the decoder differs from its defaults (tf-pose's); chosen on the validation split of the training photos.
PARAMS: dict[str, Any] = {
    "upsample": 1.0,  # with `refine` as good as 4, and the peaks are found in a seventh of the time
    "smooth_taps": 3,
    "refine": True,
    "peak_threshold": 0.1,
    "assembly": "complete",
    "min_score": 0.75,  # 0.7 finds twice the false people for .002 of AP
    "person_score": "sum",
    "offset_px": 3.5,  # the centre of cell c is at 8 c + 3.5 px
}


def spec() -> ModelSpec:
    """What nano.onnx says about itself."""
    image = InputSpec(
        name="image", layout="NCHW", dtype="float32", color="bgr",
        size_wh=(512, 512),  # as good on the validation photos as 448, better on the clip: ids stay
        fit="corner", multiple_of=64, interpolation="area", rounding="round", pad_value=(110.0, 110.0, 110.0),
    )  # fmt: skip
    stage = Stage("pose", "frame", image, {"heatmaps": "heatmaps", "pafs": "pafs"}, "paf", PARAMS)
    return ModelSpec(
        FORMAT, "nano", "posert-nano", layout.SKELETON, (stage,), "MIT", "trained by export/nano of this project",
        f"posert {__version__}",
    )  # fmt: skip


def build(entry: "Entry", path: Path, options: frozenset[str]) -> "Exported":
    """The network of a checkpoint or training state."""
    from posert.export.nano.graph import to_onnx
    from posert.export.onnx_file import Exported

    with tempfile.TemporaryDirectory() as folder:
        return Exported(to_onnx(_network(path), Path(folder) / "float.onnx"), spec())


def reference(entry: "Entry", path: Path) -> "Reference":
    """The checkpoint's own network in PyTorch, in float32."""
    from posert.export.nano.graph import Deployed
    from posert.export.readers import torch_models

    return torch_models.reference(Deployed(_network(path)), ["heatmaps", "pafs"])


def _network(path: Path) -> Any:
    from posert.export.nano.graph import load

    try:
        return load(path)
    except Exception as error:  # torch's and pickle's own kinds
        raise PosertError(
            f"{path} is no checkpoint of posert-nano ({type(error).__name__})",
            "give the state.pt or checkpoint.pt of: python -m posert.export.nano.training.train",
        ) from None
