"""`posert bundle --target wasm32-wasi` in wasmtime, whose networks Python's ONNX Runtime runs: Python's bits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from bundle_steps import DTYPES
from bundles import noise
from command import Run
from tiny_kinds import KINDS

from posert.export.web.site import WASM
from posert.export.web.wasi import README
from posert.poses import Frame
from posert.runtime.loop import People
from posert.runtime.session import open_model

pytestmark = [
    pytest.mark.c,
    pytest.mark.skipif(not WASM.is_file(), reason="needs posert.wasm (make wasm)"),
]


class Host:
    """What `README.wasi` tells a host to do."""

    def __init__(self, folder: Path) -> None:
        wasmtime = pytest.importorskip("wasmtime", reason="needs wasmtime (make test-wheels)")
        self.store = wasmtime.Store()
        module = wasmtime.Module.from_file(self.store.engine, str(folder / "posert.wasm"))
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.memory = self.exports["memory"]
        self("_initialize")
        self.stages = json.loads((folder / "model.json").read_text())["stages"]
        self.sessions = [onnxruntime.InferenceSession(str(folder / stage["file"])) for stage in self.stages]
        table = (folder / "model.table").read_bytes()
        assert self("open", self.put(table), len(table) // 8, 1) == 0, self.error()

    def __call__(self, name: str, *given: int) -> Any:
        return self.exports[name](self.store, *given)

    def put(self, data: bytes) -> int:
        at = self("take", len(data) + 8)
        self.memory.write(self.store, data, at)
        return at

    def read(self, at: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(bytes(self.memory.read(self.store, at, at + size)), dtype).reshape(shape)

    def error(self) -> str:
        at = self("error")
        return bytes(self.memory.read(self.store, at, at + 400)).split(b"\0")[0].decode()

    def people(self, bgr: np.ndarray) -> tuple[np.ndarray, ...]:
        pixels = self.put(bgr.tobytes())
        assert self("begin", pixels, bgr.shape[1], bgr.shape[0], 0) == 0, self.error()
        while True:
            stage, data, kind, *sides, count = self.read(self("next"), (8,), np.int32).tolist()
            assert self("status") == 0, self.error()
            if not data:
                break
            feeds = {self.stages[stage]["input"]: self.read(data, tuple(sides), DTYPES[kind])}
            for i, name in enumerate(self.stages[stage]["constants"][:count]):
                kind, data, axes, *sides = self.read(self("constant", i), (8,), np.int32).tolist()
                feeds[name] = self.read(data, tuple(sides[:axes]), DTYPES[kind])
            outputs = self.sessions[stage].run(self.stages[stage]["outputs"], feeds)
            given = [np.ascontiguousarray(output, np.float32) for output in outputs]
            places = [self.put(array.tobytes()) for array in given]
            for i, (at, array) in enumerate(zip(places, given, strict=True)):
                self("output", i, at, array.ndim, *array.shape, *[0] * (5 - array.ndim))
            assert self("give", len(given)) == 0, self.error()
            for at in places:
                self("drop", at)
        people, keypoints, *at = self.read(self("people"), (5,), np.int32).tolist()
        shapes = ((people, keypoints, 3), (people,), (people, 4))
        self("drop", pixels)
        return tuple(self.read(place, shape, np.float32) for place, shape in zip(at, shapes, strict=True))


@pytest.mark.parametrize("kind", ["follow", "fed", "peaks", "stars", "hands"])
def test_a_host_of_webassembly_finds_pythons_people(kind: str, tmp_path: Path, run: Run) -> None:
    model, folder = KINDS[kind](tmp_path), tmp_path / "wasi"
    assert run("bundle", model, "--target", "wasm32-wasi", "-o", folder)[0] == 0
    host = Host(folder)
    with open_model(model, device="cpu", threads=1) as opened:
        people = People(opened)
        for number, image in enumerate(noise()):
            ((_, result),) = people([Frame(image, number)])
            keypoints, scores, boxes = host.people(image)
            own = result.poses
            assert (keypoints.tobytes(), scores.tobytes(), boxes.tobytes()) == (
                own.keypoints.tobytes(), own.scores.tobytes(), own.boxes_xyxy.tobytes(),
            )  # fmt: skip


def test_a_host_hears_what_is_wrong(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "wasi"
    assert run("bundle", "nano", "--target", "wasm32-wasi", "-o", folder)[0] == 0
    assert (folder / "README").read_text() == README.read_text()
    host = Host(folder)
    assert host("begin", host.put(bytes(64)), 0, 4, 0) == 1
    assert "a picture of 0 x 4 px" in host.error()
    assert host("give", 0) == 1
    assert host.error() == "posert_give comes after posert_next"
    again = (folder / "model.table").read_bytes()
    assert host("open", host.put(again), len(again) // 8, 1) == 4
    (folder / "model.table").write_bytes(again[:-8])
    with pytest.raises(AssertionError, match="this is no table of this posert"):
        Host(folder)


def test_it_takes_neither_processor_nor_prefix(tmp_path: Path, run: Run) -> None:
    code, _, said = run("bundle", "nano", "--target", "wasm32-wasi", "--prefix", "body", "-o", tmp_path / "wasi")
    assert code == 1
    assert "leave them away" in said
