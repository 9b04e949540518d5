"""A model as a folder for C programs: the library's sources, the kernels as an object file, the model's tables.

Owns the folder, the names in it, and where the object comes from: the package brings one for each target
(`build.TARGETS`); for another processor, or where it is missing, numba compiles it. Needs no C compiler; the user's own
finishes the job (`make` in the folder).
"""

import hashlib
import importlib
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import posert
from posert.errors import PosertError
from posert.export.embed.declarations import PREFIX, header
from posert.export.embed.table import model_table
from posert.export.web.wasi import write_wasi
from posert.postprocess import decoder
from posert.postprocess.kernels import build, sources
from posert.postprocess.kernels.build import TARGETS
from posert.postprocess.kernels.registry import KERNELS, Kernel
from posert.runtime.session import Model, open_model
from posert.runtime.spec import skeleton_of
from posert.runtime.windows import place

SOURCES = Path(__file__).with_name("c")
WASI = "wasm32-wasi"
_MOST_CONSTANTS, _MOST_AXES = 8, 5  # POSERT__CONSTANTS and POSERT__AXES of c/internal.h
_NAMES = {
    "posert": r"\bposert(?=_(?!k_)|\.h\b| \*| \{| posert;|;)",  # functions and types, neither kernels nor prose
    "POSERT": r"\bPOSERT(?=_(?!ORT\b|KERNELS_H\b))",
}


def bundle(
    path: str | Path,
    folder: Path,
    *,
    target: str = "x86_64-linux",
    cpu: str = "",
    prefix: str = "posert",
    params: Mapping[str, Any] | None = None,
    parts: tuple[str | Path, ...] = (),
) -> list[str]:
    """Writes the folder with everything a C program needs to run the model; returns the names in it.

    Args:
        path: an .onnx file with posert metadata, or `nano`.
        folder: is made if it is not there; files of the same names are replaced.
        target: a key of `TARGETS`; or `WASI`, for hosts of WebAssembly, where nothing is left to compile.
        cpu: LLVM's name of the least processor, "" = the target's usual.
        prefix: what the library, its header and its functions are called, so that several fit into one program.
        params: as of `ModelOptions`; the library has them for good.
        parts: networks for hands, faces and the like, see `ModelOptions`.

    Raises:
        PosertError: the model cannot be opened, or its decoder cannot use its outputs; the target is not known, or
            there is no machine code for it; C does not have what the model needs.
    """
    if target not in (*TARGETS, WASI):
        raise PosertError(f"no target {target}", f"one of: {', '.join((*TARGETS, WASI))}")
    if target == WASI and (cpu or prefix != "posert"):
        raise PosertError(f"for {WASI} there is neither `cpu` nor `prefix`: its program is compiled", "leave them away")
    if not re.fullmatch(r"[a-z][a-z0-9]*", prefix):
        raise PosertError(f"the prefix {prefix!r} cannot begin a name in C", "small letters and digits, as in: body")
    with open_model(path, device="cpu", params=params or {}, parts=parts) as model:
        _check(model)
        if target == WASI:
            return write_wasi(model, folder)
        texts, spec = {"model.c": model_table(model, params or {})}, model.spec
        files = list(dict.fromkeys(model.files.values()))
    about = {"MODEL": spec.model, "LICENCE": spec.licence or "not stated", "TARGET": target}
    about |= {"CPU": cpu or TARGETS[target].cpu, "NAME": prefix, "MACROS": prefix.upper()}
    about |= dict(zip(("MAJOR", "MINOR", "PATCH"), posert.__version__.split("."), strict=False))
    about |= {"VERSION": posert.__version__, "FILES": " ".join(sorted({item.name for item in files}))}
    texts |= {source.name: source.read_text(encoding="utf-8") for source in SOURCES.iterdir()}
    names = sorted({name for text in texts.values() for name in re.findall(rf"\b{PREFIX}\w+", text)})
    code, kernel_prefix = unique(machine_code(names, target, cpu))
    texts["kernels.h"] = header([every_kernel()[name] for name in names], kernel_prefix)
    _write(folder, texts, about)
    for item in files:
        if item.resolve() != (folder / item.name).resolve():
            shutil.copyfile(item, folder / item.name)
    (folder / "kernels.o").write_bytes(code)
    return sorted(item.name for item in folder.iterdir())


def _check(model: Model) -> None:
    """What C does not have is refused, and so are outputs that do not fit their decoder."""
    spec = model.spec
    if spec.stages[0].region == "boxes":
        raise PosertError(
            f"{spec.model} looks at boxes and has no detector, and C takes none from outside",
            "export it with a detector",
        )
    names = [file.name for file in {file.resolve() for file in model.files.values()}]
    if len(names) > len(set(names)):
        raise PosertError(f"two files are called {max(names, key=names.count)}", "give one of them another name")
    for stage in spec.stages:
        if len(stage.scales) > 1:
            raise PosertError(
                f"{spec.model} averages over several sizes, which C cannot",
                "make the model with one size, or use it from Python",
            )
        given = model.constants(stage.name)
        if len(given) > _MOST_CONSTANTS or any(len(one.shape) + one.per_row > _MOST_AXES for one in given):
            raise PosertError(
                f"{spec.model} takes {len(given)} tensors besides the picture; C gives at most {_MOST_CONSTANTS}, of "
                f"at most {_MOST_AXES} axes",
                "use it from Python",
            )
        boxes = np.array([[0, 0, 32, 24]], np.float32) if stage is not spec.stages[0] else None
        _, (width, height) = place((64, 48), stage.input, boxes)
        shape = (1, height, width, 3) if stage.input.layout == "NHWC" else (1, 3, height, width)
        outputs = model.run(stage.name, np.zeros(shape, stage.input.dtype))
        decoder(stage.decoder).decode(outputs, skeleton_of(spec, stage), model.params(stage.name), (width, height))


def _write(folder: Path, texts: dict[str, str], about: dict[str, str]) -> None:
    """The texts with `@WORDS@` filled in, and every public name beginning as asked for."""
    prefix = about["NAME"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        text = re.sub(r"@([A-Z]+)@", lambda match: about[match[1]], text)
        if name.endswith((".c", ".h")) and prefix != "posert":
            text = re.sub(_NAMES["POSERT"], prefix.upper(), re.sub(_NAMES["posert"], prefix, text, flags=re.M))
        own = {"README.in": "README", "posert.h": f"{prefix}.h", "posert.pc.in": f"{prefix}.pc.in"}
        (folder / own.get(name, name)).write_text(text, encoding="utf-8", newline="\n")


def every_kernel() -> dict[str, Kernel]:
    """C name -> kernel, of the whole package."""
    for module in sources.kernel_modules():
        importlib.import_module(module)
    return KERNELS


def machine_code(names: Iterable[str], target: str, cpu: str = "") -> bytes:
    """An object file with these kernels at least; cpu "" is the target's usual one.

    Raises:
        PosertError: the package has no object for this, and numba is not there to compile it.
    """
    usual = TARGETS[target]
    wanted = replace(usual, cpu=cpu or usual.cpu)
    made = packaged(target)
    if wanted == usual and made is not None:
        return made.read_bytes()
    if find_spec("numba") is None:
        raise PosertError(
            f"posert has no compiled kernels for {target} ({wanted.cpu}) here",
            "pip install 'posert[jit]' compiles them",
        )
    return _compiled(tuple(sorted(names)), wanted)


def packaged(target: str) -> Path | None:
    """The package's object of all kernels; None if it has none, or, in a checkout, one older than the kernels."""
    path = sources.object_of(target)
    return path if path.is_file() and not sources.outdated() else None


@lru_cache(maxsize=8)
def _compiled(names: tuple[str, ...], target: build.Target) -> bytes:
    """Several bundles of one process share it."""
    kernels = every_kernel()
    try:
        return build.compile_kernels(build.lower(kernels[name] for name in names), target)
    except RuntimeError as error:
        raise PosertError(str(error).split("\n")[0], "leave `cpu` away, or give a name that LLVM knows") from error


def unique(code: bytes) -> tuple[bytes, str]:
    """The object with names that no other object has, and their prefix: different kernels may meet in one program.

    The new prefix is as long as `posert_k_`, so that nothing else in the object moves.
    """
    prefix = f"k{hashlib.sha256(code).hexdigest()[: len(PREFIX) - 2]}_"
    return code.replace(PREFIX.encode(), prefix.encode()), prefix
