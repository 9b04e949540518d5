"""A model as a folder for C programs: the library's sources, the kernels as an object file, the model's tables.

Owns the folder and the tables. Needs no C compiler; the user's own finishes the job (`make` in the folder).
"""

import ast
import importlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from posert import open_model
from posert.errors import PosertError
from posert.export.embed.constants_header import constants
from posert.export.embed.kernels_header import header, load_kernels
from posert.postprocess.decoders import bodyparts, cifcaf
from posert.postprocess.decoders.paf import peaks
from posert.postprocess.kernels.build import compile_modules
from posert.postprocess.kernels.registry import EXPORTED
from posert.runtime.session import Model, find_model
from posert.runtime.spec import Stage

SOURCES = Path(__file__).with_name("c")
TARGETS = {
    "x86_64-linux": ("x86_64-unknown-linux-gnu", "x86-64-v2"),
    "aarch64-linux": ("aarch64-unknown-linux-gnu", "generic"),
    "x86_64-macos": ("x86_64-apple-macosx11.0.0", "x86-64-v2"),
    "arm64-macos": ("arm64-apple-macosx11.0.0", "apple-m1"),
    "x86_64-windows": ("x86_64-pc-windows-msvc", "x86-64-v2"),
}
_TORSO = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
_FOR_ALL = ["posert.runtime.sample", "posert.postprocess.crop_region"]
_SHARED = ("memory.c", "ops.c", "ort.c", "posert.c", "prepare.c", "regions.c", "taps.c")


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written.

    Attributes:
        folder: the bundle. files: names in it. target: as asked for. cpu: LLVM's name of the least processor.
    """

    folder: Path
    files: tuple[str, ...]
    target: str
    cpu: str


def bundle(path: str | Path, folder: Path, *, target: str = "x86_64-linux", cpu: str = "") -> Bundle:
    """The folder with everything a C program needs to run the model.

    Args:
        path: an .onnx file with posert metadata, or `nano`.
        folder: is made if it is not there; files of the same names are replaced.
        target: a key of `TARGETS`. cpu: LLVM's name of the least processor, "" = the target's usual.

    Raises:
        PosertError: the model cannot be opened, the target is not known, or a decoder has no C twin.
    """
    if target not in TARGETS:
        raise PosertError(f"no target {target}", f"one of: {', '.join(TARGETS)}")
    triple, usual = TARGETS[target]
    file = find_model(path)
    with open_model(path, device="cpu") as model:
        twins = _twins(model)
        table = model_table(model, file)
        spec = model.spec
    try:
        code = _compiled(tuple(_kernel_modules(twins)), triple, cpu or usual)
    except RuntimeError as error:
        raise PosertError(str(error).split("\n")[0], "leave `cpu` away, or give a name that LLVM knows") from error
    folder.mkdir(parents=True, exist_ok=True)
    companions = [file.parent / str(stage.file) for stage in spec.stages if stage.file is not None]
    names = sorted({source.name for source in SOURCES.glob("*.h")} | {"main.c", "Makefile", "CMakeLists.txt", *_SHARED})
    for source in [*(SOURCES / name for name in names), *(SOURCES / f"{twin}.c" for twin in twins), file, *companions]:
        if source.resolve() != (folder / source.name).resolve():
            shutil.copyfile(source, folder / source.name)
    about = (SOURCES / "README.in").read_text(encoding="utf-8").format(
        model=spec.model, files=", ".join(sorted({file.name, *(item.name for item in companions)})), target=target,
        cpu=cpu or usual, licence=spec.licence or "not stated",
    )  # fmt: skip
    for name, text in {"model.c": table, "kernels.h": header(), "constants.h": constants(), "README": about}.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    (folder / "kernels.o").write_bytes(code)
    return Bundle(folder, tuple(sorted(item.name for item in folder.iterdir())), target, cpu or usual)


@lru_cache(maxsize=8)
def _compiled(modules: tuple[str, ...], triple: str, cpu: str) -> bytes:
    """The kernels' object file; several bundles of one process share it."""
    return compile_modules(modules, triple, cpu, small=True).code


def _twins(model: Model) -> list[str]:
    """Names of the decoders and rules of the model, each a C file too."""
    if model.spec.stages[0].region == "boxes":
        raise PosertError(
            f"{model.spec.model} looks at boxes and has no detector, and C takes none from outside",
            "export it with a detector",
        )
    wanted = {stage.decoder for stage in model.spec.stages}
    wanted |= {"suppress_" + stage.suppress for stage in model.spec.stages if stage.suppress}
    if any(len(stage.scales) > 1 for stage in model.spec.stages):
        raise PosertError(
            f"{model.spec.model} averages over several sizes, which has no C twin yet",
            "make the model with one size, or use it from Python",
        )
    absent = sorted(name for name in wanted if not (SOURCES / f"{name}.c").exists())
    if absent:
        raise PosertError(
            f"{model.spec.model} needs {', '.join(absent)}, which has no C twin yet", "use it from Python"
        )
    return sorted(wanted)


def _kernel_modules(twins: list[str]) -> list[str]:
    """The modules whose kernels these decoders call: themselves, and what they import of `postprocess/_*.py`."""
    load_kernels()
    holding = {getattr(fn, "fn", fn).__module__ for fn, _ in EXPORTED.values()}
    found, open_ones = set(_FOR_ALL), [_module(twin) for twin in twins]
    while open_ones:
        name = open_ones.pop()
        found.add(name)
        source = Path(str(importlib.import_module(name).__file__)).read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("posert.postprocess"):
                reached = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
                reached = [module for module in reached if module in holding]
                open_ones += [module for module in reached if module not in found]
    return sorted(found & holding)


def _module(twin: str) -> str:
    rule = twin.removeprefix("suppress_")
    return f"posert.postprocess.decoders.{twin}" if rule == twin else f"posert.postprocess.suppression.{rule}"


def fnv1a(data: bytes) -> int:
    """The 64-bit FNV-1a hash of some bytes, by which the C library knows its model.

    >>> hex(fnv1a(b"a"))
    '0xaf63dc4c8601ec8c'
    """
    value = 14695981039346656037
    for byte in data:
        value = ((value ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return value


def model_table(model: Model, file: Path) -> str:
    """The C source `model.c`: the model's metadata as constants."""
    import posert

    spec = model.spec
    names = spec.skeleton.names
    torso = [names.index(name) if name in names else -1 for name in _TORSO]
    lines = [
        "/* Generated by posert: what the model says about itself. */",
        '#include "internal.h"',
        "",
        "#include <math.h>",
        "",
    ]
    lines += [f"static const char *const names[] = {_c(names or ('',))};"]
    lines += [f"static const int64_t edges[][2] = {_c(spec.skeleton.edges or ((0, 0),))};", ""]
    stages = []
    for number, stage in enumerate(spec.stages):
        lines += _stage_constants(model, stage, number)
        stages.append(_stage(model, stage, number, file))
    fields_of_model = {
        ".name": _c(spec.model), ".version": _c(posert.__version__), ".keypoint_count": _c(len(names)),
        ".edge_count": _c(len(spec.skeleton.edges)), ".names": "names", ".edges": "edges",
        ".torso": _c(torso if min(torso) >= 0 else [-1] * 4), ".stage_count": _c(len(stages)), ".stages": "stages",
    }  # fmt: skip
    lines += [f"static const posert__stage stages[] = {{{', '.join(stages)}}};", ""]
    lines += [f"const posert__model posert__the_model = {_struct(fields_of_model)};", ""]
    return "\n".join(lines)


def _stage_constants(model: Model, stage: Stage, number: int) -> list[str]:
    """Names and parameters of a stage as arrays and structs that its table points to."""
    lines = [f"static const char *const roles_{number}[] = {_c(tuple(stage.outputs))};"]
    lines += [f"static const char *const outputs_{number}[] = {_c(tuple(stage.outputs.values()))};"]
    lines += _params(stage.decoder, f"params_{number}", model.params(stage.name))
    if stage.suppress is not None:
        lines += _params("suppress_" + stage.suppress, f"rule_{number}", model.suppression_params(stage.name))
    return [*lines, ""]


def _params(kind: str, name: str, params: Any) -> list[str]:
    """A decoder's `Params` as a struct; tuples become arrays of their own, with a count."""
    lines, members = [], {}
    params = bodyparts.effective(params) if kind == "bodyparts" else params
    values = {field.name: getattr(params, field.name) for field in fields(params)} | _derived(kind, params)
    for key, value in values.items():
        if isinstance(value, tuple | list):  # a model's metadata has lists
            pairs = bool(value) and isinstance(value[0], tuple | list)
            element = "double" if any(isinstance(item, float) for item in value) else "int64_t"
            filled = value or (0,)
            lines.append(f"static const {element} {name}_{key}[]{'[2]' if pairs else ''} = {_c(filled)};")
            members[f".{key}"], members[f".{key}_count"] = f"{name}_{key}", _c(len(value))
        else:
            members[f".{key}"] = _word(value) if isinstance(value, str) else _c(value)
    return [*lines, f"static const posert__{kind}_params {name} = {_struct(members)};"]


def _derived(kind: str, params: Any) -> dict[str, Any]:
    """What C would have to compute with other rounding, or would have to know."""
    if kind == "paf":
        return {"smooth_kernel": tuple(peaks.smoothing(params.smooth_taps).tolist())}
    return {"instance_threshold": cifcaf.least_mean(params)} if kind == "cifcaf" else {}


def _stage(model: Model, stage: Stage, number: int, file: Path) -> str:
    spec = stage.input
    given = {field.name: getattr(spec, field.name) for field in fields(spec)}
    words = {"layout", "dtype", "color", "fit", "align", "interpolation", "rounding"}
    members = {f".{key}": _word(value) if key in words else _c(value) for key, value in given.items()}
    data = file.read_bytes() if stage.file is None else (file.parent / stage.file).read_bytes()
    return _struct({
        ".region": _word(stage.region), ".input": _struct(members), ".single_row": _c(model.single_row(stage.name)),
        ".output_count": _c(len(stage.outputs)), ".roles": f"roles_{number}", ".outputs": f"outputs_{number}",
        ".decoder": f"&posert__{stage.decoder}", ".params": f"&params_{number}",
        ".suppress": f"&posert__suppress_{stage.suppress}" if stage.suppress else "NULL",
        ".suppress_params": f"&rule_{number}" if stage.suppress else "NULL",
        ".file": _c(stage.file or file.name), ".file_bytes": _c(len(data)), ".file_hash": f"{fnv1a(data)}u",
    })  # fmt: skip


def _struct(members: Mapping[str, str]) -> str:
    return "{" + ",\n    ".join(f"{key} = {value}" for key, value in members.items()) + "}"


def _word(value: str) -> str:
    return f"POSERT__{value.upper()}"


def _c(value: Any) -> str:
    """A constant of C99: the same number to the last bit."""
    if value is None:
        return "NAN"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return value.hex() if abs(value) != float("inf") else ("" if value > 0 else "-") + "INFINITY"
    if isinstance(value, str):
        escaped = "".join(chr(c) if 32 <= c < 127 and chr(c) not in '"\\?' else f"\\{c:03o}" for c in value.encode())
        return f'"{escaped}"'
    return "{" + ", ".join(_c(item) for item in value) + "}"
