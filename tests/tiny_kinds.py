"""One tiny model per decoder and way of looking, for tests that go over all of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import composite_fields
import fields
import numpy as np
import tiny
import tiny_fed
import tiny_follow
import tiny_many
import tiny_maps
import tiny_mmpose
import tiny_rows
import tiny_topdown
import tiny_turned

from posert.postprocess.decoders import paf
from posert.runtime.spec import InputSpec, ModelSpec, Stage


def follow(folder: Path) -> Path:
    """One person, looked for near where the last picture had them."""
    return tiny.bright_spot(folder / "follow.onnx")


def rows(folder: Path) -> Path:
    """Six people in one row each."""
    return tiny_many.rows(folder / "rows.onnx")


def limbs(folder: Path) -> Path:
    """Decoder `paf`."""
    return _bodies(folder / "limbs.onnx", "paf", {})


def bodies(folder: Path) -> Path:
    """Decoder `bodyparts`."""
    params = {"paf_channels": paf.COCO_18_CHANNELS, "redundant_edges": (17, 18), "foot_parts": (10, 13), "min_parts": 3}
    return _bodies(folder / "bodies.onnx", "bodyparts", params)


def _bodies(path: Path, rule: str, params: dict[str, object]) -> Path:
    heat, pafs = fields.maps(fields.people(4, 40, 30), 40, 30)
    spec = InputSpec("image", "NCHW", "float32", "bgr", (320, 240), "corner_pixels", interpolation="linear_or_cubic")
    stage = Stage("pose", "frame", spec, {"heatmaps": "heatmaps", "pafs": "pafs"}, rule, params)
    return tiny_maps.shown(
        path, _hostile({"heatmaps": heat, "pafs": pafs}), ModelSpec(1, "toy", rule, fields.BODY_18, (stage,))
    )


def stars(folder: Path) -> Path:
    """Decoder `cifcaf`."""
    truth = composite_fields.people(3, 5, (30, 20))
    cif, caf = composite_fields.fields(truth, composite_fields.STAR, (30, 20))
    spec = InputSpec("image", "NCHW", "float32", "rgb", (233, 153), "center", interpolation="area")
    stage = Stage("pose", "frame", spec, {"cif": "cif", "caf": "caf"}, "cifcaf", {"force_complete_pose": True})
    whole = ModelSpec(1, "toy", "star", composite_fields.STAR, (stage,))
    return tiny_maps.shown(folder / "stars.onnx", _hostile({"cif": cif, "caf": caf}), whole)


def crops(folder: Path) -> Path:
    """A detector and its crops."""
    return tiny_topdown.pose(folder / "crops.onnx", tiny_topdown.detector(folder / "detector.onnx"))


def bins(folder: Path, noise: float = 1.0) -> Path:
    """Decoder `simcc`, in the crops of a detector."""
    return _crops_of(folder, tiny_mmpose.simcc, "bins", (0.5, noise), {"split_ratio": 2.5, "score": "mean"}, ratio=2.5)


def _crops_of(folder: Path, make: Callable[..., Path], name: str, weights: tuple, params: dict, **others: Any) -> Path:
    detector = tiny_topdown.detector(folder / f"{name}_detector.onnx")
    others |= {"weights": weights, "params": params, "companion": detector, "suppress": "poses"}
    return make(folder / f"{name}.onnx", (48, 64), 5, **others)


def peaks(folder: Path, noise: float = 0.2) -> Path:
    """Decoder `heatmap` with DARK and UDP, in crops that reach from edge to edge."""
    params = {"refine": "dark_udp", "udp": True, "kernel_size": 7}
    return _crops_of(folder, tiny_mmpose.heatmaps, "peaks", (0.5, noise), params, image={"align": "edges"})


def fed(folder: Path) -> Path:
    """Crops in float16, with further inputs, wider than usual around their boxes."""
    companion = tiny_topdown.first_stage(tiny_topdown.detector(folder / "detector.onnx"))
    return tiny_fed.fed(folder / "fed.onnx", companion, suppress=None)


def spots(folder: Path) -> Path:
    """A detector and crops that may hold nobody."""
    return tiny_topdown.spots(folder / "spots.onnx", tiny_topdown.detector(folder / "detector.onnx"))


def palms(folder: Path) -> Path:
    """A detector with keypoints, and crops that they turn."""
    return tiny_turned.palms(folder / "palms.onnx")


def turned(folder: Path) -> Path:
    """One person, followed by a window that the last picture's keypoints turn."""
    return tiny_turned.follow(folder / "turned.onnx")


def candidates(folder: Path) -> Path:
    """Decoder `rows`: boxes to be compared, and keypoints."""
    return tiny_rows.model(folder / "candidates.onnx", "yolo-pose", fit="letterbox", pad_value=(114, 114, 114))


def queries(folder: Path) -> Path:
    """Decoder `rows`: shares, scores and keypoints apart."""
    return tiny_rows.model(folder / "queries.onnx", "rf-detr-keypoint-background", fit="stretch")


def labelled(folder: Path) -> Path:
    """A detector that says rows and their classes, and crops."""
    return tiny_topdown.pose(folder / "pose.onnx", tiny_rows.labelled(folder / "boxes.onnx"))


def everybody(folder: Path) -> Path:
    """A detector and a network that follows whom it finds."""
    return tiny_follow.pair(folder)


def hands(folder: Path) -> Path:
    """MediaPipe's palms: rows that count from cells, and crops that their keypoints turn."""
    companion = tiny_rows.model(folder / "hand_rows.onnx", "palms", fit="letterbox")
    first = replace(tiny_topdown.first_stage(companion), name="detector", keypoint_count=7)
    return tiny_topdown.pose(folder / "hands.onnx", stages=(first, tiny_turned.HANDS))


def _hostile(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A few values in a thousand are no numbers, without end, or huge."""
    rng = np.random.default_rng(5)
    for values in maps.values():
        for bad in (np.nan, np.inf, -np.inf, 3e38, -3e38):
            values[rng.random(values.shape) < 2e-4] = bad
    return maps


_ALL = (
    follow,
    rows,
    limbs,
    bodies,
    stars,
    crops,
    bins,
    peaks,
    fed,
    spots,
    palms,
    turned,
    candidates,
    queries,
    labelled,
    everybody,
    hands,
)
KINDS = {kind.__name__: kind for kind in _ALL}

# For another ONNX Runtime than this one, which may sum in another order: networks without sums of fractions.
EXACT = KINDS | {"bins": partial(bins, noise=0), "peaks": partial(peaks, noise=0)}
del EXACT["everybody"]
