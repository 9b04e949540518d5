"""posert.wasm and the modules around it in Node, fed with recorded outputs of networks: the same bits as Python."""

import ctypes
import gzip
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from ctypes.util import find_library
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_follow
import tiny_parts
import tiny_topdown
from bundles import noise
from tiny_kinds import KINDS
from web_browser import official
from web_cases import record, written_modules

from posert.errors import PosertError
from posert.export.nano import clip
from posert.export.web.site import WASM
from posert.poses import Frame
from posert.runtime.spec import from_json

pytestmark = [
    pytest.mark.c,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
    pytest.mark.skipif(not WASM.is_file(), reason="needs posert.wasm (make wasm)"),
]
ROOT = Path(__file__).parents[1]
NODE = Path(__file__).with_name("web_bits.mjs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_modules(tmp_path_factory.mktemp("web") / "site")


@pytest.fixture
def bits(site: Path, tmp_path: Path) -> Callable[..., dict]:
    """What Node says about a model on these frames, beside Python."""

    def ask(model: Path | str, frames: list[Frame], **options: Any) -> dict:
        case = record(model, frames, tmp_path, "case", **options)
        done = subprocess.run(["node", NODE, site, case], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said: dict = json.loads(done.stdout)
        assert said["table"], "the table is not Python's"
        assert said["wrong"] == []
        assert said["frames"] == len(frames)
        return said

    return ask


def photos() -> list[Frame]:
    return [Frame(image, number, number / 25, f"{number}.jpg") for number, image in enumerate(noise())]


def drawn(count: int) -> list[Frame]:
    return [Frame(np.asarray(clip.render(7 * i)[0], np.uint8), i, i / 25, "clip") for i in range(count)]


def walks() -> list[Frame]:
    """Two people cross, a third comes and leaves again, and a few frames are noise."""
    paths = [[(20 + 2 * i, 40), (108 - 2 * i, 46), *[(60, 76)] * (9 < i < 20)] * (i != 17) for i in range(24)]
    frames = [tiny_follow.scene(*squares, index=i) for i, squares in enumerate(paths)]
    frames[12:12] = [replace(frames[0], bgr=image) for image in noise()]
    return frames


@pytest.mark.parametrize("kind", KINDS)
def test_every_decoder_and_way_of_looking_gives_pythons_bits(kind: str, tmp_path: Path, bits: Any) -> None:
    """The input tensors, the people, and the model's table, which is made of the file's metadata."""
    said = bits(KINDS[kind](tmp_path), photos())
    assert said["feeds"] >= len(noise())
    assert said["people"] > 0


@pytest.mark.parametrize("rule", ["steady", "tutorial"])
@pytest.mark.parametrize(("kind", "every"), [("everybody", 1), ("everybody", 3), ("follow", 1), ("crops", 2)])
def test_following_gives_pythons_bits(kind: str, every: int, rule: str, tmp_path: Path, bits: Any) -> None:
    params = {"follow.rule": rule, "follow.slack": 0.03} if kind != "crops" else {"suppress.gamma": 20}
    assert bits(KINDS[kind](tmp_path), walks(), detect_every=every, params=params)["people"] > 10


@pytest.mark.parametrize("rule", ["steady", "tutorial"])
@pytest.mark.parametrize("kind", ["everybody", "follow", "crops"])
def test_boxes_of_ones_own_give_pythons_bits(kind: str, rule: str, tmp_path: Path, bits: Any) -> None:
    """On some frames; a box without an area is nobody's, and whoever is found is followed from there."""
    own = np.array([[12, 30, 44, 66, 0.9], [50, 50, 50, 60, 0.8], [90.5, 20, 130, 70, 0.5]], np.float32)

    def boxes(frame: Frame) -> np.ndarray | None:
        return {0: own[2:], 1: own, 9: own[:0], 10: own}.get(frame.index % 16)

    params = {"follow.rule": rule} if kind != "crops" else {}
    said = bits(KINDS[kind](tmp_path), walks(), boxes=boxes, detect_every=1 if kind == "follow" else 2, params=params)
    assert said["people"] > 10


def test_a_model_without_a_detector_looks_in_boxes(tmp_path: Path, bits: Any) -> None:
    def boxes(_: Frame) -> np.ndarray:
        return np.array([[12, 30, 44, 66, 0.9]], np.float32)

    assert bits(tiny_topdown.pose(tmp_path / "pose.onnx"), photos(), boxes=boxes)["people"] == len(photos())


def test_the_embedded_network(bits: Any) -> None:
    assert bits("nano", drawn(6), params={"peak_threshold": 0.1})["people"] >= 6


def test_hands_beside_the_body(tmp_path: Path, bits: Any) -> None:
    """Networks for parts are joined to the model by the browser too."""
    frames = []
    for i in range(16):
        sway, still = 6 * np.sin(i / 3), tiny_parts.arm(44 + 12j, 44 + 24j, 44 + 36j)
        moved = tiny_parts.arm(12 + 10j, 14 + sway + 20j, 12 + 1.5 * sway + 30j)
        hands = [tiny_parts.hand(44 + 37j, 1 + 2j), tiny_parts.hand(12 + 1.5 * sway + 31j, sway / 6 + 2j)]
        frames.append(tiny_parts.scene([np.vstack([moved, still]), np.vstack([still, still])], hands, i))
    parts = (tiny_parts.hands(tmp_path / "hands.onnx"),)
    assert bits(tiny_parts.arms(tmp_path / "arms.onnx"), frames, parts=parts)["people"] == 2 * len(frames)


def test_another_detector(tmp_path: Path, bits: Any) -> None:
    pose = tiny_topdown.pose(tmp_path / "pose.onnx")
    found = bits(pose, photos(), detector=tiny_topdown.detector(tmp_path / "detector.onnx"))
    assert found["people"] >= 4


REAL = {
    "openpose-openvino-0001": "openvino_human_pose_estimation_0001_w8.onnx",
    "alphapose-ultralight-simplepose": "ultralight_nano_simplepose.onnx",
    "movenet-lightning": "movenet_tfjs/movenet-lightning.json",
    "movenet-multipose-lightning": "movenet_tfjs/movenet-multipose.json",
    "movenet-thunder-people": "movenet_tfjs/movenet-thunder.json",
}


@pytest.mark.assets
@pytest.mark.parametrize("name", REAL)
def test_official_networks_give_pythons_bits(
    name: str, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: Any
) -> None:
    """With nano, of six official or embedded networks what they said to the drawn clip and to photos, recorded."""
    model = official(name, assets / "models" / REAL[name], tmp_path, monkeypatch)
    frames = drawn(5) + [Frame(cv2.imread(str(path)), 0, 0, path.name) for path in photos_of(assets)]
    assert bits(model, frames)["people"] > 5


def photos_of(assets: Path) -> list[Path]:
    return sorted(assets.glob("media/coco100/images/*.jpg"))[:3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": []}, "the model's metadata is wrong: posert.stages = [], expected at least one stage"),
        ({"format": 3}, "the model's metadata has format 3; this posert reads up to 2"),
        ({"more": 1}, "the model's metadata is wrong: posert.more = 1, expected one of the keys format, system"),
        (
            {"skeleton": {"names": ["a"], "edges": [[0, 1]]}},
            "posert.skeleton = [[0,1]], expected keypoint indices 0..0",
        ),
        ({"model": 5}, "the model's metadata is wrong: posert.model = 5, expected text"),
    ],
)
def test_bad_metadata_is_refused_as_in_python(site: Path, tmp_path: Path, change: dict, message: str) -> None:
    from posert.runtime.metadata import metadata_text
    from posert.runtime.session import find_model

    data = json.loads(metadata_text(find_model("nano"), "posert") or "") | change
    (tmp_path / "spec.json").write_text(json.dumps({"metadata": {"posert": json.dumps(data)}}))
    program = f"""
        const {{ readSpec }} = await import({json.dumps((site / "spec.mjs").as_uri())})
        const fs = await import('node:fs')
        try {{ readSpec(JSON.parse(fs.readFileSync({json.dumps(str(tmp_path / "spec.json"))})), 'nano.onnx') }}
        catch (error) {{ console.log(JSON.stringify([error.name, error.what, error.hint])) }}
    """
    done = subprocess.run(["node", "--input-type=module", "-e", program], capture_output=True, text=True, check=True)
    _, what, hint = json.loads(done.stdout)
    assert message in what
    assert hint
    with pytest.raises(PosertError) as error:
        from_json(json.dumps(data))
    assert error.value.what.split("=")[0] == what.split("=")[0]


def test_it_is_small_and_asks_its_host_for_nothing() -> None:
    data = WASM.read_bytes()
    assert len(gzip.compress(data, 9)) < 100_000
    assert b"wasi_snapshot" not in data


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_its_exponential_is_the_c_librarys(tmp_path: Path) -> None:
    """Zig's own expf once moved the boxes of a detector by three units in the last place."""
    source = (ROOT / "export" / "web" / "expf.c").read_text().replace("float expf(", "float own(")
    (tmp_path / "own.c").write_text(source + "void many(float *x, long n) { while (n--) x[n] = own(x[n]); }")
    bits = [struct.unpack("<q", struct.pack("<d", 2.0 ** (i / 32)))[0] - (i << 47) for i in range(32)]
    (tmp_path / "exp2_table.h").write_text(f"#define EXP2_TABLE {', '.join(f'{word}u' for word in bits)}")
    flags = ["-O1", "-std=c99", "-ffp-contract=off", "-fPIC", "-shared", "-o", tmp_path / "own.so"]
    subprocess.run(["cc", *flags, tmp_path / "own.c"], check=True)
    rng, system = np.random.default_rng(0), ctypes.CDLL(find_library("m"))
    system.expf.restype, system.expf.argtypes = ctypes.c_float, [ctypes.c_float]
    ends = [0, 88.722839, 88.7228394, -103.97208, -103.972, np.inf, -np.inf]
    values = np.concatenate([rng.uniform(-105, 90, 100_000), rng.normal(0, 2, 100_000), ends]).astype(np.float32)
    found = values.copy()
    ctypes.CDLL(str(tmp_path / "own.so")).many(ctypes.c_void_p(found.ctypes.data), ctypes.c_long(len(found)))
    wanted = np.array([system.expf(float(value)) for value in values], np.float32)
    assert np.count_nonzero(found.view(np.uint32) != wanted.view(np.uint32)) == 0
