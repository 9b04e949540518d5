"""torch modules and weight files: read without running code, checked key by key, exported to ONNX. Knows no systems."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from posert.errors import PosertError
from posert.export.onnx_file import Reference

_OPSET = 18
_SHOWN = 40


def read_state(path: Path) -> dict[str, Any]:
    """Name -> tensor of a .pth state dict, without what DataParallel (`module.`) or a training script wrapped around.

    Raises:
        PosertError: the file holds something other than tensors, which could run code, or is damaged.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zipfile's and torch's own kinds
        raise PosertError(
            f"{path} is no plain state dict: {str(error).splitlines()[0][:200]}",
            "only tensors are loaded, never code; save it with torch.save(model.state_dict(), FILE)",
        ) from None
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise PosertError(f"{path} is no state dict: it holds a {type(loaded).__name__}", "give the official .pth file")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}


def fill(net: Any, state: dict[str, Any], what: str) -> None:
    """Loads every tensor of `state` into the torch module `net`.

    Raises:
        PosertError: names or shapes differ; lists all of them.
    """
    own = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    # Files saved before torch 0.4.1 have no counters; they mean nothing for inference.
    counters = {key for key in own if key.endswith(".num_batches_tracked")}
    problems = [f"missing {key}" for key in own if key not in given and key not in counters]
    problems += [f"unexpected {key}" for key in given if key not in own]
    problems += [
        f"{key} is {list(given[key])}, expected {list(own[key])}" for key in own if given.get(key, own[key]) != own[key]
    ]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise PosertError(
            f"these are not the weights of {what}; {len(problems)} differences: {'; '.join(problems[:_SHOWN])}{more}",
            "posert models list shows the names; each belongs to one official file",
        )
    net.load_state_dict(state, strict=False)


def reference(net: Any, roles: Sequence[str]) -> Reference:
    """The torch module `net`, whose outputs have these roles, as a function of our input tensor."""

    def run(tensor: Any) -> dict[str, Any]:
        with torch.no_grad():
            found = net(torch.from_numpy(tensor))
        outputs = [found] if isinstance(found, torch.Tensor) else found
        return {role: output.numpy() for role, output in zip(roles, outputs, strict=True)}

    return run


def to_onnx(net: Any, shape: tuple[int, ...], name: str, outputs: Sequence[str], *, free_sides: bool = False) -> Any:
    """`net` as onnx.ModelProto: input `name` f32 of `shape` with a free first axis, outputs named `outputs`.

    Args:
        free_sides: axes 2 and 3 are free too; `shape` is then only an example.
    """
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC) if free_sides else {0: torch.export.Dim("batch")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's remarks on itself
        program = torch.onnx.export(
            net.eval(), (torch.zeros(2, *shape[1:]),), input_names=[name], output_names=list(outputs),
            opset_version=_OPSET, dynamo=True, verbose=False, dynamic_shapes=(free,),
        )  # fmt: skip
    return program.model_proto
