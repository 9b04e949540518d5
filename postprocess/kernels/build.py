"""Kernels -> an object file for any target: Python by numba to LLVM's language, by LLVM to machine code.

Owns the route, which is the same for this machine and for C programs on others, so that both compute the same bits.
Needs numba and llvmlite, no C compiler. Knows nothing of what the kernels do, nor where the object goes.
"""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import posert
from posert.postprocess.kernels.registry import EXPORTED

# LLVM optimises for the target later; numba's own passes would already have vectorised for this machine.
_NEUTRAL = {"NUMBA_OPT": "0", "NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0", "POSERT_COMPILING": "1"}


@dataclass(frozen=True, slots=True)
class CompiledKernels:
    """An object file (ELF, Mach-O or COFF, position independent) and the names it expects from outside."""

    code: bytes
    undefined: frozenset[str]


def compile_modules(
    modules: Sequence[str], triple: str, cpu: str, features: str = "", *, small: bool = False
) -> CompiledKernels:
    """The kernels of some modules, in a process of its own: numba reads its settings once, when it is imported.

    Args:
        modules: full names, such as `posert.postprocess.decoders.paf.peaks`.
        triple: LLVM target, `aarch64-unknown-linux-gnu`. cpu: LLVM's name, `x86-64-v2`, `generic`.
        features: LLVM's notation, `+avx2,-avx512f`.
        small: to go into a library: kernels share helpers and loops are not unrolled, which is half of the code at the
            same speed; the names are hidden in it.

    Raises:
        RuntimeError: the kernels do not compile, or LLVM does not know the target; carries the child's last words.
    """
    search = os.pathsep.join([str(Path(posert.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **_NEUTRAL, "PYTHONPATH": search.rstrip(os.pathsep)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    code = "import sys; from posert.postprocess.kernels.build import _build; _build(*sys.argv[1:])"
    command = [sys.executable, "-c", code, ",".join(modules), triple, cpu, features, "small" if small else ""]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-4000:]
        raise RuntimeError(f"the kernels do not compile for {triple} ({cpu}):\n{said}")
    names, _, machine_code = done.stdout.partition(b"\n")
    return CompiledKernels(machine_code, frozenset(json.loads(names)))


def types_of(signature: str) -> tuple[tuple[Any, ...], Any]:
    """numba's argument types and result type of a signature."""
    from numba.core.sigutils import normalize_signature

    arguments, result = normalize_signature(signature)
    return tuple(arguments), result


def argument_names(fn: Callable[..., Any]) -> list[str]:
    """Names of the arguments of a kernel, compiled or not."""
    plain: Any = getattr(fn, "py_func", None) or getattr(fn, "fn", fn)
    return list(inspect.signature(plain).parameters)


def _wrapper(name: str, fn: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], list[Any]]:
    """A Python function over pointers, dimensions and scalars that calls the kernel, and its argument types."""
    from numba import carray, types

    parameters, passed, kinds = [], [], []
    for argument, kind in zip(argument_names(fn), arguments, strict=True):
        axes = [f"{argument}_{axis}" for axis in range(getattr(kind, "ndim", 0))]
        parameters += [argument, *axes]
        passed.append(f"carray({argument}, ({', '.join(axes)},))" if axes else argument)
        kinds += [types.CPointer(kind.dtype) if axes else kind, *[types.int64] * len(axes)]
    source = f"def {name}({', '.join(parameters)}):\n    return kernel({', '.join(passed)})\n"
    space: dict[str, Any] = {"carray": carray, "kernel": fn}
    exec(source, space)
    return space[name], kinds


def _ir(name: str) -> str:
    """LLVM IR of one kernel, its wrapper under the name `name`."""
    from numba import cfunc

    fn, signature = EXPORTED[name]
    arguments, result = types_of(signature)
    wrapper, kinds = _wrapper(name, fn, arguments)
    compiled = cfunc(result(*kinds), nopython=True, error_model="numpy")(wrapper)
    return str(compiled.inspect_llvm()).replace(compiled.native_name, name)


def _build(modules: str, triple: str, cpu: str, features: str, small: str) -> None:
    """Runs in the child: prints the undefined names as a line of JSON, then the object. No file: a disk may be full."""
    import llvmlite.binding as llvm

    wanted = modules.split(",")
    for module in wanted:
        importlib.import_module(module)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default")
    names = sorted(name for name, (fn, _) in EXPORTED.items() if fn.__module__ in wanted)
    groups = [names] if small else [[name] for name in names]
    whole, *others = [
        _optimised(llvm, machine, triple, {name: _ir(name) for name in group}, small != "") for group in groups
    ]
    for other in others:
        whole.link_in(other)
    undefined = {fn.name for fn in whole.functions if fn.is_declaration and not fn.name.startswith("llvm.")}
    undefined |= {variable.name for variable in whole.global_variables if variable.is_declaration}
    undefined |= {call for fn in whole.functions for call in _library_calls(fn.name)}
    sys.stdout.buffer.write(json.dumps(sorted(undefined)).encode() + b"\n" + machine.emit_object(whole))


def _library_calls(name: str) -> list[str]:
    """The C function that an LLVM intrinsic may become (`llvm.floor.f32`: floorf); none for those that never do."""
    match = re.fullmatch(r"llvm\.(mem\w+|exp2?|log2?|log10|pow|sin|cos|floor|ceil|trunc|rint|fma)\.(.*)", name)
    if match is None:
        return []
    return [match[1] + ("f" if match[2] == "f32" else "")]


def _optimised(llvm: Any, machine: Any, triple: str, texts: dict[str, str], small: bool) -> Any:
    """One module of some kernels for the target, all else internal. Two passes remove numba's error paths entirely.

    Kernels that are optimised together share their helpers; alone, each has its own copies, which LLVM fits to it.
    """
    module = None
    for ir in texts.values():
        parsed = _parsed(llvm, machine, triple, ir)
        for fn in parsed.functions:
            if not fn.is_declaration and fn.name not in texts:
                fn.linkage = "linkonce_odr"  # the same helper in two kernels becomes one
        if module is None:
            module = parsed
        else:
            module.link_in(parsed)
    assert module is not None
    for fn in module.functions:
        if not fn.is_declaration and fn.name not in texts:
            fn.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration or variable.name.startswith("_ZN08NumbaEnv"):
            variable.linkage = "internal"
    tuning = llvm.create_pipeline_tuning_options(speed_level=2 if small else 3)
    if small:
        tuning.loop_unrolling = tuning.loop_interleaving = False
    passes = llvm.create_pass_builder(machine, tuning)
    for _ in range(2):
        passes.getModulePassManager().run(module, passes)
    for name in texts if small else ():
        module.get_function(name).visibility = "hidden"
    return module


def _parsed(llvm: Any, machine: Any, triple: str, ir: str) -> Any:
    """A module of LLVM, for this target."""
    ir = re.sub(r"^target triple = .*$", f'target triple = "{triple}"', ir, flags=re.M)
    ir = re.sub(r"^target datalayout = .*$", f'target datalayout = "{machine.target_data}"', ir, flags=re.M)
    return llvm.parse_assembly(ir)
