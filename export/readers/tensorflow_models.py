"""TensorFlow files -> ONNX through tf2onnx, and TensorFlow's own answer to compare with. Knows no system.

tf2onnx runs as a program of its own: it and TensorFlow write to the terminal, and a crash in them must not end us.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError, optional
from posert.export import onnx_file

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
    return optional("tensorflow", "this needs TensorFlow", "export-tf")


def run_frozen_graph(path: Path, feed: str, fetch: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """The value of tensor `fetch` of a frozen TF1 graph for `tensor` fed to `feed`."""
    tf = import_tensorflow()
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return np.asarray(session.run(fetch, {feed: tensor}))


def run_tflite(path: Path, tensor: NDArray[Any], *, reference_kernels: bool = False) -> NDArray[Any]:
    """The only output of a TFLite file for its only input, by XNNPACK, as people run it, or TFLite's own kernels."""
    tf = import_tensorflow()
    kinds = tf.lite.experimental.OpResolverType
    kind = kinds.BUILTIN_REF if reference_kernels else kinds.AUTO
    interpreter = tf.lite.Interpreter(str(path), num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def run_saved_model(folder: Path, tensor: NDArray[Any]) -> NDArray[Any]:
    """`output_0` of the serving signature of a SavedModel."""
    tf = import_tensorflow()
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return np.asarray(signature(input=tf.constant(tensor))["output_0"])


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
