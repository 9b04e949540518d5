"""Exports against the frameworks they replace: one thread, interleaved, medians of three runs.

    python tests/bench/export_speed.py [--steps] [--until NODE] [NAME...]     (needs the export extras and the assets)

The ratio is the original's time over ONNX Runtime's (above 1: the export is faster). Originals, as people run them:
TFLite with XNNPACK, TensorFlow with oneDNN; a TFLite file of the float MoveNets is made here of the same weights.
--steps: what each rewrite of `export/onnx_fast.py` is worth instead, each added to those before it. --until: of the
float MoveNets only what leads to some node of the original, which shows where a difference arises.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.export import onnx_fast
from posert.export.convert import convert
from posert.export.readers import tensorflow_models, tfjs
from posert.export.systems.openpose import _IMAGE, _MAPS
from posert.runtime.session import open_model

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import tensorflow_graphs  # noqa: E402

ASSETS = Path(os.environ.get("POSERT_ASSETS", ROOT.parent / "shared" / "assets")) / "models"
MOVENET = ASSETS / "movenet_singlepose_lightning_4_int8.tflite"
TFPOSE = ASSETS / "tfpose_mobilenet_v2_small_graph_opt.pb"
STEPS = ("transposed_first", "read_where_asked", "scales_folded", "narrow_constants", "whole_blocks")
Timed = Callable[[], object]
Tensor = NDArray[Any]


def tflite(file: Path | bytes, image: Tensor) -> Timed:
    given = {"model_content": file} if isinstance(file, bytes) else {"model_path": str(file)}
    interpreter = tensorflow_models.import_tensorflow().lite.Interpreter(**given, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    return interpreter.invoke


def of_tflite(image: Tensor) -> dict[str, Timed]:
    return {"TFLite": tflite(MOVENET, image)}


def of_frozen_graph(image: Tensor) -> dict[str, Timed]:
    definition = tensorflow_models.import_tensorflow().compat.v1.GraphDef()
    definition.ParseFromString(TFPOSE.read_bytes())
    session, ends, given = _session(definition, _IMAGE, [_MAPS], image)
    return {"TensorFlow": partial(session.run, ends, {given: image})}


def of_tfjs(name: str, image: Tensor, until: str = "") -> dict[str, Timed]:
    """TensorFlow, and TFLite of the same weights; only what leads to a node, if one is named."""
    path = ASSETS / "movenet_tfjs" / f"{name}.json"
    read = tfjs.read(path)
    feed = next(node.name for node in read.nodes if node.op == "Placeholder")
    fetch = [name if ":" in name else f"{name}:0" for name in ([until] if until else read.outputs)]
    session, ends, given = _session(tensorflow_graphs.definition(path), f"{feed}:0", fetch, image)
    converter = tensorflow_models.import_tensorflow().compat.v1.lite.TFLiteConverter
    file = converter.from_session(session, [given], list(ends)).convert()
    return {"TensorFlow": partial(session.run, ends, {given: image}), "TFLite": tflite(file, image)}


def _session(definition: Any, feed: str, fetch: list[str], image: Tensor) -> tuple[Any, Any, Any]:
    """A session of one thread, the tensors that are its results, and the one that is fed."""
    tf = tensorflow_models.import_tensorflow()
    with tf.Graph().as_default() as graph:
        given = tf.compat.v1.placeholder(image.dtype, image.shape)
        ends = tf.import_graph_def(definition, name="", input_map={feed: given}, return_elements=fetch)
        one = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        return tf.compat.v1.Session(graph=graph, config=one), ends, given


def exported(path: Path, image: Tensor) -> Timed:
    model = open_model(path, device="cpu", threads=1)
    return partial(model.run, "pose", image.astype(model.spec.stages[0].input.dtype))


def beginning(path: Path, node: str, image: Tensor) -> Timed:
    """The export up to the tensor that a node of the original has become, without what comes later."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    names = {tensor for each in model.graph.node for tensor in each.output}
    end = next(name for name in (node, f"{node}:0", f"{node}@conv") if name in names)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, None))
    model = onnx.utils.Extractor(model).extract_model([tensor.name for tensor in model.graph.input], [end])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kind = {"tensor(uint8)": "uint8", "tensor(int32)": "int32"}.get(session.get_inputs()[0].type, "float32")
    return partial(session.run, None, {session.get_inputs()[0].name: image.astype(kind)})


def made(name: str, source: Path, folder: Path, options: tuple[str, ...]) -> Path:
    target = folder / f"{name}{len(options)}.onnx"
    return convert(name, target, from_file=source, options=options, detector="none", compared=False, offline=True)


# name -> export's name, file, options, input [N,H,W,3], originals
MODELS: Mapping[str, tuple[str, Path, tuple[str, ...], tuple[int, ...], str, Callable[[Tensor], dict[str, Timed]]]] = {
    "movenet-lightning-int8": ("movenet-lightning-int8", MOVENET, (), (1, 192, 192, 3), "uint8", of_tflite),
    "movenet-lightning-int8 --dequantize": (
        "movenet-lightning-int8", MOVENET, ("dequantize",), (1, 192, 192, 3), "uint8", of_tflite,
    ),
    **{
        name: (
            name, ASSETS / "movenet_tfjs" / f"{file}.json", (), (1, *size_hw, 3), "int32", partial(of_tfjs, file),
        )
        for name, file, size_hw in (
            ("movenet-lightning", "movenet-lightning", (192, 192)),
            ("movenet-thunder", "movenet-thunder", (256, 256)),
            ("movenet-multipose-lightning", "movenet-multipose", (192, 256)),
        )
    },
    "openpose-tfpose-mobilenet-v2-small": (
        "openpose-tfpose-mobilenet-v2-small", TFPOSE, (), (1, 368, 432, 3), "float32", of_frozen_graph,
    ),
}  # fmt: skip


def medians(timed: Mapping[str, Timed], rounds: int) -> dict[str, float]:
    """Milliseconds of each, called in turn: the median of three runs' medians."""
    runs: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(3):
        taken: dict[str, list[float]] = {name: [] for name in timed}
        for number in range(rounds + 5):
            for name, action in timed.items():
                began = time.perf_counter()
                action()
                if number >= 5:
                    taken[name].append((time.perf_counter() - began) * 1000)
        for name, times in taken.items():
            runs[name].append(statistics.median(times))
    return {name: statistics.median(each) for name, each in runs.items()}


def by_steps(name: str, folder: Path, image: Tensor) -> dict[str, Timed]:
    """The export without rewrites, and with one, two, all of them."""
    system_name, source, options, *_ = MODELS[name]
    whole, found = onnx_fast.faster, {}
    for count in range(len(STEPS) + 1):
        chosen = [getattr(onnx_fast, step) for step in STEPS[:count]]
        onnx_fast.faster = lambda graph, chosen=chosen: [step(graph) for step in chosen]  # type: ignore[assignment]
        below = folder / str(count)
        below.mkdir(exist_ok=True)
        found[STEPS[count - 1] if count else "as converted"] = exported(
            made(system_name, source, below, options), image
        )
    onnx_fast.faster = whole
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--until", default="", metavar="NODE")
    asked = parser.parse_args()
    if not ASSETS.is_dir():
        raise SystemExit(f"skipped: {ASSETS} is no folder (set POSERT_ASSETS)")
    print(f"{platform.processor() or platform.machine()}, one thread, medians of three runs of {asked.rounds}")
    with tempfile.TemporaryDirectory() as temporary:
        for name in asked.names or MODELS:
            system_name, source, options, shape, kind, originals = MODELS[name]
            image = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
            if asked.steps:
                timed = by_steps(name, Path(temporary), image)
            elif asked.until:
                ours = beginning(made(system_name, source, Path(temporary), options), asked.until, image)
                timed = {"ONNX Runtime": ours, **originals(image, until=asked.until)}
            else:
                ours = exported(made(system_name, source, Path(temporary), options), image)
                timed = {"ONNX Runtime": ours, **originals(image)}
            ms = medians(timed, asked.rounds)
            (first, base), *others = ms.items()
            text = [f"{other} {value:.2f} ms, ratio {(base / value if asked.steps else value / base):.2f}"
                    for other, value in others]  # fmt: skip
            print(f"{name:40} {first} {base:.2f} ms; {'; '.join(text)}", flush=True)


if __name__ == "__main__":
    main()
