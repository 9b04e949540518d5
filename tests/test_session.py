"""Opening models: what is refused, and with which words."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from posert.errors import PosertError
from posert.flags import parse_params
from posert.runtime.metadata import metadata_text
from posert.runtime.options import ModelOptions
from posert.runtime.session import open_model
from posert.runtime.spec import METADATA_KEY, to_json


def test_open_and_run(tmp_path: Path) -> None:
    with open_model(tiny.bright_spot(tmp_path / "m.onnx"), device="cpu") as model:
        assert model.spec == tiny.SPEC
        assert model.device == "cpu"
        out = model.run("pose", np.full((2, 64, 64, 3), 51, np.uint8))
    assert out["keypoints"].shape == (2, 1, 17, 3)
    assert out["keypoints"][1, 0, 3] == pytest.approx([0.2, 0.2, 0.9])


def test_a_model_that_follows_has_one_worker(tmp_path: Path) -> None:
    path = tiny.bright_spot(tmp_path / "m.onnx")
    assert open_model(path, workers=4).workers == 1
    assert open_model(tiny.bright_spot(path, region="frame"), workers=4).workers == 4


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


FUTURE = to_json(tiny.SPEC).replace('"format":1', '"format":3')
REFUSED = {
    "missing": (lambda p: p / "none.onnx", "there is no model file", "posert models list"),
    "a folder": (lambda p: p, "is a folder", ".onnx file"),
    "empty": (lambda p: _write(p / "m.onnx", b""), "is empty", "again"),
    "text": (lambda p: _write(p / "m.onnx", b"hello, world\n" * 50), "cannot be opened", "damaged"),
    "cut off": (
        lambda p: _write(p / "c.onnx", tiny.bright_spot(p / "m.onnx").read_bytes()[:200]),
        "cannot be opened",
        "cut",
    ),
    "no metadata": (lambda p: tiny.bright_spot(p / "m.onnx", metadata=None), "no posert metadata", "posert tag"),
    "not JSON": (lambda p: tiny.bright_spot(p / "m.onnx", metadata="{"), "not JSON", "posert tag"),
    "two megabytes": (
        lambda p: tiny.bright_spot(p / "m.onnx", metadata="[" + "1," * 10**6),
        "at most 1000000",
        "posert",
    ),
    "newer format": (lambda p: tiny.bright_spot(p / "m.onnx", metadata=FUTURE), "format 3", "pip install -U posert"),
    "unknown decoder": (lambda p: tiny.bright_spot(p / "m.onnx", decoder="os.path"), "the decoder 'os.path'", "update"),
    "decoder of a private part": (
        lambda p: tiny.bright_spot(p / "m.onnx", decoder="__init__"),
        "the decoder '__init__'",
        "update",
    ),
    "unknown parameter": (lambda p: tiny.bright_spot(p / "m.onnx", params={"zap": 1}), "no parameters zap", "update"),
    "wrong outputs": (
        lambda p: tiny.bright_spot(p / "m.onnx", outputs={"keypoints": "a", "b": "c"}),
        "outputs a, c, the graph has keypoints",
        "again",
    ),
    "wrong input name": (lambda p: _input(p, name="x"), "input 'x', the graph has image", "again"),
    "wrong input type": (
        lambda p: _input(p, dtype="float32"),
        "float32 of rank 4, the graph has tensor(uint8)",
        "again",
    ),
    "wrong input size": (lambda p: _input(p, size_wh=(32, 64)), "fixed to [64, 64]", "again"),
    "free size of a fixed graph": (lambda p: _input(p, multiple_of=8), "fixed to [64, 64]", "again"),
    "missing companion": (
        lambda p: tiny.bright_spot(p / "m.onnx", file="d.onnx", sha256="0"),
        "companion d.onnx",
        "both",
    ),
}


def _input(folder: Path, **edits: object) -> Path:
    return tiny.bright_spot(folder / "m.onnx", input=replace(tiny.INPUT, **edits))


@pytest.mark.parametrize("case", REFUSED)
def test_refused_models_say_why(tmp_path: Path, case: str) -> None:
    make, message, hint = REFUSED[case]
    with pytest.raises(PosertError) as caught:
        open_model(make(tmp_path))
    assert message in caught.value.what
    assert hint in caught.value.hint


def test_a_companion_is_opened_only_with_its_own_bytes(tmp_path: Path) -> None:
    companion = tiny.bright_spot(tmp_path / "other.onnx", metadata=None)
    digest = hashlib.sha256(companion.read_bytes()).hexdigest()
    model = tiny.bright_spot(tmp_path / "m.onnx", file="other.onnx", sha256=digest)
    with open_model(model) as opened:
        assert opened.run("pose", np.zeros((1, 64, 64, 3), np.uint8))["keypoints"].shape == (1, 1, 17, 3)
    companion.write_bytes(companion.read_bytes() + b"\0")
    with pytest.raises(PosertError, match=r"is not the file that m\.onnx names"):
        open_model(model)


def test_an_input_the_network_does_not_take(tmp_path: Path) -> None:
    with (
        open_model(tiny.bright_spot(tmp_path / "m.onnx")) as model,
        pytest.raises(PosertError, match=r"failed on input \[1, 32, 32, 3\]"),
    ):
        model.run("pose", np.zeros((1, 32, 32, 3), np.uint8))


def test_long_edge_needs_a_free_size(tmp_path: Path) -> None:
    with pytest.raises(PosertError, match="one input size"):
        open_model(tiny.bright_spot(tmp_path / "m.onnx"), long_edge=128)


def test_parameters_of_the_decoder_can_be_set(tmp_path: Path) -> None:
    path = tiny.bright_spot(tmp_path / "m.onnx", decoder="cifcaf")
    given = parse_params(["greedy=true", "seed-threshold = 0.5", "instance_threshold=null"])
    with open_model(path, params=given) as model:
        params = model.params("pose")
    assert (params.greedy, params.seed_threshold, params.instance_threshold) == (True, 0.5, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [("greedy", "sets nothing"), ("greedy=yes", "greedy = 'yes'"), ("gredy=true", "no parameters gredy"),
     ("seed_threshold=2", "seed_threshold = 2")],
)  # fmt: skip
def test_parameters_that_cannot_be_set(tmp_path: Path, text: str, message: str) -> None:
    path = tiny.bright_spot(tmp_path / "m.onnx", decoder="cifcaf")
    with pytest.raises(PosertError, match=message):
        open_model(path, params=parse_params([text]))


def test_cuda_without_cuda_is_loud(tmp_path: Path) -> None:
    """Holds on machines with the CPU wheel, and with the GPU wheel but no GPU."""
    import onnxruntime

    path = tiny.bright_spot(tmp_path / "m.onnx")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has the GPU build of ONNX Runtime")
    with pytest.raises(PosertError, match="'cuda' was asked for"):
        open_model(path, device="cuda")


def test_parameters_of_the_decoder_over_the_files(tmp_path: Path) -> None:
    file = tiny.bright_spot(tmp_path / "m.onnx", decoder="paf", params={"min_parts": 3})
    with open_model(file, params={"min_score": 0.5}) as model:
        assert (model.params("pose").min_parts, model.params("pose").min_score) == (3, 0.5)
    for wrong in ({"nope": 1}, {"assembly": "x"}, {"min_parts": "many"}):
        with pytest.raises(PosertError, match=r"nope|assembly|min_parts|'>='") as found:
            open_model(file, params=wrong)
        assert found.value.hint == "posert info MODEL shows the parameters"


@pytest.mark.parametrize("region", ["follow", "frame"])
def test_a_network_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    """A model that follows was opened again, when its own metadata had said that it has one worker."""
    import onnxruntime

    opened, session = [], onnxruntime.InferenceSession

    def count(*args: object, **more: object) -> object:
        opened.append(args)
        return session(*args, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", count)
    with open_model(tiny.bright_spot(tmp_path / "m.onnx", region=region), threads=4, workers=4):
        assert len(opened) == 1


@pytest.mark.parametrize(
    ("region", "workers", "version", "expected"),
    [
        ("follow", 4, "1.32.0", (1, 4, True)),
        ("follow", 4, "1.25.1", (1, 4, False)),
        ("frame", 1, "1.32.0", (1, 4, True)),
        ("frame", 2, "1.32.0", (2, 2, False)),
        ("frame", 8, "1.32.0", (8, 1, False)),
    ],
)
def test_how_the_threads_are_shared_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    region: str,
    workers: int,
    version: str,
    expected: tuple[int, int, bool],
) -> None:
    """A model that follows had one thread less than was asked for."""
    import onnxruntime

    given, session = [], onnxruntime.InferenceSession

    def note(path: str, options: onnxruntime.SessionOptions, **more: object) -> object:
        spins = options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
        given.append((options.intra_op_num_threads, spins))
        return session(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    monkeypatch.setattr(onnxruntime, "__version__", version)
    path = tiny.bright_spot(tmp_path / "m.onnx", region=region)
    with open_model(path, device="cpu", threads=4, workers=workers) as model:
        assert (model.workers, *given[0]) == expected


def test_options_as_a_record_and_as_keywords(tmp_path: Path) -> None:
    path = tiny.bright_spot(tmp_path / "m.onnx", decoder="paf", region="frame")
    options = ModelOptions(device="cpu", workers=3, params={"min_parts": 5})
    with open_model(path, options) as one, open_model(path, options, workers=2, params={}) as two:
        assert (one.workers, one.params("pose").min_parts) == (3, 5)
        assert (two.workers, two.params("pose").min_parts) == (2, 4)


def test_networks_keep_their_memory_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    kept, session = [], onnxruntime.InferenceSession

    def watch(path: str, options: onnxruntime.SessionOptions, **more: object) -> object:
        kept.append(options.enable_cpu_mem_arena)
        return session(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watch)
    path = tiny.bright_spot(tmp_path / "m.onnx")
    with open_model(path), open_model(path, arena=False):
        assert kept == [True, False]


@pytest.mark.parametrize("cut", [1, 10, 100, 200, -1, -2])
def test_metadata_of_a_damaged_file(tmp_path: Path, cut: int) -> None:
    whole = tiny.bright_spot(tmp_path / "m.onnx").read_bytes()
    assert metadata_text(tmp_path / "m.onnx", METADATA_KEY) == to_json(tiny.SPEC)
    (tmp_path / "m.onnx").write_bytes(whole[:cut])
    assert metadata_text(tmp_path / "m.onnx", METADATA_KEY) is None


@settings(max_examples=200, deadline=None)
@given(data=st.binary(min_size=1, max_size=200))
def test_metadata_of_anything(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.onnx"
    file.write_bytes(data)
    assert metadata_text(file, METADATA_KEY) is None
    file.write_bytes(b"\x72" + bytes([min(len(data), 127)]) + data)  # the tag of a metadata entry
    metadata_text(file, METADATA_KEY)
