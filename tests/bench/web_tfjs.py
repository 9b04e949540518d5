"""MoveNet in the page beside TensorFlow.js's own package, WebAssembly on both sides, same browser, same picture.

python tests/bench/web_tfjs.py NODE_MODULES PICTURE --weights FOLDER NAME=MODEL.onnx ...: the whole call of both, as
medians of rounds in turn, with one and two threads. NODE_MODULES has @tensorflow-models/pose-detection and
@tensorflow/tfjs-{core,converter,backend-wasm}; FOLDER the official movenet-NAME.json and .bin (`posert models pull`).
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from browser import browser
from web_browser import serving

from posert.export.web.site import write_site

KINDS = {"lightning": "SINGLEPOSE_LIGHTNING", "thunder": "SINGLEPOSE_THUNDER", "multipose": "MULTIPOSE_LIGHTNING"}
SCRIPTS = (
    "@tensorflow/tfjs-core/dist/tf-core.min.js", "@tensorflow/tfjs-converter/dist/tf-converter.min.js",
    "@tensorflow/tfjs-backend-cpu/dist/tf-backend-cpu.min.js",
    "@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.min.js",
    "@tensorflow-models/pose-detection/dist/pose-detection.min.js",
)  # fmt: skip
CORES = "Object.defineProperty(navigator, 'hardwareConcurrency', { get: () => %d })"
"""TensorFlow.js takes at most a thread for every two cores that the browser speaks of, whatever it is asked for."""
THEIRS = """async ({ kind, type, threads }) => {
  tf.wasm.setWasmPaths('./');
  tf.wasm.setThreadsCount(threads);
  await tf.setBackend('wasm');
  const { createDetector, movenet, SupportedModels } = poseDetection;
  const detector = await createDetector(SupportedModels.MoveNet, {
    modelType: movenet.modelType[type], modelUrl: `movenet-${kind}.json`, enableSmoothing: false, enableTracking: false,
  });
  window.call = (picture) => detector.estimatePoses(picture);
  return tf.wasm.getThreadsCount();
}"""
OURS = """async ({ model, threads }) => {
  const { openModel } = await import('./posert.mjs');
  const own = await openModel(model, { threads });
  window.call = (picture) => own.estimate(picture);
  return own.threads;
}"""
ROUND = """async () => {
  const photo = document.querySelector('img'), whole = [], network = [], picture = document.createElement('canvas');
  await photo.decode(); // once: what comes again and again are frames of a video
  Object.assign(picture, { width: photo.naturalWidth, height: photo.naturalHeight });
  picture.getContext('2d', { willReadFrequently: true }).drawImage(photo, 0, 0);
  for (let i = 0; i < 12; i++) {
    const begun = performance.now();
    const { ms } = await call(picture);
    whole.push(performance.now() - begun);
    network.push(ms?.network ?? NaN);
  }
  return [whole, network].map((values) => values.slice(2));
}"""


def measured(context: Any, address: str, given: dict[str, Any], rounds: int) -> dict[str, float]:
    """Median ms of both whole calls and of our network, rounds in turn, and the threads of both.

    Each in a tab of its own that has been warmed up: beside the other's threads in one tab both are slower.
    """
    tabs = {"theirs": context.new_page(), "ours": context.new_page()}
    said: dict[str, Any] = {}
    for (name, tab), start in zip(tabs.items(), (THEIRS, OURS), strict=True):
        tab.add_init_script(CORES % (2 * given["threads"]))
        tab.goto(address)
        said[f"{name}_threads"] = tab.evaluate(start, given)
        tab.evaluate(ROUND)
    found: dict[str, list[Any]] = {name: [] for name in tabs}
    for _ in range(rounds):
        for name, tab in tabs.items():
            found[name].append(tab.evaluate(ROUND))
    for name, each in found.items():
        said[name], said[f"{name}_network"] = (float(np.median([part[i] for part in each])) for i in (0, 1))
    for tab in tabs.values():
        tab.close()
    return said


@contextmanager
def page(modules: Path, models: list[str], weights: Path, picture: Path) -> Iterator[tuple[Any, str]]:
    """A browser's context and the address of a page with TensorFlow.js, its models and ours."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_site(models, folder)
        compiled = (modules / "@tensorflow/tfjs-backend-wasm/dist").glob("*.wasm")
        for file in (*weights.glob("movenet-*"), *compiled, *(modules / script for script in SCRIPTS), picture):
            shutil.copy(file, folder)
        tags = "".join(f'<script src="{Path(script).name}"></script>' for script in SCRIPTS)
        (folder / "tfjs.html").write_text(f'<!doctype html><img src="{picture.name}">{tags}')
        with serving(folder) as (address, _), browser() as chromium:
            context = chromium.new_context()
            first = context.new_page()
            first.goto(address)  # its service worker gives the headers for threads
            first.wait_for_selector("body[data-ready]", timeout=60_000)
            first.close()
            yield context, f"{address}tfjs.html"


def asked(description: str) -> argparse.ArgumentParser:
    """What this command and web_profile.py are told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("modules", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("model", nargs="+", help="lightning=FILE.onnx")
    parser.add_argument("--weights", type=Path, required=True)
    return parser


def main() -> None:
    parser = asked("MoveNet in the page beside TensorFlow.js")
    parser.add_argument("--rounds", type=int, default=5, help="of ten calls each")
    options = parser.parse_args()
    models = dict(word.split("=") for word in options.model)
    with page(options.modules, list(models.values()), options.weights, options.picture) as (context, address):
        for kind, model in models.items():
            for threads in (1, 2):
                given = {"kind": kind, "type": KINDS[kind], "model": Path(model).name, "threads": threads}
                said = measured(context, address, given, options.rounds)
                print(
                    f"{kind}, {said['ours_threads']} threads (theirs {said['theirs_threads']}): TensorFlow.js "
                    f"{said['theirs']:.1f} ms, posert {said['ours']:.1f} ms, of them the network "
                    f"{said['ours_network']:.1f}; {said['theirs'] / said['ours']:.2f} times as fast",
                    flush=True,
                )


if __name__ == "__main__":
    main()
