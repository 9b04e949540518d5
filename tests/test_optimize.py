"""Models in fewer bits: what is written, what stays float, what is refused, and that nothing is left behind then."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny
import tiny_layers
import tiny_topdown
from command import Run

import posert
from posert import PosertError
from posert.export import onnx_file
from posert.export.optimize import candidates
from posert.export.optimize.guard import same_people
from posert.export.optimize.networks import float_weights
from posert.export.optimize.pictures import MOST, chosen_frames
from posert.export.optimize.search import fewest_float
from posert.export.optimize.written import DONE
from posert.poses import Poses


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return tiny_layers.pictures(tmp_path / "pictures")


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A top-down model with its detector, both with layers."""
    return tiny_layers.pair(tmp_path / "in")


def operators(file: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(file)).graph.node]


def below(folder: Path) -> dict[str, str]:
    """Every file below a folder and its hash."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def done(file: Path) -> dict[str, Any]:
    """What the file says was done to it."""
    found: dict[str, Any] = json.loads(next(p.value for p in onnx.load(str(file)).metadata_props if p.key == DONE))
    return found


def test_a_top_down_model_and_its_detector_become_int8(person: Path, pictures: Path, tmp_path: Path) -> None:
    before, lines = below(person.parent), list[str]()
    out = tmp_path / "new" / "small.onnx"
    found = posert.optimize(person, out, calibrate=pictures, precision="int8", threads=1, report=lines.append)

    assert below(person.parent) == before
    assert sorted(below(out.parent)) == ["boxes-int8.onnx", "small.onnx"]
    for file in (out, out.with_name("boxes-int8.onnx")):
        assert "QuantizeLinear" in operators(file)
        assert done(file)["precision"] == "int8"
        assert done(file)["calibrated_on"] == "pictures"
    spec = onnx_file.read_metadata(out)
    assert spec.model == "bright-person-int8"
    assert [stage.file for stage in spec.stages] == ["boxes-int8.onnx", None]
    assert [(one.stage, one.precision) for one in found.networks] == [("detector", "int8"), ("pose", "int8")]
    assert found.networks[1].kept <= 1
    assert found.verdict.again == found.verdict.people[0] == 7  # of 6 pictures, one of them in both boxes
    assert "6 pictures of" in lines[0]
    assert "7 people before, 7 after, 7 the same at 0.9 (1.000, wanted 0.98)" in str(found)
    with posert.open_model(out, device="cpu") as model:
        assert len(list(posert.estimate(model, posert.frames(pictures / "000.png")))) == 1


def test_one_stage_alone_and_the_detector_as_it_was(person: Path, pictures: Path, tmp_path: Path) -> None:
    found = posert.optimize(person, tmp_path, calibrate=pictures, precision="int8", stages=["pose"], threads=1)
    assert found.output == tmp_path / "person-int8.onnx"
    assert (tmp_path / "boxes.onnx").read_bytes() == (person.parent / "boxes.onnx").read_bytes()
    assert str(found).splitlines()[0] == "detector: stays as it is (boxes.onnx)"


def test_a_model_that_follows_one_person(pictures: Path, tmp_path: Path) -> None:
    model = tiny_layers.follow(tmp_path / "one.onnx")
    found = posert.optimize(model, tmp_path / "out.onnx", calibrate=pictures, precision="int8", threads=1)
    assert found.verdict.share == 1
    assert onnx.load(str(found.output)).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_layers_that_hurt_stay_float(pictures: Path, tmp_path: Path) -> None:
    """One layer works beside a value that drowns its others in eight bits."""
    model = tiny_layers.pair(tmp_path / "in", outliers=(0.0, 2000.0))
    lines = list[str]()
    found = posert.optimize(
        model, tmp_path / "o.onnx", calibrate=pictures, precision="int8", stages=["pose"], threads=1, keep=0.6,
        report=lines.append,
    )  # fmt: skip
    assert 1 <= found.networks[-1].kept <= 2
    assert found.verdict.good
    assert any("0 of 4 layers float" in line for line in lines)
    assert done(found.output)["float_layers"] == found.networks[-1].kept


def test_transposed_convolutions_become_int8(pictures: Path, tmp_path: Path) -> None:
    """ONNX Runtime has no integer kernel for them: in SimplePose int8 they were a quarter of the time."""
    model = tiny_layers.pair(tmp_path / "in", larger=True)
    assert operators(model).count("ConvTranspose") == 2
    found = posert.optimize(
        model, tmp_path / "o.onnx", calibrate=pictures, precision="int8", stages=["pose"], threads=1
    )
    assert "ConvTranspose" not in operators(found.output)
    assert (found.networks[-1].layers, found.networks[-1].kept) == (4 + 4 + 2 * 4, 0)


def test_half_precision_keeps_inputs_and_outputs(person: Path, pictures: Path, tmp_path: Path) -> None:
    found = posert.optimize(
        person, tmp_path / "half.onnx", calibrate=pictures, precision="fp16", stages=["pose"], threads=1
    )
    graph = onnx.load(str(found.output)).graph
    kinds = {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in graph.initializer}


@pytest.mark.parametrize(("ms", "chosen"), [([10.0, 4.0], "int8"), ([10.0, 9.9], "")])
def test_auto_takes_what_is_fastest(
    person: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ms: list[float], chosen: str
) -> None:
    """int8 first: what is as fast comes after it."""
    monkeypatch.setattr(candidates, "medians_ms", lambda *_: ms)
    out = tmp_path / "out"
    if chosen:
        found = posert.optimize(person, out, calibrate=pictures, threads=1)
        assert found.output == out / "person-optimized.onnx"
        assert {one.precision for one in found.networks} == {chosen}
        assert "2.50 times as fast" in str(found)
        return
    with pytest.raises(PosertError, match=r"nothing of bright-person is faster here .*: detector: int8 1\.01"):
        posert.optimize(person, out, calibrate=pictures, threads=1)
    assert not out.exists()


def test_other_people_are_refused_with_the_figures(pictures: Path, tmp_path: Path) -> None:
    model = tiny_layers.pair(tmp_path / "in", outliers=(90000.0, 90000.0))
    before = below(tmp_path)
    with pytest.raises(PosertError, match=r"other people even with half .*: \d+ people before, \d+ after"):
        posert.optimize(model, tmp_path / "o.onnx", calibrate=pictures, precision="int8", stages=["pose"], threads=1)
    assert below(tmp_path) == before


def test_pictures_that_were_not_calibrated_on_judge(
    person: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search is content; the others are not."""
    monkeypatch.setattr(candidates.Guard, "judge", candidates.Guard.while_searching)
    verdict = posert.optimize(person, tmp_path / "a", calibrate=pictures, precision="int8", threads=1).verdict
    monkeypatch.setattr(candidates.Guard, "judge", lambda *_: candidates.Verdict((12, 12), 11, verdict.keep))
    before = below(tmp_path)
    with pytest.raises(PosertError, match=r"is not written: 12 people before, 12 after, 11 the same at 0.9 \(0.917"):
        posert.optimize(person, tmp_path / "b", calibrate=pictures, precision="int8", threads=1)
    assert below(tmp_path) == before


def wrong(name: str) -> Callable[[Path, Path, Path], dict[str, Any]]:
    """Arguments that differ from right ones in what `name` says; made in a folder."""

    def arguments(folder: Path, person: Path, pictures: Path) -> dict[str, Any]:
        right: dict[str, Any] = {"model": person, "output": folder / "o", "calibrate": pictures, "precision": "int8"}
        few = tiny_layers.pictures(folder / "few", 3)
        dark = tiny_layers.pictures(folder / "dark", dark=True)
        boxes = person.parent / "boxes.onnx"
        text = folder / "text.json"
        text.write_text("{}")
        quantised = folder / "quantised.onnx"
        if name == "again":
            posert.optimize(tiny_layers.follow(folder / "f.onnx"), quantised, calibrate=pictures, precision="int8")
        flat = folder / "flat"
        flat.write_text("a file, no folder")
        other = folder / "other"
        if name == "detector there":
            other.mkdir()
            (other / "boxes.onnx").write_bytes(b"another")
        changes: dict[str, dict[str, Any]] = {
            "precision": {"precision": "int4"}, "keep": {"keep": 1.5}, "no keep": {"keep": 0.0},
            "coco alone": {"coco": text}, "images alone": {"images": pictures},
            "same pictures": {"coco": text, "images": pictures}, "bad coco": {"coco": text, "images": few},
            "no model": {"model": folder / "none.onnx"}, "no source": {"calibrate": folder / "none"},
            "few": {"calibrate": few}, "nobody": {"calibrate": dark}, "stage": {"stages": ["hands"]},
            "over the model": {"output": person}, "over the detector": {"output": boxes},
            "no layers": {"model": tiny.bright_spot(folder / "bright.onnx")}, "again": {"model": quantised},
            "no folder": {"output": flat / "o.onnx"},
            "detector there": {"output": other, "stages": ["pose"]},
        }  # fmt: skip
        return right | changes[name]

    return arguments


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("precision", "there is no precision 'int4'", "auto, int8, fp16"),
        ("keep", "`keep` 1.5 is no share", "above 0, at most 1"),
        ("no keep", "`keep` 0 is no share", "above 0"),
        ("coco alone", "annotations and their pictures belong together", "both `coco` and `images`"),
        ("images alone", "annotations and their pictures belong together", "both"),
        ("same pictures", "pictures says how good the result is", "calibrate on other pictures"),
        ("bad coco", "skeleton has no nose", "COCO-like"),
        ("no model", "there is no model file", "posert export"),
        ("no source", "does not exist", ""),
        ("few", "few has 3 pictures, at least 4 are needed", "a video or a folder"),
        ("nobody", "finds nobody in half of the pictures|nobody is found", "people"),
        ("stage", "bright-person has no stage hands", "it has detector, pose"),
        ("over the model", "person.onnx is what the result is made of", "`output`"),
        ("over the detector", "boxes.onnx is what the result is made of", "`output`"),
        ("no layers", "has no convolution or matrix product", ""),
        ("again", "quantised.onnx is quantised already", "float model"),
        ("no folder", "cannot be written", "`output`"),
        ("detector there", "boxes.onnx is there and another detector", "another folder"),
    ],
)
def test_wrong_use_is_refused_and_leaves_nothing(
    name: str, message: str, hint: str, person: Path, pictures: Path, tmp_path: Path
) -> None:
    given = wrong(name)(tmp_path, person, pictures)
    before = below(tmp_path)
    with pytest.raises(PosertError, match=message) as refused:
        posert.optimize(given.pop("model"), given.pop("output"), threads=1, **given)
    assert hint in refused.value.hint
    assert below(tmp_path) == before


def test_the_command_prints_the_report(run: Run, person: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = ("optimize", person, "-o", tmp_path / "o.onnx", "--calibrate", pictures, "--precision", "int8")
    code, out, _ = run(*arguments, "--stage", "pose", "--threads", "1")
    assert code == 0
    assert out.splitlines()[-1] == str(tmp_path / "o.onnx")
    code, _, err = run(*arguments, "--stage", "hands", "--keep", "0.9")
    assert (code, "no stage hands" in err) == (1, True)
    code, _, err = run(*arguments, "--keep", "2")
    assert (code, "--keep 2 is no share" in err) == (1, True)


def test_frames_are_spread_evenly_and_take_turns(tmp_path: Path) -> None:
    found = chosen_frames(tiny_layers.pictures(tmp_path / "many", MOST + 5))
    names = [[int(Path(frame.source).stem) for frame in each] for each in (found.calibrating, found.judging)]
    assert names[0] == list(range(0, MOST + 5, 4))
    assert names[1] == list(range(2, MOST + 5, 4))


def test_people_are_the_same_once_only() -> None:
    keypoints = np.array([[[10, 10, 0.9], [30, 50, 0.9]]], np.float32)
    one = Poses(keypoints, np.ones(1, np.float32), np.array([[10, 10, 30, 50]], np.float32))
    twice = Poses(*(np.concatenate([array, array]) for array in (one.keypoints, one.scores, one.boxes_xyxy)))
    moved = Poses(keypoints + np.float32([6, 6, 0]), one.scores, one.boxes_xyxy)
    names = ("left_hip", "right_hip")
    assert [same_people(one, other, names) for other in (one, twice, moved)] == [1, 1, 0]
    bare = Poses(np.zeros((1, 0, 3), np.float32), one.scores, one.boxes_xyxy)
    assert same_people(bare, bare, ()) == 1


@pytest.mark.parametrize(("enough", "found"), [(1, 1), (3, 3), (5, 5), (6, None)])
def test_as_few_layers_as_are_enough(enough: int, found: int | None) -> None:
    groups = [(str(number),) for number in range(10)]
    kept = fewest_float(groups, lambda names: len(names) >= enough)
    assert (None if kept is None else len(kept)) == found


def test_weights_that_are_stored_as_integers_are_float_again() -> None:
    stored = np.array([[1, -2], [3, 4]], np.int8)
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["wide"], axis=0),
        onnx.helper.make_node("MatMul", ["x", "wide"], ["y"]),
    ]
    fixed = {"w": stored, "scale": np.float32([0.5, 2]), "zero": np.int8([0, 1])}
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in "xy"]
    graph = onnx.helper.make_graph(
        nodes, "w8", ends[:1], ends[1:], [onnx.numpy_helper.from_array(value, name) for name, value in fixed.items()]
    )
    model = onnx.helper.make_model(graph)
    float_weights(model)
    assert np.array_equal(onnx_file.constants(model)["wide"], [[0.5, -1], [4, 6]])
    assert [node.op_type for node in model.graph.node] == ["MatMul"]


def test_the_detector_of_boxes_alone(pictures: Path, tmp_path: Path) -> None:
    """People without keypoints are the same by their boxes."""
    boxes = tiny_layers.detector(tmp_path / "boxes.onnx")
    found = posert.optimize(boxes, tmp_path / "o.onnx", calibrate=pictures, precision="int8", threads=1)
    assert found.verdict.again == 12
    assert tiny_topdown.first_stage(found.output).file == "o.onnx"


def test_nano_in_eight_bits_is_judged_by_annotations(assets: Path, tmp_path: Path) -> None:
    """A part-affinity network, on real pictures; half of the annotated ones are for the search, half judge."""
    coco = assets / "media" / "coco100"
    whole = json.loads((coco / "person_keypoints_coco100.json").read_bytes())
    pictures = whole["images"][:50]
    own = {picture["id"] for picture in pictures}
    people = [person for person in whole["annotations"] if person["image_id"] in own]
    few = tmp_path / "few.json"
    few.write_text(json.dumps({**whole, "images": pictures, "annotations": people}))
    found = posert.optimize(
        "nano", tmp_path / "nano8.onnx", calibrate=assets / "media" / "videos" / "mmpose_demo.mp4", precision="int8",
        coco=few, images=coco / "images",
    )  # fmt: skip
    assert found.verdict.ap is not None
    assert found.verdict.ap[1] >= found.verdict.ap[0] - 0.01
    assert found.networks[0].layers == 48  # each of its two looks has its own
    assert "; AP 0." in str(found)
    assert operators(found.output).count("QuantizeLinear") > 20
