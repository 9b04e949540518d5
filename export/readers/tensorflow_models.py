"""TensorFlow files -> ONNX through tf2onnx, and TensorFlow's own answer to compare with. Knows no system.

tf2onnx runs as a program of its own: it and TensorFlow write to the terminal, and a crash in them must not end us.
"""

import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError, optional
from posert.export import onnx_file

_LOG = logging.getLogger("posert")
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "0"}
_OPSET = 17  # the newest that every supported ONNX Runtime reads and tf2onnx's TFLite route writes


def convert(arguments: Sequence[str]) -> Any:
    """The onnx.ModelProto that `tf2onnx.convert` makes of its own command-line arguments.

    Raises:
        PosertError: the packages are missing, or the file cannot be converted; quotes the reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "converted.onnx"
        command = [sys.executable, "-m", "tf2onnx.convert", *arguments, "--output", str(target), "--opset", str(_OPSET)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **_QUIET}, check=False)
        if done.returncode != 0 or not target.is_file():
            last = ["no message", *done.stderr.strip().splitlines()][-1]
            if "No module named" in last:
                raise PosertError(f"this conversion needs more packages: {last}", "pip install 'posert[export-tf]'")
            raise PosertError(
                f"tf2onnx cannot convert the file: {last[:300]}", "check that it is the file its name says"
            )
        return onnx_file.load(target)


def import_tensorflow() -> Any:
    """The tensorflow module, quiet and on the CPU; PosertError if it is not installed."""
    os.environ.update(_QUIET)
    with silence():
        return optional("tensorflow", "this needs TensorFlow", "export-tf")


@contextmanager
def silence() -> Iterator[None]:
    """Keeps from standard error what TensorFlow's libraries write there past Python; it goes to the log, for debugging.

    No setting of theirs is enough: what is said before their own log begins, and TensorFlow Lite's, heeds none.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            _LOG.debug("TensorFlow: %s", said.read().decode(errors="replace"))


@silence()
def run_frozen_graph(path: Path, feed: str, fetch: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """The value of tensor `fetch` of a frozen TF1 graph for `tensor` fed to `feed`."""
    tf = import_tensorflow()
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return np.asarray(session.run(fetch, {feed: tensor}))


@silence()
def ends(path: Path) -> tuple[str, str]:
    """The only input and the only result of a frozen TF1 graph, as tensor names.

    Raises:
        PosertError: it is none, or has several of them.
    """
    definition = import_tensorflow().compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except Exception:  # protobuf's own kind
        raise PosertError(f"{path} is no frozen graph of TensorFlow", "give the .pb that was frozen") from None
    read = {name.lstrip("^").split(":")[0] for node in definition.node for name in node.input}
    given = [node.name for node in definition.node if node.op == "Placeholder"]
    results = [node.name for node in definition.node if node.name not in read and node.name not in given]
    if len(given) != 1 or len(results) != 1:
        raise PosertError(
            f"{path} has the inputs {given[:9]} and the results {results[:9]}, expected one of each",
            "freeze it with one result, or convert it (tf2onnx) and give posert tag a recipe",
        )
    return f"{given[0]}:0", f"{results[0]}:0"


@silence()
def run_tflite(path: Path, tensor: NDArray[Any], *, reference_kernels: bool = False) -> NDArray[Any]:
    """The only output of a TFLite file for its only input, by XNNPACK, as people run it, or TFLite's own kernels.

    Both are real numbers where the file has quantised ones.
    """
    tf = import_tensorflow()
    kinds = tf.lite.experimental.OpResolverType
    kind = kinds.BUILTIN_REF if reference_kernels else kinds.AUTO
    interpreter = tf.lite.Interpreter(str(path), num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    (given, *_), (found, *_) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], _quantised(tensor, given))
    interpreter.invoke()
    value, (scale, zero) = np.asarray(interpreter.get_tensor(found["index"])), found["quantization"]
    return np.asarray((value.astype(np.float32) - zero) * np.float32(scale) if scale else value)


def _quantised(tensor: NDArray[Any], given: Any) -> NDArray[Any]:
    """The tensor as an input of these TFLite details takes it: real numbers become its integers."""
    (scale, zero), kind = given["quantization"], given["dtype"]
    if not scale or tensor.dtype == kind:
        return tensor.astype(kind, copy=False)
    limits = np.iinfo(kind)
    return np.asarray(np.clip(np.round(tensor / scale + zero), limits.min, limits.max).astype(kind))


@silence()
def run_saved_model(folder: Path, tensor: NDArray[Any]) -> list[NDArray[Any]]:
    """The outputs of the serving signature of a SavedModel, or of its only one, for its only input."""
    tf = import_tensorflow()
    signatures = tf.saved_model.load(str(folder)).signatures
    signature = signatures.get("serving_default") or next(iter(signatures.values()))
    (name,) = signature.structured_input_signature[1]
    return [np.asarray(value) for value in signature(**{name: tf.constant(tensor)}).values()]


def unpack(archive: Path, folder: Path) -> Path:
    """The SavedModel in a .tar.gz (or a folder as it is), unpacked below `folder`; refuses names that lead outside."""
    if archive.is_dir():
        return archive
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise PosertError(f"{archive} is not a SavedModel archive: {error}", "fetch it again") from None
    found = sorted(folder.rglob("saved_model.pb"))
    if not found:
        raise PosertError(f"{archive} holds no saved_model.pb", "fetch it again")
    return found[0].parent
