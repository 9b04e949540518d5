"""Opens a model: checks the file against its metadata, picks the execution provider, and fails loudly.

Owns ONNX Runtime. Knows `ModelSpec`, not what the tensors mean.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.postprocess import decoder, decoder_params, suppression_params
from posert.runtime.devices import Providers, choose_providers, cpu_cores, honoured_device, import_onnxruntime
from posert.runtime.spec import METADATA_KEY, ModelSpec, Stage, from_json

_ORT_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int32)": "int32"}


class Model:
    """An open model: its metadata and one ONNX Runtime session per stage. Safe to call from several threads.

    Attributes:
        spec: what the file says about itself.
        device: `cpu` or `cuda:N`, as the sessions really run.
        workers: how many frames `estimate` keeps in flight, each on threads of its own.
    """

    def __init__(self, spec: ModelSpec, sessions: dict[str, Any], params: dict[str, Any], device: str, workers: int):
        self.spec = spec
        self.device = device
        self.workers = workers
        self._sessions = sessions
        self._params = params
        self._stages = {stage.name: stage for stage in spec.stages}
        self._rules = {
            stage.name: suppression_params(stage.suppress, dict(stage.suppress_params))
            for stage in spec.stages
            if stage.suppress is not None
        }

    def params(self, stage: str) -> Any:
        """The decoder's `Params` of a stage, values of the file over the defaults."""
        return self._params[stage]

    def suppression_params(self, stage: str) -> Any:
        """The `Params` of a stage's suppression rule, values of the file over the defaults."""
        return self._rules[stage]

    def single_row(self, stage: str) -> bool:
        """Whether the stage's network takes one row at a time: its batch axis is fixed to 1."""
        return bool(self._sessions[stage].get_inputs()[0].shape[0] == 1)

    def run(self, stage: str, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Role -> output array of the stage's network for one input tensor.

        A network whose batch axis is fixed to 1 gets the rows one by one.

        Raises:
            PosertError: the network does not take this shape.
        """
        outputs, session = self._stages[stage].outputs, self._sessions[stage]
        feed, fetch = self._stages[stage].input.name, list(outputs.values())
        single = self.single_row(stage) and len(tensor) > 1
        try:
            if single:
                rows = [session.run(fetch, {feed: row[None]}) for row in tensor]
                arrays = [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]
            else:
                arrays = session.run(fetch, {feed: tensor})
        except Exception as error:  # ONNX Runtime's own exception types are not public
            raise PosertError(
                f"the network of stage {stage!r} failed on input {list(tensor.shape)}: {_first_line(error)}",
                "its input may be fixed to one size, or the device has run out of memory",
            ) from error
        return dict(zip(outputs, arrays, strict=True))

    def close(self) -> None:
        """Free the sessions; the model cannot run any more."""
        self._sessions.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_model(
    path: str | Path,
    *,
    device: str = "auto",
    threads: int = 0,
    workers: int = 1,
    long_edge: int = 0,
    scale_number: int = 1,
    scale_gap: float = 0.25,
    detector: str | Path | None = None,
    params: Mapping[str, Any] | None = None,
) -> Model:
    """An open model, ready to run.

    Args:
        path: an .onnx file made by `posert export` or `posert tag`, or `nano`, the network inside the package.
        device: `auto` (CUDA if this machine has it, else CPU), `cpu`, `cuda` or `cuda:N`; a device that is asked for
            and not there is an error, never a quiet CPU run.
        threads: CPU threads; 0 = all cores.
        workers: frames in flight; the threads are shared out among them. 1 gives the lowest latency, more the highest
            throughput. A model that follows one person from frame to frame always has 1.
        long_edge: longer side of the network input, px, for networks whose size is free; 0 = the model's own.
        scale_number: run the network at so many sizes, 1, 1 - scale_gap, 1 - 2 scale_gap ... of its input's, and
            average the maps (CMU OpenPose's option); 1 = as the model's file says.
        detector: an .onnx file that finds the boxes instead of the model's own detector.
        params: of the last stage's decoder, over those in the file.

    Raises:
        PosertError: no such file, not an ONNX file, no or bad metadata, tensors that disagree with it, a device that
            cannot be honoured, no or two ONNX Runtime packages.
    """
    ort = import_onnxruntime()
    file = find_model(path)
    providers = choose_providers(device, ort.get_available_providers())
    cores = threads or cpu_cores()
    session = _session(ort, file, providers, max(1, cores // workers))
    spec = _read_spec(session, file)
    if long_edge:
        spec = _resized(spec, long_edge)
    if scale_number > 1:
        spec = _at_scales(spec, scale_number, scale_gap)
    if workers > 1 and any(stage.region == "follow" for stage in spec.stages):
        workers = 1
        session = _session(ort, file, providers, max(1, cores - 1))  # one core reads the video meanwhile
    sessions, chosen, given = {}, {}, None
    if detector is not None:
        given = _session(ort, find_model(detector), providers, max(1, cores // workers))
        spec = _with_detector(spec, _read_spec(given, Path(detector)), detector)
    if params:
        spec = _with_params(spec, params)
    for stage in spec.stages:
        if given is not None and stage.region == "frame":
            own = given
        else:
            own = session if stage.file is None else _companion(ort, file, stage, providers, max(1, cores // workers))
        _check_tensors(own, stage, file)
        sessions[stage.name] = own
        if len(stage.scales) > 1 and not hasattr(decoder(stage.decoder), "merge"):
            raise PosertError(f"{spec.model} cannot average over several sizes", "leave --scale-number away")
        chosen[stage.name] = decoder_params(stage.decoder, dict(stage.params))
    return Model(spec, sessions, chosen, honoured_device(session, device, providers), workers)


def find_model(path: str | Path) -> Path:
    """The file of a model given by path, or `nano` for the one inside the package.

    Raises:
        PosertError: there is no such file, or it is empty or a folder.
    """
    file = Path(__file__).with_name("nano.onnx") if str(path) == "nano" else Path(path)
    if file.is_file():
        if file.stat().st_size == 0:
            raise PosertError(f"the model {path} is empty (0 bytes)", "export or copy it again")
        return file
    if file.exists():
        raise PosertError(f"the model {path} is a folder", "give the .onnx file in it")
    raise PosertError(
        f"there is no model file {path}",
        "give an .onnx file or 'nano'; make one with: posert export NAME (names: posert models list)",
    )


def _session(ort: ModuleType, file: Path, providers: Providers, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors arrive as exceptions
    # Spinning threads take the cores from the decoders that run beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if providers[0][0] == "CUDAExecutionProvider" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the libraries of the nvidia-* packages
    try:
        return ort.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exception types are not public
        raise PosertError(
            f"{file} cannot be opened as an ONNX model: {_first_line(error)}",
            "it is cut off, damaged, or no ONNX file; export or copy it again",
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]


def _read_spec(session: Any, file: Path) -> ModelSpec:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise PosertError(
            f"{file} carries no posert metadata, so nobody knows what its tensors mean",
            f"posert tag {file} --as NAME (names: posert models list), or export it with: posert export NAME",
        )
    return from_json(text)


def _resized(spec: ModelSpec, long_edge: int) -> ModelSpec:
    """`spec` with another largest input size for its first stage."""
    first = spec.stages[0]
    if not first.input.multiple_of:
        raise PosertError(f"{spec.model} has one input size, {first.input.size_wh} px", "leave --long-edge away")
    resized = replace(first, input=replace(first.input, size_wh=(long_edge, long_edge)))
    return replace(spec, stages=(resized, *spec.stages[1:]))


def _at_scales(spec: ModelSpec, number: int, gap: float) -> ModelSpec:
    """`spec` with a first stage that averages over several sizes of its input."""
    first, scales = spec.stages[0], tuple(1 - step * gap for step in range(number))
    if first.region != "frame" or not first.input.multiple_of:
        raise PosertError(f"{spec.model} has one input size, {first.input.size_wh} px", "leave --scale-number away")
    if not (gap > 0 and scales[-1] > 0 and number <= 16):
        raise PosertError(
            f"{number} scales {gap} apart end at {scales[-1]:.3g} of the input",
            f"take at most 16, above 0 and apart: a --scale-gap above 0 and below {1 / (number - 1):.3g}",
        )
    return replace(spec, stages=(replace(first, scales=scales), *spec.stages[1:]))


def _with_params(spec: ModelSpec, params: Mapping[str, Any]) -> ModelSpec:
    """`spec` with other parameters of the last stage's decoder."""
    last = spec.stages[-1]
    changed = replace(last, params={**last.params, **params})
    try:
        decoder_params(changed.decoder, dict(changed.params))
    except PosertError as error:
        raise PosertError(error.what, "posert info MODEL shows the parameters") from None
    return replace(spec, stages=(*spec.stages[:-1], changed))


def _with_detector(spec: ModelSpec, other: ModelSpec, file: str | Path) -> ModelSpec:
    """`spec` with the single stage of `other` in place of its own detector."""
    looking = tuple(stage for stage in spec.stages if stage.region == "boxes")
    if not looking:
        raise PosertError(f"{spec.model} finds people without a detector", "leave --detector away")
    if len(other.stages) != 1 or other.stages[0].region != "frame" or other.skeleton.names:
        raise PosertError(
            f"{file} is no detector: {other.model} finds {len(other.skeleton.names)} keypoints",
            "give a file that finds boxes, for example one tagged with: posert tag FILE --as yolox-nano",
        )
    return replace(spec, stages=(replace(other.stages[0], name="detector", file=None, sha256=None), *looking))


def _companion(ort: ModuleType, file: Path, stage: Stage, providers: Providers, threads: int) -> Any:
    """The session of a stage's own file, beside the model, its hash checked first."""
    path = file.parent / str(stage.file)
    if not path.is_file():
        raise PosertError(
            f"{file} needs its companion {stage.file} in the same folder",
            "copy both files together, or give another detector with --detector FILE",
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != stage.sha256:
        raise PosertError(
            f"{path} is not the file that {file.name} names: its sha256 is {digest}, expected {stage.sha256}",
            "export both again",
        )
    return _session(ort, path, providers, threads)


def _check_tensors(session: Any, stage: Stage, file: Path) -> None:
    """Names, types and ranks of the graph against the metadata; raises PosertError with every disagreement."""
    wrong = []
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    given = inputs.get(stage.input.name)
    if given is None or len(inputs) != 1:
        wrong.append(f"input {stage.input.name!r}, the graph has {', '.join(inputs)}")
    elif len(given.shape) != 4 or _ORT_TYPES.get(given.type) != stage.input.dtype:
        wrong.append(f"input {given.name!r} {stage.input.dtype} of rank 4, the graph has {given.type} {given.shape}")
    else:
        sides = given.shape[1:3] if stage.input.layout == "NHWC" else given.shape[2:4]
        fixed = [side for side in sides if isinstance(side, int)]
        if fixed and (sides != list(stage.input.size_wh[::-1]) or stage.input.multiple_of):
            wrong.append(
                f"input size {stage.input.size_wh} (width, height), the graph is fixed to {sides} (height, width)"
            )
    absent = [name for name in stage.outputs.values() if name not in outputs]
    if absent:
        wrong.append(f"outputs {', '.join(absent)}, the graph has {', '.join(outputs)}")
    if wrong:
        raise PosertError(
            f"{file} disagrees with its own metadata in stage {stage.name!r}: it promises " + "; ".join(wrong),
            "export or tag it again",
        )
