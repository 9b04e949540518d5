"""Kernels -> machine code for any target: Python by numba to LLVM's language, by LLVM to an object.

Owns the route, which is the same for this machine and for others, so that all compute the same bits. Needs numba (the
extra `jit`, or the build environment), no C compiler. Knows nothing of what the kernels do, nor where the object goes.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from posert.postprocess.kernels import workspace
from posert.postprocess.kernels.registry import Function, Kernel, is_helper

# numba counts references to arrays. A kernel's arrays are all its caller's, so there is nothing to count; one that
# allocated would still ask for NRT_Allocate, and be found out by that.
_COUNTING = re.compile(r"^(define linkonce_odr void @NRT_(?:inc|dec)ref\(.*?\)[^\n{]*) \{\n.*?^\}", re.M | re.S)
_MATHS = ["floor", "ceil", "trunc", "rint", "exp", "log", "pow", "sqrt", "hypot", "fma", "sin", "cos", "tanh", "erf"]
LIBRARY_NAMES = frozenset(["memset", "memcpy", "memmove", *_MATHS, *(name + "f" for name in _MATHS)])
"""What machine code may call: libc and libm."""


@dataclass(frozen=True, slots=True)
class Target:
    """What machine code is for.

    Attributes:
        triple: LLVM's, `aarch64-unknown-linux-gnu`. cpu: LLVM's name of the least processor, `x86-64-v2`, `generic`.
        small: kernels share helpers and loops are not unrolled, which is half of the code at the same speed; the names
            are hidden in the library that it goes into.
        features: more than that processor has, LLVM's names: `+simd128`.
    """

    triple: str
    cpu: str
    small: bool = False
    features: str = ""


TARGETS = {
    "x86_64-linux": Target("x86_64-unknown-linux-gnu", "x86-64-v2", small=True),
    "aarch64-linux": Target("aarch64-unknown-linux-gnu", "generic", small=True),
    "x86_64-macos": Target("x86_64-apple-macosx11.0.0", "x86-64-v2", small=True),
    "arm64-macos": Target("arm64-apple-macosx11.0.0", "apple-m1", small=True),
    "x86_64-windows": Target("x86_64-pc-windows-msvc", "x86-64-v2", small=True),
}
"""For C programs; a wheel holds an object for each (`sources.object_of`)."""
WASM = Target("wasm32-wasi", "mvp", small=True, features="+simd128,+bulk-memory,+nontrapping-fptoint,+sign-ext")
"""For `posert.wasm`: what every browser has that has SIMD, since 2023."""


def compile_kernels(lowered: dict[str, str], target: Target) -> bytes:
    """Kernels in LLVM's language (`lower`) as one object file (ELF, Mach-O or COFF), position independent.

    Raises:
        RuntimeError: LLVM does not know the target, or a kernel allocates, raises, or calls more than libc and libm.
    """
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default"
    )
    groups = [lowered] if target.small else [{name: ir} for name, ir in lowered.items()]
    whole, *others = [_optimised(llvm, machine, target, group) for group in groups]
    for other in others:
        whole.link_in(other)
    undefined = {fn.name for fn in whole.functions if fn.is_declaration and not fn.name.startswith("llvm.")}
    undefined |= {variable.name for variable in whole.global_variables if variable.is_declaration}
    undefined |= {call for fn in whole.functions for call in _library_calls(fn.name)}
    if foreign := sorted(undefined - LIBRARY_NAMES):
        raise RuntimeError(f"{', '.join(lowered)} would need {', '.join(foreign)}, which no C library has")
    return bytes(machine.emit_object(whole))


def lower(kernels: Iterable[Kernel]) -> dict[str, str]:
    """C name -> LLVM's language of each kernel, not yet for any processor."""
    from numba import cfunc, types

    lowered = {}
    with _neutral():
        for kernel in kernels:
            wrapper, kinds = _wrapper(kernel, types)
            compiled = cfunc(types.int64(*kinds), nopython=True, error_model="numpy")(wrapper)
            ir = str(compiled.inspect_llvm()).replace(compiled.native_name, kernel.name)
            lowered[kernel.name] = _COUNTING.sub(r"\1 {\n  ret void\n}", ir)
    return lowered


def compiled_here(kernel: Kernel) -> Function:
    """A kernel compiled in this process for this machine, where the package has no machine code for it."""
    from numba import types

    scalars = [(getattr(types, kind.dtype), kind.axes) for kind in kernel.arguments.values()]
    kinds = [types.Array(scalar, axes, "C") if axes else scalar for scalar, axes in scalars]
    dispatcher = _dispatcher(kernel.fn, called=True)
    dispatcher.compile(types.int64(*kinds))
    return dispatcher  # type: ignore[no-any-return]


@contextmanager
def _neutral() -> Iterator[None]:
    """LLVM optimises for the target later; numba's own passes would already have vectorised for this machine.

    Nor does anybody run the functions in this process: their machine code would take half of the time.
    """
    from unittest.mock import patch

    from numba.core import codegen

    def nothing(*_: Any) -> None: ...

    passes = ["_optimize_functions", "_optimize_final_module", "_finalize_specific"]
    library: dict[str, Any] = dict.fromkeys(passes, nothing)
    library["get_pointer_to_function"] = lambda self, name: self._ensure_finalized() or 0
    engine: dict[str, Any] = {"_add_module": nothing, "set_env": nothing}
    with patch.multiple(codegen.JITCodeLibrary, **library), patch.multiple(codegen.JITCPUCodegen, **engine):
        yield


def _wrapper(kernel: Kernel, types: Any) -> tuple[Function, list[Any]]:
    """A Python function over pointers, dimensions and scalars that calls the kernel, and its argument types."""
    from numba import carray

    parameters, passed, kinds = [], [], []
    for name, kind in kernel.arguments.items():
        axes = [f"{name}_{axis}" for axis in range(kind.axes)]
        parameters += [name, *axes]
        passed.append(f"carray({name}, ({', '.join(axes)},))" if axes else name)
        scalar = getattr(types, kind.dtype)
        kinds += [types.CPointer(scalar) if axes else scalar, *[types.int64] * len(axes)]
    source = f"def {kernel.name}({', '.join(parameters)}):\n    return kernel({', '.join(passed)})\n"
    space: dict[str, Any] = {"carray": carray, "kernel": _dispatcher(kernel.fn)}
    exec(source, space)
    return space[kernel.name], kinds


@cache
def _dispatcher(fn: Function, called: bool = False) -> Any:
    """numba's face of a kernel or helper; the helpers that it calls become numba's too, in globals of its own.

    called: by Python, else it needs no wrappers.
    """
    from numba import njit

    own = _own_implementations().get(fn)
    if own is not None:
        return own
    space = dict(fn.__globals__)
    space |= {name: _dispatcher(space[name]) for name in fn.__code__.co_names if is_helper(space.get(name))}
    twin = FunctionType(fn.__code__, space, fn.__name__, fn.__defaults__, fn.__closure__)
    return njit(error_model="numpy", no_cpython_wrapper=not called, no_cfunc_wrapper=not called)(twin)


@cache
def _own_implementations() -> dict[Function, Any]:
    """The helpers of `workspace` that hand out memory: in machine code they check nothing and copy nothing."""
    from numba import carray, njit

    pointer = _pointer()

    def take(workspace: Any, at: Any, shape: Any, dtype: Any) -> Any:
        array, count = carray(pointer(workspace, np.int64(at), dtype), shape), 1
        for side in shape:
            count *= side
        return array, at + ((count * array.itemsize + 63) & ~63)

    def shaped(flat: Any, at: Any, shape: Any) -> Any:
        return carray(pointer(flat, np.int64(at) * flat.itemsize, flat.dtype), shape)

    return {getattr(workspace, own.__name__): njit(error_model="numpy")(own) for own in (take, shaped)}


def _pointer() -> Any:
    """numba's intrinsic (array, offset in bytes, a dtype) -> pointer to elements of that type."""
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    def pointer(typing: Any, array: Any, offset: Any, dtype: Any) -> Any:
        kind = dtype.dtype

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(array)(context, builder, arguments[0]).data
            moved = builder.gep(builder.bitcast(data, cgutils.voidptr_t), [arguments[1]])
            return builder.bitcast(moved, context.get_value_type(kind).as_pointer())

        return types.CPointer(kind)(array, types.int64, dtype), generate

    return intrinsic(pointer)


def _library_calls(name: str) -> list[str]:
    """The C function that an LLVM intrinsic may become (`llvm.floor.f32`: floorf); none for those that never do."""
    match = re.fullmatch(r"llvm\.(mem\w+|exp2?|log2?|log10|pow|sin|cos|floor|ceil|trunc|rint|fma)\.(.*)", name)
    if match is None:
        return []
    return [match[1] + ("f" if match[2] == "f32" else "")]


def _optimised(llvm: Any, machine: Any, target: Target, texts: dict[str, str]) -> Any:
    """One module of some kernels for the target, all else internal. Two passes remove numba's error paths entirely.

    Kernels that are optimised together share their helpers; alone, each has its own copies, which LLVM fits to it.
    """
    module, *others = [_parsed(llvm, machine, target.triple, ir) for ir in texts.values()]
    for fn in (fn for each in (module, *others) for fn in each.functions):
        if not fn.is_declaration and fn.name not in texts:
            fn.linkage = "linkonce_odr"  # the same helper in two kernels becomes one
    for other in others:
        module.link_in(other)
    for fn in module.functions:
        if not fn.is_declaration and fn.name not in texts:
            fn.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration or variable.name.startswith("_ZN08NumbaEnv"):
            variable.linkage = "internal"
    tuning = llvm.create_pipeline_tuning_options(speed_level=2 if target.small else 3)
    if target.small:
        tuning.loop_unrolling = tuning.loop_interleaving = False
    passes = llvm.create_pass_builder(machine, tuning)
    for _ in range(2):
        passes.getModulePassManager().run(module, passes)
    for name in texts if target.small else ():
        module.get_function(name).visibility = "hidden"
    if not target.small or "linux" not in target.triple:
        return module
    # each function in a section of its own: who links it leaves out what he does not call
    own = r'\1 section ".text.\2"\3'
    text = re.sub(r'^(define [^\n]*@"?([\w.$]+)"?\([^\n]*?)((?: align \d+)? \{)$', own, str(module), flags=re.M)
    return llvm.parse_assembly(text)


def _parsed(llvm: Any, machine: Any, triple: str, ir: str) -> Any:
    """A module of LLVM, for this target."""
    ir = re.sub(r"^target triple = .*$", f'target triple = "{triple}"', ir, flags=re.M)
    ir = re.sub(r"^target datalayout = .*$", f'target datalayout = "{machine.target_data}"', ir, flags=re.M)
    return llvm.parse_assembly(ir)
