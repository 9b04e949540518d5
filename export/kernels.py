"""Compiles every exported kernel ahead of time into one object file with plain C symbols and no Python in it.

    python -m posert.export.kernels kernels.o [--header kernels.h] [--triple x86_64-unknown-linux-gnu] [--cpu x86-64-v2]

Owns the route from `@kernel` to C: numba's public `cfunc` gives LLVM text, llvmlite optimises it for the target. Knows
nothing of what the kernels compute. Runs as a program of its own, because numba must be told before its first import to
leave optimising to us.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from posert.postprocess.errors import PosertError

LIBC = {"memset", "memcpy", "memmove", "bzero", "sqrt", "sqrtf", "exp", "expf", "floor", "floorf", "tanh", "tanhf"}
LIBC |= {"hypot", "hypotf", "_fltused"}
"""What a kernel may need at link time: libc and libm (and the marker Windows wants for floating point)."""

KERNEL_MODULES = (
    "posert.postprocess.paf",
    "posert.postprocess.heatmap",
    "posert.postprocess.detect",
    "posert.postprocess._nms",
    "posert.postprocess._follow",
    "posert.runtime._sample",
)
_C_TYPES = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t", "uint8": "uint8_t"}
_UNOPTIMISED = {"NUMBA_OPT": "0", "NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0", "NUMBA_DISABLE_JIT": "0"}


def compile_kernels(
    target: Path, *, header: Path | None = None, triple: str = "x86_64-unknown-linux-gnu", cpu: str = "x86-64-v2"
) -> list[str]:
    """Writes the object file (and the header) and returns the undefined symbols it needs, sorted.

    Args:
        triple: LLVM target triple; any target llvmlite knows, no cross compiler is needed.
        cpu: LLVM name of the oldest processor that must run it.

    Raises:
        PosertError: a kernel does not compile, or needs a symbol outside libc and libm; says which.
    """
    command = [sys.executable, "-m", "posert.export.kernels", str(target), "--triple", triple, "--cpu", cpu]
    if header is not None:
        command += ["--header", str(header)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **_UNOPTIMISED}, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise PosertError(f"the kernels do not compile for {triple}: {last[0]}", "see CONTRIBUTING.md, Add a decoder")
    symbols: list[str] = json.loads(done.stdout)
    return symbols


def exported() -> dict[str, tuple[Any, str]]:
    """C name -> (kernel, numba signature) of every `@kernel` in `KERNEL_MODULES`, sorted by name."""
    from posert.postprocess._jit import EXPORTED

    for name in KERNEL_MODULES:
        importlib.import_module(name)
    return dict(sorted(EXPORTED.items()))


def _parameters(fn: Any, signature: str) -> tuple[list[tuple[str, Any]], Any]:
    """(name, numba type) of every argument, and the return type."""
    from numba.core import sigutils

    kinds, returned = sigutils.normalize_signature(signature)
    code = fn.py_func.__code__
    return list(zip(code.co_varnames[: code.co_argcount], kinds, strict=True)), returned


def _wrapper(fn: Any, signature: str) -> tuple[Any, Any, str]:
    """A function of pointers, sizes and scalars around a kernel of arrays: itself, its numba type, its C arguments."""
    from numba import carray, types

    parameters, returned = _parameters(fn, signature)
    names: list[str] = []
    kinds: list[Any] = []
    passed: list[str] = []
    declared: list[str] = []
    for name, kind in parameters:
        names.append(name)
        if not isinstance(kind, types.Array):
            kinds.append(kind)
            passed.append(name)
            declared.append(f"{_C_TYPES[str(kind)]} {name}")
            continue
        sides = [f"{name}_{axis}" for axis in range(kind.ndim)]
        names += sides
        kinds += [types.CPointer(kind.dtype), *[types.int64] * kind.ndim]
        passed.append(f"carray({name}, ({', '.join(sides)},))")
        declared += [f"{_C_TYPES[str(kind.dtype)]} *{name}", *(f"int64_t {side}" for side in sides)]
    scope = {"carray": carray, "kernel": fn}
    exec(f"def wrapper({', '.join(names)}):\n    return kernel({', '.join(passed)})", scope)
    return scope["wrapper"], returned(*kinds), ", ".join(declared)


def header_text() -> str:
    """The C header: one prototype per kernel; an array is its pointer and then its sizes, C order."""
    lines = ["#include <stdint.h>", ""]
    for name, (fn, signature) in exported().items():
        _, kind, declared = _wrapper(fn, signature)
        lines.append(f"{_C_TYPES[str(kind.return_type)]} {name}({declared});")
    return "\n".join(lines) + "\n"


def _module(name: str, fn: Any, signature: str, triple: str, machine: Any) -> Any:
    """One kernel as an optimised LLVM module whose only visible symbol is `name`."""
    import llvmlite.binding as llvm
    from numba import cfunc

    wrapper, kind, _ = _wrapper(fn, signature)
    compiled = cfunc(kind, nopython=True, error_model="numpy")(wrapper)
    text = compiled.inspect_llvm().replace(compiled.native_name, name)
    text = re.sub(r"^target triple = .*$", f'target triple = "{triple}"', text, flags=re.MULTILINE)
    layout = f'target datalayout = "{machine.target_data}"'
    text = re.sub(r"^target datalayout = .*$", layout, text, flags=re.MULTILINE)
    module = llvm.parse_assembly(text)
    for function in module.functions:
        if not function.is_declaration and function.name != name:
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration or variable.name.startswith("_ZN08NumbaEnv"):
            variable.linkage = "internal"
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    for _ in range(2):  # the second pass removes what inlining in the first one made dead
        builder.getModulePassManager().run(module, builder)
    return module


def _undefined(module: Any) -> set[str]:
    functions = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    return functions | {v.name for v in module.global_variables if v.is_declaration}


def main() -> None:
    """Compile in this process; writes the undefined symbols to standard output as a JSON list."""
    parser = argparse.ArgumentParser(description="Compile posert's kernels into one object file.")
    parser.add_argument("target", type=Path)
    parser.add_argument("--header", type=Path)
    parser.add_argument("--triple", default="x86_64-unknown-linux-gnu")
    parser.add_argument("--cpu", default="x86-64-v2")
    options = parser.parse_args()
    os.environ.update(_UNOPTIMISED)
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(options.triple).create_target_machine(
        cpu=options.cpu, opt=3, reloc="pic", codemodel="default"
    )
    whole: Any = None
    needed: set[str] = set()
    for name, (fn, signature) in exported().items():
        module = _module(name, fn, signature, options.triple, machine)
        foreign = _undefined(module) - LIBC
        if foreign:
            raise SystemExit(f"kernel {name} needs {', '.join(sorted(foreign))}")
        needed |= _undefined(module)
        if whole is None:
            whole = module
        else:
            whole.link_in(module)
    options.target.write_bytes(machine.emit_object(whole))
    if options.header:
        options.header.write_text(header_text(), encoding="utf-8")
    sys.stdout.write(json.dumps(sorted(needed)))


if __name__ == "__main__":
    main()
