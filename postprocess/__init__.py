"""Decoders: raw network outputs -> `Poses`. numpy and numba only; no files, no ONNX Runtime, no names of systems.

A file here is a decoder (`paf.py` is the decoder `paf`) with two public names, `Params` and `decode`; a leading
underscore and the names in `_NOT_DECODERS` are shared parts. `suppress_poses.py` is the suppression rule `poses`, with
`Params` and `suppress`: it drops people found twice after the decoder.
"""

from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from posert.postprocess.errors import PosertError

_NOT_DECODERS = {"__init__", "errors", "poses"}
_SUPPRESS = "suppress_"


def decoder_names() -> list[str]:
    """The decoders of this folder, sorted."""
    stems = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(stem for stem in stems if not stem.startswith(("_", _SUPPRESS)) and stem not in _NOT_DECODERS)


@cache
def decoder(name: str) -> ModuleType:
    """The decoder module called `name`, checked against this folder before anything is imported.

    Raises:
        PosertError: no such decoder (the file comes from a newer posert, or is hostile).
    """
    if name not in decoder_names():
        raise PosertError(
            f"the model asks for the decoder {name!r}; this posert has {', '.join(decoder_names())}",
            "update posert (pip install -U posert), or export the model again with this version",
        )
    return import_module(f"posert.postprocess.{name}")


@cache
def suppression(name: str) -> ModuleType:
    """The module of the suppression rule `name`, checked against this folder before anything is imported.

    Raises:
        PosertError: no such rule (the file comes from a newer posert, or is hostile).
    """
    names = sorted(path.stem.removeprefix(_SUPPRESS) for path in Path(__file__).parent.glob(f"{_SUPPRESS}*.py"))
    if name not in names:
        raise PosertError(
            f"the model asks for the suppression rule {name!r}; this posert has {', '.join(names)}",
            "update posert (pip install -U posert), or export the model again with this version",
        )
    return import_module(f"posert.postprocess.{_SUPPRESS}{name}")


def decoder_params(name: str, values: dict[str, Any]) -> Any:
    """The `Params` of decoder `name` with `values` over its defaults.

    Raises:
        PosertError: unknown decoder, unknown parameters (all of them listed), or a value that `Params` refuses.
    """
    return _params(decoder(name), f"decoder {name!r}", values)


def suppression_params(name: str, values: dict[str, Any]) -> Any:
    """The `Params` of the suppression rule `name`, as `decoder_params`."""
    return _params(suppression(name), f"suppression rule {name!r}", values)


def _params(module: ModuleType, what: str, values: dict[str, Any]) -> Any:
    known = {field.name for field in fields(module.Params)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise PosertError(
            f"{what} has no parameters {', '.join(unknown)}; it knows {', '.join(sorted(known))}",
            "check the names after --set; else update posert, or export the model again with this version",
        )
    try:
        return module.Params(**values)
    except (TypeError, ValueError) as error:
        raise PosertError(
            f"{what} cannot use its parameters: {error}", "correct --set, or export the model again"
        ) from error
