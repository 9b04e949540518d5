"""The operator posert::People of the C library, in sessions of other programs: it fails aloud, and keeps its memory."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fields
import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_fed
import tiny_topdown
from bundles import built
from onnx import TensorProto, helper
from tiny_kinds import KINDS

from posert import open_model
from posert.export.embed.fuse import fuse
from posert.postprocess.decoders import heatmap

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds ONNX Runtime's library in its Linux wheel"),
]
PARTS = len(fields.BODY_18.names)


@pytest.fixture(scope="module")
def limbs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limbs")
    return built(KINDS["limbs"](folder), folder / "c")


def operator_alone(path: Path) -> Path:
    """A network that is nothing but the operator: shape, heatmaps and pafs of any size in."""
    kinds = {"shape": (TensorProto.INT64, None), "heatmaps": (1, None), "pafs": (1, None)}
    node = helper.make_node("People", list(kinds), ["keypoints", "scores"], domain="posert")
    outputs = [helper.make_tensor_value_info("keypoints", 1, None), helper.make_tensor_value_info("scores", 1, None)]
    inputs = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
    graph = helper.make_graph([node], "people", inputs, outputs)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("posert", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def session(folder: Path, path: Path, library: str = "libposert.so") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(str(folder / library))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


SHAPE = np.array([1, 3, 240, 320])
MISFITS = [
    ({"heatmaps": (1, 3, 30, 40)}, r"heatmaps \[1, 3, 30, 40\]"),
    ({"pafs": (1, 8, 30, 40)}, r"pafs \[1, 8, 30, 40\]"),
    ({"pafs": (1, 38, 15, 40)}, r"pafs \[1, 38, 15, 40\]"),
    ({"pafs": (2, 38, 30, 40)}, "pafs has other rows"),
    ({"pafs": (38,)}, "pafs has other rows"),
    ({"pafs": (1, 1, 1, 1, 38, 30)}, "pafs has other rows"),
    ({"shape": (3,)}, "its first input is the shape of the network's"),
]


def inputs(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    heat, pafs = fields.maps(fields.people(3, 40, 30), 40, 30)
    given = {"shape": SHAPE, "heatmaps": heat[None], "pafs": pafs[None]}
    return {name: np.resize(array, shapes.get(name, array.shape)) for name, array in given.items()}


@pytest.mark.parametrize(("shapes", "said"), MISFITS)
def test_misfit_maps_fail_the_run(limbs: Path, tmp_path: Path, shapes: dict, said: str) -> None:
    """They once showed nobody."""
    alone = session(limbs, operator_alone(tmp_path / "alone.onnx"))
    with pytest.raises(Exception, match=said):
        alone.run(None, inputs(**shapes))
    keypoints, scores = alone.run(None, inputs())
    assert len(keypoints) == len(scores) == 3


def test_where_an_operator_cannot_fail_nobody_takes_its_answer_for_people(limbs: Path, tmp_path: Path) -> None:
    """A runtime before 1.16, played by the present one with the older operator: one person of NaN."""
    text = (limbs / "ops.c").read_text()
    assert "is_new ? &new_people : &old_people" in text
    shutil.copytree(limbs, tmp_path / "c")
    (tmp_path / "c" / "ops.c").write_text(text.replace("is_new ? &new_people", "is_new < 0 ? &new_people"))
    subprocess.run(["make", "-s", "-C", tmp_path / "c", "libposert.so"], check=True)
    alone = session(tmp_path / "c", operator_alone(tmp_path / "alone.onnx"))
    for shapes, _ in MISFITS:
        keypoints, scores = alone.run(None, inputs(**shapes))
        assert (keypoints.shape, scores.shape) == ((1, PARTS, 3), (1,))
        assert np.isnan(keypoints).all()
        assert np.isnan(scores).all()
    assert len(alone.run(None, inputs())[0]) == 3


def test_several_threads_at_once(limbs: Path, tmp_path: Path) -> None:
    alone = session(limbs, operator_alone(tmp_path / "alone.onnx"))

    def people(turn: int) -> bytes:
        size = (30, 40) if turn % 2 else (15, 20)  # two sizes in turn
        heat, pafs = fields.maps(fields.people(3, *size[::-1]), *size[::-1])
        given = {"shape": SHAPE, "heatmaps": heat[None], "pafs": pafs[None]}
        return b"".join(array.tobytes() for array in alone.run(None, given))

    expected = [people(turn) for turn in range(2)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(people, range(400))) == expected * 200


def test_memory_is_kept_from_call_to_call(limbs: Path, tmp_path: Path) -> None:
    """A handle and all its tables were once made anew for each call: one decoder is made here, however many calls."""
    text = (limbs / "ops.c").read_text().replace("posert__new()", "counted()")
    counted = "static int made;\nstatic posert *counted(void) { return made++ ? NULL : posert__new(); }\n"
    shutil.copytree(limbs, tmp_path / "c")
    (tmp_path / "c" / "ops.c").write_text(text.replace("static posert *take(", counted + "static posert *take("))
    subprocess.run(["make", "-s", "-C", tmp_path / "c", "libposert.so"], check=True)
    alone = session(tmp_path / "c", operator_alone(tmp_path / "alone.onnx"))
    for _ in range(20):
        assert len(alone.run(None, inputs())[0]) == 3


def test_a_model_of_several_stages_says_so(tmp_path: Path) -> None:
    folder = built(
        tiny_topdown.pose(tmp_path / "pose.onnx", tiny_topdown.detector(tmp_path / "detector.onnx")), tmp_path / "c"
    )
    with pytest.raises(Exception, match="the model has several stages"):
        onnxruntime.SessionOptions().register_custom_ops_library(str(folder / "libposert.so"))


def test_a_fused_network_of_several_rows(limbs: Path, tmp_path: Path) -> None:
    fused = session(limbs, fuse(limbs / "limbs.onnx", tmp_path / "fused.onnx"))
    one = np.full((1, 3, 240, 320), 7, np.float32)
    name = fused.get_inputs()[0].name
    alone, twice = (fused.run(None, {name: np.concatenate([one] * rows)}) for rows in (1, 2))
    assert twice[0].tobytes() == alone[0].tobytes() * 2


def test_a_network_that_takes_more_is_fused_with_its_numbers(tmp_path: Path) -> None:
    """In float16, of several rows: the people of each are those that posert finds."""
    image = replace(tiny_fed.CROP, fit="stretch", margin=None)
    path = tiny_fed.fed(tmp_path / "fed.onnx", region="frame", input=image, suppress=None)
    fused = session(built(path, tmp_path / "c"), fuse(path, tmp_path / "fused.onnx"))
    assert [value.name for value in fused.get_inputs()] == ["image"]
    rows = np.random.default_rng(0).random((3, 3, 32, 24)).astype(np.float16)
    keypoints, scores = fused.run(None, {"image": rows})
    with open_model(path, device="cpu") as model:
        people = heatmap.decode(model.run("pose", rows), model.spec.skeleton, model.params("pose"), (24, 32))
    assert keypoints.tobytes() == b"".join(poses.keypoints.tobytes() for poses in people)
    assert scores.tobytes() == b"".join(poses.scores.tobytes() for poses in people)
