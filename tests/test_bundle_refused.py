"""Models that once made the C library read or write beyond its memory: refused, by `bundle` and by the library itself.

The library is built of them all the same, with the address sanitizer, to see that it stands on its own.
"""

import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fields
import numpy as np
import onnx
import pytest
import tiny_maps
import tiny_topdown
from bundles import SANITIZED, assert_same_people, built, noise
from onnx import helper
from tiny_kinds import KINDS

from posert.errors import PosertError
from posert.export import onnx_file
from posert.export.embed import bundle as writing
from posert.export.embed import library
from posert.export.embed.bundle import bundle
from posert.postprocess.decoders.paf import COCO_18_CHANNELS
from posert.runtime.spec import METADATA_KEY, InputSpec, ModelSpec, Stage, to_json

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]
FEET = {"paf_channels": COCO_18_CHANNELS, "foot_parts": (19, 20, 21, 22, 23, 24), "min_parts": 3}
MISFITS = {
    "too few channels": ("paf", {"paf_channels": COCO_18_CHANNELS[:10]}, (38, 30, 40)),
    "no channels": ("bodyparts", {"paf_channels": ()}, (38, 30, 40)),
    "channels beyond": ("bodyparts", {"paf_channels": ((900, 901), *COCO_18_CHANNELS[1:])}, (38, 30, 40)),
    "feet beyond": ("bodyparts", FEET, (38, 30, 40)),
    "edges beyond": ("bodyparts", {"paf_channels": COCO_18_CHANNELS, "redundant_edges": (17, 77)}, (38, 30, 40)),
    "maps of other sizes": ("paf", {}, (38, 15, 20)),
    "too few maps": ("paf", {}, (8, 30, 40)),
}


def misfit(path: Path, name: str) -> Path:
    rule, params, shape = MISFITS[name]
    heat, pafs = fields.maps(fields.people(3, 40, 30), 40, 30)
    pafs = np.resize(pafs, shape)
    spec = InputSpec("image", "NCHW", "float32", "bgr", (320, 240), "corner_pixels", interpolation="linear_or_cubic")
    stage = Stage("pose", "frame", spec, {"heatmaps": "heatmaps", "pafs": "pafs"}, rule, params)
    return tiny_maps.shown(path, {"heatmaps": heat, "pafs": pafs}, ModelSpec(1, "toy", rule, fields.BODY_18, (stage,)))


def sanitized(folder: Path) -> Path:
    """The example, built with the sanitizers."""
    program = folder / "sanitized_example"
    command = ["cc", *SANITIZED, "-I", folder, *folder.glob("*.c"), folder / "kernels.o", "-o", program]
    subprocess.run([*command, "-lm", "-ldl"], check=True)
    return program


def refused_by_c(folder: Path) -> str:
    """What the library says to a picture, which it must refuse without a word of the sanitizers."""
    (folder / "a.ppm").write_bytes(b"P6 64 48 255\n" + bytes(64 * 48 * 3))
    command = [sanitized(folder), folder, library.onnxruntime_library(), folder / "a.ppm"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the decoder ")
    return done.stderr


@pytest.mark.parametrize("name", MISFITS)
def test_outputs_that_do_not_fit_their_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model = misfit(tmp_path / "toy.onnx", name)
    with pytest.raises(PosertError) as refused:
        bundle(model, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    monkeypatch.setattr(writing, "_check", lambda model: None)
    bundle(model, tmp_path / "c")
    said = refused_by_c(tmp_path / "c")
    problem = re.search(r": ([^:]*)$", str(refused.value).split(" (")[0])
    assert problem is not None
    assert problem[1].strip() in said  # the same words as Python's


@pytest.mark.parametrize("kind", ["limbs", "bodies"])
@pytest.mark.parametrize("channel", [-1, -40, 38, 1 << 40])
def test_channels_that_no_map_has(tmp_path: Path, kind: str, channel: int) -> None:
    """`Params` refuses the negative ones, so they are written into the table; the library once read before the maps."""
    folder = tmp_path / "c"
    bundle(KINDS[kind](tmp_path), folder)
    text = (folder / "model.c").read_text()
    first = f" {2 * len(COCO_18_CHANNELS)}, {COCO_18_CHANNELS[0][0]}, {COCO_18_CHANNELS[0][1]},"
    assert text.count(first) == 1
    (folder / "model.c").write_text(text.replace(first, first.replace(f", {COCO_18_CHANNELS[0][1]},", f", {channel},")))
    assert "paf" in refused_by_c(folder)


def with_metadata(path: Path, change: Callable[[ModelSpec], ModelSpec]) -> Path:
    spec = change(onnx_file.read_metadata(path))
    model = onnx.load(str(path))
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    entry.value = to_json(spec)
    onnx.save(model, str(path))
    return path


def test_more_than_four_stages(tmp_path: Path) -> None:
    """The library had room for four sessions."""
    pair = tiny_topdown.pose(tmp_path / "pose.onnx", tiny_topdown.detector(tmp_path / "detector.onnx"))

    def again(spec: ModelSpec) -> ModelSpec:
        first, last = spec.stages
        between = [replace(last, name=f"pose{i}", file="again.onnx") for i in range(4)]
        shutil.copy(pair, tmp_path / "again.onnx")
        digest = __import__("hashlib").sha256((tmp_path / "again.onnx").read_bytes()).hexdigest()
        return replace(spec, stages=(first, *(replace(stage, sha256=digest) for stage in between), last))

    model = with_metadata(pair, again)
    folder = built(model, tmp_path / "c")
    assert assert_same_people(model, folder, noise(), example=sanitized(folder)) > 0


def test_more_than_eight_outputs(tmp_path: Path) -> None:
    """The library had room for eight; those that the decoder does not read are not even asked for."""
    path = KINDS["limbs"](tmp_path)
    model = onnx.load(str(path))
    more = [f"more{i}" for i in range(9)]
    for name in more:
        model.graph.node.append(helper.make_node("Identity", ["heatmaps"], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, 1, ["n", 19, 30, 40]))
    onnx.save(model, str(path))

    def all_of_them(spec: ModelSpec) -> ModelSpec:
        outputs = {name: name for name in more} | dict(spec.stages[0].outputs)
        return replace(spec, stages=(replace(spec.stages[0], outputs=outputs),))

    folder = built(with_metadata(path, all_of_them), tmp_path / "c")
    assert "more0" not in (folder / "model.c").read_text()
    assert assert_same_people(path, folder, noise(), example=sanitized(folder)) > 0


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("follow")
    return built(KINDS["follow"](folder), folder / "c")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"threads": -3}, "threads -3: must be 0 or more"),
        ({"detect_every": -1}, "detect_every -1: must be 0 or more"),
        ({"detect_every": 2}, "detect_every 2: the model has no detector to leave out"),
        ({"follow": {"rule": 2}}, r"follow\.rule 2: there is no such rule"),
        ({"follow": {"share": 1.5}}, r"follow\.share 1\.5, follow\.slack 0\.02: must be from 0 to 1"),
        ({"follow": {"slack": math.nan}}, r"follow\.slack (-?nan|nan): must be from 0 to 1"),
        ({"follow": {"patience": 0}}, r"follow\.patience 0, follow\.cut 6: must be at least 1, and 0"),
        ({"follow": {"cut": math.inf}}, r"follow\.cut inf: must be at least 1, and 0"),
    ],
)
def test_options_that_make_no_sense(follow: Path, how: dict[str, Any], said: str) -> None:
    with pytest.raises(PosertError, match=said):
        library.NativeModel(follow, **how)


def test_options_of_a_newer_header(follow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their fields were dropped unseen."""
    monkeypatch.setattr(library.ctypes, "sizeof", lambda kind: 4096)
    with pytest.raises(PosertError, match=r"options of 4096 bytes are of a newer posert\.h than this library"):
        library.NativeModel(follow)


def test_options_of_an_older_header(follow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their missing fields are at their defaults."""
    monkeypatch.setattr(library.ctypes, "sizeof", lambda kind: 24)
    with library.NativeModel(follow, threads=-5, detect_every=7) as model:
        assert len(model.estimate(noise()[0])) == 1
