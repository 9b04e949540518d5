"""Network outputs -> `Poses`. numpy only; no files, no ONNX Runtime, no names of systems.

`decoders/` holds the decoders, `suppression/` the rules that drop people found twice; a file or folder there is its own
registration. `kernels/` is how their loops become machine code.
"""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from posert.errors import PosertError
from posert.typed import Misfit

if TYPE_CHECKING:
    from posert.postprocess.decoding import Decoder
    from posert.postprocess.suppression import SuppressionRule


def names(folder: str) -> list[str]:
    """What a folder, `decoders` or `suppression`, has, sorted."""
    found = Path(__file__).with_name(folder).iterdir()
    return sorted(path.stem for path in found if path.stem[0] != "_" and (path.is_dir() or path.suffix == ".py"))


@cache
def decoder(name: str) -> "Decoder":
    """The decoder module called `name`, checked against the folder before anything is imported.

    Raises:
        PosertError: no such decoder (the file comes from a newer posert, or is hostile).
    """
    return cast("Decoder", _module("decoders", "decoder", name))


@cache
def suppression_rule(name: str) -> "SuppressionRule":
    """The module of the suppression rule `name`, as `decoder`."""
    return cast("SuppressionRule", _module("suppression", "suppression rule", name))


def _module(folder: str, what: str, name: str) -> object:
    if name not in names(folder):
        raise PosertError(
            f"the model asks for the {what} {name!r}; this posert has {', '.join(names(folder))}",
            "update posert (pip install -U posert), or export the model again with this version",
        )
    return import_module(f"posert.postprocess.{folder}.{name}")


def decoder_params(name: str, values: dict[str, Any]) -> Any:
    """The `Params` of decoder `name` with `values` over its defaults.

    Raises:
        PosertError: unknown decoder, unknown parameters (all of them listed), or a value that `Params` refuses.
    """
    return params_of(decoder(name).Params, f"decoder {name!r}", values)


def suppression_params(name: str, values: dict[str, Any]) -> Any:
    """The `Params` of the suppression rule `name`, as `decoder_params`."""
    return params_of(suppression_rule(name).Params, f"suppression rule {name!r}", values)


def params_of(kind: Any, what: str, values: Mapping[str, Any]) -> Any:
    """The record `kind` with `values` over its defaults, as `decoder_params`; errors call it `what`."""
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise PosertError(
            f"{what} has no parameters {', '.join(unknown)}; it knows {', '.join(sorted(known))}",
            "check the names after `params`; else update posert, or export the model again with this version",
        )
    try:
        return kind(**values)
    except Misfit as error:
        raise PosertError(f"{what} cannot use {error.what}", "correct `params`, or export the model again") from None
