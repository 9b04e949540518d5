"""A site of `posert web` on this machine, and what its page says to pictures and videos. For the tests of the site."""

import base64
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browser

from posert.errors import PosertError
from posert.export.web.site import RUNTIME, WASM, write_site
from posert.export.weights import pull
from posert.poses import Frame, Poses
from posert.postprocess.geometry import usable
from posert.runtime.loop import People
from posert.runtime.session import Model, open_model

READY_S = 40
LOOKING = """async ([file, photo, boxes]) => {
  const { openModel } = await import('./posert.mjs');
  window.models ??= {};
  const model = (models[file] ??= await openModel(file));
  const picture = Object.assign(new Image(), { src: photo });
  await picture.decode();
  await model.reset();
  const people = await model.estimate(picture, boxes ? { boxes } : {});
  return people.map(({ box, keypoints }) => ({ box: [...box], keypoints: [...keypoints] }));
}"""
"""The people of a photo by a model file, both in the site; in boxes of ours, if these are given."""


def runtime_here() -> None:
    """Skips where ONNX Runtime for the web is neither in the cache nor to be fetched."""
    try:
        pull(RUNTIME)
    except PosertError as error:
        pytest.skip(f"needs onnxruntime-web: {error.what}")


def site_of(models: list[Any], folder: Path) -> Path:
    """The site; skips where its parts are not here."""
    if not WASM.is_file():
        pytest.skip("needs posert.wasm (make wasm)")
    runtime_here()
    write_site(models, folder)
    return folder


class _Handler(SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a folder as any static host would have it, and the paths that are asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
    finally:
        server.shutdown()
        server.server_close()


def ready(tab: Any, address: str) -> Any:
    tab.problems = []
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("console", lambda said: tab.problems.append(said.text) if said.type == "error" else None)
    tab.goto(address)
    tab.wait_for_selector("body[data-ready]", timeout=1000 * READY_S)
    return tab


@contextmanager
def pair(file: Path, site: Path) -> Iterator[tuple[Any, Model, Model]]:
    """A tab with the site, to which the networks are added; here a top-down model on one thread, and its detector."""
    for path in file.parent.glob("*.onnx"):
        shutil.copy(path, site)
    with (
        serving(site) as (address, _),
        browser() as chromium,
        open_model(file, device="cpu", threads=1) as own,
        open_model(own.files["detector"], device="cpu", threads=1) as detector,
    ):
        yield ready(chromium.new_page(), address), own, detector


def until(tab: Any, asked: str, seconds: float = READY_S) -> None:
    """Waits for something to be true; the page's own policy forbids what the driver would do."""
    end = time.monotonic() + seconds
    while not tab.evaluate(asked):
        assert time.monotonic() < end, (asked, tab.inner_text("body"), tab.problems)
        time.sleep(0.05)


def shown(tab: Any, file: Path, count: int = 1) -> list[dict]:
    """The people of a picture or of the first frames of a video, as the page has them."""
    tab.set_input_files("input[type=file]", file)
    until(tab, f"posert.source === {json.dumps(file.name)} && posert.results.length >= {count}")
    found: list[dict] = tab.evaluate(
        "posert.results.map(({frame, time, size, people, ids}) => ({frame, time, size, ids, ms: people.ms,"
        " people: people.map(({score, box, keypoints}) => ({score, box: [...box], keypoints: [...keypoints]}))}))"
    )
    return found


def apart(found: list[dict], own: Poses, least: float = 0.0) -> float:
    """The largest difference of a coordinate, px, of keypoints with this score at least; infinite for other people."""
    if len(found) != len(own):
        return float("inf")
    theirs = np.array([person["keypoints"] for person in found]).reshape(own.keypoints.shape)
    sure = own.keypoints[..., 2] >= least
    return float(np.abs(theirs - own.keypoints)[sure].max(initial=0))


def python(model: Any, image: np.ndarray) -> Poses:
    """Of a picture that nothing came before."""
    ((_, result),) = People(model)([Frame(np.ascontiguousarray(image))])
    return result.poses


def in_boxes(model: Model, frame: Frame, boxes: np.ndarray) -> Poses:
    """Python's people in boxes of ours."""
    ((_, result),) = People(model, lambda _: boxes)([frame])
    return result.poses


def boxes_of(detector: Model, frame: Frame) -> np.ndarray:
    """Where Python's pair looks, f32 [N,5]: its detector's boxes and their scores."""
    found = usable(python(detector, frame.bgr), frame.size_wh)
    return np.column_stack([found.boxes_xyxy, found.scores])


def decided_as_in_python(model: Model, detector: Model, frame: Frame, people: list[dict]) -> np.ndarray:
    """bool [N,K]: whether a page's keypoints of a top-down pair are less than .001 px from Python's.

    Those that are not jump in Python, too, to where they are in the page, if the boxes move by a five-hundredth of a
    pixel: a keypoint lies a quarter of a cell from its map's highest one, on the side of the greater neighbour, and
    where these are equal but for rounding it takes either side (`tests/bench/web_rounding.py` shows it step by step).
    """
    boxes = boxes_of(detector, frame)
    points = in_boxes(model, frame, boxes).keypoints[..., :2]
    assert np.array_equal(points, python(model, frame.bgr).keypoints[..., :2])
    theirs = np.array([person["keypoints"] for person in people]).reshape(*points.shape[:2], 3)[..., :2]
    moves = np.concatenate([np.eye(5)[:4], -np.eye(5)[:4]]) / 500
    moved = np.array([in_boxes(model, frame, np.float32(boxes + move)).keypoints[..., :2] for move in moves])
    jumps = np.abs(moved - points).max((0, 3)) > 0.5
    same: np.ndarray = np.abs(theirs - points).max(2) < 1e-3
    assert (same | (jumps & (np.abs(theirs - moved).max(3).min(0) < 0.05))).all()
    return same


SEEKING = """async ([name, count, boxes]) => {
  const whole = await (await fetch(name)).blob(); // a plain host lets nobody seek
  const video = Object.assign(document.createElement('video'), { muted: true, src: URL.createObjectURL(whole) });
  const seen = [], canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true });
  await new Promise((done) => { video.onloadeddata = done; });
  await posert.model.reset();
  for (let i = 0; i < count; i++) {
    await new Promise((done) => { video.onseeked = done; video.currentTime = (i + 1.5) / 10; });
    Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
    context.drawImage(video, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    const people = await posert.model.estimate(video, boxes ? { boxes: boxes[i] } : {});
    let text = '';
    const step = 32768, { data } = pixels;
    for (let at = 0; at < data.length; at += step) text += String.fromCharCode(...data.subarray(at, at + step));
    const [width, height] = people.size;
    seen.push({ width, height, pixels: btoa(text), people: people.map((one) => ({ keypoints: [...one.keypoints] })) });
  }
  return seen;
}"""


def in_video(tab: Any, name: str, count: int, boxes: Any = None) -> tuple[list[Frame], list[list[dict]]]:
    """The frames of a video (ten a second) of the site, and the people that a page finds in each.

    What a frame's pixels are, only the browser knows. The module's own interface; boxes: of each frame, to look in.
    """
    seen, frames = tab.evaluate(SEEKING, [name, count, boxes]), []
    for i, frame in enumerate(seen):
        rgba = np.frombuffer(base64.b64decode(frame["pixels"]), np.uint8).reshape(frame["height"], frame["width"], 4)
        frames.append(Frame(np.ascontiguousarray(rgba[:, :, 2::-1]), i, i / 10, name))
    return frames, [frame["people"] for frame in seen]


def official(name: str, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model made of an official file among the assets and of its companions there, in `folder`."""
    pytest.importorskip("onnx")
    from posert.export.named import Terms, model_file

    mirror = folder / "mirror"
    mirror.mkdir()
    for other in (file, file.with_suffix(".bin"), *(place / "yolox_nano.onnx" for place in file.parents[:2])):
        if other.is_file():
            shutil.copy(other, mirror)
    monkeypatch.setenv("POSERT_MIRROR", str(mirror))
    monkeypatch.setenv("POSERT_HOME", str(folder / "home"))
    return Path(model_file(name, Terms(accept_licence=True)))
