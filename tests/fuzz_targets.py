"""What can be fuzzed: name -> a function of a random generator and a folder that feeds one input to one reader.

A `PosertError` is an answer; any other exception is a finding, and so is a process that dies or hangs. `fuzz.py` runs
them, `test_fuzz.py` a share of them.
"""

import functools
import json
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fields
import numpy as np
import odd
import people
import recordings
import tfjs_files
import tiny
import tiny_topdown
from odd import Random

from posert.errors import PosertError
from posert.flags import parse_params, with_flags
from posert.poses import TORSO, Frame, Poses, Skeleton
from posert.postprocess import decoder, decoder_params, suppression_params
from posert.postprocess.decoders import paf
from posert.postprocess.decoders.rows import Column
from posert.postprocess.following import FollowOptions, followed, joined
from posert.postprocess.geometry import usable
from posert.postprocess.steady import memory_size, steadied
from posert.postprocess.suppression import oks as oks_rule
from posert.postprocess.suppression import poses as pose_rule
from posert.runtime.files.formats import FORMATS, sink_of
from posert.runtime.jobs.job import finite_people
from posert.runtime.look import read_boxes
from posert.runtime.metadata import metadata_text
from posert.runtime.spec import METADATA_KEY, ModelSpec, from_json, to_json

Target = Callable[[Random, Path], object]
TOPDOWN = ModelSpec(
    1,
    "toy",
    "both",
    tiny.SPEC.skeleton,
    (tiny_topdown.DETECTOR, replace(tiny_topdown.POSE, file="a.onnx", sha256="00", suppress_params={"gamma": 20.0})),
)
LIMBS = replace(tiny.STAGE, region="frame", decoder="paf", params=asdict(paf.Params()), outputs={"pafs": "p"})
SPECS = [json.loads(to_json(spec)) for spec in (tiny.SPEC, TOPDOWN, replace(tiny.SPEC, stages=(LIMBS,)))]


def metadata(rng: Random, folder: Path) -> None:
    """A model's metadata, and all parameters in it."""
    data = json.dumps(odd.document(rng, odd.pick(rng, SPECS), odd.pick(rng, (0.001, 0.004, 0.04)))).encode()
    text = (odd.spoilt(rng, data) if rng.random() < 0.2 else data).decode("utf-8", "replace")
    spec = from_json(text)
    for stage in spec.stages:
        decoder_params(stage.decoder, dict(stage.params))
        if stage.suppress is not None:
            suppression_params(stage.suppress, dict(stage.suppress_params))
    without = tuple(replace(stage, params={}, suppress_params={}) for stage in spec.stages)
    assert from_json(to_json(replace(spec, stages=without))).stages == without


@functools.cache
def _onnx_bytes(folder: Path) -> bytes:
    return tiny.bright_spot(folder / "seed.onnx").read_bytes()


def container(rng: Random, folder: Path) -> None:
    """The place of the metadata in a damaged .onnx file."""
    path = folder / "m.onnx"
    path.write_bytes(odd.spoilt(rng, _onnx_bytes(folder)) or b"\0")
    metadata_text(path, METADATA_KEY)


def settings(rng: Random, folder: Path) -> None:
    """`--set` of any decoder, and the text of what is wrong with it."""
    name = odd.pick(rng, DECODERS)
    known = list(asdict(decoder(name).Params()))
    given = [f"{odd.pick(rng, known)}={json.dumps(odd.pick(rng, odd.VALUES))}" for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.2:
        given.append(odd.spoilt(rng, given[0].encode()).decode("utf-8", "replace"))
    try:
        decoder_params(name, parse_params(given))
    except PosertError as error:
        shown = with_flags(f"{error.what} {error.hint}")
        if not shown.translate({10: " ", 9: " "}).isprintable():
            raise ValueError(shown) from error
        raise


def boxes(rng: Random, folder: Path) -> None:
    """A file of boxes, as COCO's results or annotations."""
    rows = [{"image_id": i % 3, "bbox": [1.0, 2, 30, 40], "score": 0.5, "category_id": 1} for i in range(4)]
    images = [{"id": i, "file_name": f"val/00{i}.jpg"} for i in range(3)]
    path = folder / "boxes.json"
    path.write_bytes(odd.text_of(rng, odd.pick(rng, (rows, {"annotations": rows, "images": images}))))
    lookup = read_boxes(path)
    for source in ("a.mp4", "001.jpg"):
        found = lookup(Frame(np.zeros((2, 2, 3), np.uint8), 1, 0.0, source))
        assert found.dtype == np.float32
        assert found.shape[1:] == (5,)


@functools.cache
def _bright_spot(folder: Path) -> Any:
    import cv2

    from posert import open_model

    cv2.imwrite(str(folder / "1.png"), np.zeros((8, 8, 3), np.uint8))
    return open_model(tiny.bright_spot(folder / "eval.onnx"), device="cpu", threads=1)


def coco(rng: Random, folder: Path) -> None:
    """A file of COCO's annotations, as `eval` reads it."""
    from posert.measure.evaluate import evaluate

    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1.0, 1, 5, 5], "area": 25.0, "iscrowd": 0}
    person |= {"keypoints": [1.0, 2, 2] * 17, "num_keypoints": 17}
    image = {"id": 1, "file_name": "1.png", "width": 8, "height": 8}
    whole = {"images": [image], "annotations": [person], "categories": [{"id": 1, "name": "person"}]}
    path = folder / "coco.json"
    path.write_bytes(odd.text_of(rng, whole))
    evaluate(_bright_spot(folder), path, folder, ground_truth_boxes=bool(rng.integers(2)))


def tracks(rng: Random, folder: Path) -> None:
    """Annotated tracks in both layouts, and how alike the people in them and some who were found are."""
    from posert.measure.tracks import likeness
    from posert.measure.truths import read_mot, read_truth

    person = {"image_id": 1, "track_id": 1, "bbox": [1.0, 1, 5, 5], "area": 25.0, "keypoints": [1.0, 2, 2] * 3}
    image = {"id": 1, "file_name": "1.png", "ignore_regions_x": [[1.0, 2, 3]], "ignore_regions_y": [[1.0, 2, 1]]}
    whole = {"images": [image], "annotations": [person], "categories": [{"keypoints": ["nose", "neck", "x"]}]}
    rows = "".join(f"{frame},{key},1,2,30,40,1,1,0.5\n" for frame in (1, 2) for key in (1, 2)).encode()
    path = folder / odd.pick(rng, ("gt.txt", "tracks.json"))
    path.write_bytes(odd.spoilt(rng, rows) if path.suffix == ".txt" else odd.text_of(rng, whole))
    if path.suffix == ".txt" and rng.random() < 0.5:
        read_mot(path)
    truth = read_truth(path)
    found = Poses(odd.maps(rng, 2, 1, 3), np.ones(2, np.float32), odd.maps(rng, 2, 4), np.array([1, 2], np.int32))
    with np.errstate(all="ignore"):
        for there in truth.frames.values():
            assert likeness(there, found, [0] * len(truth.names), truth.names).shape == (len(there.ids), 2)


@functools.cache
def _recipe(folder: Path) -> Any:
    from posert.runtime.jobs.recipe import Recipe, Settings
    from posert.runtime.options import ModelOptions

    return Recipe(str(tiny.bright_spot(folder / "m.onnx")), Settings(), ModelOptions())


def manifest(rng: Random, folder: Path) -> None:
    """A manifest of earlier runs, as `--resume` reads it."""
    from posert.runtime.jobs.job import Job
    from posert.runtime.jobs.manifest import Manifest

    own = folder / "out"
    own.mkdir(exist_ok=True)
    (own / "a.jsonl").write_text("")
    row = {"source": "a.mp4", "output": "a.jsonl", "bytes": None, "modified_ns": None, "posert": "0.1.0"}
    row |= {"status": "done", "frames": 3, "people": 2, "seconds": 1.0, "error": None, "model": "m", "settings": {}}
    lines = b"\n".join(odd.text_of(rng, row) for _ in range(3))
    (own / "manifest.jsonl").write_bytes(lines)
    found = Manifest(own, _recipe(folder))
    jobs = [Job("a.mp4", own / "a.jsonl", None), Job("b.mp4", own / "b.jsonl", None)]
    found.begin(jobs, resume=True)


RECIPE = """
licence = "MIT"
[skeleton]
names = ["left", "right"]
edges = [[0, 1]]
[stage]
region = "boxes"
decoder = "heatmap"
outputs = { maps = "maps" }
params = { integral = 1 }
[stage.input]
name = "image"
layout = "NCHW"
dtype = "float32"
color = "rgb"
size_wh = [24, 32]
fit = "boxes"
std = [255, 255.0, 255]
[[nodes]]
op = "Transpose"
inputs = ["heat"]
outputs = ["turned"]
attributes = { perm = [0, 3, 1, 2] }
[[nodes]]
op = "Slice"
inputs = ["turned", [0], [2], [1]]
outputs = ["maps"]
"""

CFG = b"""[net]
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky
[maxpool]
size=3
stride=1
[shortcut]
from=-2
[route]
layers=-1,-3
[upsample]
stride=2
[convolutional]
filters=2
size=1
stride=1
activation=linear
[yolo]
"""


def darknet(rng: Random, folder: Path) -> None:
    """Darknet's .cfg and .weights."""
    from posert.export.readers.darknet import Darknet, read_cfg, read_weights

    text = odd.spoilt(rng, CFG)
    if rng.random() < 0.5:
        words = text.split(b"=")
        at = int(rng.integers(len(words)))
        words[at] = odd.pick(rng, (b"-1", b"0", b"1e9", b"99999", b"x", b"", b"1,2,3,")) + b"\n" + words[at][-12:]
        text = b"=".join(words)
    _, layers = read_cfg(text.decode("utf-8", "replace"))
    net = Darknet(3, layers)
    file = folder / "w.weights"
    count = sum(array.numel() for name, array in net.state_dict().items() if "num_batches" not in name)
    file.write_bytes(bytes(20 + 4 * count if rng.random() < 0.8 else int(rng.integers(0, 3000))))
    read_weights(net, file)


def graph_model(rng: Random, folder: Path) -> None:
    """A TensorFlow.js graph model, as an ONNX graph."""
    from posert.export.readers import tensorflow_nodes, tfjs

    path = folder / "model.json"
    if not path.exists():
        constants = {"w": np.ones((1, 1, 2, 3), np.float32), "one": np.ones(2, np.int32)}
        rows = [
            tfjs_files.placeholder("x", "DT_FLOAT", 1, 4, -1, 2),
            tfjs_files.node("c", "_FusedConv2D", "x", "w", "one", strides=[1] * 4, padding="SAME", fused_ops=["Relu6"]),
            tfjs_files.node("s", "StridedSlice", "c", "one", "one", "one", begin_mask=1, new_axis_mask=2),
            tfjs_files.node("p", "Pack", "s", "s:0", axis=1),
        ]
        tfjs_files.write(path, rows, constants, ["p"])
    model = folder / "odd.json"
    data = json.dumps(odd.document(rng, json.loads(path.read_text()), odd.pick(rng, (0.002, 0.005, 0.02)))).encode()
    model.write_bytes(odd.spoilt(rng, data) if rng.random() < 0.2 else data)
    tensorflow_nodes.to_onnx(tfjs.read(model))


TOPOLOGY: dict[str, Any] = {
    "input": "image",
    "input_dim": [1, 3, 8, 8],
    "layers": [
        ["conv1", "Convolution", ["image"], ["conv1"], {"num_output": 4, "pad": 1, "kernel_size": 3}],
        ["relu1", "ReLU", ["conv1"], ["conv1"]],
        ["pool1", "Pooling", ["conv1"], ["pool1"], {"pool": "MAX", "kernel_size": 2, "stride": 2}],
        ["conv2", "Convolution", ["pool1"], ["conv2"], {"num_output": 2, "kernel_size": 1}],
        ["prelu2", "PReLU", ["conv2"], ["prelu2"]],
        ["both", "Concat", ["conv2", "prelu2"], ["both"]],
    ],
}


@functools.cache
def _caffe(folder: Path) -> tuple[bytes, bytes]:
    import caffe_files

    caffe_files.write_caffemodel(folder / "seed.caffemodel", caffe_files.weights(TOPOLOGY))
    return caffe_files.prototxt(TOPOLOGY).encode(), (folder / "seed.caffemodel").read_bytes()


def _to_onnx(folder: Path, prototxt: bytes, caffemodel: bytes) -> None:
    from posert.export.readers import caffe

    (folder / "n.prototxt").write_bytes(prototxt)
    (folder / "n.caffemodel").write_bytes(caffemodel)
    net, blobs = caffe.read_prototxt(folder / "n.prototxt"), caffe.read_blobs(folder / "n.caffemodel")
    caffe.to_onnx(net, blobs, {"a": (0, 2), "b": (2, 4)})


def prototxt(rng: Random, folder: Path) -> None:
    """Caffe's description of a network."""
    text, weights = _caffe(folder)
    _to_onnx(folder, odd.spoilt(rng, text), weights)


def caffemodel(rng: Random, folder: Path) -> None:
    """Caffe's weights."""
    text, weights = _caffe(folder)
    _to_onnx(folder, text, odd.spoilt(rng, weights))


@functools.cache
def _own_network(folder: Path) -> Any:
    import own_networks

    return own_networks.brightest_cells(folder / "own.onnx", last=True)


def recipe(rng: Random, folder: Path) -> None:
    """A recipe: its text damaged, or its values odd; what is left of it brought together with a graph."""
    from posert.export import own_file
    from posert.export.recipe import read_recipe

    file = folder / "recipe.toml"
    file.write_bytes(odd.spoilt(rng, RECIPE.encode()))
    parsed = odd.document(rng, tomllib.loads(RECIPE), odd.pick(rng, (0.001, 0.01, 0.04)))
    given = file if rng.random() < 0.3 or not isinstance(parsed, dict) else parsed
    own_file.build(_own_network(folder), read_recipe(given, "own"))


def writers(rng: Random, folder: Path) -> None:
    """Every layout of results, with people and times that no network should give."""
    form = odd.pick(rng, list(FORMATS))
    skeleton = odd.pick(rng, (people.SKELETON, fields.BODY_18, Skeleton(("a",), ()), Skeleton((), ())))
    source = odd.pick(rng, ("walk.mp4", "1.jpg", "x.jpg", "a\nb.mp4", ""))
    spec = replace(people.SPEC, skeleton=skeleton)
    path = folder / f"o{FORMATS[form].name('o')}"
    with sink_of(form)(path, spec, source) as write:
        for index in range(int(rng.integers(0, 4))):
            count = int(rng.integers(0, 4))
            keypoints = odd.maps(rng, count, len(skeleton.names), 3)
            ids = rng.integers(-(2**31), 2**31, count).astype(np.int32) if rng.random() < 0.5 else None
            found = Poses(keypoints, odd.maps(rng, count), odd.maps(rng, count, 4), ids)
            frame, result = people.result(found, index, source=source)
            time_s = float(odd.pick(rng, (0.0, 1.5, -1.0, 1e300)))
            odd_wh = odd.pick(rng, ((640, 480), (1, 1), (0, 0)))
            write(frame, finite_people(replace(result, time_s=time_s, size_wh=odd_wh)))


def results(rng: Random, folder: Path) -> None:
    """A file of results, as reports read it, and the page that is made of it."""
    from posert.pages.report import write_report

    path = folder / "a.jsonl"
    if rng.random() < 0.2:
        with sink_of("npz")(folder / "a.npz", people.SPEC, "walk.mp4") as write:
            write(*people.result(people.standing((100, 200), (300, 200), ids=[1, 2])))
        path.write_bytes(odd.spoilt(rng, (folder / "a.npz").read_bytes()))
    else:
        lines = recordings.walkers(path, "nowhere.mp4", frames=int(rng.integers(1, 5))).read_text().splitlines()
        path.write_bytes(b"\n".join(odd.text_of(rng, json.loads(line), chance=0.001) for line in lines) + b"\n")
    write_report(path, folder / "a.html")


def _skeleton(rng: Random) -> Skeleton:
    count = int(rng.integers(0, 6))
    beyond = int(rng.random() < 0.1)
    ends = rng.integers(-beyond, max(1, count + beyond), (int(rng.integers(0, 7)), 2))
    ends = ends[ends[:, 0] != ends[:, 1]] if rng.random() < 0.9 else ends
    flip = tuple(rng.permutation(count).tolist()) if rng.random() < 0.5 else ()
    return Skeleton(tuple("abcdef"[:count]), tuple(map(tuple, ends.tolist())), (), flip)


def _said(rng: Random, params: dict[str, Any], rows: int, count: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what the decoder `rows` reads: so many rows of the batch, each of so many."""
    classes, points = params["classes"], params["keypoints"] * (3 if params.get("keypoint_scores", True) else 2)
    widths = {"box": 4, "scores": classes, "keypoints": points}
    width = sum(widths.get(word, 1) for word in params["columns"])
    apart = {"scores": (rows, count, classes), "labels": (rows, count), "keypoints": (rows, count, points)}
    given = {role: shape for role, shape in apart.items() if rng.random() < 0.5}
    return {"rows": (rows, width, count) if rng.random() < 0.3 else (rows, count, width), **given}


def _decode(name: str, rng: Random, folder: Path) -> None:
    """Any outputs for any skeleton and parameters; half of them of shapes that fit."""
    made, bones = decoder(name), _skeleton(rng)
    params = odd.params(rng, made.Params)
    k, edges = len(bones.names), len(bones.edges)
    h, w, rows = (int(n) for n in (*rng.integers(1, 7, 2), rng.integers(1, 3)))
    if name in ("paf", "bodyparts"):
        params["paf_channels"] = rng.integers(0, 5, (edges, 2)).tolist()
        params.pop("upsample", 0) if rng.random() < 0.5 else None
    if name == "bodyparts":
        params |= {"foot_parts": rng.integers(0, k + 1, 2).tolist() if k else [], "redundant_edges": [0, 3]}
    fitting = (7 * (w - 1) + 1, 7 * (h - 1) + 1)
    input_wh = odd.pick(rng, ((8 * w, 8 * h), fitting, fitting, (32, 32), (1, 1), (0, 5), (64, 32)))
    if name == "detect":
        params["classes"] = classes = int(rng.integers(1, 4))
        input_wh = (32 * min(w, 3), 32 * min(h, 3))
    if name == "simcc":
        params["split_ratio"] = float(odd.pick(rng, (0.5, 1, 2, 2.5)))
    if name == "rows":
        words = [str(word) for word in rng.permutation(typing.get_args(Column))[: rng.integers(1, 7)]]
        params |= {"columns": words, "classes": int(rng.integers(1, 4)), "keypoints": int(rng.integers(0, 7))}
        if rng.random() < 0.2:
            params["cells"] = rng.integers(1, 40, (int(rng.integers(1, 3)), 2)).tolist()
    wide, high = input_wh
    cells = [(high // s, wide // s) for s in (8, 16, 32)]
    shapes = {
        "paf": lambda: {"heatmaps": (rows, k + 1, h, w), "pafs": (rows, 5, h, w)},
        "cifcaf": lambda: {"cif": (rows, k, 5, h, w), "caf": (rows, edges, 8, h, w)},
        "heatmap": lambda: {"maps": (rows, k, h, w), "mirrored_maps": (rows, k, h, w)},
        "simcc": lambda: {
            f"{mirrored}simcc_{axis}": (rows, k, max(1, round(side * params.get("split_ratio", 2.0))))
            for mirrored in ("", "mirrored_")
            for axis, side in zip("xy", input_wh, strict=True)
        },
        "direct": lambda: {"people": (rows, h, 3 * k + 5)} if w % 2 else {"keypoints": (rows, 1, k, 3)},
        "rows": lambda: _said(rng, params, rows, h * w),
        "detect": lambda: (
            {"grid_rows": (rows, sum(a * b for a, b in cells), 5 + classes)}
            if w % 2
            else {f"head{s}": (rows, 3 * (5 + classes), *c) for s, c in zip((8, 16, 32), cells, strict=True)}
        ),
    }
    chosen: dict[str, tuple[int, ...]] = shapes["paf" if name == "bodyparts" else name]()
    outputs = {}
    for role, shape in chosen.items():
        sides = list(shape)
        if rng.random() < 0.1:
            sides[int(rng.integers(len(sides)))] = int(rng.integers(0, 9))
        if rng.random() < 0.02:
            sides = sides[: int(rng.integers(0, len(sides)))] + [1] * int(rng.integers(0, 3))
        if rng.random() > 0.03:
            outputs[role] = odd.maps(rng, *sides)
    settled = decoder_params(name, params)
    found = made.decode(outputs, bones, settled, input_wh)
    for poses in found:
        assert poses.keypoints.shape[0] == len(poses.scores) == len(poses.boxes_xyxy)


def suppression(rng: Random, folder: Path) -> None:
    """The rules for people found twice, and who is followed then."""
    count, k = int(rng.integers(0, 12)), int(odd.pick(rng, (0, 1, 5, 17, 111, 136)))
    params = suppression_params("poses", odd.params(rng, pose_rule.Params))
    regions = Poses(np.zeros((count, 0, 3), np.float32), odd.maps(rng, count), odd.maps(rng, count, 4))
    found = Poses(odd.maps(rng, count, k, 3), odd.maps(rng, count), odd.maps(rng, count, 4))
    if k >= 111 or not params.whole_body or not k or not count:
        assert len(pose_rule.suppress(found, regions, params)) <= count
    kept = oks_rule.suppress(found, regions, suppression_params("oks", odd.params(rng, oks_rule.Params)))
    assert len(kept) <= count
    if k > 4:
        bones = Skeleton((*TORSO, *map(str, range(k - 4))), (), flip=tuple(range(k))[::-1])
        known, windows = followed(kept, (64, 48), bones)
        how, memory = (
            FollowOptions(**odd.params(rng, FollowOptions)),
            odd.maps(rng, count, memory_size(k)).astype(float),
        )
        steady, memory = steadied(kept, memory, (64, 48), bones, how)
        assert len(steady) == len(memory) == len(kept)
        assert len(followed(steady, (64, 48), bones, memory)[0]) <= len(kept)
        both, again = joined(known, usable(regions, (64, 48)), float(rng.random()))
        assert len(known) == len(windows) == len(again) <= len(both) <= 2 * count


DECODERS = ("direct", "heatmap", "simcc", "detect", "rows", "paf", "bodyparts", "cifcaf")
TARGETS: dict[str, tuple[Target, int]] = {
    "metadata": (metadata, 120_000),
    "container": (container, 80_000),
    "settings": (settings, 150_000),
    "boxes": (boxes, 60_000),
    "coco": (coco, 10_000),
    "tracks": (tracks, 20_000),
    "manifest": (manifest, 20_000),
    "darknet": (darknet, 10_000),
    "prototxt": (prototxt, 20_000),
    "caffemodel": (caffemodel, 40_000),
    "graph_model": (graph_model, 20_000),
    "recipe": (recipe, 20_000),
    "writers": (writers, 20_000),
    "results": (results, 10_000),
    **{name: (functools.partial(_decode, name), 70_000) for name in DECODERS},
    "suppression": (suppression, 60_000),
}
"""Name -> target, and how many inputs `fuzz.py` gives it."""
NEEDS = types.MappingProxyType({"darknet": "torch"})
"""Target -> the package without which it is left out."""
