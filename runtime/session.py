"""Opens a model: checks the file against its metadata, picks the execution provider, and fails loudly.

Owns ONNX Runtime. Knows `ModelSpec`, not what the tensors mean.
"""

import os
import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from posert.errors import PosertError
from posert.postprocess import decoder, decoder_params, suppression_params
from posert.postprocess.following import FollowOptions
from posert.runtime.constants import TYPES, Constant, constants_of
from posert.runtime.contest import Contest
from posert.runtime.devices import cpu_cores, parse_device
from posert.runtime.files.state import sha256_of
from posert.runtime.joining import with_parts
from posert.runtime.latency import soonest
from posert.runtime.metadata import metadata_text
from posert.runtime.networks.fastest import fastest_network
from posert.runtime.networks.network import Network, first_line, open_network
from posert.runtime.options import ModelOptions, OptionChanges, with_detector
from posert.runtime.parameters import with_params
from posert.runtime.share import Share, shared_out, thread_counts
from posert.runtime.spec import METADATA_KEY, ModelSpec, Stage, from_json


class Model(AbstractContextManager["Model"]):
    """An open model: its metadata and one ONNX Runtime session per stage. Safe to call from several threads.

    Attributes:
        spec: what the file says about itself.
        device: `cpu`, `cuda:N` or another, as the last stage's network really runs.
        devices: the same of each stage.
        follow: how it follows people, if it does.
        workers: how many frames `estimate` keeps in flight, each on threads of its own.
        threads: CPU threads in all.
        files: of each stage's network, by its name.
        tensors: each thread's input tensors, kept because memory that is new to a process is dear.
    """

    def __init__(
        self,
        spec: ModelSpec,
        sessions: dict[str, Any],
        follow: FollowOptions,
        devices: dict[str, str],
        workers: int,
        threads: int,
        files: dict[str, Path],
    ):
        self.spec = spec
        self.follow = follow
        self.device = devices[spec.stages[-1].name]
        self.devices = devices
        self.workers = workers
        self.threads = threads
        self.files = files
        self.tensors = threading.local()
        self._sessions = sessions
        self._params = {stage.name: decoder_params(stage.decoder, dict(stage.params)) for stage in spec.stages}
        self._stages = {stage.name: stage for stage in spec.stages}
        self._rules = {
            stage.name: suppression_params(stage.suppress, dict(stage.suppress_params))
            for stage in spec.stages
            if stage.suppress is not None
        }
        self._constants = {name: constants_of(one.get_inputs(), self._stages[name]) for name, one in sessions.items()}

    def params(self, stage: str) -> Any:
        """The decoder's `Params` of a stage, values of the file over the defaults."""
        return self._params[stage]

    def suppression_params(self, stage: str) -> Any:
        """The `Params` of a stage's suppression rule, values of the file over the defaults."""
        return self._rules[stage]

    def constants(self, stage: str) -> list[Constant]:
        """What the stage's network takes besides the picture."""
        return self._constants[stage]

    def single_row(self, stage: str) -> bool:
        """Whether the stage's network takes one row at a time: its batch axis is fixed to 1."""
        name = self._stages[stage].input.name
        return any(tensor.name == name and tensor.shape[0] == 1 for tensor in self._session(stage).get_inputs())

    def _session(self, stage: str) -> Any:
        if stage not in self._sessions:
            raise PosertError("the model is closed", "use it before it is closed, or open it again")
        return self._sessions[stage]

    def run(self, stage: str, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Role -> output array of the stage's network for one input tensor; float16 comes as float32.

        A network whose batch axis is fixed to 1 gets the rows one by one.

        Raises:
            PosertError: the network does not take this shape, or the model is closed.
        """
        outputs, session = self._stages[stage].outputs, self._session(stage)
        fetch = list(outputs.values())
        try:
            if len(tensor) > 1 and self.single_row(stage):
                rows = [session.run(fetch, self.feeds(stage, row[None])) for row in tensor]
                arrays = [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]
            else:
                arrays = session.run(fetch, self.feeds(stage, tensor))
        except Exception as error:  # ONNX Runtime's own exception types are not public
            raise PosertError(
                f"the network of stage {stage!r} failed on input {list(tensor.shape)}: {first_line(error)}",
                "its input may be fixed to one size, or the device has run out of memory",
            ) from error
        floats = [array.astype(np.float32) if array.dtype == np.float16 else array for array in arrays]
        return dict(zip(outputs, floats, strict=True))

    def feeds(self, stage: str, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Input name -> tensor: the picture's, and the constants for as many rows."""
        given = self._stages[stage].input
        high, wide = tensor.shape[1:3] if given.layout == "NHWC" else tensor.shape[2:]
        others = {one.name: one.tensor(len(tensor), (wide, high)) for one in self._constants[stage]}
        return {given.name: tensor, **others}

    def close(self) -> None:
        """Free the sessions; the model cannot run any more."""
        self._sessions.clear()
        self.tensors = threading.local()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_model(path: str | Path, options: ModelOptions | None = None, **changes: Unpack[OptionChanges]) -> Model:
    """An open model, ready to run.

    Args:
        path: an .onnx file made by `posert export` or `posert tag`, or `nano`, the network inside the package.
        options: how to open it; None = `ModelOptions()`.
        changes: fields of `ModelOptions`, over `options`: `open_model("nano", device="cpu", threads=2)`.

    Raises:
        PosertError: no such file, not an ONNX file, no or bad metadata, tensors that disagree with it, a device that
            cannot be honoured, no or two ONNX Runtime packages.
    """
    chosen = replace(options or ModelOptions(), **changes)
    parse_device(chosen.device)
    counts = thread_counts(chosen)
    if len(counts) > 1:
        return soonest(open_model(path, replace(chosen, threads=count)) for count in counts)
    file = find_model(path)
    spec, files = _composed(file, chosen)
    spec, follow = with_params(spec, chosen.params)
    share = shared_out(spec, chosen)
    opened: dict[Path, Network] = {}
    for stage in spec.stages:
        if (own := files[stage.name]) not in opened:
            network = (
                fastest_network(own, stage, share, chosen.arena)
                if chosen.device == "auto"
                else open_network(own, chosen.device, share, chosen.arena, stage)
            )
            opened[own] = _with_rival(network, own, stage, share, chosen.arena)
    sessions = {name: opened[path].session for name, path in files.items()}
    for stage in spec.stages:
        _check_tensors(sessions[stage.name], stage, file)
        if len(stage.scales) > 1 and decoder(stage.decoder).merge is None:
            raise PosertError(f"{spec.model} cannot average over several sizes", "leave `scale_number` away")
        if stage.keypoint_count and decoder(stage.decoder).KERNELS.boxes_only:
            raise PosertError(
                f"{file}: the decoder {stage.decoder!r} of stage {stage.name!r} finds boxes, no keypoints",
                "export it again without keypoint_count, or with another decoder",
            )
    devices = {name: opened[path].device for name, path in files.items()}
    return Model(spec, sessions, follow, devices, share.workers, chosen.threads or cpu_cores(), files)


def _with_rival(network: Network, file: Path, stage: Stage, share: Share, arena: bool) -> Network:
    """The network, or on the processor one that may yet run on another number of threads."""
    if not share.rival or network.device != "cpu":
        return network
    rival = partial(open_network, file, "cpu", share.rivals, arena, stage)
    return replace(network, session=Contest(network.session, lambda: rival().session))


def read_spec(path: str | Path, options: ModelOptions | None = None) -> ModelSpec:
    """What a model opened with these options says about itself; raises PosertError for files that cannot be."""
    return _composed(find_model(path), options or ModelOptions())[0]


def _composed(file: Path, chosen: ModelOptions) -> tuple[ModelSpec, dict[str, Path]]:
    """The model with the detector and the parts that were chosen, and the file of each stage's network."""
    spec, detector = chosen.of(_read_spec(file)), None
    if chosen.detector is not None:
        detector = find_model(chosen.detector)
        spec = with_detector(spec, _read_spec(detector), chosen.detector)
    files = {stage.name: _file_of(stage, file, detector) for stage in spec.stages}
    beside = [find_model(part) for part in chosen.parts]
    spec = with_parts(spec, [(_read_spec(part), part) for part in beside])
    files |= zip((stage.name for stage in spec.stages[len(files) :]), beside, strict=True)
    return spec, files


def find_model(path: str | Path) -> Path:
    """The file of a model given by path, or `nano` for the one inside the package.

    Raises PosertError if there is no such file, or it is empty or a folder.
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


def files_of(path: str | Path, options: ModelOptions | None = None) -> list[Path]:
    """The files that a model is opened from: its own, the companions that it names, those of the options."""
    file = find_model(path)
    try:
        stages = from_json(metadata_text(file, METADATA_KEY) or "").stages
    except (PosertError, OSError, ValueError):  # whoever opens it says so
        stages = ()
    named = [file.parent / stage.file for stage in stages if stage.file is not None]
    chosen = options or ModelOptions()
    others = [*([] if chosen.detector is None else [chosen.detector]), *chosen.parts]
    return [file, *named, *map(find_model, others)]


def _read_spec(file: Path) -> ModelSpec:
    text = metadata_text(file, METADATA_KEY)
    if text is None:
        open_network(file, "cpu", Share(1, 1))  # says so if it is no ONNX model at all
        raise PosertError(
            f"{file} carries no posert metadata, so nobody knows what its tensors mean",
            f"posert tag {file} `name` (names: posert models list), or export it with: posert export NAME",
        )
    return from_json(text)


def _file_of(stage: Stage, file: Path, detector: Path | None) -> Path:
    """The file of a stage's network: the given detector, the model's own, or a companion, its hash checked."""
    if detector is not None and stage.region == "frame":
        return detector
    if stage.file is None:
        return file
    path = file.parent / stage.file
    if not os.path.isfile(path):  # its name may be longer than any file's
        raise PosertError(
            f"{file} needs its companion {stage.file} in the same folder",
            "copy both files together, or give another detector with `detector`",
        )
    digest = sha256_of(path)
    if digest != stage.sha256:
        raise PosertError(
            f"{path} is not the file that {file.name} names: its sha256 is {digest}, expected {stage.sha256}",
            "export both again",
        )
    return path


def _check_tensors(session: Any, stage: Stage, file: Path) -> None:
    """Names, types and ranks of the graph against the metadata; raises PosertError with every disagreement."""
    wrong = []
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    given = inputs.get(stage.input.name)
    if given is None:
        wrong.append(f"input {stage.input.name!r}, the graph has {', '.join(inputs)}")
    elif len(given.shape) != 4 or TYPES.get(given.type) != stage.input.dtype:
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
