"""The site of `posert web` in a real browser: Python's people, pictures, videos, the camera, offline, nothing sent."""

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny
from browser import browser
from doc_blocks import BLOCKS
from web_browser import READY_S, apart, decided_as_in_python, official, python, ready, serving, shown, site_of, until

from posert.export.nano import clip
from posert.poses import Frame
from posert.runtime.files.results import read_results
from posert.runtime.session import open_model

pytestmark = pytest.mark.pages
OFFICIAL = {
    "movenet-lightning": "movenet_tfjs/movenet-lightning.json",
    "alphapose-ultralight-simplepose": "ultralight_nano_simplepose.onnx",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of the drawn clip, without loss: two people, and somebody who falls."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in (30, 100, 170):
        cv2.imwrite(str(folder / f"{index}.png"), clip.render(index)[0])
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames of the drawn clip that every browser plays."""
    path = tmp_path_factory.mktemp("walk") / "walk.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 10, (clip.WIDTH, clip.HEIGHT))
    for index in range(24):
        writer.write(clip.render(80 + 2 * index)[0])
    writer.release()
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site_of(["nano"], tmp_path_factory.mktemp("web") / "site")


@pytest.fixture
def opened(site: Path) -> Iterator[tuple[Any, list[str]]]:
    """The page with nano open, and what was asked of the server."""
    with serving(site) as (address, asked), browser() as chromium:
        yield ready(chromium.new_page(viewport={"width": 1280, "height": 800}), address), asked


def test_pictures_have_pythons_people(opened: Any, pictures: list[Path]) -> None:
    tab, _ = opened
    with open_model("nano", device="cpu", threads=1) as model:
        for file in pictures:
            ((frame, *_),) = (shown(tab, file),)
            own = python(model, cv2.imread(str(file)))
            assert len(own) >= 1
            assert apart(frame["people"], own) < 1e-3
    assert tab.problems == []


@pytest.mark.assets
@pytest.mark.parametrize("name", OFFICIAL)
def test_pictures_of_official_networks_have_pythons_people(
    name: str, assets: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MoveNet, and a detector with a network for its crops."""
    site = site_of(["nano"], tmp_path / "site")  # while the mirror of the tests' own environment has the runtime
    model = official(name, assets / "models" / OFFICIAL[name], tmp_path, monkeypatch)
    photos = [*pictures, *_as_png(sorted(assets.glob("media/coco100/images/*.jpg"))[:3], tmp_path)]
    networks = [path for path in model.parent.glob("*.onnx") if path != model]
    with serving(site) as (address, _), browser() as chromium, open_model(model, device="cpu", threads=1) as own:
        tab = ready(chromium.new_page(), address)
        tab.set_input_files("input[type=file]", [*networks, model])  # dropped, its companion beside it
        until(tab, f"posert.model?.name === {json.dumps(own.spec.model)}")
        found = [(cv2.imread(str(photo)), shown(tab, photo)[0]["people"]) for photo in photos]
        if networks:
            with open_model(own.files["detector"], device="cpu", threads=1) as detector:
                same = [decided_as_in_python(own, detector, Frame(image), people).ravel() for image, people in found]
            assert np.mean(np.concatenate(same)) > 0.98
        else:
            assert max(apart(people, python(own, image), 0.2) for image, people in found) < 1e-3
        assert tab.problems == []


def _as_png(files: list[Path], folder: Path) -> list[Path]:
    made = [folder / f"{file.stem}.png" for file in files]
    for file, path in zip(files, made, strict=True):
        cv2.imwrite(str(path), cv2.imread(str(file)))
    return made


def test_a_video_is_played_whole_and_its_results_can_be_read(opened: Any, walk: Path, tmp_path: Path) -> None:
    """Frame after frame with ids; JSON lines and CSV as `infer` writes them."""
    tab, _ = opened
    shown(tab, walk, 3)
    until(tab, "posert.video.ended")
    with tab.expect_download() as download:
        tab.get_by_text("JSON lines", exact=True).click()
    download.value.save_as(tmp_path / "walk.jsonl")
    found = list(read_results(tmp_path / "walk.jsonl").results)
    times = [frame.time_s for frame in found]
    assert times == [number / 10 for number in range(24)]
    assert {int(i) for frame in found for i in (frame.poses.ids if frame.poses.ids is not None else ())} >= {1}
    with tab.expect_download() as download:
        tab.get_by_text("CSV", exact=True).click()
    download.value.save_as(tmp_path / "walk.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "walk.csv").read_text())))
    assert len(rows) == sum(len(frame.poses) for frame in found)
    assert float(rows[0]["nose_x"]) == round(float(found[int(rows[0]["frame"])].poses.keypoints[0, 0, 0]), 2)
    assert tab.problems == []


def test_the_camera(site: Path) -> None:
    """Chromium's made-up camera: pictures come, nobody is there."""
    fakes = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with serving(site) as (address, _), browser(*fakes) as chromium:
        tab = ready(chromium.new_page(), address)
        tab.get_by_text("Camera", exact=True).click()
        until(tab, "posert.source === 'camera' && posert.results.length >= 5")
        assert tab.evaluate("posert.results[0].size") == [640, 480]
        assert tab.problems == []


def test_it_works_offline_and_nothing_leaves(site: Path, pictures: list[Path]) -> None:
    """After one visit; with threads although the host says no headers; one of the runtimes alone was fetched."""
    with ExitStack() as network, browser() as chromium:
        address, asked = network.enter_context(serving(site))
        context = chromium.new_context()
        addresses: list[str] = []
        context.on("request", lambda request: addresses.append(request.url))
        tab = ready(context.new_page(), address)
        first = shown(tab, pictures[0])[0]["people"]
        assert tab.evaluate("crossOriginIsolated")
        network.close()
        tab.reload()
        tab.wait_for_selector("body[data-ready]", timeout=1000 * READY_S)
        assert shown(tab, pictures[0])[0]["people"] == first
    assert {url.split("/")[2] for url in addresses if url.startswith("http")} == {address.split("/")[2]}
    assert {path for path in asked if path.startswith("/ort")} == {
        "/ort.wasm.min.mjs", "/ort-wasm-simd-threaded.mjs", "/ort-wasm-simd-threaded.wasm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "options", "what", "hint"),
    [
        ("'gone.onnx'", "{}", "answers 404", "give the address of an .onnx file that posert wrote"),
        ("new Uint8Array([1, 2, 3])", "{}", "the model is no whole ONNX file", "export or copy it again"),
        ("'page.mjs'", "{}", "page.mjs is no whole ONNX file", "cut off, damaged, or something else"),
        ("new Uint8Array(0)", "{}", "carries no posert metadata", "posert tag FILE NAME"),
        ("'nano.onnx'", "{backend: 'webgpu'}", "this browser offers no WebGPU adapter", "leave `backend` away"),
        ("'nano.onnx'", "{params: {'pose.gone': 1}}", "has no parameters gone", "check the names"),
        (
            "'nano.onnx'",
            "{detector: 'nano.onnx'}",
            "posert-nano finds people without a detector",
            "leave `detector` away",
        ),
        ("'nano.onnx'", "{detectEvery: 2}", "the model has no detector to leave out", "load the page"),
        ("{}", "{}", "no model", "give an address, a File or Blob, or bytes"),
    ],
)
def test_errors_say_what_to_do(opened: Any, source: str, options: str, what: str, hint: str) -> None:
    tab, _ = opened
    said = tab.evaluate(
        f"import('./posert.mjs').then(({{openModel}}) => openModel({source}, {options}))"
        ".then(() => ['opened', '', ''], ({name, what, hint}) => [name, what, hint])"
    )
    assert said[0] == "PosertError"
    assert what in said[1]
    assert hint in said[2]


def test_a_first_visit_without_webgpu_fetches_four_megabytes_at_most(site: Path) -> None:
    """Packed by gzip -9; the model comes on top."""
    page = json.loads((site / "sw.js").read_text().split("FIRST = ")[1].split(";")[0])
    runtime = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]
    files = [site / name for name in [*page, "sw.js", *runtime] if name != "./"]
    assert sum(len(gzip.compress(file.read_bytes(), 9)) for file in files) <= 4_000_000


def test_a_phone_and_the_dark(site: Path, pictures: list[Path], shots: Callable[..., None]) -> None:
    """Nothing is wider than the screen, and what is shown is shown in both themes."""
    with serving(site) as (address, _), browser() as chromium:
        for width, scheme in ((390, "light"), (390, "dark"), (1280, "dark")):
            context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            tab = ready(context.new_page(), address)
            shown(tab, pictures[1])
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            shots(tab, f"web-{width}-{scheme}")
            context.close()


@pytest.fixture
def shots(tmp_path: Path) -> Callable[..., None]:
    """Keeps a picture of a page in the test's folder."""

    def shot(tab: Any, name: str) -> None:
        tab.screenshot(path=tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000

    return shot


def test_webgpu(site: Path, pictures: list[Path], tmp_path: Path) -> None:
    """On Chromium's software adapter, which takes half a minute for a picture of nano, so a small network."""
    shutil.copy(tiny.bright_spot(tmp_path / "spot.onnx"), site)
    shutil.copy(pictures[0], site / "people.png")
    software = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
    with serving(site) as (address, asked), browser(*software) as chromium:
        tab = ready(chromium.new_page(), f"{address}?backend=wasm")
        if not tab.evaluate("navigator.gpu?.requestAdapter().then((adapter) => adapter !== null)"):
            pytest.skip("needs a browser with a WebGPU adapter, real or software")
        backend, found = tab.evaluate("""async () => {
          const { openModel } = await import('./posert.mjs');
          const model = await openModel('spot.onnx');
          const picture = Object.assign(new Image(), { src: 'people.png' });
          await picture.decode();
          const people = await model.estimate(picture);
          return [model.backend, people.map((one) => ({ keypoints: [...one.keypoints] }))];
        }""")
    with open_model(site / "spot.onnx", device="cpu", threads=1) as own:
        assert apart(found, python(own, cv2.imread(str(pictures[0])))) < 1e-3
    assert (backend, len(found)) == ("webgpu", 1)
    assert "/ort.webgpu.min.mjs" in asked


def test_the_module_as_the_document_uses_it(site: Path, pictures: list[Path]) -> None:
    """The code of docs/web.md, with a picture for its video."""
    (block,) = (block for block in BLOCKS if block.page.name == "web.md" and block.kind == "js")
    (site / "example.mjs").write_text(block.text)
    shutil.copy(pictures[1], site / "picture.png")
    with serving(site) as (address, _), browser() as chromium:
        tab = ready(chromium.new_page(), address)
        drawn = tab.evaluate("""async () => {
          const drawn = [];
          window.video = Object.assign(new Image(), { src: 'picture.png' });
          await window.video.decode();
          window.draw = (box, keypoints) => drawn.push([box.length, keypoints.length]);
          await import('./example.mjs');
          return drawn;
        }""")
    assert drawn == [[4, 3 * 18]] * 4
